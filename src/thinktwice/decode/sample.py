"""Drawing tokens: greedy, temperature, top-k, top-p, with a random stream that belongs to the row."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinktwice.types import Sampling

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seed: int, keys: NDArray[np.uint64], counters: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return one number in (0, 1) for each row. Law: it depends on (seed, key, counter) alone, not on the batch.

    A counter-based generator: SplitMix64's finaliser, chained (Steele, Lea & Flood 2014).
    """
    state = np.full(keys.shape, seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    for part in (keys, counters.astype(np.uint64)):
        state = _mix(state + _GOLDEN) + part * _GOLDEN
    # 40 bits: times a float64 total the result stays strictly below it, so a zero-probability tail is out of reach.
    return ((_mix(state + _GOLDEN) >> np.uint64(24)).astype(np.float64) + 0.5) / 2.0**40


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def draw(logits_BV: Tensor, sampling: Sampling, uniforms_B: NDArray[np.float64] | None) -> tuple[Tensor, Tensor]:
    """Draw one token a row; return ids [B] and their natural-log probabilities [B].

    The probability is under the distribution drawn from (greedy: the untempered one); nan where no token is possible.
    """
    if sampling.temperature == 0:
        ids_B = logits_BV.argmax(dim=-1)
        return ids_B, logits_BV.log_softmax(dim=-1).gather(1, ids_B.unsqueeze(1)).squeeze(1)
    assert uniforms_B is not None
    probabilities_BV = (logits_BV / sampling.temperature).softmax(dim=-1).double()
    order_BV: Tensor | None = None
    if sampling.top_k or sampling.top_p < 1:
        probabilities_BV, order_BV = probabilities_BV.sort(dim=-1, descending=True, stable=True)
        if sampling.top_k:
            probabilities_BV[:, sampling.top_k :] = 0
        if sampling.top_p < 1:  # the smallest set whose share of what top-k left reaches top_p
            before_BV = probabilities_BV.cumsum(dim=-1) - probabilities_BV
            share_B1 = sampling.top_p * probabilities_BV.sum(dim=-1, keepdim=True)
            probabilities_BV = probabilities_BV.masked_fill(before_BV >= share_B1, 0)
    cumulative_BV = probabilities_BV.cumsum(dim=-1)
    total_B1 = cumulative_BV[:, -1:]
    targets_B1 = torch.from_numpy(uniforms_B).to(logits_BV.device).unsqueeze(1) * total_B1
    places_B1 = torch.searchsorted(cumulative_BV, targets_B1, right=True).clamp_(max=logits_BV.shape[1] - 1)
    chosen_B1 = places_B1 if order_BV is None else order_BV.gather(1, places_B1)
    logprobs_B1 = (probabilities_BV.gather(1, places_B1) / total_B1).log()
    return chosen_B1.squeeze(1), logprobs_B1.squeeze(1)
