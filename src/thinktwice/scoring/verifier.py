"""How well a verifier tells right candidates from wrong ones, and whether it looked at them. Law: pure, numpy only.

A verdict is what a verifier said of one question with its candidates in one order. Pairs are asked in both orders:
a verifier that prefers a slot is right half of the time and consistent never.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinktwice.errors import DataError
from thinktwice.scoring.stats import wilson

COLLAPSED = 0.95
"""From this share of one slot on, an evaluation says nothing but the slot."""
RESAMPLES = 5_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one question, its candidates in one order."""

    problem_id: str
    order: tuple[int, ...]
    """order[s] is the candidate that stood in slot s."""
    logprobs: tuple[float, ...]
    """Natural log of the probability of each slot, normalised over the slots."""
    right: int | None
    """The slot of the right candidate; None when none or several are right."""
    argued_for: int | None = None
    """The slot that the argument in the prompt chose."""

    @property
    def slot(self) -> int | None:
        """The slot it chooses; None when two are equally likely."""
        best = max(self.logprobs)
        found = [slot for slot, value in enumerate(self.logprobs) if value == best]
        return found[0] if len(found) == 1 else None

    @property
    def credit(self) -> float:
        """1 when the right slot is chosen; a tie is shared out among its slots."""
        best = max(self.logprobs)
        found = [slot for slot, value in enumerate(self.logprobs) if value == best]
        return (self.right in found) / len(found)


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean with its interval over questions."""

    value: float
    ci: tuple[float, float]
    n: int
    """Verdicts."""
    questions: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Verdicts whose probability lay in one interval: a point of a reliability plot."""

    low: float
    high: float
    n: int
    predicted: float
    """Mean probability."""
    observed: float
    """Share that was so."""


@dataclass(frozen=True)
class Verification:
    """The numbers of one evaluation."""

    accuracy: Rate
    """Over every verdict: both orders of each pair."""
    consistency: Rate | None
    """Share of pairs of which both orders choose the same candidate; None where no pair was asked twice."""
    first_slot: Rate
    """Share of verdicts for slot 1; both orders of each pair make 0.5 of it unbiased."""
    when_argument_right: Rate | None
    """Accuracy where the argument chose the right candidate: the seed's f_c_oc, as a true conditional."""
    when_argument_wrong: Rate | None
    """Accuracy where it did not: f_c_oi. 1 less this is the deference to wrong arguments."""
    brier: float
    """Mean squared error of the probability of slot 1."""
    calibration_error: float
    reliability: tuple[Bin, ...]
    collapsed: bool
    """At least 95 % of the verdicts name one slot: the accuracy is that of a constant."""


def verification(verdicts: Sequence[Verdict], *, bins: int = 10) -> Verification:
    """Judge verdicts on pairs.

    Raises:
        DataError: there are none, or one is not of two slots with a right one.
    """
    if not verdicts:
        raise DataError("there are no verdicts to judge.")
    for verdict in verdicts:
        if len(verdict.logprobs) != 2 or verdict.right is None:
            raise DataError(
                f"the verdict on {verdict.problem_id!r} is not of one right and one wrong candidate; use best_of_n."
            )
    agreed = [v for v in verdicts if v.argued_for is not None and v.argued_for == v.right]
    misled = [v for v in verdicts if v.argued_for is not None and v.argued_for != v.right]
    first = np.exp([v.logprobs[0] for v in verdicts])
    was = np.array([float(v.right == 0) for v in verdicts])
    return Verification(
        accuracy=accuracy(verdicts),
        consistency=consistency(verdicts),
        first_slot=clustered([_first(v) for v in verdicts], [v.problem_id for v in verdicts]),
        when_argument_right=accuracy(agreed) if agreed else None,
        when_argument_wrong=accuracy(misled) if misled else None,
        brier=brier(first, was),
        calibration_error=calibration_error(first, was, bins),
        reliability=reliability(first, was, bins),
        collapsed=collapsed(verdicts),
    )


def accuracy(verdicts: Sequence[Verdict]) -> Rate:
    """Return the mean credit with its interval over questions."""
    return clustered([v.credit for v in verdicts], [v.problem_id for v in verdicts])


def consistency(verdicts: Sequence[Verdict]) -> Rate | None:
    """Return the share of pairs whose verdict is the same candidate in both orders; a tie is no verdict."""
    seen: dict[str, dict[tuple[int, ...], int | None]] = {}
    for verdict in verdicts:
        chosen = None if verdict.slot is None else verdict.order[verdict.slot]
        seen.setdefault(verdict.problem_id, {})[verdict.order] = chosen
    twice = {name: list(orders.values()) for name, orders in seen.items() if len(orders) > 1}
    if not twice:
        return None
    same = [float(None not in chosen and len(set(chosen)) == 1) for chosen in twice.values()]
    return clustered(same, list(twice))


def _first(verdict: Verdict) -> float:
    return 0.5 if verdict.slot is None else float(verdict.slot == 0)


def collapsed(verdicts: Sequence[Verdict], threshold: float = COLLAPSED) -> bool:
    """Say whether one slot has at least this share of the verdicts, so that the evaluation is a constant's."""
    slots = [v.slot for v in verdicts if v.slot is not None]
    return bool(slots) and max(slots.count(slot) for slot in set(slots)) >= threshold * len(verdicts)


def clustered(
    values: Sequence[float], clusters: Sequence[Hashable], *, confidence: float = 0.95, seed: int = 0
) -> Rate:
    """Return a mean with a percentile bootstrap interval over clusters: a question is drawn with all its values.

    Where every value is 0 or 1 and stands alone in its cluster, the interval is Wilson's. Law: same seed, same ends.

    Raises:
        DataError: no value, or not one cluster a value.
    """
    if not values or len(values) != len(clusters):
        raise DataError(f"{len(values)} values in {len(clusters)} clusters; give each value its cluster, at least one.")
    numbers = np.asarray(values, dtype=np.float64)
    places = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    of = np.array([places[name] for name in clusters])
    mean, k = float(numbers.mean()), len(places)
    if k == len(numbers) and np.isin(numbers, (0.0, 1.0)).all():
        return Rate(mean, wilson(int(numbers.sum()), k, confidence), k, k)
    sums, counts = np.bincount(of, numbers, k), np.bincount(of, minlength=k)
    generator = np.random.default_rng(seed)
    means = []
    for start in range(0, RESAMPLES, 500):
        drawn = generator.multinomial(k, np.full(k, 1 / k), size=min(500, RESAMPLES - start))
        means.append((drawn @ sums) / (drawn @ counts))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Rate(mean, (float(low), float(high)), len(numbers), k)


def means_of_batches(verdicts: Sequence[Verdict], size: int = 64) -> tuple[float, float, float]:
    """Return f_c, f_c_oc and f_c_oi as the seed's `test()` logs them: the mean over batches of each batch's mean.

    The last batch counts as much as a whole one: of the seed's 275 test rows it has 19, each weighing 3.4 times as much
    as another, and "always slot 1" is logged as 0.518 where it is right on 0.491 of them. Batches without a right (or a
    wrong) argument are left out of f_c_oc (f_c_oi). A tie is logged as slot 2 whatever is right. For reading old logs
    only; `verification` has the true rates.

    Source: MMacDougall06/cot-correctness-detection-test, main.py.
    """
    chosen: list[float] = []
    when: tuple[list[float], list[float]] = ([], [])
    for start in range(0, len(verdicts), size):
        batch = verdicts[start : start + size]
        right = np.array([(v.logprobs[0] > v.logprobs[1]) == (v.right == 0) for v in batch], dtype=float)
        led = np.array([v.argued_for == v.right for v in batch])
        chosen.append(float(right.mean()))
        for means, rows in zip(when, (led, ~led), strict=True):
            if rows.any():
                means.append(float(right[rows].mean()))
    led_right, led_wrong = (float(np.mean(means)) if means else 0.0 for means in when)
    return float(np.mean(chosen)), led_right, led_wrong


# -- scores of single candidates ---------------------------------------------------------------------------------------


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Return the chance that a right candidate scores above a wrong one, ties half (Mann-Whitney).

    Raises:
        DataError: there are no right ones, or no wrong ones.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if labels.all() or not labels.any():
        raise DataError("the area under the curve needs right and wrong candidates; there is only one kind.")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = int(labels.sum())
    above = float(ranks[labels].sum()) - positive * (positive + 1) / 2
    return above / (positive * (len(labels) - positive))


def brier(
    probabilities: Sequence[float] | NDArray[np.float64], outcomes: Sequence[float] | NDArray[np.float64]
) -> float:
    """Return the mean squared error of probabilities (Brier 1950): 0.25 says always one half."""
    return float(np.mean((np.asarray(probabilities) - np.asarray(outcomes)) ** 2))


def reliability(
    probabilities: Sequence[float] | NDArray[np.float64],
    outcomes: Sequence[float] | NDArray[np.float64],
    bins: int = 10,
) -> tuple[Bin, ...]:
    """Return what happened where the probability lay in each of `bins` equal intervals; empty ones are left out."""
    said, was = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    place = np.minimum((said * bins).astype(int), bins - 1)
    return tuple(
        Bin(
            b / bins,
            (b + 1) / bins,
            int((place == b).sum()),
            float(said[place == b].mean()),
            float(was[place == b].mean()),
        )
        for b in range(bins)
        if (place == b).any()
    )


def calibration_error(
    probabilities: Sequence[float] | NDArray[np.float64],
    outcomes: Sequence[float] | NDArray[np.float64],
    bins: int = 10,
) -> float:
    """Return the expected calibration error: |predicted - observed| over the bins, weighted by their size."""
    found = reliability(probabilities, outcomes, bins)
    return sum(b.n * abs(b.predicted - b.observed) for b in found) / sum(b.n for b in found)
