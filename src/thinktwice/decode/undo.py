"""Backtracking as controls and rules: what an undo token does while a text is being written. No torch needed.

Both units follow `thinktwice.resolve`: leaving out rejected tokens, a completion's fates are those of the algebra.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from thinktwice.decode.rows import LogitsRule, edits, last_ids, lengths
from thinktwice.resolve import Unit, resolve
from thinktwice.types import Control, Rewind, RowView

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class UndoRun:
    """A run of k undo tokens deletes the k tokens before it, atomically (`unit="token"`).

    The doomed tokens and the run stay visible until another token is drawn. That token was drawn from a context about
    to vanish, so it is rejected, everything doomed is deleted, and the next draw comes from the clean context, where
    the first deleted token is banned.
    """

    undo_id: int

    @property
    def watch(self) -> frozenset[int]:
        """The undo token."""
        return frozenset((self.undo_id,))

    def edit(self, row: RowView, drawn: int) -> Rewind | None:
        """Let a run grow while it has something to delete; apply it when it ends."""
        written = row.token_ids[row.prompt_length :]
        run = 0
        while run < len(written) and written[-1 - run] == self.undo_id:
            run += 1
        if drawn == self.undo_id:
            return None if run < len(written) - run else Rewind(0, ban=(self.undo_id,), reject=True)
        return Rewind(2 * run, ban=(written[-2 * run],), reject=True) if run else None


@dataclass(frozen=True, slots=True)
class UndoStep:
    """One undo token deletes back to the beginning of the step (`unit="step"`) and bans the step's first token there.

    Standing exactly at a beginning it deletes the step before.
    """

    undo_id: int
    step_ends: frozenset[int]

    @property
    def watch(self) -> frozenset[int]:
        """The undo token."""
        return frozenset((self.undo_id,))

    def edit(self, row: RowView, drawn: int) -> Rewind | None:
        """Rewind when the undo token is drawn."""
        if drawn != self.undo_id:
            return None
        start = end = len(row.token_ids)
        if start == row.prompt_length:
            return Rewind(0, ban=(self.undo_id,), reject=True)
        start -= 1
        while start > row.prompt_length and row.token_ids[start - 1] not in self.step_ends:
            start -= 1
        return Rewind(end - start + 1, ban=(row.token_ids[start],))


@dataclass(frozen=True, slots=True)
class UndoBias:
    """Adds `bias` to the undo token's logit, except inside a run, whose end it would postpone."""

    undo_id: int
    bias: float

    def __call__(self, rows: Sequence[RowView], logits_BV: Any) -> Any:
        """Shift the threshold."""
        logits_BV[:, self.undo_id] += logits_BV.new_tensor((last_ids(rows) != self.undo_id) * self.bias)
        return logits_BV


@dataclass(frozen=True, slots=True)
class NoUndo:
    """Undo is impossible: the `off` arm."""

    undo_id: int

    def __call__(self, rows: Sequence[RowView], logits_BV: Any) -> Any:
        """Forbid the undo token everywhere."""
        logits_BV[:, self.undo_id] = NEVER
        return logits_BV


@dataclass(frozen=True, slots=True)
class UndoFloor:
    """Undo is impossible where nothing is left to delete. The controls refuse it too, but there it costs a draw."""

    undo_id: int
    unit: Unit = "token"
    step_ends: frozenset[int] = frozenset()

    def __call__(self, rows: Sequence[RowView], logits_BV: Any) -> Any:
        """Forbid the undo token in rows that stand at their prompt, or whose run covers all they wrote."""
        # An undo token stands last, or nothing is written: otherwise there is something to delete.
        candidates = ((lengths(rows) == 0) | (last_ids(rows) == self.undo_id)).nonzero()[0].tolist()
        blocked = [index for index in candidates if self._nothing_left(rows[index])]
        if blocked:
            logits_BV[blocked, self.undo_id] = NEVER
        return logits_BV

    def _nothing_left(self, row: RowView) -> bool:
        written = list(row.token_ids[row.prompt_length :])
        if self.unit == "token":
            return 2 * written.count(self.undo_id) >= len(written)
        return not resolve(written, self.undo_id, unit="step", step_ends=self.step_ends).kept


@dataclass(frozen=True, slots=True)
class UndoBudget:
    """After `max_edits` rewinds a row can undo no more, and finishes as it can."""

    undo_id: int
    max_edits: int

    def __call__(self, rows: Sequence[RowView], logits_BV: Any) -> Any:
        """Forbid the undo token in rows that have used up their rewinds."""
        spent = (edits(rows) >= self.max_edits).nonzero()[0]
        if len(spent):
            logits_BV[spent.tolist(), self.undo_id] = NEVER
        return logits_BV


def undo_policy(
    undo_id: int,
    *,
    context: Literal["rewind", "keep", "off"] = "rewind",
    unit: Unit = "token",
    step_ends: frozenset[int] = frozenset(),
    bias: float = 0.0,
    max_edits: int | None = None,
) -> tuple[tuple[Control, ...], tuple[LogitsRule, ...]]:
    """Return the controls and rules of one way to decode with an undo token; pass both to `Engine.generate`.

    rewind: deleted for good. keep: errors and undo tokens stay in the context; read the reply with `resolve.settle`.
    off: the undo token is never drawn. `max_edits` counts rewinds, so it has no effect on `keep`.
    """
    if context == "off":
        return (), (NoUndo(undo_id),)
    rules: list[LogitsRule] = [UndoFloor(undo_id, unit, step_ends)]
    if bias:
        rules.insert(0, UndoBias(undo_id, bias))
    if max_edits is not None:
        rules.append(UndoBudget(undo_id, max_edits))
    if context == "keep":
        return (), tuple(rules)
    control: Control = UndoRun(undo_id) if unit == "token" else UndoStep(undo_id, step_ends)
    return (control,), tuple(rules)
