"""The settings of a training by minibatches, which the options of most methods hold as `fit`."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from intriguing import runtime
from intriguing.training.augmentation import crop_and_mirror
from intriguing.training.loop import Companion, Outcome
from intriguing.training.minibatch import fit_minibatch
from intriguing.training.objectives import Objective
from intriguing.training.request import Request
from intriguing.training.watch import Watch


@dataclass(frozen=True)
class Fit:
    """How long, in what steps and how; see `minibatch.fit_minibatch`.

    Parameters
    ----------
    epochs, batch : passes over the images, and images in a minibatch.
    lr : the largest step size.
    optimiser, weight_decay, warmup, channels_last, bfloat16 : as `fit_minibatch` takes them.
    augment : crop and mirror the images, see `augmentation`.
    held_out : images at the end of the training set that are not trained on, but measured on.
    watch : updates between two measurements on them, see `watch.Watch`; 0 means none, but for those
        at the ends of epochs that `keep` may need.
    keep : the weights of the end, or those of the measured point with the best PGD accuracy.
    average : the share of exponentially averaged weights that stays at an update; 0: no averaging.
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
    held_out: int = 0
    watch: int = 0
    keep: Literal["last", "best"] = "last"
    average: float = 0.0

    def written(self) -> dict[str, float]:
        """Return the settings as the keys of 2026-11-29 hold them.

        The optimiser's name stands for its weight decay, and what is at its default is left out.
        """
        found = {"epochs": self.epochs, "batch": self.batch, "lr": self.lr}
        if self.optimiser != "adam" or self.weight_decay:
            found[self.optimiser] = self.weight_decay
        more = ("warmup", "channels_last", "bfloat16", "augment", "held_out", "watch", "average")
        found |= {name: float(getattr(self, name)) for name in more if getattr(self, name)}
        return found if self.keep == "last" else found | {"keep_best": 1.0}

    def split(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """Return the images and labels to train on, and those held out, if any.

        Raises
        ------
        ValueError : none are left, or there is something to measure and nothing to measure on.
        """
        if not 0 <= self.held_out < len(x):
            raise ValueError(f"held_out is a part of the {len(x)} images, not {self.held_out}")
        if self.measures and not self.held_out:
            raise ValueError("watch and keep='best' measure on held-out images: held_out is 0")
        if self.watch < 0 or not 0 <= self.average < 1:
            raise ValueError(
                f"watch is a number of updates and average a share below 1, neither negative, got "
                f"{self.watch} and {self.average}"
            )
        n = len(x) - self.held_out
        return x[:n], y[:n], (x[n:], y[n:]) if self.held_out else None

    @property
    def measures(self) -> bool:
        """Whether the network is measured while it is trained."""
        return bool(self.watch) or self.keep == "best"

    def run(self, request: Request, objective: Objective, replays: int = 1) -> Outcome:
        """Train the request's network by an objective, which may be its own companion.

        Parameters
        ----------
        request : its images are those to train on, as `split` returns them.
        replays : updates on a minibatch before the next one.
        """
        companion = objective if hasattr(objective, "before_round") else None
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
            companion=companion,
            watch=self._watch(request, objective, companion),
            resume=request.resume,
            save=request.save,
            log=request.log,
        )

    def _watch(
        self, request: Request, objective: Objective, companion: Companion | None
    ) -> Watch | None:
        """Return what measures and averages, None if there is nothing to do."""
        if not (self.measures or self.average):
            return None
        x, y = request.held or (request.x[:0], request.y[:0])
        return Watch(
            request.model, x, y, every=self.watch if self.measures else None,
            best=self.keep == "best", average=self.average,
            robust=getattr(objective, "robust", None), companion=companion,
        )  # fmt: skip
