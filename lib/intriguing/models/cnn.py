"""Plain convolutional networks: with pooling and a hidden layer, and with neither.

Szegedy et al. 2014 use a convolutional network on MNIST without describing it: `SmallCNN` is ours.
`AllCNN` is that of Springenberg et al. 2015 (arXiv 1412.6806), with batch normalisation added.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.errors import nearest
from intriguing.models.architecture import COLOUR, GREY, Architecture


def he_normal(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """Draw the weights from N(0, 2 / fan_in) (He et al. 2015); biases, if any, start at zero."""
    with torch.no_grad():
        layer.weight.normal_(0.0, (2.0 / layer.weight[0].numel()) ** 0.5, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()


def conv(
    inputs: int,
    outputs: int,
    kernel: int,
    generator: torch.Generator,
    *,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Return a convolution without bias that keeps the size (over stride), and its batch norm."""
    layer = unbiased(inputs, outputs, kernel, generator, stride=stride, groups=groups)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


def unbiased(
    inputs: int, outputs: int, kernel: int, generator: torch.Generator, **options: int
) -> nn.Conv2d:
    """Return a convolution without bias that keeps the size (over its stride, if it has one)."""
    layer = nn.utils.skip_init(  # leaves torch's global generator alone
        nn.Conv2d, inputs, outputs, kernel, padding=kernel // 2, bias=False, **options
    )
    he_normal(layer, generator)
    return layer


def _softplus(h: Tensor) -> Tensor:
    """Return log(1 + exp(10 h)) / 10: ReLU with a round corner, at most 0.07 above it."""
    return nn.functional.softplus(h, beta=10)


ACTIVATIONS = {"relu": torch.relu, "softplus": _softplus, "gelu": nn.functional.gelu}


class SmallCNN(nn.Module):
    """Two 3 x 3 convolutions with ReLU and 2 x 2 max-pooling, a hidden layer, logits.

    For MNIST 1 x 28 x 28 -> 16 x 14 x 14 -> 32 x 7 x 7 -> 64 -> classes, about 106,000 weights.
    The pooling windows do not overlap, so each pooling layer is non-expansive.

    A larger stride of the first convolution and a smooth activation are one of the tricks of Li et
    al. 2022 (arXiv 2209.02684) for `methods.fgsm`.

    Parameters
    ----------
    classes : outputs.
    channels, size : of the images, size x size pixels, a multiple of 4.
    widths, hidden : channels of the two convolutions, units of the hidden layer.
    activation : a name of `ACTIVATIONS`.
    stem_stride : of the first convolution; all later sizes shrink with it.
    generator : draws the initial weights, see `he_normal`.

    Raises
    ------
    ValueError : another activation, or a stride that leaves nothing.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        channels: int = 1,
        size: int = 28,
        widths: Sequence[int] = (16, 32),
        hidden: int = 64,
        activation: str = "relu",
        stem_stride: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"no activation {activation!r}: {nearest(activation, ACTIVATIONS)}")
        if not 1 <= stem_stride <= (size - 1) // 3:
            raise ValueError(
                f"stem_stride is at least 1 and leaves 4 x 4 of {size} x {size} pixels, "
                f"not {stem_stride}"
            )
        self.activation = activation
        generator = generator or runtime.generator(0, "init")
        empty = nn.utils.skip_init  # leaves torch's global generator alone
        self.conv1 = empty(nn.Conv2d, channels, widths[0], 3, padding=1, stride=stem_stride)
        self.conv2 = empty(nn.Conv2d, widths[0], widths[1], 3, padding=1)
        side = ((size - 1) // stem_stride + 1) // 4
        self.fc1 = empty(nn.Linear, widths[1] * side**2, hidden)
        self.fc2 = empty(nn.Linear, hidden, classes)
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2):
            he_normal(layer, generator)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of each hidden layer, for pixels (N, C, H, W).

        They are those of the pooling layers, (N, widths[0], H/2, W/2) and (N, widths[1], H/4, W/4),
        and of the dense layer, (N, hidden).
        """
        outputs = []
        for layer in (self.conv1, self.conv2, self.fc1):
            x = _activated(layer, x, self.activation)
            outputs.append(x)
        return outputs

    def above(self, level: int) -> nn.Module:
        """Return the part above a layer, which shares this network's layers.

        It maps the outputs of hidden layer `level`, counted from 1, to logits; level 0 is the whole
        network, from pixels.

        Raises
        ------
        ValueError : no such hidden layer.
        """
        if not 0 <= level <= 3:
            raise ValueError(f"level must be in 0..3, not {level}")
        layers = (self.conv1, self.conv2, self.fc1, self.fc2)
        return _Above(layers[level:], self.activation).train(self.training)

    def features(self, x: Tensor) -> Tensor:
        """Return the activations (N, hidden) of the last hidden layer, for pixels (N, C, H, W)."""
        return self.hidden(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, C, H, W)."""
        return self.fc2(self.features(x))


class _Above(nn.Module):
    """Layers of a `SmallCNN`, the last of which gives logits."""

    def __init__(self, layers: Sequence[nn.Module], activation: str) -> None:
        super().__init__()
        self.layers, self.activation = nn.ModuleList(layers), activation

    def forward(self, h: Tensor) -> Tensor:
        """Return logits (N, classes) for outputs (N, ...) of the layer below."""
        for layer in self.layers[:-1]:
            h = _activated(layer, h, self.activation)
        return self.layers[-1](h)


def _activated(layer: nn.Module, h: Tensor, activation: str) -> Tensor:
    """Return what a hidden layer makes of h: convolutions are pooled, dense layers flatten."""
    bend = ACTIVATIONS[activation]
    if isinstance(layer, nn.Conv2d):
        return nn.functional.max_pool2d(bend(layer(h)), 2)
    return bend(layer(h.flatten(1)))


class AllCNN(nn.Module):
    """Convolutions only: where others pool, a stride of 2; at the end a mean over positions.

    3 x 3 convolutions of w, w, w (stride 2), 2w, 2w, 2w (stride 2), 2w channels, then 1 x 1 to 2w;
    ReLU after each, and the logits are linear in the mean over positions.

    Parameters
    ----------
    classes, channels : outputs, and channels of the images (of any size).
    width : w; 96 is the paper's, for CIFAR-10.
    generator : draws the initial weights, see `he_normal`.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        channels: int = 1,
        width: int = 96,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or runtime.generator(0, "init")
        plan = [(1, 1), (1, 1), (1, 2), (2, 1), (2, 1), (2, 2), (2, 1)]  # (channels / w, stride)
        layers, inputs = [], channels
        for factor, stride in plan:
            layers += [conv(inputs, factor * width, 3, generator, stride=stride), nn.ReLU()]
            inputs = factor * width
        layers += [conv(inputs, inputs, 1, generator), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.utils.skip_init(nn.Linear, inputs, classes)
        he_normal(self.head, generator)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over positions (N, 2w) of the last layer, for pixels (N, C, H, W)."""
        return self.body(x).mean((2, 3))  # (N, 2w, h, w) -> (N, 2w)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, C, H, W)."""
        return self.head(self.features(x))


ARCHITECTURES = {
    "cnn-mnist": Architecture(SmallCNN, GREY),
    "cnn-cifar": Architecture(
        SmallCNN, COLOUR, {"channels": 3, "size": 32, "widths": (32, 64), "hidden": 256}
    ),
    "allcnn-mnist": Architecture(AllCNN, GREY, {"width": 8}),
    "allcnn-cifar": Architecture(AllCNN, COLOUR, {"channels": 3, "width": 96}),
}
