"""What a family's file says of each architecture that has a name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

GREY, COLOUR = (1, 28, 28), (3, 32, 32)  # pixels of MNIST and its like, of CIFAR-10 and its like


@dataclass(frozen=True)
class Architecture:
    """A network by name: how it is made, and for which images.

    Parameters
    ----------
    make : called with classes, generator and the options, all by name.
    shape : (channels, height, width) of its pixels.
    options : of the family, such as a width; a spec may give others.
    pixels : mean and standard deviation of the `Normalize` that the network begins with, if any.
    """

    make: Callable[..., nn.Module]
    shape: tuple[int, int, int]
    options: dict[str, Any] = field(default_factory=dict)
    pixels: tuple[tuple[float, ...], tuple[float, ...]] | None = None
