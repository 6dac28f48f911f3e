"""Choices -> steps. Law: both orders of an item stand in one batch, so that no slot can be learned from it."""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from thinktwice.decode.transplant import ChoiceBatch
from thinktwice.errors import DataError, TrainError
from thinktwice.train.batch import WINDOW_STEPS, Cursor
from thinktwice.train.settings import Training
from thinktwice.types import Choice

Orders = tuple[Choice, ...]
"""One item in every order in which it is asked."""
Collate = Callable[[Sequence[Choice]], ChoiceBatch]


def is_choices(examples: Sequence[Any]) -> bool:
    """Say whether a training set is choices.

    Raises:
        DataError: it mixes choices with something else.
    """
    found = sum(isinstance(example, Choice) for example in examples)
    if found not in (0, len(examples)):
        raise DataError(f"{found} of {len(examples)} training examples are choices; train a verifier on choices alone.")
    return found > 0


def group_orders(choices: Sequence[Choice]) -> list[Orders]:
    """Return items with their orders: choices of one problem between the same candidates, in the order they came in.

    Candidates are told by their argued texts, and where there are none by the problem alone.
    """
    items: dict[Any, list[Choice]] = {}
    for index, choice in enumerate(choices):
        known = choice.problem_id or choice.argued
        key = (choice.problem_id, tuple(sorted(choice.argued))) if known else index
        items.setdefault(key, []).append(choice)
    return [tuple(orders) for orders in items.values()]


def choices_fingerprint(choices: Sequence[Choice]) -> str:
    """Return a hash of everything the choices hold, their order included."""
    digest = hashlib.sha256(b"choices")
    for choice in choices:
        digest.update(repr(choice).encode() + b"\n")
    return digest.hexdigest()


class ChoiceSteps:
    """A finite set of choices, passed over in a new seeded order every epoch. Law: as `ExampleSteps`.

    `batch_size` counts choices (an item in both orders is two), `tokens_per_step` what both readers read.

    Raises:
        DataError: there are none.
        TrainError: packing, which would let one choice see another.
    """

    def __init__(self, choices: Sequence[Choice], settings: Training, collate: Collate, parts: int = 1) -> None:
        """Take the choices, what makes a batch of some of them, and how many processes share a step."""
        if not choices:
            raise DataError("There are no choices to train on.")
        if settings.packing:
            raise TrainError("training.packing is for examples; choices are padded. Set packing=false.")
        self.items, self.settings, self.collate = group_orders(choices), settings, collate
        self.parts = settings.grad_accumulation * parts
        self.fingerprint = choices_fingerprint(choices)
        self.total = settings.steps or sum(len(self._plan(epoch)) for epoch in range(settings.epochs))

    def steps(self, after: Cursor = (0, 0)) -> Iterator[tuple[list[ChoiceBatch], Cursor]]:
        """Yield steps for ever, epoch after epoch; the loop stops at `total`."""
        epoch, done = after
        while True:
            plan = self._plan(epoch)
            for k in range(done, len(plan)):
                yield [self.collate(part) for part in split(plan[k], self.parts)], (epoch, k + 1)
            epoch, done = epoch + 1, 0

    def _plan(self, epoch: int) -> list[list[Orders]]:
        """Return steps of items of similar length, in random order."""
        order = list(self.items)
        draw = random.Random(f"{self.settings.seed}:{epoch}")
        draw.shuffle(order)
        budget = self.settings.tokens_per_step or self.settings.batch_size
        size = item_tokens if self.settings.tokens_per_step else len
        plan: list[list[Orders]] = []
        window: list[Orders] = []
        for item in order:
            window.append(item)
            if sum(map(size, window)) >= WINDOW_STEPS * budget:
                plan += _cut(window, budget, size, draw)
                window = []
        return plan + _cut(window, budget, size, draw)


def held_out_choices(choices: Sequence[Choice], settings: Training, collate: Collate) -> list[ChoiceBatch]:
    """Return dev choices in batches, always the same ones, in the order of their lengths."""
    budget = settings.tokens_per_step or settings.batch_size
    size = item_tokens if settings.tokens_per_step else len
    plan = _cut(group_orders(choices), budget, size, random.Random(0))
    return [collate([choice for item in step for choice in item]) for step in plan]


def item_tokens(item: Orders) -> int:
    """Return what both readers read of an item: every order, and each argued text once."""
    texts = {choice.argued[move.source] for choice in item for move in choice.moves}
    return sum(len(choice.token_ids) for choice in item) + sum(map(len, texts))


def split(step: Sequence[Orders], parts: int) -> list[list[Choice]]:
    """Split the items of one step into at most `parts` batches of choices; no item is ever split."""
    size = -(-len(step) // parts)
    return [[c for item in step[start : start + size] for c in item] for start in range(0, len(step), size)]


def _cut(
    window: Sequence[Orders], budget: int, size: Callable[[Orders], int], draw: random.Random
) -> list[list[Orders]]:
    steps: list[list[Orders]] = []
    held = budget
    for item in sorted(window, key=item_tokens):
        if held + size(item) > budget:
            steps.append([])
            held = 0
        steps[-1].append(item)
        held += size(item)
    draw.shuffle(steps)
    return steps
