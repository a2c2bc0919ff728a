"""VGG networks for small images: Simonyan and Zisserman 2015 (arXiv 1409.1556), with batch norm."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.models.architecture import COLOUR, GREY, Architecture
from intriguing.models.cnn import conv, he_normal
from intriguing.models.normalize import CIFAR10, MNIST, Normalize

POOL = 0  # stands in a plan where a 2 x 2 max-pooling does
VGG16 = (
    64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL,
)  # fmt: skip


class VGG(nn.Module):
    """3 x 3 convolutions with batch norm and ReLU, max-pooling between stages, linear logits.

    The paper's three fully connected layers, made for 224 x 224 pixels, are one here, as is usual
    for 32 x 32: with the plan `VGG16`, 14.7 million weights.

    Parameters
    ----------
    classes, size : outputs, and the side of the images.
    plan : channels of each convolution, and `POOL` for a pooling that halves the side.
    pixels : the normalisation before everything else, see `intriguing.models.normalize`.
    generator : draws the initial weights, see `intriguing.models.cnn.he_normal`.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        size: int = 32,
        plan: Sequence[int] = VGG16,
        pixels: Normalize,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or runtime.generator(0, "init")
        layers: list[nn.Module] = [pixels]
        inputs = pixels.channels
        for outputs in plan:
            if outputs == POOL:
                layers.append(nn.MaxPool2d(2))
                size //= 2
            else:
                layers += [conv(inputs, outputs, 3, generator), nn.ReLU()]
                inputs = outputs
        self.body = nn.Sequential(*layers)
        self.head = nn.utils.skip_init(nn.Linear, inputs * size**2, classes)
        he_normal(self.head, generator)

    def features(self, x: Tensor) -> Tensor:
        """Return the last pooled maps as rows (N, channels * side^2), for pixels (N, C, H, W)."""
        return self.body(x).flatten(1)  # (N, c, side, side) -> (N, c * side^2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, C, H, W)."""
        return self.head(self.features(x))


_SMALL = (8, 8, POOL, 16, 16, POOL, 32, 32, POOL)

ARCHITECTURES = {
    "vgg7-mnist": Architecture(VGG, GREY, {"size": 28, "plan": _SMALL}, MNIST),
    "vgg16-cifar": Architecture(VGG, COLOUR, pixels=CIFAR10),
}
