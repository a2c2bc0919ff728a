"""Changes of a known size: noise, disarranged copies of an adversarial change, larger ones.

They are what an adversarial change of the same size is compared with.  Only `gaussian_in_box`
and `resized_in_box` stay in the box: a cut makes a change smaller, so elsewhere the caller clamps,
and says how large it was then.
"""

from __future__ import annotations

import torch
from torch import Tensor

from intriguing.tensors import beside, lengths


def rms(x: Tensor, x_adv: Tensor) -> Tensor:
    """Return ||x_adv - x||_2 / sqrt(m) of each image, (N,), m its number of pixels (C*H*W).

    The "distortion" of Szegedy et al. 2014, section 4.1.
    """
    return lengths(x_adv - x) / x[0].numel() ** 0.5


def gaussian(x: Tensor, std: float, *, generator: torch.Generator) -> Tensor:
    """Return x + N(0, std^2), drawn alone for every pixel of x (N, C, H, W).

    generator : a CPU generator; draws the same noise whatever the device.
    Raises ValueError for a negative or non-finite std.
    """
    if not 0 <= std < float("inf"):
        raise ValueError(f"a standard deviation is a number of at least 0, not {std}")
    return x + std * _normal(x, generator)


def gaussian_like(x: Tensor, x_adv: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return x + Gaussian noise, in each image of the very norm of its change x_adv - x."""
    noise = _normal(x, generator)
    norms = lengths(x_adv - x) / lengths(noise)  # (N,)
    return x + noise * beside(norms, x)


def gaussian_in_box(
    x: Tensor, x_adv: Tensor, *, generator: torch.Generator, steps: int = 50
) -> Tensor:
    """Return clip(x + s * noise) in [0, 1], s such that the change has the norm of x_adv - x.

    The strictest of the controls: an image, and as far from x as the adversarial one.  The norm
    grows with s, so bisection finds it, one s for each image, in `steps` halvings.  What the box
    does not allow (a change longer than any noise of this sign pattern) ends at the largest s.
    """
    noise, wanted = _normal(x, generator), rms(x, x_adv)
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, 100.0)
    for _ in range(steps):
        middle = (low + high) / 2
        short = rms(x, (x + noise * beside(middle, x)).clamp(0, 1)) < wanted
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (x + noise * beside(high, x)).clamp(0, 1)


def shuffled(x: Tensor, x_adv: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return x + the change with its pixels in random order: the same values at other places.

    All channels of a pixel stay together; each image (N, C, H, W) has an order of its own.
    """
    change = (x_adv - x).flatten(2)  # (N, C, H, W) -> (N, C, H*W)
    keys = torch.rand(len(x), change.shape[2], generator=generator).to(x.device)
    order = keys.argsort(1)[:, None].expand_as(change)
    return x + change.gather(2, order).view_as(x)


def flipped(x: Tensor, x_adv: Tensor) -> Tensor:
    """Return x - the change: the same pixels, changed the other way."""
    return x - (x_adv - x)


def amplify(x: Tensor, x_adv: Tensor, size: float) -> Tensor:
    """Return x + size * sqrt(m) * (x_adv - x) / ||x_adv - x||_2: the same direction, RMS `size`.

    Szegedy et al. 2014, section 4.2, print the formula without sqrt(m), which gives an RMS of
    size / sqrt(m); pass that to follow the print.  An image without a change keeps none.

    Raises ValueError for a negative or non-finite size.
    """
    if not 0 <= size < float("inf"):
        raise ValueError(f"an RMS is a number of at least 0, not {size}")
    before = rms(x, x_adv)
    factor = torch.where(before > 0, size / before.clamp(min=torch.finfo(x.dtype).tiny), 0)
    return x + (x_adv - x) * beside(factor, x)


def resized_in_box(x: Tensor, x_adv: Tensor, norm: float, *, steps: int = 60) -> Tensor:
    """Return clip(x + s (x_adv - x)) in [0, 1], s such that each change has the L2 norm `norm`.

    The norm grows with s, so bisection finds it, one s for each image, in `steps` halvings of
    log s.  Shortened changes keep their direction; lengthened ones lose what the box cuts off.
    An image whose change is zero keeps none, and what the box does not allow ends a million times
    as long before the cut.

    Raises ValueError for a norm that is not positive.
    """
    if not 0 < norm < float("inf"):
        raise ValueError(f"a norm to reach is positive, not {norm}")
    change = x_adv - x
    before = lengths(change)
    low = (norm / before.clamp_min(torch.finfo(x.dtype).tiny)).clamp_max(1e30).log2()  # no cut
    high = low + 20
    for _ in range(steps):
        middle = (low + high) / 2
        at = (x + change * beside(middle.exp2(), x)).clamp(0, 1)
        short = lengths(at - x) < norm
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    scale = torch.where(before > 0, high.exp2(), 0)
    return (x + change * beside(scale, x)).clamp(0, 1)


def _normal(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
