"""Undo controls and rules, on rows written by hand."""

import numpy as np
import pytest
import torch

from thinktwice.decode.reference import replay
from thinktwice.decode.rows import Batch, Rows
from thinktwice.decode.undo import NoUndo, UndoBias, UndoBudget, UndoFloor, UndoRun, UndoStep, undo_policy
from thinktwice.types import Rewind, RowView, Sampling

UNDO, END = 0, 1
INF = float("inf")


def write(tokens, controls, prompt=(9,), **sampling):
    tokens = list(tokens)

    def propose(row, banned):
        return (tokens[row.sampled], 0.0) if row.sampled < len(tokens) else None

    return replay(propose, prompt, Sampling(**sampling), controls=controls, eos_ids=[8])


def test_a_run_deletes_as_many_tokens_and_the_token_that_ends_it_is_drawn_again():
    completion = write([5, 6, 7, UNDO, UNDO, 2, 3, 8], [UndoRun(UNDO)])
    assert completion.token_ids == (5, 6, 7, UNDO, UNDO, 2, 3, 8)
    assert completion.fates == ("kept", "deleted", "deleted", "control", "control", "rejected", "kept", "kept")
    assert completion.kept_ids == (5, 3, 8)
    assert completion.rewinds == ((6, Rewind(4, (6,))),)  # after the sixth token the run takes back 6, 7 and itself


def test_the_first_deleted_token_is_banned_where_it_stood():
    row = RowView((9, 5, 6, 7, UNDO, UNDO), 1, 0, 5)
    assert UndoRun(UNDO).edit(row, 2) == Rewind(4, ban=(6,), reject=True)
    assert UndoStep(UNDO, frozenset({END})).edit(RowView((9, 5, END, 6, 7), 1, 0, 4), UNDO) == Rewind(3, ban=(6,))
    assert UndoStep(UNDO, frozenset({END})).edit(RowView((9, 5, END), 1, 0, 2), UNDO) == Rewind(3, ban=(5,))


def test_an_end_token_right_after_a_run_does_not_end_the_row():
    completion = write([5, UNDO, 8, 6, 8], [UndoRun(UNDO)])
    assert completion.fates == ("deleted", "control", "rejected", "kept", "kept")
    assert (completion.kept_ids, completion.stop) == ((6, 8), "done")


def test_an_open_run_is_applied_when_the_budget_cuts_it():
    completion = write([5, 6, 7, UNDO, UNDO, UNDO, 2], [UndoRun(UNDO)], max_new_tokens=5)
    assert completion.fates == ("kept", "deleted", "deleted", "control", "control")
    assert (completion.kept_ids, completion.stop) == ((5,), "budget")


@pytest.mark.parametrize("control", [UndoRun(UNDO), UndoStep(UNDO, frozenset({END}))])
def test_the_prompt_is_never_undone(control):
    first = write([UNDO, 5, 8], [control], prompt=(9, UNDO))
    assert first.fates == ("rejected", "kept", "kept")
    overlong = write([5, UNDO, UNDO, 6, 7, 8], [UndoRun(UNDO)])
    assert overlong.fates == ("deleted", "control", "rejected", "rejected", "kept", "kept")
    assert overlong.kept_ids == (7, 8)


def test_an_undo_id_in_the_prompt_starts_no_run():
    assert UndoRun(UNDO).edit(RowView((9, UNDO), 2, 0, 0), 5) is None


def batch_of(*texts, prompt=2, edits=()):
    batch = Batch(len(texts), 4)
    for index, text in enumerate(texts):
        row = batch.admit(index, index, text[:prompt])
        for token in text[prompt:]:
            batch.write(np.array([row]), np.array([token]), np.array([0.0]))
    batch.edits[: len(edits)] = edits
    return Rows(batch, np.arange(len(texts)))


def both(rule, rows):
    """A rule's effect on the undo logit, through the fast path and on plain views alike."""
    fast = rule(rows, torch.zeros(len(rows), 4))
    plain = rule([rows[i] for i in range(len(rows))], torch.zeros(len(rows), 4))
    assert torch.equal(fast, plain)
    assert (fast[:, 1:] == 0).all()
    return fast[:, UNDO].tolist()


def test_rules():
    rows = batch_of([9, 9], [9, 9, 5], [9, 9, 5, UNDO], [9, 9, 5, 6, UNDO], [9, UNDO], edits=(0, 1, 2, 3, 0))
    assert both(UndoFloor(UNDO), rows) == [-INF, 0, -INF, 0, -INF]
    assert both(UndoBias(UNDO, 2.5), rows) == [2.5, 2.5, 0, 0, 0]
    assert both(NoUndo(UNDO), rows) == [-INF] * 5
    assert both(UndoBudget(UNDO, 2), rows) == [0, 0, -INF, -INF, 0]
    kept = batch_of([9, 9, 5, UNDO, 6, 7, UNDO], [9, 9, 5, UNDO, 6, UNDO], [9, 9, 5, END, 6, UNDO], [9, 9, 5, UNDO])
    assert both(UndoFloor(UNDO), kept) == [0, -INF, 0, -INF]
    assert both(UndoFloor(UNDO, "step", frozenset({END})), kept) == [-INF, -INF, 0, -INF]


def test_policy_bundles():
    assert undo_policy(UNDO, context="off") == ((), (NoUndo(UNDO),))
    assert undo_policy(UNDO) == ((UndoRun(UNDO),), (UndoFloor(UNDO),))
    controls, rules = undo_policy(UNDO, unit="step", step_ends=frozenset({END}), bias=-1.0, max_edits=3)
    assert controls == (UndoStep(UNDO, frozenset({END})),)
    assert rules == (UndoBias(UNDO, -1.0), UndoFloor(UNDO, "step", frozenset({END})), UndoBudget(UNDO, 3))
    assert undo_policy(UNDO, context="keep", bias=1.0)[0] == ()
