"""What the attacks in a ball share: a look at the network, who has fallen, and what it cost."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from intriguing import batches, runtime
from intriguing.attacks import pool
from intriguing.attacks.common import AttackResult, measure
from intriguing.attacks.pool import State


class Look(NamedTuple):
    """What an attack saw in one pass, for `observe`; S rows that are still attacked.

    rows, number : (S,) which images, and how many steps they have made in this run.
    x_adv : (S, C, H, W) their points, a copy.
    loss, fooled : (S,) the loss that grows, and whether the attack has its aim.
    """

    rows: Tensor
    number: Tensor
    x_adv: Tensor
    loss: Tensor
    fooled: Tensor


class Climb:
    """The images of one call, the best point of each so far, and the passes spent on it.

    Parameters
    ----------
    loss : of (logits, y), or of (logits, y, toward), to (S,) numbers to be raised.
    y, target : (N,) labels; targets, or None to get away from the labels.
    stop : whether a row leaves at its first point that fools.
    eot : passes whose mean counts, for networks that draw numbers.
    """

    def __init__(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None,
        loss: Callable[..., Tensor], *, batch: int, stop: bool, eot: int,
        observe: Callable[[Look], None] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.x, self.y, self.target, self.loss = model, x, y, target, loss
        self.batch, self.stop, self.eot = batches.Batch(batch), stop, eot
        self.observe = observe
        self.toward = target  # (N,) what the loss aims at; APGD-T changes it between its runs
        self.best = x.clamp(0, 1)
        self.score = torch.full_like(y, -torch.inf, dtype=x.dtype)
        self.fell = torch.zeros_like(y, dtype=torch.bool)
        self.iterations, self.gradients, self.forwards = (torch.zeros_like(y) for _ in range(3))

    def run(self, admit: Callable[[Tensor], State], advance: Callable[[State], State | None]):
        """Attack the rows that still stand, or all where none is to stop: see `pool.work`."""
        standing = ~self.fell if self.stop else torch.ones_like(self.fell)
        with runtime.eval_mode(self.model), torch.no_grad():
            pool.work(standing.nonzero().squeeze(1), self.batch.size, admit, advance)

    def look(self, state: State, last: Tensor | None = None) -> State | None:
        """Return the state with "loss", "fooled" and gradient "g", without the rows that fell.

        last : (S,) the rows that make no further step; where all do, no gradient is computed, and
            "g" is zero.
        """
        rows = state["rows"]
        last = torch.zeros_like(rows, dtype=torch.bool) if last is None else last
        slope = not last.all()
        parts = self.batch.over(lambda part: self._seen(state, part, slope), len(rows))
        loss, fooled, g = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        self.gradients[rows] += self.eot * ~last
        self.forwards[rows] += self.eot * last
        if self.observe is not None:
            self.observe(Look(rows, state["t"], state["at"].clone(), loss, fooled))
        state = state | {"loss": loss, "fooled": fooled, "g": g}
        if not self.stop or not fooled.any():
            return state
        fallen = fooled.nonzero().squeeze(1)
        self.offer(rows[fallen], state["at"][fallen], loss[fallen], fooled[fallen])
        return pool.kept(state, ~fooled)

    def offer(self, rows: Tensor, points: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Keep the points that are better than what their rows have.

        One that fools is better than one that does not, and then the higher loss.
        """
        had = self.fell[rows]
        better = (fooled & ~had) | ((fooled == had) & (loss > self.score[rows]))
        places = better.nonzero().squeeze(1)
        rows = rows[places]
        self.best[rows], self.score[rows] = points[places], loss[places]
        self.fell[rows] = fooled[places]

    def result(self, end: str = "steps") -> AttackResult:
        """Return the best points, measured by a fresh pass; `end`: what the standing ran out of."""
        found = measure(
            self.model, self.x, self.y, self.best, self.target, iterations=self.iterations,
            gradients=self.gradients, forwards=self.forwards,
        )  # fmt: skip
        reasons = ("fooled" if done and self.stop else end for done in found.success.tolist())
        return replace(found, stop_reason=tuple(reasons))

    def _seen(self, state: State, part: slice, slope: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss (S,), whether fooled (S,) and gradient (S, C, H, W) of a part of the rows."""
        rows, at = state["rows"][part], state["at"][part]
        labels = [self.y[rows]] + ([] if self.toward is None else [self.toward[rows]])
        aim = None if self.target is None else self.target[rows]
        logits = loss = g = 0
        for _ in range(self.eot):
            pixels = at.detach().requires_grad_(slope)
            with torch.set_grad_enabled(slope):
                answer = self.model(pixels.clone())  # a copy: networks may write into their input
                values = self.loss(answer, *labels)
            logits, loss = logits + answer.detach(), loss + values.detach()
            fooled = fools(logits, labels[0], aim)
            if slope and not (self.stop and self.eot == 1 and fooled.all()):
                g = g + gradient(values, pixels)
        if not isinstance(g, Tensor):
            g = torch.zeros_like(at)
        return (loss, fooled, g) if self.eot == 1 else (loss / self.eot, fooled, g / self.eot)


def fools(logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    """Say whether logits (S, K) have the aim (S,): the target, or anything but the label.

    Raises ValueError for logits that are not finite.
    """
    if not logits.isfinite().all():
        raise ValueError("the network's logits hold NaN or infinity: no attack can climb them")
    predicted = logits.argmax(1)
    return predicted != y if target is None else predicted == target


def gradient(values: Tensor, pixels: Tensor) -> Tensor:
    """Return the gradient (S, C, H, W) of the values (S,), each by the pixels of its own row.

    Raises ValueError where there are other than S values, or no way back to the pixels.
    """
    if values.shape != pixels.shape[:1]:
        raise ValueError(
            f"the loss must be one number an image, ({len(pixels)},), not {tuple(values.shape)}"
        )
    if not values.requires_grad:
        raise ValueError(
            "the loss has no gradient by the pixels: does the network run under no_grad, or "
            "detach its input? Attack it with square, which needs none"
        )
    return torch.autograd.grad(values, pixels, torch.ones_like(values))[0]
