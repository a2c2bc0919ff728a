"""Which class a targeted attack aims at. The paper does not say which its tables used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intriguing import batches, runtime
from intriguing.tensors import lengths

from .common import check_inputs, leaf, logits_of

TARGET_MODES = ("random", "fixed", "all", "nearest")


def targets(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    mode: str = "random",
    seed: int = 0,
    label: int | None = None,
) -> Tensor:
    """Target labels for images x (N, C, H, W) of classes y (N,).

    mode : "random", a wrong class drawn evenly with `seed`;
        "fixed", the class `label` ("ostrich" in the paper's AlexNet figure), and for images of
        that class the next one;
        "nearest", the wrong class whose linearised boundary is closest, see `linearised`; exact
        for a linear model without a box.  The first of several, and never the label;
        "all", every wrong class.
    Returns (N,) int64, for "all" (N, K - 1) with the classes in ascending order.
    Raises ValueError for an unknown mode, a missing or impossible label, and bad input.
    """
    classes = check_inputs(model, x, y)
    if mode == "random":
        generator = torch.Generator().manual_seed(seed)
        shift = torch.randint(1, classes, (len(y),), generator=generator).to(y.device)
        return (y + shift) % classes
    if mode == "fixed":
        if label is None or not 0 <= label < classes:
            raise ValueError(f"mode 'fixed' needs a label in 0..{classes - 1}, not {label}")
        return torch.where(y == label, (y + 1) % classes, label)
    if mode == "all":
        every = torch.arange(classes, device=y.device).expand(len(y), -1)  # (N, K)
        return every[every != y[:, None]].view(len(y), classes - 1)
    if mode == "nearest":
        most = torch.finfo(x.dtype).max  # where no class can be reached, all are as near
        distance = linearised(model, x, y).nan_to_num(most, most, -most)
        return distance.scatter(1, y[:, None], torch.inf).argmin(1)
    raise ValueError(f"mode must be one of {', '.join(TARGET_MODES)}, not {mode!r}")


def linearised(model: nn.Module, x: Tensor, y: Tensor, *, batch: int = 500) -> Tensor:
    """First-order distances to the boundaries: (N, K), infinite at the class itself.

    (z_y - z_k) / ||grad(z_y - z_k)||_2 at images x (N, C, H, W) of classes y (N,): the distance to
    the boundary with class k if the slope stayed what it is at x, and the box were not there;
    negative where class k already wins, infinite where nothing leads there, NaN where the logits or
    the slope are.  Raises ValueError for bad input.
    """
    classes = check_inputs(model, x, y)

    def distances(images: Tensor, labels: Tensor) -> Tensor:
        distance = images.new_full((len(images), classes), torch.inf)
        for k in range(classes):
            pixels = leaf(images)
            logits = logits_of(model, pixels)
            gap = logits.gather(1, labels[:, None]).squeeze(1) - logits[:, k]
            (g,) = torch.autograd.grad(gap.sum(), pixels)
            gap = gap.detach()
            distance[:, k] = torch.where(gap == 0, 0, gap / lengths(g))  # on the boundary: 0
        return distance.scatter_(1, labels[:, None], torch.inf)

    with runtime.eval_mode(model), torch.enable_grad():
        return batches.apply(distances, x, y, batch=batch)
