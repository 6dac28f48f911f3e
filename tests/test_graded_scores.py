"""A task whose score is graded (F1) goes through the same counting as one that is right or wrong."""

from typing import Any, cast

import pytest

from thinktwice import pipeline
from thinktwice.config import Arm, Recipe, Spec
from thinktwice.records import TraceRecord
from thinktwice.scoring import stats
from thinktwice.types import Score, Trace

VALUES = {"a": [1.0, 0.5, 0.8, 0.0] * 10, "b": [0.5, 0.5, 0.0, 0.0] * 10}


def records(arm: str) -> list[TraceRecord]:
    return [
        TraceRecord(f"1/p{i}", arm, 1, "q", "r", Trace(f"p{i}"), Score(value, "x"))
        for i, value in enumerate(VALUES[arm])
    ]


def test_a_cell_is_the_mean_score() -> None:
    found = pipeline.cell(records("a"))
    assert found.accuracy == pytest.approx(0.575)
    assert found.ci == stats.repeated_mean([VALUES["a"]]).ci


def test_arms_are_compared_by_their_scores_without_a_p_value() -> None:
    recipe = Recipe("graded", Spec("arith"), Spec("baseline"), {"a": Arm(), "b": Arm()})
    results = pipeline.Results(cast(Any, None), recipe, cast(Any, None), {}, cast(Any, None), cast(Any, None), str)
    found = results._compare({name: records(name) for name in VALUES}, "a", "b", 1)
    assert found.difference == pytest.approx(0.325)
    assert found.p is None
    assert found.ci[0] > 0
