# ruff: noqa: N815  shape suffixes
"""Pairs -> tensors. Law: chosen and rejected of a pair stand in one batch, beside what the reference thinks of both."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

import torch
from torch import Tensor

from thinktwice.errors import DataError, TrainError
from thinktwice.train.batch import WINDOW_STEPS, Batch, Cursor, check_example, collate, fingerprint, plan_steps
from thinktwice.train.settings import Training
from thinktwice.types import Pair


@dataclass(frozen=True, slots=True)
class ReferencedPair:
    """A pair, and how likely its sides are under the weights that training starts from."""

    pair: Pair
    chosen: float
    """log-probability of chosen's learned tokens, in nats: the sum of weight x log-probability."""
    rejected: float


@dataclass(frozen=True, slots=True)
class PairBatch:
    """P pairs of one forward pass. Law: row p is chosen, row P + p is rejected, of the same pair."""

    rows: Batch
    """2P rows."""
    reference_R: Tensor
    """log-probability of every row (2P) under the reference, float64."""

    @property
    def weight(self) -> float:
        """Pairs: what a step's loss is divided by."""
        return len(self.reference_R) / 2

    @property
    def tokens(self) -> int:
        """Tokens of both sides, without padding."""
        return self.rows.tokens

    @property
    def supervised_N(self) -> Tensor:  # noqa: N802
        """Flat indices of the learned positions of both sides."""
        return self.rows.supervised_N

    @property
    def problem_ids(self) -> tuple[str, ...]:
        """One a pair."""
        return self.rows.problem_ids[: len(self.reference_R) // 2]

    def to(self, device: torch.device) -> "PairBatch":
        """Return the batch on `device`."""
        return PairBatch(self.rows.to(device), self.reference_R.to(device))


def check_pair(pair: Pair) -> None:
    """Refuse a pair that contradicts itself.

    Raises:
        DataError: naming the problem and what is wrong with it.
    """
    for name, side in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        try:
            check_example(side)
        except DataError as error:
            raise DataError(f"{name} of a pair: {error}") from None
        if not any(weight > 0 for weight in side.weights):
            raise DataError(f"{name} of the pair of problem {pair.problem_id!r} teaches nothing: every weight is 0.")
    if pair.chosen.problem_id != pair.rejected.problem_id:
        raise DataError(
            f"A pair compares problems {pair.chosen.problem_id!r} and {pair.rejected.problem_id!r}; both sides must "
            "go on from one context."
        )
    end = pair.context_length
    if pair.chosen.token_ids[:end] != pair.rejected.token_ids[:end]:
        same = zip(pair.chosen.token_ids, pair.rejected.token_ids, strict=False)
        parted = next((i for i, (a, b) in enumerate(same) if a != b), min(end, len(pair.rejected.token_ids)))
        raise DataError(
            f"The sides of the pair of problem {pair.problem_id!r} part at token {parted}, before anything is learned "
            f"(token {end}). Both must start with the same context, and what differs must have weights."
        )


def is_pairs(examples: Sequence[object]) -> bool:
    """Say whether a training set is pairs.

    Raises:
        DataError: it mixes pairs and examples.
    """
    pairs = sum(isinstance(example, Pair) for example in examples)
    if pairs not in (0, len(examples)):
        raise DataError(
            f"{pairs} of {len(examples)} training examples are pairs. Train on examples first, then on pairs "
            "(an arm with `start:`); training.nll_weight learns chosen as well."
        )
    return pairs > 0


def pairs_fingerprint(pairs: Sequence[Pair]) -> str:
    """Return a hash of everything the pairs hold, their order and kinds included."""
    sides = fingerprint([side for pair in pairs for side in (pair.chosen, pair.rejected)])
    return hashlib.sha256(f"pairs {sides} {[pair.kind for pair in pairs]}".encode()).hexdigest()


def collate_pairs(pairs: Sequence[ReferencedPair], pad_id: int = 0) -> PairBatch:
    """Put pairs into tensors: all chosen, then all rejected, padded on the right to the longest of both."""
    sides = [[each.pair.chosen] for each in pairs] + [[each.pair.rejected] for each in pairs]
    reference = [each.chosen for each in pairs] + [each.rejected for each in pairs]
    return PairBatch(collate(sides, pad_id), torch.tensor(reference, dtype=torch.float64))


def pair_size(each: ReferencedPair) -> int:
    """Return the tokens a pair takes in a batch: two rows as long as its longer side."""
    return 2 * max(len(each.pair.chosen.token_ids), len(each.pair.rejected.token_ids))


class PairSteps:
    """A finite set of pairs, passed over in a new seeded order every epoch. Law: as `ExampleSteps`.

    `batch_size` counts pairs, `tokens_per_step` both sides.

    Raises:
        DataError: there are no pairs.
        TrainError: packing, which would put sides of different pairs in one row.
    """

    def __init__(self, pairs: Sequence[ReferencedPair], settings: Training, pad_id: int = 0) -> None:
        if not pairs:
            raise DataError("There are no pairs to train on.")
        if settings.packing:
            raise TrainError("training.packing is for examples; pairs are padded. Set packing=false for this training.")
        self.pairs, self.settings, self.pad_id = pairs, settings, pad_id
        self.fingerprint = pairs_fingerprint([each.pair for each in pairs])
        self.total = settings.steps or sum(len(self._plan(epoch)) for epoch in range(settings.epochs))

    def _plan(self, epoch: int) -> list[list[ReferencedPair]]:
        order = list(self.pairs)
        draw = random.Random(f"{self.settings.seed}:{epoch}")
        draw.shuffle(order)
        return [
            step
            for window in _windows(order, self.settings)
            for step in plan_steps(window, pair_size, self.settings, draw)
        ]

    def rows(self) -> Iterator[list[ReferencedPair]]:
        """Yield the pairs of every one of the `total` steps."""
        return islice((step for epoch in count() for step in self._plan(epoch)), self.total)

    def steps(self, after: Cursor = (0, 0)) -> Iterator[tuple[list[PairBatch], Cursor]]:
        """Yield steps for ever, epoch after epoch; the loop stops at `total`."""
        epoch, done = after
        while True:
            plan = self._plan(epoch)
            for k in range(done, len(plan)):
                yield pair_batches(plan[k], self.settings.grad_accumulation, self.pad_id), (epoch, k + 1)
            epoch, done = epoch + 1, 0


def pair_batches(step: Sequence[ReferencedPair], parts: int, pad_id: int = 0) -> list[PairBatch]:
    """Split the pairs of one step into at most `parts` batches; no pair is ever split."""
    size = -(-len(step) // parts)
    return [collate_pairs(step[start : start + size], pad_id) for start in range(0, len(step), size)]


def held_out_batches(pairs: Sequence[ReferencedPair], settings: Training, pad_id: int = 0) -> list[PairBatch]:
    """Return dev pairs in batches, always the same ones, in the order of their lengths."""
    plan = plan_steps(pairs, pair_size, replace(settings, grad_accumulation=1), random.Random(0))
    return [collate_pairs(step, pad_id) for step in plan]


def _windows(pairs: Sequence[ReferencedPair], settings: Training) -> Iterator[list[ReferencedPair]]:
    """Cut the order into windows of about WINDOW_STEPS steps each, in which pairs of similar length find each other."""
    budget = WINDOW_STEPS * (settings.tokens_per_step or settings.batch_size)
    window: list[ReferencedPair] = []
    held = 0
    for each in pairs:
        window.append(each)
        held += 1 if settings.tokens_per_step is None else pair_size(each)
        if held >= budget:
            yield window
            window, held = [], 0
    if window:
        yield window
