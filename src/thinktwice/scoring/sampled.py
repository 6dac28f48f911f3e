"""What several samples a problem say of a model: how often it is right, could be right, and how differently it answers.

Law: pure; every interval is over problems. A model that becomes sure of itself answers alike: pass@1 can rise while
pass@k falls, which is why both are measured (arXiv 2407.05013 and 2412.02674).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thinktwice.errors import DataError
from thinktwice.scoring.best_of import majority
from thinktwice.scoring.stats import Difference, Mean, average, mcnemar, paired_difference


@dataclass(frozen=True, slots=True)
class Drawn:
    """The samples of one problem, in the order in which they were drawn."""

    problem_id: str
    answers: tuple[str, ...]
    """The answer each states, written so that equal answers are equal texts; empty where it states none."""
    right: tuple[bool, ...]
    texts: tuple[str, ...]
    """The whole replies."""
    lengths: tuple[int, ...]
    """Tokens each took."""


@dataclass(frozen=True)
class Samples:
    """The numbers of one model at k samples a problem; each is a mean over problems."""

    k: int
    problems: int
    one: Mean
    """pass@1: share of the samples that are right."""
    majority: Mean
    """majority@k: the answer that most samples state is right; ties are shared out."""
    passed: tuple[tuple[int, Mean], ...]
    """(j, pass@j) for j = 1, 2, 4, ... and k: at least one of j samples is right, without bias (`pass_at`)."""
    distinct: Mean
    """Different answers a problem, of k samples; what states none is none."""
    entropy: Mean
    """Of the answers a problem, in bits: 0 when all samples that state one agree, log2(k) when none do."""
    unanswered: Mean
    """Share of samples that state no answer."""
    unique_texts: Mean
    """Different replies, as a share of the samples."""
    length: Mean
    """Tokens a sample."""


def measure_samples(problems: Sequence[Drawn], *, seed: int = 0) -> Samples:
    """Measure a model by its samples. Two models can be compared at equal k and temperature only.

    Raises:
        DataError: no problem, one without samples, or not as many samples (answers, texts, lengths) each.
    """
    if not problems or not problems[0].right:
        raise DataError("there are no samples to measure; draw at least one a problem.")
    k = len(problems[0].right)
    for drawn in problems:
        counts = {len(drawn.answers), len(drawn.right), len(drawn.texts), len(drawn.lengths)}
        if counts != {k}:
            raise DataError(
                f"problem {drawn.problem_id} has {sorted(counts)} samples, the first problem {k}; draw equally many."
            )

    def mean(values: Sequence[float]) -> Mean:
        return average(values, seed=seed)

    tried = sorted({2**power for power in range(k.bit_length())} | {k})
    return Samples(
        k=k,
        problems=len(problems),
        one=mean([sum(drawn.right) / k for drawn in problems]),
        majority=mean([majority(drawn.answers, drawn.right) for drawn in problems]),
        passed=tuple((j, mean([pass_at(j, k, sum(drawn.right)) for drawn in problems])) for j in tried),
        distinct=mean([len({*drawn.answers} - {""}) for drawn in problems]),
        entropy=mean([entropy(drawn.answers) for drawn in problems]),
        unanswered=mean([drawn.answers.count("") / k for drawn in problems]),
        unique_texts=mean([len({*drawn.texts}) / k for drawn in problems]),
        length=mean([sum(drawn.lengths) / k for drawn in problems]),
    )


def pass_at(k: int, samples: int, right: int) -> float:
    """Return the chance that at least one of k samples is right, from more samples of which some are right.

    Source: Chen et al. 2021 (Codex), equation 1: 1 - C(n - c, k) / C(n, k), which has no bias; 1 - (1 - c / n)^k has.

    Raises:
        DataError: k is not between 1 and the samples, or more are right than there are.

    Example:
        >>> pass_at(2, 4, 1)
        0.5
    """
    if not 1 <= k <= samples or not 0 <= right <= samples:
        raise DataError(f"pass@{k} cannot be told from {samples} samples of which {right} are right.")
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)


def entropy(answers: Sequence[str]) -> float:
    """Return the entropy of the stated answers in bits; empty ones are left out, and of none it is 0."""
    counts = Counter(answer for answer in answers if answer).values()
    total = sum(counts)
    return max(0.0, sum(count / total * math.log2(total / count) for count in counts))


@dataclass(frozen=True, slots=True)
class Flips:
    """What became of the same problems from one model to another."""

    right_to_wrong: int
    wrong_to_right: int
    stayed_right: int
    stayed_wrong: int
    difference: Difference
    """Accuracy after, less accuracy before."""
    p: float
    """McNemar's exact p-value that as many became right as wrong."""


def flips(before: Mapping[str, bool], after: Mapping[str, bool], *, seed: int = 0) -> Flips:
    """Count the problems that became wrong and those that became right. A gain may hide many of the first.

    Args:
        before: whether each problem, by its id, was answered right.
        after: by the other model.
        seed: of the interval's bootstrap.

    Raises:
        DataError: the two did not answer the same problems, or none.
    """
    if before.keys() != after.keys():
        only = sorted(before.keys() ^ after.keys())
        raise DataError(f"flips need the same problems twice; {len(only)} were answered once, {only[0]!r} first.")
    ids = sorted(before)
    counts = Counter((before[name], after[name]) for name in ids)
    first, second = [float(before[name]) for name in ids], [float(after[name]) for name in ids]
    return Flips(
        right_to_wrong=counts[True, False],
        wrong_to_right=counts[False, True],
        stayed_right=counts[True, True],
        stayed_wrong=counts[False, False],
        difference=paired_difference(second, first, seed=seed),
        p=mcnemar(second, first),
    )
