"""Planning tokens while a text is being written: the grammar, forced types, and the interventions. No torch needed.

A step ends with a token that ends a line. Then the grammar appends the prefix by itself (one forward pass for all of
it), lets the model choose among the *first* tokens of the blocks only, and appends the rest of the block it chose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from thinktwice.decode.rows import last_ids, lengths
from thinktwice.types import Append, Edit, Rewind, RowView, Stop

NEVER = float("-inf")


@dataclass(frozen=True)
class Blocks:
    """The ids of an inventory in one vocabulary."""

    prefix: tuple[int, ...]
    own: Mapping[str, tuple[int, ...]]
    """Key -> the ids of its block, without the prefix; "answer" among them. Empty when types have no tokens."""
    step_ends: frozenset[int]

    @cached_property
    def ids(self) -> frozenset[int]:
        """Every planning token."""
        return frozenset(self.prefix).union(*self.own.values())

    @cached_property
    def openings(self) -> dict[int, str]:
        """First id of a block -> its key."""
        return {ids[0]: key for key, ids in self.own.items()}

    def opened(self, row: RowView) -> list[int]:
        """Return where in a row blocks of a type begin, after its prompt."""
        return [i for i in range(row.prompt_length, len(row.token_ids)) if row.token_ids[i] in self.openings]


@dataclass(frozen=True)
class Grammar:
    """Appends what follows by necessity: the prefix after a step, the rest of a block after its first token."""

    blocks: Blocks

    @property
    def watch(self) -> frozenset[int]:
        """Line ends and the first tokens of blocks."""
        return self.blocks.step_ends | frozenset(self.blocks.openings)

    def edit(self, row: RowView, drawn: int) -> Edit | None:
        """Append, or stop where a line ends after the answer's block."""
        if drawn in self.blocks.openings:
            rest = self.blocks.own[self.blocks.openings[drawn]][1:]
            return Append(rest) if rest else None
        if drawn not in self.blocks.step_ends:
            return None
        opened = self.blocks.opened(row)
        if opened and self.blocks.openings[row.token_ids[opened[-1]]] == "answer":
            return Stop()
        return Append(self.blocks.prefix) if self.blocks.prefix else None


@dataclass(frozen=True)
class Choose:
    """At a step's beginning only a block can begin; anywhere else no planning token can be drawn.

    `force`: the types of the first steps; after them the model chooses.
    """

    blocks: Blocks
    several: bool = False
    """Whether a step may have several types: then another block may follow a block."""
    force: tuple[str, ...] = ()

    def __call__(self, rows: Sequence[RowView], logits_BV: Any) -> Any:
        """Forbid what the grammar does not allow."""
        blocks = self.blocks
        last = last_ids(rows)
        if blocks.prefix:
            beginning = last == blocks.prefix[-1]
        else:
            beginning = np.isin(last, list(blocks.step_ends)) | (lengths(rows) == 0)
        openings, planning = list(blocks.openings), list(blocks.ids)
        starts = beginning.nonzero()[0].tolist() if openings else []
        others = (~beginning).nonzero()[0].tolist() if openings else list(range(len(rows)))
        for index in starts:
            allowed = self._forced(rows[index]) or openings
            kept = logits_BV[index, allowed].clone()
            logits_BV[index] = NEVER
            logits_BV[index, allowed] = kept
        if others and planning:
            types = [ids for key, ids in blocks.own.items() if key != "answer"] if self.several else []
            following = [ids[0] for ids in types]  # another type may follow a type's block, never the answer's
            finished = np.isin(last, [ids[-1] for ids in types]).nonzero()[0].tolist()
            scores = [logits_BV[index, following].clone() for index in finished]
            logits_BV[np.ix_(others, planning)] = NEVER
            for index, kept in zip(finished, scores, strict=True):
                logits_BV[index, following] = kept
        return logits_BV

    def _forced(self, row: RowView) -> list[int]:
        step = len(self.blocks.opened(row)) if self.force else 0
        return [self.blocks.own[self.force[step]][0]] if step < len(self.force) else []


@dataclass(frozen=True, slots=True)
class Exchange:
    """The intervention "the other type": wherever the model would begin a block of one type, it begins the other's."""

    one: int
    other: int

    def __call__(self, rows: Sequence[RowView], logits_BV: Any) -> Any:
        """Swap the two first tokens' logits."""
        logits_BV[:, [self.one, self.other]] = logits_BV[:, [self.other, self.one]]
        return logits_BV


@dataclass(frozen=True)
class Delete:
    """The intervention "no step of this type": one is taken back when it ends, and may not begin again there."""

    blocks: Blocks
    key: str

    @property
    def watch(self) -> frozenset[int]:
        """Line ends."""
        return self.blocks.step_ends

    def edit(self, row: RowView, drawn: int) -> Rewind | None:
        """Rewind to before the block, prefix kept."""
        opened = self.blocks.opened(row) if drawn in self.blocks.step_ends else []
        if not opened or self.blocks.openings[row.token_ids[opened[-1]]] != self.key:
            return None
        return Rewind(len(row.token_ids) - opened[-1] + 1, ban=(row.token_ids[opened[-1]],))
