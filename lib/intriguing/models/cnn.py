"""A small convolutional network for 28 x 28 grey images.

The paper uses a convolutional network on MNIST without describing it; this one is ours.
"""

import torch
from torch import Tensor, nn

from intriguing import runtime


class SmallCNN(nn.Module):
    """Two 3 x 3 convolutions with ReLU and 2 x 2 max-pooling, a hidden layer, logits.

    1 x 28 x 28 -> 16 x 14 x 14 -> 32 x 7 x 7 -> 64 -> classes, about 106,000 weights.  The pooling
    windows do not overlap, so each pooling layer is non-expansive.

    Parameters
    ----------
    classes : outputs.
    generator : draws the initial weights, N(0, 2 / fan_in) (He et al. 2015); biases start at zero.
    """

    def __init__(self, classes: int = 10, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        generator = generator or runtime.generator(0, "init")
        empty = nn.utils.skip_init  # leaves torch's global generator alone
        self.conv1 = empty(nn.Conv2d, 1, 16, 3, padding=1)
        self.conv2 = empty(nn.Conv2d, 16, 32, 3, padding=1)
        self.fc1 = empty(nn.Linear, 32 * 7 * 7, 64)
        self.fc2 = empty(nn.Linear, 64, classes)
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2):
            fan_in = layer.weight[0].numel()
            with torch.no_grad():
                layer.weight.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
                layer.bias.zero_()

    def features(self, x: Tensor) -> Tensor:
        """Return the activations (N, 64) of the last hidden layer, for pixels (N, 1, 28, 28)."""
        h = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)  # (N, 16, 14, 14)
        h = nn.functional.max_pool2d(torch.relu(self.conv2(h)), 2)  # (N, 32, 7, 7)
        return torch.relu(self.fc1(h.flatten(1)))  # (N, 64)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, 1, 28, 28)."""
        return self.fc2(self.features(x))
