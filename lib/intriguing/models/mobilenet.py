"""Networks of depthwise separable convolutions: MobileNet, Howard et al. 2017 (arXiv 1704.04861).

The first version, which has no skip connections.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.models.architecture import COLOUR, GREY, Architecture
from intriguing.models.cnn import conv, he_normal
from intriguing.models.normalize import CIFAR10, MNIST, Normalize

# (channels, stride) of each separable convolution: the paper's, with a stride of 2 at the first
# moved away, as is usual for 32 x 32 pixels.
FULL = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2),
    (1024, 1),
)  # fmt: skip


class MobileNet(nn.Module):
    """A 3 x 3 convolution, then 3 x 3 in each channel and 1 x 1 across, again and again; logits.

    Batch norm and ReLU follow each convolution.  With the plan `FULL`: 3.2 million weights.

    Parameters
    ----------
    classes : outputs; the images may have any size.
    width, stride : channels and stride of the first convolution; 32 and, for 32 x 32 pixels, 1.
    plan : (channels, stride) of each separable convolution.
    pixels, generator : as `intriguing.models.vgg.VGG`.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        width: int = 32,
        stride: int = 1,
        plan: Sequence[tuple[int, int]] = FULL,
        pixels: Normalize,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or runtime.generator(0, "init")
        layers: list[nn.Module] = [
            pixels, conv(pixels.channels, width, 3, generator, stride=stride), nn.ReLU()
        ]  # fmt: skip
        inputs = width
        for outputs, step in plan:
            layers += [conv(inputs, inputs, 3, generator, stride=step, groups=inputs), nn.ReLU()]
            layers += [conv(inputs, outputs, 1, generator), nn.ReLU()]
            inputs = outputs
        self.body = nn.Sequential(*layers)
        self.head = nn.utils.skip_init(nn.Linear, inputs, classes)
        he_normal(self.head, generator)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over positions (N, channels) of the last layer, for pixels."""
        return self.body(x).mean((2, 3))  # (N, c, h, w) -> (N, c)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, C, H, W)."""
        return self.head(self.features(x))


_SMALL = {"width": 16, "stride": 2, "plan": ((32, 1), (64, 2), (64, 1), (64, 1))}

ARCHITECTURES = {
    "mobilenet-mnist": Architecture(MobileNet, GREY, _SMALL, MNIST),
    "mobilenet-cifar": Architecture(MobileNet, COLOUR, pixels=CIFAR10),
}
