"""Training by minibatches, in the rounds of `loop`: one epoch each."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from intriguing.training.loop import Companion, Log, Outcome, Save, drive, measure
from intriguing.training.objectives import Objective
from intriguing.training.watch import Watch


def fit_minibatch(
    model: nn.Module,
    objective: Objective,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    batch: int,
    lr: float,
    generator: torch.Generator,
    optimiser: str = "adam",
    weight_decay: float = 0.0,
    warmup: float = 0.0,
    channels_last: bool = False,
    bfloat16: bool = False,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    replays: int = 1,
    companion: Companion | None = None,
    watch: Watch | None = None,
    resume: dict | None = None,
    save: Save | None = None,
    log: Log | None = None,
) -> Outcome:
    """Minimise the objective by minibatches, with a step size that ends by falling to zero.

    Parameters
    ----------
    model : trained in place.
    x, y : all images (N, ...) and labels (N,), on the model's device.
    epochs, batch : passes over the images, and images in a minibatch (the last may be smaller).
    lr : the largest step size.
    generator : draws the order of the images; a CPU generator whatever the device.
    optimiser : "adam", "adamw", "sgd" with momentum 0.9, or "nesterov", the same looking ahead.
    weight_decay : the optimiser's own.
    warmup : share of the steps in which the step size rises linearly from near zero to `lr`; in
        the rest it falls linearly to zero.
    channels_last : keep weights and images in the order that most convolutions prefer.  The model
        has its own order again at the end.
    bfloat16 : let autocast compute convolutions and products in bfloat16; weights, steps and what
        is measured at the end stay in their own type.
    augment : called as augment(images, generator) on every minibatch, see `augmentation`.
    replays : updates on a minibatch before the next one.
    companion : called before each epoch and saved with the state; the objective may use it.
    watch : measures on the way, and may decide on the weights at the end; it takes the place of
        the companion, and calls it.

    Raises
    ------
    ValueError : no epochs, an empty batch, no replay, another optimiser, a warmup outside [0, 1).
    FloatingPointError : the loss is not finite.
    """
    if epochs < 1 or batch < 1 or replays < 1:
        raise ValueError(
            f"epochs, batch and replays must be at least 1, got {epochs}, {batch} and {replays}"
        )
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is a share of the steps, at least 0 and below 1, not {warmup}")
    given = x
    if channels_last:
        model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    stepper = _stepper(optimiser, parameters, lr, weight_decay)
    steps = epochs * math.ceil(len(x) / batch) * replays

    def update(images: Tensor, labels: Tensor, outcome: Outcome) -> Tensor:
        for group in stepper.param_groups:
            group["lr"] = lr * _share(outcome.iterations, steps, warmup)
        stepper.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            loss = objective(model, images, labels)
        loss.backward()
        stepper.step()
        outcome.iterations += 1
        return loss.detach()

    def one_round(outcome: Outcome) -> None:
        total = torch.zeros((), device=x.device)
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for rows in order.split(batch):
            images = x[rows] if augment is None else augment(x[rows], generator)
            for _ in range(replays):
                loss = update(images, y[rows], outcome)
                total += loss * len(rows)
                if watch is not None:
                    watch.after_update(outcome, loss)
        outcome.evaluations = outcome.iterations
        outcome.loss = float(total / (len(x) * replays))
        if not math.isfinite(outcome.loss):
            raise FloatingPointError(f"training diverged in epoch {outcome.rounds + 1}")
        if watch is not None:
            watch.after_round(outcome)

    model.train()
    outcome = drive(
        model,
        stepper,
        one_round,
        rounds=epochs,
        generator=generator,
        companion=companion if watch is None else watch,
        resume=resume,
        save=save,
        log=log,
    )
    if watch is not None:
        watch.finish()
    if channels_last:
        model.to(memory_format=torch.contiguous_format)
    measure(outcome, model, objective, given, y, batch=125)  # in float32: less room than training
    return outcome


def _share(done: int, steps: int, warmup: float) -> float:
    """Return the step size over the largest one: a rise over `warmup` of the steps, and a fall."""
    if done < warmup * steps:
        return (done + 1) / (warmup * steps + 1)
    return (1 - done / steps) / (1 - warmup)


def _stepper(
    name: str, parameters: list[nn.Parameter], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return the minibatch optimiser of that name."""
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    if name in ("sgd", "nesterov"):
        return torch.optim.SGD(
            parameters, lr, momentum=0.9, weight_decay=weight_decay, nesterov=name == "nesterov"
        )
    raise ValueError(f"no optimiser {name!r}: valid are adam, adamw, nesterov, sgd")
