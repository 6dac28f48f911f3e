"""`thinktwice repeated` on run directories written by hand, and what it refuses."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from thinktwice.config import Arm, Evaluation, Headline, Recipe, Spec, to_dict
from thinktwice.records import TraceRecord
from thinktwice.run import Run, Stage, write_json
from thinktwice.types import Score, Step, Trace

RECIPE = Recipe(
    name="seed-0",
    task=Spec("arith"),
    method=Spec("backtrack"),
    arms={"control": Arm(method={"name": "baseline"}), "backtrack": Arm(), "third": Arm()},
    evaluation=Evaluation(problems=4, levels=(8,)),
    headline=Headline("backtrack", "control", 8),
)
RIGHT = {0: {"backtrack": "1110", "control": "1000", "third": "0000"},
         1: {"backtrack": "1011", "control": "0000", "third": "0000"}}  # fmt: skip
Call = Callable[..., tuple[int, str, str]]


def write(
    root: Path, seed: int, recipe: Recipe = RECIPE, right: Mapping[str, str] | None = None, asked: str = "How many"
) -> Path:
    """Write a run; `right[arm]` says of each question whether it is right, and the rows' order differs by seed."""

    def solved(stage: Stage) -> None:
        write_json(stage.path / "method.json", {})

    place = root / f"seed-{seed}"
    with Run.open(place, to_dict(replace(recipe, name=place.name, seed=seed))) as run:
        for arm, scores in (RIGHT[seed] if right is None else right).items():
            rows = []
            for i, mark in enumerate(scores):
                trace = Trace(f"p{i}", (Step("text", "#### 3", (1,)),))
                rows.append(TraceRecord(f"8/p{i}", arm, 8, f"{asked} ({i})?", "3", trace, Score(float(mark), mark)))
            run.traces(arm).append([to_dict(row) for row in (rows if seed % 2 else rows[::-1])])
            run.stage(f"solve-{arm}", solved)
    return place


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    return str(write(tmp_path, 0)), str(write(tmp_path, 1))


def cells(out: str, first: str) -> list[str]:
    """The cells of the one row that begins so."""
    (row,) = [line for line in out.splitlines() if line.startswith(first + "  ")]
    return re.split(r"\s{2,}", row.strip())


def test_means_spread_and_difference_are_by_question(call: Call, runs: tuple[str, str]) -> None:
    code, out, err = call("repeated", *runs)
    assert (code, err) == (0, "")
    # By question backtrack has 1, 1/2, 1, 1/2: no draw is below 50. Eight single answers would go down to 37.5.
    assert cells(out, "backtrack") == ["backtrack", "8", "2", "4", "75.0", "50.0 to 100.0", "0.0"]
    assert cells(out, "control")[4::2] == ["12.5", "17.7"]  # 25 and 0: SD 25 / √2
    assert cells(out, "third")[4:] == ["0.0", "0.0 to 0.0", "0.0"]
    assert "backtrack − control, points" in out
    # Paired: 1/2, 1/2, 1, 1/2, so that no draw is below 50.
    assert cells(out, "8")[:3] == ["8", "4", "+62.5"]
    assert cells(out, "8")[3:] == ["+50.0 to +87.5", "+50.0 +75.0", "17.7"]


def test_an_arm_and_what_it_is_compared_with_can_be_named(call: Call, runs: tuple[str, str]) -> None:
    _, out, _ = call("repeated", *runs, "--arm", "control", "--against", "third")
    assert cells(out, "8")[2] == "+12.5"
    assert "backtrack" not in out
    _, out, _ = call("repeated", *runs, "--arm", "third")
    assert "third − control, points" in out
    _, out, _ = call("repeated", *runs, "--arm", "control")  # the headline's control has nothing to be compared with
    assert "points" not in out
    assert cells(out, "control")[2:4] == ["2", "4"]


def test_only_repetitions_are_put_together(call: Call, runs: tuple[str, str], tmp_path: Path) -> None:
    warm = write(tmp_path / "a", 1, replace(RECIPE, decode=replace(RECIPE.decode, temperature=0.5)))
    other = write(tmp_path / "b", 1, asked="How much")
    fewer = write(tmp_path / "c", 1, right={arm: marks[:3] for arm, marks in RIGHT[1].items()})
    unfinished = write(tmp_path / "d", 1, right={"control": "0000", "third": "0000"})
    for words, expected, says in [
        ((runs[0],), 2, "at least two runs of one recipe"),
        ((runs[0], runs[0]), 2, "have the same seed 0"),
        ((runs[0], str(warm)), 2, "must differ in seed only, and differ in decode.temperature"),
        ((runs[0], str(other)), 1, "did not answer the same questions (8 are in one only)"),
        ((runs[0], str(fewer)), 1, "did not answer the same questions (1 are in one only)"),
        ((runs[0], str(unfinished)), 1, "arm 'backtrack' has not answered yet"),
        ((*runs, "--arm", "contrl"), 2, "no arm 'contrl'. Did you mean 'control'?"),
        ((*runs, "--arm", "third", "--against", "third"), 2, "arm 'third' can't be compared with itself"),
    ]:
        code, out, err = call("repeated", *words)
        assert (code, out, err.count("\n")) == (expected, "", 1), (words, err)
        assert says in err
    code, out, _ = call("repeated", runs[0], str(unfinished), "--arm", "third", "--against", "control")
    assert (code, cells(out, "8")[2]) == (0, "−12.5")
