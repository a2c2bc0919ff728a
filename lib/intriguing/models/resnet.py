"""Residual networks for small images: He et al. 2016 (arXiv 1512.03385), section 4.2."""

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.models.cnn import conv, he_normal


class Block(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))), both 3 x 3; a 1 x 1 on x where the shape changes."""

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
    """A 3 x 3 convolution, three stages of residual blocks at w, 2w, 4w channels, logits.

    Depth is 6 * blocks + 2: three blocks a stage are ResNet-20.  Where the paper pads the skip
    with zeros, ours has a 1 x 1 convolution.

    Parameters
    ----------
    classes, channels : outputs, and channels of the images (of any size).
    width, blocks : w, and blocks a stage; 16 and 3 make the paper's ResNet-20.
    generator : draws the initial weights, see `intriguing.models.cnn.he_normal`.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        channels: int = 1,
        width: int = 16,
        blocks: int = 3,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or runtime.generator(0, "init")
        layers: list[nn.Module] = [conv(channels, width, 3, generator), nn.ReLU()]
        inputs = width
        for stage in range(3):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(Block(inputs, width * 2**stage, generator, stride))
                inputs = width * 2**stage
        self.body = nn.Sequential(*layers)
        self.head = nn.utils.skip_init(nn.Linear, inputs, classes)
        he_normal(self.head, generator)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over positions (N, 4w) of the last stage, for pixels (N, C, H, W)."""
        return self.body(x).mean((2, 3))  # (N, 4w, h, w) -> (N, 4w)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, C, H, W)."""
        return self.head(self.features(x))
