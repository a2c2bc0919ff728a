"""The settings of a training by minibatches, which the options of most methods hold as `fit`."""

from dataclasses import dataclass
from typing import Literal

from intriguing import runtime
from intriguing.training.augmentation import crop_and_mirror
from intriguing.training.loop import Outcome
from intriguing.training.minibatch import fit_minibatch
from intriguing.training.objectives import Objective
from intriguing.training.request import Request


@dataclass(frozen=True)
class Fit:
    """How long, in what steps and how; see `minibatch.fit_minibatch`.

    Parameters
    ----------
    epochs, batch : passes over the images, and images in a minibatch.
    lr : the largest step size.
    optimiser, weight_decay, warmup, channels_last, bfloat16 : as `fit_minibatch` takes them.
    augment : crop and mirror the images, see `augmentation`.
    """

    epochs: int
    batch: int
    lr: float
    optimiser: Literal["adam", "adamw", "sgd", "nesterov"] = "adam"
    weight_decay: float = 0.0
    warmup: float = 0.0
    channels_last: bool = False
    bfloat16: bool = False
    augment: bool = False

    def written(self) -> dict[str, float]:
        """Return the settings as the keys of 2026-11-29 hold them.

        The optimiser's name stands for its weight decay, and what is at its default is left out.
        """
        found = {"epochs": self.epochs, "batch": self.batch, "lr": self.lr}
        if self.optimiser != "adam" or self.weight_decay:
            found[self.optimiser] = self.weight_decay
        more = ("warmup", "channels_last", "bfloat16", "augment")
        return found | {name: float(getattr(self, name)) for name in more if getattr(self, name)}

    def run(self, request: Request, objective: Objective, replays: int = 1) -> Outcome:
        """Train the request's network by an objective, which may be its own companion."""
        return fit_minibatch(
            request.model,
            objective,
            request.x,
            request.y,
            epochs=self.epochs,
            batch=self.batch,
            lr=self.lr,
            generator=runtime.generator(request.seed, "order"),
            optimiser=self.optimiser,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
            channels_last=self.channels_last,
            bfloat16=self.bfloat16,
            augment=crop_and_mirror if self.augment else None,
            replays=replays,
            companion=objective if hasattr(objective, "before_round") else None,
            resume=request.resume,
            save=request.save,
            log=request.log,
        )
