"""Red flags: signs that an attack failed because of the attack (Carlini et al. 2019, 1902.06705).

Each is a number compared with a bound that was set before any network of the book was judged.
Where two attacks are compared on the same images, the difference must be larger than `SHARE` of the
images and than chance (McNemar, one-sided 2.5 %).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from intriguing import stats
from intriguing.attacks import apgd, fgsm, logits_of, pgd
from intriguing.attacks.ascent import slope
from intriguing.attacks.balls import BALLS
from intriguing.attacks.draws import Draws
from intriguing.attacks.losses import LOSSES
from intriguing.tensors import units

if TYPE_CHECKING:
    from intriguing.robustness.judgement import Stage

SHARE = 0.05  # of the images, by which one attack must beat another
BLACK_BOX = 0.02  # of the images that stood before, broken without gradients
DRIFT = 1e-4  # of the largest logit, between two answers to the same images
CORNERS = 20  # random corners of the ball that are tried
WRONG_SLOPE = 0.5  # of the change that the gradient foretells
ZERO, STEEP = 1e-12, 1e6  # slope of the loss: logits a pixel


@dataclass(frozen=True)
class Flag:
    """A reason not to believe a robust accuracy.

    name : a word for tests and tables.
    says : the sentence for people, with its number.
    value, bound : what was measured, and what it should not exceed.
    """

    name: str
    says: str
    value: float
    bound: float


def look_for(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    stages: "Sequence[Stage]" = (),
    seed: int = 0,
    batch: int | None = None,
) -> tuple[Flag, ...]:
    """Return the red flags of a network on images x (N, C, H, W) that it gets right, labels y.

    Parameters
    ----------
    stages : what a suite did, for the flag "black box".

    Returns
    -------
    Flags of the names "random output", "zero gradient", "steep gradient", "wrong gradient",
    "single step", "more steps", "losses disagree", "random search", "large eps", "black box".
    Where the network draws numbers, only the first and the last two: for the others its answers to
    the same image must compare.
    """
    found = [_black_box(stages)]
    if len(x):
        random = _random_output(model, x)
        found += [random, _large_eps(model, x, y, norm, seed, batch)]
        if random is None:
            found += _gradients(model, x, y, eps, norm, seed)
            found += _compared(model, x, y, eps, norm, seed, batch)
    return tuple(flag for flag in found if flag is not None)


def _black_box(stages: "Sequence[Stage]") -> Flag | None:
    """Whether images that stood against gradients fell without them."""
    sighted = [stage for stage in stages if not stage.black_box]
    for number, stage in enumerate(stages):
        before = any(other in sighted for other in stages[:number])
        share = stage.fell / stage.standing
        if stage.black_box and before and stage.fell > 1 and share > BLACK_BOX:
            return Flag(
                "black box", f"{stage.name}, which sees no gradient, broke {share:.0%} of the "
                "images that attacks by gradients had left", share, BLACK_BOX,
            )  # fmt: skip
    return None


@torch.no_grad()
def _random_output(model: nn.Module, x: Tensor) -> Flag | None:
    first, second = logits_of(model, x), logits_of(model, x)
    drift = float((first - second).abs().max() / first.abs().max().clamp_min(1e-30))
    if drift <= DRIFT:
        return None
    return Flag(
        "random output", f"two answers to the same image differ by {drift:.2g} of the largest "
        "logit: judge with eot", drift, DRIFT,
    )  # fmt: skip


def _gradients(model, x, y, eps, norm, seed) -> list[Flag | None]:
    """Whether slopes vanish, explode, or do not foretell what a small step does."""
    loss = LOSSES["cross_entropy"]
    g = slope(lambda pixels: loss(logits_of(model, pixels), y), x)
    size = g.flatten(1).abs().amax(1)  # (N,)
    sizes = size.nan_to_num(nan=math.inf)
    zero, steep = (sizes < ZERO).float().mean().item(), (sizes > STEEP).float().mean().item()
    found = [
        Flag("zero gradient", f"the cross entropy has no slope at {zero:.0%} of the images",
             zero, SHARE) if zero > SHARE else None,
        Flag("steep gradient", f"the slope explodes at {steep:.0%} of the images", steep, SHARE)
        if steep > SHARE else None,
    ]  # fmt: skip
    wrong = _wrong_slopes(model, x, y, eps, norm).float().mean().item()
    if wrong > 0.25:
        found.append(Flag(
            "wrong gradient", f"at {wrong:.0%} of the images a small step does not change the "
            "margin as the gradient says", wrong, 0.25,
        ))  # fmt: skip
    return found


def _wrong_slopes(model, x, y, eps, norm) -> Tensor:
    """Say where the change of the margin over a small step is not what the gradient foretells.

    Along the direction that the gradient says is steepest, and along a random one; from a random
    point of the ball, so that no kink sits exactly there.
    """
    margin, step, ball, draws = LOSSES["margin"], eps / 50, BALLS[norm](x, eps), Draws(1, x)
    at = ball.start(draws)
    g = slope(lambda pixels: margin(logits_of(model, pixels), y), at)
    noise = draws.normal(*x.shape[1:])
    wrong = torch.zeros_like(y, dtype=torch.bool)
    for towards in (g, noise):
        direction = towards.sign() if norm == "linf" else units(towards)
        with torch.no_grad():
            ends = [at + side * step * direction for side in (1, -1)]
            ahead, behind = (margin(logits_of(model, end), y) for end in ends)
        seen, told = ahead - behind, 2 * step * (g * direction).flatten(1).sum(1)
        scale = torch.maximum(seen.abs(), told.abs()).clamp_min(1e-5)
        wrong |= (seen - told).abs() > WRONG_SLOPE * scale
    return wrong


def _compared(model, x, y, eps, norm, seed, batch) -> list[Flag | None]:
    """Whether the weaker of two attacks does more."""
    ball = {"eps": eps, "norm": norm, "batch": batch}
    single = fgsm(model, x, y, **ball).success
    few = pgd(model, x, y, steps=20, seed=seed, **ball).success
    many = pgd(model, x, y, steps=100, step=eps / 8, seed=seed, **ball).success
    ratio = apgd(model, x, y, loss="margin", steps=50, seed=seed, **ball).success
    plain = apgd(model, x, y, loss="cross_entropy", steps=50, seed=seed, **ball).success
    corners = _corners(model, x, y, eps, norm, seed)
    return [
        _beats("single step", "one step breaks more than 20 do", single, few),
        _beats("more steps", "100 steps still break more than 20", many, few, 2 * SHARE),
        _beats("losses disagree", "the margin breaks what the cross entropy cannot",
               ratio, plain, 2 * SHARE),
        _beats("losses disagree", "the cross entropy breaks what the margin cannot",
               plain, ratio, 2 * SHARE),
        _beats("random search", "random corners of the ball break what gradients cannot",
               corners, few | many | plain | ratio),
    ]  # fmt: skip


def _beats(name: str, says: str, a: Tensor, b: Tensor, share: float = SHARE) -> Flag | None:
    """Return the flag if the attack with success a (N,) beats that with success b."""
    more = (a & ~b).sum().item() - (b & ~a).sum().item()
    if more <= share * len(a) or stats.mcnemar(a.cpu().numpy(), b.cpu().numpy()).p > 0.05:
        return None
    value = more / len(a)
    return Flag(name, f"{says}: {value:.0%} of the images more", value, share)


@torch.no_grad()
def _corners(model, x, y, eps, norm, seed) -> Tensor:
    """Say which images some random corner of the ball breaks."""
    ball, draws = BALLS[norm](x, eps), Draws(seed, x)
    fell = torch.zeros_like(y, dtype=torch.bool)
    for _ in range(CORNERS):
        at = ball.move(x.clamp(0, 1), draws.normal(*x.shape[1:]), eps)
        fell |= logits_of(model, at).argmax(1) != y
    return fell


def _large_eps(model, x, y, norm, seed, batch) -> Flag | None:
    """Whether images stand where every image may become any other."""
    eps = 1.0 if norm == "linf" else x[0].numel() ** 0.5
    best = torch.zeros_like(y, dtype=torch.bool)
    for loss in ("margin", "cross_entropy"):
        best |= apgd(model, x, y, eps=eps, norm=norm, loss=loss, steps=50, seed=seed,
                     batch=batch).success  # fmt: skip
        if best.all():
            return None
    left = 1 - best.float().mean().item()
    if left <= SHARE:
        return None
    return Flag(
        "large eps", f"{left:.0%} of the images stand though every pixel may take any value",
        left, SHARE,
    )  # fmt: skip
