import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thinktwice import answer, pipeline
from thinktwice.config import Model, Recipe, load, parse, to_dict
from thinktwice.errors import ConfigError, DataError, ModelError, RunError
from thinktwice.methods.backtrack import UNDO
from thinktwice.records import Summary, TraceRecord
from thinktwice.resolve import resolve
from thinktwice.run import Run
from thinktwice.train import nano
from thinktwice.types import Problem, Score, Step, Trace

RECIPE = Path(__file__).parents[1] / "recipes/backtrack.yaml"
LEVELS, PROBLEMS = (1, 2), 6
TRAINED = ("control", "backtrack")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an untrained model of the nano base's kind, but smaller."""
    place = tmp_path_factory.mktemp("models") / "random"
    vocabulary = nano.tokenizer()
    made = nano.model(nano.Pretraining(hidden_size=16, layers=1, heads=2, feed_forward=32), vocabulary)
    made.save_pretrained(place)
    vocabulary.save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def recipe(base: Path) -> Recipe:
    """Give the demo's own recipe, with everything that costs time made small."""
    small = {
        "model.path": base,
        "task.operations": [1, 2],
        "task.levels": list(LEVELS),
        "task.train": 40,
        "task.per_level": PROBLEMS,
        "method.biases": [4.0],  # an untrained model must be pushed to undo anything
        "train.steps": 4,
        "train.tokens_per_step": 500,
        "train.log_every": 1,
        "train.save_every": 1,
        "decode.max_new_tokens": 20,
        "evaluation.problems": PROBLEMS,
        "evaluation.dev_problems": 2,
        "evaluation.levels": list(LEVELS),
        "evaluation.in_distribution": 1,
        "headline.level": 2,
    }
    return load(Recipe, RECIPE, [f"{key}={value}" for key, value in small.items()])


@pytest.fixture(scope="session")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pipeline.run_recipe(recipe, tmp_path_factory.mktemp("runs") / "first")


def records(root: Path, arm: str) -> list[TraceRecord]:
    rows = Run.load(root).traces(arm).done.values()
    return [parse(TraceRecord, row) for row in rows]


def timeless(root: Path) -> dict[str, Any]:
    found = json.loads((root / "summary.json").read_text())
    del found["seconds"], found["memory"]
    return found  # type: ignore[no-any-return]


def undo_id(root: Path) -> int:
    found: int = json.loads((root / "stages/base/control_tokens.json").read_text())[UNDO.token]
    return found


def test_the_summary_counts_every_arm_at_every_level(recipe: Recipe, finished: Path) -> None:
    raw = json.loads((finished / "summary.json").read_text())
    summary = parse(Summary, raw)
    assert list(summary.arms) == list(recipe.arms)
    for arm, levels in summary.arms.items():
        assert list(levels) == list(LEVELS)
        for level, cell in levels.items():
            rows = [r for r in records(finished, arm) if r.level == level]
            assert cell.n == len(rows) == PROBLEMS
            assert cell.accuracy == sum(r.score.value for r in rows) / PROBLEMS
            assert 0 <= cell.ci[0] <= cell.accuracy <= cell.ci[1] <= 1
            assert cell.sampled_tokens == sum(r.trace.sampled_tokens for r in rows) / PROBLEMS
    head = recipe.headline
    assert head is not None
    assert summary.headline in summary.comparisons
    assert summary.headline is not None
    assert (summary.headline.a, summary.headline.b, summary.headline.level) == (head.a, head.b, head.level)
    pairs = {(c.a, c.b, c.level) for c in summary.comparisons}
    assert {(head.a, head.through, head.level), (head.through, head.b, head.level)} <= pairs
    assert {(head.a, other, level) for other in recipe.arms if other != head.a for level in LEVELS} <= pairs
    for c in summary.comparisons:
        values = [[r.score.value for r in records(finished, arm) if r.level == c.level] for arm in (c.a, c.b)]
        assert c.difference == pytest.approx((sum(values[0]) - sum(values[1])) / PROBLEMS)
        assert c.ci[0] <= c.difference <= c.ci[1]
    rows = [r for arm in recipe.arms for r in records(finished, arm)]
    assert summary.failures["stopped: budget"] == sum(r.trace.stop == "budget" for r in rows) > 0
    assert summary.failures["unscored"] == summary.failures["stopped: error"] == 0
    assert all(bool(r.failure) == (r.score.value != 1) for r in rows)
    assert all(len(s.logprobs) == len(s.token_ids) for r in rows for s in r.trace.steps if s.sampled)
    assert set(summary.retraction) == {"backtrack", "backtrack_off", "backtrack_keep"}
    assert summary.threshold is not None
    assert summary.threshold.bias == 4.0
    assert set(summary.seconds) == {path.name for path in (finished / "stages").iterdir() if path.is_dir()}
    assert all(seconds >= 0 for seconds in summary.seconds.values())
    assert summary.memory.keys() == summary.seconds.keys()
    assert all(2**20 < held.host < 2**40 for held in summary.memory.values())


def test_the_plan_names_every_stage_in_the_order_it_is_done(recipe: Recipe, finished: Path, tmp_path: Path) -> None:
    run = Run.load(finished)
    attempt = run.attempt()
    assert attempt is not None
    assert attempt.ended == "finished"
    assert [*attempt.plan] == [*run.stages(), "summary"]
    assert attempt.plan == tuple(pipeline.Bench(recipe, print).plan())
    undecided = replace(recipe, evaluation=replace(recipe.evaluation, dev_problems=0))
    assert not [name for name in pipeline.Bench(undecided, print).plan() if name.startswith("calibrate-")]


def test_every_arm_answers_the_same_problems_in_the_same_words(recipe: Recipe, finished: Path) -> None:
    first, *others = [[(r.key, r.level, r.question, r.reference) for r in records(finished, a)] for a in recipe.arms]
    assert len({key for key, *_ in first}) == len(LEVELS) * PROBLEMS
    assert all(other == first for other in others)


def test_arms_that_reuse_weights_do_not_train(recipe: Recipe, finished: Path) -> None:
    stages = {path.name for path in (finished / "stages").iterdir() if path.is_dir()}
    assert {name for name in stages if name.startswith("train-")} == {f"train-{arm}" for arm in TRAINED}
    for arm in TRAINED:
        steps = (finished / "stages" / f"train-{arm}" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in steps] == [1, 2, 3, 4]
        assert (finished / "stages" / f"train-{arm}" / "audit.json").exists()
    assert not list((finished / "stages").glob("*.scratch"))


def test_every_trained_arm_starts_from_the_same_base_and_ends_elsewhere(finished: Path) -> None:
    def weights(stage: str) -> bytes:
        return (finished / "stages" / stage / "model.safetensors").read_bytes()

    assert len({weights("base"), weights("train-control/model"), weights("train-backtrack/model")}) == 3


def test_plain_arms_and_the_switched_off_arm_never_write_an_undo_token(finished: Path) -> None:
    for arm in ("base", "control", "control_majority", "backtrack_off"):
        for record in records(finished, arm):
            assert all(undo_id(finished) not in step.token_ids for step in record.trace.steps)


@pytest.mark.parametrize("arm", ["backtrack", "backtrack_keep"])
def test_what_was_taken_back_is_in_the_trace_and_not_in_the_reply(arm: str, finished: Path) -> None:
    undo, undone = undo_id(finished), 0
    for record in records(finished, arm):
        steps = record.trace.steps
        assert UNDO.token not in record.trace.reply
        assert all(undo not in step.token_ids for step in record.trace.kept)
        raw = [i for step in steps for i in step.token_ids]
        undone += raw.count(undo)
        if arm == "backtrack_keep":
            assert resolve(raw, undo).kept_ids == tuple(i for step in record.trace.kept for i in step.token_ids)
    assert undone > 10


def test_the_vote_costs_at_least_what_the_arm_it_is_matched_to_cost(finished: Path) -> None:
    spent = {
        arm: sum(r.trace.sampled_tokens for r in records(finished, arm)) for arm in ("backtrack", "control_majority")
    }
    assert spent["control_majority"] >= spent["backtrack"]
    method = json.loads((finished / "stages/solve-control_majority/method.json").read_text())
    assert method["samples"] >= 3


def test_the_same_seed_gives_the_same_result(recipe: Recipe, finished: Path, tmp_path: Path) -> None:
    again = pipeline.run_recipe(recipe, tmp_path / "again")
    assert timeless(again) == timeless(finished)
    for arm in recipe.arms:
        assert records(again, arm) == records(finished, arm)


def test_a_second_call_does_nothing(recipe: Recipe, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def states() -> dict[str, Any]:
        paths = [p for name in ("stages", "traces") for p in sorted((finished / name).rglob("*"))]
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in paths}

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model was loaded, though there is nothing left to do")

    before, summary = states(), (finished / "summary.json").read_bytes()
    monkeypatch.setattr(pipeline, "load_engine", forbidden)
    told: list[str] = []
    pipeline.run_recipe(recipe, finished, progress=lambda p: told.append(p.stage))
    assert states() == before
    assert (finished / "summary.json").read_bytes() == summary
    assert not [stage for stage in told if stage.startswith(("train-", "solve-", "collect-"))]


def test_a_changed_recipe_is_refused_and_changes_nothing(recipe: Recipe, finished: Path) -> None:
    summary = (finished / "summary.json").read_bytes()
    with pytest.raises(RunError, match=r"another config: seed: 0 -> 1"):
        pipeline.run_recipe(replace(recipe, seed=1), finished)
    assert (finished / "summary.json").read_bytes() == summary


def test_one_arm_can_be_trained_alone_and_is_then_used(recipe: Recipe, finished: Path, tmp_path: Path) -> None:
    model = pipeline.train_arm(recipe, tmp_path / "alone", "backtrack")
    assert (model / "model.safetensors").read_bytes() == (
        finished / "stages/train-backtrack/model/model.safetensors"
    ).read_bytes()
    assert not (tmp_path / "alone/summary.json").exists()
    with pytest.raises(ConfigError, match=r"trains no weights of its own\. Arms that do: control, backtrack"):
        pipeline.train_arm(recipe, tmp_path / "alone", "backtrack_off")


def test_one_question_is_answered_as_the_arm_answered_it(finished: Path) -> None:
    record = records(finished, "backtrack")[0]
    events: list[str] = []
    trace = answer.solve_question(
        record.question,
        str(finished / "stages/train-backtrack/model"),
        on_event=lambda event, spell: events.append(event.kind + spell(event.token_ids)),
        options={"max_new_tokens": 20},
    )
    assert [step.token_ids for step in trace.steps] == [step.token_ids for step in record.trace.steps]
    assert sum(event.startswith("deleted") for event in events) > 0


def test_a_recipe_that_cannot_work_is_refused_before_anything_is_done(recipe: Recipe, tmp_path: Path) -> None:
    def changed(**changes: Any) -> Recipe:
        return parse(Recipe, {**to_dict(recipe), **changes})

    run = to_dict(recipe)
    for broken, error, says in (
        (changed(train={"stepz": 3}), ConfigError, "Did you mean 'steps'"),
        (changed(method={"name": "backtrak"}), ConfigError, "Did you mean 'backtrack'"),
        (changed(method={"name": "backtrack", "rate": 2.0}), ConfigError, "method.rate=2.0"),
        (changed(task={**run["task"], "level": [1]}), ConfigError, "no option 'level'. Did you mean 'levels'"),
    ):
        with pytest.raises(error, match=says):
            pipeline.run_recipe(broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match="no test problems at level 9"):
        pipeline.Bench(recipe, print).problems("test", 9)


def test_a_pinned_revision_is_what_is_used(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer.base_directory(Model(str(base))) == str(base)
    with pytest.raises(ConfigError, match="is for hub models"):
        answer.base_directory(Model(str(base), revision="abc"))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="is an adapter"):
        answer.base_directory(Model(str(tmp_path / "adapter")))
    revision = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--owner--name/snapshots" / revision
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="cannot be loaded from the hub"):
        answer.base_directory(Model("owner/name", revision="main"))
    assert Path(answer.base_directory(Model("owner/name", revision=revision))) == snapshot


def test_a_failure_is_named_by_its_kind() -> None:
    class Judge:
        def first_wrong(self, problem: Problem, solution: str) -> tuple[int, str] | None:
            return (0, "wrong result") if "6" in solution else None

    def kind(stop: Any, reply: str, score: Score, oracle: Any = None) -> str:
        return pipeline.describe_failure(
            Problem("p", "q", "5"), Trace("p", (Step("text", reply),), stop), score, oracle
        )

    wrong, silent = Score(0.0, "6"), Score(0.0, None)
    assert kind("done", "5", Score(1.0, "5"), Judge()) == ""
    assert kind("done", "6", wrong, Judge()) == "wrong result"
    assert kind("done", "7", wrong, Judge()) == kind("done", "6", wrong) == "wrong answer"
    assert kind("done", "hm", silent) == "no answer"
    assert [kind(stop, "6", wrong, Judge()) for stop in ("budget", "length", "error")] == [
        "out of tokens", "out of context", "error",
    ]  # fmt: skip


def test_failures_are_counted_apart(recipe: Recipe) -> None:
    def row(stop: Any, score: Score) -> TraceRecord:
        steps = () if stop == "error" else (Step("text", "5", (1, 2)),)
        return TraceRecord(
            "k", "a", 1, "q", "5", Trace("p", steps, stop, "it broke" if stop == "error" else None), score
        )

    bench = pipeline.Bench(recipe, print)
    problem = Problem("p", "q", "5")
    broken = bench.judge(problem, Trace("p", (), "error", "it broke"))
    assert broken == Score(0.0, None, "it broke", scored=False)
    rows = [row("done", Score(1.0, "5")), row("budget", Score(0.0, None)), row("error", broken)]
    assert pipeline.failures({"a": rows}) == {
        "stopped: length": 0,
        "stopped: budget": 1,
        "stopped: error": 1,
        "no answer found": 1,
        "unscored": 1,
    }
    found = pipeline.cell(rows)
    assert (found.n, found.accuracy, found.unscored, found.sampled_tokens) == (3, 1 / 3, 1, 4 / 3)


@pytest.fixture
def killed(recipe: Recipe, tmp_path: Path) -> tuple[Path, int]:
    (tmp_path / "recipe.json").write_text(json.dumps(to_dict(recipe)))
    script = Path(__file__).with_name("killed_pipeline.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "recipe.json"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path, int(done.stdout.split()[-1])


def test_a_run_killed_at_everything_that_happens_ends_with_the_same_result(
    recipe: Recipe, killed: tuple[Path, int]
) -> None:
    place, deaths = killed
    seen = (place / "killed.txt").read_text().splitlines()
    assert deaths == len(seen) == len(set(seen))
    stages = {path.name for path in (place / "whole/stages").iterdir() if path.is_dir()}
    assert {f"{when} {stage}" for when in ("before", "after") for stage in stages} <= set(seen)
    for arm in TRAINED:
        assert {f"train-{arm} {step / 4:.3f}" for step in (1, 2, 3, 4)} <= set(seen)
    for arm in recipe.arms:
        assert {f"within solve-{arm}", f"solve-{arm} {7 / 12:.3f}", f"solve-{arm} 1.000"} <= set(seen)
    assert timeless(place / "killed") == timeless(place / "whole")
    for pattern in ("traces/*.jsonl", "stages/*/*.jsonl", "stages/*/*.json", "stages/**/*.safetensors"):
        paths = sorted(p.relative_to(place / "whole") for p in (place / "whole").glob(pattern))
        assert paths
        for path in paths:
            if path.name not in ("manifest.json", "metrics.jsonl", "audit.json"):
                assert (place / "killed" / path).read_bytes() == (place / "whole" / path).read_bytes(), path
    assert not list((place / "killed/stages").glob("*.tmp"))
    assert not list((place / "killed/stages").glob("*.scratch"))
