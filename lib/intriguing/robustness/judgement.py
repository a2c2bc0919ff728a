"""The verdict of `judge`: which images stand, who broke the others, at what cost."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from intriguing import stats
from intriguing.robustness.flags import Flag

CLEAN = "none needed"  # what "broke" an image that the network gets wrong as it is


@dataclass(frozen=True)
class Stage:
    """One attack of a suite: how many images stood before it, how many fell, and its cost.

    name : of the attack.
    black_box : whether it sees answers only, no gradients.
    standing, fell : images.
    gradients, forwards : passes of single images, with a gradient and without.
    seconds : of wall time.
    """

    name: str
    black_box: bool
    standing: int
    fell: int
    gradients: int
    forwards: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a suite of attacks leaves of a network on N images.

    robust : (N,) bool, right as it is and after every attack.
    broken_by : N names of attacks; "" where robust, `CLEAN` where the image is wrong as it is.
    x_adv : (N, C, H, W) the image that broke it; the image itself where nothing did.
    passes : (N,) int64, passes spent on each image: 1 forward, 2 with a gradient.
    stages : the attacks in their order.
    flags : reasons not to believe the number, see `flags`.
    eps, norm : the ball.
    """

    robust: Tensor
    broken_by: tuple[str, ...]
    x_adv: Tensor
    passes: Tensor
    stages: tuple[Stage, ...]
    flags: tuple[Flag, ...]
    eps: float
    norm: str
    clean: Tensor = field(repr=False)

    @property
    def clean_acc(self) -> stats.Interval:
        """Share of images that the network gets right as they are (Wilson)."""
        return stats.wilson(int(self.clean.sum()), len(self.clean))

    @property
    def robust_acc(self) -> stats.Interval:
        """Share of images that stand, of all images (Wilson): an upper bound of the truth."""
        return stats.wilson(int(self.robust.sum()), len(self.robust))

    @property
    def seconds(self) -> float:
        """Wall time of the attacks."""
        return sum(stage.seconds for stage in self.stages)

    def standing_after(self, name: str) -> Tensor:
        """Return which images stand after the attack of that name and those before it, (N,) bool.

        Raises ValueError for an attack that was not run.
        """
        names = [stage.name for stage in self.stages]
        if name not in names:
            raise ValueError(f"no attack {name!r} was run, but {', '.join(names)}")
        later = names[names.index(name) + 1 :]
        still = [who == "" or who in later for who in self.broken_by]
        return torch.tensor(still, device=self.robust.device)

    def table(self) -> pd.DataFrame:
        """Return a row a stage: standing, fell, robust accuracy after it, passes, seconds."""
        rows, n, standing = [], len(self.robust), int(self.clean.sum())
        for stage in self.stages:
            standing -= stage.fell
            rows.append({
                "attack": stage.name, "standing": stage.standing, "fell": stage.fell,
                "accuracy after": standing / n,
                "passes": stage.forwards + 2 * stage.gradients, "seconds": stage.seconds,
            })  # fmt: skip
        return pd.DataFrame(rows)
