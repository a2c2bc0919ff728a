"""The mean interaction of perturbed images in both target modes, from one set of passes.

`perturbation_game` and `mean_interaction` give one mode at a time; a chapter that compares the two
would ask the network everything twice.  The cross-entropy as the value of the game comes along.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.attacks.common import answer
from intriguing.attacks.losses import best_other, cross_entropy
from intriguing.interactions.coalitions import ask
from intriguing.interactions.games import Grid, PerturbationGame, perturbation_game
from intriguing.interactions.mean import mean_quadrature


@dataclass(frozen=True)
class Readings:
    """What the source says of N perturbations, each (N,) float64, in logits.

    Attributes
    ----------
    mean, mean_fixed : mean interaction of all pairs of cells, for the best other class of each
        coalition ("max"), and for that of the whole perturbation in all of them ("fixed").
    mean_loss : mean interaction where the value of a coalition is the cross-entropy instead.
    value, clean : v of all cells and of none, for the best other class of each.
    """

    mean: Tensor
    mean_fixed: Tensor
    mean_loss: Tensor
    value: Tensor
    clean: Tensor

    @property
    def gain(self) -> Tensor:
        """How far the perturbation brings the other class, v(all) - v(none)."""
        return self.value - self.clean


@torch.no_grad()
def readings(
    model: nn.Module, x: Tensor, y: Tensor, delta: Tensor, *, grid: Grid, batch: int = 512
) -> Readings:
    """Return the `Readings` of perturbations, by 2 n + 2 passes an image for n cells.

    On a GPU without TF32.  Arguments and errors are those of
    `intriguing.interactions.perturbation_game`.
    """
    game = perturbation_game(model, x, y, delta, grid=grid, target_mode="fixed", batch=batch)
    exact = mean_quadrature(game.players)
    with runtime.deterministic():  # full float32 on every device: these are second differences
        values = ask(lambda masks: _all(game, masks), exact.masks)  # (3, N, M)
    most, fixed, loss = values @ exact.weights.to(values.device)  # (3, N)
    return Readings(most, fixed, loss, values[0, :, 0], values[0, :, 1])


def _all(game: PerturbationGame, masks: Tensor) -> Tensor:
    """Return the values of coalitions (M, n), "max", "fixed" and cross-entropy: (3, N, M)."""
    masks = masks.to(game.x.device)

    def values(rows: slice) -> Tensor:
        some = game[rows]
        parts = game.batch.over(lambda part: _pass(some, masks[part]), len(masks), each=len(some))
        return torch.cat(parts, dim=2)

    return torch.cat(game.batch.over(values, len(game)), dim=1)


def _pass(game: PerturbationGame, masks: Tensor) -> Tensor:
    """Return the values of a few coalitions of a few images by one pass: (3, N, M)."""
    logits = answer(game.model, game.masked(masks).flatten(0, 1))
    logits = logits.unflatten(0, (len(game), len(masks)))  # (N, M, K)
    at, other = (c[:, None, None].expand(-1, len(masks), 1) for c in (game.y, game.other))
    own = logits.gather(2, at).squeeze(2)  # (N, M)
    most = best_other(logits, at.squeeze(2)) - own
    loss = cross_entropy(logits, at.squeeze(2))
    return torch.stack([most, logits.gather(2, other).squeeze(2) - own, loss])
