"""Units of a network, or cells of an image, as the players of a game: absent ones are zero.

In coalition S the units of S keep their values and all others are set to zero.  The value is the
logit of a class, f_y, as in the code of Zhang et al. 2021.  Zero is what dropout sets a unit to; as
a pixel it is black, so that black cells are players without any influence.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intriguing import attacks, batches
from intriguing.attacks.common import answer
from intriguing.interactions.games import Grid, cells
from intriguing.tensors import check_labels


@dataclass(frozen=True)
class AblationGame:
    """The games of N rows, one a row; made by `ablation_game`.

    Attributes
    ----------
    part : from the units to logits, in eval mode.
    h : (N, ...) the units, or pixels.
    y : (N,) the class whose logit is the value.
    owner : (units,) int64, the player that each unit belongs to.
    players : their number.
    batch : how many rows the network sees at once; halved where a GPU has no room for them.
    """

    part: nn.Module
    h: Tensor
    y: Tensor
    owner: Tensor
    players: int
    batch: batches.Batch

    def __len__(self) -> int:
        return len(self.h)

    @torch.no_grad()
    def spread(self) -> Tensor:
        """Return how far the logit of y is from the mean of all others, (N,), nobody absent.

        The code of Zhang et al. 2021 divides interactions by it.
        """
        logits = batches.apply(
            lambda h: attacks.logits_of(self.part, h), self.h, batch=self.batch
        )
        own = logits.gather(1, self.y[:, None]).squeeze(1)
        return (own - (logits.sum(1) - own) / (logits.shape[1] - 1)).abs()

    @torch.no_grad()
    def __call__(self, masks: Tensor) -> Tensor:
        """Return the values (N, M) of coalitions (M, players), in logits.

        Every row is given every coalition.  No gradients are kept.
        """
        if masks.ndim != 2 or masks.shape[1] != self.players:
            raise ValueError(
                f"coalitions of {self.players} players are (M, {self.players}), "
                f"not {tuple(masks.shape)}"
            )

        def values(rows: slice) -> Tensor:
            h, y = self.h[rows], self.y[rows]
            parts = self.batch.over(
                lambda part: self._values(h, y, masks[part]), len(masks), each=len(h)
            )
            return torch.cat(parts, dim=1)

        return torch.cat(self.batch.over(values, len(self)))

    def _values(self, h: Tensor, y: Tensor, masks: Tensor) -> Tensor:
        """Return the values (N, M) by one pass."""
        kept = masks.to(h.device).to(h.dtype).index_select(1, self.owner)  # (M, units)
        present = h[:, None] * kept.unflatten(1, h.shape[1:])  # (N, M, ...)
        logits = answer(self.part, present.flatten(0, 1))
        logits = logits.unflatten(0, (len(h), len(masks)))  # (N, M, K)
        return logits.gather(2, y[:, None, None].expand(-1, len(masks), 1)).squeeze(2)


def layer_game(
    model: nn.Module,
    level: int,
    x: Tensor,
    y: Tensor,
    *,
    groups: int | None = None,
    batch: int = 512,
) -> AblationGame:
    """Return the games of the units of a hidden layer, counted from 1, on pixels x (N, C, H, W).

    `model` has `hidden` and `above`, as `models.SmallCNN` and `models.MLP`.  Other arguments and
    errors are those of `ablation_game`.
    """
    with torch.no_grad():
        h = model.hidden(x.clone())[level - 1]
    return ablation_game(model.above(level), h, y, groups=groups, batch=batch)


def ablation_game(
    part: nn.Module,
    h: Tensor,
    y: Tensor,
    *,
    grid: Grid | None = None,
    groups: int | None = None,
    batch: int = 512,
) -> AblationGame:
    """Return the games of rows whose units are absent or not: coalitions (M, n) to values (N, M).

    Parameters
    ----------
    part : from units (N, ...) to logits (N, classes), in eval mode: a network, or what its `above`
        returns.
    h : (N, ...) the units of N rows, such as the outputs of a hidden layer; or pixels.
    y : (N,) int64, the class whose logit counts.
    grid : for h of (N, C, H, W): the players are the cells of a grid, all channels together.
    groups : the players are that many groups of units, dealt out in turn along the first axis of a
        row, so that a channel stays whole.  Without grid and groups every unit is a player.
    batch : rows that the network sees at once; for memory, it does not change the values.

    Raises
    ------
    ValueError : grid and groups both, a grid that does not fit, more groups than there are channels
        or units, a network in train mode, units that are not finite, labels that are not (N,)
        classes of the network, an answer that is no logits (`attacks.logits_of`).
    """
    if any(module.training for module in part.modules()):
        raise ValueError("the network is in train mode: call .eval() before asking it")
    if h.ndim < 2 or not len(h):
        raise ValueError(f"h is (N, ...) and not empty, not {tuple(h.shape)}")
    if not h.isfinite().all():
        raise ValueError("h holds values that are NaN or infinite")
    with torch.no_grad():
        classes = attacks.logits_of(part, h[:1]).shape[1]
    check_labels(y, h, classes=classes)
    if grid is not None and groups is not None:
        raise ValueError("the players are cells of a grid or groups of units, not both")
    shape = h.shape[1:]
    if grid is not None:
        rows, columns = grid = (grid, grid) if isinstance(grid, int) else tuple(grid)
        if len(shape) != 3 or not (1 <= rows <= shape[1] and 1 <= columns <= shape[2]):
            raise ValueError(f"a grid of {grid} does not fit rows of shape {tuple(shape)}")
        players = rows * columns
        one = cells(torch.arange(players)[None], grid, shape[1:])  # (1, H, W): each pixel's cell
        owner = one.expand(shape).flatten()
    elif groups is not None:
        if not 1 <= groups <= shape[0]:
            raise ValueError(f"{shape[0]} channels or units cannot be {groups} groups")
        players = groups
        owner = (torch.arange(shape[0]) % groups)[:, None].expand(-1, shape[1:].numel()).flatten()
    else:
        players = shape.numel()
        owner = torch.arange(players)
    return AblationGame(part, h, y, owner.to(h.device), players, batches.Batch(batch))
