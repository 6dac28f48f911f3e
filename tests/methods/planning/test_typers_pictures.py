"""How types fall on solutions, as data to draw."""

from pathlib import Path
from typing import Any

import numpy as np

from thinktwice.methods.planning.typers import Solution, build_typer
from thinktwice.methods.planning.typers.pictures import Picture, picture

SOLUTIONS = [
    Solution("p", "q", ("1 + 2 = 3", "so 3", "3 - 1 + 5 = 7"), ("reason", "memory", "reason")),
    Solution("r", "q", ("2 + 2 = 4",), ("memory",)),
]


class Line:
    """Steps along one line, so that the first axis holds all the variance."""

    identity = "line"

    def __call__(self, solutions: Any) -> Any:
        places = [len(step) for s in solutions for step in s.steps]
        return np.outer(places, [1.0, -3.0, 0.5]).astype(np.float32)


def test_counts_and_transitions_are_those_of_the_blocks() -> None:
    seen = picture(build_typer("+-*/", 0, ()), SOLUTIONS, None)
    assert seen.types == ("+", "-", "*", "/", "assignment")
    assert seen.counts == {"+": 3, "-": 1, "*": 0, "/": 0, "assignment": 1}
    follows = dict(zip(("start", *seen.types), seen.transitions, strict=True))
    assert follows["start"] == (2, 0, 0, 0, 0, 0)
    assert follows["+"] == (0, 0, 0, 0, 1, 2)
    assert follows["assignment"] == (0, 1, 0, 0, 0, 0)
    assert follows["-"] == (1, 0, 0, 0, 0, 0)
    assert sum(map(sum, seen.transitions)) == sum(seen.counts.values()) + seen.problems
    assert seen.labels["+"] == {"memory": 1, "reason": 2}
    assert seen.points == ()
    assert set(seen.examples["+"]) == {"1 + 2 = 3", "2 + 2 = 4"}


def test_points_are_the_principal_components() -> None:
    seen = picture(build_typer("memory", 0, ("memory", "reason")), SOLUTIONS, Line())
    assert seen.explained == (1.0, 0.0)
    assert len(seen.points) == 4
    assert max(abs(x) for x, _, _ in seen.points) == 1.0
    assert all(abs(y) < 1e-6 for _, y, _ in seen.points)
    assert [name for _, _, name in sorted(seen.points)].count("memory") == 2
    assert seen.types == ("memory", "reason")


def test_a_picture_is_the_same_each_time_and_survives_the_disk(tmp_path: Path) -> None:
    typer = build_typer("random", 3, ()).fit(SOLUTIONS, None, 0)
    seen = picture(typer, SOLUTIONS, Line(), seed=3)
    assert picture(typer, SOLUTIONS, Line(), seed=3) == seen
    seen.save(tmp_path)
    assert Picture.load(tmp_path) == seen


def test_no_steps_are_no_picture_but_no_error() -> None:
    seen = picture(build_typer("random", 2, ()), [Solution("p", "q", ())], Line())
    assert (seen.steps, seen.points, seen.counts) == (0, (), {"random0": 0, "random1": 0})
    assert seen.transitions[0] == (0, 0, 1)
