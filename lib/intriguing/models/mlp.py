"""Fully connected networks: with sigmoids those of Szegedy et al. 2014, and small ones of ReLUs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.models.architecture import GREY, Architecture


def dense(inputs: int, units: int, gain: float, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with weights N(0, gain^2 / inputs) and zero biases."""
    layer = nn.utils.skip_init(nn.Linear, inputs, units)  # leaves torch's global generator alone
    with torch.no_grad():
        layer.weight.normal_(0.0, gain / inputs**0.5, generator=generator)
        layer.bias.zero_()
    return layer


class MLP(nn.Module):
    """Linear layers with a sigmoid between each two; the last layer gives logits.

    ``MLP((784, 100, 100, 10))`` is the paper's FC100-100-10, ``MLP((784, 10))`` its FC10.

    Parameters
    ----------
    sizes : units of each layer, the number of pixels first and the number of classes last.
    gain : scale of the initial weights, which are N(0, gain^2 / fan_in).  The paper gives none.
    generator : draws the initial weights, layer by layer.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"an MLP needs at least input and output sizes, got {tuple(sizes)}")
        generator = generator or runtime.generator(0, "init")
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.layers = nn.ModuleList(dense(a, b, gain, generator) for a, b in pairs)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """Return the sigmoid outputs (N, units) of each hidden layer, for pixels (N, C, H, W)."""
        outputs = []
        h = x.flatten(1)  # (N, C, H, W) -> (N, pixels)
        for layer in self.layers[:-1]:
            h = torch.sigmoid(layer(h))  # (N, units)
            outputs.append(h)
        return outputs

    def above(self, level: int) -> "MLP":
        """Return the part above a layer, which shares this network's layers.

        It maps the outputs (N, units) or (N, units, 1, 1) of hidden layer `level`, counted from
        1, to logits; level 0 is the whole network, from pixels.

        Raises
        ------
        ValueError : no such hidden layer.
        """
        if not 0 <= level < len(self.layers):
            raise ValueError(f"level must be in 0..{len(self.layers) - 1}, not {level}")
        part = MLP.__new__(MLP)
        nn.Module.__init__(part)
        part.layers = nn.ModuleList(self.layers[level:])
        return part.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, C, H, W) or (N, pixels)."""
        h = x.flatten(1)  # (N, C, H, W) -> (N, pixels)
        for layer in self.layers[:-1]:
            h = torch.sigmoid(layer(h))
        return self.layers[-1](h)


def relu(
    classes: int, units: Sequence[int] = (32,), generator: torch.Generator | None = None
) -> nn.Sequential:
    """Return linear layers with a ReLU between each two, for grey images.

    Small ones have exact distances: see `robustness.exact`.
    """
    generator = generator or runtime.generator(0, "init")
    sizes = (784, *units)
    hidden = [
        part for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        for part in (dense(a, b, 2**0.5, generator), nn.ReLU())
    ]  # fmt: skip
    return nn.Sequential(nn.Flatten(), *hidden, dense(sizes[-1], classes, 1.0, generator))


def _fully_connected(*units: int) -> Architecture:
    """Return the paper's network of these hidden layers, for grey images."""

    def make(classes: int, gain: float = 1.0, generator: torch.Generator | None = None) -> MLP:
        return MLP((784, *units, classes), gain=gain, generator=generator)

    return Architecture(make, GREY)


ARCHITECTURES = {
    "fc10": _fully_connected(),
    "fc100-100-10": _fully_connected(100, 100),
    "fc200-200-10": _fully_connected(200, 200),
    "fc123-456-10": _fully_connected(123, 456),
    "relu-mnist": Architecture(relu, GREY, {"units": (32,)}),
}
