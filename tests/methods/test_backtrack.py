import random
from dataclasses import replace
from typing import Any

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods import METHODS, build_method
from thinktwice.methods.backtrack import UNDO, Backtrack
from thinktwice.methods.backtrack.errors import SOURCES, Place, first_mistake, split_at_difference
from thinktwice.methods.backtrack.metrics import measure, spans
from thinktwice.render import PLAIN, Render
from thinktwice.resolve import resolve
from thinktwice.tasks.worlds import arith
from thinktwice.train.nano import tokenizer
from thinktwice.types import Completion, Fate, Step, Task, Trace


@pytest.fixture(scope="module")
def render() -> Render:
    made = tokenizer()
    made.add_special_tokens({"additional_special_tokens": [UNDO.token]})
    return Render(made, PLAIN)


@pytest.fixture(scope="module")
def task() -> Task:
    return arith.task(levels=(3,), train=60, per_level=30, operations=(2, 6))


@pytest.mark.parametrize("source", sorted(SOURCES))
@pytest.mark.parametrize("with_oracle", [True, False])
def test_a_mistake_differs_where_it_begins_and_never_ends_the_reply(
    source: str, with_oracle: bool, render: Render, task: Task
) -> None:
    made = 0
    for problem in task.splits["train"]:
        steps = render.steps(problem.solution or "")
        lines = (problem.solution or "").splitlines(keepends=True)
        for index, right in enumerate(steps[:-1]):
            oracle = task.oracle if with_oracle else None
            place = Place(problem, steps, lines, index, render, oracle)
            found = SOURCES[source](place, random.Random(index), 3)
            if found is None:
                continue
            made += 1
            assert 1 <= len(found.token_ids) <= 3
            assert found.token_ids[0] != right[found.offset]
            assert render.end_id not in found.token_ids
            if with_oracle and source == "plausible":
                wrong = "".join(lines[:index]) + render.text((*right[: found.offset], *found.token_ids))
                assert task.oracle is not None
                assert not task.oracle.is_viable(problem, wrong)
    assert made > 50


@pytest.mark.parametrize("unit", ["token", "step"])
@pytest.mark.parametrize("errors", [("plausible",), ("number", "name"), ("random",)])
def test_every_collected_trace_resolves_to_the_right_solution(
    unit: Any, errors: Any, render: Render, task: Task
) -> None:
    method = Backtrack(unit=unit, errors=errors, rate=0.6, lengths=(1, 2, 4))
    problems = task.splits["train"]
    undo = render.control_id(UNDO.token)
    traces = method.collect(problems, None, render, task, seed=0)
    undone = 0
    for problem, trace in zip(problems, traces, strict=True):
        raw = tuple(i for step in trace.steps for i in step.token_ids)
        assert trace.reply == (problem.solution or "")
        undone += raw.count(undo)
        found = resolve(raw, undo, unit=unit, step_ends=render.step_ends)
        assert found.kept_ids == render.solution(problem.solution or "")
    assert undone > 50
    assert traces == method.collect(problems, None, render, task, seed=0)
    assert traces != method.collect(problems, None, render, task, seed=1)


def test_masked_mistakes_are_never_a_target_and_unmasked_ones_are(render: Render, task: Task) -> None:
    problems = task.splits["train"]
    undo = render.control_id(UNDO.token)
    masked = Backtrack(rate=0.5, lengths=(3,))
    traces = masked.collect(problems, None, render, task, seed=0)
    share = []
    for method in (masked, replace(masked, mask_errors=False)):
        learned = sum(w for e in method.examples(problems, traces, render) for w in e.weights)
        share.append(learned)
    assert share[0] < share[1]
    for problem, example in zip(problems, masked.examples(problems, traces, render), strict=True):
        right = set(render.solution(problem.solution or "")) | {undo}
        learned_ids = {t for t, w in zip(example.targets, example.weights, strict=True) if w}
        assert learned_ids <= right
        assert render.end_id in learned_ids


def test_the_context_field_decides_the_attention_layout(render: Render, task: Task) -> None:
    problems = task.splits["train"]
    for context, layout in (("rewind", True), ("keep", False)):
        method = Backtrack(context=context, rate=0.5)  # type: ignore[arg-type]
        examples = method.examples(problems, method.collect(problems, None, render, task, 0), render)
        assert all((e.dead_from is not None) == layout for e in examples)


def test_the_models_own_mistake_is_spliced_onto_a_right_ending(render: Render, task: Task) -> None:
    assert task.oracle is not None
    spliced = 0
    for problem in task.splits["train"]:
        lines = (problem.solution or "").splitlines(keepends=True)
        for index in range(len(lines) - 1):
            before = "".join(lines[:index])
            for wrong in task.oracle.plausible_errors(problem, before)[:2]:
                reply = (*render.encode(before + wrong), render.end_id)
                lapse = first_mistake(problem, reply, render, task.oracle, 2)
                assert lapse is not None
                spliced += 1
                assert lapse.index == index
                assert task.oracle.first_wrong(problem, "".join(lapse.lines)) is None
                right = render.steps("".join(lapse.lines))[index]
                text = before + render.text((*right[: lapse.mistake.offset], *lapse.mistake.token_ids))
                assert not task.oracle.is_viable(problem, text)
                assert (before + wrong).startswith(text)
        assert first_mistake(problem, render.solution(problem.solution or ""), render, task.oracle, 2) is None
    assert spliced > 50


def test_nothing_differs_means_no_mistake() -> None:
    assert split_at_difference((1, 2, 3), (1, 2), 4) is None
    assert split_at_difference((1, 2, 3), (1, 9, 8, 7), 2).token_ids == (9, 8)  # type: ignore[union-attr]


def written(render: Render, *parts: tuple[str, Fate]) -> Completion:
    pieces = [
        ((render.control_id(UNDO.token),) if fate == "control" else render.encode(text), fate) for text, fate in parts
    ]
    ids = tuple(i for piece, _ in pieces for i in piece)
    fates = tuple(fate for piece, fate in pieces for _ in piece)
    return Completion(ids, fates, (0.0,) * len(ids), "done")


QUESTION = (
    "Ann has 7 apples. Leo has as many as Ann plus 3. Jay has as many as Leo plus Ann. How many apples does Jay have?"
)
PROBLEM = arith.Problem("x", QUESTION, "17")
LEO, JAY = "Leo: Ann + 3 where Ann 7 = Leo 10\n", "Jay: Leo + Ann where Leo 10, Ann 7 = Jay 17\n#### 17"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        # a right retraction that helped
        ([("Jay", "deleted"), ("", "control"), (LEO + JAY, "kept")], {"right": 1, "useful": 1, "wrong_replies": 0}),
        # right, but replaced by another mistake
        ([("Jay", "deleted"), ("", "control"), ("Tom", "kept")], {"right": 1, "useful": 0, "wrong_replies": 1}),
        # a false one that did no harm, and one that did
        ([("Leo: ", "deleted"), ("", "control"), (LEO + JAY, "kept")], {"false": 1, "harmful": 0, "no_op": 1}),
        ([("Leo", "deleted"), ("", "control"), ("Jay", "kept")], {"false": 1, "harmful": 1, "no_op": 0}),
        # too late: what stands before the span is already wrong
        ([("Jay", "kept"), (": ", "deleted"), ("", "control"), (": ", "kept")], {"late": 1, "right": 0, "false": 0}),
        # never noticed
        ([("Jay: Leo + Ann where Leo 10", "kept")], {"retractions": 0, "wrong_replies": 1}),
    ],
)
def test_retractions_are_judged_against_the_oracle(
    parts: list[tuple[str, Fate]], expected: dict[str, int], render: Render, task: Task
) -> None:
    trace = render.trace("x", written(render, *parts))
    found = measure([PROBLEM], [trace], render, task.oracle)
    assert {name: getattr(found, name) for name in expected} == expected


def test_rates_and_budget_hits(render: Render, task: Task) -> None:
    right = render.trace("x", written(render, ("Jay", "deleted"), ("", "control"), (LEO + JAY, "kept")))
    false = render.trace("x", written(render, ("Leo: ", "deleted"), ("", "control"), (LEO + JAY, "kept")))
    missed = render.trace("x", written(render, ("Jay", "kept")))
    failed = Trace("x", (), "error", "no")
    found = measure([PROBLEM] * 4, [right, false, missed, failed], render, task.oracle, max_retractions=1)
    assert (found.precision, found.recall) == (0.5, 0.5)
    assert found.budget_hits == 2
    assert found.replies == 3
    summary = found.summary()
    assert summary.useful == 0.5
    assert summary.no_op == 0.5
    nothing = measure([], [], render, task.oracle)
    assert (nothing.precision, nothing.recall, nothing.summary().deleted_tokens) == (None, None, None)


def test_the_replacement_is_what_survives(render: Render) -> None:
    steps = render.trace(
        "x", written(render, ("Leo", "kept"), ("Jay", "deleted"), ("", "control"), ("Tom", "rejected"), ("Ann", "kept"))
    ).steps
    leo, jay, ann = (render.encode(name) for name in ("Leo", "Jay", "Ann"))
    assert spans(steps) == [(leo, jay, ann)]


def test_a_method_is_a_value_and_refuses_nonsense() -> None:
    assert build_method("backtrack", {"rate": 0.1}) == Backtrack(rate=0.1)
    with pytest.raises(ConfigError, match="rate"):
        build_method("backtrack", {"rte": 0.1})
    with pytest.raises(ConfigError, match="backtrack"):
        build_method("backtrak", {})
    with pytest.raises(ConfigError, match="probability"):
        Backtrack(rate=1.0)
    with pytest.raises(ConfigError, match="at least 1"):
        Backtrack(lengths=(0,))
    with pytest.raises(ConfigError, match="context=off"):
        Backtrack(max_retractions=0)
    assert {"baseline", "backtrack"} <= set(METHODS)


def test_own_mistakes_need_a_model_and_an_oracle(render: Render, task: Task) -> None:
    with pytest.raises(DataError, match="step oracle"):
        Backtrack(errors=("onpolicy",)).collect(task.splits["train"], None, render, task, 0)


def test_a_step_given_twice_is_not_confused(render: Render) -> None:
    assert spans((Step("text", "a", (1,)), Step("error", "b", (2,), kept=False))) == [((1,), (2,), ())]
