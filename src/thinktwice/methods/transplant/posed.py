"""Candidates as problems, and a verifier's answers to them as traces. Law: what is told can be read back exactly.

A pair (level 2) is asked in both orders; a group of n samples of one question (level n) gets a score a candidate, and
the best one is the answer: best-of-n.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from thinktwice.errors import DataError
from thinktwice.methods.transplant.data import Candidate, Item
from thinktwice.scoring.verifier import Verdict
from thinktwice.types import Problem, Score, Step, Trace

PAIR = 2
"""The level of a pair; a group's is its number of candidates."""
LOWEST = -60.0
"""The smallest log-probability that is written down."""
_ARGUED = "argued for "

Asked = tuple[int, ...]
"""order[s] is the candidate in slot s."""


def to_problem(item: Item) -> Problem:
    """Return an item as a problem: its level is the number of candidates, its answer the numbers of the right ones, and
    its solution the question's reference answer.
    """
    right = [str(index + 1) for index, candidate in enumerate(item.candidates) if candidate.right]
    ids = tuple(candidate.token_ids for candidate in item.candidates)
    return Problem(
        item.id,
        item.question,
        " ".join(right),
        solution=item.gold or None,
        level=len(item.candidates),
        choices=tuple(candidate.text for candidate in item.candidates),
        choice_ids=ids if all(ids) else (),
        context=(item.argument,) if item.argument else (),
        kind="" if item.argued_for is None else f"{_ARGUED}{item.argued_for + 1}",
    )


def to_item(problem: Problem) -> Item:
    """Return the item that a problem was made of; what its candidates answered and who wrote them is left out."""
    if not problem.choices:
        raise DataError(f"problem {problem.id!r} has no candidates to choose from; a verifier answers posed problems.")
    right = rights(problem)
    ids = problem.choice_ids or ((),) * len(problem.choices)
    candidates = tuple(
        Candidate(text, "", index in right, "", own)
        for index, (text, own) in enumerate(zip(problem.choices, ids, strict=True))
    )
    argued = problem.kind.removeprefix(_ARGUED)
    argued_for = int(argued) - 1 if problem.kind.startswith(_ARGUED) and argued.isdecimal() else None
    said = "".join(problem.context[:1])
    return Item(problem.id, problem.prompt, problem.solution or "", candidates, said, argued_for)


def rights(problem: Problem) -> frozenset[int]:
    """Return the right candidates of a posed problem, from 0."""
    return frozenset(int(number) - 1 for number in problem.answer.split())


@dataclass(frozen=True)
class Answered:
    """What a verifier said of one problem."""

    verdicts: tuple[Verdict, ...]
    """Of a pair that was asked in several orders; empty where single candidates were scored."""
    scores: tuple[float, ...]
    """Of every candidate, higher is better: its log-probability of being right, by itself or against the others."""

    @property
    def best(self) -> tuple[int, ...]:
        """The candidates with the highest score."""
        most = max(self.scores)
        return tuple(index for index, score in enumerate(self.scores) if score == most)


def shown(problem: Problem) -> tuple[Step, ...]:
    """Return the candidates as the steps that a trace begins with: nobody sampled them there."""
    found: list[Step] = []
    ids = problem.choice_ids or ((),) * len(problem.choices)
    for index, (text, own) in enumerate(zip(problem.choices, ids, strict=True)):
        found.append(Step("observation", f"{chr(10) if index else ''}Solution {index + 1}\n", sampled=False))
        found.append(Step("observation", text, own, sampled=False))
    return tuple(found)


def told_in_orders(problem: Problem, asked: Mapping[Asked, tuple[Sequence[float], Sequence[int]]]) -> Trace:
    """Return the trace of a pair.

    Args:
        problem: of two candidates.
        asked: for each order the log-probability of each slot, and the identifiers that stand for the slots.
    """
    steps = [*shown(problem)]
    for order, (logprobs, options) in asked.items():
        best = max(range(len(order)), key=lambda slot: logprobs[slot])
        for slot, candidate in enumerate(order):
            chosen = slot == best
            value = max(LOWEST, float(logprobs[slot]))
            place = f"shown {'first' if slot == 0 else 'second'}"
            text = f"\nSolution {candidate + 1} is right ({math.exp(value):.0%}), {place}."
            known = (round(value, 6),)
            steps.append(Step("answer" if chosen else "text", text, (options[slot],), chosen, chosen, known))
    return Trace(problem.id, tuple(steps))


def told_by_score(problem: Problem, scores: Sequence[float], options: Sequence[int]) -> Trace:
    """Return the trace of candidates that were scored apart; the best one is the answer.

    `options` are the identifiers that stand for them.
    """
    best = max(range(len(scores)), key=lambda index: scores[index])
    steps = [*shown(problem)]
    for index, score in enumerate(scores):
        value, chosen = max(LOWEST, float(score)), index == best
        text = f"\nSolution {index + 1}: {math.exp(min(0.0, value)):.0%}"
        known = (round(value, 6),)
        steps.append(Step("answer" if chosen else "text", text, (options[index],), chosen, chosen, known))
    return Trace(problem.id, tuple(steps))


def read(problem: Problem, trace: Trace) -> Answered:
    """Read back what was told.

    Raises:
        DataError: it is no verifier's trace of this problem.
    """
    values = [step.logprobs[0] for step in trace.steps if step.kind != "observation" and step.logprobs]
    n = len(problem.choices)
    if len(values) == n:
        return Answered((), tuple(values))
    orders = orders_of(n)
    if n != PAIR or len(values) != n * len(orders):
        raise DataError(f"{problem.id!r}: {len(values)} verdicts on {n} candidates; the trace is another problem's.")
    right, kind = rights(problem), problem.kind.removeprefix(_ARGUED)
    verdicts, totals = [], [0.0] * n
    for number, order in enumerate(orders):
        logprobs = tuple(values[number * n : number * n + n])
        slot = next((s for s, candidate in enumerate(order) if candidate in right), None)
        argued = order.index(int(kind) - 1) if kind.isdecimal() else None
        verdicts.append(Verdict(problem.id, order, logprobs, slot, argued))
        for s, candidate in enumerate(order):
            totals[candidate] += logprobs[s] / len(orders)
    return Answered(tuple(verdicts), tuple(totals))


def orders_of(n: int) -> tuple[Asked, ...]:
    """Return both orders of a pair."""
    return tuple(permutations(range(n)))


def as_verdicts(problem: Problem, answered: Answered) -> tuple[Verdict, ...]:
    """Return verdicts on a pair; of candidates that were scored apart, the one that comparing their scores gives.

    Two probabilities p, q of being right make p (1 - q) against q (1 - p), normalised: exactly one of them is.
    """
    if answered.verdicts or len(answered.scores) != PAIR:
        return answered.verdicts
    odds = [score - math.log(max(1e-12, -math.expm1(min(score, -1e-12)))) for score in answered.scores]
    top = max(odds)
    total = top + math.log(sum(math.exp(value - top) for value in odds))
    right = next(iter(rights(problem)), None)
    return (Verdict(problem.id, (0, 1), tuple(value - total for value in odds), right),)


def judge(problem: Problem, trace: Trace) -> Score:
    """Score a verifier's answer: of a pair the share of the orders in which it chooses the right one, of a group
    whether the best candidate is right. A tie is shared out.
    """
    if trace.stop == "error":
        return Score(0.0, None, trace.error or "the row failed", scored=False)
    answered, right = read(problem, trace), rights(problem)
    if answered.verdicts:
        value = sum(verdict.credit for verdict in answered.verdicts) / len(answered.verdicts)
        chosen = [v.order[v.slot] for v in answered.verdicts if v.slot is not None]
    else:
        value = sum(index in right for index in answered.best) / len(answered.best)
        chosen = list(answered.best)
    said = " or ".join(str(index + 1) for index in dict.fromkeys(chosen)) or None
    expected = ", ".join(str(index + 1) for index in sorted(right)) or "none"
    return Score(value, said, f"chose {said or 'neither'}; right: {expected}")


def fault(problem: Problem, trace: Trace) -> str:
    """Say why an answer is wrong, in a few words that many answers share."""
    if not rights(problem):
        return "no candidate is right"
    slots = {verdict.slot for verdict in read(problem, trace).verdicts}
    if len(slots) == 1 and None not in slots:
        return "same slot in both orders"
    return "prefers a wrong one"
