r"""Exact interactions from all 2^n coalitions of a small game.

The pairwise Shapley interaction index (Owen 1972; Grabisch and Roubens 1999) of players i and j is

    I_ij = sum_{S without i, j} s! (n - s - 2)! / (n - 1)!  D_ij(S),    s the size of S,       (1)

    D_ij(S) = v(S + ij) - v(S + i) - v(S + j) + v(S),

which is the mean over s of the interactions of order s (Zhang et al. 2021),

    I_ij = 1 / (n - 1) sum_{s=0}^{n-2} I^(s)_ij,  I^(s)_ij the mean of D_ij(S) over size s.     (2)

It is what Wang et al. 2021 define as the Shapley value of the pair as one player, less the Shapley
values of each without the other.  It is not the Shapley-Taylor index, nor the faithful one.

All of it is linear in the sums of v over the coalitions of one size that hold i and j, that hold
i, and over all: `Moments`.  So every coalition is asked once, and beside the game's own time there
is one matrix product.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from intriguing.interactions.coalitions import (
    Game,
    all_coalitions,
    ask,
    check_players,
    table_game,
)

_SLICE = 2**14  # coalitions asked at once


@dataclass(frozen=True)
class Moments:
    """Sums of a game's values over the coalitions of each size k = 0 .. n.

    Attributes
    ----------
    total : (..., n + 1), over all coalitions of size k.
    joint : (..., n + 1, n, n), over those of size k that hold i and j; on the diagonal, that hold
        i.
    """

    total: Tensor
    joint: Tensor

    @property
    def players(self) -> int:
        return self.joint.shape[-1]

    def shapley_values(self) -> Tensor:
        """Return the Shapley values (..., n): the mean over s of the mean of v(S + i) - v(S)."""
        n = self.players
        single = self.joint.diagonal(dim1=-2, dim2=-1)  # (..., n + 1, n)
        ways = _ways(n - 1, self.total)  # (n,)
        with_i = single[..., 1:, :] / ways[:, None]
        without = (self.total[..., None] - single)[..., :-1, :] / ways[:, None]
        return (with_i - without).mean(-2)

    def orders(self) -> Tensor:
        """Return the interactions I^(s)_ij of all orders, (..., n - 1, n, n): equation (2)."""
        n = self.players
        single = self.joint.diagonal(dim1=-2, dim2=-1)  # (..., n + 1, n)
        i_only = single[..., None] - self.joint  # (..., n + 1, n, n): i is in, j is not
        j_only = i_only.transpose(-2, -1)
        neither = self.total[..., None, None] - self.joint - i_only - j_only
        sums = (
            self.joint[..., 2:, :, :]
            - (i_only + j_only)[..., 1:-1, :, :]
            + neither[..., :-2, :, :]
        )
        others = 1 - torch.eye(n, dtype=sums.dtype, device=sums.device)
        return sums / _ways(n - 2, sums)[:, None, None] * others

    def sii(self) -> Tensor:
        """Return the Shapley interaction index (..., n, n), zero on the diagonal: equation (1)."""
        return self.orders().mean(-3)


def moments(value: Game, n: int) -> Moments:
    """Ask a game all its coalitions once, and return the `Moments`.

    Parameters
    ----------
    value : game of n players; see `intriguing.interactions.coalitions`.
    n : players, 2 to 20.

    Raises
    ------
    ValueError : another n, or a game that does not answer with one finite value a coalition.
    """
    check_players(n, enumerated=True)
    rows, columns = torch.triu_indices(n, n)
    total = joint = None
    for masks in all_coalitions(n, by_size=True).split(_SLICE):
        values = ask(value, masks)  # (..., M)
        if total is None:
            total = values.new_zeros(*values.shape[:-1], n + 1)
            joint = values.new_zeros(*values.shape[:-1], n + 1, len(rows))
        together = (masks[:, rows] & masks[:, columns]).to(values)  # (M, n (n + 1) / 2)
        start = 0
        for k, count in zip(*(t.tolist() for t in masks.sum(1).unique(return_counts=True)),
                            strict=True):  # fmt: skip
            part = slice(start, start + count)
            total[..., k] += values[..., part].sum(-1)
            joint[..., k, :] += values[..., part] @ together[part]
            start += count
    square = joint.new_zeros(*joint.shape[:-1], n, n)
    square[..., rows, columns] = joint
    square[..., columns, rows] = joint
    return Moments(total, square)


def exact_sii(value: Game, n: int) -> Tensor:
    """Return the Shapley interaction index (..., n, n) of all pairs: (1), by 2^n evaluations.

    Symmetric, zero on the diagonal, float64.  Arguments and errors are those of `moments`.
    """
    return moments(value, n).sii()


def exact_orders(value: Game, n: int) -> Tensor:
    """Return the interactions of every order s = 0 .. n - 2, (..., n - 1, n, n): equation (2).

    Their mean over s is `exact_sii`.  Arguments and errors are those of `moments`.
    """
    return moments(value, n).orders()


def shapley_values(value: Game, n: int) -> Tensor:
    """Return the Shapley values (..., n); they sum to v(all) - v(none).

    Arguments and errors are those of `moments`.
    """
    return moments(value, n).shapley_values()


def dividends(value: Game, n: int) -> Tensor:
    """Return the Harsanyi dividends (..., 2^n) in the order of `all_coalitions`.

    a(T) = sum_{S in T} (-1)^(t - s) v(S) with the sizes t and s, so that v(S) is the sum of a(T)
    over T in S, and I_ij that of a(T) / (t - 1) over the T that hold i and j.  Costs 2^n
    evaluations and n 2^n subtractions.

    Raises
    ------
    ValueError : as `moments`.
    """
    check_players(n, enumerated=True)
    a = torch.cat([ask(value, masks) for masks in all_coalitions(n).split(_SLICE)], dim=-1)
    for i in range(n):
        pairs = a.unflatten(-1, (-1, 2, 2**i))  # axis -2: without and with player i
        without, with_i = pairs.unbind(-2)
        a = torch.stack([without, with_i - without], dim=-2).flatten(-3)
    return a


def sub_orders(a: Tensor) -> Tensor:
    """Return J^(q)_ij, the mean dividend a(L + ij) over L of size q: (..., n - 1, n, n).

    I^(s)_ij = sum_{q=0}^{s} C(s, q) J^(q)_ij: an interaction of order s gathers the dividends of
    all smaller contexts.

    Parameters
    ----------
    a : (..., 2^n), from `dividends`.

    Raises
    ------
    ValueError : a length that is no power of two, or less than 4.
    """
    n = a.shape[-1].bit_length() - 1
    if a.shape[-1] != 2**n or n < 2:
        raise ValueError(f"dividends are (..., 2^n) with n of at least 2, not {tuple(a.shape)}")
    joint = moments(table_game(a), n).joint[..., 2:, :, :]
    others = 1 - torch.eye(n, dtype=joint.dtype, device=joint.device)
    return joint / _ways(n - 2, joint)[:, None, None] * others


def dropped_orders(orders: Tensor, keep: float) -> Tensor:
    """Return the expected interactions of every order where dropout thins the contexts.

    Each player of a context S stays with probability `keep`, the pair itself always.  With s
    players in S, r are left with the probability of a binomial number, so that order s becomes a
    mean of the orders up to it.  In the components of Zhang et al. 2021, see `sub_orders`, that is
    sum_{q=0}^{s} keep^q C(s, q) J^(q)_ij (the factor is our derivation).

    Parameters
    ----------
    orders : (..., n - 1, n, n), from `exact_orders`.
    keep : in [0, 1]; 1 leaves the orders as they are.

    Raises
    ------
    ValueError : another keep.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is a probability, not {keep}")
    many = range(orders.shape[-3])
    chance = [[math.comb(s, r) * keep**r * (1 - keep) ** (s - r) if r <= s else 0.0 for r in many]
              for s in many]  # fmt: skip
    weights = torch.tensor(chance, dtype=torch.float64).to(orders)  # (n - 1, n - 1)
    return torch.einsum("sr,...rij->...sij", weights, orders)


def _ways(n: int, like: Tensor) -> Tensor:
    """Return the binomial coefficients C(n, 0 .. n)."""
    return torch.tensor([math.comb(n, k) for k in range(n + 1)]).to(like)
