"""What every room asks of tensors: labels that are labels, and lengths that are right at any size.

The square of a float32 below 1e-23 is zero and that of one above 1e19 infinite, although both
numbers are ordinary: the gradient of a network that is sure of its answer is as small.  So rows of
such size are divided by their largest entry before they are squared.
"""

from typing import Any

import torch
from torch import Tensor

ORDINARY = 2.0**40  # largest entries from 1 / this to this are squared as they are, to the last bit


def lengths(x: Tensor) -> Tensor:
    """Return the L2 norms (N,) of the rows of x (N, ...); NaN and infinite entries show."""
    scaled, scale = ordinary(x)
    return scaled.flatten(1).norm(dim=1) * scale


def units(x: Tensor) -> Tensor:
    """Return the rows of x (N, ...) over their L2 norms, (N, ...); zero stays zero."""
    scaled, _ = ordinary(x)
    norms = scaled.flatten(1).norm(dim=1).clamp_min_(torch.finfo(x.dtype).tiny)
    return scaled / beside(norms, x)


def ordinary(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of x (N, ...) over their scales, perhaps x itself, and the scales (N,).

    The scale of a row is 1, so that nothing changes, unless squares of its entries could be zero or
    infinite: then its largest entry.
    """
    largest = x.flatten(1).abs().amax(1)
    odd = ((largest < 1 / ORDINARY) | (largest > ORDINARY)) & (largest > 0) & largest.isfinite()
    scale = torch.where(odd, largest, 1)
    if not x.is_cuda and not odd.any():  # on a GPU asking would take longer than dividing
        return x, scale
    return x / beside(scale, x), scale


def beside(values: Tensor, x: Tensor) -> Tensor:
    """Return (N,) values as (N, 1, ...), to multiply the rows of x (N, ...) with."""
    return values.view(-1, *[1] * (x.ndim - 1))


def check_labels(labels: Any, x: Tensor, *, classes: int | None = None, name: str = "y") -> None:
    """Refuse labels that are not one class for each row of x (N, ...): int64 of shape (N,).

    Parameters
    ----------
    labels : what was given for labels.
    x : the images or logits that they belong to.
    classes : how many there are; None where nobody knows: then only negative labels are refused.
    name : of the argument, for the message.

    Raises
    ------
    ValueError : another type, shape or device, or a label that is no class; one sentence.
    """
    wanted = f"{name} must be int64 of shape ({len(x)},)"
    if not isinstance(labels, Tensor):
        raise ValueError(f"{wanted}, not a {type(labels).__name__}: torch.as_tensor makes one")
    if labels.dtype != torch.int64 or labels.shape != (len(x),):
        remedy = ""
        if labels.shape == (len(x), 1):
            remedy = f": {name}.squeeze(1) is"
        elif labels.shape == (len(x),):
            remedy = f": {name}.long() is"
        elif labels.ndim == 2 and len(labels) == len(x):
            remedy = f": {name}.argmax(1) is, where a row is one-hot"
        raise ValueError(f"{wanted}, not {labels.dtype} {tuple(labels.shape)}{remedy}")
    if labels.device != x.device:
        raise ValueError(f"{name} is on {labels.device} and the images on {x.device}: bring both "
                         "to one with .to(...)")  # fmt: skip
    wrong = labels[(labels < 0) | (labels >= (torch.inf if classes is None else classes))]
    if len(wrong):
        known = f"the classes are 0..{classes - 1}" if classes else "a class is at least 0"
        raise ValueError(f"{name} holds {wrong[0].item()}, {known}")
