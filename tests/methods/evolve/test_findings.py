"""What is said of finished rounds, and of the content of feedback, one way and the other."""

import pytest

from thinktwice.methods.evolve import Evolve
from thinktwice.methods.evolve.findings import content, findings
from thinktwice.records import TraceRecord
from thinktwice.types import Score, Trace

N = 200
METHODS = {
    "evolve": Evolve(),
    "shuffled": Evolve(source="shuffled"),
    "verdict_only": Evolve(content=False),
    "base": Evolve(rounds=0),
    "oracle": Evolve(source="oracle", gold_visible="critic"),
}


def records(arm, right, level=7):
    return [TraceRecord(f"{level}/{i}", arm, level, "q", "1", Trace(f"{i}"), Score(float(i < right))) for i in range(N)]


def answered(**right):
    return {arm: [*records(arm, 100, 4), *records(arm, n)] for arm, n in right.items()}


def test_content_that_helps_against_every_control_did_something():
    found = content(
        METHODS, answered(evolve=150, shuffled=100, verdict_only=110, base=10, oracle=190), ("evolve", "base")
    )
    assert found is not None
    assert found.note.startswith("The content of the feedback did something at level 7: +25.0 [")
    assert "against shuffled; +20.0 [" in found.note
    assert "noise" not in found.note
    assert {(row[0], row[1]) for row in found.rows} == {
        (f"evolve − {arm}", level) for arm in ("shuffled", "verdict_only") for level in ("4", "7")
    }


@pytest.mark.parametrize("shuffled", [150, 149, 170])
def test_content_that_does_not_help_against_one_of_them_is_not_shown_to_have_done_anything(shuffled):
    found = content(METHODS, answered(evolve=150, shuffled=shuffled, verdict_only=100, base=10), ("evolve", "base"))
    assert found is not None
    assert found.note.startswith("The content of the feedback is not shown to have done anything at level 7")


def test_a_small_difference_of_one_seed_is_called_noise():
    found = content(METHODS, answered(evolve=109, shuffled=101, verdict_only=100, base=10), ("evolve", "base"))
    assert found is not None
    assert "did something" in found.note
    assert found.note.endswith("One seed: differences under 5 points are noise.")


def test_where_there_is_no_control_nothing_is_said():
    methods = {"evolve": Evolve(), "oracle": METHODS["oracle"], "base": METHODS["base"]}
    rows = answered(evolve=150, oracle=160, base=10)
    assert content(methods, rows, ("evolve", "base")) is None
    assert content(METHODS, rows, None) is None


def test_an_arm_that_did_not_go_round_has_no_tables(tmp_path):
    assert findings(tmp_path / "model") == ()
