"""What is measured of a network while it is trained, on images held out: a trace, the best weights.

Robust accuracy can fall while the training goes on, slowly (robust overfitting, Rice et al. 2020)
or within an epoch (catastrophic overfitting, Wong et al. 2020), so it is watched, and the weights
of the best point may be kept.  Nothing of this draws from the streams of the training: without
`keep` and `average` its weights are the same, watched or not.
"""

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.training.loop import Companion, Outcome

PGD_STEPS = 10
ROWS = 250  # images that are measured at once


Robust = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]  # (model, x, y): `under_attack`


class Watch:
    """Measures a network every so often; the companion of its training, in front of another.

    Parameters
    ----------
    model : that is trained.
    x, y : images and labels that are not trained on.
    every : updates between two measurements; 0 means at the end of each epoch only, where it is
        measured in any case.  None: never.
    best : keep the weights of the point with the best PGD accuracy, the first of equals; without
        `robust`, with the best clean accuracy.
    average : the share of the averaged weights that stays at each update, such as 0.999, less in
        the beginning: after t updates no more than (1 + t) / (10 + t).  What is measured and kept
        are then these.  0: no averaging.
    robust : `threat.under_attack` for what is trained against; None if there is nothing.
    companion : of the training, if it has one.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        every: int | None,
        best: bool,
        average: float,
        robust: Robust | None,
        companion: Companion | None,
    ) -> None:
        self.model, self.x, self.y = model, x, y
        self.every, self.best, self.average = every, best, average
        self.robust, self.companion = robust, companion
        self.averaged = copy.deepcopy(model) if average else None
        self.kept: dict | None = None  # {"score": float, "weights": {name: tensor}}
        self.losses: list[Tensor] = []  # of the updates since the last measurement
        self.started = self.spent = 0.0

    def before_round(self, model: nn.Module, outcome: Outcome) -> None:
        """Start the clock, and let the other companion prepare its round."""
        self.started, self.spent = time.perf_counter(), 0.0
        if self.companion is not None:
            self.companion.before_round(model, outcome)

    def after_update(self, outcome: Outcome, loss: Tensor) -> None:
        """Average the weights, and measure if it is time."""
        self.losses.append(loss)
        if self.averaged is not None:
            share = min(self.average, (1 + outcome.iterations) / (10 + outcome.iterations))
            _approach(self.averaged, self.model, 1 - share)
        if self.every and outcome.iterations % self.every == 0:
            self.look(outcome)

    def after_round(self, outcome: Outcome) -> None:
        """Measure at the end of an epoch; its seconds are then without those of measuring."""
        if self.every is not None and self.losses:
            self.look(outcome)
        self.losses = []
        outcome.seconds -= self.spent
        outcome.extra["watching"] = outcome.extra.get("watching", 0.0) + self.spent

    def look(self, outcome: Outcome) -> None:
        """Add a row to the trace, and keep the weights if they are the best."""
        before = time.perf_counter()
        seen = self.model if self.averaged is None else self.averaged
        row = {
            "update": outcome.iterations,
            "epoch": outcome.rounds + 1,
            "seconds": outcome.seconds + before - self.started - self.spent,
            "loss": float(torch.stack(self.losses).mean()),
            **self.measure(seen),
        }
        outcome.trace.append(row)
        self.losses = []
        score = row["clean" if row["pgd"] is None else "pgd"]
        if self.best and (self.kept is None or score > self.kept["score"]):
            weights = {name: t.detach().clone() for name, t in seen.state_dict().items()}
            self.kept = {"score": score, "weights": weights}
        self.spent += time.perf_counter() - before

    def measure(self, model: nn.Module) -> dict[str, float | None]:
        """Return clean, FGSM and PGD accuracy and the mean cosine; None for what is not defined."""
        parts: dict[str, list[Tensor]] = {"clean": [], "fgsm": [], "pgd": [], "cosine": []}
        with runtime.eval_mode(model):
            for x, y in zip(self.x.split(ROWS), self.y.split(ROWS), strict=True):
                with torch.no_grad():
                    parts["clean"].append(model(x).argmax(1) == y)
                if self.robust is not None:
                    for name, values in self.robust(model, x, y).items():
                        parts[name].append(values)
        return {name: _mean(values) for name, values in parts.items()}

    def finish(self) -> None:
        """Give the network the weights that are to be stored."""
        if self.kept is not None:
            self.model.load_state_dict(self.kept["weights"])
        elif self.averaged is not None:
            self.model.load_state_dict(self.averaged.state_dict())

    def state_dict(self) -> dict:
        """Return what decides how it goes on; the trace is the outcome's."""
        return {
            "companion": None if self.companion is None else self.companion.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "kept": self.kept,
        }

    def load_state_dict(self, tree: dict) -> None:
        """Go on from what `state_dict` returned."""
        if self.companion is not None:
            self.companion.load_state_dict(tree["companion"])
        if self.averaged is not None:
            self.averaged.load_state_dict(tree["averaged"])
        self.kept = tree["kept"]


@torch.no_grad()
def _approach(averaged: nn.Module, model: nn.Module, share: float) -> None:
    """Move averaged weights by a share of the way to a network's; counts are taken over."""
    for mine, new in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(new, share)
        else:
            mine.copy_(new)


def _mean(parts: list[Tensor]) -> float | None:
    """Return the mean of what is a number, None where nothing is."""
    values = torch.cat(parts).double() if parts else torch.empty(0)
    values = values[~values.isnan()]
    return float(values.mean()) if len(values) else None
