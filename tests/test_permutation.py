"""Tests and intervals for two groups within seeds, against scipy, enumeration and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats as sp

from intriguing import permutation as pm


def test_one_seed_is_welch():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, 15), rng.normal(0, 1, 40)
    ours = pm.grouped_difference([a], [b])
    ref = sp.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (ours.low, ours.high) == (pytest.approx(ref.low), pytest.approx(ref.high))
    assert ours.n == 15 and "one seed" in ours.method
    assert pm.grouped_difference([[1.0, 1.0]], [[0.0, 0.0]]).low == 1.0
    assert not pm.grouped_difference([[1.0]], [[0.0, 0.0]]).known


def test_several_seeds_are_the_replicates():
    rng = np.random.default_rng(1)
    a = [rng.normal(s, 1, 5 + s) for s in range(3)]
    b = [rng.normal(0, 1, 50) for _ in range(3)]
    gaps = [x.mean() - y.mean() for x, y in zip(a, b, strict=True)]
    low, high = sp.t.interval(0.95, 2, loc=np.mean(gaps), scale=sp.sem(gaps))
    ours = pm.grouped_difference(a, b)
    assert (ours.value, ours.low, ours.high) == pytest.approx((np.mean(gaps), low, high))
    assert ours.n == 18 and ours.method == "t over 3 seeds"
    means = pm.grouped_mean(a)
    assert means.value == pytest.approx(np.mean([x.mean() for x in a])) and means.n == 18
    assert "one seed" in pm.grouped_mean(a[:1]).method


def test_cliffs_delta_equals_the_double_loop_and_mann_whitney():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 9, 30) / 8, rng.integers(0, 7, 50) / 8  # with many ties
    pairs = [np.sign(x - y) for x, y in itertools.product(a, b)]
    assert pm.cliffs_delta(a, b) == pytest.approx(np.mean(pairs))
    u = sp.mannwhitneyu(a, b).statistic
    assert pm.cliffs_delta(a, b) == pytest.approx(2 * u / (30 * 50) - 1)
    assert pm.cliffs_delta([1, 2], [0]) == 1.0 and pm.cliffs_delta([1], [1]) == 0.0


def test_permutation_p_equals_enumeration():
    a, b = np.array([0.9, 0.7, 0.8]), np.array([0.1, 0.5, 0.6, 0.75])
    pool, n = np.concatenate([a, b]), len(a)
    gaps = [
        pool[list(c)].mean() - np.delete(pool, list(c)).mean()
        for c in itertools.combinations(range(7), n)
    ]
    exact = np.mean(np.abs(gaps) >= abs(a.mean() - b.mean()) - 1e-12)
    assert pm.permutation_test([a], [b]) == pytest.approx(exact, abs=0.02)


def test_permutation_shuffles_within_seeds_only(monkeypatch):
    """A difference between seeds is not one between groups."""
    rng = np.random.default_rng(3)
    a = [rng.normal(10 * s, 1, 20) for s in range(3)]
    b = [rng.normal(10 * s, 1, 30) for s in range(3)]
    p = pm.permutation_test(a, b, resamples=2000)
    assert p > 0.01
    assert pm.permutation_test([x + 2 for x in a], b, resamples=2000) == 1 / 2001
    monkeypatch.setattr(pm, "_CHUNK", 333)  # more pieces: other draws of the same distribution
    assert pm.permutation_test(a, b, resamples=2000) == pytest.approx(p, abs=0.05)


def test_p_values_are_uniform_where_there_is_nothing_to_find():
    rng = np.random.default_rng(4)
    ps = [
        pm.permutation_test([rng.normal(size=8)], [rng.normal(size=12)], resamples=199, seed=i)
        for i in range(300)
    ]
    assert sp.kstest(ps, "uniform").pvalue > 1e-3
    ps = [pm.basis_test(rng.normal(size=2), rng.normal(size=(2, 99))) for _ in range(300)]
    assert sp.kstest(ps, "uniform").pvalue > 1e-3


def test_basis_test_counts():
    assert pm.basis_test([5.0], [[0.0, 1, -1, 2]]) == 1 / 5
    assert pm.basis_test([0.5], [[0.0, 1, -1, 2]]) == 1.0
    with pytest.raises(ValueError, match="same number of random bases"):
        pm.basis_test([0.0, 0.0], [[1.0], [1.0, 2.0]])


@pytest.mark.parametrize("call", [
    lambda: pm.grouped_mean([]),
    lambda: pm.grouped_mean([[]]),
    lambda: pm.grouped_mean([[np.nan]]),
    lambda: pm.grouped_difference([[1.0]], [[1.0], [2.0]]),
])
def test_bad_groups_are_refused(call):
    with pytest.raises(ValueError):
        call()
