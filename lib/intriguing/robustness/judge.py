"""Judging a defence: each image against the strongest of several attacks."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intriguing import batches
from intriguing.attacks import check_inputs, logits_of, looks_like_probabilities
from intriguing.attacks.balls import BALLS
from intriguing.models.folding import folded
from intriguing.robustness import flags
from intriguing.robustness.judgement import CLEAN, Judgement, Stage
from intriguing.robustness.suites import SUITES, Attack

SLACK = 1e-5  # by which an adaptive attack's image may leave the ball, share of eps: rounding


def judge(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    suite: str | Sequence[Attack] = "auto",
    adaptive: Sequence[Attack] = (),
    eot: int = 1,
    seed: int = 0,
    batch: int | None = None,
    look: int = 64,
) -> Judgement:
    """Return which images stand against every attack of a suite, and whether to believe it.

    An image is robust if the network is right about it and stays right under all attacks.  Each
    attack sees the images that still stand; its images count only after a fresh forward pass of
    the network itself, in float32, and a check of ball and box.  Batch norms are folded for the
    attacks where that leaves the logits as they are.

    Parameters
    ----------
    model : pixels to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels.
    eps : radius of the ball, pixel units; 0 asks for the clean accuracy.
    norm : "linf" or "l2".
    suite : "fgsm", "pgd" (50 steps, 10 restarts), "auto", or attacks of your own.
    adaptive : attacks made for this defence, run after the suite.
    eot : for networks that draw numbers: passes that each gradient is the mean of, and of which
        half must be wrong for an image to count as broken (Athalye et al. 2018).
    seed : of everything random; each image has its own numbers.
    batch : images that the network sees at once; each attack's own default if None.
    look : images that the red flags are looked for on, see `flags.look_for`; 0 for none.

    Raises
    ------
    ValueError : bad input (see `check_inputs`), answers that are probabilities, an attack whose
        images leave the ball, an unknown suite or norm.
    """
    classes = check_inputs(model, x, y)
    chosen = (*_attacks(suite, classes), *adaptive)
    if norm not in BALLS:
        raise ValueError(f"norm must be one of {', '.join(BALLS)}, not {norm!r}")
    if not 0 <= eps < float("inf"):
        raise ValueError(f"eps must be a number of at least 0, not {eps}")
    _refuse_probabilities(model, x)
    wrong = Wrong(model, eot)
    clean = ~wrong(x, y)
    robust, x_adv, passes = clean.clone(), x.clone(), torch.full_like(y, eot)
    broken_by = ["" if right else CLEAN for right in clean.tolist()]
    stages: list[Stage] = []
    attacked = _cheaper(model, x[:8]) if eot == 1 else model
    for attack in chosen if eps > 0 else ():
        rows = robust.nonzero().squeeze(1)
        if not len(rows):
            break
        start = time.perf_counter()
        found = attack.run(
            attacked, x[rows], y[rows], eps=eps, norm=norm, seed=seed, eot=eot, batch=batch
        )
        _check_ball(attack.name, x[rows], found.x_adv, eps, norm)
        fell = found.success.clone()
        fell[fell.clone()] = wrong(found.x_adv[fell], y[rows][fell])
        stages.append(Stage(
            attack.name, attack.black_box, len(rows), int(fell.sum()),
            int(found.gradients.sum()), int(found.forwards.sum()), time.perf_counter() - start,
        ))  # fmt: skip
        passes[rows] += 2 * found.gradients + found.forwards
        x_adv[rows[fell]] = found.x_adv[fell]
        robust[rows[fell]] = False
        for row in rows[fell].tolist():
            broken_by[row] = attack.name
    seen = ()
    if look and eps > 0:
        seen = flags.look_for(model, x[clean][:look], y[clean][:look], eps=eps, norm=norm,
                              stages=stages, seed=seed, batch=batch)  # fmt: skip
    return Judgement(
        robust, tuple(broken_by), x_adv, passes, tuple(stages), seen, eps, norm, clean
    )


class Wrong:
    """Says which images a network gets wrong: in at least half of its answers."""

    def __init__(self, model: nn.Module, answers: int = 1) -> None:
        self.model, self.answers = model, answers

    @torch.no_grad()
    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Return (N,) bool for pixels x (N, C, H, W) and labels y (N,)."""
        if not len(x):
            return torch.zeros_like(y, dtype=torch.bool)
        share = torch.zeros(len(x), device=x.device)
        for _ in range(self.answers):
            share += batches.apply(
                lambda images, labels: (logits_of(self.model, images).argmax(1) != labels).float(),
                x, y, batch=500,
            )  # fmt: skip
        return 2 * share >= self.answers


def _attacks(suite: str | Sequence[Attack], classes: int) -> tuple[Attack, ...]:
    if isinstance(suite, str) and suite not in SUITES:
        raise ValueError(f"suite must be one of {', '.join(SUITES)}, not {suite!r}")
    chosen = SUITES[suite] if isinstance(suite, str) else tuple(suite)
    return tuple(attack for attack in chosen if classes >= attack.classes)


@torch.no_grad()
def _refuse_probabilities(model: nn.Module, x: Tensor) -> None:
    if looks_like_probabilities(logits_of(model, x[:100])):
        raise ValueError(
            "the network's answers are probabilities: judge what stands before its softmax, whose "
            "rounding hides the slope"
        )


def _cheaper(model: nn.Module, x: Tensor) -> nn.Module:
    """Return the network with batch norms folded, or itself where that changes its answers."""
    if not any(isinstance(part, nn.BatchNorm2d) for part in model.modules()):
        return model
    try:
        return folded(model, x)
    except ValueError:
        return model


def _check_ball(name: str, x: Tensor, x_adv: Tensor, eps: float, norm: str) -> None:
    change = (x_adv.double() - x.double()).flatten(1)
    size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)  # (N,)
    if not (size.max() <= eps * (1 + SLACK) + 1e-7 and x_adv.min() >= 0 and x_adv.max() <= 1):
        raise ValueError(
            f"the attack {name!r} left the {norm} ball of {eps:.4g} or the box: its largest change "
            f"is {size.max():.6g}, its pixels lie in [{x_adv.min():.4g}, {x_adv.max():.4g}]"
        )
