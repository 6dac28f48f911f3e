from thinktwice.methods.react.budget import keep_first, keep_last_of_prompt, measure, spans_of
from thinktwice.types import Example


def row(*learned: bool) -> Example:
    """An example with token i = i; `learned` says of each token whether it is."""
    ids = tuple(range(len(learned)))
    weights = (*(float(x) for x in learned[1:]), 0.0)
    return Example(ids, (*ids[1:], 0), weights, problem_id="x")


TWO_TURNS = row(False, False, True, True, False, True, True, True)


def test_the_learned_stretches():
    assert spans_of(TWO_TURNS) == ((2, 4), (5, 8))
    assert spans_of(row(False, True)) == ((1, 2),)


def test_what_a_limit_cuts():
    rows = [(8, ((2, 4), (5, 8))), (3, ((1, 3),))]
    found = measure(rows, 7)
    assert (found.over, found.turns, found.cut, found.lost, found.tokens_lost) == (1, 3, 1, 0, 1)
    found = measure(rows, 4)
    assert (found.over, found.cut, found.lost, found.tokens_lost) == (1, 0, 1, 3)
    assert "1 of 2 rows are longer; of 3 actions 1 are lost whole, 0 lose their end (3 learned tokens)" in str(found)
    assert measure(rows, None).over == 0
    assert measure([], 4).longest == 0


def test_cutting_agrees_with_what_was_measured():
    for limit in range(1, 10):
        kept = keep_first(TWO_TURNS, limit)
        left = sum(w > 0 for w in kept.weights) if kept else 0
        assert left == 5 - measure([(8, spans_of(TWO_TURNS))], limit).tokens_lost
        if kept:
            assert len(kept.token_ids) == len(kept.targets) == len(kept.weights) == min(8, limit)
            assert all(t == i + 1 for i, (t, w) in enumerate(zip(kept.targets, kept.weights, strict=True)) if w)


def test_the_beginning_of_a_prompt_can_go():
    kept = keep_last_of_prompt(row(False, False, False, True, True), 3, 1)
    assert kept.token_ids == (2, 3, 4)
    assert spans_of(kept) == ((1, 3),)
    assert keep_last_of_prompt(TWO_TURNS, 2, 5) == TWO_TURNS
