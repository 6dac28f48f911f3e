"""The sentence of a run: what it may claim."""

import pytest

from thinktwice.methods.transplant.account import below_the_bar, sentence
from thinktwice.scoring.stats import Difference


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.10, 0.06, 0.14, "adds to reading the text"),
        (0.10, -0.01, 0.21, "adds nothing that could be shown"),
        (0.03, 0.01, 0.05, "is open"),
        (-0.10, -0.14, -0.06, "is worse than reading the text"),
    ],
)
def test_a_gain_is_claimed_only_where_its_interval_and_its_size_allow(
    value: float, low: float, high: float, said: str
) -> None:
    text = sentence("transplant", "text", Difference(value, low, high, 300))
    assert said in text
    assert f"{100 * value:+.1f} points" in text


def test_a_gain_below_the_bar_says_so() -> None:
    audit = {
        "bars": [
            {"name": "longer text", "accuracy": 0.62, "legible": True},
            {"name": "who wrote it", "accuracy": 0.9, "legible": False},
        ]
    }
    barely = [1.0] * 65 + [0.0] * 35
    assert "But transplant was not shown to beat" in below_the_bar("transplant", barely, audit)
    assert "longer text, 62.0 %" in below_the_bar("transplant", barely, audit)
    assert below_the_bar("transplant", [1.0] * 80 + [0.0] * 20, audit) == ""
    assert below_the_bar("transplant", barely, None) == ""
