"""Loops by query and by evidence, on hand-written episodes and on FireAct's published ones."""

import json
from pathlib import Path

import pytest

from thinktwice.errors import ConfigError
from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH, Episode, Turn
from thinktwice.methods.react.guard import Guard
from thinktwice.methods.react.loops import classify, judge, words_of


def searches(*turns):
    return Episode("p", tuple(Turn("", SEARCH, query, sources=tuple(sources)) for query, *sources in turns), None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Beatles", "beatles"),
        ("Ida-Marshby's teacher?", "teacher, IDA MARSHBYS"),
        ("ﬁlm of 1994", "1994 FILM of"),
        ("Straße", "STRASSE"),
        ("year  of\tbirth", "birth of a year"),
    ],
)
def test_the_same_question_in_another_form(one, other):
    assert words_of(one) == words_of(other)
    assert classify(searches((one,), (other,))) == ("", "exact adjacent")


@pytest.mark.parametrize(
    ("one", "other"), [("born 1994", "born 1995"), ("The", "A"), ("???", "!!!"), ("", "x"), ("São Tomé", "Sao Tome")]
)
def test_other_questions(one, other):
    assert classify(searches((one,), (other,))) == ("", "")


def test_the_first_class_that_holds():
    episode = searches(
        ("teacher of Ida", "Ida"),
        ("Otto", "Otto"),
        ("Teacher of Ida", "Ida"),  # same as the first: later
        ("teacher of Ida?", "Ida"),  # and again: adjacent
        ("where was Otto", "Otto"),  # other words, but only Otto
        ("where was Otto born in June of 1888", "Otto", "June"),
        ("where was Otto born in July of 1888", "Otto", "July"),  # six of eight words: not yet near
        ("where was young Otto born in July of 1888", "Otto", "March"),  # eight of nine
    )
    assert classify(episode) == (
        *("", "", "exact later", "exact adjacent", "nothing new"),
        *("", "", "near duplicate"),
    )


def test_only_searches_are_judged_but_all_evidence_counts():
    turns = (
        Turn("", OPEN, "Ida", sources=("Ida",)),
        Turn("", SEARCH, "Ida", sources=("Ida",)),
        Turn("", "", ""),
        Turn("", SEARCH, "Otto"),  # found nothing: no evidence of a loop
        Turn("", ANSWER, "1843"),
    )
    assert classify(Episode("p", turns, "1843")) == ("nothing new", "")
    assert judge(turns, Turn("", SEARCH, "otto")) == "exact adjacent"


def test_guards_know_what_they_are_about():
    turns = searches(("Ida", "Ida"), ("Otto", "Otto")).turns
    assert Guard("ban").before(turns, "ida") == "exact later"
    assert Guard("ban", classes=("exact adjacent",)).before(turns, "ida") == ""
    assert Guard("warn", classes=("nothing new",)).after(turns, ("Ida",)) == "nothing new"
    assert Guard("warn").after(turns, ("Ida",)) == ""
    with pytest.raises(ConfigError, match="none of observe, warn, ban, stop"):
        Guard("forbid")
    with pytest.raises(ConfigError, match="'loop' is none of"):
        Guard("warn", classes=("loop",))
    with pytest.raises(ConfigError, match="cannot know what a search will find"):
        Guard("ban", classes=("nothing new",))


def test_repeats_in_fireacts_published_episodes():
    """The notes count a repeat in 15.6 % of the 7B agent's episodes."""
    folder = Path(__file__).parents[4] / "shared" / "data" / "fireact"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/fireact")
    from thinktwice.methods.react.released import fireact_traces

    found = [classify(row.episode) for row in fireact_traces(next(folder.glob("*.json")))]
    repeats = sum(any(kind.startswith("exact") for kind in kinds) for kinds in found)
    assert repeats / len(found) == pytest.approx(0.156, abs=0.01), json.dumps([repeats, len(found)])
