"""A verifier is asked about posed problems. Law: what it says of a problem depends on nothing else that is asked."""

import random
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Literal

from thinktwice.engines.base import ChoosingEngine
from thinktwice.methods.transplant import arms, posed
from thinktwice.methods.transplant.data import Item
from thinktwice.types import Choice, Problem, Trace

Mode = Literal["pairwise", "pointwise", "listwise"]
Given = Literal["own", "none", "shuffled", "swapped"]
Rendered = Callable[[Item, Sequence[int]], Choice]
"""`(item, order) -> choice`."""


def orders(item: Item, mode: Mode) -> tuple[tuple[int, ...], ...]:
    """Return the orders in which an item is asked: each candidate stands in each slot equally often.

    pointwise: every candidate alone; a pair: both orders; a group: pairwise every two candidates with different texts,
    in both orders; listwise all of them, turned round.
    """
    n = len(item.candidates)
    if mode == "pointwise":
        return tuple((index,) for index in range(n))
    if mode == "listwise" or n == posed.PAIR:
        return arms.both_orders(item)
    first = {candidate.text: index for index, candidate in reversed(list(enumerate(item.candidates)))}
    return tuple(permutations(sorted(first.values()), posed.PAIR))


def given(choices: Sequence[Choice], states: Given, seed: int) -> list[Choice]:
    """Return the choices with the states that the chooser is to be given in place of its candidates' own."""
    if states == "none":
        return [arms.without_moves(choice) for choice in choices]
    if states == "swapped":
        return [arms.swapped(choice) for choice in choices]
    if states == "shuffled":
        return arms.shuffled(choices, random.Random(f"{seed}:{choices[0].problem_id}"))
    return list(choices)


def ask(
    problems: Sequence[Problem],
    engine: ChoosingEngine,
    rendered: Rendered,
    *,
    mode: Mode,
    states: Given = "own",
    seed: int = 0,
) -> list[Trace]:
    """Return one trace for each problem, in order."""
    items = [posed.to_item(problem) for problem in problems]
    asked = [orders(item, mode) for item in items]
    choices = [rendered(item, order) for item, own in zip(items, asked, strict=True) for order in own]
    found = engine.choose(given(choices, states, seed)) if choices else []
    traces, start = [], 0
    for problem, item, own in zip(problems, items, asked, strict=True):
        said = found[start : start + len(own)]
        options = [choice.options for choice in choices[start : start + len(own)]]
        start += len(own)
        if mode != "pointwise" and len(item.candidates) == posed.PAIR:
            traces.append(posed.told_in_orders(problem, dict(zip(own, zip(said, options, strict=True), strict=True))))
            continue
        scores = _scores(item, own, said)
        marks = [options[0][0]] * len(scores) if options else [0] * len(scores)
        traces.append(posed.told_by_score(problem, scores, marks))
    return traces


def _scores(item: Item, asked: Sequence[Sequence[int]], said: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean log-probability of each candidate over the places where it stood; of equal texts it is one."""
    found: dict[str, list[float]] = {candidate.text: [] for candidate in item.candidates}
    for order, logprobs in zip(asked, said, strict=True):
        for slot, candidate in enumerate(order):
            found[item.candidates[candidate].text].append(logprobs[slot])
    means = {text: sum(values) / len(values) if values else 0.0 for text, values in found.items()}
    return [means[candidate.text] for candidate in item.candidates]
