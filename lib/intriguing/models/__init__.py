"""Networks by name.  Each maps pixels (N, C, H, W) in [0, 1] to logits (N, classes).

One file per family; `build` is the only entry.  A name fixes the layer sizes and, given a
generator, every initial weight.
"""

from collections.abc import Callable

import torch
from torch import nn

from intriguing.errors import nearest
from intriguing.models.autoencoder import SparseAutoencoder, build_classifier
from intriguing.models.cnn import AllCNN, SmallCNN
from intriguing.models.mlp import MLP
from intriguing.models.resnet import ResNet

__all__ = [
    "MLP", "AllCNN", "ResNet", "SmallCNN", "SparseAutoencoder", "architectures", "build",
    "input_shape",
]  # fmt: skip

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "fc10": lambda **kw: MLP((784, 10), **kw),
    "fc100-100-10": lambda **kw: MLP((784, 100, 100, 10), **kw),
    "fc200-200-10": lambda **kw: MLP((784, 200, 200, 10), **kw),
    "fc123-456-10": lambda **kw: MLP((784, 123, 456, 10), **kw),
    "ae400": lambda **kw: SparseAutoencoder(784, 400, **kw),
    "ae400-10": lambda **kw: build_classifier(784, 400, 10, **kw),
    "cnn-mnist": lambda **kw: SmallCNN(**kw),
    "allcnn-mnist": lambda **kw: AllCNN(width=8, **kw),
    "resnet8-mnist": lambda **kw: ResNet(width=8, blocks=1, **kw),
    "cnn-cifar": lambda **kw: SmallCNN(channels=3, size=32, widths=(32, 64), hidden=256, **kw),
    "allcnn-cifar": lambda **kw: AllCNN(channels=3, width=96, **kw),
    "resnet20-cifar": lambda **kw: ResNet(channels=3, width=32, blocks=3, **kw),
}


def architectures() -> list[str]:
    """Return the names that `build` knows."""
    return sorted(_BUILDERS)


def input_shape(architecture: str) -> tuple[int, int, int]:
    """Return (channels, height, width) of the pixels that a network takes.

    Raises
    ------
    ValueError : no such architecture.
    """
    if architecture not in _BUILDERS:
        raise ValueError(f"no architecture {architecture!r}: {nearest(architecture, _BUILDERS)}")
    return (3, 32, 32) if architecture.endswith("-cifar") else (1, 28, 28)


def build(architecture: str, *, generator: torch.Generator | None = None, **kw) -> nn.Module:
    """Return a freshly initialised network on the CPU, in train mode.

    Parameters
    ----------
    architecture : one of `architectures()`.
    generator : draws the initial weights; None means ``runtime.generator(0, "init")``, so that a
        network is never initialised from torch's global state.
    **kw : options of the family, such as `gain` of the fully connected networks.

    Raises
    ------
    ValueError : no such architecture.
    """
    if architecture not in _BUILDERS:
        raise ValueError(f"no architecture {architecture!r}: {nearest(architecture, _BUILDERS)}")
    return _BUILDERS[architecture](generator=generator, **kw)
