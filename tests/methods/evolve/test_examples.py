"""Prompt examples: typical of their clusters, of different questions, never evaluated; all others accounted for."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktwice.errors import DataError
from thinktwice.methods.evolve.clusters import clusters, near_others
from thinktwice.methods.evolve.examples import (
    Candidate,
    adopt,
    choose_examples,
    human_examples,
    mismatched_examples,
    no_examples,
    random_examples,
)
from thinktwice.methods.evolve.feedback import Feedback
from thinktwice.methods.evolve.vectors import HashedWords

NONE = {"forbidden_ids": frozenset(), "forbidden_texts": ()}


def row(name, verdict="correct", answer="7", question=None, agreement=1.0):
    return Candidate(name, question or f"question {name}", answer, Feedback(verdict, text=f"on {name}"), agreement)


def placed(points):
    """Vectors that put "question NAME" at a point."""
    return lambda texts: np.array([points[text.split("\n")[0].split()[-1]] for text in texts], np.float32)


def names(chosen):
    return [candidate.problem_id for candidate in chosen.rows]


def accounted(chosen):
    return len(chosen.rows) + sum(count for _, count in chosen.dropped) == chosen.considered


BLOBS = {f"{name}{i}": (x + i / 10 - 0.2, 0.0) for name, x, n in (("a", 0, 5), ("b", 10, 3)) for i in range(n)}
BLOBS |= {"c0": (20.0, 0.0), "c1": (20.1, 0.0), "c2": (19.9, 0.0)}
"""Three groups on a line; the middle ones are a2, b1 and c0."""


def test_the_row_nearest_each_centre_the_largest_cluster_first():
    rows = [row(name, "incorrect" if name == "a2" else "correct") for name in BLOBS]
    chosen = choose_examples(rows, vectors=placed(BLOBS), seed=0, **NONE)
    assert names(chosen)[0] == "a2"
    assert {*names(chosen)} == {"a2", "b1", "c0"}
    assert max(chosen.silhouettes, key=lambda pair: pair[1])[0] == 3
    assert [number for number, _ in chosen.silhouettes] == [2, 3, 4, 5, 6, 7, 8]
    assert dict(chosen.dropped) == {"not nearest a centre": 8}
    assert (chosen.source, chosen.considered, chosen.notes) == ("clustered", 11, ())
    two = choose_examples(rows, vectors=placed(BLOBS), k=2, seed=0, **NONE)
    assert (len(two.rows), two.silhouettes) == (2, ())


def test_the_order_of_rows_decides_nothing():
    rows = [row(f"{i}", random.Random(i).choice(["correct", "incorrect"]), f"{i * i} eggs") for i in range(30)]
    first = choose_examples(rows, vectors=HashedWords(), seed=3, **NONE)
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert choose_examples(shuffled, vectors=HashedWords(), seed=3, **NONE) == first
        assert random_examples(shuffled, k=4, seed=1, **NONE) == random_examples(rows, k=4, seed=1, **NONE)


def test_an_outlier_makes_no_cluster():
    points = {**BLOBS, "odd": (500.0, 500.0)}
    rows = [row(name, "incorrect" if name in ("a2", "odd") else "correct") for name in points]
    chosen = choose_examples(rows, vectors=placed(points), seed=0, **NONE)
    assert "odd" not in names(chosen)
    assert dict(chosen.dropped) == {"an outlier": 1, "not nearest a centre": 8}
    assert accounted(chosen)


def test_near_others():
    line = np.array([[i, 0.0] for i in range(20)])
    assert near_others(line) == list(range(20))
    assert near_others(np.concatenate([line, [[100.0, 0.0]]])) == list(range(20))  # no spread at all but for this one
    small = np.concatenate([np.random.default_rng(0).normal(size=(40, 2)), [[50.0, 50.0], [50.1, 50.0], [50.0, 50.1]]])
    assert {40, 41, 42} <= {*near_others(small)}  # a small cluster far away is a cluster
    assert near_others(np.zeros((9, 3))) == list(range(9))
    assert near_others(line[[0, 1, 2, 19]]) == [0, 1, 2, 3]  # too few to say


def test_one_wrong_answer_is_among_them_where_there_is_one():
    rows = [row(name, "incorrect" if name == "b0" else "correct") for name in BLOBS]
    chosen = choose_examples(rows, vectors=placed(BLOBS), k=3, seed=0, **NONE)
    assert [candidate.problem_id for candidate in chosen.rows if candidate.wrong] == ["b0"]
    assert names(chosen)[0] == "a2"  # the place of its own cluster is taken, which loses least
    assert "c0" in names(chosen)
    none = choose_examples([row(name) for name in BLOBS], vectors=placed(BLOBS), k=3, seed=0, **NONE)
    assert none.notes == ("0 of the examples are of wrong answers, and not 1 as asked for.",)
    two = [row(name, "incorrect" if name in ("a0", "c1") else "correct") for name in BLOBS]
    both = choose_examples(two, vectors=placed(BLOBS), k=3, at_least_wrong=2, seed=0, **NONE)
    assert {candidate.problem_id for candidate in both.rows if candidate.wrong} == {"a0", "c1"}
    assert not choose_examples(two, vectors=placed(BLOBS), k=3, at_least_wrong=0, seed=0, **NONE).rows[0].wrong


def test_an_outlier_is_taken_before_no_wrong_answer_at_all():
    points = {**BLOBS, "odd": (500.0, 500.0)}
    rows = [row(name, "incorrect" if name == "odd" else "correct") for name in points]
    chosen = choose_examples(rows, vectors=placed(points), seed=0, **NONE)
    assert [candidate.problem_id for candidate in chosen.rows if candidate.wrong] == ["odd"]
    assert "an outlier" not in dict(chosen.dropped)
    assert accounted(chosen)


FILTERED = [
    row("asked"),
    row("other", question="How   MANY eggs?"),
    row("silent", "unparsed"),
    row("unsure", "unsure"),
    row("empty", answer=" "),
    row("split", agreement=0.5),
    row("kept", "incorrect", agreement=0.9),
    row("copy", "correct", question="Question  KEPT", agreement=0.7),
]
REASONS = {
    "evaluated, by id": 1,
    "evaluated, by text": 1,
    "no question or no answer": 1,
    "feedback without a verdict": 2,
    "too little agreement": 1,
    "said before": 1,
}


@pytest.mark.parametrize("source", ["clustered", "random"])
def test_what_may_not_be_an_example_is_left_out_with_its_reason(source):
    options = {"forbidden_ids": {"asked"}, "forbidden_texts": ["how many eggs?"], "least_agreement": 0.6, "seed": 0}
    chosen = (
        choose_examples(FILTERED, vectors=HashedWords(), **options)
        if source == "clustered"
        else random_examples(FILTERED, k=5, **options)
    )
    assert names(chosen) == ["kept"]  # of what was said of one answer, the surest
    assert dict(chosen.dropped) == REASONS
    assert accounted(chosen)


def test_no_evaluated_question_gets_through_any_source():
    rows = [row(f"{i}", "incorrect" if i % 2 else "correct", question=f"How many are {i}?") for i in range(12)]
    options = {
        "forbidden_ids": {f"{i}" for i in range(6)},
        "forbidden_texts": [f"how many are {i}? " for i in range(6, 12)],
    }
    for chosen in (
        choose_examples(rows, vectors=HashedWords(), seed=0, **options),
        random_examples(rows, k=4, seed=0, **options),
        human_examples(rows, k=4, **options),
    ):
        assert chosen.rows == ()
        assert dict(chosen.dropped) == {"evaluated, by id": 6, "evaluated, by text": 6}
        assert chosen.notes


def test_examples_are_of_different_questions():
    rows = [row(f"p{i}", "incorrect" if i % 2 else "correct", f"{i}", question="the same") for i in range(6)]
    chosen = choose_examples(rows, vectors=HashedWords(), k=3, seed=0, **NONE)
    assert len(chosen.rows) == 1
    assert chosen.rows[0].wrong
    assert chosen.notes == ("3 examples were asked for, and 1 could be had.",)
    assert len(random_examples(rows, k=3, seed=0, **NONE).rows) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("k", ["silhouette", 1, 5])
def test_few_rows(count, k):
    chosen = choose_examples([row(f"{i}") for i in range(count)], vectors=HashedWords(), k=k, seed=0, **NONE)
    assert len(chosen.rows) <= count
    assert bool(chosen.rows) == bool(count)
    assert accounted(chosen)


def test_identical_vectors_are_one_cluster():
    rows = [row(f"{i}") for i in range(12)]
    same = lambda texts: np.ones((len(texts), 4), np.float32)  # noqa: E731
    assert len(choose_examples(rows, vectors=same, seed=0, **NONE).rows) == 1
    centres, labels, silhouettes = clusters(np.ones((5, 2)), 3, seed=0)
    assert (len(centres), set(labels), silhouettes) == (1, {0}, ())


@settings(max_examples=25)
@given(
    st.lists(
        st.builds(
            Candidate,
            st.sampled_from("pqrst"),
            st.sampled_from(["one", "One ", "two", "three", ""]),
            st.sampled_from(["1", "2", ""]),
            st.builds(Feedback, st.sampled_from(["correct", "incorrect", "unparsed"])),
            st.sampled_from([0.4, 1.0]),
        ),
        max_size=14,
    ),
    st.sampled_from(["silhouette", 1, 2, 4]),
)
def test_every_row_is_an_example_or_has_a_reason(rows, k):
    options = {"forbidden_ids": {"t"}, "forbidden_texts": ["three"], "least_agreement": 0.5, "seed": 0}
    found = [choose_examples(rows, vectors=HashedWords(), k=k, **options)]
    if isinstance(k, int):
        found.append(random_examples(rows, k=k, **options))
    for chosen in found:
        assert accounted(chosen)
        assert all(r.problem_id != "t" and r.question in ("one", "One ", "two") and r.answer for r in chosen.rows)
        assert len({r.question.strip().lower() for r in chosen.rows}) == len(chosen.rows)
        usable = [r for r in rows if r.problem_id != "t" and r.question in ("one", "One ", "two") and r.answer]
        usable = [r for r in usable if r.agreement == 1.0 and r.feedback.verdict != "unparsed"]
        assert bool(chosen.rows) == bool(usable)
        if usable and all(r.wrong for r in usable):
            assert any(r.wrong for r in chosen.rows)


def test_k_must_be_a_number_of_examples():
    with pytest.raises(DataError, match="0 examples cannot be chosen"):
        choose_examples([row("a")], vectors=HashedWords(), k=0, seed=0, **NONE)
    with pytest.raises(DataError, match="-1 examples cannot be chosen"):
        random_examples([row("a")], k=-1, seed=0, **NONE)


# -- other sources -----------------------------------------------------------------------------------------------------


def test_random_examples_are_drawn_and_hold_a_wrong_one_too():
    rows = [row(f"{i:02}", "incorrect" if i == 17 else "correct") for i in range(40)]
    drawn = [random_examples(rows, k=3, seed=seed, **NONE) for seed in range(30)]
    assert len({tuple(names(chosen)) for chosen in drawn}) > 20
    assert all("17" in names(chosen) for chosen in drawn)
    assert all(dict(chosen.dropped) == {"not drawn": 37} for chosen in drawn)
    assert not all("17" in names(random_examples(rows, k=3, seed=s, at_least_wrong=0, **NONE)) for s in range(9))


def test_human_examples_keep_their_order():
    rows = [row("z"), row("a", "incorrect"), row("z2", question="question z"), row("m"), row("q")]
    chosen = human_examples(rows, k=3, **NONE)
    assert names(chosen) == ["z", "a", "m"]
    assert dict(chosen.dropped) == {"said before": 1, "after the first": 1}


def test_mismatched_examples_have_each_others_questions():
    chosen = human_examples([row("a"), row("b", "incorrect", "8"), row("c", answer="9")], k=3, **NONE)
    found = mismatched_examples(chosen)
    assert [(r.problem_id, r.question, r.answer, r.feedback.text) for r in found.rows] == [
        ("c", "question c", "7", "on a"),
        ("b", "question b", "8", "on b"),
        ("a", "question a", "9", "on c"),
    ]
    assert found.notes == ("the example in the middle keeps its own question.",)
    assert mismatched_examples(human_examples([row("a"), row("b")], k=2, **NONE)).notes == ()
    assert (found.source, found.considered, found.dropped) == ("mismatched", 3, ())


def test_no_examples():
    assert no_examples().rows == ()
    assert accounted(no_examples([row("a")]))


# -- adoption ----------------------------------------------------------------------------------------------------------


def scores(right, n=100):
    return {f"p{i}": float(i < right) for i in range(n)}


def test_new_examples_are_adopted_only_when_they_are_better_on_the_same_problems():
    better = adopt(scores(60), scores(50))
    assert better.adopted
    assert better.difference.value == pytest.approx(0.1)
    assert better.why.startswith("adopted: +0.1000 (+0.0")
    assert "on 100 dev problems; the mean must be above +0.0000" in better.why
    assert not adopt(scores(50), scores(50)).adopted
    assert not adopt(scores(49), scores(50)).adopted
    assert adopt(scores(49), scores(50)).why.startswith("kept the old: -0.0100")
    assert not adopt(scores(55), scores(50), by=0.05).adopted
    backwards = dict(reversed(scores(60).items()))
    assert adopt(backwards, scores(50)) == better  # paired by id, not by place


def test_surely_better_is_harder():
    assert adopt(scores(52), scores(50)).adopted
    unsure = adopt(scores(52), scores(50), surely=True)
    assert not unsure.adopted
    assert "the lower end must be above" in unsure.why
    assert adopt(scores(70), scores(50), surely=True).adopted


def test_other_problems_are_refused():
    with pytest.raises(DataError, match="1 differ, 'p100' first"):
        adopt(scores(5, 101), scores(5))
    with pytest.raises(DataError):
        adopt({}, {})
