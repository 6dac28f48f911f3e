"""Every line judged: what it is, what is wrong with it, and that the first wrong one is the oracle's."""

import random

import pytest

from thinktwice.tasks.worlds import arith, wiki
from thinktwice.types import LineOracle, LineVerdict, Oracle, Problem, Task

ARITH = Problem(
    "a",
    "Ann has 7 apples. Leo has as many as Ann plus 3. Jay has as many as Leo plus Ann. How many apples does Jay have?",
    "17",
)


def verdicts(*lines: str) -> list[LineVerdict]:
    return arith.StepOracle().verdicts(ARITH, "\n".join(lines))


def test_what_follows_from_a_wrong_line_is_no_second_mistake() -> None:
    found = verdicts("Leo: Ann + 3 where Ann 7 = Leo 11", "Jay: Leo + Ann where Leo 11, Ann 7 = Jay 18", "#### 18", "x")
    assert found == [LineVerdict("wrong_arithmetic", "+"), LineVerdict("", "+"), LineVerdict("", "answer")]


def test_a_line_that_cannot_be_read_has_no_kind_and_one_said_twice_does_no_harm() -> None:
    found = verdicts("Leo: Ann + 3 where Ann 7 = Leo 10", "hm", "Leo: Ann + 3 where Ann 7 = Leo 10", "#### 10")
    assert found == [
        LineVerdict("", "+"),
        LineVerdict("malformed"),
        LineVerdict("repeated", "+", harmless=True),
        LineVerdict("early_answer", "answer"),
    ]


@pytest.fixture(scope="module")
def worlds() -> list[Task]:
    return [
        arith.task(levels=(3,), train=1, per_level=15, operations=(2, 3)),
        wiki.task(facts=(1, 2), levels=(2, 3), train=1, per_level=15),
    ]


def test_both_worlds_agree_with_their_oracles_first_wrong_line_and_with_the_labels(worlds: list[Task]) -> None:
    rng, broken = random.Random(0), 0
    for task in worlds:
        oracle: Oracle | None = task.oracle
        assert isinstance(oracle, LineOracle)
        for problem in task.splits["test"]:
            assert problem.solution
            found = oracle.verdicts(problem, problem.solution)
            assert not any(v.wrong or v.harmless for v in found)
            assert len(found) == len(problem.solution.splitlines())
            assert found[-1].step == "answer"
            if problem.labels:
                assert [v.step for v in found[:-1]] == list(problem.labels)
            lines = problem.solution.splitlines()
            index = rng.randrange(len(lines))
            lines[index:index] = [rng.choice(["nonsense", lines[-1], *lines[:index]])]
            text = "\n".join(lines)
            first = next(((i, v.wrong) for i, v in enumerate(oracle.verdicts(problem, text)) if v.wrong), None)
            assert first == oracle.first_wrong(problem, text)  # type: ignore[attr-defined]
            broken += first is not None
    assert broken > 30


def test_a_true_fact_that_is_not_needed_is_harmless(worlds: list[Task]) -> None:
    task = worlds[1]
    problem = next(p for p in task.splits["test"] if p.labels[:1] == ("memory",))
    assert problem.solution
    first = problem.solution.splitlines()[0]
    found = task.oracle.verdicts(problem, f"{first}\n{first}\n")  # type: ignore[union-attr]
    assert found == [LineVerdict("", "memory"), LineVerdict("not needed", "memory", harmless=True)]
    false = f"{first.rsplit(' ', 1)[0]} 1234.\n"
    assert task.oracle.verdicts(problem, false) == [LineVerdict("wrong fact", "memory")]  # type: ignore[union-attr]
