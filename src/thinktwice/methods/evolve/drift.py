"""How far a model has gone from its base, from samples alone. Law: pure; the samples are the model's own.

KL(model || base) a token is the mean of log p(token) - log p_base(token) over tokens that the model drew. Both sides
are probabilities of the distributions drawn from: at the same temperature, with the same tokens allowed.
"""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

from thinktwice.errors import DataError
from thinktwice.scoring.verifier import Rate, clustered

SLACK = 1e-4
"""Rounding may leave a log-probability so far above 0."""


def mean_kl(
    own_logprobs: Sequence[Sequence[float]],
    base_logprobs: Sequence[Sequence[float]],
    *,
    estimator: Literal["k3", "k1"] = "k3",
    problems: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Rate:
    """Return the KL divergence from base a token, in nats, with an interval over problems; `n` are tokens.

    With d = log p_base - log p, *k1* is the mean of -d, and *k3* that of exp(d) - 1 - d. Neither has a bias. k3 is
    never negative and varies less while the two are near; when the base finds likely what the model hardly ever
    draws, exp(d) is rare and huge, k3 depends on a few tokens, and k1 is to be preferred.

    Source: Schulman 2020, "Approximating KL divergence".

    Args:
        own_logprobs: of each sample, the natural-log probability of each token that the model drew.
        base_logprobs: of the same tokens, by the base.
        estimator: see above.
        problems: what each sample is of: a problem is drawn with all its samples. Default: each sample is its own.
        confidence: of the interval.
        seed: of its bootstrap.

    Raises:
        DataError: no token; not the same tokens on both sides; a number that is no finite log-probability (a token that
            the base never draws makes the divergence infinite).
    """
    names = list(range(len(own_logprobs))) if problems is None else list(problems)
    if not len(own_logprobs) == len(base_logprobs) == len(names):
        raise DataError(
            f"{len(own_logprobs)} samples, {len(base_logprobs)} of them read by the base, of {len(names)} problems; "
            "give each sample both sides."
        )
    for index, (own, base) in enumerate(zip(own_logprobs, base_logprobs, strict=True)):
        if len(own) != len(base):
            raise DataError(f"sample {index} has {len(own)} tokens, and the base read {len(base)}; read the same ids.")
        if not np.isfinite([*own, *base]).all() or max([*own, *base], default=0.0) > SLACK:
            raise DataError(f"sample {index} has a log-probability that is not finite, or is above 0.")
    counts = [len(own) for own in own_logprobs]
    if not sum(counts):
        raise DataError("there is no token to measure the divergence on.")
    apart = np.concatenate([np.subtract(base, own) for own, base in zip(own_logprobs, base_logprobs, strict=True)])
    with np.errstate(over="ignore"):
        values = -apart if estimator == "k1" else np.expm1(apart) - apart
    if not np.isfinite(values).all():
        raise DataError('a token is so much likelier to the base that k3 has no finite value; use estimator="k1".')
    clusters = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    return clustered(values.tolist(), clusters, confidence=confidence, seed=seed)
