"""What the attacks share that look for the nearest adversarial image: `fab`, `deepfool` and others.

The goal of each row, the nearest point that reached it so far, gradients, and the frame around a
search: rows that need none, batches, counts, and the measure at the end.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.attacks.common import AttackResult, check_inputs, measure
from intriguing.attacks.losses import margin, without
from intriguing.batches import Batch

BATCH = {"cpu": 128, "cuda": 4096}  # the cache of a core, the width of a GPU
WORDS = ("steps", "already there", "within eps", "search ended")
STEPS, ALREADY, WITHIN, ENDED = range(len(WORDS))


def linf(change: Tensor) -> Tensor:
    """Return the largest change of a number in each row, (N,)."""
    return change.flatten(1).abs().amax(1)


def l2(change: Tensor) -> Tensor:
    """Return the Euclidean norms (N,)."""
    return change.flatten(1).norm(dim=1)


def l1(change: Tensor) -> Tensor:
    """Return the sums of absolute values (N,)."""
    return change.flatten(1).abs().sum(1)


def l0(change: Tensor) -> Tensor:
    """Return how many places (all channels together) of (N, C, H, W) changed, (N,)."""
    return (change != 0).any(1).flatten(1).sum(1).to(change.dtype)


NORMS: dict[str, Callable[[Tensor], Tensor]] = {"linf": linf, "l2": l2, "l1": l1, "l0": l0}
DUALS = {"linf": l1, "l2": l2, "l1": linf}  # |<w, d>| <= dual(w) norm(d)


class Goal:
    """What a row has to be taken for: anything but y, or `target` where there is one."""

    def __init__(self, y: Tensor, target: Tensor | None) -> None:
        self.y, self.target = y, target

    def __getitem__(self, rows) -> Goal:
        return Goal(self.y[rows], None if self.target is None else self.target[rows])

    def margin(self, logits: Tensor) -> Tensor:
        """Return how far the goal is ahead, (N,): above 0 it is reached."""
        if self.target is None:
            return margin(logits, self.y)
        return -margin(logits, self.target)

    def odds(self, logits: Tensor) -> Tensor:
        """Return the log odds of the goal, log(p / (1 - p)), (N,).

        Their gradient points where that of the cross entropy does, and does not vanish where the
        network is so sure that p or 1 - p is 0 in floating point.
        """
        label = self.y if self.target is None else self.target
        others = without(logits, label).logsumexp(1) - logits.gather(1, label[:, None]).squeeze(1)
        return others if self.target is None else -others

    def reached(self, logits: Tensor, confidence: float = 0.0) -> Tensor:
        """Say which rows are there, (N,), by more than the rounding of a logit.

        The same image gives logits that differ in the last bits in another batch.
        """
        slack = 8 * torch.finfo(logits.dtype).eps * logits.abs().amax(1)
        return self.margin(logits) > confidence + slack


COLUMNS = ("x_adv", "c", "iterations", "gradients", "forwards", "stop")


class Nearest:
    """The nearest point that reached the goal, for each image, and what finding it cost.

    x : (N, C, H, W) pixels in [0, 1].
    norm : a name of NORMS.
    exact : take differences in float64, so that no rounding lets a point into a ball.
    """

    def __init__(self, x: Tensor, norm: str, *, exact: bool = False) -> None:
        self.x, self.norm = x, NORMS[norm]
        self.x_adv, self.dtype = x.clone(), torch.float64 if exact else x.dtype
        self.size = x.new_full((len(x),), torch.inf, dtype=self.dtype)
        self.c = x.new_full((len(x),), torch.nan)
        self.iterations, self.gradients, self.forwards, self.stop = (
            torch.zeros(len(x), dtype=torch.int64, device=x.device) for _ in range(4)
        )

    def offer(self, rows: Tensor, at: Tensor, reached: Tensor, c: Tensor | None = None) -> None:
        """Take the points `at` (B, C, H, W) of images `rows` (B,), no two alike, where better."""
        some = reached.nonzero().squeeze(1)
        if not len(some):
            return
        rows, at = rows[some], at[some]
        size = self.norm(at.to(self.dtype) - self.x[rows].to(self.dtype))
        better = (size < self.size[rows]).nonzero().squeeze(1)
        rows = rows[better]
        self.size[rows], self.x_adv[rows] = size[better], at[better]
        if c is not None:
            self.c[rows] = c[some][better]


def differentiate(
    model: nn.Module, at: Tensor, function: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return logits (N, K) and the gradient (N, C, H, W) of the sum of a function of them."""
    pixels = at.detach().requires_grad_()
    with torch.enable_grad():
        logits = _with_graph(model, pixels)
        (g,) = torch.autograd.grad(function(logits).sum(), pixels)
    return logits.detach(), g


def differences(
    model: nn.Module, at: Tensor, label: Tensor, others: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits (N, K), Z_k - Z_label for k in `others` (N, M), and gradients (N, M, C, H, W).

    One forward pass, and a backward pass for each of the M classes.
    """
    pixels = at.detach().requires_grad_()
    with torch.enable_grad():
        logits = _with_graph(model, pixels)
        gaps = logits.gather(1, others) - logits.gather(1, label[:, None])  # (N, M)
        last = others.shape[1] - 1
        gradients = [
            torch.autograd.grad(gaps[:, k].sum(), pixels, retain_graph=k < last)[0]
            for k in range(last + 1)
        ]
    return logits.detach(), gaps.detach(), torch.stack(gradients, dim=1)


def _with_graph(model: nn.Module, pixels: Tensor) -> Tensor:
    logits = model(pixels)
    if not logits.requires_grad:
        raise ValueError("the model's logits carry no gradient: its forward must not detach its "
                         "input or switch gradients off")  # fmt: skip
    return logits


def per_row(values: Tensor) -> Tensor:
    """Return (N,) as (N, 1, 1, 1)."""
    return values[:, None, None, None]


def shorten(model: nn.Module, found: Nearest, goal: Goal, steps: int) -> None:
    """Bisect the segment from each image to its nearest point, `steps` forward passes.

    The far end always is a point that reached the goal; what the segment crosses twice may lead to
    the crossing that is not the nearest.
    """
    rows = found.size.isfinite().nonzero().squeeze(1)
    x, end, goal = found.x[rows], found.x_adv[rows], goal[rows]
    low, high = x.new_zeros(len(rows)), x.new_ones(len(rows))
    for _ in range(steps if len(rows) else 0):
        middle = (low + high) / 2
        at = torch.lerp(x, end, per_row(middle)).clamp_(0, 1)
        reached = goal.reached(model(at))
        found.offer(rows, at, reached)
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    found.forwards[rows] += steps


def rows_at_once(x: Tensor, batch: int | None) -> Batch:
    """Return a Batch of `batch` rows, or of what suits the device: 128 on a CPU, 4,096 on a GPU."""
    return Batch(batch if batch is not None else BATCH.get(x.device.type, 128))


def attack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    target: Tensor | None,
    norm: str,
    batch: Batch,
    search: Callable[[Nearest, Goal, Tensor], None],
    *,
    exact: bool = False,
) -> AttackResult:
    """Search the nearest point of all images that are not there yet, and measure what was found.

    Parameters
    ----------
    model, x, y, target : as the attack got them; what is wrong with them is a ValueError.
    batch : images that `search` gets at once, see `rows_at_once`.
    search : called as search(found, goal, logits of the clean images) without gradients; offers
        points to `found`, and counts in it.
    exact : as in `Nearest`.
    """
    check_inputs(model, x, y, target)
    pixels, goal = x.clamp(0, 1), Goal(y, target)

    def searched(part: slice) -> Nearest:
        found, aims = Nearest(pixels[part], norm), goal[part]
        logits = model(found.x)
        found.forwards += 1
        there = logits.argmax(1) != y[part] if target is None else logits.argmax(1) == target[part]
        found.stop[there] = ALREADY
        rows = (~there).nonzero().squeeze(1)
        if len(rows):
            some = Nearest(found.x[rows], norm, exact=exact)
            some.forwards += 1
            search(some, aims[rows], logits[rows])
            for name in COLUMNS:
                getattr(found, name)[rows] = getattr(some, name)
        return found

    with runtime.eval_mode(model), torch.no_grad():
        parts = batch.over(searched, len(x))
    columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in COLUMNS}
    reasons = tuple(WORDS[i] for i in columns.pop("stop").tolist())
    return measure(model, x, y, columns.pop("x_adv"), target, stop_reason=reasons, **columns)


def check_choice(**choices) -> None:
    """Raise ValueError for a value that is not among those known: name=(value, known)."""
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def check_numbers(least: float, **numbers: float) -> None:
    """Raise ValueError for a number that is not finite, below `least`, or 0 where that is 0."""
    for name, value in numbers.items():
        if not least <= value < float("inf") or value == 0:
            rule = f"at least {least:g}" if least else "positive"
            raise ValueError(f"{name} must be {rule}, not {value}")
