"""Training jobs: from an architecture and its numbers to a trained network, by objective name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from intriguing import models, runtime
from intriguing.models.autoencoder import adopt_encoder
from intriguing.training import objectives, units
from intriguing.training.adversarial import Adversarial
from intriguing.training.augmentation import crop_and_mirror
from intriguing.training.loop import Companion, Log, Outcome, Save, fit_full_batch
from intriguing.training.minibatch import fit_minibatch
from intriguing.training.pools import PoolTraining


@dataclass(frozen=True)
class Request:
    """What a job gets: the network's name and numbers, the images, and how to save and resume."""

    architecture: str
    numbers: Mapping[str, float]
    seed: int
    x: Tensor  # (N, C, H, W) pixels in [0, 1], on the device that trains
    y: Tensor  # (N,) labels
    base: nn.Module | None = None  # a trained network to build on: the encoder of "ae400-10"
    resume: dict | None = None
    save: Save | None = None
    log: Log | None = None


def _initial(request: Request, **options: float) -> nn.Module:
    """Return the freshly initialised network, drawn on the CPU and moved to the images."""
    generator = runtime.generator(request.seed, "init")
    model = models.build(request.architecture, generator=generator, **options)
    return model.to(request.x.device)


def _decayed(reading: str) -> Callable[[Request], tuple[nn.Module, Outcome]]:
    """Return the job of full-batch L-BFGS on cross entropy with weight decay, in one reading."""

    def job(request: Request) -> tuple[nn.Module, Outcome]:
        model = _initial(request, gain=request.numbers["gain"])
        x, trained = request.x.flatten(1), model  # (N, C, H, W) -> (N, pixels)
        if request.base is not None:  # a softmax layer on a frozen code: convex, and cheap
            adopt_encoder(model, request.base)
            x = request.base.encode(x).detach()  # (N, pixels) -> (N, units)
            trained = model.layers[-1]
        layers = objectives.linear_layers(trained)
        lam = [request.numbers[f"lam{i}"] for i in range(len(layers))]
        units = [layer.out_features for layer in layers]
        outcome = fit_full_batch(
            trained,
            objectives.cross_entropy(objectives.decay_coefficients(reading, lam, units)),
            x,
            request.y,
            iterations=int(request.numbers["iterations"]),
            history=int(request.numbers["history"]),
            resume=request.resume,
            save=request.save,
            log=request.log,
        )
        return model, outcome

    return job


def _minibatch(
    request: Request,
    model: nn.Module,
    objective: objectives.Objective,
    companion: Companion | None = None,
) -> tuple[nn.Module, Outcome]:
    """Train `model` with the request's numbers; by Adam unless they name another optimiser.

    "nesterov" and "adamw" choose the optimiser by their value, its weight decay.  "wrong" is the
    share of labels that are exchanged for others, see `units.mislabelled`.
    """
    numbers, y = request.numbers, request.y
    if "wrong" in numbers:
        y, _ = units.mislabelled(y, numbers["wrong"], request.seed)
    named = [name for name in ("nesterov", "adamw") if name in numbers]
    optimiser = named[0] if named else "adam"
    outcome = fit_minibatch(
        model,
        objective,
        request.x,
        y,
        epochs=int(numbers["epochs"]),
        batch=int(numbers["batch"]),
        lr=numbers["lr"],
        generator=runtime.generator(request.seed, "order"),
        optimiser=optimiser,
        weight_decay=numbers.get(optimiser, 0.0),
        warmup=numbers.get("warmup", 0.0),
        channels_last=bool(numbers.get("channels_last")),
        bfloat16=bool(numbers.get("bfloat16")),
        augment=crop_and_mirror if numbers.get("augment") else None,
        companion=companion,
        resume=request.resume,
        save=request.save,
        log=request.log,
    )
    return model, outcome


def _cross_entropy(request: Request) -> tuple[nn.Module, Outcome]:
    """The mean cross entropy."""
    objective = objectives.cross_entropy(smoothing=request.numbers.get("smoothing", 0.0))
    return _minibatch(request, _initial(request), objective)


def _adversarial(request: Request) -> tuple[nn.Module, Outcome]:
    """The cross entropy at adversarial images: of one step, unless the numbers say more."""
    numbers = request.numbers
    updates = numbers["epochs"] * math.ceil(len(request.x) / numbers["batch"])
    training = Adversarial(
        numbers["eps"],
        numbers["step"],
        int(numbers.get("steps", 1)),
        runtime.generator(request.seed, "start"),
        growth=round(numbers["growth"] * updates),
        smoothing=numbers.get("smoothing", 0.0),
    )
    return _minibatch(request, _initial(request), training, training)


def _sparse_autoencoder(request: Request) -> tuple[nn.Module, Outcome]:
    """Adam on the sparse reconstruction loss."""
    numbers = request.numbers
    objective = objectives.sparse_reconstruction(
        numbers["rho"], numbers["beta"], numbers["ae_decay"]
    )
    return _minibatch(request, _initial(request, rho=numbers["rho"]), objective)


def _half_squares(request: Request, model: nn.Module) -> list[float]:
    """Return the coefficients of the request's weight decay, in the calibrated reading."""
    layers = objectives.linear_layers(model)
    lam = [request.numbers[f"lam{i}"] for i in range(len(layers))]
    units = [layer.out_features for layer in layers]
    return objectives.decay_coefficients("calibrated", lam, units)


def _decayed_minibatch(request: Request) -> tuple[nn.Module, Outcome]:
    """Adam on the cross entropy with weight decay."""
    model = _initial(request)
    return _minibatch(request, model, objectives.cross_entropy(_half_squares(request, model)))


def _dropout(request: Request) -> tuple[nn.Module, Outcome]:
    """Adam on the cross entropy with weight decay and dropout."""
    model = _initial(request)
    decay = _half_squares(request, model)
    rates = [request.numbers[f"drop{i}"] for i in range(len(decay))]
    dropout = objectives.Dropout(decay, rates, runtime.generator(request.seed, "dropout"))
    return _minibatch(request, model, dropout, dropout)


def _unit_dropout(request: Request) -> tuple[nn.Module, Outcome]:
    """The cross entropy with dropout in one hidden layer."""
    numbers, generator = request.numbers, runtime.generator(request.seed, "dropout")
    training = units.UnitDropout(int(numbers["level"]), numbers["rate"], generator)
    return _minibatch(request, _initial(request), training, training)


def _interaction_loss(request: Request) -> tuple[nn.Module, Outcome]:
    """The cross entropy with the interaction loss of one hidden layer."""
    numbers = request.numbers
    training = units.InteractionLoss(
        int(numbers["level"]),
        numbers["weight"],
        int(numbers["contexts"]),
        numbers["share"],
        runtime.generator(request.seed, "contexts"),
    )
    return _minibatch(request, _initial(request), training, training)


def _pools(request: Request) -> tuple[nn.Module, Outcome]:
    """Adam with weight decay and pools of adversarial examples."""
    model, numbers = _initial(request), request.numbers
    decay = _half_squares(request, model)
    training = PoolTraining(
        request.x,
        request.y,
        sizes={i: int(size) for i in range(len(decay)) if (size := numbers.get(f"size{i}"))},
        fresh=int(numbers["fresh"]),
        share=numbers["share"],
        target="likeliest" if numbers["likeliest"] else "random",
        gaussian=bool(numbers["gaussian"]),
        coefficients=decay,
        generator=runtime.generator(request.seed, "pool"),
    )
    return _minibatch(request, model, training, training)


JOBS: dict[str, Callable[[Request], tuple[nn.Module, Outcome]]] = {
    "decay-calibrated": _decayed("calibrated"),
    "decay-literal": _decayed("literal"),
    "cross-entropy": _cross_entropy,
    "sparse-autoencoder": _sparse_autoencoder,
    "decay-minibatch": _decayed_minibatch,
    "dropout": _dropout,
    "pools": _pools,
    "unit-dropout": _unit_dropout,
    "interaction-loss": _interaction_loss,
    "pgd": _adversarial,
    "fgsm-rs": _adversarial,
}
