"""Suites: the attacks that `judge` runs, in their order.

`auto` asks what the standard suite of Croce and Hein (2020, arXiv 2003.01690) asks: Auto-PGD with
the cross entropy, Auto-PGD with the targeted dlr, FAB with targets, Square.  It begins with what
breaks an undefended network in a few steps, and each attack sees only the images that still stand.
The long ones, nine tenths of the cost, are for images that came near to falling: see `judge`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from intriguing.attacks import AttackResult, apgd, apgd_targeted, fab, fgsm, pgd, square
from intriguing.attacks.common import measure


@dataclass(frozen=True)
class Attack:
    """One attack of a suite.

    Parameters
    ----------
    name : what `Judgement.broken_by` says.
    run : called as run(model, x, y, eps=, norm=, seed=, eot=, batch=); returns an AttackResult with
        pixels in box and ball.
    classes : the fewest it can do with.
    black_box : whether it sees answers only.
    long : whether images that came nowhere near falling are spared it.
    """

    name: str
    run: Callable[..., AttackResult]
    classes: int = 2
    black_box: bool = False
    long: bool = False


def _fgsm(model, x, y, *, eps, norm, seed, eot, batch):
    return fgsm(model, x, y, eps=eps, norm=norm, batch=batch)


def _pgd(**options) -> Callable[..., AttackResult]:
    def run(model, x, y, *, eps, norm, seed, eot, batch):
        return pgd(model, x, y, eps=eps, norm=norm, seed=seed, eot=eot, batch=batch, **options)

    return run


def _short(model, x, y, *, eps, norm, seed, eot, batch):
    """A few long steps of the margin: undefended networks need no more."""
    return pgd(model, x, y, eps=eps, norm=norm, steps=8, step=eps / 2, loss="margin",
               start="zero", eot=eot, batch=batch)  # fmt: skip


def _apgd(loss: str) -> Callable[..., AttackResult]:
    def run(model, x, y, *, eps, norm, seed, eot, batch):
        return apgd(model, x, y, eps=eps, norm=norm, loss=loss, seed=seed, eot=eot, batch=batch)

    return run


def _targeted(targets: int) -> Callable[..., AttackResult]:
    def run(model, x, y, *, eps, norm, seed, eot, batch):
        return apgd_targeted(model, x, y, eps=eps, norm=norm, targets=targets, seed=seed, eot=eot,
                             batch=batch)  # fmt: skip

    return run


def _fab(model, x, y, *, eps, norm, seed, eot, batch):
    return fab(model, x, y, eps=eps, norm=norm, seed=seed, batch=batch)


def _square(queries: int) -> Callable[..., AttackResult]:
    def run(model, x, y, *, eps, norm, seed, eot, batch):
        return square(model, x, y, eps=eps, norm=norm, queries=queries, seed=seed, batch=batch)

    return run


SUITES: dict[str, tuple[Attack, ...]] = {
    "fgsm": (Attack("fgsm", _fgsm),),
    "pgd": (
        Attack("fgsm", _fgsm),
        Attack("pgd", _pgd(steps=50, restarts=10)),
    ),
    "auto": (
        Attack("pgd-short", _short),
        Attack("apgd-ce", _apgd("cross_entropy")),
        Attack("apgd-margin", _apgd("margin")),
        Attack("apgd-t, 3 targets", _targeted(3), classes=4),
        Attack("square, 300 queries", _square(300), black_box=True),
        Attack("apgd-t", _targeted(9), classes=4, long=True),
        Attack("square", _square(5000), black_box=True, long=True),
        Attack("fab-t", _fab, long=True),
    ),
}


def transferred(source: nn.Module, name: str = "transfer") -> Attack:
    """Return the attack that makes its images for another network, and tries them on this one.

    Parameters
    ----------
    source : pixels to logits of the same classes, in eval mode; the nearer to the judged network,
        the better the attack.
    """

    def run(model, x, y, *, eps, norm, seed, eot, batch):
        made = pgd(source, x, y, eps=eps, norm=norm, steps=40, loss="margin", seed=seed,
                   stop=False, batch=batch)  # fmt: skip
        return replace(
            measure(model, x, y, made.x_adv, None),
            gradients=made.gradients, forwards=torch.ones_like(made.forwards),
        )  # fmt: skip

    return Attack(name, run, black_box=True)
