"""Residual networks for small images: He et al. 2016 (arXiv 1512.03385), section 4.2.

The paper's networks for CIFAR-10 have three narrow stages.  Those called ResNet-18 and ResNet-34
elsewhere are its ImageNet networks, of four stages, from 64 channels on and with a first
convolution made for 32 x 32 pixels: 3 x 3 at a stride of 1, and no pooling behind it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.models.architecture import COLOUR, GREY, Architecture
from intriguing.models.cnn import conv, he_normal
from intriguing.models.normalize import CIFAR10, Normalize


class Block(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))), both 3 x 3; a 1 x 1 on x where the shape changes."""

    branch_end = "conv2"  # what is added to the skip connection, see `attacks.transfer.decayed`

    def __init__(
        self, inputs: int, outputs: int, generator: torch.Generator, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, generator, stride=stride)
        self.conv2 = conv(outputs, outputs, 3, generator)
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else conv(inputs, outputs, 1, generator, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H / stride, W / stride) for (N, inputs, H, W)."""
        return torch.relu(self.skip(x) + self.conv2(torch.relu(self.conv1(x))))


class ResNet(nn.Module):
    """A 3 x 3 convolution, stages of residual blocks at w, 2w, 4w ... channels, logits.

    Depth is 2 * sum(blocks) + 2.  Where the shape changes the skip is a 1 x 1 convolution, also in
    three stages, where the paper pads with zeros.

    Parameters
    ----------
    classes, channels : outputs, and channels of the images (of any size).
    width, blocks : w, and blocks of each stage, or of each of three: 16 and 3 make the paper's
        ResNet-20; 64 and (2, 2, 2, 2) ResNet-18; 64 and (3, 4, 6, 3) ResNet-34.
    pixels : the normalisation before everything else, or none.
    generator : draws the initial weights, see `intriguing.models.cnn.he_normal`.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        channels: int = 1,
        width: int = 16,
        blocks: int | Sequence[int] = 3,
        pixels: Normalize | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or runtime.generator(0, "init")
        layers: list[nn.Module] = [] if pixels is None else [pixels]
        layers += [conv(channels, width, 3, generator), nn.ReLU()]
        inputs = width
        for stage, count in enumerate((blocks,) * 3 if isinstance(blocks, int) else blocks):
            for block in range(count):
                stride = 2 if stage and not block else 1
                layers.append(Block(inputs, width * 2**stage, generator, stride))
                inputs = width * 2**stage
        self.body = nn.Sequential(*layers)
        self.head = nn.utils.skip_init(nn.Linear, inputs, classes)
        he_normal(self.head, generator)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over positions (N, c) of the last stage, for pixels (N, C, H, W)."""
        return self.body(x).mean((2, 3))  # (N, c, h, w) -> (N, c)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, C, H, W)."""
        return self.head(self.features(x))


_WIDE = {"channels": 3, "width": 64}

ARCHITECTURES = {
    "resnet8-mnist": Architecture(ResNet, GREY, {"width": 8, "blocks": 1}),
    "resnet20-cifar": Architecture(ResNet, COLOUR, {"channels": 3, "width": 32, "blocks": 3}),
    "resnet18-cifar": Architecture(ResNet, COLOUR, _WIDE | {"blocks": (2, 2, 2, 2)}, CIFAR10),
    "resnet34-cifar": Architecture(ResNet, COLOUR, _WIDE | {"blocks": (3, 4, 6, 3)}, CIFAR10),
}
