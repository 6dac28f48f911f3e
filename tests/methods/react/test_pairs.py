from collections import Counter
from dataclasses import replace

import pytest

from thinktwice.errors import DataError
from thinktwice.methods.react import pairs
from thinktwice.methods.react.distil import Told
from thinktwice.methods.react.episode import ANSWER, SEARCH, Episode, Turn
from thinktwice.methods.react.pairs import CONSTANT, PREVIOUS, Written
from thinktwice.methods.react.store import Attempt
from thinktwice.tools import Passage
from thinktwice.types import Problem, Step, Trace

PROBLEM = Problem("x", "Who taught the friend of Ida?", "Hugo", support=("Ida", "Otto"))
PROMPT = (1, 2, 3)


class Pages:
    """Every title is its own page; nothing else is found."""

    corpus = "pages"

    def search(self, query, k=3):
        return (Passage(query, f"{query} is here."),) if query in ("Ida", "Otto", "Karl") else ()

    def open(self, title):
        return next(iter(self.search(title)), None)


class Text:
    """A renderer whose text of a token is its number."""

    def text(self, ids):
        return " ".join(map(str, ids))


def told(*turns, forced=False):
    """An episode whose turn i is written as the ids (10 i, 10 i + 1) and observed as (10 i + 9,)."""
    steps = []
    for i, turn in enumerate(turns):
        steps += [Step("text", turn.thought, (10 * i,)), Step("action", turn.argument, (10 * i + 1,))]
        if forced and i == len(turns) - 1:
            steps.insert(-2, Step("answer", "<answer>", (5,), sampled=False))
        if turn.tool != ANSWER:
            steps.append(Step("observation", turn.observation, (10 * i + 9,), sampled=False, sources=turn.sources))
    answer = turns[-1].argument if turns[-1].tool == ANSWER else None
    attempt = Attempt(Trace("x", tuple(steps)), 0.0, answer, PROMPT)
    return Told(PROBLEM, attempt, Episode("x", turns, answer, forced), "wrong answer")


def search(title, *sources):
    return Turn("", SEARCH, title, f"{title} is here.", sources)


IDA, OTTO, KARL = search("Ida", "Ida"), search("Otto", "Otto"), search("Karl", "Karl")
NOTHING = search("who?")
UNREADABLE = Turn("", "", "", "That is no action.", error="no action")
RIGHT, WRONG = Turn("", ANSWER, "Hugo"), Turn("", ANSWER, "Karl")


def test_where_each_step_stands():
    first, second, last = pairs.places(told(IDA, OTTO, RIGHT))
    assert first.state == PROMPT
    assert second.state == (*PROMPT, 0, 1, 9)
    assert last.state == (*PROMPT, 0, 1, 9, 10, 11, 19)
    assert (last.token_ids, last.turn, last.before, last.seen) == ((20, 21), RIGHT, (IDA, OTTO), ("Ida", "Otto"))


def test_a_forced_answer_and_a_step_cut_short_are_no_steps():
    assert len(pairs.places(told(IDA, RIGHT, forced=True))) == 1
    whole = told(IDA, OTTO, RIGHT)
    cut = replace(whole, episode=Episode("x", (IDA, OTTO), None))
    assert [place.turn for place in pairs.places(cut)] == [IDA, OTTO]


def test_what_was_taken_back_is_not_part_of_a_state():
    one = told(IDA, RIGHT)
    gone = Step("error", "no", (99,), kept=False)
    trace = replace(one.attempt.trace, steps=(gone, *one.attempt.trace.steps))
    assert pairs.places(replace(one, attempt=replace(one.attempt, trace=trace)))[1].state == (*PROMPT, 0, 1, 9)


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ((IDA, OTTO, RIGHT), []),
        ((IDA, IDA, OTTO, RIGHT), [("loop", 1)]),
        ((IDA, UNREADABLE, OTTO, WRONG), [("format", 1)]),
        ((IDA, WRONG), [("early stop", 1)]),
        ((IDA, RIGHT), []),
        ((IDA, KARL, OTTO, RIGHT), [("wrong hop", 1)]),
        ((IDA, NOTHING, IDA, IDA, WRONG), [("wrong hop", 1), ("loop", 2), ("early stop", 4)]),
    ],
)
def test_what_went_wrong_and_where(turns, expected):
    found = pairs.faults(told(*turns))
    assert [(kind, len(place.before)) for place, kind in found] == expected
    only = pairs.faults(told(*turns), kinds=["loop"])
    assert [kind for _, kind in only] == [kind for kind, _ in expected if kind == "loop"]


def test_a_wrong_hop_is_known_only_with_its_pages():
    assert pairs.faults(replace(told(IDA, KARL), problem=replace(PROBLEM, support=()))) == []


@pytest.mark.parametrize(
    ("turn", "better"),
    [
        (Turn("", SEARCH, "Otto"), True),
        (Turn("", SEARCH, "Ida"), False),
        (Turn("", SEARCH, "Karl"), False),
        (Turn("", SEARCH, "who?"), False),
        (Turn("", "open", "Otto"), True),
        (Turn("", "open", "Anna"), False),
        (Turn("", ANSWER, "Hugo"), False),
        (Turn("", "", ""), False),
    ],
)
def test_what_a_better_step_is(turn, better):
    place = pairs.places(told(IDA, IDA, WRONG))[1]
    assert pairs.is_better(place, turn, Pages(), 3) == better


def test_when_all_is_read_the_right_answer_is_better():
    place = pairs.places(told(IDA, OTTO, OTTO, WRONG))[2]
    assert pairs.is_better(place, RIGHT, Pages(), 3)
    assert not pairs.is_better(place, WRONG, Pages(), 3)


def test_without_known_pages_any_new_one_is_better():
    place = replace(pairs.places(told(IDA, IDA))[1], problem=replace(PROBLEM, support=()))
    assert pairs.is_better(place, Turn("", SEARCH, "Karl"), Pages(), 3)
    assert not pairs.is_better(place, Turn("", SEARCH, "Ida"), Pages(), 3)


FOUND = pairs.faults(told(IDA, NOTHING, IDA, IDA, WRONG))
OWN = Written(Turn("", SEARCH, "Otto"), (50, 51))
TAUGHT = Written(Turn("So.", SEARCH, "Otto"), (60,))


def test_its_own_better_step_comes_before_the_teachers():
    def siblings(places):
        bad = Written(Turn("", SEARCH, "Ida"), (40,))
        return [[bad, OWN, TAUGHT] if len(place.before) == 1 else [bad] for place in places]

    def teach(place):
        return None if len(place.before) == 4 else TAUGHT

    mined, counts = pairs.mine(FOUND, siblings, teach, Pages(), 3)
    assert [(m.kind, m.own, m.chosen) for m in mined] == [("wrong hop", True, OWN), ("loop", False, TAUGHT)]
    assert counts == pairs.Yield(
        {"early stop": 1, "loop": 1, "wrong hop": 1}, {"wrong hop": 1}, {"loop": 1}, {"early stop": 1}
    )
    assert "loop              1 steps = 0 pairs with the student's own better step + 1 with the teacher's" in str(
        counts
    )


def test_a_teacher_that_says_the_same_is_no_pair():
    place, kind = FOUND[0]
    _, counts = pairs.mine([(place, kind)], None, lambda p: Written(p.turn, p.token_ids), Pages(), 3)
    assert counts.none == {"wrong hop": 1}


def test_a_pair_has_one_context_and_learns_the_steps_alone():
    mined, _ = pairs.mine(FOUND[:1], lambda places: [[OWN]], None, Pages(), 3)
    trace = pairs.to_trace(mined[0], Text())
    assert trace.reply == "Ida" + "Ida is here." + "50 51"
    pair = pairs.from_trace(trace, PROMPT)
    assert (pair.kind, pair.problem_id) == ("wrong hop", "x")
    context = (*PROMPT, 0, 1, 9)
    for side, step in ((pair.chosen, (50, 51)), (pair.rejected, (10, 11))):
        assert side.token_ids == (*context, *step)
        learned = [t for t, w in zip(side.targets, side.weights, strict=True) if w]
        assert learned == list(step)


def test_arafts_pairs():
    right = told(IDA, OTTO, RIGHT)
    made = pairs.previous_steps([right], (7, 8))
    assert Counter(m.kind for m in made) == {CONSTANT: 1, PREVIOUS: 2}
    read = [pairs.from_trace(pairs.to_trace(m, Text()), PROMPT) for m in made]
    assert [p.rejected.token_ids[len(m.place.state) :] for p, m in zip(read, made, strict=True)] == [
        (7, 8),
        (0, 1),
        (10, 11),
    ]
    for pair, mined in zip(read, made, strict=True):
        assert pair.chosen.token_ids[: len(mined.place.state)] == pair.rejected.token_ids[: len(mined.place.state)]


def test_a_trace_that_is_no_pair():
    trace = told(IDA, RIGHT).attempt.trace
    assert not pairs.is_pair(trace)
    with pytest.raises(DataError, match="no pair"):
        pairs.from_trace(trace, PROMPT)
