"""Szegedy et al. 2014 (arXiv 1312.6199), Table 1: weight decay, and full-batch L-BFGS.

The paper gives the layers and lambda, and says "L-BFGS to convergence"; the rest is ours, chosen on
held-out training images: `tuning/szegedy.csv`, run again by `tuning/run.py`.  To stay within a
laptop's budget the sigmoid networks stop before they converge, which costs about half a point.

AE400-10 is a softmax on a sparse autoencoder, trained before it and not fine-tuned.  Both readings
of the weight decay share the autoencoder, since the paper states decay for the softmax only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from intriguing.errors import nearest
from intriguing.methods import method, sparse_autoencoder
from intriguing.models.autoencoder import adopt_encoder
from intriguing.specs import Paper, Setting, Spec, make
from intriguing.training import objectives
from intriguing.training.loop import Outcome, fit_full_batch
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "szegedy2014intriguing"
version = 1
_FC_LAM = (1e-5, 1e-5, 1e-6)
PAPER = Paper(
    {
        "lam": {"FC10(1e-4)": 1e-4, "FC10(1e-2)": 1e-2, "FC10(1)": 1.0, "FC100-100-10": _FC_LAM,
                "FC200-200-10": _FC_LAM, "FC123-456-10": _FC_LAM, "AE400-10": 1e-6},
        "optimiser": "L-BFGS to convergence",
    },
    where="Tables 1 and 3, section 4", tag="S+M",
)  # fmt: skip


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of full-batch training with weight decay.

    Parameters
    ----------
    lam : the paper's lambda of each trained layer.
    iterations, history : of L-BFGS, see `training.fit_full_batch`.
    gain : scale of the initial weights, which are N(0, gain^2 / fan_in).  The paper gives none.
    decay : the reading of the weight decay, see `training.objectives.decay_coefficients`.
    encoder : how the autoencoder below a softmax is trained; None: the whole network is trained.
    """

    lam: tuple[float, ...]
    iterations: int
    history: int = 20
    gain: float = 1.0
    decay: Literal["calibrated", "literal"] = "calibrated"
    encoder: sparse_autoencoder.Options | None = None

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, float]]:
        """Return them as the keys of 2026-11-29 do."""
        below = {} if self.encoder is None else self.encoder.written()[1]
        budget = {name: getattr(self, name) for name in ("iterations", "history", "gain")}
        return f"decay-{self.decay}", {**below, **budget, **numbered("lam", self.lam)}, {}


def numbered(name: str, values: Iterable[float]) -> dict[str, float]:
    """Return {"lam0": ..., "lam1": ...}: one number for each layer, as keys hold them."""
    return {f"{name}{i}": value for i, value in enumerate(values)}


def initial(options: Options) -> dict[str, float]:
    """Return the scale of the initial weights."""
    return {"gain": options.gain}


def parents(spec: Spec) -> dict[str, Spec]:
    """Return the autoencoder below AE400-10."""
    if spec.options.encoder is None:
        return {}
    return {"encoder": replace(spec, architecture="ae400", options=spec.options.encoder)}


def train(request: Request, options: Options) -> Outcome:
    """Train by full-batch L-BFGS; with an encoder, the softmax on its code: convex, and cheap."""
    trained, x = request.model, request.x.flatten(1)  # (N, C, H, W) -> (N, pixels)
    if options.encoder is not None:
        encoder = request.parents["encoder"]
        adopt_encoder(request.model, encoder)
        x = encoder.encode(x).detach()  # (N, pixels) -> (N, units)
        trained = request.model.layers[-1]
    coefficients = objectives.coefficients(options.decay, options.lam, trained)
    return fit_full_batch(
        trained,
        objectives.cross_entropy(coefficients),
        x,
        request.y,
        iterations=options.iterations,
        history=options.history,
        resume=request.resume,
        save=request.save,
        log=request.log,
    )


def label(options: Options) -> str:
    """Return the reading of the decay, and lambda of each layer."""
    return f"decay-{options.decay} {lambdas(options.lam)}"


def lambdas(lam: Iterable[float]) -> str:
    """Return "lam=1e-05,1e-05,1e-06"."""
    return f"lam={','.join(f'{value:g}' for value in lam)}"


def passes(options: Options) -> Passes:
    """A forward and a backward pass of what is trained."""
    return Passes(part="network" if options.encoder is None else "last layer")


_SMALL = {"iterations": 100}
_SOFTMAX = Options(
    (1e-6,), 150, gain=0.1, encoder=sparse_autoencoder.OURS["grey"]["AE400"].options
)


def _linear(lam: float) -> Setting:
    return Setting("fc10", Options((lam,), 200, gain=0.1), _SMALL)


def _sigmoid(units: str, iterations: int) -> Setting:
    return Setting(f"fc{units}", Options(_FC_LAM, iterations), _SMALL)


OURS = {
    "grey": {
        "FC10(1e-4)": _linear(1e-4),
        "FC10(1e-2)": _linear(1e-2),
        "FC10(1)": _linear(1.0),
        "FC100-100-10": _sigmoid("100-100-10", 250),
        "FC200-200-10": _sigmoid("200-200-10", 160),
        "FC123-456-10": _sigmoid("123-456-10", 160),
        "AE400-10": Setting("ae400-10", _SOFTMAX, _SMALL | {"epochs": 20}),
    }
}
NETWORKS = (*OURS["grey"], "CNN")  # the paper's convolutional network is not described: ours


def spec(
    name: str,
    dataset: str = "mnist",
    *,
    decay: str = "calibrated",
    lam: float | Iterable[float] | None = None,
    **how: Any,
) -> Spec:
    """Return the spec of a network of Szegedy et al. 2014, Table 1 and section 4.

    Parameters
    ----------
    name : one of `NETWORKS`.
    dataset, how : as `specs.make`: seed, split, n, and other options such as ``iterations=100``.
    decay : the reading of the weight decay, "calibrated" or "literal"; the CNN has none.
    lam : another lambda, for all layers or one each; default the paper's.

    Raises
    ------
    ValueError : an unknown name, reading or option.
    """
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}: {nearest(name, NETWORKS)}")
    if name == "CNN":
        if lam is not None:
            raise ValueError(f"{name} has no weight decay, but lam={lam} was given")
        return method.spec("plain", name, dataset, **how)
    setting = OURS["grey"][name]
    lams = each_layer(name, setting.options.lam, lam)
    return make(setting, name, dataset, decay=decay, lam=lams, **how)


def each_layer(
    name: str, ours: tuple[float, ...], lam: float | Iterable[float] | None
) -> tuple[float, ...]:
    """Return one lambda for each decayed layer: those given, or `ours`."""
    given = ours if lam is None else lam
    lams = (given,) * len(ours) if isinstance(given, (int, float)) else tuple(given)
    if len(lams) != len(ours):
        raise ValueError(f"{name} has {len(ours)} decayed layers, got {len(lams)} lam")
    return tuple(float(value) for value in lams)
