"""Games as this package sees them: a function from coalitions to values, and ways to ask it.

A game of n players is a callable `value(masks)`.  Row m of `masks`, bool (M, n), is a coalition;
the answer is its value, (M,).  A callable that answers (games, M) holds many games of n players,
and every function here then works on all of them at once: results have the same leading axes.  All
games are asked the same coalitions, so that game b of a batch gets exactly what it gets alone.
Masks are made on the CPU, where a seed means the same numbers for every device.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Game = Callable[[Tensor], Tensor]

MOST_PLAYERS = 20  # of what enumerates: a million coalitions


def ask(value: Game, masks: Tensor) -> Tensor:
    """Return the values (..., M) of coalitions (M, n) in float64.

    The game gets a copy of the masks and its answer is copied: both are its own to write into.

    Raises
    ------
    ValueError : an answer that is not a tensor of M values in its last axis, or not finite.
    """
    values = value(masks.clone())
    if not isinstance(values, Tensor) or values.ndim == 0 or values.shape[-1] != len(masks):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"value(masks) must return a tensor (..., {len(masks)}), one value for each coalition, "
            f"not {got}"
        )
    if not values.isfinite().all():
        raise ValueError("value(masks) returned NaN or infinite values")
    return values.to(torch.float64, copy=True)


def check_players(n: int, *, least: int = 2, enumerated: bool = False) -> None:
    """Refuse numbers of players that are too few, or too many to enumerate (ValueError)."""
    if n < least:
        raise ValueError(f"interactions need at least {least} players, not n = {n}")
    if enumerated and n > MOST_PLAYERS:
        raise ValueError(
            f"n = {n} players have 2^{n} coalitions, and at most 2^{MOST_PLAYERS} are enumerated: "
            "use sampled_sii or pairwise, or mean_interaction, which is exact at any n"
        )


def all_coalitions(n: int, *, by_size: bool = False) -> Tensor:
    """Return all coalitions of n players, bool (2^n, n).

    Row k holds the players whose bit is set in k; `by_size`: the smaller coalitions first.

    Raises
    ------
    ValueError : fewer than 1 or more than MOST_PLAYERS players.
    """
    check_players(n, least=1, enumerated=True)
    masks = (torch.arange(2**n)[:, None] >> torch.arange(n) & 1).bool()  # (2^n, n)
    return masks[masks.sum(1).argsort(stable=True)] if by_size else masks


def table_game(values: Tensor) -> Game:
    """Return the game whose values are listed, (..., 2^n), in the order of `all_coalitions`."""

    def value(masks: Tensor) -> Tensor:
        bits = 2 ** torch.arange(masks.shape[1], device=masks.device)
        return values[..., (masks * bits).sum(1).to(values.device)]  # (..., M)

    return value
