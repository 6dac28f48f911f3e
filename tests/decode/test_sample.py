"""Draws follow the distribution, its truncations and the row's own stream."""

import numpy as np
import pytest
import torch

from thinktwice.decode.sample import draw, uniforms
from thinktwice.types import Sampling

N = 20_000
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, float("-inf")])


def frequencies(sampling):
    random = uniforms(1, np.arange(N, dtype=np.uint64), np.zeros(N, dtype=np.int64))
    ids, logprobs = draw(LOGITS.expand(N, -1).clone(), sampling, random)
    counts = torch.bincount(ids, minlength=6) / N
    return counts, ids, logprobs


@pytest.mark.parametrize(
    ("sampling", "allowed"),
    [
        (Sampling(temperature=1.0), 5),
        (Sampling(temperature=0.5), 5),
        (Sampling(temperature=1.0, top_k=2), 2),
        (Sampling(temperature=1.0, top_k=50), 5),
        (Sampling(temperature=1.0, top_p=0.8), 3),
        (Sampling(temperature=1.0, top_p=0.01), 1),
        (Sampling(temperature=1.0, top_k=4, top_p=0.7), 2),
    ],
)
def test_frequencies_and_logprobs_are_those_of_the_truncated_distribution(sampling, allowed):
    expected = (LOGITS / sampling.temperature).softmax(-1)
    expected[allowed:] = 0
    expected /= expected.sum()
    counts, ids, logprobs = frequencies(sampling)
    assert torch.allclose(counts, expected, atol=0.015)
    assert torch.allclose(logprobs.exp().float(), expected[ids], atol=1e-5)


def test_greedy_takes_the_largest_and_reports_its_probability():
    ids, logprobs = draw(LOGITS[None].clone(), Sampling(), None)
    assert ids.tolist() == [0]
    assert torch.allclose(logprobs.exp(), LOGITS.softmax(-1)[:1])


def test_no_possible_token_is_reported_as_nan():
    nothing = torch.full((1, 4), float("-inf"))
    for sampling in (Sampling(), Sampling(temperature=1.0), Sampling(temperature=1.0, top_p=0.5)):
        _, logprobs = draw(nothing.clone(), sampling, np.array([0.5]))
        assert not torch.isfinite(logprobs).any()


@pytest.mark.parametrize("value", [2.0**-41, 1 - 2.0**-41])
def test_the_ends_of_the_unit_interval_never_reach_an_impossible_token(value):
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]])
    ids, _ = draw(logits, Sampling(temperature=1.0), np.array([value]))
    assert ids.item() == (1 if value < 0.5 else 2)


def test_streams_are_uniform_reproducible_and_independent():
    keys, counters = np.arange(N, dtype=np.uint64), np.zeros(N, dtype=np.int64)
    first = uniforms(7, keys, counters)
    assert 0 < first.min() < first.max() < 1
    assert np.array_equal(first[::-1], uniforms(7, keys[::-1], counters))
    assert abs(first.mean() - 0.5) < 0.01
    for other in (
        uniforms(8, keys, counters),
        uniforms(7, keys + np.uint64(1), counters),
        uniforms(7, keys, counters + 1),
    ):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.03
    steps = uniforms(7, np.zeros(N, dtype=np.uint64), np.arange(N))
    assert abs(np.corrcoef(steps[1:], steps[:-1])[0, 1]) < 0.03
    histogram = np.histogram(steps, bins=20, range=(0, 1))[0]
    assert histogram.min() > N / 20 * 0.85
