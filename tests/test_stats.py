"""Intervals and tests against scipy, closed forms and small coverage simulations."""

import math

import numpy as np
import pytest
from scipy import stats as sp

from intriguing import stats

# the mean of 1 / (1 + exp(-logit)) for the log-odds of test_coverage_of_a_crossed_proportion
_LOGITS = -2.5 + 1.09**0.5 * sp.norm.ppf((np.arange(20000) + 0.5) / 20000)
TRUTH = float((1 / (1 + np.exp(-_LOGITS))).mean())


def test_t_interval_equals_scipy_for_a_few_seeds():
    values = np.array([0.061, 0.064, 0.059])
    ours = stats.mean_interval(values)
    low, high = sp.t.interval(0.95, 2, loc=values.mean(), scale=sp.sem(values))
    assert (ours.value, ours.n) == (pytest.approx(values.mean()), 3)
    assert (ours.low, ours.high) == (pytest.approx(low), pytest.approx(high))
    assert ours.method == "t over 3 rows"


def test_bca_of_the_mean_agrees_with_scipy():
    values = np.random.default_rng(3).exponential(size=80)
    ours = stats.mean_interval(values, resamples=9999)
    ref = sp.bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=1)
    assert ours.low == pytest.approx(ref.confidence_interval.low, abs=0.012)
    assert ours.high == pytest.approx(ref.confidence_interval.high, abs=0.012)


def test_generic_bootstrap_agrees_with_the_fast_mean_and_with_scipy():
    values = np.random.default_rng(4).exponential(size=60)
    generic = stats.bootstrap(np.mean, values)
    fast = stats.mean_interval(values)
    assert (generic.low, generic.high) == (pytest.approx(fast.low), pytest.approx(fast.high))
    ref = sp.bootstrap((values,), np.median, n_resamples=2000, method="percentile", rng=1)
    ours = stats.bootstrap(np.median, values, method="percentile")
    assert ours.low == pytest.approx(ref.confidence_interval.low, abs=0.05)
    assert ours.high == pytest.approx(ref.confidence_interval.high, abs=0.05)


def test_paired_arrays_move_together():
    x = np.random.default_rng(0).normal(size=50)
    same = stats.bootstrap(lambda a, b: np.corrcoef(a, b)[0, 1], x, 2 * x, resamples=50)
    assert (same.low, same.high) == (pytest.approx(1), pytest.approx(1))


def test_clusters_widen_the_interval_and_duplicates_do_not_narrow_it():
    values = np.random.default_rng(1).normal(size=40)
    once = stats.mean_interval(values)
    many = stats.mean_interval(np.repeat(values, 25), clusters=np.repeat(np.arange(40), 25))
    naive = stats.mean_interval(np.repeat(values, 25))
    assert many.high - many.low == pytest.approx(once.high - once.low)
    assert naive.high - naive.low < 0.3 * (once.high - once.low)
    generic = stats.bootstrap(
        np.mean, np.repeat(values, 3), clusters=np.repeat(np.arange(40), 3), resamples=1000
    )
    assert generic.high - generic.low == pytest.approx(once.high - once.low, rel=0.1)


def test_few_clusters_use_t_over_them():
    values, clusters = np.array([1.0, 1.0, 2.0, 2.0, 4.0, 4.0]), [0, 0, 1, 1, 2, 2]
    ours, ref = stats.mean_interval(values, clusters), stats.mean_interval([1.0, 2.0, 4.0])
    assert (ours.low, ours.high) == (pytest.approx(ref.low), pytest.approx(ref.high))


def test_same_seed_same_interval_and_the_global_state_is_untouched():
    values = np.random.default_rng(1).normal(size=300)
    before = np.random.get_state()[1].copy()
    assert stats.mean_interval(values, seed=7) == stats.mean_interval(values, seed=7)
    assert stats.mean_interval(values, seed=7) != stats.mean_interval(values, seed=8)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_coverage_of_the_mean(draw):
    rng, hits = np.random.default_rng(11), 0
    truth = 0.0 if draw == "normal" else 1.0
    for _ in range(300):
        hits += truth in stats.mean_interval(getattr(rng, draw)(size=60), resamples=400)
    assert 0.90 <= hits / 300 <= 0.985


@pytest.mark.parametrize("n_seeds", [3, 12])
def test_coverage_when_seeds_and_images_are_crossed(n_seeds):
    rng, hits, naive = np.random.default_rng(5), 0, 0
    for _ in range(300):
        values = (
            rng.normal(size=(n_seeds, 1)) * 0.5
            + rng.normal(size=(1, 40)) * 0.5
            + rng.normal(size=(n_seeds, 40))
        )
        hits += 0.0 in stats.seed_image_interval(values, resamples=300)
        naive += 0.0 in stats.mean_interval(values.ravel(), resamples=300)
    assert 0.90 <= hits / 300 <= 0.995
    assert naive / 300 < 0.8, "an interval that ignores the crossing is far too narrow"


def test_crossed_interval_reduces_to_one_factor():
    images = np.random.default_rng(2).normal(size=200)
    seeds_agree = stats.seed_image_interval(np.stack([images] * 3))
    t = sp.t.interval(0.95, 199, loc=images.mean(), scale=sp.sem(images))
    assert seeds_agree.low == pytest.approx(t[0]) and seeds_agree.high == pytest.approx(t[1])
    images_agree = stats.seed_image_interval(np.tile([[1.0], [2.0], [4.0]], (1, 50)))
    ref = stats.mean_interval([1.0, 2.0, 4.0])
    assert images_agree.low == pytest.approx(ref.low) and "crossed" in images_agree.method
    assert "images only" in stats.seed_image_interval(images[None]).method


def test_crossed_interval_with_images_that_do_not_count():
    values = np.random.default_rng(2).normal(size=(4, 100))
    values[1, :30] = np.nan
    values[:, 99] = np.nan
    ours = stats.seed_image_interval(values)
    assert ours.n == 4 * 99 - 30 and ours.value == pytest.approx(np.nanmean(values))
    assert ours.low < ours.value < ours.high
    many = stats.seed_image_interval(np.vstack([values] * 3))
    assert many.value == pytest.approx(ours.value) and "bootstrap" in many.method
    with pytest.raises(ValueError, match="seed has no value"):
        stats.seed_image_interval([[1.0, 2.0], [math.nan, math.nan]])


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (256, 256), (51, 100), (1, 1)])
def test_wilson_equals_scipy(k, n):
    ours = stats.wilson(k, n)
    ref = sp.binomtest(k, n).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == (pytest.approx(ref.low, abs=1e-12), pytest.approx(ref.high))
    assert ours.value == k / n and ours.n == n


def test_a_crossed_proportion_is_wilson_where_nothing_varies_but_images():
    one = np.r_[np.ones(30), np.zeros(70)]
    assert stats.crossed_proportion([one]) == stats.wilson(30, 100)
    same = stats.crossed_proportion([one, one, one])  # seeds that agree add nothing
    alone = stats.wilson(30, 100)
    assert same.value == 0.3 and same.n == 300
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high), abs=0.003)


@pytest.mark.parametrize("flag", [0, 1])
def test_a_crossed_proportion_at_the_edge_keeps_an_interval(flag):
    ours = stats.crossed_proportion(np.full((3, 200), float(flag)))
    alone = stats.wilson(200 * flag, 200)
    assert (ours.value, ours.low, ours.high) == (flag, alone.low, alone.high)


@pytest.mark.parametrize("seeds, runs", [(3, 200), (12, 60)])  # few seeds: t; many: bootstrap
def test_coverage_of_a_crossed_proportion(seeds, runs):
    rng, hits = np.random.default_rng(8), 0
    for _ in range(runs):  # log-odds of a seed and of an image, and a coin
        logit = -2.5 + rng.normal(0, 0.3, (seeds, 1)) + rng.normal(0, 1, (1, 400))
        flags = rng.random((seeds, 400)) < 1 / (1 + np.exp(-logit))
        hits += TRUTH in stats.crossed_proportion(flags.astype(float))
    assert 0.9 <= hits / runs <= 1


def test_a_crossed_proportion_is_of_flags():
    with pytest.raises(ValueError, match="flags"):
        stats.crossed_proportion([[0.5, 1.0]])


def test_a_crossed_share_stays_a_share():
    flags = np.ones((3, 50))
    assert stats.crossed_share(flags) == stats.crossed_proportion(flags)
    high = np.array([[1, 1, 0.5, 1], [0.5, 1, 1, 1], [1, 1, 1, 1]])
    free, ours = stats.seed_image_interval(high), stats.crossed_share(high)
    assert free.high > 1 and (ours.value, ours.low, ours.high) == (free.value, free.low, 1.0)
    low = stats.crossed_share(1 - high)
    assert low.low == 0 and low.high == pytest.approx(1 - ours.low)
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.crossed_share([[0.5, 1.5]])


def test_mcnemar_is_the_exact_binomial_test():
    a = [1] * 9 + [0] * 2 + [1] * 30 + [0] * 5
    b = [0] * 9 + [1] * 2 + [1] * 30 + [0] * 5
    ours = stats.mcnemar(a, b)
    assert (ours.only_a, ours.only_b, ours.n) == (9, 2, 46)
    assert ours.p == pytest.approx(sp.binomtest(9, 11).pvalue)
    assert stats.mcnemar([1, 0], [1, 0]).p == 1.0
    with pytest.raises(ValueError, match="flags"):
        stats.mcnemar([0.5], [1])


def test_paired_difference_is_the_interval_of_the_differences():
    a, b = np.array([3.0, 4.0, 6.0]), np.array([1.0, 2.5, 3.0])
    ours = stats.paired_difference(a, b)
    t = sp.ttest_rel(a, b).confidence_interval()
    assert (ours.low, ours.high) == (pytest.approx(t.low), pytest.approx(t.high))
    assert ours.method.startswith("paired")


def test_spearman_value_and_coverage():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=30), rng.normal(size=30)
    for a in (x, np.round(x)):  # without and with ties
        assert stats.spearman(a, y).value == pytest.approx(sp.spearmanr(a, y).statistic)
    r = 0.6
    truth, hits = 6 / math.pi * math.asin(r / 2), 0  # rho_s of a bivariate normal
    for _ in range(400):
        x = rng.normal(size=40)
        hits += truth in stats.spearman(x, r * x + math.sqrt(1 - r * r) * rng.normal(size=40))
    assert 0.91 <= hits / 400 <= 0.985
    perfect = stats.spearman([1, 2, 3, 4, 5], [2, 4, 6, 8, 10])
    assert perfect.value == perfect.high == pytest.approx(1) and -1 < perfect.low < 1


def test_a_single_value_has_no_interval():
    one = stats.mean_interval([0.4])
    assert not one.known and one.value == 0.4 and "no interval" in str(one)


def test_text_shows_two_digits_of_the_half_width():
    assert str(stats.Interval(0.06214, 0.0603, 0.0639, 10)) == "0.0621 [0.0603, 0.0639]"
    assert str(stats.Interval(93.2, 88.1, 97.0, 10)) == "93.2 [88.1, 97.0]"
    assert str(stats.Interval(1.0, 1.0, 1.0, 10)) == "1 [1, 1]"
    assert str(stats.Interval(0.5, 0.25, 0.75, 4).scaled(100)) == "50 [25, 75]"


def test_logarithms_become_ratios():
    found = stats.mean_interval(np.log([2.0, 8.0]), seed=0)
    ratio = found.exp()
    assert ratio.value == pytest.approx(4) and ratio.n == 2 and "logarithms" in ratio.method
    assert (ratio.low, ratio.high) == pytest.approx((math.exp(found.low), math.exp(found.high)))
    assert not stats.mean_interval([0.3]).exp().known
    same = stats.paired_ratio([4.0, 24.0], [2.0, 3.0])
    assert (same.value, same.low) == pytest.approx((ratio.value, ratio.low))
    for bad in ([0.0, 1.0], [-1.0, 1.0]):
        with pytest.raises(ValueError, match="positive"):
            stats.paired_ratio(bad, [1.0, 1.0])
    with pytest.raises(ValueError, match="equal lengths"):
        stats.paired_ratio([1.0], [1.0, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.mean_interval([]), "non-empty"),
        (lambda: stats.mean_interval([1.0, math.nan]), r"values\[1\] is nan"),
        (lambda: stats.mean_interval([1.0, 2.0], level=95), "level"),
        (lambda: stats.mean_interval([1.0, 2.0], clusters=[1]), "clusters"),
        (lambda: stats.bootstrap(np.mean, [1, 2], method="magic"), "method"),
        (lambda: stats.bootstrap(np.mean), "arrays"),
        (lambda: stats.bootstrap(np.mean, [1.0]), "two replicates"),
        (lambda: stats.wilson(11, 10), "successes"),
        (lambda: stats.paired_difference([1.0], [1.0, 2.0]), "pair up"),
        (lambda: stats.spearman([1, 2, 3], [1, 2, 3]), "at least 4"),
        (lambda: stats.spearman([1, 1, 1, 1], [1, 2, 3, 4]), "constant"),
        (lambda: stats.seed_image_interval([1.0, 2.0]), "seeds, images"),
        (lambda: stats.Interval(0.0, 1.0, -1.0, 3), "above"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_holm_by_hand_and_never_above_bonferroni():
    # Holm (1979): 4 * 0.005, 3 * 0.01, then 2 * 0.03 and at least that for the last
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    p = np.random.default_rng(0).uniform(size=30)
    adjusted = stats.holm(p)
    assert (adjusted >= p).all() and (adjusted <= np.minimum(1, 30 * p)).all()
    assert (np.argsort(adjusted[np.argsort(p)], kind="stable") == np.arange(30)).all()
    with pytest.raises(ValueError, match="p values lie in"):
        stats.holm([0.5, 1.5])
