"""How well a critic tells right answers from wrong ones. Law: pure, numpy only; every interval is over problems.

A critic that calls everything right is right as often as the answers are. So what counts is balanced accuracy: the mean
of how often a right answer is called right and a wrong one wrong, one half for every constant and for every coin.

A judgement without a verdict (unsure, abstained, unparsed) counts as wrong in accuracy, balanced accuracy, sensitivity
and specificity: silence must not pay. Matthews' coefficient is of the judgements with a verdict alone, and what is
measured of scores is of those with a score alone; their `n` says how many these are.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from thinktwice.errors import DataError
from thinktwice.scoring.stats import wilson
from thinktwice.scoring.verifier import RESAMPLES, Bin, Rate, auroc, calibration_error, clustered, reliability

Says = Literal["correct", "incorrect", "unsure", "abstained", "unparsed"]
BLOCK = 500
"""Resamples that are computed together."""
FEWER_RESAMPLES = 1_000
"""For measures that are no function of counts, and so are computed one resample after another."""
FEWEST = 10
"""Problems with a right answer, and with a wrong one, below which nothing is said of chance."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was said of one answer, beside the truth."""

    problem_id: str
    right: bool
    """Whether the answer is right, as the task scores it."""
    says: Says
    score: float | None = None
    """Probability of being right that the critic gives the answer, in [0, 1]: its confidence in "correct", 1 less its
    confidence in "incorrect"; None where it gives none."""


@dataclass(frozen=True)
class Critic:
    """The numbers of one critic. None where a number is not defined: there is one kind of answer, or no score."""

    n: int
    """Judgements."""
    problems: int
    base_rate: Rate
    """Share of the answers that are right."""
    balanced_accuracy: Rate | None
    """Mean of sensitivity and specificity: 0.5 is chance."""
    accuracy: Rate
    sensitivity: Rate | None
    """Share of the right answers that are called correct."""
    specificity: Rate | None
    """Share of the wrong answers that are called incorrect: how many mistakes are seen."""
    mcc: Rate | None
    """Matthews' correlation of verdict and truth, in [-1, 1]; 0 of a critic that always says the same."""
    auroc: Rate | None
    """Chance that a right answer has a higher score than a wrong one, ties half."""
    brier: Rate | None
    """Mean squared error of the scores."""
    calibration_error: Rate | None
    """Expected calibration error of the scores. Resampling adds to it: both ends of its interval lie a little high."""
    reliability: tuple[Bin, ...]
    """What was so where the score lay in each of ten intervals."""
    says_correct: Rate
    """Share of judgements that are "correct": an agreeable critic's is far above the base rate."""
    unsure: Rate
    """Share of judgements that are unsure or abstained."""
    unparsed: Rate


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a critic is better than chance."""

    passed: bool
    why: str


def measure_critic(rows: Sequence[Judgement], *, bins: int = 10, confidence: float = 0.95, seed: int = 0) -> Critic:
    """Judge a critic. Law: same rows, same seed, same numbers.

    Intervals are percentile bootstrap over problems (a problem is drawn with all its judgements); of a share whose
    judgements are one a problem, or all alike, Wilson's.

    Raises:
        DataError: no judgement, a verdict nobody knows, or a score outside [0, 1].
    """
    _check(rows)

    def rate(values: Sequence[float], of: Sequence[Judgement] = rows) -> Rate:
        return _share(values, [row.problem_id for row in of], confidence, seed)

    verdicts = [row for row in rows if row.says in ("correct", "incorrect")]
    right, wrong = [row for row in rows if row.right], [row for row in rows if not row.right]
    scored = [row for row in rows if row.score is not None]
    scores, truth = np.array([row.score for row in scored], float), np.array([row.right for row in scored], bool)
    of = [row.problem_id for row in scored]
    both = bool(truth.any()) and not truth.all()

    def error(index: NDArray[np.intp]) -> float:
        return calibration_error(scores[index], truth[index], bins)

    def curve(index: NDArray[np.intp]) -> float:
        chosen = truth[index]
        return auroc(scores[index].tolist(), chosen.tolist()) if chosen.any() and not chosen.all() else math.nan

    return Critic(
        n=len(rows),
        problems=len({row.problem_id for row in rows}),
        base_rate=rate([row.right for row in rows]),
        balanced_accuracy=balanced_accuracy(rows, confidence=confidence, seed=seed),
        accuracy=rate([_hit(row) for row in rows]),
        sensitivity=rate([_hit(row) for row in right], right) if right else None,
        specificity=rate([_hit(row) for row in wrong], wrong) if wrong else None,
        mcc=_mcc(verdicts, confidence, seed),
        auroc=_resampled(curve, of, confidence, seed) if both else None,
        brier=clustered(((scores - truth) ** 2).tolist(), of, confidence=confidence, seed=seed) if scored else None,
        calibration_error=_resampled(error, of, confidence, seed) if scored else None,
        reliability=reliability(scores, truth, bins) if scored else (),
        says_correct=rate([row.says == "correct" for row in rows]),
        unsure=rate([row.says in ("unsure", "abstained") for row in rows]),
        unparsed=rate([row.says == "unparsed" for row in rows]),
    )


def balanced_accuracy(rows: Sequence[Judgement], *, confidence: float = 0.95, seed: int = 0) -> Rate | None:
    """Return the mean of sensitivity and specificity; None where all answers are right, or all wrong.

    The interval is the wider of two. The bootstrap over problems knows that both shares are of the same problems; but
    of a share that is 0 or 1 it thinks that nothing else could have been. So the ends of the two shares' own intervals
    are put together, too (the method of variance estimates recovery, Zou and Donner 2008), and are Wilson's there.

    Raises:
        DataError: as `measure_critic`.
    """
    _check(rows)
    right, wrong = [row for row in rows if row.right], [row for row in rows if not row.right]
    if not right or not wrong:
        return None
    shares = [
        _share([_hit(row) for row in part], [row.problem_id for row in part], confidence, seed)
        for part in (right, wrong)
    ]
    value = sum(share.value for share in shares) / 2
    below = math.hypot(*(share.value - share.ci[0] for share in shares)) / 2
    above = math.hypot(*(share.ci[1] - share.value for share in shares)) / 2

    def balanced(tables: NDArray[np.float64]) -> NDArray[np.float64]:
        called_right, of_right, called_wrong, of_wrong = tables.T
        with np.errstate(invalid="ignore"):  # a draw without right, or without wrong answers says nothing
            found: NDArray[np.float64] = (called_right / of_right + called_wrong / of_wrong) / 2
        return found

    cells = [(row.right and _hit(row), row.right, not row.right and _hit(row), not row.right) for row in rows]
    low, high = _of_tables(balanced, cells, [row.problem_id for row in rows], confidence, seed)
    ends = (max(0.0, min(low, value - below)), min(1.0, max(high, value + above)))
    return Rate(value, ends, len(rows), len({row.problem_id for row in rows}))


def above_chance(critic: Critic, *, fewest: int = FEWEST) -> Gate:
    """Say whether a critic may be listened to: its balanced accuracy is above one half, interval and all.

    Args:
        critic: as it was measured.
        fewest: problems with right answers, and problems with wrong ones, that it takes to say so.
    """
    balanced, seen = critic.balanced_accuracy, (critic.sensitivity, critic.specificity)
    right, wrong = (0 if share is None else share.questions for share in seen)
    if balanced is None or min(right, wrong) < fewest:
        return Gate(
            False,
            f"{right} problems have right answers and {wrong} wrong ones; it takes {fewest} of each to tell a critic "
            "from a coin.",
        )
    low, high = balanced.ci
    passed = low > 0.5
    told = f"balanced accuracy {balanced.value:.3f} ({low:.3f} to {high:.3f}) on {critic.problems} problems"
    return Gate(passed, f"{told}: {'above' if passed else 'not surely above'} chance.")


def _check(rows: Sequence[Judgement]) -> None:
    if not rows:
        raise DataError("there are no judgements to measure a critic by.")
    for row in rows:
        if row.says not in get_args(Says):
            raise DataError(f"problem {row.problem_id}: {row.says!r} is no verdict; say one of {get_args(Says)}.")
        if row.score is not None and not 0 <= row.score <= 1:
            raise DataError(f"problem {row.problem_id}: the score {row.score} is no probability.")


def _hit(row: Judgement) -> bool:
    return row.says == ("correct" if row.right else "incorrect")


def _share(values: Sequence[float], clusters: Sequence[Hashable], confidence: float, seed: int) -> Rate:
    """Return a share with its interval: Wilson's, of as many trials as problems, where all values are alike."""
    if len({*values}) == 1:
        problems = len({*clusters})
        return Rate(float(values[0]), wilson(problems if values[0] else 0, problems, confidence), len(values), problems)
    return clustered([float(value) for value in values], clusters, confidence=confidence, seed=seed)


def _mcc(rows: Sequence[Judgement], confidence: float, seed: int) -> Rate | None:
    if len({row.right for row in rows}) < 2:
        return None

    def correlation(tables: NDArray[np.float64]) -> NDArray[np.float64]:
        tp, fn, tn, fp = tables.T
        norm = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        found = (tp * tn - fp * fn) / np.where(norm > 0, norm, 1.0)  # 0 of a constant critic
        return np.where((tp + fn) * (tn + fp) > 0, found, np.nan)

    kinds = [(True, "correct"), (True, "incorrect"), (False, "incorrect"), (False, "correct")]
    cells = [[(row.right, row.says) == kind for kind in kinds] for row in rows]
    names = [row.problem_id for row in rows]
    value = float(correlation(np.array(cells, float).sum(axis=0, keepdims=True))[0])
    return Rate(value, _of_tables(correlation, cells, names, confidence, seed), len(rows), len({*names}))


def _places(clusters: Sequence[Hashable]) -> tuple[NDArray[np.intp], int]:
    """Return the number of each row's cluster, and how many there are."""
    places = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    return np.array([places[name] for name in clusters]), len(places)


def _draws(k: int, count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each of k clusters is drawn, in blocks of resamples: (at most BLOCK, k)."""
    generator = np.random.default_rng(seed)
    for start in range(0, count, BLOCK):
        yield generator.multinomial(k, np.full(k, 1 / k), size=min(BLOCK, count - start))


def _of_tables(
    measure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    cells: Sequence[Sequence[bool]],
    clusters: Sequence[Hashable],
    confidence: float,
    seed: int,
) -> tuple[float, float]:
    """Return the bootstrap interval of a measure of counts: `cells[i]` says in which counts row i is."""
    of, k = _places(clusters)
    table = np.zeros((k, len(cells[0])))
    np.add.at(table, of, np.array(cells, float))
    return _ends(np.concatenate([measure(drawn @ table) for drawn in _draws(k, RESAMPLES, seed)]), confidence)


def _resampled(
    measure: Callable[[NDArray[np.intp]], float], clusters: Sequence[Hashable], confidence: float, seed: int
) -> Rate:
    """Return a measure of rows, by their indices, with its bootstrap interval."""
    of, k = _places(clusters)
    everyone = np.arange(len(of))
    found = [measure(np.repeat(everyone, row[of])) for drawn in _draws(k, FEWER_RESAMPLES, seed) for row in drawn]
    return Rate(float(measure(everyone)), _ends(np.array(found), confidence), len(of), k)


def _ends(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the percentile ends; draws of which the measure is not defined are left out."""
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
