import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktwice.errors import DataError
from thinktwice.tasks.worlds import arith

QUESTION = (
    "Ann has 7 apples. Leo has as many as Ann plus 3. Jay has as many as Leo plus Ann. How many apples does Jay have?"
)
ANSWER = "Leo: Ann + 3 where Ann 7 = Leo 10\nJay: Leo + Ann where Leo 10, Ann 7 = Jay 17\n#### 17"
ORACLE = arith.StepOracle()


@given(seed=st.integers(), operations=st.integers(1, 12), irrelevant=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_drawn_solution_is_right_and_has_the_steps_it_needs(seed: int, operations: int, irrelevant: int) -> None:
    question, answer = arith.generate(random.Random(seed), operations, irrelevant)
    world = arith.World.read(question)
    assert arith.check(question, answer) == arith.Verdict(-1, None)
    assert len(world.facts) >= operations + irrelevant + 1

    needed: set[str] = set()
    open_names = [world.query]
    while open_names:
        name = open_names.pop()
        if world.facts[name].sign:
            needed.add(name)
            open_names += [x for x in world.facts[name].inputs if x not in needed]
    assert len(needed) == operations  # difficulty is what the answer needs, however many lines are written

    lines = answer.splitlines()
    assert operations < len(lines) <= operations + irrelevant + 1
    for index, line in enumerate(lines[:-1]):
        if line.partition(":")[0] in needed:  # without a needed step, something later is wrong
            rest = "\n".join(lines[:index] + lines[index + 1 :])
            assert arith.check(question, rest).kind in ("unknown_input", "early_answer")
    numbers = [int(word) for word in question.replace(".", " ").split() if word.isdigit()]
    assert all(0 <= number <= arith.LARGEST for number in numbers)
    starts = [fact.left for fact in world.facts.values() if fact.sign]
    assert len(starts) == len(set(starts))  # a quantity starts at most one statement


def test_the_number_of_lines_does_not_tell_that_the_answer_is_due() -> None:
    drawn = [arith.generate(random.Random(seed), 3, 3)[1].count("\n") for seed in range(300)]
    assert 3 in drawn
    assert sum(count > 3 for count in drawn) > 60


@pytest.mark.parametrize(
    ("solution", "step", "kind"),
    [
        (ANSWER, -1, None),
        ("Leo: Ann + 3 where Ann 7 = Leo 10\n", -1, None),
        ("Leo: 3 + 3 where Ann 7 = Leo 10\n#### 17", 0, "malformed"),
        ("Jay: Leo + Ann where Leo 10, Ann 7 = Jay 17\n#### 17", 0, "unknown_input"),
        ("Leo: Ann + 3 where Ann 8 = Leo 11", 0, "copied_wrong"),
        ("Leo: Ann + 4 where Ann 7 = Leo 11", 0, "wrong_operand"),
        ("Leo: Ann - 3 where Ann 7 = Leo 4", 0, "wrong_operand"),
        ("Leo: Ann + 3 where Ann 7 = Leo 11", 0, "wrong_arithmetic"),
        ("Leo: Ann + 3 where Ann 7 = Leo 10\nLeo: Ann + 3 where Ann 7 = Leo 10", 1, "repeated"),
        ("Leo: Ann + 3 where Ann 7 = Leo 10\n#### 10", 1, "early_answer"),
        (ANSWER.replace("#### 17", "#### 18"), 2, "copied_wrong"),
        ("Tom: Ann + 3 where Ann 7 = Tom 10", 0, "malformed"),
        (
            "Leo: Ann + 3 where Ann 7 = Leo 10\nJay: Ann + Leo where Ann 7, Leo 10 = Jay 17\n#### 17",
            -1,
            None,
        ),  # a sum either way round
        ("Leo: Ann + 3 where Ann 7 = Leo 10\nJay: Leo + 3 where Leo 10 = Jay 13", 1, "wrong_operand"),
    ],
)
def test_the_oracle_names_the_first_wrong_step_and_its_kind(solution: str, step: int, kind: str | None) -> None:
    assert arith.check(QUESTION, solution) == arith.Verdict(step, kind)


def test_viable_is_having_a_right_continuation() -> None:
    problem = arith.Problem("x", QUESTION, "17", ANSWER)
    for stop in range(len(ANSWER) + 1):
        assert ORACLE.is_viable(problem, ANSWER[:stop]), ANSWER[:stop]
    for text in (
        "Jay",
        "Leo: Ann + 3 where Ann 8",
        "Leo: Ann +  ",
        "####",
        ANSWER + "1",
        ANSWER + "\nLeo",
        "Leo: Ann + 3 where Ann 7 = Leo 10\nLeo",
    ):
        assert not ORACLE.is_viable(problem, text), text


def test_a_plausible_error_is_wrong_from_its_name_on_and_a_completion_is_right() -> None:
    for problem in itertools.islice(arith.problems("dev", 3, (2, 8)), 50):
        lines = (problem.solution or "").splitlines(keepends=True)
        for index in range(len(lines)):
            before = "".join(lines[:index])
            ending = ORACLE.complete(problem, before)
            assert ending is not None
            assert ORACLE.first_wrong(problem, before + ending) is None
            assert ending.splitlines()[-1] == f"#### {problem.answer}"
            for wrong in ORACLE.plausible_errors(problem, before):
                assert ORACLE.first_wrong(problem, before + wrong) == (index, "unknown_input")
                assert not ORACLE.is_viable(problem, before + wrong[:4])
    assert ORACLE.complete(problem, "Nobody: 1") is None


def test_splits_are_endless_seeded_and_share_no_question() -> None:
    drawn = {
        split: {p.prompt for p in itertools.islice(arith.problems(split, 0, (1, 3)), 400)}
        for split in ("train", "dev", "test")
    }
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["dev"]
    assert not drawn["dev"] & drawn["test"]
    again = [p.prompt for p in itertools.islice(arith.problems("train", 0, (1, 3)), 20)]
    assert again == [p.prompt for p in itertools.islice(arith.problems("train", 0, (1, 3)), 20)]
    assert again != [p.prompt for p in itertools.islice(arith.problems("train", 1, (1, 3)), 20)]


def test_the_task_has_as_many_problems_at_each_level_as_asked() -> None:
    task = arith.task(levels=(2, 5), train=30, per_level=20)
    assert [p.level for p in task.splits["test"]] == [2] * 20 + [5] * 20
    assert len({p.id for p in task.splits["test"]}) == 40
    problem = task.splits["test"][0]
    assert task.score(problem, problem.solution or "").value == 1
    assert task.score(problem, "I do not know").value == 0


def test_what_is_impossible_is_refused_in_a_sentence() -> None:
    with pytest.raises(DataError, match="1 to 12 operations"):
        arith.generate(random.Random(0), 13, 0)
    with pytest.raises(DataError, match="not an arith question"):
        arith.World.read("How many roads must a man walk down?")
