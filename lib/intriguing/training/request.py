"""What a method gets to train with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.training.loop import Log, Save


@dataclass(frozen=True)
class Request:
    """A network to train, on what, from what, and how to save and resume.

    Parameters
    ----------
    model : freshly initialised, on the device that trains.
    seed : of everything random, each thing with a stream of its own.
    x, y : (N, C, H, W) pixels in [0, 1] and (N,) labels, on that device.
    held : images and labels that are not trained on, to measure on meanwhile.
    parents : trained networks to build on, by role.
    resume : the state to go on from, see `loop.drive`.
    """

    model: nn.Module
    seed: int
    x: Tensor
    y: Tensor
    parents: Mapping[str, nn.Module] = field(default_factory=dict)
    resume: dict | None = None
    save: Save | None = None
    log: Log | None = None
    held: tuple[Tensor, Tensor] | None = None

    def generator(self, stream: str) -> torch.Generator:
        """Return the generator, on the CPU, of one stream of the training's randomness."""
        return runtime.generator(self.seed, stream)
