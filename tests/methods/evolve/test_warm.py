"""The warm start: solutions, and what a teacher, weak or not, says of planted mistakes."""

from dataclasses import replace

import pytest

from thinktwice.decode.walk import CORRECT, INCORRECT
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve import Evolve, Warm
from thinktwice.methods.evolve.feedback import read
from thinktwice.methods.evolve.learning import Objectives
from thinktwice.methods.evolve.warm import is_critique, warm_problems, warm_traces

WARM = Warm(solutions=15, critiques=30, error=0.0)


def judged(trace, problem, task, render):
    """Whether the last line that is shown is found wrong, and whether it is."""
    shown, said = "", None
    for step in trace.steps:
        shown += step.text if step.kind == "text" else ""
        said = step if step.kind == "critique" else said
    found = task.oracle.first_wrong(problem, shown)
    return INCORRECT.token in said.text, found, shown, said


def test_solutions_are_learned_whole_and_a_true_teacher_is_right(task, render):
    problems = task.splits["train"]
    by_id = {p.id: p for p in problems}
    traces = warm_traces(WARM, problems, render, task, "bare", seed=1)
    assert [t.problem_id for t in traces] == [p.id for p in problems[:45]]
    assert [is_critique(t) for t in traces] == [False] * 15 + [True] * 30
    verdicts = set()
    for trace in traces[15:]:
        problem = by_id[trace.problem_id]
        wrong, found, shown, said = judged(trace, problem, task, render)
        assert wrong == (found is not None)
        verdicts.add(wrong)
        if wrong:
            assert found[0] == len(shown.splitlines()) - 1
            instead = said.text.split(INCORRECT.token)[1]
            kept = "".join(shown.splitlines(keepends=True)[:-1])
            assert task.oracle.first_wrong(problem, kept + instead) is None
        else:
            assert shown == problem.solution
    assert verdicts == {True, False}
    assert warm_traces(WARM, problems, render, task, "bare", seed=1) == traces
    assert warm_traces(WARM, problems, render, task, "bare", seed=2) != traces


def test_a_weak_teacher_says_the_other_thing(task, render):
    weak = replace(WARM, solutions=0, critiques=60, error=0.4)
    by_id = {p.id: p for p in task.splits["train"]}
    errs = 0
    for trace in warm_traces(weak, task.splits["train"], render, task, "bare", seed=0):
        wrong, found, _, _ = judged(trace, by_id[trace.problem_id], task, render)
        errs += wrong != (found is not None)
    assert 12 <= errs <= 36


def test_a_plain_teacher_writes_what_is_read(task, spelling):
    for trace in warm_traces(replace(WARM, solutions=0), task.splits["train"], spelling, task, "plain", seed=0):
        shown, said = trace.steps
        feedback = read(said.text)
        problem = next(p for p in task.splits["train"] if p.id == trace.problem_id)
        found = task.oracle.first_wrong(problem, shown.text)
        assert feedback.says_right == (found is None)
        assert spelling.text(said.token_ids) == said.text
        assert said.token_ids[-1] == spelling.end_id
        if found:
            assert feedback.step == found[0] + 1


def test_the_warm_start_is_learned_whatever_the_rounds_learn(task, render):
    """Replayed rows have weight 1 in an arm whose own rows have none of feedback, or none of content."""
    traces = warm_traces(WARM, task.splits["train"], render, task, "bare", seed=1)
    method = Evolve(wording="bare", content=False, objectives=Objectives(feedback=0.0, prompt=1.0))
    examples = method.examples(task.splits["train"], traces, render)
    assert examples == Evolve(wording="bare").examples(task.splits["train"], traces, render)
    for trace, example in zip(traces, examples, strict=True):
        learned = [t for t, w in zip(example.targets, example.weights, strict=True) if w]
        kinds = ("critique",) if is_critique(trace) else ("text",)
        assert learned == [t for step in trace.steps if step.kind in kinds for t in step.token_ids]
        assert {*example.weights} == {0.0, 1.0}


def test_what_cannot_be_taught_is_refused(task, render):
    with pytest.raises(DataError, match="wants 61 training problems, and there are 60"):
        warm_problems(Warm(solutions=61), task.splits["train"])
    few = [p for p in task.splits["train"] if p.level == 1]
    with pytest.raises(DataError, match=f"and there are {len(few)}"):
        warm_problems(Warm(solutions=50, levels=(1,)), task.splits["train"])
    with pytest.raises(DataError, match="needs a task with a step oracle"):
        warm_traces(WARM, task.splits["train"], render, replace(task, oracle=None), "bare", 0)
    unsolved = [replace(task.splits["train"][0], solution=None)]
    with pytest.raises(DataError, match="has none"):
        warm_traces(Warm(solutions=1), unsolved, render, task, "bare", 0)
    for options, says in (
        ({"solutions": -1}, "solutions is -1"),
        ({"error": 0.5}, "below 0.5"),
        ({"wrong": 2.0}, "in"),
    ):
        with pytest.raises(ConfigError, match=says):
            Warm(**options)
    assert CORRECT.token in {token.token for token in Evolve(wording="bare").control_tokens}
