"""The sparse autoencoder, and the classifier on its code: AE400-10 of Szegedy et al. 2014."""

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.models.architecture import GREY, Architecture
from intriguing.models.mlp import MLP, dense


class SparseAutoencoder(nn.Module):
    """One hidden layer of sigmoid units, trained to reproduce its input, most units near `rho`.

    The paper names neither the loss nor the sparsity penalty; ours are in
    `intriguing.training.objectives.sparse_reconstruction`.

    Parameters
    ----------
    pixels : inputs and outputs.
    units : hidden units.
    rho : the mean activation that training aims at.  Output-side biases start at zero and the
        hidden biases at logit(rho), so that training starts from a sparse code.
    generator : draws the initial weights, N(0, 1 / fan_in).
    """

    def __init__(
        self,
        pixels: int,
        units: int,
        *,
        rho: float = 0.05,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or runtime.generator(0, "init")
        self.encoder = dense(pixels, units, 1.0, generator)
        self.decoder = dense(units, pixels, 1.0, generator)
        with torch.no_grad():
            self.encoder.bias.fill_(float(torch.logit(torch.tensor(rho))))

    def encode(self, x: Tensor) -> Tensor:
        """Return the code (N, units) in (0, 1) of pixels (N, C, H, W) or (N, pixels)."""
        return torch.sigmoid(self.encoder(x.flatten(1)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the reconstruction (N, pixels), and the code (N, units)."""
        code = self.encode(x)
        return self.decoder(code), code


def adopt_encoder(classifier: MLP, autoencoder: SparseAutoencoder) -> MLP:
    """Copy the trained encoder into the first layer of `classifier` and return `classifier`.

    The layer is frozen: the paper did not fine-tune it.
    """
    first = classifier.layers[0]
    with torch.no_grad():
        first.weight.copy_(autoencoder.encoder.weight)
        first.bias.copy_(autoencoder.encoder.bias)
    first.requires_grad_(False)
    return classifier


def _autoencoder(
    classes: int, rho: float = 0.05, generator: torch.Generator | None = None
) -> SparseAutoencoder:
    """Return the paper's autoencoder, which has no use for classes."""
    return SparseAutoencoder(784, 400, rho=rho, generator=generator)


def _classifier(classes: int, gain: float = 1.0, generator: torch.Generator | None = None) -> MLP:
    """Return an encoder, to be replaced by a trained one with `adopt_encoder`, and a softmax."""
    return MLP((784, 400, classes), gain=gain, generator=generator)


ARCHITECTURES = {
    "ae400": Architecture(_autoencoder, GREY),
    "ae400-10": Architecture(_classifier, GREY),
}
