"""What distinguishes the arms, as functions of items and choices. Law: an arm changes data, never a model."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from thinktwice.errors import DataError
from thinktwice.methods.transplant.data import Item
from thinktwice.types import Choice, Move

_PAIR = re.compile(r"/\d+-\d+\Z")
"""What `data.pairs` puts after an item's id."""


def both_orders(item: Item) -> tuple[tuple[int, ...], ...]:
    """Return the candidates in the item's order and in reverse; of more than two every rotation, so that each stands in
    each slot once.
    """
    n = len(item.candidates)
    if n == 1:
        return ((0,),)
    if n == 2:
        return ((0, 1), (1, 0))
    return tuple(tuple((start + step) % n for step in range(n)) for start in range(n))


def without_moves(choice: Choice) -> Choice:
    """Return the choice read as text alone."""
    return replace(choice, argued=(), moves=(), same_text=True)


def swapped(choice: Choice) -> Choice:
    """Return the choice with the states of each candidate moved to the next one's rows (of a pair: to the other's).

    A verifier that reads the states, and not the text, turns round. Where two candidates differ in length the rows are
    aligned at their ends, and what is left at the start of the longer one keeps its text.

    Raises:
        DataError: nothing is moved, or of one candidate only.
    """
    if len(choice.moves) < 2:
        raise DataError(f"{choice.problem_id}: swapping needs two candidates whose rows are moved.")
    donors = [*choice.moves[1:], choice.moves[0]]
    moves = tuple(_aligned(donor, own, donor.source) for donor, own in zip(donors, choice.moves, strict=True))
    return replace(choice, moves=moves, same_text=False)


def shuffled(choices: Sequence[Choice], rng: random.Random) -> list[Choice]:
    """Return each choice with the states of another question's candidates, in slots that a coin decides.

    The coin sees to it that the donor's right candidate stands in the right slot half of the time, whatever the choices
    at hand; a donor is drawn for each choice, never one of the same question. Rows are aligned at their ends.

    Raises:
        DataError: nothing is moved in a choice, or all choices are of one question.
    """
    by_question: dict[str, list[int]] = {}
    for index, choice in enumerate(choices):
        if not choice.moves:
            raise DataError(f"{choice.problem_id}: no rows are moved, so none can be shuffled.")
        by_question.setdefault(question_of(choice), []).append(index)
    if len(by_question) < 2:
        raise DataError("shuffling needs choices of at least two questions.")
    found = []
    for choice in choices:
        own = question_of(choice)
        while True:
            donor = choices[rng.randrange(len(choices))]
            if question_of(donor) != own:
                break
        given = rng.sample(donor.moves, len(donor.moves))
        moves = tuple(
            _aligned(given[slot % len(given)], move, given[slot % len(given)].source)
            for slot, move in enumerate(choice.moves)
        )
        found.append(replace(choice, argued=donor.argued, moves=moves, same_text=False))
    return found


def question_of(choice: Choice) -> str:
    """Return the id of the item that a choice's pair was made of."""
    return _PAIR.sub("", choice.problem_id)


def _aligned(donor: Move, own: Move, source: int) -> Move:
    """Return the move of the donor's last rows onto the last rows of `own`."""
    n = min(donor.n, own.n)
    return Move(source, donor.start + donor.n - n, own.to + own.n - n, n)
