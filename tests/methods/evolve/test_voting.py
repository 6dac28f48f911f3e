"""Votes on feedback: what is said counts, and neither the order nor the wording decides."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktwice.errors import DataError
from thinktwice.methods.evolve.feedback import VERDICTS, Feedback, read
from thinktwice.methods.evolve.voting import vote

RULES = ("verdict", "medoid", "first")


def letters(texts):
    """How often each of eight letters stands in a text: vectors that depend on the text alone."""
    return np.array([[text.count(letter) for letter in "abcdeiou"] for text in texts], np.float32)


def said(verdict, answer=None, step=None, text="", **more):
    return Feedback(verdict, answer=answer, step=step, text=text, **more)


rows = st.lists(
    st.builds(
        Feedback,
        verdict=st.sampled_from(VERDICTS),
        confidence=st.none() | st.floats(0, 1),
        step=st.none() | st.integers(1, 3),
        explanation=st.sampled_from(["", "a bad line", "no idea"]),
        answer=st.none() | st.sampled_from(["72", " 72.", "6", ""]),
        text=st.sampled_from(["", "abc", "a be", "cub", "oui"]),
    ),
    max_size=7,
)


def content(feedback):
    answer = (feedback.answer or "").strip(" .") or None
    return feedback.verdict, answer, feedback.step


# -- by verdict --------------------------------------------------------------------------------------------------------


def test_a_3_2_split_returns_the_majority_in_every_order():
    five = [read(f"Verdict: incorrect\nExplanation: {why}\nCorrected answer: 72") for why in ("a", "b b", "c c c")]
    five += [read("Verdict: correct\nExplanation: all is well"), read("Verdict: correct\nExplanation: all is well.")]
    for order in itertools.permutations(five):
        ballot = vote(order, seed=1)
        assert (ballot.chosen.verdict, ballot.chosen.answer, ballot.abstained) == ("incorrect", "72", False)
        assert ballot.agreement == 0.6
        assert ballot.counts == (("incorrect, 72", 3), ("correct", 2))
        assert ballot.why == "most votes are for incorrect, 72."


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=3, max_size=3), rows)
def test_a_3_2_split_returns_the_majority_whatever_the_vectors_say(points, others):
    majority = [said("incorrect", "72", 2, text) for text in "xyz"]
    minority = [said("correct", text=text) for text in "uv"]
    unread = [row for row in others if row.verdict == "unparsed"]
    where = dict(zip("xyz", points, strict=True))
    ballot = vote(minority + unread + majority, vectors=lambda texts: np.array([where[t] for t in texts]), seed=0)
    assert content(ballot.chosen) == ("incorrect", "72", 2)
    assert ballot.agreement == 0.6


def test_after_the_verdict_comes_the_answer_then_the_step():
    ballot = vote(
        [
            *(said("correct", text=text) for text in "ab"),
            said("incorrect", "72", 3),
            said("incorrect", "The 72.", 1),
            said("incorrect", "72", 3),
            said("incorrect", "6", 3),
            said("incorrect", None, 1),  # says no answer, and so nothing of the step either
        ],
        seed=0,
    )
    assert content(ballot.chosen) == ("incorrect", "72", 3)
    assert ballot.agreement == pytest.approx(2 / 7)
    assert ballot.counts[0] == ("correct", 2)
    assert dict(ballot.counts)["incorrect, 72, step 1"] == 1  # counted as canonically written


def test_the_task_says_which_answers_are_equal():
    three = [said("incorrect", "1/2"), said("incorrect", "0.5"), said("incorrect", "2")]
    assert vote(three, seed=0).abstained
    half = vote(three, canonical=lambda text: "half" if text in ("1/2", "0.5") else None, seed=0)
    assert half.chosen.answer in ("1/2", "0.5")
    assert half.counts == (("incorrect, half", 2), ("incorrect", 1))
    assert half.agreement == 1.0  # what is no answer contradicts none


@pytest.mark.parametrize(
    ("two", "over"),
    [
        ((said("correct"), said("incorrect")), "verdict: correct, incorrect"),
        ((said("incorrect", "72"), said("incorrect", "6")), "corrected answer: 6, 72"),
        ((said("incorrect", "72", 1), said("incorrect", "72", 2)), "first wrong step: 1, 2"),
        ((said("unsure"), said("correct")), "verdict: correct, unsure"),
    ],
)
def test_a_tie_abstains(two, over):
    ballot = vote(two, seed=0)
    assert ballot.abstained
    assert ballot.chosen is None
    assert ballot.why == f"a tie over the {over}."
    assert ballot.agreement == 0.5
    assert vote([*two, two[0]], seed=0).chosen == two[0]


def test_weights_that_are_equal_but_for_rounding_tie():
    three = [said("correct"), said("correct"), said("incorrect")]
    assert vote(three, weights=[0.1, 0.2, 0.3], seed=0).abstained  # 0.1 + 0.2 is not 0.3 in floating point
    assert vote(three, weights=[0.2, 0.7, 0.9], seed=0).abstained
    assert vote(three, weights=[0.2, 0.7, 0.91], seed=0).chosen.verdict == "incorrect"
    assert vote(three, weights=[1e308] * 3, seed=0).chosen.verdict == "correct"


def test_confidence_weighs_where_it_is_asked_to():
    three = [said("correct", confidence=0.2), said("correct", confidence=0.3), said("incorrect", confidence=0.9)]
    assert vote(three, seed=0).chosen.verdict == "correct"
    assert vote(three, by_confidence=True, seed=0).chosen.verdict == "incorrect"
    # Who states none counts as the others do on average (0.9 here), not as if sure.
    silent = [said("correct"), said("incorrect", confidence=0.9)]
    assert vote(silent, by_confidence=True, seed=0).why.startswith("a tie over the verdict")
    assert vote([said("correct"), said("correct"), said("incorrect")], by_confidence=True, seed=0).agreement == 2 / 3


def test_low_agreement_abstains():
    three = [said("correct"), said("correct"), said("incorrect")]
    assert vote(three, least=0.6, seed=0).chosen
    ballot = vote(three, least=0.7, seed=0)
    assert ballot.abstained
    assert ballot.why == "correct has 0.67 of the votes, less than 0.7."


@pytest.mark.parametrize("rule", RULES)
def test_what_cannot_be_read_is_counted_and_never_chosen(rule):
    nothing = vote([], rule=rule, seed=0)
    assert (nothing.chosen, nothing.agreement, nothing.counts) == (None, 0.0, ())
    unread = vote([said("unparsed", text="?"), said("unparsed", text="!")], rule=rule, seed=0)
    assert (unread.chosen, unread.counts, unread.why) == (None, (("unparsed", 2),), "none can be read.")
    weightless = vote([said("correct")], rule=rule, weights=[0.0], seed=0)
    assert (weightless.chosen, weightless.why) == (None, "what can be read weighs nothing.")


def test_two_unparsed_do_not_outvote_one_that_can_be_read():
    ballot = vote([said("unparsed", text="?"), said("correct", text="fine"), said("unparsed", text="?")], seed=0)
    assert ballot.chosen.text == "fine"
    assert ballot.agreement == 1.0


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(DataError, match=r"weigh"):
        vote([said("correct"), said("correct")], weights=weights, seed=0)


def test_the_most_central_of_the_winners_speaks_for_them():
    where = {"far": 9.0, "near": 1.0, "middle": 0.0, "left": -2.0, "lefter": -3.0, "loser": 0.5}
    six = [said("correct" if text == "loser" else "incorrect", text=text) for text in where]
    points = lambda texts: np.array([[where[text]] for text in texts])  # noqa: E731
    assert vote(six, vectors=points, seed=0).chosen.text == "middle"
    heavy = vote(six, vectors=points, weights=[9, 1, 1, 1, 1, 1], seed=0)
    assert heavy.chosen.text == "far"  # where most of the weight stands is the centre


def test_of_two_equally_central_texts_one_is_drawn():
    def chosen(seed, name=""):
        return vote([said("correct", text=f"{name}a"), said("correct", text=f"{name}b")], seed=seed).chosen.text[-1]

    assert {chosen(seed) for seed in range(20)} == {"a", "b"}
    assert {chosen(0, str(problem)) for problem in range(20)} == {"a", "b"}  # not everywhere the same place
    assert all(chosen(7) == chosen(7) for _ in range(3))


@given(rows, st.randoms(use_true_random=False), st.integers(0, 5), st.booleans())
def test_the_order_decides_nothing(feedback, random, seed, by_confidence):
    ballot = vote(feedback, vectors=letters, by_confidence=by_confidence, seed=seed)
    shuffled = random.sample(feedback, len(feedback))
    assert vote(shuffled, vectors=letters, by_confidence=by_confidence, seed=seed) == ballot


@given(rows)
def test_everybody_voting_twice_changes_nothing(feedback):
    once, twice = vote(feedback, vectors=letters, seed=0), vote(feedback * 2, vectors=letters, seed=0)
    assert twice.abstained == once.abstained
    assert twice.agreement == pytest.approx(once.agreement)
    assert twice.counts == tuple((name, 2 * count) for name, count in once.counts)
    if once.chosen:
        assert content(twice.chosen) == content(once.chosen)


@given(rows)
def test_a_choice_is_one_of_the_votes_and_has_most_of_them(feedback):
    ballot = vote(feedback, vectors=letters, seed=0)
    assert 0 <= ballot.agreement <= 1
    assert sum(count for _, count in ballot.counts) == len(feedback)
    if ballot.chosen:
        assert ballot.chosen in feedback
        verdicts = [row.verdict for row in feedback if row.verdict != "unparsed"]
        own = verdicts.count(ballot.chosen.verdict)
        assert all(own > verdicts.count(other) for other in {*verdicts} - {ballot.chosen.verdict})


# -- the public code's, and none ---------------------------------------------------------------------------------------


def test_the_public_codes_vote_can_choose_the_minority():
    """Three say incorrect, each in its own words; two agree with each other in the middle of them."""
    where = {"a": (0.0, 10.0), "b": (9.0, -5.0), "c": (-9.0, -5.0), "x": (0.2, 0.1), "y": (-0.2, 0.1)}
    five = [said("incorrect", "72", text=text) for text in "abc"] + [said("correct", text=text) for text in "xy"]
    points = lambda texts: np.array([where[text] for text in texts])  # noqa: E731
    for seed in range(5):
        medoid = vote(five, rule="medoid", vectors=points, seed=seed)
        assert (medoid.chosen.verdict, medoid.agreement) == ("correct", 0.4)
        assert vote(five, rule="verdict", vectors=points, seed=seed).chosen.verdict == "incorrect"


def test_the_medoid_leaves_outliers_out():
    where = {**{f"t{i}": (float(i % 3), float(i // 3)) for i in range(9)}, "far": (500.0, 500.0)}
    ten = [said("correct", text=text) for text in where]
    chosen = vote(ten, rule="medoid", vectors=lambda texts: np.array([where[t] for t in texts]), seed=0).chosen.text
    mean = np.mean(list(where.values()), axis=0)
    nearest_of_all = min(where, key=lambda text: np.linalg.norm(np.array(where[text]) - mean))
    assert nearest_of_all == "t8"  # the outlier would have pulled the middle to the corner
    assert chosen == "t4"


@pytest.mark.parametrize("texts", [["a"], ["a", "b"], ["a", "b c", "d e f"], ["a"] * 5, ["a", "a", "b"], ["", " "]])
def test_the_medoid_of_few_or_identical_texts(texts):
    feedback = [said("correct", text=text) for text in texts]
    ballot = vote(feedback, rule="medoid", seed=3)
    assert ballot.chosen in feedback
    assert ballot.agreement == 1.0
    assert vote(feedback[::-1], rule="medoid", seed=3) == ballot


@settings(max_examples=25)
@given(rows, st.randoms(use_true_random=False))
def test_the_medoid_is_total_and_blind_to_the_order(feedback, random):
    ballot = vote(feedback, rule="medoid", vectors=letters, seed=0)
    assert vote(random.sample(feedback, len(feedback)), rule="medoid", vectors=letters, seed=0) == ballot
    assert ballot.chosen is None or (ballot.chosen in feedback and ballot.chosen.verdict != "unparsed")


def test_a_text_in_the_middle_that_cannot_be_read_is_not_chosen():
    where = {"a": (1.0, 1.0), "b": (1.0, -1.0), "c": (-1.0, 1.0), "d": (-1.0, -1.0), "?": (0.0, 0.0)}
    five = [said("unparsed" if text == "?" else "correct", text=text) for text in where]
    ballot = vote(five, rule="medoid", vectors=lambda texts: np.array([where[t] for t in texts]), seed=0)
    assert ballot.abstained
    assert ballot.why == "the text nearest the middle of all cannot be read."


def test_the_first_that_can_be_read_is_no_vote():
    three = [said("unparsed", text="?"), said("correct", text="z"), said("incorrect", text="a")]
    ballot = vote([*three, three[2]], rule="first", seed=0)
    assert ballot.chosen == three[1]
    assert ballot.agreement == pytest.approx(1 / 3)
