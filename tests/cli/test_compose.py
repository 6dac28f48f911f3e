import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
Call = Callable[..., tuple[int, str, str]]
SMALL = ("task.train=40", "task.dev=8", "task.test=40", "task.people=120")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def counts(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_name(f"{path.name}.counts.json").read_text())
    assert found["in"] == found["kept"] + sum(found["dropped"].values())
    assert found["kept"] == len(rows(path))
    return found


def examples(prompt: str) -> list[str]:
    """Return the answers of the examples in a prompt."""
    return re.findall(r"### Answer:\n(.+?)\n\n###", prompt, re.DOTALL)


def test_boolq_shows_one_true_and_one_false(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "eval.jsonl"
    code, said, _ = call("compose-eval", "wiki_boolq", *SMALL, "--out", str(out))
    assert code == 0
    assert "40 problems = 40 kept + 0 dropped" in said
    assert counts(out)["dropped"] == {}
    for row in rows(out):
        shown = sorted(examples(row["prompt"]))
        assert [line.rpartition("The answer is: ")[2] for line in shown] == ["False", "True"]
        assert row["prompt"].endswith("\n\n### Answer:\n")
        assert row["references"] in (["True"], ["False"])
    assert len({row["id"] for row in rows(out)}) == 40


def test_squad_shows_one_that_has_no_answer(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "eval.jsonl"
    assert call("compose-eval", "wiki_squad", *SMALL, "--out", str(out))[0] == 0
    found = rows(out)
    for row in found:
        assert [line.endswith("unanswerable") for line in examples(row["prompt"])].count(True) == 1
        assert len(examples(row["prompt"])) == 2
    assert {row["kind"] for row in found} == {"answerable", "unanswerable"}
    assert all((row["references"] == [""]) == (row["kind"] == "unanswerable") for row in found)


def test_each_instruction_task_has_its_rows_and_its_own_instruction(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "eval.jsonl"
    code, said, _ = call("compose-eval", "wiki_instructions", *SMALL, "--rows-per-task", "3", "--out", str(out))
    assert code == 0
    left_out = counts(out)["in"] - 12
    assert left_out > 0
    assert counts(out)["dropped"] == {"more than --rows-per-task": left_out}
    assert f"{left_out} dropped: more than --rows-per-task" in said
    kinds = Counter(row["kind"] for row in rows(out))
    assert list(kinds.values()) == [3, 3, 3, 3]
    instructions = {(row["kind"], row["prompt"].split("### ")[2]) for row in rows(out)}
    assert len(instructions) == 4
    assert not any(examples(row["prompt"]) for row in rows(out))
    with_shots = tmp_path / "shots.jsonl"
    assert call("compose-eval", "wiki_instructions", *SMALL, "--shots", "2", "--out", str(with_shots))[0] == 0
    assert all(len(examples(row["prompt"])) == 2 for row in rows(with_shots))
    assert len(counts(with_shots)["shots"]) == 8


def test_the_same_seed_gives_the_same_rows(call: Call, tmp_path: Path) -> None:
    def made(name: str, *options: str) -> list[dict[str, Any]]:
        command = ("compose-eval", "wiki_boolq", *SMALL, "--rows-per-task", "10", "--out", str(tmp_path / name))
        assert call(*command, *options)[0] == 0
        return rows(tmp_path / name)

    assert made("a") == made("b") == made("c", "--seed", "0")
    assert made("a2")[0]["prompt"] != made("d", "--seed", "1")[0]["prompt"]


def test_an_unknown_task_s_question_is_asked_as_it_stands(call: Call, tmp_path: Path) -> None:
    small = ("task.train=10", "task.per_level=5", "task.levels=[2]")
    out = tmp_path / "eval.jsonl"
    assert call("compose-eval", "arith", *small, "--out", str(out))[0] == 0
    assert not any("###" in row["prompt"] for row in rows(out))
    told = tmp_path / "told.jsonl"
    words = ("--instruction", "Add.", "--shots", "1")
    assert call("compose-eval", "arith", *small, *words, "--out", str(told))[0] == 0
    assert all("### Instruction:\nAdd.\n" in row["prompt"] and "### Examples:" in row["prompt"] for row in rows(told))


def boolq(path: Path, **files: list[tuple[str, bool]]) -> Path:
    path.mkdir()
    for name, asked in files.items():
        lines = [json.dumps({"question": q, "passage": "Bees fly.", "answer": a}) for q, a in asked]
        (path / f"{name}.jsonl").write_text("\n".join(lines))
    return path


def test_every_row_has_one_fate(call: Call, tmp_path: Path) -> None:
    """A question asked twice (in other letters, so with another id) is kept once; one in --against is not learned."""
    train = [("do bees fly", True), ("Do bees  fly", True), ("do bees walk", False), ("do bees swim", False)]
    place = boolq(tmp_path / "b", train=train, dev=[("is it a bee", True), ("is it a wasp", False)])
    out, against = tmp_path / "sft.jsonl", tmp_path / "against.jsonl"
    assert call("compose-eval", "boolq", f"task.path={place}", "task.dev=0", "--out", str(against))[0] == 0
    here = ("compose-sft", "boolq", f"task.path={place}", "task.dev=0")
    assert call(*here, "--rows-per-task", "2", "--out", str(out))[0] == 0
    assert counts(out)["dropped"] == {"says what an earlier one says": 1, "more than --rows-per-task": 1}
    assert set(rows(out)[0]) == {"prompt", "completion"}
    assert all(row["completion"].startswith("The answer is: ") for row in rows(out))

    elsewhere = boolq(tmp_path / "e", train=[("x", True), ("y", False)], dev=[("DO bees fly", True), ("walk", False)])
    tested = tmp_path / "tested.jsonl"
    assert call("compose-eval", "boolq", f"task.path={elsewhere}", "task.dev=0", "--out", str(tested))[0] == 0
    clean = tmp_path / "clean.jsonl"
    code, said, _ = call(*here, "--against", str(tested), "--against", str(against), "--out", str(clean))
    assert code == 0
    assert "2 dropped: is tested (--against)" in said
    assert not any("do bees fly" in row["prompt"].lower() for row in rows(clean))
    assert len(rows(clean)) == 2


def test_no_example_is_tested_or_learned(call: Call, tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for name in ("eval", "sft"):
        out = tmp_path / f"{name}.jsonl"
        assert call(f"compose-{name}", "wiki_boolq", *SMALL, "--shots", "4", "--out", str(out))[0] == 0
        found[name] = (set(counts(out)["shots"]), rows(out))
    shots, tested = found["eval"]
    assert len(shots) == 4
    assert shots.isdisjoint(row["id"] for row in tested)
    last = [row["prompt"].rpartition("### Task:\n")[2] for row in found["sft"][1]]
    assert all(row["prompt"].count(f"### Task:\n{own}") == 1 for row, own in zip(found["sft"][1], last, strict=True))
    assert found["sft"][0].isdisjoint(shots)  # from dev


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wiki_boolq", "--split", "tset"], "Did you mean 'test'"),
        (["wiki_boolq", "path=x"], "unknown key 'path'"),
        (["wiki_bolq"], "Did you mean 'wiki_boolq'"),
        (["wiki_boolq", "--shots", "99"], "99 examples are asked for"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], said: str, call: Call, tmp_path: Path) -> None:
    settings = SMALL if not any("path" in word for word in words) else ()
    code, _, errors = call("compose-eval", *words, *settings, "--out", str(tmp_path / "x.jsonl"))
    assert code in (1, 2)
    assert said in errors
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_refused(call: Call, tmp_path: Path) -> None:
    trues = boolq(tmp_path / "t", train=[("a", True), ("b", True)], dev=[("c", True), ("d", False)])
    words = ("compose-eval", "boolq", f"task.path={trues}", "task.dev=0", "--out", str(tmp_path / "x.jsonl"))
    assert "too few train problems that are False" in call(*words)[2]
    assert "has no dev problems" in call(*words, "--split", "dev", "--shots", "0")[2]
    assert call(*words, "--shots", "0")[0] == 0
    before = (tmp_path / "x.jsonl").read_bytes()
    assert "exists already" in call(*words, "--shots", "0")[2]
    assert (tmp_path / "x.jsonl").read_bytes() == before
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "x"}\n')
    sft = ("compose-sft", "boolq", f"task.path={trues}", "task.dev=0", "--out", str(tmp_path / "y.jsonl"))
    assert "not what compose-eval writes" in call(*sft, "--against", str(bad))[2]
    assert "not what compose-eval writes" in call(*sft, "--against", str(tmp_path / "none.jsonl"))[2]


def test_a_split_that_shares_a_question_with_another_stops_the_command(call: Call, tmp_path: Path) -> None:
    task = tmp_path / "shared.py"
    task.write_text(
        "from thinktwice.types import Problem, Score, Task\n"
        "def shared():\n"
        "    one, two = Problem('a', 'Why?', 'x'), Problem('b', 'why ?', 'x')\n"
        "    return Task('shared', {'train': [one], 'test': [two]}, lambda p, r: Score(1.0))\n"
    )
    code, _, errors = call("compose-sft", f"{task}:shared", "--out", str(tmp_path / "sft.jsonl"))
    assert code == 1
    assert "train and test share 1 texts" in errors


@needs_data
def test_the_published_sets(call: Call, tmp_path: Path) -> None:
    """GSM8K's whole test set with four examples each; of two questions of BoolQ that say the same one is dropped."""
    out = tmp_path / "gsm8k.jsonl"
    assert call("compose-eval", "gsm8k", f"task.path={DATA}/gsm8k", "--out", str(out))[0] == 0
    found = rows(out)
    assert len(found) == 1319
    assert all(len(re.findall(r"\n#### \S+\n\n### Task", row["prompt"])) == 4 for row in found)
    source = f"task.path={DATA}/boolq/dev.jsonl"
    out = tmp_path / "boolq.jsonl"
    assert call("compose-eval", "boolq", source, "task.train=20", "task.dev=0", "--out", str(out))[0] == 0
    assert counts(out)["dropped"] == {"says what an earlier one says": 1}
    assert counts(out)["in"] == 3250


@needs_data
def test_natural_instructions_as_the_public_code_composes_them(call: Call, tmp_path: Path) -> None:
    name = "subtask045_miscellaneous_sentence_paraphrasing"
    words = ("natural_instructions", f"task.path={DATA}/natural_instructions_v1", f"task.test_tasks=[{name}]")
    tested, learned = tmp_path / "eval.jsonl", tmp_path / "sft.jsonl"
    assert call("compose-eval", *words, "--rows-per-task", "20", "--out", str(tested))[0] == 0
    code, said, _ = call("compose-sft", *words, "--against", str(tested), "--out", str(learned))
    assert code == 0
    assert len(rows(tested)) == 20
    assert max(len(row["references"]) for row in rows(tested)) > 1
    assert len(rows(learned)) == 20 * 50
    assert "1 rows of the source could not be read" in said
    assert not {row["prompt"] for row in rows(tested)} & {row["prompt"] for row in rows(learned)}
