"""Judging a defence: each image against the strongest of several attacks."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intriguing import batches
from intriguing.attacks import check_inputs, logits_of, looks_like_probabilities
from intriguing.attacks.balls import BALLS
from intriguing.attacks.losses import margin
from intriguing.models.folding import folded
from intriguing.robustness import flags
from intriguing.robustness.judgement import CLEAN, Judgement, Stage
from intriguing.robustness.suites import SUITES, Attack

SLACK = 1e-5  # by which an adaptive attack's image may leave the ball, share of eps: rounding
NEAR = 0.3  # of the clean margin left at an image's worst point: fewer, and it came near to falling
SAMPLE, LEAST = 0.1, 4  # share and least number of the other images that get the long attacks too


def judge(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    suite: str | Sequence[Attack] = "auto",
    adaptive: Sequence[Attack] = (),
    thorough: bool = False,
    eot: int = 1,
    seed: int = 0,
    batch: int | None = None,
    look: int = 64,
) -> Judgement:
    """Return which images stand against every attack of a suite, and whether to believe it.

    An image is robust if the network is right about it and stays right under all attacks.  Each
    attack sees the images that still stand; its images count only after a fresh forward pass of
    the network itself, in float32, and a check of ball and box.  The attacks see a copy with batch
    norms folded and tensors in the order that is fastest, where that leaves the logits as they are.

    The long attacks of a suite are for images that came near to falling: at their worst point so
    far less than 0.3 of their clean margin was left.  A tenth of the others get them as well, and
    if one of these falls, all do.

    Parameters
    ----------
    model : pixels to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels.
    eps : radius of the ball, pixel units; 0 asks for the clean accuracy.
    norm : "linf" or "l2".
    suite : "fgsm", "pgd" (50 steps, 10 restarts), "auto", or attacks of your own.
    adaptive : attacks made for this defence; every image that stands gets them.
    thorough : whether every image that stands gets the long attacks.
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
    chosen = [*_attacks(suite, classes), *adaptive]
    if norm not in BALLS:
        raise ValueError(f"norm must be one of {', '.join(BALLS)}, not {norm!r}")
    if not 0 <= eps < float("inf"):
        raise ValueError(f"eps must be a number of at least 0, not {eps}")
    with torch.no_grad():
        if looks_like_probabilities(logits_of(model, x[:100])):
            raise ValueError(
                "the network's answers are probabilities: judge what stands before its softmax, "
                "whose rounding hides the slope"
            )
    case = Case(model, x, y, eps, norm, eot, seed, batch)
    if eps > 0:
        case.run([attack for attack in chosen if not attack.long], case.robust)
        long = [attack for attack in chosen if attack.long]
        near, sample = case.near_and_sample(thorough)
        case.run(long, near | sample)
        if (sample & ~near & ~case.robust).any():  # one that was far fell: so others may
            case.run(long, ~near & ~sample)
    seen: tuple[flags.Flag, ...] = ()
    if look and eps > 0:
        first = case.clean.nonzero().squeeze(1)[:look]
        seen = flags.look_for(model, x[first], y[first], eps=eps, norm=norm, stages=case.stages,
                              seed=seed, batch=batch)  # fmt: skip
    return Judgement(case.robust, tuple(case.broken_by), case.x_adv, case.passes,
                     tuple(case.stages), seen, eps, norm, case.clean)  # fmt: skip


class Case:
    """The images of one judgement, and what the attacks so far have done to them."""

    def __init__(self, model, x, y, eps, norm, eot, seed, batch) -> None:
        self.model, self.x, self.y, self.eps, self.norm = model, x, y, eps, norm
        self.options = {"eps": eps, "norm": norm, "seed": seed, "eot": eot, "batch": batch}
        self.attacked = _cheaper(model, x[:8]) if eot == 1 else model
        self.eot = eot
        self.clean = ~self.wrong(x, y)
        self.robust, self.x_adv = self.clean.clone(), x.clone()
        self.passes = torch.full_like(y, eot)
        self.broken_by = ["" if right else CLEAN for right in self.clean.tolist()]
        self.margin = -self.behind(x, y)  # (N,) of the clean images
        self.worst = self.margin.clone()  # the least at any point so far
        self.stages: list[Stage] = []

    def run(self, attacks: Sequence[Attack], chosen: Tensor) -> None:
        """Run attacks on those of the chosen images (N,) bool that stand."""
        for attack in attacks:
            rows = (self.robust & chosen).nonzero().squeeze(1)
            if not len(rows):
                return
            start = time.perf_counter()
            x, y = self.x[rows], self.y[rows]
            found = attack.run(self.attacked, x, y, **self.options)
            _check_ball(attack.name, x, found.x_adv, self.eps, self.norm)
            fell = found.success.clone()
            fell[found.success] = self.wrong(found.x_adv[fell], y[fell])
            self.worst[rows] = torch.minimum(self.worst[rows], -self.behind(found.x_adv, y))
            self.passes[rows] += 2 * found.gradients + found.forwards
            fallen = rows[fell]
            self.x_adv[fallen], self.robust[fallen] = found.x_adv[fell], False
            for row in fallen.tolist():
                self.broken_by[row] = attack.name
            self.stages.append(Stage(
                attack.name, attack.black_box, len(rows), len(fallen), int(found.gradients.sum()),
                int(found.forwards.sum()), time.perf_counter() - start,
            ))  # fmt: skip

    def near_and_sample(self, thorough: bool) -> tuple[Tensor, Tensor]:
        """Return which images came near to falling, and some of the others: (N,) bool each."""
        near = self.robust & ((self.worst < NEAR * self.margin) | thorough)
        far = (self.robust & ~near).nonzero().squeeze(1)
        count = min(len(far), max(LEAST, round(SAMPLE * len(far))))
        sample = torch.zeros_like(near)
        share = (self.worst / self.margin)[far]
        # the nearer half by margin, the rest evenly over the others
        order = far[share.argsort()]
        sample[order[: (count + 1) // 2]] = True
        left = order[(count + 1) // 2 :]
        sample[left[:: max(1, len(left) // max(1, count // 2))][: count // 2]] = True
        return near, sample

    @torch.no_grad()
    def wrong(self, x: Tensor, y: Tensor) -> Tensor:
        """Say which images the network gets wrong in at least half of its answers, (N,) bool."""
        share = torch.zeros(len(x), device=x.device)
        for _ in range(self.eot if len(x) else 0):
            share += batches.apply(
                lambda images, labels: (logits_of(self.model, images).argmax(1) != labels).float(),
                x, y, batch=500,
            )  # fmt: skip
        return 2 * share >= self.eot if len(x) else torch.zeros_like(y, dtype=torch.bool)

    @torch.no_grad()
    def behind(self, x: Tensor, y: Tensor) -> Tensor:
        """Return how far the best other class is ahead of the label, logits (N,)."""
        return batches.apply(
            lambda images, labels: margin(logits_of(self.attacked, images), labels), x, y, batch=500
        )


def _attacks(suite: str | Sequence[Attack], classes: int) -> tuple[Attack, ...]:
    if isinstance(suite, str) and suite not in SUITES:
        raise ValueError(f"suite must be one of {', '.join(SUITES)}, not {suite!r}")
    chosen = SUITES[suite] if isinstance(suite, str) else tuple(suite)
    return tuple(attack for attack in chosen if classes >= attack.classes)


def _cheaper(model: nn.Module, x: Tensor) -> nn.Module:
    """Return a copy with cheaper passes (`models.folding`), or itself where its answers change."""
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
