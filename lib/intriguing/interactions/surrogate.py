r"""The interactions of all pairs from a budget of evaluations, by interpolating the game.

Write players in and out as x_i = +1, -1.  Any game is a sum of Fourier terms b(T) prod_{i in T} x_i
over sets T of d players, and the Shapley interaction index reads off

    I_ij = 4 sum_{T with i, j; d even} b(T) / (d - 1).                                          (1)

(Such a product has D_ij(S) = 4 prod_{T - ij} x_i; with each player in at the rate (1 + z) / 2, its
mean is 4 z^(d-2), and 2 int_{-1}^{1} z^(d-2) dz = 4 / (d - 1) for even d, else 0.)  Odd terms do
not count.  So coalitions are asked together with their complements, and the even game
u(S) = (v(S) + v(all - S)) / 2 is all that matters.

u is interpolated by kriging: the b(T) are taken for independent normal variables, those of order d
with variances that fall by tau from one even order to the next,

    k(S, S') = 1 + sum_{d = 2, 4, ..} tau^(d/2 - 1) K_d(h) / C(n, d),                           (2)

with h the number of players in which S and S' differ and K_d Krawtchouk's polynomials, the sum
over all T of d players of prod_{i in T} x_i x'_i.  tau is the likeliest of a few, for each game by
itself.  The interpolant is a sum of kernels, whose index by (1) is again in closed form, so nothing
is enumerated at any n.

The coalitions of 0, 1, n - 1 and n players are always asked, so the row sums of the estimate, and
the mean over pairs, are exact to about 1e-6 of the values.
"""

import itertools
import math

import torch
from torch import Tensor

from intriguing import runtime
from intriguing.interactions.coalitions import Game, ask, check_players
from intriguing.interactions.exact import exact_sii

TAUS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_FEW = 256  # coalitions that choose tau
_NUGGET = 1e-10  # of the kernel's diagonal: below the rounding of float32 networks


def sampled_sii(value: Game, n: int, budget: int, *, seed: int = 0) -> Tensor:
    """Estimate the Shapley interaction index (..., n, n) of all pairs by `budget` evaluations.

    The rest of the work grows as budget^3, and is shared by the games of a batch.  The estimate
    comes without a standard error and is biased: interactions of many players that the sample does
    not show are taken for small.  `pairwise` has neither fault, at a larger error.

    Parameters
    ----------
    value : game of n players; see `intriguing.interactions.coalitions`.
    budget : evaluations, at least 2 n + 2 (those of the exact row sums).  From 2^n on all
        coalitions are asked, and the result is `exact_sii`.
    seed : of the coalitions, even over their sizes.

    Returns
    -------
    (..., n, n) float64, symmetric, zero on the diagonal.

    Raises
    ------
    ValueError : a smaller budget, too few players, a game that does not answer with one finite
        value a coalition.
    """
    check_players(n)
    if budget >= 2**n:
        return exact_sii(value, n)
    if budget < 2 * n + 2:
        raise ValueError(f"{n} players need a budget of 2 n + 2 = {2 * n + 2}, not {budget}")
    generator = runtime.generator(seed, "interactions, surrogate")
    half = design(n, budget // 2, generator=generator)  # (m, n)
    values = ask(value, torch.cat([half, ~half]))
    u = (values[..., : len(half)] + values[..., len(half) :]) / 2  # (..., m)
    batch = u.shape[:-1]
    u = u.reshape(-1, len(half))
    u = u - u.mean(1, keepdim=True)
    half = half.to(u.device)
    apart = differences(half)  # (m, m)
    tables = _tables(n)
    few = _thinned(len(half), n, u.device)
    likelihood = [_fit(kernel, apart[few][:, few], u[:, few])[1] for kernel, _ in tables]
    best = torch.stack(likelihood).argmax(0)  # (games,)
    found = u.new_empty(len(u), n, n)
    for choice in best.unique().tolist():
        kernel, index = tables[choice]
        games = best == choice
        alpha, _ = _fit(kernel, apart, u[games])
        found[games] = _index(alpha, half, index.to(alpha))
    return found.view(*batch, n, n)


def design(n: int, count: int, *, generator: torch.Generator) -> Tensor:
    """Draw coalitions (count, n), no two of them equal or complements: the smaller of each two.

    First come those of 0 and 1 players, then others evenly over the sizes, as far as there are so
    many.  Raises ValueError for more than the 2^(n-1) that exist.
    """
    if not n + 1 <= count <= 2 ** (n - 1):
        raise ValueError(f"count must be {n + 1} to 2^{n - 1} for {n} players, not {count}")
    there = [math.comb(n, k) // (1 + (2 * k == n)) for k in range(n // 2 + 1)]
    take = [1, n] + [0] * (len(there) - 2)
    left = count - n - 1
    while left:
        open_ = [k for k in range(2, len(there)) if take[k] < there[k]]
        share = max(1, left // len(open_))
        for k in open_:
            more = min(share, there[k] - take[k], left)
            take[k] += more
            left -= more
    parts = [_subsets(n, k, many, generator) for k, many in enumerate(take) if many]
    return torch.cat(parts)


def _subsets(n: int, k: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw different subsets of k players, (count, n); at k = n / 2 those with player 0."""
    if 2 * k == n:
        rest = _subsets_of(n - 1, k - 1, count, generator)
        return torch.cat([torch.ones(count, 1, dtype=torch.bool), rest], dim=1)
    return _subsets_of(n, k, count, generator)


def _subsets_of(n: int, k: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` different subsets of k of n players, each as likely as any: (count, n) bool."""
    if math.comb(n, k) <= 4 * count:
        every = torch.tensor(list(itertools.combinations(range(n), k)))
        members = every[torch.randperm(len(every), generator=generator)[:count]]
        return torch.zeros(count, n, dtype=torch.bool).scatter_(1, members, True)
    seen: dict[bytes, Tensor] = {}  # three of four draws at least are new
    while len(seen) < count:
        draw = torch.rand(count, n, generator=generator).argsort(1)[:, :k]
        for mask in torch.zeros(count, n, dtype=torch.bool).scatter_(1, draw, True):
            if len(seen) < count:
                seen.setdefault(mask.numpy().tobytes(), mask)
    return torch.stack(list(seen.values()))


def differences(masks: Tensor) -> Tensor:
    """Return how many players are in one and not in the other coalition: (m, m) int32."""
    x = masks.float() * 2 - 1
    return (x @ x.T).sub_(masks.shape[1]).div_(-2).int()  # whole numbers: exact


def krawtchouk(n: int) -> list[list[int]]:
    """Return K_d(h) for h, d = 0 .. n: the coefficients of t^d in (1 - t)^h (1 + t)^(n - h)."""
    rows = [[math.comb(n, d) for d in range(n + 1)]]
    for _ in range(n):
        above, row = rows[-1], [1]
        for d in range(1, n + 1):  # (1 + t) row = (1 - t) above
            row.append(above[d] - above[d - 1] - row[-1])
        rows.append(row)
    return rows


def _tables(n: int) -> list[tuple[Tensor, Tensor]]:
    """Return for each tau the kernel (2) by h, (n + 1,), and its index (1), (n - 1,).

    The second is by the number of other players that S' holds (or does not hold: even orders do
    not tell), and for a pair of which S' holds both or neither; it changes its sign for a pair
    that S' parts.
    """
    even = range(2, n + 1, 2)
    shares = [[row[d] / math.comb(n, d) for d in even] for row in krawtchouk(n)]
    effects = [[4 / (d - 1) * (row[d - 2] / math.comb(n, d)) for d in even]
               for row in krawtchouk(n - 2)]  # fmt: skip
    shares, effects = (torch.tensor(t, dtype=torch.float64) for t in (shares, effects))
    falls = [tau ** torch.arange(len(even), dtype=torch.float64) for tau in TAUS]
    return [(1 + shares @ fall, effects @ fall) for fall in falls]


def _fit(kernel: Tensor, apart: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights (games, m) of the interpolant of u (games, m), and log likelihoods.

    The likelihood is that of the best scale of the kernel, up to a constant.
    """
    kernel = kernel.to(u)
    matrix = kernel[apart]
    matrix.diagonal().mul_(1 + _NUGGET)
    factor = torch.linalg.cholesky(matrix)
    alpha = torch.cholesky_solve(u.T, factor).T
    energy = (alpha * u).sum(1).clamp_min(torch.finfo(u.dtype).tiny)
    fit = -0.5 * u.shape[1] * energy.log() - factor.diagonal().log().sum()
    return alpha, fit


def _index(alpha: Tensor, masks: Tensor, index: Tensor) -> Tensor:
    """Return the index (games, n, n) of sum_m alpha_m k(., masks[m])."""
    x = masks.to(alpha)  # (m, n)
    size = masks.sum(1)
    last = len(index) - 1  # n - 2
    both = alpha * index[(size - 2).clamp(0, last)]  # (games, m)
    parted = -alpha * index[(size - 1).clamp(0, last)]
    neither = alpha * index[size.clamp(0, last)]
    square = torch.einsum("gm,mi,mj->gij", both - 2 * parted + neither, x, x)
    line = (parted - neither) @ x  # (games, n)
    found = square + line[:, :, None] + line[:, None] + neither.sum(1)[:, None, None]
    return found * (1 - torch.eye(x.shape[1]).to(x))


def _thinned(m: int, n: int, device: torch.device) -> Tensor:
    """Return at most _FEW places among m: the first n + 1, then evenly spaced ones."""
    if m <= _FEW:
        return torch.arange(m, device=device)
    rest = torch.linspace(n + 1, m - 1, max(0, _FEW - n - 1), device=device).long()
    return torch.cat([torch.arange(n + 1, device=device), rest])
