"""The planning method: what is learned, what the grammar lets through, what the interventions do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thinktwice.engines.local import LocalEngine
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods import build_method
from thinktwice.methods.planning import Planning, solution_of
from thinktwice.nano import resolve
from thinktwice.render import PLAIN, Render
from thinktwice.tasks.worlds import arith
from thinktwice.train.vocab import prepare_base
from thinktwice.types import Completion, Problem, Sampling, Task, Trace

TYPED = Planning(labels=("memory", "reason"), num_general_prefix_tokens=2, num_special_prefix_tokens=3)
OPERATORS = replace(TYPED, extract_step_type_tokens="+-*/")
WAYS: dict[str, Planning] = {
    "typed": TYPED,
    "operators": OPERATORS,
    "untyped": replace(TYPED, extract_step_type_tokens="general"),
    "no prefix": replace(TYPED, num_general_prefix_tokens=0),
    "one token": replace(TYPED, num_general_prefix_tokens=0, num_special_prefix_tokens=1),
}


@pytest.fixture(scope="module")
def task() -> Task:
    made = arith.task(levels=(3,), train=40, per_level=12, operations=(2, 4))
    labelled = {
        name: [
            replace(p, labels=tuple(("memory", "reason")[i % 2] for i in range(len(p.solution.splitlines()) - 1)))
            for p in split
        ]
        for name, split in made.splits.items()
    }
    return replace(made, splits=labelled)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: Any) -> LocalEngine:
    """The nano base with every token any of these methods adds, untrained."""
    place: Path = tmp_path_factory.mktemp("planning") / "base"
    tokens = dict.fromkeys(token for way in WAYS.values() for token in way.control_tokens)
    prepare_base(resolve("nano"), place, tuple(tokens))
    return LocalEngine.load(place, batch_size=8)


@pytest.fixture(scope="module")
def render(engine: LocalEngine) -> Render:
    return Render(engine.tokenizer, PLAIN)


class Parrot:
    """Writes collected traces back, so that reading a reply is tested against writing one."""

    name = "parrot"

    def __init__(self, traces: list[Trace]) -> None:
        self.replies = [tuple(i for s in t.steps for i in s.token_ids) for t in traces]

    def generate(self, prompts: Any, sampling: Any, **options: Any) -> list[Completion]:
        return [Completion(ids, ("kept",) * len(ids), (0.0,) * len(ids), "done") for ids in self.replies]


def names(render: Render, trace: Trace) -> list[list[str]]:
    """The planning tokens of every block of a trace."""
    return [[render.text([i]) for i in step.token_ids] for step in trace.steps if step.kind == "plan"]


def expected(way: Planning, types: list[tuple[str, ...]]) -> list[list[str]]:
    return [list(way.inventory.block(t)) for t in (*types, ("answer",))]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_examples_teach_every_block_every_step_and_the_end(way: Planning, task: Task, render: Render) -> None:
    problems = task.splits["train"]
    traces = way.collect(problems, None, render, task, seed=0)
    for problem, trace, example in zip(problems, traces, way.examples(problems, traces, render), strict=True):
        prompt = render.prompt(problem)
        assert example.token_ids[: len(prompt)] == prompt
        learned = [t for t, w in zip(example.targets, example.weights, strict=True) if w]
        assert tuple(learned) == example.token_ids[len(prompt) :]
        assert learned[-1] == render.end_id  # upstream could cut the answer off
        assert trace.reply == problem.solution
        types = {"+-*/": None, "general": [()] * len(problem.labels)}.get(
            way.extract_step_type_tokens, [(label,) for label in problem.labels]
        )
        if types is not None:
            assert names(render, trace) == expected(way, types)


@pytest.mark.parametrize("placement", ["only_at_front", "plan_first", "plan_only"])
def test_a_plan_of_its_own_is_no_part_of_the_reply(placement: Any, task: Task, render: Render) -> None:
    way = replace(TYPED, placement=placement)
    problems = task.splits["train"][:6]
    traces = way.collect(problems, None, render, task, 0)
    wanted = [(p.solution or "").splitlines()[-1] if placement == "plan_only" else p.solution for p in problems]
    assert [t.reply for t in traces] == wanted
    read = way.solve(problems, Parrot(traces), render, Sampling())  # type: ignore[arg-type]
    assert [t.reply for t in read] == wanted
    assert all([s.kind for s in t.steps][-1] == "answer" for t in read) or placement != "plan_only"
    if placement == "plan_first":
        assert all(not any(s.kind == "answer" for s in t.steps) for t in read)  # its block stands before the solution


def test_the_weight_of_planning_tokens(task: Task, render: Render) -> None:
    problems = task.splits["train"][:5]
    way = replace(TYPED, plan_weight=0.25)
    planning = way.blocks(render).ids
    for example in way.examples(problems, way.collect(problems, None, render, task, 0), render):
        weights = {w for t, w in zip(example.targets, example.weights, strict=True) if t in planning}
        assert weights == {0.25}
        others = [w for t, w in zip(example.targets, example.weights, strict=True) if t not in planning and w]
        assert set(others) == {1.0}


def test_the_controls_have_the_same_text_and_as_many_tokens(task: Task, render: Render) -> None:
    problems = task.splits["train"]
    arms = {
        "typed": TYPED,
        "untyped": replace(TYPED, extract_step_type_tokens="general"),
        "shuffled": replace(TYPED, shuffled=True),
        "random": replace(TYPED, extract_step_type_tokens="random"),
    }
    made = {name: arm.collect(problems, None, render, task, 0) for name, arm in arms.items()}
    lengths = {name: [sum(len(s.token_ids) for s in t.steps) for t in traces] for name, traces in made.items()}
    assert lengths["typed"] == lengths["untyped"] == lengths["shuffled"] == lengths["random"]
    assert {name: [t.reply for t in traces] for name, traces in made.items()}["shuffled"] == [
        p.solution for p in problems
    ]
    moved = 0
    for typed, shuffled in zip(made["typed"], made["shuffled"], strict=True):
        a, b = names(render, typed), names(render, shuffled)
        assert sorted(a) == sorted(b)
        moved += a != b
    assert moved > len(problems) // 4
    assert made["shuffled"] == arms["shuffled"].collect(problems, None, render, task, 0)
    assert made["shuffled"] != arms["shuffled"].collect(problems, None, render, task, 1)


def test_text_tags_need_no_new_tokens_and_stay_out_of_the_reply(task: Task, render: Render, engine: Any) -> None:
    way = replace(TYPED, tags=True)
    assert way.control_tokens == ()
    problems = task.splits["train"][:4]
    traces = way.collect(problems, None, render, task, 0)
    for problem, trace in zip(problems, traces, strict=True):
        assert [s.text for s in trace.steps if s.kind == "plan"] == [f"[{label}] " for label in problem.labels]
        assert trace.reply == problem.solution

    read = way.solve(problems, Parrot(traces), render, Sampling())  # type: ignore[arg-type]
    assert [[(s.kind == "plan", s.text) for s in t.steps] for t in read] == [
        [(s.kind == "plan", s.text) for s in t.steps] for t in traces
    ] or [t.reply for t in read] == [p.solution for p in problems]
    assert [t.reply for t in read] == [p.solution for p in problems]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_whatever_the_weights_a_constrained_reply_follows_the_grammar(
    way: Planning, temperature: float, task: Task, render: Render, engine: LocalEngine
) -> None:
    way = replace(way, constrained=True)
    blocks = way.blocks(render)
    problems = task.splits["test"]
    sampling = Sampling(temperature=temperature, max_new_tokens=90, seed=1)
    for trace in way.solve(problems, engine, render, sampling):
        assert trace.stop in ("done", "budget")
        steps = [s for s in trace.steps if s.kept]
        assert steps[0].kind == "plan"  # something stands before the first step
        runs: list[tuple[str, list[int]]] = []
        for step in steps:
            kind = "plan" if step.kind == "plan" else "text"
            if runs and runs[-1][0] == kind and not (kind == "text" and runs[-1][1][-1] in render.step_ends):
                runs[-1][1].extend(step.token_ids)
            else:
                runs.append((kind, list(step.token_ids)))
        answered = False
        for index, (kind, ids) in enumerate(runs):
            if kind == "text":
                assert not blocks.ids.intersection(ids)
                assert not render.step_ends.intersection(ids[:-1])  # one line after one block
                continue
            assert not answered
            assert tuple(ids[: len(blocks.prefix)]) == blocks.prefix
            rest, keys = ids[len(blocks.prefix) :], []
            while rest:
                key = blocks.openings[rest[0]]
                own = blocks.own[key]
                cut = len(rest) < len(own) and index == len(runs) - 1 and trace.stop == "budget"
                assert tuple(rest[: len(own)]) == own or cut
                keys.append(key)
                rest = rest[len(own) :]
            answered = "answer" in keys
            assert not answered or len(keys) == 1
            if not way.several and way.inventory.special and trace.stop != "budget":
                assert len(keys) == 1


def test_the_rest_of_a_block_is_inserted_not_drawn(task: Task, render: Render, engine: LocalEngine) -> None:
    way = replace(TYPED, constrained=True)
    traces = way.solve(task.splits["test"], engine, render, Sampling(max_new_tokens=60))
    drawn = sum(len(s.token_ids) for t in traces for s in t.steps if s.kind == "plan" and s.sampled)
    inserted = sum(len(s.token_ids) for t in traces for s in t.steps if s.kind == "plan" and not s.sampled)
    assert inserted > 3 * drawn > 0  # 1 of 5 tokens of a block is a choice


def test_forced_types_come_in_the_order_that_was_asked_for(task: Task, render: Render, engine: LocalEngine) -> None:
    force = ("reason", "memory", "memory", "answer")
    way = replace(TYPED, constrained=True, force=force)
    blocks = way.blocks(render)
    seen = 0
    for trace in way.solve(task.splits["test"], engine, render, Sampling(max_new_tokens=400)):
        ids = [i for step in trace.steps if step.kept for i in step.token_ids]
        types = [blocks.openings[i] for i in ids if i in blocks.openings]
        assert types == list(force[: len(types)])
        seen += len(types) == len(force)
    assert seen


def test_the_other_type_and_the_deleted_type(task: Task, render: Render, engine: LocalEngine) -> None:
    problems = task.splits["test"]

    def types(way: Planning) -> list[list[str]]:
        openings = way.blocks(render).openings
        traces = way.solve(problems, engine, render, Sampling(max_new_tokens=120))
        return [[openings[i] for s in t.steps if s.kept for i in s.token_ids if i in openings] for t in traces]

    way = replace(TYPED, constrained=True)
    plain, other = types(way), types(replace(way, exchange=("memory", "reason")))
    swapped = {"memory": "reason", "reason": "memory", "answer": "answer", "assignment": "assignment"}
    assert [row[0] for row in other] == [swapped[row[0]] for row in plain]  # the first choice meets the same context
    begun = {row[0] for row in plain}
    gone = begun.pop()
    without = replace(way, delete=gone)
    assert not any(gone in row[:-1] for row in types(without))  # the last may be cut before its line ends
    traces = without.solve(problems, engine, render, Sampling(max_new_tokens=120))
    assert any(step.rewind for trace in traces for step in trace.steps)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_special_prefix_tokens": -1}, "0 or more"),
        ({"num_plan_types": 3, "num_types": 4}, "two names"),
        ({"tags": True, "placement": "plan_first"}, "every_step"),
        ({"constrained": True, "placement": "plan_first"}, "constrained"),
        ({"constrained": True, "extract_step_type_tokens": "none"}, "constrained"),
        ({"force": ("memory",)}, "constrained"),
        ({"delete": "memmory"}, "memmory"),
        ({"exchange": ("memory", "reason"), "num_special_prefix_tokens": 0}, "no type|tokens of their own"),
        ({"extract_step_type_tokens": "kmeens"}, "k-means"),
        ({"placement": "plan_only", "tags": False, "extract_step_type_tokens": "none"}, "plan_only"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Planning(**wrong)


def test_num_types_is_num_plan_types() -> None:
    one, other = (
        build_method("planning", {"extract_step_type_tokens": "k-means", n: 7}) for n in ("num_types", "num_plan_types")
    )
    assert one.control_tokens == other.control_tokens
    assert len(one.control_tokens) == 3 + 4 * (2 + 7)


def test_labels_that_do_not_fit_the_steps_are_refused() -> None:
    with pytest.raises(DataError, match="2 steps and 1 labels"):
        solution_of(Problem("p", "q", "a", "one\ntwo\nThe answer is: a", labels=("memory",)))


def test_random_types_are_the_labels_or_as_many_as_asked_for() -> None:
    assert Planning(extract_step_type_tokens="random").types == ("memory", "reason")
    assert len(Planning(extract_step_type_tokens="random", num_plan_types=3).types) == 3


def test_a_fitted_typer_is_kept_with_its_picture(task: Task, render: Render, tmp_path: Path) -> None:
    prepared = OPERATORS.prepare(task.splits["train"], None, render, task, 0, tmp_path / "fitted")
    assert prepared.artefact == str(tmp_path / "fitted")
    assert {path.name for path in (tmp_path / "fitted").iterdir()} >= {"typer.json", "picture.json"}
    traces = [m.collect(task.splits["train"], None, render, task, 0) for m in (OPERATORS, prepared)]
    assert traces[0] == traces[1]
