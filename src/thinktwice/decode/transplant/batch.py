# ruff: noqa: N815  shape suffixes
"""Choices -> tensors: which rows of which texts go where, as flat indices; nothing is copied example by example.

B choices, T columns (the longest text), N argued texts, M moved rows, U different rows they come from, O options. A
text that several choices argue from (both orders of a pair do) is read once, and only as far as rows are moved from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thinktwice.errors import DataError
from thinktwice.types import Choice


@dataclass(frozen=True, slots=True)
class ChoiceBatch:
    """Choices that are read together. Law: every index is into a row's own text, never into its padding."""

    argued_ids_NT: Tensor
    """What the arguer reads, padded on the right; N is 0 where nothing is moved."""
    argued_lengths_N: Tensor
    shifts_N: Tensor
    """Added to the positions of each argued text; 0 unless states are taken after their positions were put in."""
    token_ids_BT: Tensor
    """What the chooser reads, padded on the right."""
    lengths_B: Tensor
    from_U: Tensor
    """Flat index (text * T + row) of every row that is moved anywhere, each once, in `argued_ids_NT`."""
    take_M: Tensor
    """For every moved row, which of the U it is."""
    to_M: Tensor
    """For every moved row, the flat index (choice * T + row) of the row it replaces in `token_ids_BT`; ascending."""
    shift_M: Tensor
    """For every moved row, its row in the chooser's text less its row in the argued one."""
    against_U: Tensor
    """Which of the U rows are of a candidate that is not the right one, bool; see `of_wrong`."""
    options_BO: Tensor
    """Identifiers; rows with fewer options repeat their first."""
    shown_BO: Tensor
    """Which of the options there are, bool."""
    right_B: Tensor
    """Index into the options; -1 when unknown."""
    tokens: int
    """Tokens read by both, without padding."""
    problem_ids: tuple[str, ...]

    @property
    def weight(self) -> float:
        """Choices: what a step's loss is divided by."""
        return float(len(self.right_B))

    @property
    def supervised_N(self) -> Tensor:  # noqa: N802
        """Flat index of the last token of every choice: the only place where something is learned."""
        rows, width = self.token_ids_BT.shape
        return torch.arange(rows, device=self.lengths_B.device) * width + self.lengths_B - 1

    def to(self, device: torch.device) -> "ChoiceBatch":
        """Return the batch on `device`."""
        if self.token_ids_BT.device == device:
            return self
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        moved: dict[str, Any] = {name: value.to(device) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **moved)


def of_wrong(choice: Choice) -> tuple[bool, ...]:
    """Say of each move, in the order of the rows they replace, whether its candidate is wrong.

    Where there is a move for each option, they stand in the order of the options; where one candidate is asked about,
    its second option says that it is wrong. Otherwise nobody knows, and none is.
    """
    if choice.right is None:
        return (False,) * len(choice.moves)
    if len(choice.moves) == 1:
        return (choice.right == 1,)
    if len(choice.moves) != len(choice.options):
        return (False,) * len(choice.moves)
    return tuple(slot != choice.right for slot in range(len(choice.options)))


def check_choice(choice: Choice) -> None:
    """Refuse a choice that contradicts itself. Law: moved rows spell the same ids in both texts (unless a control).

    Raises:
        DataError: naming the problem and what is wrong with it.
    """
    where = f"Choice of problem {choice.problem_id!r}"
    if not choice.token_ids or any(not text for text in choice.argued):
        raise DataError(f"{where} has an empty text.")
    if len(choice.options) < 2 or len(set(choice.options)) != len(choice.options):
        raise DataError(f"{where} needs two or more different identifiers, each one token; it has {choice.options}.")
    if choice.right is not None and not 0 <= choice.right < len(choice.options):
        raise DataError(f"{where}: right={choice.right} is no index into its {len(choice.options)} options.")
    if min(choice.token_ids) < 0 or min(choice.options) < 0 or any(min(text) < 0 for text in choice.argued):
        raise DataError(f"{where} has a negative token id.")
    taken: set[int] = set()
    for move in choice.moves:
        if not 0 <= move.source < len(choice.argued):
            raise DataError(f"{where} moves from text {move.source}; it has {len(choice.argued)} argued texts.")
        text = choice.argued[move.source]
        if move.n < 1 or move.start < 0 or move.to < 0:
            raise DataError(f"{where} has a move of {move.n} rows from {move.start} to {move.to}; all must be there.")
        if move.start + move.n > len(text) or move.to + move.n > len(choice.token_ids):
            raise DataError(
                f"{where} moves rows {move.start}..{move.start + move.n} of {len(text)} to {move.to}.."
                f"{move.to + move.n} of {len(choice.token_ids)}: beyond the end of a text."
            )
        if move.to + move.n == len(choice.token_ids):
            raise DataError(f"{where} moves its last row, after which the identifier is read; leave that row out.")
        rows = set(range(move.to, move.to + move.n))
        if rows & taken:
            raise DataError(f"{where} moves two rows to one place ({min(rows & taken)}).")
        taken |= rows
        spelled = text[move.start : move.start + move.n], choice.token_ids[move.to : move.to + move.n]
        if choice.same_text and spelled[0] != spelled[1]:
            first = next(k for k, (a, b) in enumerate(zip(*spelled, strict=True)) if a != b)
            raise DataError(
                f"{where}: row {move.start + first} of argued text {move.source} is token {spelled[0][first]}, row "
                f"{move.to + first} of the chooser's text is {spelled[1][first]}. Both must spell the same span: join "
                "it from the same token ids in both prompts (same_text=False for controls that move another text)."
            )


def collate_choices(choices: Sequence[Choice], pad_id: int = 0, *, by_shift: bool = False) -> ChoiceBatch:
    """Put choices into tensors.

    Args:
        choices: each passes `check_choice`.
        pad_id: stands behind shorter texts, where nothing sees it.
        by_shift: read an argued text once for every distance its rows are moved, its positions shifted by it, for
            states that are taken after positions were put into them.
    """
    texts: dict[tuple[tuple[int, ...], int], int] = {}
    ends: list[int] = []
    moved: list[tuple[int, int, int, int, int]] = []  # choice, row, text, row there, distance
    against: list[bool] = []
    for b, choice in enumerate(choices):
        for move, wrong in zip(sorted(choice.moves, key=lambda move: move.to), of_wrong(choice), strict=True):
            against += [wrong] * move.n
            distance = move.to - move.start
            key = (choice.argued[move.source], distance if by_shift else 0)
            text = texts.setdefault(key, len(texts))
            if text == len(ends):
                ends.append(0)
            ends[text] = max(ends[text], move.start + move.n)
            moved += [(b, move.to + k, text, move.start + k, distance) for k in range(move.n)]
    argued_width, width = max(ends, default=0), max(len(choice.token_ids) for choice in choices)
    argued_ids = np.full((len(ends), argued_width), pad_id, np.int64)
    for (ids, _), text in texts.items():
        argued_ids[text, : ends[text]] = ids[: ends[text]]  # what stands behind the last moved row cannot reach it
    token_ids = np.full((len(choices), width), pad_id, np.int64)
    most = max(len(choice.options) for choice in choices)
    options, shown = np.zeros((len(choices), most), np.int64), np.zeros((len(choices), most), bool)
    for b, choice in enumerate(choices):
        token_ids[b, : len(choice.token_ids)] = choice.token_ids
        options[b] = [*choice.options, *[choice.options[0]] * (most - len(choice.options))]
        shown[b, : len(choice.options)] = True
    table = np.asarray(moved, np.int64).reshape(-1, 5)
    from_rows, take = np.unique(table[:, 2] * argued_width + table[:, 3], return_inverse=True)
    against_rows = np.zeros(len(from_rows), bool)
    against_rows[take.reshape(-1)] = against
    lengths = [len(choice.token_ids) for choice in choices]
    return ChoiceBatch(
        argued_ids_NT=torch.from_numpy(argued_ids),
        argued_lengths_N=torch.tensor(ends, dtype=torch.long),
        shifts_N=torch.tensor([shift for _, shift in texts], dtype=torch.long),
        token_ids_BT=torch.from_numpy(token_ids),
        lengths_B=torch.tensor(lengths, dtype=torch.long),
        from_U=torch.from_numpy(from_rows),
        take_M=torch.from_numpy(take.reshape(-1).astype(np.int64)),
        to_M=torch.from_numpy(table[:, 0] * width + table[:, 1]),
        shift_M=torch.from_numpy(table[:, 4].copy()),
        against_U=torch.from_numpy(against_rows),
        options_BO=torch.from_numpy(options),
        shown_BO=torch.from_numpy(shown),
        right_B=torch.tensor([-1 if choice.right is None else choice.right for choice in choices], dtype=torch.long),
        tokens=sum(lengths) + sum(ends),
        problem_ids=tuple(choice.problem_id for choice in choices),
    )
