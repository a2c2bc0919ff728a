r"""Interactions of chosen pairs by sampling their contexts, without bias and with standard errors.

The Shapley interaction index is the mean of

    D_ij(S) = v(S + ij) - v(S + i) - v(S + j) + v(S)

over random contexts S: draw r evenly from [0, 1], and let each other player in with probability r.
Then every size s of S from 0 to n - 2 is as likely, and S has the weights of the index, since
int_0^1 r^s (1 - r)^(n-2-s) dr = s! (n - 2 - s)! / (n - 1)! (Owen 1972).  The code of Zhang et al.
2021 draws like this too.  With r = 1/2 it is Banzhaf's index, with one size s only the interaction
of order s.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from intriguing import runtime
from intriguing.interactions.coalitions import Game, ask, check_players

CONTEXTS = ("shapley", "banzhaf")
_SLICE = 2**16  # coalitions asked at once, unless one pair needs more


@dataclass(frozen=True)
class Estimate:
    """Sampled interactions and their standard errors, both (..., P), by `samples` contexts a pair.

    The contexts are shared by all games of a batch and independent between pairs.
    """

    value: Tensor
    se: Tensor
    samples: int

    @property
    def squares(self) -> Tensor:
        """The squared interactions (..., P), estimated without bias; single ones may be negative.

        E value^2 = I^2 + Var(value), and se^2 is an unbiased estimate of that variance.
        """
        return self.value.square() - self.se.square()

    def strength(self, where: Tensor | None = None) -> float:
        """Return the root mean square interaction, in the unit of the game; noise does not add.

        where : (..., P) bool, the pairs that count; None: all.  NaN where none does.  Where noise
        makes the estimated mean square negative, the strength is 0.
        """
        squares = self.squares if where is None else self.squares[where]
        return float(squares.mean().clamp_min(0).sqrt())


def pairwise(
    value: Game,
    n: int,
    pairs: Tensor,
    samples: int,
    *,
    context: str | int = "shapley",
    keep: float = 1.0,
    seed: int = 0,
) -> Estimate:
    """Estimate the interactions of some pairs by 4 x `samples` evaluations each.

    Parameters
    ----------
    value : game of n players; see `intriguing.interactions.coalitions`.
    n : players, at least 2.
    pairs : (P, 2) int64, two different players a row.
    samples : contexts for each pair, at least 2.  Zhang et al. 2021: 500.
    context : "shapley", the Shapley interaction index; "banzhaf", every context alike; or a whole
        number s in 0 .. n - 2, the interaction of order s.
    keep : each player of a context stays with this probability, as dropout of rate 1 - keep would
        leave it (`dropped_orders` is the exact expectation).
    seed : of the contexts.

    Returns
    -------
    Estimate : unbiased, with the standard error of a mean.  Its absolute value is biased upwards,
        by up to 0.8 standard errors where there is no interaction.

    Raises
    ------
    ValueError : pairs that are none, samples below 2, an unknown context, a keep outside [0, 1], a
        game that does not answer with one finite value a coalition.
    """
    check_players(n)
    if samples < 2:
        raise ValueError(f"a standard error needs at least 2 samples, not {samples}")
    generator = runtime.generator(seed, "interactions, contexts")
    means, errors = [], []
    for some in _checked(n, pairs).split(max(1, _SLICE // (4 * samples))):
        masks = contexts(n, some, samples, context, keep, generator=generator)  # (p, samples, 4, n)
        values = ask(value, masks.flatten(0, 2)).unflatten(-1, masks.shape[:3])
        both, i_only, j_only, neither = values.unbind(-1)  # (..., p, samples)
        delta = both - i_only - j_only + neither
        means.append(delta.mean(-1))
        errors.append(delta.std(-1) / samples**0.5)
    return Estimate(torch.cat(means, dim=-1), torch.cat(errors, dim=-1), samples)


def contexts(
    n: int,
    pairs: Tensor,
    samples: int,
    context: str | int = "shapley",
    keep: float = 1.0,
    *,
    generator: torch.Generator,
) -> Tensor:
    """Draw contexts S for pairs (P, 2): coalitions S + ij, S + i, S + j, S, (P, samples, 4, n).

    `context` and `keep` are those of `pairwise`.

    Raises
    ------
    ValueError : a context of another name or size, a keep outside [0, 1], pairs that are none.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is a probability, not {keep}")
    pairs = _checked(n, pairs)
    draw = torch.rand(len(pairs), samples, n, generator=generator)
    if isinstance(context, str):
        if context not in CONTEXTS:
            raise ValueError(f"context must be one of {CONTEXTS} or a size, not {context!r}")
        r = torch.full((len(pairs), samples, 1), 0.5)
        if context == "shapley":
            r = torch.rand(len(pairs), samples, 1, generator=generator)
        inside = draw < r
    else:
        if not 0 <= context <= n - 2:
            raise ValueError(f"contexts of {n} players hold 0 to {n - 2} others, not {context}")
        draw.scatter_(2, _each(pairs, samples), 2.0)  # the pair itself comes last
        first = draw.argsort(-1)[..., :context]
        inside = torch.zeros_like(draw, dtype=torch.bool).scatter_(2, first, True)
    if keep < 1:
        inside = inside & (torch.rand(inside.shape, generator=generator) < keep)
    masks = inside[:, :, None].repeat(1, 1, 4, 1)  # (P, samples, 4, n)
    has = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=torch.bool)
    where = _each(pairs, samples)[:, :, None].expand(-1, -1, 4, -1)
    return masks.scatter_(3, where, has.expand(len(pairs), samples, 4, 2))


def random_pairs(n: int, count: int, *, generator: torch.Generator) -> Tensor:
    """Draw `count` pairs of different players, with replacement: (count, 2) int64."""
    i = torch.randint(n, (count,), generator=generator)
    step = torch.randint(1, n, (count,), generator=generator)
    return torch.stack([i, (i + step) % n], dim=1)


def _each(pairs: Tensor, samples: int) -> Tensor:
    return pairs[:, None].expand(-1, samples, -1)  # (P, samples, 2)


def _checked(n: int, pairs: Tensor) -> Tensor:
    """Return the pairs on the CPU, or say what is wrong with them."""
    if pairs.dtype != torch.int64 or pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"pairs must be int64 (P, 2), not {pairs.dtype} {tuple(pairs.shape)}")
    pairs = pairs.cpu()
    wrong = (pairs < 0).any(1) | (pairs >= n).any(1) | (pairs[:, 0] == pairs[:, 1])
    if wrong.any():
        bad = pairs[wrong][0].tolist()
        raise ValueError(f"a pair is two different players of 0..{n - 1}, not {bad}")
    return pairs
