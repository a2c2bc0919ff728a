r"""Images as games: the players are the cells of a perturbation.

In coalition S the perturbation keeps its cells of S and is zero elsewhere; the image itself is
never masked.  The value is how far another class is ahead, in logits (Wang et al. 2021):

    v(S) = h_y'(x + delta^(S)) - h_y(x + delta^(S)).

In the paper y' is the best other class of that very coalition, `target_mode="max"`.  The authors'
code keeps the best other class at the whole perturbation for all coalitions, "fixed".  The two can
give interactions of different sign: "max" adds the kinks where one class overtakes another.

Interactions are second differences of logits, which magnify rounding: on a GPU compute without
TF32, as inside `runtime.deterministic`, or in float64.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from intriguing import attacks, batches
from intriguing.attacks.common import answer
from intriguing.attacks.losses import best_other, without

TARGET_MODES = ("fixed", "max")
Grid = int | tuple[int, int]


@dataclass(frozen=True)
class PerturbationGame:
    """The games of N perturbed images, one a row; made by `perturbation_game`.

    Attributes
    ----------
    model : pixels to logits, in eval mode.
    x, delta : (N, C, H, W), pixel units.
    y : (N,) labels.
    other : (N,) the class y' for "fixed", None for "max".
    grid : rows and columns of cells.
    batch : how many images the model sees at once; halved where a GPU has no room for them.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    delta: Tensor
    other: Tensor | None
    grid: tuple[int, int]
    batch: batches.Batch

    @property
    def players(self) -> int:
        """Cells; cell (r, c) is player r * columns + c."""
        return self.grid[0] * self.grid[1]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> "PerturbationGame":
        """The games of some images, given by a slice, indices or a mask."""
        other = None if self.other is None else self.other[rows]
        return replace(self, x=self.x[rows], y=self.y[rows], delta=self.delta[rows], other=other)

    def __call__(self, masks: Tensor) -> Tensor:
        """Return the values (N, M) of coalitions (M, n), in logits, of the model's type.

        Every image is given every coalition.  Gradients reach `delta` if it requires them;
        otherwise none are kept.
        """
        if masks.ndim != 2 or masks.shape[1] != self.players:
            raise ValueError(
                f"coalitions of {self.players} players are (M, {self.players}), "
                f"not {tuple(masks.shape)}"
            )
        keep = torch.is_grad_enabled() and self.delta.requires_grad  # and so a graph of each pass

        def values(rows: slice) -> Tensor:
            some = self[rows]
            parts = self.batch.over(
                lambda part: some._values(masks[part]), len(masks), each=len(some), halve=not keep
            )
            return torch.cat(parts, dim=1)

        with torch.set_grad_enabled(keep):
            return torch.cat(self.batch.over(values, len(self), halve=not keep))

    def masked(self, masks: Tensor) -> Tensor:
        """Return the images x + delta^(S), (N, M, C, H, W), of coalitions (M, n)."""
        kept = cells(masks.to(self.x), self.grid, self.x.shape[2:])[:, None]  # (M, 1, H, W)
        return torch.addcmul(self.x[:, None], self.delta[:, None], kept)

    def _values(self, masks: Tensor) -> Tensor:
        """Return the values (N, M) by one pass of the model."""
        logits = answer(self.model, self.masked(masks).flatten(0, 1))
        logits = logits.unflatten(0, (len(self), len(masks)))  # (N, M, K)
        at = self.y[:, None, None].expand(-1, len(masks), 1)  # (N, M, 1)
        own = logits.gather(2, at).squeeze(2)
        if self.other is None:
            return best_other(logits, at.squeeze(2)) - own
        ahead = self.other[:, None, None].expand(-1, len(masks), 1)
        return logits.gather(2, ahead).squeeze(2) - own


def perturbation_game(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    delta: Tensor,
    *,
    grid: Grid,
    target_mode: str = "fixed",
    batch: int = 512,
) -> PerturbationGame:
    """Return the games of perturbed images: coalitions (M, n) to values (N, M).

    With a batch of one the interface is that of a single game but for the leading axis of length
    one; every function of this package takes both.

    Parameters
    ----------
    model : pixels to logits, in eval mode.
    x : (N, C, H, W) pixels in [0, 1].
    y : (N,) int64 labels.
    delta : as x; x + delta may leave [0, 1], as a rescaled perturbation does.
    grid : cells along each side, n = grid^2, or (rows, columns).  The paper: 16 for 224 pixels.
        Where it does not divide the side, cells differ by one pixel.  Channels go together.
    target_mode : "fixed", one class y' for all coalitions, the best other one at x + delta; "max",
        the best other class in each.
    batch : images that the model sees at once; for memory, it does not change the values.

    Raises
    ------
    ValueError : what `attacks.check_inputs` refuses, a delta of another shape, type or device or
        not finite, a grid finer than the pixels, an unknown target_mode, a batch below 1.
    """
    attacks.check_inputs(model, x, y)
    if delta.shape != x.shape or (delta.dtype, delta.device) != (x.dtype, x.device):
        raise ValueError(
            f"delta must be like x, {x.dtype} {tuple(x.shape)} on {x.device}, "
            f"not {delta.dtype} {tuple(delta.shape)} on {delta.device}"
        )
    if not delta.isfinite().all():
        raise ValueError("delta holds values that are NaN or infinite")
    rows, columns = grid = (grid, grid) if isinstance(grid, int) else tuple(grid)
    if not (1 <= rows <= x.shape[2] and 1 <= columns <= x.shape[3]):
        raise ValueError(f"a grid of {grid} does not fit images of {tuple(x.shape[2:])} pixels")
    if target_mode not in TARGET_MODES:
        raise ValueError(f"target_mode must be one of {TARGET_MODES}, not {target_mode!r}")
    game = PerturbationGame(model, x, y, delta, None, grid, batches.Batch(batch))
    if target_mode == "max":
        return game
    return replace(game, other=runner_up(model, x + delta.detach(), y, game.batch))


def cells(masks: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Return coalitions of cells (M, rows * columns) as masks of pixels, (M, H, W)."""
    row, column = (torch.arange(pixels, device=masks.device) * many // pixels
                   for pixels, many in zip(size, grid, strict=True))  # fmt: skip
    player = row[:, None] * grid[1] + column  # (H, W)
    return masks.index_select(1, player.flatten()).unflatten(1, tuple(size))


@torch.no_grad()
def runner_up(model: nn.Module, x: Tensor, y: Tensor, batch: int | batches.Batch) -> Tensor:
    """Return the class (N,) with the largest logit, the label apart."""
    logits = batches.apply(lambda part: attacks.logits_of(model, part), x, batch=batch)
    return without(logits, y).argmax(1)
