from dataclasses import replace

import pytest

from thinktwice.errors import ConfigError
from thinktwice.methods.react.episode import ANSWER, SEARCH, Episode, Turn
from thinktwice.methods.react.filters import LONGER, TWICE, Filters, is_grounded, select
from thinktwice.types import Problem

PROBLEM = Problem("x", "Where is Ida from?", "Kelmar", support=("Ida", "Hugo"))
FIRST = Turn("", SEARCH, "Ida", "Ida was taught by Hugo.", ("Ida",), 4)
SECOND = Turn("So.", SEARCH, "Hugo", "Hugo came from the Kelmar.", ("Hugo",), 4)


def episode(*turns: Turn, answer: str | None = "Kelmar", forced: bool = False) -> Episode:
    said = (Turn("", ANSWER, answer),) if answer is not None else ()
    return Episode("x", (*turns, *said), answer, forced)


GOOD = episode(FIRST, SECOND)
WRONG_TOOL = Turn("", "google", "Ida", "There is no such tool.", error="unknown tool")


@pytest.mark.parametrize(
    ("told", "f1", "off", "reason"),
    [
        (GOOD, 1.0, "", ""),
        (GOOD, 0.9, "", "wrong answer"),
        (episode(FIRST, SECOND, answer=None), 0.0, "", "no answer"),
        (episode(WRONG_TOOL, FIRST, SECOND), 1.0, "clean", "not clean"),
        (episode(FIRST, SECOND, forced=True), 1.0, "clean", "not clean"),
        (episode(FIRST, SECOND, FIRST), 1.0, "no_loop", "loop"),
        (episode(FIRST, SECOND, replace(FIRST, argument="Ida Marshby")), 1.0, "", ""),  # nothing new is no loop
        (episode(FIRST), 1.0, "grounded", "not grounded"),
    ],
)
def test_each_reason_and_its_switch(told, f1, off, reason):
    assert Filters().reason(PROBLEM, told, f1) == reason
    if off:
        assert Filters(**{off: False}).reason(PROBLEM, told, f1) == ""


def test_a_lower_threshold():
    assert Filters(f1_threshold=0.5).reason(PROBLEM, GOOD, 0.6) == ""
    assert Filters(f1_threshold=0.5).reason(PROBLEM, GOOD, 0.4) == "wrong answer"


@pytest.mark.parametrize(
    ("told", "support", "grounded"),
    [
        (episode(FIRST, SECOND, answer="yes"), ("Ida", "Hugo"), True),
        (episode(FIRST, answer="No"), ("Ida", "Hugo"), False),
        (episode(FIRST, answer="no"), (), True),
        (episode(answer="no"), (), False),
        (episode(SECOND, answer="the kelmar!"), (), True),
        (episode(SECOND, answer="Kel"), (), False),
        (episode(SECOND, answer=" "), (), False),
        (episode(SECOND, answer=None), (), False),
        (Episode("x", (Turn("", ANSWER, "Kelmar", "Kelmar"),), "Kelmar"), (), False),
    ],
)
def test_grounded(told, support, grounded):
    assert is_grounded(Problem("x", "?", "", support=support), told) == grounded


def test_the_shortest_of_a_question_is_kept_and_none_twice():
    short, long, same = GOOD, episode(FIRST, FIRST, SECOND), episode(FIRST, SECOND)
    names = ["x", "x", "x", "y", "y"]
    told = [long, short, same, long, short]
    reasons = ["", "", "", "", "wrong answer"]
    found = select(names, told, reasons, 1)
    assert found.kept == (1, 3)
    assert found.reasons == (LONGER, "", TWICE, "", "wrong answer")
    assert len(told) == len(found.kept) + sum(found.dropped.values())
    assert select(names, told, reasons, 0).kept == (0, 1, 3)
    assert select(names, told, reasons, 2).kept == (0, 1, 3)


@pytest.mark.parametrize("settings", [{"f1_threshold": 0.0}, {"f1_threshold": 1.5}, {"per_question": -1}])
def test_settings_that_mean_nothing(settings):
    with pytest.raises(ConfigError):
        Filters(**settings)
