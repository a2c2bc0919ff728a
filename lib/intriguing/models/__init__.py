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
from intriguing.models.convmixer import ConvMixer
from intriguing.models.densenet import DenseNet
from intriguing.models.mlp import MLP
from intriguing.models.mobilenet import MobileNet
from intriguing.models.normalize import Normalize
from intriguing.models.resnet import ResNet
from intriguing.models.vgg import POOL, VGG

__all__ = [
    "MLP", "VGG", "AllCNN", "ConvMixer", "DenseNet", "MobileNet", "ResNet", "SmallCNN",
    "SparseAutoencoder", "architectures", "build", "input_shape",
]  # fmt: skip


def _grey() -> Normalize:
    """Return the normalisation of MNIST's training pixels; other grey sets get it as well."""
    return Normalize((0.1307,), (0.3081,))


def _colour() -> Normalize:
    """Return the normalisation of CIFAR-10's training pixels; other colour sets get it as well."""
    return Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


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
    "vgg7-mnist": lambda **kw: VGG(
        size=28, plan=(8, 8, POOL, 16, 16, POOL, 32, 32, POOL), pixels=_grey(), **kw
    ),
    "densenet16-mnist": lambda **kw: DenseNet(
        layers=(3, 3), growth=8, wide=2, stride=2, pixels=_grey(), **kw
    ),
    "mobilenet-mnist": lambda **kw: MobileNet(
        width=16, stride=2, plan=((32, 1), (64, 2), (64, 1), (64, 1)), pixels=_grey(), **kw
    ),
    "convmixer-mnist": lambda **kw: ConvMixer(width=64, depth=3, patch=4, pixels=_grey(), **kw),
    "cnn-cifar": lambda **kw: SmallCNN(channels=3, size=32, widths=(32, 64), hidden=256, **kw),
    "allcnn-cifar": lambda **kw: AllCNN(channels=3, width=96, **kw),
    "resnet20-cifar": lambda **kw: ResNet(channels=3, width=32, blocks=3, **kw),
    "resnet18-cifar": lambda **kw: ResNet(
        channels=3, width=64, blocks=(2, 2, 2, 2), pixels=_colour(), **kw
    ),
    "resnet34-cifar": lambda **kw: ResNet(
        channels=3, width=64, blocks=(3, 4, 6, 3), pixels=_colour(), **kw
    ),
    "vgg16-cifar": lambda **kw: VGG(pixels=_colour(), **kw),
    "densenet100-cifar": lambda **kw: DenseNet(pixels=_colour(), **kw),
    "mobilenet-cifar": lambda **kw: MobileNet(pixels=_colour(), **kw),
    "convmixer-cifar": lambda **kw: ConvMixer(pixels=_colour(), **kw),
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
