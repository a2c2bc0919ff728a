"""The interaction term of the interaction-reduced attack: Wang et al. 2021."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from intriguing import batches
from intriguing.interactions import games, mean


@dataclass(frozen=True)
class Interaction:
    """The interaction term of Wang et al. 2021: ascend loss - weight * mean interaction.

    The mean interaction of the cells of delta = x_adv - x at the source, see
    `intriguing.interactions`.  Its sign matters: a plus makes the attack *raise* the interaction.
    The coalitions of a step are shared by all images of a batch.

    The interaction is of second order in delta: at delta = 0 its gradient is zero but for rounding,
    so the interaction alone wants a random start.  Beside the mean over copies (VR) the weight is
    the authors' lambda divided by the copies, since their code sums the loss over them.

    Attributes
    ----------
    weight : lambda; inf ascends minus the interaction alone.  The authors' commands: 1.  It is
        meant for "sets", which leaves out the factor 1 / (n - 1) of the others.
    grid, target_mode : as in `intriguing.interactions.perturbation_game`.
    method, samples, set_size : as in `intriguing.interactions.mean_interaction`.
    """

    weight: float = 1.0
    grid: int | tuple[int, int] = 16
    method: str = "sets"
    samples: int | None = 32
    set_size: int | None = None
    target_mode: str = "fixed"

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(
                f"weight must be at least 0, not {self.weight}: the term is subtracted already"
            )
        if self.target_mode not in games.TARGET_MODES:
            raise ValueError(
                f"target_mode must be one of {games.TARGET_MODES}, not {self.target_mode!r}"
            )
        self.quadrature(0)  # refuses the rest

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return (self.grid, self.grid) if isinstance(self.grid, int) else tuple(self.grid)

    @property
    def passes(self) -> int:
        """Gradient evaluations of an image for one gradient."""
        return int(self.quadrature(0).masks.any(1).sum())

    def quadrature(self, seed: int) -> mean.Quadrature:
        """Return the coalitions of one step and their weights."""
        rows, columns = self.cells
        return mean.mean_quadrature(
            rows * columns, self.method,
            samples=self.samples, set_size=self.set_size, seed=seed,
        )  # fmt: skip

    def gradient(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        delta: Tensor,
        *,
        seed: int,
        batch: int | batches.Batch = 512,
    ) -> Tensor:
        """Return the gradient of the mean interaction by delta, without the weight.

        Takes model passes of at most `batch` images, or of len(x) if that is more.  Raises
        ValueError for a grid finer than the pixels.
        """
        if not all(1 <= n <= pixels for n, pixels in zip(self.cells, x.shape[2:], strict=True)):
            raise ValueError(f"a grid of {self.cells} does not fit {tuple(x.shape[2:])} pixels")
        delta = delta.detach().requires_grad_()
        passes = batch if isinstance(batch, batches.Batch) else batches.Batch(batch)
        once = batches.Batch(max(passes.size, len(x)))  # what the game is asked goes in one pass
        game = games.PerturbationGame(model, x, y, delta, None, self.cells, once)
        if self.target_mode == "fixed":
            game = replace(game, other=games.runner_up(model, x + delta.detach(), y, once))
        estimate = self.quadrature(seed)
        some = estimate.masks.any(1)  # where no cell is in, delta does not matter
        masks, weights = estimate.masks[some], estimate.weights[some].to(delta)
        total = torch.zeros_like(x)

        def add(part: slice) -> None:
            value = game(masks[part]) @ weights[part]  # (N, M) @ (M,)
            total.add_(torch.autograd.grad(value.sum(), delta)[0])

        with torch.enable_grad():
            passes.over(add, len(masks), each=len(x))
        return total
