"""How much a method computes, for the estimate of costs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Passes:
    """Passes of one image in one step of a training, a forward pass being one.

    A forward and a backward pass cost three forward ones, a gradient with respect to the pixels
    alone two.

    Parameters
    ----------
    network : through the whole network, or through `part` where only that is trained.
    part : "network", or "last layer" on features that are computed once.
    above, level : through the part above a hidden layer, beside them, and that layer.
    attacked : images attacked before each epoch but the first, in `pools` pools.
    """

    network: float = 3.0
    part: str = "network"
    above: float = 0.0
    level: int = 0
    attacked: int = 0
    pools: int = 0
