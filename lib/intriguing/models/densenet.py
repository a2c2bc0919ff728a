"""Densely connected networks: DenseNet-BC of Huang et al. 2017 (arXiv 1608.06993)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.models.architecture import COLOUR, GREY, Architecture
from intriguing.models.cnn import he_normal, unbiased
from intriguing.models.normalize import CIFAR10, MNIST, Normalize


class DenseLayer(nn.Module):
    """x and, beside it, `growth` new channels: conv3(relu(bn(conv1(relu(bn(x)))))).

    The bottleneck conv1 is 1 x 1, to `wide` times `growth` channels; conv3 is 3 x 3.
    """

    def __init__(self, inputs: int, growth: int, wide: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = unbiased(inputs, wide * growth, 1, generator)
        self.norm2 = nn.BatchNorm2d(wide * growth)
        self.conv2 = unbiased(wide * growth, growth, 3, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, inputs + growth, H, W) for (N, inputs, H, W)."""
        h = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat((x, self.conv2(torch.relu(self.norm2(h)))), 1)


class Transition(nn.Module):
    """Between two blocks: half the channels (1 x 1) and half the side (mean over 2 x 2)."""

    def __init__(self, inputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = unbiased(inputs, inputs // 2, 1, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, inputs // 2, H / 2, W / 2) for (N, inputs, H, W)."""
        return nn.functional.avg_pool2d(self.conv(torch.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """A 3 x 3 convolution to 2k channels, blocks of dense layers with transitions between, logits.

    Depth is 2 * sum(layers) + len(layers) + 1: three blocks of 16 make the paper's DenseNet-BC-100,
    with 0.77 million weights at k = 12.

    Parameters
    ----------
    classes : outputs; the images may have any size.
    layers : dense layers of each block.
    growth, wide : k, the channels that a layer adds, and its bottleneck's channels over k.
    stride : of the first convolution; 1 is the paper's for 32 x 32.
    pixels, generator : as `intriguing.models.vgg.VGG`.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        layers: Sequence[int] = (16, 16, 16),
        growth: int = 12,
        wide: int = 4,
        stride: int = 1,
        pixels: Normalize,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or runtime.generator(0, "init")
        channels = 2 * growth
        body: list[nn.Module] = [
            pixels, unbiased(pixels.channels, channels, 3, generator, stride=stride)
        ]  # fmt: skip
        for block, count in enumerate(layers):
            if block:
                body.append(Transition(channels, generator))
                channels //= 2
            for _ in range(count):
                body.append(DenseLayer(channels, growth, wide, generator))
                channels += growth
        self.body = nn.Sequential(*body)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.utils.skip_init(nn.Linear, channels, classes)
        he_normal(self.head, generator)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over positions (N, channels) of the last block, for pixels."""
        return torch.relu(self.norm(self.body(x))).mean((2, 3))  # (N, c, h, w) -> (N, c)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, C, H, W)."""
        return self.head(self.features(x))


_SMALL = {"layers": (3, 3), "growth": 8, "wide": 2, "stride": 2}

ARCHITECTURES = {
    "densenet16-mnist": Architecture(DenseNet, GREY, _SMALL, MNIST),
    "densenet100-cifar": Architecture(DenseNet, COLOUR, pixels=CIFAR10),
}
