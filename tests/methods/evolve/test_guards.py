"""The decision on a round: each guard alone, patience, and what guards that are off still write down."""

from dataclasses import replace

import pytest

from thinktwice.errors import ConfigError
from thinktwice.methods.evolve.guards import Decision, Guards, Reading, decide

N = 200
START = Reading(tuple(float(i % 2) for i in range(N)), distinct=2.0, length=40.0, forgetting=0.9)
GUARDS = Guards()


def better(by):
    """The start's reading, with so many more problems right (or fewer)."""
    changes = abs(by)
    wanted = 0.0 if by > 0 else 1.0
    gate = list(START.gate)
    for i in [i for i, value in enumerate(gate) if value == wanted][:changes]:
        gate[i] = 1.0 - wanted
    return replace(START, gate=tuple(gate))


def test_a_round_that_does_no_harm_stands():
    for by in (0, 2, 40):
        found = decide(GUARDS, 1, better(by), START, START, [])
        assert (found.choice, found.best, found.broken, found.stops) == ("promoted", 1, (), False)
        assert found.difference == pytest.approx(by / N)
        assert found.low <= found.difference <= found.high
        assert "no guard objects" in found.why


@pytest.mark.parametrize(
    ("candidate", "broken"),
    [
        (better(-30), "harm: -15.0 points on 200 gate problems"),
        (replace(START, distinct=0.99), "diversity: 0.99 distinct answers a problem, 2.00 at the start"),
        (replace(START, length=61.0), "length: 61 tokens an answer, 40 at the start"),
        (replace(START, length=19.0), "length: 19 tokens an answer, 40 at the start"),
        (replace(START, forgetting=0.79), "forgetting: -11.0 points on what it could do before"),
    ],
)
def test_each_guard_alone_rolls_a_round_back(candidate, broken):
    found = decide(GUARDS, 1, candidate, START, START, [])
    assert (found.choice, found.best, found.rejected_in_a_row) == ("rejected", 0, 1)
    assert len(found.broken) == 1
    assert found.broken[0].startswith(broken)
    assert "rolled back: " + broken in found.why
    # Off, it is promoted, and what would have been said is written down all the same.
    off = decide(Guards(on=False), 1, candidate, START, START, [])
    assert (off.choice, off.best, off.broken) == ("promoted", 1, found.broken)
    assert "guards are off; " + broken in off.why


@pytest.mark.parametrize(
    "candidate",
    [
        replace(START, distinct=1.0),
        replace(START, length=60.0),
        replace(START, length=20.0),
        replace(START, forgetting=0.8),
        replace(START, forgetting=None),
    ],
)
def test_at_its_limit_a_guard_says_nothing(candidate):
    assert decide(GUARDS, 1, candidate, START, START, []).choice == "promoted"


def test_harm_is_judged_by_the_lower_end_and_against_the_best_so_far():
    best = better(30)
    found = decide(GUARDS, 2, START, best, START, [Decision(1, "promoted", "", best=1)])
    assert (found.choice, found.best) == ("rejected", 1)
    assert found.difference == pytest.approx(-30 / N)
    assert "against round 1" in found.why
    slight = decide(GUARDS, 1, better(-4), START, START, [])
    assert slight.choice == "promoted"  # its lower end is above -5 points
    strict = decide(Guards(harm=0.0), 1, better(-4), START, START, [])
    assert strict.choice == "rejected"


def test_so_many_rejected_rounds_in_a_row_end_the_arm():
    bad = better(-60)
    decisions: list[Decision] = []
    for number, candidate in enumerate((bad, START, bad, bad, bad), 1):
        if decisions and decisions[-1].stops:
            break
        decisions.append(decide(GUARDS, number, candidate, START, START, decisions))
    assert [d.choice for d in decisions] == ["rejected", "promoted", "rejected", "stopped"]
    assert [d.best for d in decisions] == [0, 2, 2, 2]
    assert [d.rejected_in_a_row for d in decisions] == [1, 0, 1, 2]
    assert decisions[-1].stops
    assert decide(Guards(patience=1), 1, bad, START, START, []).stops


def test_impossible_guards_are_refused():
    for options, says in (
        ({"harm": -0.1}, "guards.harm"),
        ({"diversity": 1.1}, "diversity"),
        ({"patience": 0}, "patience"),
    ):
        with pytest.raises(ConfigError, match=says):
            Guards(**options)
