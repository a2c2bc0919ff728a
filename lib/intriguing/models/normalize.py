"""Normalisation as the first layer of a network, so that every network takes plain pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# mean and standard deviation of the training pixels; other sets of the kind get them as well
MNIST = ((0.1307,), (0.3081,))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


class Normalize(nn.Module):
    """Map pixels x to (x - mean) / std, channel by channel.

    In l2 the map stretches distances by at most 1 / min(std), and by no less along that channel.

    Parameters
    ----------
    mean, std : one number per channel, in pixel units.  They are no part of the state dict: they
        belong to the network's definition, as its layer sizes do.

    Raises
    ------
    ValueError : lengths differ, or a std that is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise ValueError(
                f"mean and std are one number per channel and std is positive, got mean "
                f"{tuple(mean)} and std {tuple(std)}"
            )
        for name, values in (("mean", mean), ("std", std)):
            column = torch.tensor([float(v) for v in values]).reshape(-1, 1, 1)  # (C, 1, 1)
            self.register_buffer(name, column, persistent=False)

    @property
    def channels(self) -> int:
        """Channels of the pixels."""
        return len(self.mean)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised pixels (N, C, H, W)."""
        return (x - self.mean) / self.std
