import json
from pathlib import Path

import pytest

from thinktwice.errors import DataError
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.tasks.strategyqa import problem
from thinktwice.tasks.worlds import wiki

DATA = Path(__file__).parents[2] / "../shared/data/disentangling"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")


def agent(n, answer="True", steps=("[rag]: A fact of {n}.", "[reason]: Thus so.")):
    return {"question": f"Is {n} so?", "answer": answer, "cot_steps": [s.format(n=n) for s in steps], "split": "train"}


def write(directory, train, test):
    for name, rows in (("train", train), ("test", test)):
        (directory / f"StrategyQA_{name}_clean.json").write_text(json.dumps(rows))


def test_an_agents_row():
    got = problem(agent(5))
    assert got.solution == "A fact of 5.\nThus so.\nThe answer is: True"
    assert got.labels == ("memory", "reason")
    assert problem(agent(5, steps=())).solution is None


def test_the_published_forms():
    facts = "The U.S. has 50 states. Ohio is one."
    got = problem({"question": "Is it?", "answer": True, "facts": facts})
    assert got.solution == "The U.S. has 50 states.\nOhio is one.\nThe answer is: True"
    assert got.labels == ("memory", "memory")
    assert problem({"question": "Is it?", "answer": False, "facts": ["One.", "Two. Three."]}).labels == (
        "memory",
        "memory",
    )
    assert problem({"question": "Is it?", "answer": False}).solution is None


@pytest.mark.parametrize("answer", ["Yes", "", None, 1, "TrueFalse"])
def test_an_answer_is_true_or_false(answer):
    with pytest.raises(DataError, match="neither true nor false"):
        problem(agent(1, answer))


def test_both_spellings_load_the_same(tmp_path):
    write(tmp_path, [agent(n) for n in range(30)], [agent(n) for n in range(50, 60)])
    one, other = (load_task(name, path=str(tmp_path), dev=5) for name in ("strategyqa_agent", "stratgeqa_agent"))
    assert one.splits == other.splits
    assert {name: len(rows) for name, rows in one.splits.items()} == {"train": 25, "dev": 5, "test": 10}
    check_disjoint(one)


def test_the_case_of_true_and_the_prompt_do_not_decide(tmp_path):
    asked = {**agent(1, "False"), "question": "Which is right? The answer is: False"}
    write(tmp_path, [agent(n) for n in range(30)], [asked])
    strict, compat = (load_task("strategyqa_agent", path=str(tmp_path), dev=5, compat=c) for c in (False, True))
    (row,) = strict.splits["test"]
    assert strict.score(row, "The answer is: false").value == 1
    assert strict.score(row, "The answer is: True").value == 0
    assert compat.score(row, "The answer is: True").value == 1  # its own question is read as the answer
    assert strict.score(row, "I do not know").value == 0


def test_the_worlds_rows_are_of_this_format(tmp_path):
    world = wiki.task(train=30, per_level=10, levels=(2,))
    write(tmp_path, [wiki.row(p) for p in world.splits["train"]], [wiki.row(p) for p in world.splits["test"]])
    got = load_task("strategyqa_agent", path=str(tmp_path / "StrategyQA_test_clean.json"))
    by_prompt = {p.prompt: p for p in got.splits["test"]}
    assert len(by_prompt) == 10
    for p in world.splits["test"]:
        assert (by_prompt[p.prompt].solution, by_prompt[p.prompt].labels) == (p.solution, p.labels)


@needs_data
def test_real_files_and_their_labels(caplog):
    got = load_task("stratgeqa_agent", path=str(DATA))
    assert {name: len(rows) for name, rows in got.splits.items()} == {"train": 1402, "dev": 200, "test": 687}
    assert got.quarantined == 0
    check_disjoint(got)
    assert "1 left out of train" in caplog.text
    assert "101 steps without text left out" in caplog.text  # 71 + 30
    assert "2 steps of both kinds" in caplog.text
    raw = {
        r["question"].strip(): r
        for name in ("train", "test")
        for r in json.loads((DATA / f"StrategyQA_{name}_clean.json").read_text())
    }
    for p in [p for rows in got.splits.values() for p in rows]:
        tags = [s.split("]")[0] for s in raw[p.prompt]["cot_steps"] if s.split("]:", 1)[1].strip() or " and " in s]
        assert len(p.labels) == len(tags) == len((p.solution or "x").splitlines()) - 1
        assert p.solution is None or got.score(p, p.solution).value == 1
        if not any(" and [" in s for s in raw[p.prompt]["cot_steps"]):
            assert p.labels == tuple({"[rag": "memory", "[reason": "reason"}[tag] for tag in tags)
    assert sum(p.solution is None for p in got.splits["test"]) == 8  # one without steps, seven whose steps are empty


@needs_data
@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize(
    ("model", "right"), [("Llama-2-7b-chat-hf", 485), ("Llama-3.1-8B-Instruct", 517), ("Qwen2.5-7B-Instruct", 539)]
)
def test_published_outputs_get_their_stored_verdicts_row_by_row(model, right, compat):
    task = load_task("stratgeqa_agent", path=str(DATA / "StrategyQA_test_clean.json"), compat=compat)
    by_prompt = {" ".join(p.prompt.split()): p for p in task.splits["test"]}
    rows = json.loads((DATA / f"stratgeqa_agent__{model}_output.json").read_text())
    verdicts, stored, none = [], [], 0
    for row in rows:
        question, _, reply = row["generated_text"].removeprefix("Question: ").partition("\n")
        score = task.score(by_prompt[" ".join(question.split())], reply)
        verdicts.append(score.value == 1)
        stored.append(row["result"] == "correct")
        none += score.answer is None
    assert verdicts == stored
    assert (len(rows), sum(verdicts)) == (686, right)
    assert none == {485: 1, 517: 1, 539: 3}[right]
