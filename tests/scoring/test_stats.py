import numpy as np
import pytest

from thinktwice.errors import DataError
from thinktwice.scoring import stats


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (score, no continuity correction)
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_published_values(successes, n, low, high):
    assert stats.wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_ends():
    assert stats.wilson(29, 29)[1] == 1.0
    assert stats.wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(DataError):
        stats.wilson(3, 2)


def test_fisher_drop_is_the_tail_of_the_hypergeometric_distribution():
    # Fisher's tea lady: 3 of 4 cups against 1 of 4 gives (16 + 1) / 70 (The Design of Experiments, 1935)
    assert stats.fisher_drop(3, 1, 4) == pytest.approx(17 / 70)
    assert stats.fisher_drop(16, 0, 16) == pytest.approx(1 / 601_080_390)
    assert stats.fisher_drop(0, 4, 4) == stats.fisher_drop(0, 0, 4) == stats.fisher_drop(4, 4, 4) == 1.0
    with pytest.raises(DataError, match="5 and 0"):
        stats.fisher_drop(5, 0, 4)


def test_mcnemar_exact():
    # 2 against 10 discordant pairs: 2 * sum(C(12, 0..2)) / 2**12 = 158 / 4096; agreement on others changes nothing
    a, b = [1] * 2 + [0] * 10, [0] * 2 + [1] * 10
    assert stats.mcnemar(a, b) == pytest.approx(158 / 4096)
    assert stats.mcnemar(a + [1] * 50, b + [1] * 50) == pytest.approx(158 / 4096)
    assert stats.mcnemar([1, 0], [1, 0]) == 1.0
    with pytest.raises(DataError, match="0 and 1"):
        stats.mcnemar([0.5], [1])


def test_paired_difference_is_paired_and_seeded():
    generator = np.random.default_rng(0)
    hard = generator.random(800)
    b = (hard < 0.5).astype(float)
    a = (hard < 0.55).astype(float)  # right wherever b is right: the difference is far surer than unpaired arms say
    got = stats.paired_difference(a, b, seed=3)
    assert got == stats.paired_difference(a, b, seed=3)
    assert got.value == pytest.approx(a.mean() - b.mean())
    spread = (a - b).std() / 800**0.5
    assert got.low == pytest.approx(got.value - 1.96 * spread, abs=0.003)
    assert got.high == pytest.approx(got.value + 1.96 * spread, abs=0.003)
    assert stats.paired_difference(b, a).value == -got.value


def test_graded_scores_give_the_ordinary_bootstrap():
    generator = np.random.default_rng(1)
    a, b = generator.random(150), generator.random(150)
    got = stats.paired_difference(a, b, resamples=20_000)
    means = (a - b)[generator.integers(0, 150, (20_000, 150))].mean(axis=1)
    assert got.ci == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.004)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 0.0]), ([float("nan")], [1.0])])
def test_paired_difference_refuses(a, b):
    with pytest.raises(DataError):
        stats.paired_difference(a, b)


@pytest.mark.parametrize(
    ("probability", "degrees", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.95, 30, 1.69726), (0.975, 1e9, 1.95996)],
)
def test_student_quantile(probability, degrees, value):
    assert stats.student_quantile(probability, degrees) == pytest.approx(value, abs=1e-3)


def test_replicated_difference_covers_the_truth_with_three_bases():
    """The promise of a 95 % interval, kept where a hierarchical bootstrap keeps about 75 %."""
    generator, held, trials = np.random.default_rng(7), 0, 300
    for _ in range(trials):
        problems = 0.3 * generator.normal(size=200)
        bases = np.repeat(generator.normal(0, 0.05, 3), 2)
        a = 0.1 + bases[:, None] + generator.normal(0, 0.03, 6)[:, None] + problems + generator.normal(0, 0.3, (6, 200))
        got = stats.replicated_difference(a, np.zeros_like(a), clusters=["x", "x", "y", "y", "z", "z"])
        held += got.low <= 0.1 <= got.high
    assert 0.91 <= held / trials <= 0.99


def test_replicated_difference_uses_bases_as_units():
    a = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 0, 0], [0, 1, 0, 0]], dtype=float)
    b = np.zeros_like(a)
    apart = stats.replicated_difference(a, b)
    together = stats.replicated_difference(a, b, clusters=["x", "x", "y", "y"])
    assert apart.value == together.value == pytest.approx(0.5)
    assert together.high - together.low > apart.high - apart.low
    assert (together.problems, together.replicates) == (4, 4)
    with pytest.raises(DataError, match="two clusters"):
        stats.replicated_difference(a, b, clusters=["x"] * 4)


def test_single_seed_noise():
    assert "noise" in stats.Difference(0.03, 0.01, 0.05, 500).noise
    assert "noise" in stats.Difference(-0.03, -0.05, -0.01, 500).noise
    assert stats.Difference(0.08, 0.05, 0.1, 500).noise == ""
    assert stats.Difference(0.03, 0.01, 0.05, 500, replicates=3).noise == ""


def test_repeated_runs_keep_a_question_together():
    rng = np.random.default_rng(0)
    easy = rng.random(200)  # questions differ in how likely they are answered
    runs = (rng.random((8, 200)) < easy).astype(float)
    together = stats.repeated_mean(runs.tolist(), seed=1)
    assert together.value == pytest.approx(runs.mean())
    assert together.between_runs == pytest.approx(runs.mean(axis=1).std(ddof=1))
    assert (together.problems, together.runs) == (200, 8)
    # The interval is that of 200 questions, not of 1,600 independent answers, however often they were asked.
    half = (together.high - together.low) / 2
    assert half == pytest.approx(1.96 * runs.mean(axis=0).std() / 200**0.5, rel=0.06)
    assert half > 1.5 * 1.96 * runs.std() / 1600**0.5
    assert stats.repeated_mean(runs.tolist(), seed=1) == together
    assert stats.repeated_mean(runs.tolist(), seed=2).ci != together.ci
    single = stats.repeated_mean([runs[0].tolist()])
    assert single.between_runs == 0
    assert single.high - single.low > together.high - together.low


def test_repeated_difference_is_paired_by_question():
    rng = np.random.default_rng(3)
    easy = rng.random(300)
    b = (rng.random((5, 300)) < easy).astype(float)
    a = (rng.random((3, 300)) < np.minimum(1, easy + 0.1)).astype(float)
    found = stats.repeated_difference(a.tolist(), b.tolist())
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert found.low < found.value < found.high
    assert (found.problems, found.replicates) == (300, 3)
    shuffled = stats.repeated_difference(a[:, rng.permutation(300)].tolist(), b.tolist())
    assert shuffled.high - shuffled.low > 1.4 * (found.high - found.low)  # pairing is what makes it narrow
    once = stats.repeated_difference([a[0].tolist()], [b[0].tolist()])
    assert once.ci == stats.paired_difference(a[0].tolist(), b[0].tolist()).ci


@pytest.mark.parametrize("runs", [[], [[]], [[1.0], [1.0, 0.0]], [[float("nan")]]])
def test_repeated_runs_that_cannot_be_averaged_are_refused(runs):
    with pytest.raises(DataError):
        stats.repeated_mean(runs)


def test_an_average_has_wilsons_interval_where_scores_are_right_or_wrong():
    found = stats.average([1] * 81 + [0] * 182)
    assert (found.low, found.high) == stats.wilson(81, 263)
    assert found.value == pytest.approx(81 / 263)
    graded = stats.average([0.5, 1.0, 0.0, 0.8] * 25)
    assert graded.value == pytest.approx(0.575)
    assert graded.low < 0.575 < graded.high
    assert graded == stats.average([0.5, 1.0, 0.0, 0.8] * 25)
    with pytest.raises(DataError):
        stats.average([])
