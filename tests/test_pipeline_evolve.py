"""Rounds, the whole way: tiny, with the nano critic; every policy, source and guard, and a kill at whatever happens."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thinktwice import pipeline
from thinktwice.config import Recipe, parse, to_dict
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.errors import ConfigError, DataError, RunError
from thinktwice.methods.evolve import Evolve
from thinktwice.methods.evolve.human import Review, add_review, read_queue
from thinktwice.methods.evolve.prompts import Shot
from thinktwice.methods.evolve.rows import Attempt, Critique, Voted
from thinktwice.pipeline import Bench, run_recipe
from thinktwice.pipeline.lines import read_rows
from thinktwice.pipeline.rounds import KINDS, Arm
from thinktwice.render import Render
from thinktwice.report import report
from thinktwice.run import Run, read_json
from thinktwice.train import fit
from thinktwice.train.merging import merge
from thinktwice.train.vocab import load_tokenizer
from thinktwice.types import Trace

torch.set_num_threads(1)

TRAIN = {"lr": 1e-3, "schedule": "linear", "tokens_per_step": 800, "steps": 3}
METHOD = {
    "name": "evolve", "wording": "bare", "rounds": 2, "problems": 6, "levels": [3, 4], "samples": 2, "mend": "resume",
    "guards": {"on": False}, "warm": {"solutions": 8, "critiques": 12, "levels": [1, 2], "error": 0.1},
}  # fmt: skip
RECIPE = {
    "name": "tiny",
    "task": {
        "name": "arith", "operations": [1, 4], "irrelevant": [0, 2], "levels": [2, 3], "train": 200, "per_level": 8,
        "seed": 7000000,
    },
    "model": {"path": "nano-critic"},
    "method": METHOD,
    "train": TRAIN,
    "decode": {"max_new_tokens": 70, "batch_size": 64},
    "evaluation": {"problems": 4, "dev_problems": 8, "levels": [2, 3], "in_distribution": 2},
}  # fmt: skip
BASE = {"base": {"method": {"rounds": 0}}}


def recipe_of(arms: dict[str, Any], **changes: Any) -> Recipe:
    """A recipe whose arms start from the warm start; every arm is a change of the method."""
    made = {name: {"start": "base", "method": method} for name, method in arms.items()}
    return parse(Recipe, {**RECIPE, **changes, "arms": {**BASE, **made}})


def tensors(path: Path) -> dict[str, torch.Tensor]:
    (file,) = path.glob("*.safetensors")
    return load_file(file)


def same(a: Path, b: Path) -> bool:
    left, right = tensors(a), tensors(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def near(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)


def stage(root: Path, name: str) -> Path:
    return root / "stages" / name


def counts(found: Any) -> Iterator[dict[str, Any]]:
    """Every count in what a stage wrote down."""
    if isinstance(found, dict):
        if "in" in found:
            yield found
        for inner in found.values():
            yield from counts(inner)


def compare(a: Path, b: Path, files: Sequence[Path]) -> None:
    skipped = ("metrics.jsonl", "audit.json", "manifest.json", "trainer_state.json", "training.json")
    looked = [file for file in files if file.name not in skipped]
    assert looked
    for file in looked:
        assert (a / file).read_bytes() == (b / file).read_bytes(), file


# -- what a finished run is --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = {
        "evolve": {},
        "verdict_only": {"content": False, "mend": "none"},
        "shuffled": {"source": "shuffled"},
    }
    headline = {"a": "evolve", "b": "base", "level": 3}
    return run_recipe(recipe_of(arms, headline=headline), tmp_path_factory.mktemp("runs") / "tiny")


def test_the_plan_names_every_stage_in_the_order_it_is_done(finished: Path) -> None:
    attempt = Run.load(finished).attempt()
    assert attempt is not None
    assert [*attempt.plan] == [*Run.load(finished).stages(), "summary"]
    assert [s for s in attempt.plan if s.endswith("_2-evolve")] == [f"{k}_2-evolve" for k in KINDS if k != "prompt"]
    assert "measure_0-evolve" in attempt.plan
    assert "measure_0-shuffled" not in attempt.plan  # one start, measured alike: once


def test_in_every_stage_what_came_in_is_what_was_kept_and_dropped(finished: Path) -> None:
    seen = 0
    for path in sorted(finished.glob("stages/*_[12]-*/counts.json")):
        for part in counts(read_json(path)):
            assert part["in"] == part["kept"] + sum(part["dropped"].values()), path
            assert all(count > 0 for count in part["dropped"].values())
            seen += 1
    assert seen >= 3 * 2 * 5


def test_counts_are_those_of_the_rows(finished: Path) -> None:
    for arm in ("evolve", "verdict_only", "shuffled"):
        for n in (1, 2):
            answers = read_rows(stage(finished, f"answer_{n}-{arm}") / "attempts.jsonl", Attempt)
            critiques = read_rows(stage(finished, f"feedback_{n}-{arm}") / "critiques.jsonl", Critique)
            voted = read_rows(stage(finished, f"vote_{n}-{arm}") / "voted.jsonl", Voted)
            learned = read_rows(stage(finished, f"train_{n}-{arm}") / "learned.jsonl", Trace)
            told = {kind: read_json(stage(finished, f"{kind}_{n}-{arm}") / "counts.json") for kind in KINDS[:3]}
            assert told["answer"]["in"] == told["answer"]["kept"] == len(answers) == 12
            assert told["feedback"]["in"] == 12
            assert told["feedback"]["kept"] == len({c.key for c in critiques})
            assert told["vote"]["in"] == len(voted)
            rows = read_json(stage(finished, f"train_{n}-{arm}") / "counts.json")
            assert rows["answers"]["kept"] + rows["feedback"]["kept"] == len(learned)
            asked = round((len(learned) + rows["accumulated"]) * 1.0)  # replay=0.5: as many again
            assert rows["replayed"] == min(asked, 20) == min(rows["replay"]["asked"], rows["replay"]["pool"])
    pairs = [(read_json(stage(finished, f"train_{n}-evolve") / "counts.json"), n) for n in (1, 2)]
    first = len(read_rows(stage(finished, "train_1-evolve") / "learned.jsonl", Trace))
    assert [row["accumulated"] for row, _ in pairs] == [0, first]


def test_rounds_answer_other_problems_each_and_none_that_was_learned_or_is_tested(finished: Path) -> None:
    bench = Bench(parse(Recipe, read_json(finished / "config.json")), print)
    rounds = Arm(bench, Run.load(finished), "evolve")
    sets = [{p.id for p in rounds.problems(n)} for n in (1, 2)]
    warm = {t.problem_id for t in read_rows(stage(finished, "collect-base") / "traces.jsonl", Trace)}
    others = {p.id for split in ("dev", "test") for p in bench.task.splits[split]}
    assert all(len(own) == 6 for own in sets)
    assert not sets[0] & sets[1]
    assert not (sets[0] | sets[1]) & (warm | others)
    for n, own in enumerate(sets, 1):
        answered = read_rows(stage(finished, f"answer_{n}-evolve") / "attempts.jsonl", Attempt)
        assert {a.problem_id for a in answered} == own
    gate, watched, before = rounds.dev()
    assert not {p.id for p in gate} & {p.id for p in watched}
    assert {p.level for p in (*gate, *watched)} == {3}
    assert {p.level for p in before} == {2}
    with pytest.raises(DataError, match="wants training problems"):
        rounds.problems(99)


def test_feedback_is_in_the_loss_of_a_run_and_its_audit_says_so(finished: Path) -> None:
    bench = Bench(parse(Recipe, read_json(finished / "config.json")), print)
    render = bench.render(stage(finished, "base"))
    every = bench.task.splits["train"]
    method = bench.methods["evolve"]
    assert isinstance(method, Evolve)
    rows = read_rows(stage(finished, "train_1-evolve") / "learned.jsonl", Trace)
    critiques = [t for t in rows if any(step.kind == "critique" for step in t.steps)]
    assert critiques
    said = sum(len(s.token_ids) for t in critiques for s in t.steps if s.kind == "critique")
    answers = sum(len(s.token_ids) for t in rows if t not in critiques for s in t.steps)
    learned = method.learned(every, rows, render)
    assert sum(sum(w > 0 for w in e.weights) for e in learned) == said + answers
    audit = read_json(stage(finished, "train_1-evolve") / "audit.json")
    replayed = read_json(stage(finished, "train_1-evolve") / "counts.json")["replayed"]
    assert audit["n"] == len(rows) + replayed
    assert audit["supervised"] > said + answers
    # Without content only verdicts of its own are learned, each answer's last one the last that is shown.
    bare = read_rows(stage(finished, "train_1-verdict_only") / "learned.jsonl", Trace)
    verdicts = [s for t in bare for s in t.steps if s.kind == "critique"]
    assert {len(s.token_ids) for s in verdicts} == {1}


def test_the_summary_says_in_one_sentence_whether_content_did_anything_and_the_page_shows_it(finished: Path) -> None:
    summary = read_json(finished / "summary.json")
    titles = {f["title"]: f for f in summary["findings"]["evolve"]}
    assert {"Round by round", "What was decided", "The model as a critic of its own answers",
            "What came in, what was kept"} <= {*titles}  # fmt: skip
    assert [row[0] for row in titles["Round by round"]["rows"]] == ["0", "1", "2"]
    stages = {(row[0], row[1]) for row in titles["What came in, what was kept"]["rows"]}
    for n in ("1", "2"):
        assert {(n, s) for s in ("answer", "feedback", "vote", "mend", "mend: judged", "train: answers",
                                 "train: feedback")} <= stages  # fmt: skip
    page = report(finished).read_text(encoding="utf-8")
    for title in titles:
        assert title in page
    every = [f for found in summary["findings"].values() for f in found]
    (content,) = [f for f in every if f["title"] == "What the content of the feedback did"]
    assert {row[0] for row in content["rows"]} == {"evolve − verdict_only", "evolve − shuffled"}
    assert content["note"].startswith("The content of the feedback ")
    assert content["note"].split(":")[0] in page


def test_the_arm_answers_with_the_weights_of_its_last_round_that_stands(finished: Path) -> None:
    for arm in ("evolve", "shuffled", "verdict_only"):
        record = read_json(stage(finished, f"train-{arm}") / "rounds.json")
        assert record["best"] == 2
        assert same(stage(finished, f"train-{arm}") / "model", stage(finished, f"train_2-{arm}") / "model")
        assert len(record["measured"]) == 3
        assert record["measured"][0]["kl"] == 0.0
        assert record["measured"][1]["kl"] is not None


@pytest.mark.slow
def test_a_rerun_is_the_same_bit_for_bit_and_a_second_call_does_nothing(finished: Path, tmp_path: Path) -> None:
    recipe = parse(Recipe, read_json(finished / "config.json"))
    one = replace(recipe, arms={name: recipe.arms[name] for name in ("base", "evolve")})
    again = run_recipe(one, tmp_path / "again")
    compare(again, finished, [p.relative_to(again) for p in again.glob("stages/*/*.jsonl")])
    for n in (1, 2):
        assert same(stage(again, f"train_{n}-evolve") / "model", stage(finished, f"train_{n}-evolve") / "model")
    before = {p: p.stat().st_mtime_ns for p in again.rglob("stages/**/*")}
    told: list[str] = []
    run_recipe(one, again, progress=lambda p: told.append(p.stage))
    assert {p: p.stat().st_mtime_ns for p in again.rglob("stages/**/*")} == before
    assert {*told} == {"summary"}


# -- weights -----------------------------------------------------------------------------------------------------------

PLAIN = {"mend": "none", "replay": 0.0, "source": "oracle", "gold_visible": "critic", "per_problem": 1}


def rows_of(root: Path, arm: str, *numbers: int) -> list[Trace]:
    return [t for n in numbers for t in read_rows(stage(root, f"train_{n}-{arm}") / "learned.jsonl", Trace)]


def fitted(root: Path, arm: str, numbers: Sequence[int], base: Path, out: Path, **more: Any) -> Path:
    """Train on the rows of rounds by hand, newest first, as a round does it."""
    bench = Bench(parse(Recipe, read_json(root / "config.json")), print)
    method = bench.methods[arm]
    assert isinstance(method, Evolve)
    examples = method.learned(bench.task.splits["train"], rows_of(root, arm, *numbers), bench.render(base))
    return fit(examples, base.resolve(), out, bench.settings[arm], **more)


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = {
        "restart": PLAIN,
        "continue": {**PLAIN, "weights": "continue"},
        "average": {**PLAIN, "weights": "average", "rounds": 3},
        "ties": {**PLAIN, "weights": "ties"},
    }
    recipe = recipe_of(arms, evaluation={**RECIPE["evaluation"], "problems": 2, "dev_problems": 4})  # type: ignore[dict-item]
    return run_recipe(recipe, tmp_path_factory.mktemp("runs") / "policies")


@pytest.mark.slow
def test_restart_trains_the_base_on_all_that_stands(policies: Path, tmp_path: Path) -> None:
    base = stage(policies, "base")
    by_hand = fitted(policies, "restart", (2, 1), base, tmp_path / "fit")
    assert same(by_hand, stage(policies, "train_2-restart") / "model")
    assert not same(stage(policies, "train_1-restart") / "model", stage(policies, "train_2-restart") / "model")


@pytest.mark.slow
def test_continue_trains_the_last_round_that_stands_on_this_one_s_rows(policies: Path, tmp_path: Path) -> None:
    # The first goes on from the start's weights, the second from the first's.
    for number, before in ((1, "train-base"), (2, "train_1-continue")):
        by_hand = fitted(policies, "continue", (number,), stage(policies, before) / "model", tmp_path / f"fit{number}")
        assert same(by_hand, stage(policies, f"train_{number}-continue") / "model")
        assert read_json(stage(policies, f"train_{number}-continue") / "counts.json")["accumulated"] == 0


@pytest.mark.slow
def test_an_average_is_of_what_each_round_trained_and_not_of_averages(policies: Path, tmp_path: Path) -> None:
    tuned = [tensors(stage(policies, f"train_{n}-average") / "tuned") for n in (1, 2, 3)]
    for n in (1, 2, 3):
        mean = {name: sum(each[name] for each in tuned[:n]) / n for name in tuned[0]}
        assert near(tensors(stage(policies, f"train_{n}-average") / "model"), mean)
    by_hand = fitted(policies, "average", (1,), stage(policies, "base"), tmp_path / "fit")
    assert same(by_hand, stage(policies, "train_1-average") / "tuned")


@pytest.mark.slow
def test_ties_merges_what_each_round_trained_over_the_base(policies: Path, tmp_path: Path) -> None:
    tuned = [stage(policies, f"train_{n}-ties") / "tuned" for n in (1, 2)]
    by_hand = merge(stage(policies, "base"), tuned, tmp_path / "merged", policy="ties")
    assert same(by_hand, stage(policies, "train_2-ties") / "model")
    assert not near(tensors(by_hand), tensors(tuned[1]))


@pytest.mark.slow
def test_with_nothing_else_different_arms_differ_in_their_policy_alone(policies: Path) -> None:
    arms = ("restart", "average", "ties")
    first = [(stage(policies, f"answer_1-{arm}") / "attempts.jsonl").read_bytes() for arm in arms]
    assert len({*first}) == 1
    assert rows_of(policies, "restart", 1) == rows_of(policies, "average", 1) == rows_of(policies, "ties", 1)


@pytest.mark.slow
def test_adapters_restart_and_go_on(tmp_path: Path) -> None:
    arms = {"restart": PLAIN, "continue": {**PLAIN, "weights": "continue"}, "ema": {**PLAIN, "source": "ema"}}
    lora = {**TRAIN, "mode": "lora", "lora_rank": 4}
    root = run_recipe(recipe_of(arms, train=lora), tmp_path / "run")
    base = stage(root, "base")
    assert (stage(root, "train-base") / "model/adapter_config.json").is_file()
    for number, rows, start in (
        ("train_2-restart", (2, 1), None),
        ("train_1-continue", (1,), stage(root, "train-base") / "model"),
        ("train_2-continue", (2,), stage(root, "train_1-continue") / "model"),
    ):
        arm = number.split("-")[1]
        by_hand = fitted(root, arm, rows, base, tmp_path / number, start=start)
        assert same(by_hand, stage(root, number) / "model")
    for arm in arms:  # what is sealed is loaded from where it lies
        assert (stage(root, f"train-{arm}") / "model/adapter_config.json").is_file()
        assert Run.load(root).traces(arm).done


# -- what is learned ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_objective_reaches_the_loss(tmp_path: Path) -> None:
    objectives = {
        "feedback": {"feedback": 0.5, "answer": 0.0},
        "answer": {"feedback": 0.0, "answer": 0.25},
        "distill": {"feedback": 0.0, "answer": 0.0, "distill": 0.75},
        "prompt": {"feedback": 0.0, "answer": 0.0, "prompt": 0.5},
    }
    oracle = {"source": "oracle", "gold_visible": "critic", "rounds": 1, "replay": 0.0, "temperature": 1.5}
    root = run_recipe(recipe_of({k: {**oracle, "objectives": o} for k, o in objectives.items()}), tmp_path / "run")
    bench = Bench(parse(Recipe, read_json(root / "config.json")), print)
    render = bench.render(stage(root, "base"))
    for name, weights in objectives.items():
        method = bench.methods[name]
        assert isinstance(method, Evolve)
        rows = rows_of(root, name, 1)
        kinds = {step.kind for t in rows for step in t.steps}
        expected = {"feedback": {"text", "critique"}, "distill": {"answer"}}
        assert kinds == expected.get(name, {"text"})
        examples = method.learned(bench.task.splits["train"], rows, render)
        assert {w for e in examples for w in e.weights} - {0.0} == {weights[name]}
        audit = read_json(stage(root, f"train_1-{name}") / "audit.json")
        assert audit["n"] == len(examples)
        assert audit["supervised"] == sum(w > 0 for e in examples for w in e.weights)
        told = read_json(stage(root, f"train_1-{name}") / "counts.json")
        assert {*told} - {"replayed", "accumulated", "replay"} == {
            {"feedback": "feedback", "distill": "distilled"}.get(name, "answers")
        }
    # `prompt` learns the question, too: all but the first token.
    assert all(all(w > 0 for w in e.weights[:-1]) for e in examples)


@pytest.mark.slow
def test_reference_solutions_and_majorities_and_shares(tmp_path: Path) -> None:
    gold = {"gold_visible": "critic+train", "rounds": 1, "mend": "none", "source": "none"}
    answers = {"feedback": 0.0}
    arms = {
        "sft": {**gold, "accept": "reference", "objectives": answers, "replay": 0.0},
        "star": {**gold, "accept": "gold", "objectives": answers, "per_problem": 1, "replay": 0.25},
        "lmsi": {**gold, "gold_visible": "none", "accept": "majority", "objectives": answers, "samples": 3},
        "own": {
            **gold,
            "gold_visible": "none",
            "accept": "all",
            "objectives": {**answers, "answer": 0.0, "prompt": 1.0},
        },
    }
    root = run_recipe(recipe_of(arms), tmp_path / "run")
    bench = Bench(parse(Recipe, read_json(root / "config.json")), print)
    by_id = {p.id: p for p in bench.task.splits["train"]}
    problems = Arm(bench, Run.load(root), "sft").problems(1)
    assert [t.reply for t in rows_of(root, "sft", 1)] == [p.solution for p in problems]
    for trace in rows_of(root, "star", 1):
        assert bench.task.score(by_id[trace.problem_id], trace.reply).value == 1
    told = {arm: read_json(stage(root, f"train_1-{arm}") / "counts.json") for arm in arms}
    assert max(sum(t.problem_id == p.id for t in rows_of(root, "star", 1)) for p in problems) == 1
    assert told["star"]["answers"]["right"] == told["star"]["answers"]["kept"]
    assert told["star"]["replayed"] == round(len(rows_of(root, "star", 1)) / 3)  # a quarter of all
    assert told["sft"]["replayed"] == 0
    assert told["own"]["answers"]["dropped"].keys() <= {
        "the same answer again", "unfinished (budget)", "unfinished (length)", "more than 2 of a problem"
    }  # fmt: skip
    for arm in arms:
        assert dict(read_json(stage(root, f"feedback_1-{arm}") / "counts.json")["dropped"])["nobody was asked"] > 0


def test_a_round_with_nothing_to_learn_says_so(tmp_path: Path) -> None:
    path = tmp_path / "verify.py"
    path.write_text("def judge(problem, text):\n    return 'Verdict: incorrect'\n")
    nobody = {"source": "verifier", "verifier": f"{path}:judge", "mend": "none", "rounds": 1}
    with pytest.raises(DataError, match=r"round 1 of arm 'nobody' has nothing to learn.*'found incorrect'"):
        run_recipe(recipe_of({"nobody": nobody}), tmp_path / "run")


@pytest.mark.slow
def test_arms_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    raw = to_dict(recipe_of({"evolve": {}}))
    raw["arms"]["evolve"]["start"] = None
    with pytest.raises(ConfigError, match=r"method\.warm is learned by an arm with method\.rounds=0"):
        run_recipe(parse(Recipe, raw), tmp_path / "a")
    with pytest.raises(ConfigError, match="must have its warm, wording and instruction"):
        run_recipe(recipe_of({"evolve": {"instruction": "Add."}}), tmp_path / "b")
    raw = to_dict(recipe_of({"one": {}, "two": {}}))
    raw["arms"]["two"]["start"] = "one"
    with pytest.raises(ConfigError, match="with rounds=0"):
        run_recipe(parse(Recipe, raw), tmp_path / "c")
    with pytest.raises(ConfigError, match="the first round is 1"):
        run_recipe(recipe_of({"evolve": {}}), tmp_path / "d", until_round=0)
    with pytest.raises(DataError, match="dev_problems must be at least 2"):
        run_recipe(recipe_of({"evolve": {}}, evaluation={**RECIPE["evaluation"], "dev_problems": 1}), tmp_path / "e")  # type: ignore[dict-item]


# -- a round that does harm --------------------------------------------------------------------------------------------

LIAR = """
import json
from pathlib import Path
from thinktwice.tasks.worlds import arith

POISONED = set(json.loads(Path(__file__).with_name("poisoned.json").read_text()))

def judge(problem, text):
    assert problem.answer == ""
    if problem.id in POISONED:  # right answers are refused, and a wrong one is put in their place, and praised
        wrong = "Verdict: incorrect\\nFirst wrong step: 1\\nExplanation: #### 0"
        return "Verdict: correct" if text == "#### 0" else wrong
    right = arith.StepOracle().complete(problem, "").splitlines()[-1] == text.splitlines()[-1]
    return "Verdict: " + ("correct" if right else "incorrect")
"""


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verifier that lies about the second round's problems alone: one wrong answer is right for all of them."""
    place = tmp_path_factory.mktemp("poison")
    (place / "liar.py").write_text(LIAR)
    method = {
        "source": "verifier", "verifier": f"{place / 'liar.py'}:judge", "rounds": 3, "samples": 4, "problems": 12,
        "temperature": 1.0, "replay": 0.0, "objectives": {"feedback": 0.0}, "levels": [2, 3], "per_problem": 4,
    }  # fmt: skip
    guards = {"on": True, "critic": False, "harm": 0.25, "length": 1.0, "forgetting": 1.0, "diversity": 0.0}
    recipe = recipe_of(
        {"guarded": {**method, "guards": guards}, "off": {**method, "guards": {**guards, "on": False}}},
        train={**TRAIN, "steps": 15, "tokens_per_step": 1500},
        evaluation={"problems": 2, "dev_problems": 40, "levels": [2]},
        task={**RECIPE["task"], "per_level": 40},  # type: ignore[dict-item]
        method={**METHOD, "warm": {"solutions": 60, "levels": [1, 2]}},
    )
    rounds = Arm(Bench(recipe, print), cast(Run, None), "guarded")  # there is none yet
    (place / "poisoned.json").write_text(json.dumps([p.id for p in rounds.problems(2)]))
    return run_recipe(recipe, place / "run")


@pytest.mark.slow
def test_a_poisoned_round_is_rejected_and_rolled_back(poisoned: Path) -> None:
    record = read_json(stage(poisoned, "train-guarded") / "rounds.json")
    first, second, third = record["decisions"]
    assert [d["choice"] for d in (first, second)] == ["promoted", "rejected"]
    assert second["best"] == 1
    assert any(why.startswith("harm") for why in second["broken"])
    assert record["measured"][2]["gate"] < record["measured"][1]["gate"]
    # The lie was learned, a line to each problem; no right answer was.
    told = read_json(stage(poisoned, "train_2-guarded") / "counts.json")
    assert told["answers"]["kept"] >= 10
    assert told["answers"]["right"] <= 2  # of a problem whose answer happens to be 0
    assert {t.reply for t in rows_of(poisoned, "guarded", 2)} == {"#### 0"}
    # The third round answers with the first one's weights, and its rows go on from the first one's alone.
    once = read_json(stage(poisoned, "train_3-guarded") / "counts.json")
    assert once["accumulated"] == len(rows_of(poisoned, "guarded", 1))
    manifest = read_json(stage(poisoned, "train-guarded") / "rounds.json")
    assert same(
        stage(poisoned, "train-guarded") / "model", stage(poisoned, f"train_{manifest['best']}-guarded") / "model"
    )
    assert manifest["best"] == (3 if third["choice"] == "promoted" else 1)


@pytest.mark.slow
def test_the_third_round_is_answered_with_the_weights_that_stand(poisoned: Path, tmp_path: Path) -> None:
    bench = Bench(parse(Recipe, read_json(poisoned / "config.json")), print)
    for arm, number in (("guarded", 1), ("off", 2)):
        method = bench.methods[arm]
        assert isinstance(method, Evolve)
        engine, render = bench.engine(stage(poisoned, f"train_{number}-{arm}") / "model")
        problems = Arm(bench, Run.load(poisoned), arm).problems(3)
        again = method.attempt(problems, engine, render, bench.sampling, bench.task)
        written = read_rows(stage(poisoned, f"answer_3-{arm}") / "attempts.jsonl", Attempt)
        assert [a.token_ids for a in again] == [a.token_ids for a in written]


@pytest.mark.slow
def test_without_guards_the_same_round_is_promoted_and_what_they_would_have_said_is_written_down(
    poisoned: Path,
) -> None:
    off = read_json(stage(poisoned, "train-off") / "rounds.json")["decisions"]
    assert [d["choice"] for d in off] == ["promoted"] * 3
    assert off[1]["broken"] == read_json(stage(poisoned, "train-guarded") / "rounds.json")["decisions"][1]["broken"]
    assert "guards are off" in off[1]["why"]
    both = len(rows_of(poisoned, "off", 1, 2))
    assert read_json(stage(poisoned, "train_3-off") / "counts.json")["accumulated"] == both
    assert same(stage(poisoned, "train_2-off") / "model", stage(poisoned, "train_2-guarded") / "model")


def test_what_another_verifier_says_is_heard_anew(tmp_path: Path) -> None:
    """Its file decides what was said, so that a run never goes on with what an earlier one said."""
    file = tmp_path / "judge.py"
    method = {"source": "verifier", "verifier": f"{file}:judge", "mend": "none"}
    said = []
    for words in ("correct", "incorrect"):
        file.write_text(f"def judge(problem, text):\n    return 'Verdict: {words}'\n")
        with pytest.raises(DataError, match="nothing to learn") if words == "incorrect" else nullcontext():
            run_recipe(recipe_of({"tool": method}), tmp_path / "run", until_round=1)
        rows = read_rows(stage(tmp_path / "run", "feedback_1-tool") / "critiques.jsonl", Critique)
        said.append({c.feedback.verdict for c in rows})
    assert said == [{"correct"}, {"incorrect"}]


def test_a_critic_that_is_not_above_chance_stops_the_arm_before_its_first_round(tmp_path: Path) -> None:
    """An untrained critic's verdicts are a constant or a coin: the arm keeps the weights it started with."""
    method = {"guards": {"on": True}, "rounds": 2}
    root = run_recipe(recipe_of({"evolve": method}), tmp_path / "run")  # eight dev problems say nothing of chance
    record = read_json(stage(root, "train-evolve") / "rounds.json")
    assert [d["choice"] for d in record["decisions"]] == ["stopped"]
    assert "the critic is not above chance before the first round" in record["decisions"][0]["why"]
    assert (record["best"], len(record["measured"])) == (0, 1)
    assert same(stage(root, "train-evolve") / "model", stage(root, "train-base") / "model")
    assert not (root / "stages/answer_1-evolve").exists()


# -- people ------------------------------------------------------------------------------------------------------------


def test_people_are_asked_once_and_the_same_command_goes_on(tmp_path: Path) -> None:
    reviewed = tmp_path / "said.jsonl"
    method = {"source": "human", "reviewed": str(reviewed), "rounds": 1, "problems": 4, "temperature": 1.3}
    recipe = recipe_of({"people": method})
    queue = tmp_path / "run/review/people.jsonl"
    with pytest.raises(
        RunError, match=rf"wait for a person\. thinktwice review {queue} --out {reviewed}; then the same"
    ):
        run_recipe(recipe, tmp_path / "run")
    bench = Bench(recipe, print)
    by_id = {p.id: p for p in bench.task.splits["train"]}
    oracle = bench.task.oracle
    assert oracle is not None

    def look(skip: int) -> int:
        items, _ = read_queue(queue)
        for item in [*items.values()][skip:]:
            problem = by_id[item.problem_id]
            found = oracle.first_wrong(problem, item.answer)
            if found is None:
                add_review(reviewed, Review(item.id, "correct"))
            else:
                before = "".join(item.answer.splitlines(keepends=True)[: found[0]])
                rest = oracle.complete(problem, before) or ""
                line = rest.splitlines()[0] if rest else ""
                add_review(reviewed, Review(item.id, "incorrect", step=found[0] + 1, explanation=line))
        return len(items)

    seen = look(0)
    with reviewed.open("a") as stream:
        stream.write("{half a row\n")
    with pytest.raises(RunError, match="wait for a person"):  # those of the answers that were mended
        run_recipe(recipe, tmp_path / "run")
    assert look(seen) > seen
    run_recipe(recipe, tmp_path / "run")
    told = read_json(stage(tmp_path / "run", "feedback_1-people") / "counts.json")
    assert told["bad_rows"] == {"not a line of JSON": 1}
    assert told["kept"] > 0
    mended = read_json(stage(tmp_path / "run", "mend_1-people") / "counts.json")
    assert mended["judged"]["kept"] > 0
    assert mended["judged"]["bad_rows"] == {"not a line of JSON": 1}
    critiques = read_rows(stage(tmp_path / "run", "feedback_1-people") / "critiques.jsonl", Critique)
    assert {c.feedback.source for c in critiques} == {"human"}


# -- kills -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_until_a_round_and_then_on_is_one_run(finished: Path, tmp_path: Path) -> None:
    recipe = parse(Recipe, read_json(finished / "config.json"))
    one = replace(recipe, arms={name: recipe.arms[name] for name in ("base", "evolve")})
    root = run_recipe(one, tmp_path / "run", until_round=1)
    assert (root / "stages/measure_1-evolve").is_dir()
    assert not (root / "stages/answer_2-evolve").exists()
    assert not (root / "summary.json").exists()
    run_recipe(one, root)
    compare(root, finished, [p.relative_to(root) for p in root.glob("stages/*/*.json*")])
    assert same(stage(root, "train-evolve") / "model", stage(finished, "train-evolve") / "model")


@pytest.mark.slow
def test_a_run_killed_at_everything_that_happens_ends_as_one_that_was_not(tmp_path: Path) -> None:
    method = {"source": "oracle", "gold_visible": "critic", "problems": 3, "replay": 0.3}
    small = {**RECIPE["evaluation"], "problems": 2, "dev_problems": 4}  # type: ignore[dict-item]
    recipe = recipe_of({"evolve": method}, evaluation=small, train={**TRAIN, "steps": 2, "save_every": 1})
    (tmp_path / "recipe.json").write_text(json.dumps(to_dict(recipe)))
    script = Path(__file__).with_name("killed_pipeline.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "recipe.json"), str(tmp_path)],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    seen = (tmp_path / "killed.txt").read_text().splitlines()
    assert int(done.stdout.split()[-1]) == len(seen) == len(set(seen))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    stages = {path.name for path in (whole / "stages").iterdir() if path.is_dir()}
    assert {f"{kind}_{n}-evolve" for kind in KINDS if kind != "prompt" for n in (1, 2)} <= stages
    assert {f"{when} {name}" for when in ("before", "after") for name in stages} <= set(seen)
    for name in ("answer_1-evolve", "mend_1-evolve", "measure_1-evolve", "answer_2-evolve"):
        assert f"within {name}" in seen
    assert {f"train_{n}-evolve {step / 2:.3f}" for n in (1, 2) for step in (1, 2)} <= set(seen)
    files = [p.relative_to(whole) for pattern in ("stages/*/*.json*", "traces/*.jsonl") for p in whole.glob(pattern)]
    assert {"learned.jsonl", "voted.jsonl", "decision.json", "rounds.json"} <= {p.name for p in files}
    compare(killed, whole, [p for p in files if not p.name.endswith("seconds.json")])
    weights = [p.relative_to(whole) for p in whole.glob("stages/**/*.safetensors")]
    assert len(weights) >= 5
    for path in weights:
        assert (killed / path).read_bytes() == (whole / path).read_bytes(), path
    assert not [*(killed / "stages").glob("*.tmp"), *(killed / "stages").glob("*.scratch")]


# -- examples ----------------------------------------------------------------------------------------------------------

ODD = "#### 77777"
"""A wrong answer, known by its number."""


class Told(ScriptedEngine):
    """Says what it is told, with the tokenizer that its prompts are spelt by."""

    tokenizer: Any = None


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A tiny random model that spells byte by byte, and reads long prompts."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        [], trainers.BpeTrainer(special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False)
    )
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>").save_pretrained(
        tmp_path / "plain"
    )
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=257, max_position_embeddings=8192, eos_token_id=0, pad_token_id=0, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


@pytest.mark.parametrize("better", [True, False])
def test_adopted_examples_stand_in_the_next_round_s_prompts_and_in_no_row(
    better: bool, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(
        {}, model={"path": str(plain)}, method={"name": "evolve", "rounds": 0},
        evaluation={"problems": 2, "dev_problems": 8, "levels": [2]}, train={"steps": 1, "batch_size": 2},
        decode={"max_new_tokens": 400},
    )  # fmt: skip
    options = {
        "rounds": 2, "problems": 8, "samples": 1, "exemplars": "clustered", "guards": {"on": False}, "levels": [2],
        "accept": "all",
    }  # fmt: skip
    raw = to_dict(recipe)
    raw["arms"] = {"evolve": {"start": None, "method": options}}
    recipe = parse(Recipe, raw)
    problems = [p for split in Bench(recipe, print).task.splits.values() for p in split]
    asked: list[str] = []

    def load(path: Path, **_: Any) -> Told:
        render = Render(cast(Any, load_tokenizer(path)))

        def script(prompt: Sequence[int]) -> Sequence[int]:
            text = render.text(prompt)
            asked.append(text)
            last = text.rpartition("### Task:\n")[2]
            (problem,) = [p for p in problems if p.prompt in last]
            right = ODD in text if better else problem.key % 2 == 0
            if text.endswith("### Feedback:\n"):
                right = ODD not in last
                said = "Verdict: correct" if right else "Verdict: incorrect\nExplanation: not so"
                return (*render.encode(said), render.end_id)
            right = right or (problem.key % 2 == 0 and problem.level == 2 and problem in train)
            return (*render.encode((problem.solution or "") if right else ODD), render.end_id)

        engine = Told(script, eos_ids=[render.end_id])
        engine.tokenizer = render.tokenizer
        return engine

    train = [*Bench(recipe, print).task.splits["train"]]
    monkeypatch.setattr(pipeline, "load_engine", load)
    root = run_recipe(recipe, tmp_path / "run")
    adoption = read_json(stage(root, "prompt_1-evolve") / "adoption.json")
    assert adoption["adopted"] == better, adoption
    first, second = ((stage(root, f"answer_{n}-evolve") / "prompt.txt").read_text() for n in (1, 2))
    chosen = [parse(Shot, row, "shots") for row in adoption["chosen"]]
    assert len(chosen) == 2
    assert any(shot.answer == ODD for shot in chosen)
    assert "### Examples" in first
    for shot in chosen:
        assert shot.question not in first
        assert (shot.question in second) == better
        assert (shot.answer in second) == better or shot.answer != ODD
    assert second == (stage(root, "prompt_1-evolve") / "prompt.txt").read_text().replace(
        first_problem(recipe, 1), first_problem(recipe, 2)
    )
    # What critics are asked shows them, too; what is learned shows none.
    judged = [text for text in asked if text.endswith("### Feedback:\n") and first_problem(recipe, 2) in text]
    assert judged
    assert all((shot.feedback in text and shot.question in text) == better for text in judged[:1] for shot in chosen)
    method = Bench(recipe, print).methods["evolve"]
    assert isinstance(method, Evolve)
    render = Bench(recipe, print).render(stage(root, "base"))
    for row in rows_of(root, "evolve", 2):
        (example,) = method.learned(train, [row], render)
        assert "### Examples" not in render.text(example.token_ids)
    dev = {p.prompt for p in problems if p not in train}
    assert not dev & {shot.question for shot in chosen}
    gate = Arm(Bench(recipe, print), Run.load(root), "evolve").dev()[0]
    assert len(gate) == 2  # a quarter of dev: another quarter decides on examples


def first_problem(recipe: Recipe, number: int) -> str:
    return Arm(Bench(recipe, print), cast(Run, None), "evolve").problems(number)[0].prompt
