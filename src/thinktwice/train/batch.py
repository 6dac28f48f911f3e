# ruff: noqa: N815  shape suffixes
"""Examples -> tensors: order, buckets, packing, and the attention mask that hides what was retracted."""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from thinktwice.errors import DataError, TrainError
from thinktwice.train.settings import Training
from thinktwice.types import Example

IGNORED = -100
"""Target where nothing is learned (PyTorch's and Transformers' convention)."""
WINDOW_STEPS = 16
"""Steps' worth of shuffled examples among which rows of similar length are put together."""
PACKED_ROW = 2048
"""Default length of a packed row, in tokens, where neither the settings nor an example ask for more."""

Cursor = tuple[int, int]
"""(epoch, or first example of the window; steps already taken in it): where a source goes on."""
Ints = npt.NDArray[np.int64]
Unit = TypeVar("Unit")
"""What a step is made of: a row of examples, or a pair."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one forward pass. Law: `weights_BT` is 0 on padding and on everything that is only seen.

    B rows, T columns (the longest row), N supervised positions.
    """

    input_ids_BT: Tensor
    targets_BT: Tensor
    """What the logits at each position should predict; IGNORED where the weight is 0."""
    weights_BT: Tensor
    supervised_N: Tensor
    """Flat indices (row * T + column) of the positions with a weight above 0."""
    positions_BT: Tensor | None
    """Logical positions; None: 0..T-1 in every row."""
    dead_from_BT: Tensor | None
    """First query (column) that no longer sees each token; None: plain causal attention is enough."""
    weight: float
    """Sum of the weights."""
    tokens: int
    """Tokens, without padding."""
    problem_ids: tuple[str, ...]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`."""
        if self.input_ids_BT.device == device:
            return self
        moved = {
            name: None if value is None else value.to(device, non_blocking=True)
            for name in ("input_ids_BT", "targets_BT", "weights_BT", "supervised_N", "positions_BT", "dead_from_BT")
            for value in (getattr(self, name),)
        }
        return Batch(weight=self.weight, tokens=self.tokens, problem_ids=self.problem_ids, **moved)  # type: ignore[arg-type]


def visible(dead_from_BT: Tensor) -> Tensor:
    """Return who sees whom, bool (B, 1, T, T): query i sees token j iff j <= i < dead_from[j]."""
    index_T = torch.arange(dead_from_BT.shape[1], device=dead_from_BT.device)
    causal_TT = index_T[None, :] <= index_T[:, None]
    alive_BTT = index_T[None, :, None] < dead_from_BT[:, None, :]
    return (causal_TT & alive_BTT)[:, None]


def check_example(example: Example) -> None:
    """Refuse an example that contradicts itself.

    Raises:
        DataError: naming the problem and what is wrong with it.
    """
    length = len(example.token_ids)
    where = f"Example of problem {example.problem_id!r}"
    if length == 0:
        raise DataError(f"{where} is empty.")
    fields = {"targets": example.targets, "weights": example.weights}
    fields |= {"positions": example.positions or (0,) * length, "dead_from": example.dead_from or (length,) * length}
    for name, values in fields.items():
        if len(values) != length:
            raise DataError(f"{where}: {name} has {len(values)} entries for {length} tokens.")
    weights = np.asarray(example.weights)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(f"{where} has a weight that is negative or not a number.")
    if min(example.token_ids) < 0:
        raise DataError(f"{where} has a negative token id.")
    if any(weight > 0 and target < 0 for weight, target in zip(example.weights, example.targets, strict=True)):
        raise DataError(f"{where} is supervised at a position without a target.")
    if example.dead_from is not None and any(not j < dead <= length for j, dead in enumerate(example.dead_from)):
        raise DataError(
            f"{where}: dead_from must lie above its own index (a token sees itself) and at most at {length}."
        )
    if example.positions is not None and min(example.positions) < 0:
        raise DataError(f"{where} has a negative position.")


def collate(rows: Sequence[Sequence[Example]], pad_id: int = 0) -> Batch:
    """Put examples into tensors, padded on the right; a row with several examples is packed.

    Packed examples are told apart by the same rule that hides retracted tokens: what stands before an example is dead
    from its first token on, and its positions start at 0 again.
    """
    length = max(sum(len(example.token_ids) for example in row) for row in rows)
    shape = (len(rows), length)
    input_ids = np.full(shape, pad_id, dtype=np.int64)
    targets = np.full(shape, IGNORED, dtype=np.int64)
    weights = np.zeros(shape, dtype=np.float32)
    positions = np.tile(np.arange(length, dtype=np.int64), (len(rows), 1))
    dead_from = np.full(shape, length, dtype=np.int64)
    layout = any(len(row) > 1 or row[0].dead_from is not None or row[0].positions is not None for row in rows)
    tokens = 0
    for r, row in enumerate(rows):
        start = 0
        for example in row:
            end = start + len(example.token_ids)
            input_ids[r, start:end] = example.token_ids
            weights[r, start:end] = example.weights
            targets[r, start:end] = np.where(weights[r, start:end] > 0, example.targets, IGNORED)
            if layout:
                positions[r, start:end] = np.arange(end - start) if example.positions is None else example.positions
                own = end if example.dead_from is None else np.asarray(example.dead_from, dtype=np.int64) + start
                # Padding and later examples must not see it; what pads see does not matter, they are never read.
                dead_from[r, start:end] = own
            start = end
        tokens += start
    return Batch(
        input_ids_BT=torch.from_numpy(input_ids),
        targets_BT=torch.from_numpy(targets),
        weights_BT=torch.from_numpy(weights),
        supervised_N=torch.from_numpy(np.flatnonzero(weights)),
        positions_BT=torch.from_numpy(positions) if layout else None,
        dead_from_BT=torch.from_numpy(dead_from) if layout else None,
        weight=float(weights.sum(dtype=np.float64)),
        tokens=tokens,
        problem_ids=tuple(example.problem_id for row in rows for example in row),
    )


class MicroBatch(Protocol):
    """What a step accumulates gradients over, whatever stands in it: examples, or pairs."""

    @property
    def weight(self) -> float:
        """What the step's loss is divided by, summed over its micro-batches."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens, without padding."""
        ...

    @property
    def supervised_N(self) -> Tensor:  # noqa: N802
        """Flat indices of the learned positions."""
        ...

    @property
    def problem_ids(self) -> tuple[str, ...]:
        """Where it came from."""
        ...

    def to(self, device: torch.device) -> "MicroBatch":
        """Return the batch on `device`."""
        ...


class StepSource(Protocol):
    """Where the batches of every optimiser step come from. Law: `steps(after)` goes on exactly where a run stopped."""

    @property
    def fingerprint(self) -> str:
        """Identifies the data; a resumed run with another one is refused."""
        ...

    @property
    def total(self) -> int:
        """How many steps there are to take."""
        ...

    def steps(self, after: Cursor = (0, 0)) -> Iterator[tuple[Sequence[MicroBatch], Cursor]]:
        """Yield the micro-batches of every step and the cursor to resume after it."""
        ...


class ExampleSteps:
    """A finite set of examples, passed over in a new seeded order every epoch."""

    def __init__(self, examples: Sequence[Example], settings: Training, pad_id: int = 0) -> None:
        if not examples:
            raise DataError("There are no examples to train on.")
        self.examples, self.settings, self.pad_id = examples, settings, pad_id
        self.fingerprint = fingerprint(examples)
        self.total = settings.steps or sum(len(self._plan(epoch)) for epoch in range(settings.epochs))

    def _plan(self, epoch: int) -> list[list[list[Example]]]:
        order = list(self.examples)
        draw = random.Random(f"{self.settings.seed}:{epoch}")
        draw.shuffle(order)
        return [step for window in _windows(order, self.settings) for step in plan_window(window, self.settings, draw)]

    def rows(self) -> Iterator[list[list[Example]]]:
        """Yield the rows of every one of the `total` steps."""
        steps = (step for epoch in count() for step in self._plan(epoch))
        return islice(steps, self.total)

    def steps(self, after: Cursor = (0, 0)) -> Iterator[tuple[list[Batch], Cursor]]:
        """Yield steps for ever, epoch after epoch; the loop stops at `total`."""
        epoch, done = after
        while True:
            plan = self._plan(epoch)
            for k in range(done, len(plan)):
                yield micro_batches(plan[k], self.settings, self.pad_id), (epoch, k + 1)
            epoch, done = epoch + 1, 0


class StreamSteps:
    """Endless examples: `examples_from(k)` yields example k, k+1, ..., the same ones every time it is asked.

    Raises:
        TrainError: the settings name no number of steps, or the stream ends.
    """

    def __init__(
        self, examples_from: Callable[[int], Iterator[Example]], settings: Training, name: str, pad_id: int = 0
    ) -> None:
        if settings.steps is None:
            raise TrainError("Endless data has no epochs; set training.steps.")
        self.examples_from, self.settings, self.pad_id = examples_from, settings, pad_id
        self.fingerprint = hashlib.sha256(name.encode()).hexdigest()
        self.total = settings.steps

    def steps(self, after: Cursor = (0, 0)) -> Iterator[tuple[list[Batch], Cursor]]:
        """Yield steps until the stream ends, which is an error here."""
        start, done = after
        for window in _windows(self.examples_from(start), self.settings):
            for example in window:
                check_example(example)
            draw = random.Random(f"{self.settings.seed}:{start}")
            plan = plan_window(window, self.settings, draw)
            for k in range(done, len(plan)):
                yield micro_batches(plan[k], self.settings, self.pad_id), (start, k + 1)
            start, done = start + len(window), 0
        raise TrainError(f"The stream of examples ended after {start}; it must be endless for {self.total} steps.")


def _windows(examples: Iterable[Example], settings: Training) -> Iterator[list[Example]]:
    """Cut a stream into windows of about WINDOW_STEPS steps each."""
    stream = iter(examples)
    if settings.tokens_per_step is None and not settings.packing:
        while window := list(islice(stream, WINDOW_STEPS * settings.batch_size)):
            yield window
        return
    # Packed rows hold an unknown number of examples: count tokens instead.
    row = settings.max_length or PACKED_ROW
    budget = WINDOW_STEPS * (settings.tokens_per_step or settings.batch_size * row)
    window, held = [], 0
    for example in stream:
        window.append(example)
        held += len(example.token_ids)
        if held >= budget:
            yield window
            window, held = [], 0
    if window:
        yield window


def plan_window(window: Sequence[Example], settings: Training, draw: random.Random) -> list[list[list[Example]]]:
    """Return steps, each a list of rows, each a list of examples: rows of similar length, steps in random order."""
    rows = pack(window, settings) if settings.packing else [[example] for example in window]
    return plan_steps(rows, _row_length, settings, draw)


def plan_steps(
    units: Iterable[Unit], size: Callable[[Unit], int], settings: Training, draw: random.Random
) -> list[list[Unit]]:
    """Return steps of units (rows, pairs) of similar size, in random order.

    Args:
        units: what is trained on.
        size: tokens that a unit takes, padding to its own longest row included.
        settings: how many units, or how many tokens, make a step.
        draw: shuffles the steps.
    """
    steps: list[list[Unit]] = []
    current: list[Unit] = []
    for unit in sorted(units, key=size):  # ascending, so the newest is the longest
        if settings.tokens_per_step is None:
            full = len(current) == settings.batch_size
        else:
            full = (len(current) + 1) * size(unit) > settings.tokens_per_step
        if full and current:
            steps.append(current)
            current = []
        current.append(unit)
    if current:
        steps.append(current)
    draw.shuffle(steps)
    return steps


def pack(examples: Sequence[Example], settings: Training) -> list[list[Example]]:
    """Put examples into rows, longest first, each into the fullest row it fits in (best fit decreasing)."""
    longest = max(len(example.token_ids) for example in examples)
    capacity = max(longest, settings.max_length or PACKED_ROW)
    if settings.tokens_per_step is not None:
        capacity = max(longest, min(capacity, settings.tokens_per_step // settings.grad_accumulation))
    rows: list[list[Example]] = []
    by_space: dict[int, list[list[Example]]] = {}  # free tokens -> rows
    for example in sorted(examples, key=lambda e: -len(e.token_ids)):
        size = len(example.token_ids)
        space = min((free for free in by_space if free >= size), default=None)
        if space is None:
            row: list[Example] = []
            rows.append(row)
            space = capacity
        else:
            row = by_space[space].pop()
            if not by_space[space]:
                del by_space[space]
        row.append(example)
        by_space.setdefault(space - size, []).append(row)
    return rows


def micro_batches(rows: Sequence[Sequence[Example]], settings: Training, pad_id: int = 0) -> list[Batch]:
    """Split the rows of one step into at most `grad_accumulation` batches."""
    size = -(-len(rows) // settings.grad_accumulation)
    return [collate(rows[start : start + size], pad_id) for start in range(0, len(rows), size)]


def _row_length(row: Sequence[Example]) -> int:
    return sum(len(example.token_ids) for example in row)


def fingerprint(examples: Sequence[Example]) -> str:
    """Return a hash of everything the examples hold, their order included."""
    digest = hashlib.sha256()
    for example in examples:
        fields = (example.token_ids, example.targets, example.positions, example.dead_from)
        for values in fields:
            digest.update(b"-" if values is None else np.asarray(values, dtype=np.int64).tobytes())
        digest.update(np.asarray(example.weights, dtype=np.float64).tobytes())
        digest.update(example.problem_id.encode() + b"\n")
    return digest.hexdigest()
