"""Patches mixed by convolutions: ConvMixer, Trockman and Kolter 2022 (arXiv 2201.09792)."""

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.models.architecture import COLOUR, GREY, Architecture
from intriguing.models.cnn import he_normal
from intriguing.models.normalize import CIFAR10, MNIST, Normalize


def _mixed(
    inputs: int, outputs: int, kernel: int, generator: torch.Generator, **options: int | str
) -> nn.Sequential:
    """Return a convolution with bias, GELU and batch norm, in this order."""
    layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel, **options)
    he_normal(layer, generator)
    return nn.Sequential(layer, nn.GELU(), nn.BatchNorm2d(outputs))


class Mixer(nn.Module):
    """h = x + a convolution in each channel, then a 1 x 1 across the channels of h."""

    def __init__(self, width: int, kernel: int, generator: torch.Generator) -> None:
        super().__init__()
        self.places = _mixed(width, width, kernel, generator, groups=width, padding=kernel // 2)
        self.channels = _mixed(width, width, 1, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, h, w) for the same."""
        return self.channels(x + self.places(x))


class ConvMixer(nn.Module):
    """Patches as vectors, equal layers that mix places and channels in turn, the mean, logits.

    Parameters
    ----------
    classes : outputs; the side of the images is a multiple of `patch`.
    width, depth : channels of each layer, and layers.
    patch, kernel : side of the patches, and of the convolutions, which is odd.  The authors' code
        for CIFAR-10 has 256, 8, 2 and 5.
    pixels, generator : as `intriguing.models.vgg.VGG`.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        width: int = 256,
        depth: int = 8,
        patch: int = 2,
        kernel: int = 5,
        pixels: Normalize,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or runtime.generator(0, "init")
        self.body = nn.Sequential(
            pixels,
            _mixed(pixels.channels, width, patch, generator, stride=patch),
            *(Mixer(width, kernel, generator) for _ in range(depth)),
        )
        self.head = nn.utils.skip_init(nn.Linear, width, classes)
        he_normal(self.head, generator)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over patches (N, width) of the last layer, for pixels (N, C, H, W)."""
        return self.body(x).mean((2, 3))  # (N, width, h, w) -> (N, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, C, H, W)."""
        return self.head(self.features(x))


_SMALL = {"width": 64, "depth": 3, "patch": 4}

ARCHITECTURES = {
    "convmixer-mnist": Architecture(ConvMixer, GREY, _SMALL, MNIST),
    "convmixer-cifar": Architecture(ConvMixer, COLOUR, pixels=CIFAR10),
}
