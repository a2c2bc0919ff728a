"""Whether a network is right, on clean images, on adversarial ones, and on stored pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intriguing.attacks import predict


def correct(model: nn.Module, x: Tensor, y: Tensor, *, batch: int = 1000) -> Tensor:
    """Whether `model` (eval mode) classifies each of the pixels x (N, C, H, W) as y: (N,) bool.

    Raises ValueError where images and labels differ in number.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} images cannot have {len(y)} labels")
    return predict(model, x, batch=batch) == y


def quantise(x: Tensor, levels: int = 256) -> Tensor:
    """Round pixels in [0, 1] to `levels` equal steps, as a stored picture would be (never cut).

    Raises ValueError for fewer than 2 levels.
    """
    if levels < 2:
        raise ValueError(f"an image needs at least 2 levels, not {levels}")
    return torch.round(x * (levels - 1)) / (levels - 1)
