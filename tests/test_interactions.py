"""Interactions against shapiq, brute force over coalitions and permutations, and closed forms."""

import itertools
import math
import warnings

import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor, nn

from intriguing import models, runtime
from intriguing.interactions import (
    ablation_game,
    all_coalitions,
    dividends,
    dropped_orders,
    exact_orders,
    exact_sii,
    layer_game,
    mean_interaction,
    mean_quadrature,
    moments,
    order_weights,
    pairwise,
    perturbation_game,
    random_pairs,
    row_sums,
    sampled_sii,
    shapley_values,
    sub_orders,
    table_game,
)
from intriguing.interactions.games import cells
from intriguing.interactions.mean import METHODS
from intriguing.interactions.pairwise import contexts
from intriguing.interactions.surrogate import design, krawtchouk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import shapiq


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_game(n: int, *batch: int, seed: int = 0):
    """Return a game (*batch) with an independent value for each coalition."""
    return table_game(draw(*batch, 2**n, seed=seed))


def unanimity(members: set[int]):
    """Return the game that is worth 1 to the coalitions that hold all members."""
    return lambda masks: masks[:, sorted(members)].all(1).double()


def off_diagonal(matrix: Tensor) -> Tensor:
    n = matrix.shape[-1]
    return matrix[..., ~torch.eye(n, dtype=torch.bool)]


def close(found: Tensor, wanted: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(found, wanted.to(found), atol=atol, rtol=0)


def by_shapiq(value, n: int, index: str, order: int = 2) -> Tensor:
    """Return the interactions of pairs that shapiq computes exactly, (n, n)."""

    class Game(shapiq.Game):
        def __init__(self) -> None:
            super().__init__(n_players=n, normalize=False)

        def value_function(self, coalitions):
            return value(torch.from_numpy(coalitions)).double().numpy()

    found = shapiq.ExactComputer(game=Game(), n_players=n)(index=index, order=order)
    if order == 1:
        return torch.tensor([float(found[(i,)]) for i in range(n)], dtype=torch.float64)
    pairs = torch.zeros(n, n, dtype=torch.float64)
    for i, j in itertools.combinations(range(n), 2):
        pairs[i, j] = pairs[j, i] = float(found[(i, j)])
    return pairs


def definition(value, n: int) -> Tensor:
    """Return the interactions as the paper defines them: Shapley values of three smaller games."""

    def worth(members) -> float:
        return float(value(torch.tensor([[i in members for i in range(n)]]))[0])

    def shapley(blocks: list[frozenset], of: frozenset) -> float:
        others = [block for block in blocks if block != of]
        found = 0.0
        for size in range(len(others) + 1):
            weight = math.factorial(size) * math.factorial(len(others) - size)
            for chosen in itertools.combinations(others, size):
                inside = frozenset().union(*chosen)
                found += weight * (worth(inside | of) - worth(inside))
        return found / math.factorial(len(blocks))

    index = torch.zeros(n, n, dtype=torch.float64)
    for i, j in itertools.combinations(range(n), 2):
        rest = [frozenset([k]) for k in range(n) if k not in (i, j)]
        one, other, both = frozenset([i]), frozenset([j]), frozenset([i, j])
        together = shapley([*rest, both], both)
        apart = shapley([*rest, one], one) + shapley([*rest, other], other)
        index[i, j] = index[j, i] = together - apart
    return index


# The index, exactly


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_the_index_is_the_papers_definition_by_three_games(n: int) -> None:
    value = random_game(n, seed=n)
    close(exact_sii(value, n), definition(value, n))


@pytest.mark.parametrize("n", range(3, 9))
def test_the_index_is_shapiqs_sii(n: int) -> None:
    value = random_game(n, seed=n)
    close(exact_sii(value, n), by_shapiq(value, n, "SII"))
    close(exact_sii(value, n), by_shapiq(value, n, "k-SII"))  # the same at the top order only
    close(shapley_values(value, n), by_shapiq(value, n, "SV", order=1))


@pytest.mark.parametrize("index", ["STII", "FSII", "BII"])
def test_other_indices_are_others(index: str) -> None:
    value = random_game(7)
    assert (exact_sii(value, 7) - by_shapiq(value, 7, index)).abs().max() > 0.1


def test_k_sii_and_not_sii_is_efficient() -> None:
    """The orders of k-SII sum to v(all) - v(none); those of SII do not."""
    n, table = 6, draw(2**6, seed=3)
    found, index = shapley_values(table_game(table), n), exact_sii(table_game(table), n)
    whole = table[-1] - table[0]
    close(found.sum(), whole)
    first = found - index.sum(1) / 2  # first order of k-SII
    close(first.sum() + index.triu(1).sum(), whole)
    assert (found.sum() + index.triu(1).sum() - whole).abs() > 0.1


def test_shapley_values_are_means_over_orderings() -> None:
    n, table = 5, draw(2**5)
    wanted = torch.zeros(n, dtype=torch.float64)
    for ordering in itertools.permutations(range(n)):
        inside = 0
        for i in ordering:
            wanted[i] += table[inside | 1 << i] - table[inside]
            inside |= 1 << i
    close(shapley_values(table_game(table), n), wanted / math.factorial(n))


def test_closed_forms() -> None:
    n = 6
    h, weights = draw(n, n, seed=1), draw(n, seed=2)
    h = h + h.T

    def additive(masks: Tensor) -> Tensor:
        return 3 + masks.double() @ weights

    def quadratic(masks: Tensor) -> Tensor:
        x = masks * weights
        return ((x @ h) * x).sum(1)

    close(exact_sii(additive, n), torch.zeros(n, n))
    close(off_diagonal(exact_sii(quadratic, n)), off_diagonal(2 * h * weights.outer(weights)))
    product = torch.zeros(n, n)
    product[1, 4] = product[4, 1] = 1
    close(exact_sii(unanimity({1, 4}), n), product)
    for members in ({0, 2}, {0, 2, 5}, {0, 1, 3, 5}, set(range(n))):
        inside = torch.tensor([i in members for i in range(n)])
        wanted = (inside[:, None] & inside).double() / (len(members) - 1)
        close(exact_sii(unanimity(members), n), wanted.fill_diagonal_(0))


def test_multiplicative_game_by_an_integral() -> None:
    """v = prod (1 + c_i [i in S]): I_ij = c_i c_j int prod_{others} (1 + r c_k) dr."""
    n, c = 6, draw(6, seed=4)
    r, weight = (torch.tensor(a) for a in scipy.special.roots_sh_legendre(10))
    index = exact_sii(lambda masks: (1 + masks * c).prod(1), n)
    for i, j in itertools.combinations(range(n), 2):
        others = [k for k in range(n) if k not in (i, j)]
        integral = (weight * (1 + r[:, None] * c[others]).prod(1)).sum()
        close(index[i, j], c[i] * c[j] * integral)


def test_axioms() -> None:
    n, one, two = 6, draw(2**6, seed=1), draw(2**6, seed=2)
    close(exact_sii(table_game(2 * one - 3 * two), n),
          2 * exact_sii(table_game(one), n) - 3 * exact_sii(table_game(two), n))  # fmt: skip
    small = table_game(draw(2**5, seed=5))
    dummy = exact_sii(lambda masks: small(masks[:, :5]) + 7 * masks[:, 5].double(), n)
    close(dummy[5], torch.zeros(n))
    close(dummy[:5, :5], exact_sii(small, 5))
    swap = [0, 2, 1, 3, 4, 5]  # players 1 and 2 of a game that cannot tell them apart
    value = table_game(one)
    alike = exact_sii(lambda masks: value(masks) + value(masks[:, swap]), n)
    close(alike[1], alike[2][swap])
    mixed = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    renamed = exact_sii(lambda masks: value(masks[:, mixed]), n)
    close(renamed[mixed][:, mixed], exact_sii(value, n))


def test_orders_are_means_over_contexts_of_one_size() -> None:
    n, table = 5, draw(2**5)
    orders = exact_orders(table_game(table), n)
    for i, j in itertools.combinations(range(n), 2):
        others = [k for k in range(n) if k not in (i, j)]
        for s in range(n - 1):
            inside = [sum(1 << k for k in c) for c in itertools.combinations(others, s)]
            at, a, b = torch.tensor(inside), 1 << i, 1 << j
            wanted = (table[at | a | b] - table[at | a] - table[at | b] + table[at]).mean()
            close(orders[s, i, j], wanted)
            close(orders[s, j, i], wanted)
    close(orders.mean(0), exact_sii(table_game(table), n))


def test_dividends_and_their_identities() -> None:
    n = 6
    value = random_game(n, 3)
    masks, a, index = all_coalitions(n), dividends(value, n), exact_sii(value, n)
    inside = (masks[None] <= masks[:, None]).all(-1).double()  # [S, T]: T lies in S
    close(a @ inside.T, value(masks))
    size = masks.sum(1)
    for i, j in itertools.combinations(range(n), 2):
        holds = masks[:, i] & masks[:, j]
        close(index[:, i, j], (a[:, holds] / (size[holds] - 1)).sum(1))
    many = size >= 2
    close(mean_interaction(value, n), (a * size)[:, many].sum(1) / (n * (n - 1)))


def test_orders_gather_the_sub_orders() -> None:
    """Also with contexts that dropout thins: each further player of a dividend costs rho."""
    n, rho = 6, 0.3
    value = random_game(n)
    parts, orders = sub_orders(dividends(value, n)), exact_orders(value, n)
    thinned = dropped_orders(orders, rho)
    for s in range(n - 1):
        ways = [math.comb(s, q) for q in range(s + 1)]
        close(orders[s], sum(w * parts[q] for q, w in enumerate(ways)))
        close(thinned[s], sum(rho**q * w * parts[q] for q, w in enumerate(ways)))
    close(dropped_orders(orders, 1.0), orders)
    close(dropped_orders(orders, 0.0), orders[:1].expand_as(orders))
    with pytest.raises(ValueError, match="keep is a probability"):
        dropped_orders(orders, 1.5)


def test_thinned_contexts_are_drawn_and_averaged() -> None:
    """The expectation over every way that dropout can thin a context, pair by pair."""
    n, keep, table = 5, 0.3, draw(2**5)
    found = dropped_orders(exact_orders(table_game(table), n), keep)
    i, j = 1, 3
    others = [k for k in range(n) if k not in (i, j)]
    for s in range(n - 1):
        wanted, contexts_of_size = 0.0, list(itertools.combinations(others, s))
        for context in contexts_of_size:
            for left in itertools.product([0, 1], repeat=s):
                at = sum(1 << k for k, stays in zip(context, left, strict=True) if stays)
                chance = keep ** sum(left) * (1 - keep) ** (s - sum(left))
                a, b = 1 << i, 1 << j
                wanted += chance * (table[at | a | b] - table[at | a] - table[at | b] + table[at])
        close(found[s, i, j], wanted / len(contexts_of_size))


@pytest.mark.parametrize("context", ["shapley", 3])
def test_thinned_contexts_are_sampled_without_bias(context) -> None:
    n, value, pairs = 6, random_game(6, seed=2), torch.tensor([[0, 1], [2, 5]])
    orders = dropped_orders(exact_orders(value, n), 0.4)
    exact = orders.mean(0) if context == "shapley" else orders[context]
    found = pairwise(value, n, pairs, 20_000, context=context, keep=0.4, seed=1)
    wanted = exact[pairs[:, 0], pairs[:, 1]]
    assert ((found.value - wanted).abs() < 4 * found.se).all()
    assert ((exact_sii(value, n)[pairs[:, 0], pairs[:, 1]] - wanted).abs() > 8 * found.se).all()


def test_components_shrink_and_their_sum_may_grow() -> None:
    """The paper's step from components to strength fails where their signs differ."""
    n, pair = 5, 0b11
    a = torch.zeros(2**n, dtype=torch.float64)
    a[pair] = 1.0  # the pair alone
    for k in range(2, n):
        a[pair | 1 << k] = -0.25  # and, against it, with each third player
    inside = (all_coalitions(n)[None] <= all_coalitions(n)[:, None]).all(-1).double()
    orders = exact_orders(table_game(inside @ a), n)
    last = dropped_orders(orders, 0.5)[3, 0, 1]
    close(orders[3, 0, 1], torch.tensor(0.25))
    close(last, torch.tensor(0.625))


@pytest.mark.parametrize("n", [2, 3, 7])
def test_row_sums_and_the_mean_take_few_evaluations(n: int) -> None:
    asked = []

    def value(masks: Tensor) -> Tensor:
        asked.append(len(masks))
        return game(masks)

    game = random_game(n, 4, seed=n)
    index = exact_sii(game, n)
    close(row_sums(value, n), index.sum(-1))
    close(mean_interaction(value, n), off_diagonal(index).mean(-1))
    assert asked == [2 * n + 2] * 2


def test_a_batch_of_games_gets_what_each_gets_alone() -> None:
    n, tables = 6, draw(2, 3, 2**6)
    pairs = torch.tensor([[0, 1], [4, 2]])
    calls = [
        lambda v: exact_sii(v, n),
        lambda v: shapley_values(v, n),
        lambda v: dividends(v, n),
        lambda v: row_sums(v, n),
        lambda v: pairwise(v, n, pairs, 5).value,
        lambda v: pairwise(v, n, pairs, 5).se,
        lambda v: sampled_sii(v, n, 40),
        *(lambda v, m=m: mean_interaction(v, n, m, samples=3) for m in METHODS if m != "exact"),
    ]
    for call in calls:
        together = call(table_game(tables))
        for b, c in itertools.product(range(2), range(3)):
            close(together[b, c], call(table_game(tables[b, c])), atol=1e-8)


# Sampling


def test_contexts_of_the_index_have_every_size_alike() -> None:
    n, pairs = 8, torch.tensor([[1, 6]])
    masks = contexts(n, pairs, 20_000, generator=runtime.generator(0, "t"))
    assert masks.shape == (1, 20_000, 4, n)
    both, i_only, j_only, neither = masks[0].unbind(1)
    assert both[:, [1, 6]].all() and not neither[:, [1, 6]].any()
    assert (i_only[:, [1, 6]] == torch.tensor([True, False])).all()
    assert (j_only[:, [1, 6]] == torch.tensor([False, True])).all()
    rest = [0, 2, 3, 4, 5, 7]
    assert (masks[0][:, :, rest] == neither[:, None][..., rest]).all()
    sizes = neither.sum(1).bincount(minlength=n - 1)
    assert len(sizes) == n - 1
    assert scipy.stats.chisquare(sizes.numpy()).pvalue > 1e-3
    of_two = neither[neither.sum(1) == 2][:, rest].double()  # and within a size, every subset
    pairs_seen = (of_two @ (2.0 ** torch.arange(6, dtype=torch.float64))).unique(return_counts=True)
    assert len(pairs_seen[1]) == 15
    assert scipy.stats.chisquare(pairs_seen[1].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("s", [0, 2, 5])
def test_contexts_of_one_size_have_that_size(s: int) -> None:
    masks = contexts(7, torch.tensor([[0, 3], [5, 2]]), 50, s, generator=runtime.generator(0, "t"))
    assert (masks.sum(-1) == torch.tensor([s + 2, s + 1, s + 1, s])).all()


@pytest.mark.parametrize("context", ["shapley", "banzhaf", 2])
def test_pairwise_estimates_lie_within_their_standard_errors(context) -> None:
    n = 7
    value = random_game(n, seed=9)
    wanted = {
        "shapley": exact_sii(value, n),
        "banzhaf": by_shapiq(value, n, "BII"),
        2: exact_orders(value, n)[2],
    }[context]
    pairs = torch.combinations(torch.arange(n))
    found = pairwise(value, n, pairs, 4000, context=context)
    z = (found.value - wanted[pairs[:, 0], pairs[:, 1]]) / found.se
    assert z.abs().max() < 4  # 21 pairs
    assert 0.5 < z.square().mean() < 2  # the errors are of the size that is stated


def test_pairwise_asks_in_slices_and_keeps_the_order_of_pairs() -> None:
    n = 6
    value = random_game(n, 2)
    pairs = torch.tensor([[0, 1], [1, 0], [2, 5]]).repeat(5, 1)
    found = pairwise(value, n, pairs, 3000)  # five pairs at once
    index = exact_sii(value, n)[:, pairs[:, 0], pairs[:, 1]]
    assert ((found.value - index) / found.se).abs().max() < 4.5


def test_random_pairs_are_even() -> None:
    pairs = random_pairs(4, 12_000, generator=runtime.generator(0, "t"))
    counts = (4 * pairs[:, 0] + pairs[:, 1]).bincount(minlength=16)
    assert (counts[[0, 5, 10, 15]] == 0).all()
    seen = counts[counts > 0].numpy()
    assert len(seen) == 12 and scipy.stats.chisquare(seen).pvalue > 1e-3


@pytest.mark.parametrize("method", [m for m in METHODS if m != "exact"])
def test_sampled_means_have_the_stated_expectation(method: str) -> None:
    n = 6
    value = random_game(n, seed=11)
    a, size = dividends(value, n), all_coalitions(n).sum(1)
    options = {"samples": 4, **({"set_size": 3} if method == "sets" else {})}
    found = torch.stack([mean_interaction(value, n, method, seed=s, **options)
                         for s in range(1500)])  # fmt: skip
    kind = {"set_size": 3} if method == "sets" else {}
    wanted = (order_weights(n, method, **kind)[size] * a).sum()
    error = found.std() / len(found) ** 0.5
    assert (found.mean() - wanted).abs() < 4 * error
    exact = mean_interaction(value, n)
    if method == "sets":
        assert (wanted - exact).abs() > 20 * error  # another functional, told apart by this test
    else:
        close(wanted, exact)


def test_all_cells_are_the_exact_mean() -> None:
    value = random_game(9)
    close(mean_interaction(value, 9, "cells", samples=9), mean_interaction(value, 9))


@pytest.mark.parametrize(("n", "draws"), [(4, 3), (3, 4), (5, 2)])
def test_set_weights_by_all_draws(n: int, draws: int) -> None:
    """The mean of (3) over all n^k sequences of draws, for the unanimity game of t players."""
    weights = order_weights(n, "sets", set_size=draws)
    everyone = set(range(n))
    for t in range(n + 1):
        first = set(range(t))
        total = 0
        for sequence in itertools.product(range(n), repeat=draws):
            inside = set(sequence)
            total += 1 - (first <= everyone - inside) - (first <= inside) + (t == 0)
        assert weights[t] == pytest.approx(total / n**draws, abs=1e-12)


def test_set_weights_flatten_out_where_the_exact_ones_grow() -> None:
    """The authors' setting: 32 draws of 256 cells."""
    sets, exact = order_weights(256, "sets"), order_weights(256)
    assert sets[0] == sets[1] == exact[0] == exact[1] == 0
    assert exact[20] / exact[2] == pytest.approx(10)
    assert 4 < sets[20] / sets[2] < 5
    assert sets[-1] == pytest.approx(1)
    bernoulli = [1 - q**20 - (1 - q) ** 20 for q in [1 - (1 - 1 / 256) ** 32]]
    assert sets[20] == pytest.approx(bernoulli[0], rel=2e-2)


def test_quadratures_ignore_constants_and_have_the_promised_length() -> None:
    n = 10
    lengths = {"exact": 22, "cells": 12, "pairs": 20, "sets": 12}
    for method, length in lengths.items():
        rule = mean_quadrature(n, method, samples=None if method == "exact" else 5)
        assert rule.masks.shape == (length, n) and rule.masks.dtype == torch.bool
        close(rule.weights.sum(), torch.tensor(0.0))
        again = mean_quadrature(n, method, samples=None if method == "exact" else 5)
        assert torch.equal(rule.masks, again.masks)


# The interpolated game


def test_krawtchouk_polynomials_are_sums_over_subsets() -> None:
    n = 5
    table = krawtchouk(n)
    for h, d in itertools.product(range(n + 1), repeat=2):
        x = [-1] * h + [1] * (n - h)
        assert table[h][d] == sum(math.prod(c) for c in itertools.combinations(x, d))


def test_index_of_a_fourier_term() -> None:
    n = 6
    for t in range(n + 1):
        signs = 1 - 2.0 * all_coalitions(n)[:, :t].double()
        index = exact_sii(table_game(signs.prod(1)), n)
        wanted = torch.zeros(n, n, dtype=torch.float64)
        if t and t % 2 == 0:
            wanted[:t, :t] = 4 / (t - 1)
        close(index, wanted.fill_diagonal_(0))


@pytest.mark.parametrize(("n", "count"), [(5, 16), (6, 32), (8, 40), (12, 500), (30, 200)])
def test_designs_hold_no_coalition_twice(n: int, count: int) -> None:
    half = design(n, count, generator=runtime.generator(0, "t"))
    assert half.shape == (count, n)
    assert len(torch.cat([half, ~half]).unique(dim=0)) == 2 * count
    sizes = half.sum(1)
    assert sizes[: n + 1].tolist() == [0] + [1] * n and (2 * sizes <= n).all()
    places = half.double().mean(0)
    assert (places - places.mean()).abs().max() < 0.2


def test_games_of_pairs_are_found_from_half_of_the_coalitions() -> None:
    """With as many pairs of coalitions as there are even terms of orders 0 and 2."""
    n, h = 9, draw(9, 9, seed=1).triu(1)
    linear = draw(9, seed=2)

    def value(masks: Tensor) -> Tensor:
        x = masks.double()
        return 5 + x @ linear + ((x @ h) * x).sum(1)

    found = sampled_sii(value, n, 2**8)
    close(found, h + h.T, atol=2e-3)


def test_the_interpolation_nears_the_index_and_keeps_its_row_sums() -> None:
    n = 9
    value = smooth_game(n, 5)
    index = exact_sii(value, n)
    errors = []
    for budget in (20, 64, 160, 400):
        found = sampled_sii(value, n, budget, seed=1)
        close(found, found.mT)
        close(found.diagonal(dim1=-2, dim2=-1), torch.zeros(5, n))
        close(found.sum(-1), index.sum(-1), atol=1e-4)
        errors.append(float((found - index).norm() / index.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05
    close(sampled_sii(value, n, 2**n), index)


def smooth_game(n: int, games: int, seed: int = 0):
    """Return games of a saturating network on the players, with interactions of all orders."""
    inner, outer = draw(games, n, 20, seed=seed) / 2, draw(games, 20, seed=seed + 1)
    bias = draw(games, 1, 20, seed=seed + 2)

    def value(masks: Tensor) -> Tensor:
        hidden = torch.tanh(masks.double() @ inner + bias)
        return (hidden @ outer[:, :, None]).squeeze(2)

    return value


def test_the_interpolation_is_no_worse_than_kernelshapiq() -> None:
    n, games = 10, 6
    value = smooth_game(n, games)
    index, bits = exact_sii(value, n), 2 ** torch.arange(n)
    table = value(all_coalitions(n))
    for budget in (128, 512):
        ours = theirs = 0.0
        for g in range(games):
            found = sampled_sii(table_game(table[g]), n, budget, seed=g)
            ours += float((found - index[g]).square().sum())

            def ask(coalitions, g=g):
                return table[g][torch.from_numpy(coalitions).long() @ bits].numpy()

            peer = shapiq.KernelSHAPIQ(n=n, max_order=2, index="SII", random_state=g)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer = peer.approximate(budget, ask)
            for i, j in itertools.combinations(range(n), 2):
                theirs += 2 * (answer[(i, j)] - float(index[g, i, j])) ** 2
        assert ours < theirs
        assert theirs > 1e-3 * float(index.square().sum())  # the game is not an easy one


# Perturbed images


def network(channels: int = 2, size: int = 8, seed: int = 0) -> nn.Module:
    """Return a small network in float64 whose logits the perturbations below do change."""
    made = models.cnn.SmallCNN(
        5, channels=channels, size=size, generator=runtime.generator(seed, "init")
    )
    return made.double().eval().requires_grad_(False)


def images(count: int = 8, channels: int = 2, size: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Return pixels, labels and perturbations that keep the pixels in [0, 1]."""
    generator = torch.Generator().manual_seed(1)
    x, z = (torch.rand(count, channels, size, size, generator=generator, dtype=torch.float64)
            for _ in range(2))  # fmt: skip
    return x, torch.arange(count) % 5, z - x


@pytest.mark.parametrize("mode", ["fixed", "max"])
@pytest.mark.parametrize("grid", [3, (2, 4)])
def test_values_by_hand(mode: str, grid) -> None:
    model, (x, y, delta) = network(), images(3)
    game = perturbation_game(model, x, y, delta, grid=grid, target_mode=mode, batch=7)
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    masks = all_coalitions(rows * columns)[::13]
    values = game(masks)
    assert game.players == rows * columns and values.shape == (3, len(masks))
    for i, m in itertools.product(range(3), range(0, len(masks), 3)):
        kept = delta[i].clone()
        for r, c in itertools.product(range(8), range(8)):
            if not masks[m, (r * rows // 8) * columns + c * columns // 8]:
                kept[:, r, c] = 0
        logits = model((x[i] + kept)[None])[0]
        others = [k for k in range(5) if k != y[i]]
        whole = model((x[i] + delta[i])[None])[0]
        best = max(others, key=lambda k: float((whole if mode == "fixed" else logits)[k]))
        close(values[i, m], logits[best] - logits[y[i]])
    ends = torch.tensor([[False], [True]]).expand(-1, game.players)
    close(game.masked(ends)[:, 0], x)
    close(game.masked(ends)[:, 1], x + delta)


def test_fixed_and_max_agree_at_the_whole_perturbation_only() -> None:
    model, (x, y, delta) = network(), images()
    fixed, most = (perturbation_game(model, x, y, delta, grid=2, target_mode=mode)
                   for mode in ("fixed", "max"))  # fmt: skip
    masks = all_coalitions(4)
    close(fixed(masks)[:, -1], most(masks)[:, -1])
    assert (fixed(masks) <= most(masks) + 1e-12).all()
    assert (most(masks) - fixed(masks)).max() > 0.01


def test_the_index_of_a_network_is_shapiqs() -> None:
    model, (x, y, delta) = network(), images(2)
    game = perturbation_game(model, x, y, delta, grid=3)
    index = exact_sii(game, 9)
    assert index.abs().max() > 0.01
    for i in range(2):
        close(index[i], by_shapiq(lambda masks, i=i: game[i : i + 1](masks)[0], 9, "SII"))
    close(mean_interaction(game, 9), off_diagonal(index).mean(-1))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_images_do_not_know_of_each_other(count: int) -> None:
    model, (x, y, delta) = network(), images()
    rows = torch.randperm(8, generator=torch.Generator().manual_seed(count))[:count]

    def made(rows, batch: int = 512):
        return perturbation_game(model, x[rows], y[rows], delta[rows], grid=4, batch=batch)

    for method in METHODS:
        samples = None if method == "exact" else 6
        alone = torch.cat([mean_interaction(made(r[None]), 16, method, samples=samples)
                           for r in rows])  # fmt: skip
        for batch in (1, 5, 512):
            together = mean_interaction(made(rows, batch), 16, method, samples=samples)
            close(together, alone, atol=1e-12)
        close(mean_interaction(made(slice(None))[rows], 16, method, samples=samples), alone)


def test_a_quadratic_network_interacts_by_its_hessian() -> None:
    """Also the sign test: logits that grow faster together give positive interactions."""

    class Quadratic(nn.Module):
        def __init__(self, h: Tensor) -> None:
            super().__init__()
            self.h = h

        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1)
            return torch.stack([torch.zeros(len(z)).to(z), ((z @ self.h) * z).sum(1)], dim=1)

    h = draw(16, 16, seed=3)
    h = h + h.T
    x = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    delta = draw(4, 1, 4, 4, seed=5) / 10
    y = torch.zeros(4, dtype=torch.int64)
    game = perturbation_game(Quadratic(h).eval(), x, y, delta, grid=4)
    d = delta.flatten(1)
    wanted = 2 * h * d[:, :, None] * d[:, None]
    pairs = torch.combinations(torch.arange(16))
    found = pairwise(game, 16, pairs, 2)
    close(found.value, wanted[:, pairs[:, 0], pairs[:, 1]])
    close(found.se, torch.zeros(4, 120), atol=1e-9)
    close(mean_interaction(game, 16), off_diagonal(wanted).mean(1))
    close(row_sums(game, 16), wanted.sum(2) - wanted.diagonal(dim1=1, dim2=2))
    ones = torch.ones(16, 16, dtype=torch.float64)
    positive = perturbation_game(Quadratic(ones).eval(), x, y, delta.abs(), grid=4)
    for method in METHODS:
        samples = None if method == "exact" else 4
        assert (mean_interaction(positive, 16, method, samples=samples) > 0).all()
    negative = perturbation_game(Quadratic(-ones).eval(), x, y, delta.abs(), grid=4)
    assert (mean_interaction(negative, 16) < 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_the_mean_against_differences(method: str) -> None:
    model, (x, y, delta) = network(), images(2)
    rule = mean_quadrature(4, method, samples=None if method == "exact" else 3)

    def mean(d: Tensor) -> Tensor:
        return rule(perturbation_game(model, x, y, d, grid=2))

    free = delta.clone().requires_grad_()
    (slope,) = torch.autograd.grad(mean(free).sum(), free)
    for seed in range(3):
        step = 1e-6 * draw(*delta.shape, seed=seed)
        wanted = (mean(delta + step) - mean(delta - step)) / 2
        close((slope * step).flatten(1).sum(1) * 1e6, wanted * 1e6, atol=1e-4)
    assert not mean(delta).requires_grad


def test_cells_cover_every_pixel_once() -> None:
    for grid, size in (((3, 4), (28, 28)), ((16, 16), (224, 224)), ((5, 2), (5, 7))):
        one_by_one = cells(torch.eye(grid[0] * grid[1], dtype=torch.bool), grid, size)
        assert (one_by_one.sum(0) == 1).all()
        areas = one_by_one.sum((1, 2))
        assert areas.min() > 0
        heights, widths = one_by_one.any(2).sum(1), one_by_one.any(1).sum(1)
        assert torch.equal(areas, heights * widths)
        assert heights.max() - heights.min() <= 1 and widths.max() - widths.min() <= 1


def test_a_game_leaves_its_arguments_and_the_network_alone() -> None:
    model, (x, y, delta) = network(), images(2)
    model.requires_grad_(True)
    before = [t.clone() for t in (x, y, delta)]
    values = perturbation_game(model, x, y, delta, grid=2)(all_coalitions(4))
    assert all(torch.equal(a, b) for a, b in zip(before, (x, y, delta), strict=True))
    assert not values.requires_grad and all(p.requires_grad for p in model.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same() -> None:
    model, (x, y, delta) = network(), images(3)
    here = perturbation_game(model, x, y, delta, grid=3)
    model_there, away = network().to("cuda"), [t.to("cuda") for t in (x, y, delta)]
    there = perturbation_game(model_there, *away, grid=3)
    pairs = torch.tensor([[0, 1], [4, 7]])
    for call in (
        lambda g: exact_sii(g, 9),
        lambda g: shapley_values(g, 9),
        lambda g: sub_orders(dividends(g, 9)),
        lambda g: row_sums(g, 9),
        lambda g: sampled_sii(g, 9, 100),
        lambda g: pairwise(g, 9, pairs, 7).se,
        lambda g: mean_interaction(g, 9, "sets", samples=5),
    ):
        assert call(there).is_cuda
        close(call(there).cpu(), call(here), atol=1e-7)


# What is refused


def test_impossible_requests_are_refused() -> None:
    value, n = random_game(4), 4
    pairs = torch.tensor([[0, 1]])
    refused = [
        ("at least 2 players", lambda: exact_sii(value, 1)),
        ("mean_interaction, which is exact", lambda: exact_sii(value, 21)),
        ("mean_interaction, which is exact", lambda: dividends(value, 40)),
        ("must return a tensor", lambda: exact_sii(lambda masks: 1.0, n)),
        ("must return a tensor", lambda: exact_sii(lambda masks: torch.ones(3), n)),
        ("NaN", lambda: row_sums(lambda masks: masks.sum(1) * torch.nan, n)),
        ("did you mean sets", lambda: mean_interaction(value, n, "set", samples=1)),
        ("did you mean", lambda: order_weights(n, "cell")),
        ("needs samples", lambda: mean_interaction(value, n, "cells")),
        ("exact takes no samples", lambda: mean_interaction(value, n, samples=3)),
        ("samples must be at least 1", lambda: mean_interaction(value, n, "sets", samples=0)),
        ("takes all of them", lambda: mean_interaction(value, n, "cells", samples=5)),
        ("belongs to the method", lambda: mean_interaction(value, n, set_size=5)),
        ("set_size must", lambda: mean_interaction(value, n, "sets", samples=1, set_size=0)),
        ("2 n \\+ 2 = 10", lambda: sampled_sii(value, n, 9)),
        ("at least 2 samples", lambda: pairwise(value, n, pairs, 1)),
        ("int64", lambda: pairwise(value, n, pairs.float(), 5)),
        ("not \\[0, 4\\]", lambda: pairwise(value, n, torch.tensor([[0, 1], [0, 4]]), 5)),
        ("not \\[2, 2\\]", lambda: pairwise(value, n, torch.tensor([[2, 2]]), 5)),
        ("not 'owen'", lambda: pairwise(value, n, pairs, 5, context="owen")),
        ("keep is a prob", lambda: pairwise(value, n, pairs, 5, keep=-0.1)),
        ("0 to 2 others", lambda: pairwise(value, n, pairs, 5, context=3)),
        ("\\(\\.\\.\\., 2\\^n\\)", lambda: sub_orders(torch.ones(6))),
    ]
    for words, call in refused:
        with pytest.raises(ValueError, match=words):
            call()


def test_a_network_without_some_units() -> None:
    """Units, channels and cells that are absent are zero, and the value is the label's logit."""
    model = models.build("cnn-mnist", generator=runtime.generator(0, "init")).double().eval()
    x = torch.rand(3, 1, 28, 28, generator=runtime.generator(0, "x"), dtype=torch.float64)
    y, h = torch.tensor([3, 0, 7]), model.hidden(x)[1].detach()  # (3, 32, 7, 7)
    some = torch.rand(5, 1568, generator=runtime.generator(1, "masks")) < 0.5
    units = ablation_game(model.above(2), h, y, batch=2)
    close(units(torch.ones(1, 1568, dtype=torch.bool)), model(x).gather(1, y[:, None]))
    close(layer_game(model, 2, x, y)(some), units(some))
    for m in range(5):
        wanted = model.above(2)(h * some[m].view(32, 7, 7)).gather(1, y[:, None])
        close(units(some)[:, m : m + 1], wanted)
    few = torch.rand(6, 8, generator=runtime.generator(2, "masks")) < 0.5
    groups = ablation_game(model.above(2), h, y, groups=8)
    channels = few.repeat(1, 4)  # channel c belongs to group c modulo 8
    close(groups(few), units(channels[:, :, None].expand(-1, -1, 49).flatten(1)))
    corner = torch.zeros(1, 16, dtype=torch.bool)
    corner[0, 7] = True  # row 1, column 3 of a 4 x 4 grid
    image = torch.zeros_like(x)
    image[:, :, 7:14, 21:] = x[:, :, 7:14, 21:]
    close(ablation_game(model, x, y, grid=4)(corner), model(image).gather(1, y[:, None]))
    logits = model(x)
    for i in range(3):
        others = [k for k in range(10) if k != y[i]]
        close(units.spread()[i], (logits[i, y[i]] - logits[i, others].mean()).abs())
    for rows in (slice(1), slice(1, 3)):  # each row gets what it gets alone
        close(ablation_game(model.above(2), h[rows], y[rows])(some), units(some)[rows])


def test_impossible_ablations_are_refused() -> None:
    model = models.build("cnn-mnist", generator=runtime.generator(0, "init")).eval()
    x, y = torch.rand(2, 1, 28, 28), torch.tensor([0, 1])
    good = {"part": model, "h": x, "y": y}
    refused = [
        ("train mode", {"part": models.build("cnn-mnist").train()}),
        ("y must be int64 of shape", {"y": y[:1]}),
        ("NaN", {"h": x / 0}),
        ("not both", {"grid": 2, "groups": 1}),
        ("does not fit", {"grid": 29}),
        ("cannot be 2 groups", {"groups": 2}),
        ("batch", {"batch": 0}),
    ]
    for words, change in refused:
        with pytest.raises(ValueError, match=words):
            ablation_game(**(good | change))
    with pytest.raises(ValueError, match="coalitions of 4 players"):
        ablation_game(**good, grid=2)(all_coalitions(3))


def test_squares_are_unbiased_and_absolute_values_are_not() -> None:
    """Over many seeds, pairs without any interaction and with one."""
    n, noise, h = 6, draw(2**6, seed=1), 0.5
    a = dividends(table_game(noise), n)
    a[all_coalitions(n)[:, 0] & all_coalitions(n)[:, 1]] -= a[3] - h  # something to find
    inside = (all_coalitions(n)[None] <= all_coalitions(n)[:, None]).all(-1).double()
    value, pairs = table_game(inside @ a), torch.tensor([[0, 1], [2, 3]])
    exact = exact_sii(value, n)[pairs[:, 0], pairs[:, 1]]
    found = [pairwise(value, n, pairs, 8, seed=seed) for seed in range(4000)]
    squares = torch.stack([one.squares for one in found])
    error = squares.std(0) / len(squares) ** 0.5
    assert ((squares.mean(0) - exact.square()).abs() < 4 * error).all()
    plain = torch.stack([one.value.square() for one in found])
    assert (plain.mean(0) - exact.square() > 8 * error).all()
    one = found[0]
    assert one.strength(torch.tensor([True, False])) == pytest.approx(
        max(float(one.squares[0]), 0) ** 0.5)
    together = type(one)(torch.stack([f.value for f in found]), torch.stack([f.se for f in found]),
                         8)  # fmt: skip
    assert together.strength() == pytest.approx(float(exact.square().mean().sqrt()), rel=0.05)
    assert math.isnan(one.strength(torch.tensor([False, False])))


def test_impossible_images_are_refused() -> None:
    model, (x, y, delta) = network(), images(2)
    good = {"model": model, "x": x, "y": y, "delta": delta, "grid": 2}
    holes = delta.clone()
    holes[0, 0, 0, 0] = torch.nan
    refused = [
        ("train mode", {"model": network().train()}),
        ("pixels must lie", {"x": x + 2}),
        ("classes are", {"y": y + 9}),
        ("like x", {"delta": delta[:1]}),
        ("like x", {"delta": delta.float()}),
        ("NaN", {"delta": holes}),
        ("does not fit", {"grid": 9}),
        ("does not fit", {"grid": (0, 2)}),
        ("target_mode", {"target_mode": "best"}),
        ("batch", {"batch": 0}),
    ]
    for words, change in refused:
        given = good | change
        with pytest.raises(ValueError, match=words):
            perturbation_game(**given)
    with pytest.raises(ValueError, match="coalitions of 4 players"):
        perturbation_game(**good)(all_coalitions(3))


def test_moments_count_the_coalitions() -> None:
    found = moments(lambda masks: torch.ones(len(masks)), 5)
    assert found.players == 5
    assert found.total.tolist() == [math.comb(5, k) for k in range(6)]
    assert found.joint[:, 0, 1].tolist() == [0, 0, *(math.comb(3, k) for k in range(4))]
    assert found.joint[:, 2, 2].tolist() == [0, *(math.comb(4, k) for k in range(5))]
