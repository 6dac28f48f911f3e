"""Intervals and paired comparisons: how sure a number is. Law: every comparison is paired on the same problems.

Which one to use:

* one accuracy: `wilson`; one mean of graded scores: `average`.
* two arms, one run each, same problems: `paired_difference` (its interval is over problems only: the seed is fixed, so
  `noise` says when it must not be believed) and `mcnemar` for a p-value.
* two arms, several seeds and bases, same problems: `replicated_difference` (over problems *and* replicates).
* the same model asked several times: `repeated_mean` and `repeated_difference`. Asking again removes noise of decoding
  only, never that of the questions, so a question with all its answers is one unit.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from thinktwice.errors import DataError

NOISE = 0.05
"""DESIGN law 3: a single-seed difference smaller than this is reported as noise."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better arm `a` is than arm `b` on the same problems."""

    value: float
    """mean(a) - mean(b), in the unit of the scores (accuracies: a fraction, 0.1 is ten points)."""
    low: float
    high: float
    """The ends of the two-sided confidence interval."""
    problems: int
    """Problems each arm was scored on."""
    replicates: int = 1
    """Runs each arm was trained and scored in (bases x seeds)."""

    @property
    def ci(self) -> tuple[float, float]:
        """The interval as (low, high)."""
        return (self.low, self.high)

    @property
    def noise(self) -> str:
        """Why this difference must not be believed, in a sentence; empty when law 3 has no objection."""
        return single_seed_noise(self.value, self.replicates)


@dataclass(frozen=True, slots=True)
class Mean:
    """How well one arm does, asked several times."""

    value: float
    """Mean over runs and problems."""
    low: float
    high: float
    """The ends of the two-sided confidence interval over problems."""
    between_runs: float
    """Standard deviation of the runs' means: noise of decoding. 0 of a single run."""
    problems: int
    runs: int = 1

    @property
    def ci(self) -> tuple[float, float]:
        """The interval as (low, high)."""
        return (self.low, self.high)


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval for a proportion: it stays in [0, 1] and holds near 0 and 1.

    Source: Wilson 1927; without continuity correction. `n = 0` knows nothing: (0, 1).

    Raises:
        DataError: successes outside 0..n.

    Example:
        >>> tuple(round(end, 3) for end in wilson(81, 263))
        (0.255, 0.366)
    """
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes in {n} trials are impossible.")
    if n == 0:
        return (0.0, 1.0)
    z = _normal_quantile(confidence)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def average(scores: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> Mean:
    """Return the mean of one run's scores: with Wilson's interval where all are 0 or 1, else with a bootstrap one.

    Raises:
        DataError: no score, or one that is not finite.
    """
    if not scores or not {*scores} <= {0, 1}:
        return repeated_mean([scores], confidence=confidence, seed=seed)
    right, n = int(sum(scores)), len(scores)
    return Mean(right / n, *wilson(right, n, confidence), 0.0, n)


def mcnemar(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the exact two-sided p-value that two paired series of 0/1 scores have the same success rate.

    The problems on which both agree say nothing; of the others, each arm should win half (binomial sign test;
    McNemar 1947, exact form).

    Raises:
        DataError: unpaired series, or scores other than 0 and 1.
    """
    first, second = _paired(a, b)
    if not np.isin(first, (0.0, 1.0)).all() or not np.isin(second, (0.0, 1.0)).all():
        raise DataError("McNemar's test needs scores of 0 and 1; use paired_difference for graded scores.")
    wins, losses = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    n, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**n))


def fisher_drop(before: int, after: int, n: int) -> float:
    """Return the exact one-sided p-value that a success rate did not fall, from two independent samples of `n` each.

    Source: Fisher's exact test: given before + after successes, the chance of as many or more of them in the first.

    Raises:
        DataError: a count outside 0..n.

    Example:
        >>> round(fisher_drop(3, 0, 3), 4)
        0.05
    """
    if not (0 <= before <= n and 0 <= after <= n):
        raise DataError(f"{before} and {after} successes in {n} trials each are impossible.")
    both = before + after
    ways = sum(math.comb(n, k) * math.comb(n, both - k) for k in range(before, min(n, both) + 1))
    return ways / math.comb(2 * n, both)


def paired_difference(
    a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Return mean(a) - mean(b) with a percentile bootstrap interval over problems. Law: same seed, same interval.

    `a[i]` and `b[i]` are the scores of the two arms on problem i of one run each. The interval says what other problems
    would have given, not what another training seed would have.

    Raises:
        DataError: the series are empty, of different lengths, or hold a number that is not finite.
    """
    first, second = _paired(a, b)
    low, high = _bootstrap(first - second, confidence, resamples, seed)
    return Difference(float((first - second).mean()), low, high, len(first))


def repeated_mean(
    runs: Sequence[Sequence[float]], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Mean:
    """Return the mean of `runs[r][i]` (run r, problem i) with a bootstrap interval clustered by problem.

    A problem is drawn with all its runs. Law: same seed, same interval.

    Raises:
        DataError: no run, runs of different lengths, or a number that is not finite.

    Example:
        >>> repeated_mean([[1, 0, 1, 0], [1, 0, 0, 0]]).value
        0.375
    """
    scores = _runs(runs)
    low, high = _bootstrap(scores.mean(axis=0), confidence, resamples, seed)
    spread = float(scores.mean(axis=1).std(ddof=1)) if len(scores) > 1 else 0.0
    return Mean(float(scores.mean()), low, high, spread, scores.shape[1], len(scores))


def repeated_difference(
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Return mean(a) - mean(b) of two arms asked several times, with a bootstrap interval clustered by problem.

    `a[r][i]` and `b[s][i]` are scores of problem i; the arms may have been asked unequally often. The interval says
    what other problems would have given, not what another training seed would have (`replicated_difference`).

    Raises:
        DataError: as `repeated_mean`, or the arms answered different numbers of problems.
    """
    first, second = _runs(a), _runs(b)
    one, other = _paired(first.mean(axis=0).tolist(), second.mean(axis=0).tolist())
    low, high = _bootstrap(one - other, confidence, resamples, seed)
    return Difference(float((one - other).mean()), low, high, len(one), min(len(first), len(second)))


def _runs(runs: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    if not runs or not len(runs[0]) or len({len(run) for run in runs}) > 1:
        raise DataError("Repeated runs must all have answered the same problems, at least one.")
    scores = np.asarray(runs, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise DataError("Scores must be finite; leave out, and count, what could not be scored.")
    return scores


def _bootstrap(values: NDArray[np.float64], confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of one value a problem."""
    # Resampling problems is drawing how often each distinct value occurs: exact, and far smaller than indices.
    distinct, counts = np.unique(values, return_counts=True)
    generator, n = np.random.default_rng(seed), len(values)
    means = np.concatenate(
        [
            generator.multinomial(n, counts / n, size=min(500, resamples - done)) @ distinct / n
            for done in range(0, resamples, 500)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def replicated_difference(
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]],
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Difference:
    """Return mean(a) - mean(b) over several runs, with an interval over both the runs and the problems.

    `a[r][i]` and `b[r][i]` are the scores of run r (one base and one tuning seed) on problem i; every run is scored on
    the same problems. `clusters[r]` names what runs share, usually the base: seeds of one base are not independent, so
    they are averaged first, and the clusters are the independent units (default: every run is its own).

    The variance is that of two crossed random effects: between the k clusters' mean differences (s² / k, which holds
    the variation of seeds within a base too) plus between problems of the run-averaged differences (s² / n); the
    quantile is Student's with Satterthwaite's degrees of freedom. This is used rather than a hierarchical bootstrap
    because that one covers too little when there are few clusters: three bases' bootstrap interval is at most their
    smallest to their largest difference, which holds the truth three times in four, not nineteen in twenty.

    Raises:
        DataError: fewer than two clusters (there is no variation to learn from), or unpaired runs.
    """
    names = list(range(len(a))) if clusters is None else list(clusters)
    if not len(a) == len(b) == len(names):
        raise DataError(f"Runs must be paired: {len(a)} of a, {len(b)} of b, {len(names)} cluster names.")
    if len({len(run) for run in [*a, *b]}) > 1:
        raise DataError("Every run must be scored on the same problems: the runs have different lengths.")
    groups: dict[Hashable, list[NDArray[np.float64]]] = {}
    for name, run_a, run_b in zip(names, a, b, strict=True):
        first, second = _paired(run_a, run_b)
        groups.setdefault(name, []).append(first - second)
    if len(groups) < 2:
        raise DataError("An interval over replicates needs at least two clusters; use paired_difference for one run.")
    by_cluster = np.stack([np.mean(runs, axis=0) for runs in groups.values()])  # clusters x problems
    k, n = by_cluster.shape
    value = float(by_cluster.mean())
    between = float(by_cluster.mean(axis=1).var(ddof=1)) / k
    problems = float(by_cluster.mean(axis=0).var(ddof=1)) / n if n > 1 else 0.0
    total = between + problems
    if total == 0:
        return Difference(value, value, value, n, len(names))
    degrees = total**2 / (between**2 / (k - 1) + problems**2 / max(1, n - 1))
    half = student_quantile((1 + confidence) / 2, degrees) * math.sqrt(total)
    return Difference(value, value - half, value + half, n, len(names))


def single_seed_noise(difference: float, replicates: int) -> str:
    """Return law 3's objection to a difference from one seed and under 5 points; empty when there is none."""
    if replicates > 1 or abs(difference) >= NOISE:
        return ""
    return f"one seed, and {100 * abs(difference):.1f} points are under {100 * NOISE:.0f}: noise until repeated"


def student_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t for probability in (0.5, 1) and degrees of freedom >= 1, to about 1e-4."""
    if degrees > 10_000:
        return NormalDist().inv_cdf(probability)
    # With t = sqrt(degrees) tan(angle) the density is cos(angle) ** (degrees - 1): smooth and on a bounded range.
    angles = np.linspace(0.0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (degrees - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = float(np.interp(2 * probability - 1, mass / mass[-1], angles))
    return math.sqrt(degrees) * math.tan(angle)


def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _paired(a: Sequence[float], b: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise DataError(f"Paired scores must be two equally long series: got {first.shape} and {second.shape}.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("Paired scores must be finite; leave out, and count, what could not be scored.")
    return first, second
