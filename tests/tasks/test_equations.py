import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from thinktwice.scoring import numeric
from thinktwice.tasks import gsm8k
from thinktwice.tasks.equations import MOST_CHARACTERS, equations
from thinktwice.tasks.verifier import EquationOracle
from thinktwice.types import Problem, Task

GSM8K = Path(__file__).parents[2] / "../shared/data/gsm8k"
published = pytest.mark.skipif(not GSM8K.is_dir(), reason="the published files are not in ../shared/data")

DUCKS = Problem(
    "ducks",
    "Janet's ducks lay 16 eggs a day. She eats 3, bakes with 4 and sells the rest for $2 each. What does she make?",
    "18",
    "Janet sells 16 - 3 - 4 = 9 duck eggs a day.\nShe makes 9 * 2 = $18 every day.\n#### 18",
)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("16 - 3 = 13 ducks eggs left", 13),
        ("She has 16 - 3 = <<16-3=13>>13 eggs", 13),
        ("$1,200 x 2 = $2,400.", 2400),
        ("3 red eggs + 4 blue eggs = 7 eggs", 7),
        ("so 20% of 50 = 10", 10),
        ("1/2 of 10 = 5", 5),
        ("75% - 25% = 50%", 50),
        ("10/3 = 3.33", Fraction(333, 100)),
        ("7/2 = 3 people", 3),
        ("2 × (3 + 4) ÷ 7 = 2", 2),
        ("2 + 3 = 5 + 4 = 9", 9),
        ("6 * 5 = 3 * 10 = 30", 30),
        ("2^3 = 8", 8),
        ("1 + 0.5 = **1.5**", Fraction(3, 2)),
        ("- 5 + 3 = 8", 8),
        ("2. 5 + 3 = 8", 8),
        ("-5 + 3 = -2", -2),
        ("60 miles/hour * 2 hours = 120 miles", 120),
    ],
)
def test_a_true_equation_is_read_and_holds(line: str, value: Fraction) -> None:
    found = equations(line + "\n")
    assert found
    assert all(equation.holds for equation in found)
    assert found[-1].value == value


@pytest.mark.parametrize(
    "line",
    [
        "16 - 3 = 14",
        "<<16-3=14>>14",
        "16 - 3 = <<16-3=14>>13",  # either may be wrong
        "$1,200 x 2 = $2,500",
        "3 eggs + 4 eggs = 8 eggs",
        "10/3 = 3.35",
        "20% of 50 = 12",
        "6 * 5 = 3 * 10 = 31",
        "so 1.1 + 2.2 = 3.30000001",
        "9 - 10 = 1",
    ],
)
def test_a_false_equation_is_false(line: str) -> None:
    assert any(equation.is_false for equation in equations(line + "\n"))


@pytest.mark.parametrize(
    "line",
    [
        "She has 5 eggs.",
        "x = 5",
        "2x + 3 = 14",
        "B + 24 = 60",
        "b + 16 = 2(s + 16)",
        "3:30 + 2 = 5:30",
        "1 hour + 30 minutes = 90 minutes",
        "50 * 3 cents = $1.50",
        "100 + 10% = 110",
        "25 pupils + his 1 teacher + 1 = 27",
        "Janet needs 35 for the kids + 5 = 40",
        "60 / 3/4 = 80",
        "4 + = 5",
        "4 / 0 = 5",
        "5 + 3 <= 9",
        "2 ** 99999999 = 1",
        "(" * 500 + "1 + 1" + ")" * 500 + " = 3",
        "1 + " * 1000 + "1 = 3",
        "__import__('os').getcwd() + 1 = 2",
        "9" * 5000 + " + 1 = 3",
        "5 + 3 = 9" + " " * MOST_CHARACTERS,
    ],
)
def test_what_cannot_be_read_or_is_unclear_is_not_accused(line: str) -> None:
    assert not any(equation.is_false for equation in equations(line + "\n"))


def test_the_first_wrong_line_and_its_kind() -> None:
    oracle = EquationOracle()
    assert oracle.first_wrong(DUCKS, DUCKS.solution or "") is None
    assert oracle.first_wrong(DUCKS, "It is 16 - 3 = 13\nthen 13 - 4 = 9\nso 9 * 2 = 18\n#### 18") is None
    assert oracle.first_wrong(DUCKS, "16 - 3 = 13\n13 - 4 = 8\n8 * 2 = 16\n#### 16") == (1, "wrong_arithmetic")
    assert oracle.first_wrong(DUCKS, "16 - 3 = 13\n13 * 2 = 26\n#### 26") == (1, "off_reference")
    assert oracle.first_wrong(DUCKS, "16 - 3 - 4 = 9\n#### 9") == (1, "wrong_answer")
    assert oracle.first_wrong(DUCKS, "16 - 3 - 4 = 9\n5 * 5 = 25\n") is None  # no answer: right as far as can be said


@pytest.mark.parametrize(
    ("text", "viable"),
    [
        ("", True),
        ("16 - 3 = 1", True),
        ("16 - 3 = 13", True),
        ("16 - 3 = 2", False),
        ("16 - 3 = 1 egg", False),
        ("16 - 3 = 1\n", False),
        ("16 - 3 = 14 eggs", False),
        ("2 * 3 + 1 = 6", True),  # + 1 = 7
        ("2 * 3 + 1 = 6 eggs", False),
        ("16 - 3 = <<16-3=1", True),
        ("16 - 3 = 13\nso 9 *", True),
        ("16 - 3 = 12\nso 9 *", False),
        ("9 * 2 = 18\n#### 1", True),
        ("9 * 2 = 18\n#### 18", True),
        ("9 * 2 = 18\n#### 18.0", True),
        ("9 * 2 = 18\n#### 2", False),
        ("9 * 2 = 18\n#### 1\n", False),
    ],
)
def test_viable_text(text: str, viable: bool) -> None:
    assert EquationOracle().is_viable(DUCKS, text) is viable


def test_every_beginning_of_a_right_solution_is_viable() -> None:
    text = DUCKS.solution or ""
    assert all(EquationOracle().is_viable(DUCKS, text[:end]) for end in range(len(text) + 1))


def test_completing_goes_on_from_what_is_derived_or_refuses() -> None:
    oracle = EquationOracle()
    _, second, last = (DUCKS.solution or "").splitlines(keepends=True)
    assert oracle.complete(DUCKS, "") == DUCKS.solution
    assert oracle.complete(DUCKS, "16 - 3 = 13 left\n13 - 4 = 9 to sell\n") == second + last
    assert oracle.complete(DUCKS, "(16 - 3 - 4) * 2 = 18\n") == last
    assert oracle.complete(DUCKS, "16 - 3 = 14\n") is None
    assert oracle.complete(DUCKS, "16 - 5 = 11\n") is None
    assert oracle.complete(DUCKS, (DUCKS.solution or "") + "\n") is None
    assert oracle.complete(replace(DUCKS, solution=None), "") is None


def test_plausible_mistakes_are_steps_whose_turn_has_not_come() -> None:
    oracle = EquationOracle()
    first, second, _ = (DUCKS.solution or "").splitlines(keepends=True)
    assert oracle.plausible_errors(DUCKS, "") == [second]
    assert oracle.plausible_errors(DUCKS, first) == []
    assert oracle.plausible_errors(DUCKS, "16 - 5 = 11\n") == []


@pytest.fixture(scope="module")
def task() -> Task:
    return gsm8k.gsm8k(str(GSM8K))


@published
def test_published_references_are_hardly_ever_accused_and_can_be_completed(task: Task) -> None:
    assert isinstance(task.oracle, EquationOracle)
    accused = 0
    for problem in task.splits["test"][:120]:
        solution = problem.solution or ""
        if task.oracle.first_wrong(problem, solution):
            accused += 1
            continue
        lines = solution.splitlines(keepends=True)
        for done in range(len(lines)):
            ending = task.oracle.complete(problem, "".join(lines[:done]))
            assert ending is not None
            assert solution.endswith(ending)
            assert numeric.score("".join(lines[:done]) + ending, problem.answer).value == 1
    assert accused <= 2


@published
def test_wrong_published_solutions_get_a_first_wrong_step_and_right_ones_do_not(task: Task) -> None:
    rows = [json.loads(line) for line in (GSM8K / "example_model_solutions_6b.jsonl").read_bytes().splitlines()]
    problems = {p.prompt: p for p in task.splits["test"]}
    oracle, counts = EquationOracle(), {(right, found): 0 for right in (True, False) for found in (True, False)}
    for row in rows[::6]:
        problem = problems[row["question"].strip()]
        for model in ("6b_finetuning", "6b_verification"):
            found = oracle.first_wrong(problem, row[model]["solution"])
            counts[row[model]["is_correct"], found is not None] += 1
            assert found is None or 0 <= found[0] < len(row[model]["solution"].splitlines())
    assert counts[True, True] <= 0.02 * (counts[True, True] + counts[True, False])
    assert counts[False, True] >= 0.98 * (counts[False, True] + counts[False, False])
