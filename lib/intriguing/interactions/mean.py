r"""The mean interaction of all pairs: exactly by 2n + 2 evaluations, and by three samplings.

The sum over s in the Shapley interaction index telescopes, and leaves for each player

    sum_{j != i} I_ij = v(all) - v(all - i) - v(i) + v(none),                                   (1)

    mean of I_ij over i != j = 1 / (n - 1) mean_i [v(all) - v(all - i) - v(i) + v(none)],       (2)

as Wang et al. 2021 write it.  Their code puts a random set A in the place of the one player, and
leaves out the factor:

    mean_A [v(all) - v(all - A) - v(A) + v(none)].                                              (3)

That is another functional.  With Harsanyi dividends a(T), (2) is the sum of t a(T) / (n (n - 1))
over all T of size t >= 2, while (3) weighs a(T) by 1 - P(T in A) - P(T and A disjoint), which
flattens out at 1 for large T: see `order_weights`.

Every estimate is a weighted sum of values, so it is given as a `Quadrature`: coalitions and their
weights.  An attack that lowers the interaction can take them in pieces of any size.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from intriguing import runtime
from intriguing.errors import nearest
from intriguing.interactions.coalitions import Game, ask, check_players
from intriguing.interactions.pairwise import contexts, random_pairs

METHODS = ("exact", "cells", "pairs", "sets")


@dataclass(frozen=True)
class Quadrature:
    """An estimate that is a weighted sum of values, sum_m weights[m] v(masks[m]).

    masks : (M, n) bool.  weights : (M,) float64, which sum to zero: a constant does not interact.
    """

    masks: Tensor
    weights: Tensor

    def __call__(self, value: Game) -> Tensor:
        """Return the estimate (...) for a game; gradients pass through."""
        values = ask(value, self.masks)  # (..., M)
        return values @ self.weights.to(values.device)


def mean_interaction(
    value: Game,
    n: int,
    method: str = "exact",
    *,
    samples: int | None = None,
    set_size: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Return the mean of I_ij over all pairs, (...), or an estimate of it.

    Parameters
    ----------
    value : game of n players; see `intriguing.interactions.coalitions`.
    n : players, at least 2, as many as one likes.
    method : "exact", identity (2); 2 n + 2 evaluations.
        "cells", the mean in (2) over `samples` different players; unbiased, exact at samples = n;
        2 samples + 2 evaluations.
        "pairs", a random pair in a random context each time, see `pairwise`; unbiased;
        4 samples evaluations.
        "sets", (3) with `samples` sets, each of `set_size` players drawn with replacement, as in
        the authors' code; 2 samples + 2 evaluations.  Not an estimate of (2): another scale, and
        other weights for interactions of many players.
    samples : of the three last.  The authors' command line: 32.
    set_size : of "sets"; an eighth of the players if None.  The authors: 32 of 256.
    seed : of the sampling.  All games of a batch share the draws, so their errors go together:
        average over seeds, not over games, to be rid of them.

    Raises
    ------
    ValueError : an unknown method, missing or impossible samples or set_size, too few players, a
        game that does not answer with one finite value a coalition.
    """
    return mean_quadrature(n, method, samples=samples, set_size=set_size, seed=seed)(value)


def mean_quadrature(
    n: int,
    method: str = "exact",
    *,
    samples: int | None = None,
    set_size: int | None = None,
    seed: int = 0,
) -> Quadrature:
    """Return the coalitions and weights of `mean_interaction`, which has the same arguments."""
    check_players(n)
    if method not in METHODS:
        raise ValueError(f"no method {method!r}: {nearest(method, METHODS)}")
    if (method == "exact") != (samples is None):
        raise ValueError(
            f"method {method!r} needs samples=" if samples is None else "exact takes no samples"
        )
    if samples is not None and samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    if method != "sets" and set_size is not None:
        raise ValueError(f"set_size belongs to the method 'sets', not to {method!r}")
    generator = runtime.generator(seed, f"interactions, {method}")
    if method == "pairs":
        pairs = random_pairs(n, samples, generator=generator)
        masks = contexts(n, pairs, 1, generator=generator).flatten(0, 2)  # (4 samples, n)
        signs = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
        return Quadrature(masks, signs.repeat(samples) / samples)
    if method == "exact":
        return _leave_out_and_add_in(torch.eye(n, dtype=torch.bool), 1 / (n - 1))
    if method == "cells":
        if samples > n:
            raise ValueError(f"{samples} cells of {n}: 'exact' takes all of them once")
        chosen = torch.randperm(n, generator=generator)[:samples]
        return _leave_out_and_add_in(torch.eye(n, dtype=torch.bool)[chosen], 1 / (n - 1))
    drawn = torch.randint(n, (samples, _set_size(n, set_size)), generator=generator)
    sets = torch.zeros(samples, n, dtype=torch.bool).scatter_(1, drawn, True)
    return _leave_out_and_add_in(sets, 1.0)


def row_sums(value: Game, n: int) -> Tensor:
    """Return the sum of I_ij over j, for each player i: (..., n), by (1) and 2 n + 2 evaluations.

    Raises
    ------
    ValueError : too few players, or a game that does not answer with one finite value a coalition.
    """
    check_players(n)
    values = ask(value, _leave_out_and_add_in(torch.eye(n, dtype=torch.bool), 1.0).masks)
    without, alone = values[..., 2 : n + 2], values[..., n + 2 :]
    return values[..., :1] - without - alone + values[..., 1:2]


def order_weights(n: int, method: str = "exact", *, set_size: int | None = None) -> Tensor:
    """Return what a method weighs dividends with in expectation, by their order: (n + 1,).

    The expectation of `mean_interaction` is the sum of weights[t] a(T), t the size of T.  For
    "sets" of k draws with replacement, weights[t] = 1 - P(t given players all drawn) - (1 - t/n)^k
    with P = sum_j (-1)^j C(t, j) (1 - j/n)^k.  Divide by weights[2] to compare shapes.

    Raises
    ------
    ValueError : an unknown method, an impossible set_size, too few players.
    """
    check_players(n)
    if method not in METHODS:
        raise ValueError(f"no method {method!r}: {nearest(method, METHODS)}")
    if method != "sets":
        t = torch.arange(n + 1, dtype=torch.float64)
        return torch.where(t < 2, 0.0, t / (n * (n - 1)))
    k = _set_size(n, set_size)
    weights = [0.0]
    for t in range(1, n + 1):
        # whole numbers of n^-k: in floating point the alternating sum would cancel
        inside = 0
        if t <= k:
            inside = sum((-1) ** j * math.comb(t, j) * (n - j) ** k for j in range(t + 1))
        weights.append((n**k - inside - (n - t) ** k) / n**k)
    return torch.tensor(weights, dtype=torch.float64)


def _leave_out_and_add_in(sets: Tensor, factor: float) -> Quadrature:
    """Return factor times the mean of v(all) - v(all - A) - v(A) + v(none) over the sets A."""
    each = factor / len(sets)
    ends = torch.ones(2, sets.shape[1], dtype=torch.bool)
    ends[1] = False  # everyone, no one
    weights = torch.full((2 + 2 * len(sets),), -each, dtype=torch.float64)
    weights[:2] = factor
    return Quadrature(torch.cat([ends, ~sets, sets]), weights)


def _set_size(n: int, given: int | None) -> int:
    """Return the draws a set: those given, or an eighth of the players."""
    size = max(1, n // 8) if given is None else given
    if size < 1:
        raise ValueError(f"set_size must be at least 1, not {size}")
    return size
