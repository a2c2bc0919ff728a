"""The sparse autoencoder below AE400-10: reconstruction, with a penalty on dense codes.

Szegedy et al. 2014 (arXiv 1312.6199) name neither the loss nor the penalty; the penalty here is
that of Ng's notes on sparse autoencoders.  The numbers were chosen by the held-out error of
AE400-10, the softmax on the code: rows of that network in `tuning/szegedy.csv`, run again by
`tuning/run.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from intriguing.specs import Setting
from intriguing.training import objectives
from intriguing.training.fit import Fit
from intriguing.training.objectives import Objective
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "szegedy2014intriguing"
version = 1
PAPER = None  # nothing of it is stated
CLASSIFIES = False


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of the sparse autoencoder; see `training.objectives.sparse_reconstruction`.

    Parameters
    ----------
    fit : the training by minibatches.
    rho : target mean activation of each unit, in (0, 1).
    beta : weight of the sparsity penalty.
    encoder_decay : coefficient of the encoder's squared weights.
    """

    fit: Fit
    rho: float = 0.05
    beta: float = 5.0
    encoder_decay: float = 3e-3

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, float]]:
        """Return them as the keys of 2026-11-29 do."""
        penalties = {"rho": self.rho, "beta": self.beta, "ae_decay": self.encoder_decay}
        return "sparse-autoencoder", self.fit.written() | penalties, {}


def initial(options: Options) -> dict[str, float]:
    """Return the mean activation that the hidden biases start from."""
    return {"rho": options.rho}


def objective(request: Request, options: Options) -> Objective:
    """Return the sparse reconstruction loss."""
    return objectives.sparse_reconstruction(options.rho, options.beta, options.encoder_decay)


def label(options: Options) -> str:
    """Return "sparse-autoencoder"."""
    return "sparse-autoencoder"


def passes(options: Options) -> Passes:
    """A forward and a backward pass."""
    return Passes()


OURS = {"grey": {"AE400": Setting("ae400", Options(Fit(10, 256, 2e-3)), {"epochs": 20})}}
