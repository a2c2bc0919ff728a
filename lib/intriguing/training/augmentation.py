"""Random changes of training images that keep their labels, a batch at a time."""

import torch
from torch import Tensor
from torch.nn import functional


def crop_and_mirror(x: Tensor, generator: torch.Generator, margin: int = 4) -> Tensor:
    """Return each image mirrored or not, and shifted by up to `margin` pixels: the usual CIFAR set.

    Parameters
    ----------
    x : (N, C, H, W) pixels, on any device; what moves in from outside is 0.
    generator : a CPU generator; draws the same changes whatever the device.
    """
    n, _, height, width = x.shape
    shift = torch.randint(2 * margin + 1, (2, n), generator=generator).to(x.device)
    mirror = torch.rand(n, generator=generator).to(x.device) < 0.5
    x = torch.where(mirror[:, None, None, None], x.flip(3), x)
    padded = functional.pad(x, (margin,) * 4)  # (N, C, H + 2 margin, W + 2 margin)
    rows = shift[0][:, None] + torch.arange(height, device=x.device)  # (N, H)
    columns = shift[1][:, None] + torch.arange(width, device=x.device)  # (N, W)
    image = torch.arange(n, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )  # (N, H, W, C) -> (N, C, H, W)
