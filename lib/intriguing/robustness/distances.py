"""The smallest radius at which an attack in a ball succeeds, by bisection."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from intriguing.attacks import AttackResult


def least_radius(
    attack: Callable[..., AttackResult],
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    largest: float,
    halvings: int = 10,
    **options: object,
) -> tuple[Tensor, Tensor]:
    """Return for each image the least change that an attack of fixed radius finds, and the image.

    All images are attacked at the largest radius, then each at radii of its own, halving the
    bracket: the attack is called once for each radius that some images share.  The change itself
    counts, which may be smaller than the radius.

    Parameters
    ----------
    attack : called as attack(model, x, y, eps=...) with the options; in the Linf norm.
    x, y : (N, C, H, W) pixels; (N,) labels.
    largest : radius to begin with, pixel units.
    halvings : the bracket ends 2^halvings times smaller.

    Returns
    -------
    (N,) distances in the Linf norm, infinite where nothing was found; (N, C, H, W) images.
    """
    best, images = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device), x.clone()
    low, high = torch.zeros_like(best), torch.full_like(best, largest)
    for number in range(halvings + 1):
        eps = high if number == 0 else (low + high) / 2
        for radius in eps.unique().tolist():
            rows = (eps == radius).nonzero().squeeze(1)
            found = attack(model, x[rows], y[rows], eps=radius, **options)
            fell = rows[found.success]
            closer = fell[found.linf[found.success] < best[fell]]
            best[closer] = found.linf[torch.isin(rows, closer)]
            images[closer] = found.x_adv[torch.isin(rows, closer)]
            high[fell] = torch.minimum(eps[fell], found.linf[found.success])
            low[rows[~found.success]] = eps[rows[~found.success]]
        low = torch.where(best.isinf(), high, low)  # nothing even at the largest radius
    return best, images
