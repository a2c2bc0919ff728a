"""Functions of means and correlations of panels against closed forms, scipy and known truths."""

import math

import numpy as np
import pytest
from scipy import stats as sp

from intriguing import stats


def panel(n=40, c=6, s=1, p=1, seed=0, slope=-0.5, image=0.0, condition=0.0):
    """x and y (S, N, P, C) with parts of images and conditions that go together."""
    rng = np.random.default_rng(seed)
    of_image = image * rng.normal(size=(1, n, 1, 1))
    of_condition = condition * rng.normal(size=c)
    x = rng.normal(size=(s, n, p, c)) + of_image + of_condition
    y = slope * rng.normal(size=(s, n, p, c)) + slope * (x - of_image - of_condition)
    return x, y + of_image + of_condition


def test_the_three_kinds_are_the_correlations_written_out():
    x, y = panel(image=2, condition=1)
    a, b = x[0, :, 0], y[0, :, 0]  # (N, C)
    inner = [(v - v.mean(1, keepdims=True)).ravel() for v in (a, b)]
    expected = {
        "point": np.corrcoef(a.mean(0), b.mean(0))[0, 1],
        "within": np.corrcoef(*inner)[0, 1],
        "between": np.corrcoef(a.mean(1), b.mean(1))[0, 1],
    }
    for kind, r in expected.items():
        ours = stats.panel_correlation(x, y, kind, resamples=50)
        assert ours.value == pytest.approx(r, abs=1e-9) and ours.low < r < ours.high


def test_the_kinds_need_not_agree_in_sign():
    x, y = panel(n=200, c=8, image=3, condition=0, slope=-0.9)
    within, between = (stats.panel_correlation(x, y, k).value for k in ("within", "between"))
    assert within < -0.5 < 0.5 < between


@pytest.mark.parametrize("kind", ["point", "within", "between"])
def test_partial_correlations_are_those_of_residuals(kind):
    x, y = panel(n=30, c=9)
    z = np.random.default_rng(5).normal(size=x.shape)
    x, y = x + z, y - 2 * z
    flat = {
        "point": lambda v: v[0, :, 0].mean(0) - v.mean(),
        "within": lambda v: (v - v.mean(-1, keepdims=True)).ravel(),
        "between": lambda v: v[0, :, 0].mean(1) - v.mean(),
    }[kind]
    a, b, held = flat(x), flat(y), flat(z)
    left = [v - held * (v @ held) / (held @ held) for v in (a, b)]
    r = (left[0] @ left[1]) / math.sqrt((left[0] @ left[0]) * (left[1] @ left[1]))
    ours = stats.panel_correlation(x, y, kind, controls=[z], resamples=50)
    assert ours.value == pytest.approx(r, abs=1e-9)
    two = stats.panel_correlation(x, y, kind, controls=[z, 3 * z], resamples=50)
    assert two.value == pytest.approx(r, abs=1e-6), "a control that says nothing new"


def test_units_and_controls_of_no_use_change_nothing():
    x, y = panel()
    ours = stats.panel_correlation(x, y, "within", resamples=100)
    moved = stats.panel_correlation(1e6 * x + 3, 1e-3 * y, "within", resamples=100)
    assert (moved.value, moved.low) == (pytest.approx(ours.value), pytest.approx(ours.low))
    flipped = stats.panel_correlation(x, -y, "within", resamples=100)
    assert (flipped.low, flipped.high) == (pytest.approx(-ours.high), pytest.approx(-ours.low))


def test_pairs_and_seeds_are_averaged_as_fishers_z():
    x, y = panel(s=2, p=3)
    each = [
        stats.panel_correlation(x[s : s + 1, :, p : p + 1], y[s : s + 1, :, p : p + 1], "within",
                                resamples=10).value
        for s in range(2) for p in range(3)
    ]  # fmt: skip
    ours = stats.panel_correlation(x, y, "within", resamples=10)
    assert ours.value == pytest.approx(math.tanh(np.arctanh(each).mean()))
    assert ours.n == 2 * 40 and "2 seeds" in ours.method


def test_ranks_give_the_mean_of_spearmans_rho():
    x, y = panel(n=12, c=7)
    rho = [sp.spearmanr(a, b).statistic for a, b in zip(x[0, :, 0], y[0, :, 0], strict=True)]
    ours = stats.panel_correlation(stats.rank(x), stats.rank(y), "within", resamples=10)
    assert ours.value == pytest.approx(np.mean(rho))
    ties = np.array([[3.0, 1.0, 3.0, 0.0]])
    assert (stats.rank(ties) == sp.rankdata(ties, axis=1)).all()


def test_the_interval_of_a_correlation_is_fishers():
    """Independent normal pairs: z has the standard error 1 / sqrt(N - 3)."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1, 400, 1, 1)).repeat(2, axis=3)
    y = 0.6 * x + 0.8 * rng.normal(size=(1, 400, 1, 1))
    ours = stats.panel_correlation(x, y, "between", resamples=4000)
    width = math.atanh(ours.high) - math.atanh(ours.low)
    assert width == pytest.approx(2 * 1.96 / math.sqrt(397), rel=0.1)


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_of_the_mean_it_is_the_crossed_interval(n_seeds):
    rng = np.random.default_rng(4)
    values = rng.normal(size=(n_seeds, 1)) + rng.normal(size=(1, 60)) + rng.normal(
        size=(n_seeds, 60))  # fmt: skip
    ours = stats.function_of_means(lambda m: m, values, resamples=20000)
    ref = stats.seed_image_interval(values)
    assert ours.value == pytest.approx(ref.value)
    assert ours.high - ours.low == pytest.approx(ref.high - ref.low, rel=0.05)


def test_coverage_of_a_correlation_within_images():
    hits, naive, truth = 0, 0, -1 / math.sqrt(2)
    for trial in range(200):
        x, y = panel(n=30, c=5, s=2, p=2, seed=trial, slope=-0.5, image=2)
        rows = np.random.default_rng(trial).integers(30, size=30)  # dependence between rows
        ours = stats.panel_correlation(x, y, "within", resamples=200)
        hits += truth in ours
        twice = stats.panel_correlation(x[:, rows], y[:, rows], "within", resamples=200)
        naive += twice.low <= ours.value <= twice.high
    assert 0.90 <= hits / 200 <= 1.0


def test_seeds_that_differ_widen_the_interval():
    x, y = panel(s=3, n=50)
    same = stats.panel_correlation(x, y, "within")
    y[0] *= -1
    other = stats.panel_correlation(x, y, "within")
    assert other.high - other.low > 3 * (same.high - same.low)


def test_impossible_panels_are_refused():
    x, y = panel(c=3)
    with pytest.raises(ValueError, match="no kind 'inside'"):
        stats.panel_correlation(x, y, "inside")
    with pytest.raises(ValueError, match="seeds, images, pairs, conditions"):
        stats.panel_correlation(x, y[..., :2], "point")
    with pytest.raises(ValueError, match="at least 4 conditions, not 3"):
        stats.panel_correlation(x, y, "point", controls=[x])
    with pytest.raises(ValueError, match="does not vary"):
        stats.panel_correlation(x, np.ones_like(y), "within")
    with pytest.raises(ValueError, match="does not vary, or is not finite"):
        stats.panel_correlation(np.where(x > 1, np.nan, x), y, "within")
    with pytest.raises(ValueError, match="2 images"):
        stats.function_of_means(lambda m: m, np.ones((3, 1)))
    with pytest.raises(ValueError, match="must return"):
        stats.function_of_means(lambda m: m.mean(), np.ones((3, 4)))
    with pytest.raises(ValueError, match="NaN"):
        stats.function_of_means(lambda m: m, np.full((3, 4), np.nan))
    with pytest.raises(ValueError, match="not finite on some resamples"), np.errstate(all="ignore"):
        stats.function_of_means(lambda m: m / 0, np.ones((3, 4)))
