import json

import pytest

from thinktwice.errors import ConfigError, DataError
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.tasks.math import problem


def row(n, **changes):
    return {
        "problem": f"What is half of ${n}$?",
        "solution": f"Halving gives \\[{n} \\div 2 = x.\\]\nSo the U.S. answer is $x = {n}/2$. "
        f"It is $\\boxed{{\\frac{{{n}}}{{2}}}}$.",
        "level": "Level 3",
        "type": "Counting & Probability",
        **changes,
    }


def test_a_row():
    got = problem(row(7))
    assert got.answer == r"\frac{7}{2}"
    assert got.level == 3
    assert got.solution.splitlines() == [
        "Halving gives \\[7 \\div 2 = x.\\]",
        "So the U.S. answer is $x = 7/2$.",
        "It is $\\boxed{\\frac{7}{2}}$.",
        r"The answer is: \frac{7}{2}",
    ]
    assert problem(row(7, level="Level ?")).level == 0


@pytest.mark.parametrize(
    "change", [{"solution": "no box"}, {"solution": r"\boxed{"}, {"solution": r"\boxed{}"}, {"problem": ""}]
)
def test_a_row_without_an_answer_is_bad(change):
    with pytest.raises(DataError):
        problem(row(7, **change))


@pytest.fixture(params=["lines", "trees"])
def directory(request, tmp_path):
    for split, numbers in (("train", range(40)), ("test", range(100, 130))):
        rows = [row(n, **({"type": "Algebra"} if n % 2 else {})) for n in numbers]
        if request.param == "lines":
            (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        for n, r in enumerate(rows) if request.param == "trees" else ():
            file = (
                tmp_path / split / ("algebra" if r["type"] == "Algebra" else "counting_and_probability") / f"{n}.json"
            )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(r, indent=4))
    return tmp_path


def test_both_layouts(directory):
    got = load_task("math", path=str(directory), dev=10)
    assert {name: len(rows) for name, rows in got.splits.items()} == {"train": 30, "dev": 10, "test": 30}
    check_disjoint(got)
    for rows in got.splits.values():
        for p in rows:
            assert got.score(p, p.solution).value == 1
    algebra = load_task("math", path=str(directory), dev=5, subject="algebra")
    assert {name: len(rows) for name, rows in algebra.splits.items()} == {"train": 15, "dev": 5, "test": 15}


def test_the_first_problems_are_of_every_subject(directory):
    first = load_task("math", path=str(directory), dev=0).splits["test"][:12]
    assert {int(p.prompt.split("$")[1]) % 2 for p in first} == {0, 1}


def test_strict_is_exact_and_compat_is_not(directory):
    strict, compat = (load_task("math", path=str(directory), dev=0, compat=c) for c in (False, True))
    p = next(p for p in strict.splits["test"] if p.answer == r"\frac{101}{2}")
    assert strict.score(p, "The answer is: 50.5").value == 1
    assert strict.score(p, "The answer is: 51").value == 0
    assert compat.score(p, "The answer is: 51").value == 1  # 4 %
    assert strict.score(p, "").answer is None
    assert compat.score(p, "").answer == "101"  # found in the prompt


def test_unknown_subject_names_the_nearest(directory):
    with pytest.raises(ConfigError, match="Did you mean 'algebra'"):
        load_task("math", path=str(directory), subject="algbra")


def test_a_damaged_file_of_a_tree_is_quarantined(tmp_path):
    for n in range(150):
        file = tmp_path / "test" / "algebra" / f"{n}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(row(n)) if n else "{")
    got = load_task("math", path=str(tmp_path))
    assert (len(got.splits["test"]), got.quarantined) == (149, 1)
