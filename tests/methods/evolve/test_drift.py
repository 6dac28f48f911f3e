"""KL to base, from a model's own samples: against the sum over the vocabulary."""

import numpy as np
import pytest

from thinktwice.errors import DataError
from thinktwice.methods.evolve.drift import mean_kl


def sampled(seed=0, samples=400, length=25, apart=0.3):
    """Return the exact divergence of two distributions of eight tokens, and samples of the first read by both."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=8)
    own = base + apart * rng.normal(size=8)
    own, base = own - np.log(np.exp(own).sum()), base - np.log(np.exp(base).sum())
    ids = rng.choice(8, size=(samples, length), p=np.exp(own))
    return float((np.exp(own) * (own - base)).sum()), own[ids].tolist(), base[ids].tolist()


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_it_is_the_divergence(estimator):
    exact, own, base = sampled()
    found = mean_kl(own, base, estimator=estimator)
    assert exact > 0.01
    assert found.value == pytest.approx(exact, rel=0.1)
    assert found.ci[0] < exact < found.ci[1]
    assert (found.n, found.questions) == (10_000, 400)


def test_k3_is_surer_while_the_two_are_near():
    _, own, base = sampled(apart=0.1)
    k1, k3 = mean_kl(own, base, estimator="k1"), mean_kl(own, base)
    assert k3.ci[1] - k3.ci[0] < (k1.ci[1] - k1.ci[0]) / 3


def test_k3_is_never_negative_and_zero_of_the_base_itself():
    _, own, base = sampled()
    assert mean_kl(base, base).value == mean_kl(base, base, estimator="k1").value == 0.0
    # A single sample on which the base does better is negative by k1, and not by k3.
    worse = min(range(len(own)), key=lambda index: sum(own[index]) - sum(base[index]))
    assert mean_kl([own[worse]], [base[worse]], estimator="k1").value < 0 < mean_kl([own[worse]], [base[worse]]).value


def test_long_samples_weigh_by_their_tokens_and_problems_keep_theirs_together():
    own, base = [[-1.0], [-1.0, -1.0, -1.0], []], [[-2.0], [-1.0, -1.0, -1.0], []]
    found = mean_kl(own, base, estimator="k1")
    assert found.value == 0.25
    assert found.questions == 2  # a sample without tokens says nothing
    assert mean_kl(own, base, estimator="k1", problems=["p", "p", "q"]).questions == 1


@pytest.mark.parametrize(
    ("own", "base", "message"),
    [
        ([], [], "no token"),
        ([[]], [[]], "no token"),
        ([[-1.0]], [], "both sides"),
        ([[-1.0], [-1.0]], [[-1.0], [-1.0, -2.0]], "sample 1 has 1 tokens, and the base read 2"),
        ([[-1.0]], [[-np.inf]], "sample 0 has a log-probability that is not finite"),
        ([[0.5]], [[-1.0]], "above 0"),
        ([[-900.0]], [[-1.0]], 'use estimator="k1"'),
    ],
)
def test_what_is_no_pair_of_readings_is_refused(own, base, message):
    with pytest.raises(DataError, match=message):
        mean_kl(own, base)


def test_rounded_log_probabilities_are_taken():
    assert mean_kl([[0.00004]], [[0.0]]).value == pytest.approx(0, abs=1e-6)
