r"""Auto-PGD: ascent with momentum whose steps halve where the loss stops rising.

.. math::
    z = \Pi(x_t + \alpha \, d(g_t)), \qquad
    x_{t+1} = \Pi(x_t + a (z - x_t) + (1 - a)(x_t - x_{t-1}))

from alpha = 2 eps and a = .75, of 1 in the first step (Croce and Hein 2020, arXiv 2003.01690).  At
each checkpoint an image whose loss rose in no more than 75 % of the steps since the last one, or
whose best loss is what it was there though its step was not halved there, goes on from its best
point with half the step.  As in the authors' code, x_{t-1} stays what it was when an image goes
back.  Other than there, the first rise is counted against the loss at the start; their code
compares it with zero.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from intriguing import batches, runtime
from intriguing.attacks import options, pool
from intriguing.attacks.balls import BALLS
from intriguing.attacks.climb import Climb, Look
from intriguing.attacks.common import AttackResult, check_inputs
from intriguing.attacks.draws import Draws
from intriguing.attacks.losses import dlr_targeted, without
from intriguing.attacks.pool import State

RISES = 0.75  # rho: the share of the steps that must raise the loss
MOMENTUM = 0.75  # a: the weight of the new step


def checkpoints(steps: int) -> list[int]:
    """Return after how many steps an image may halve its step: 22, 41, 57, 70, 80, ... of 100.

    The period is 22 % of the steps, and shrinks each time by 3 %, not below 6 %.
    """
    period, shrink, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    found, at = [], period
    while at <= steps:
        found.append(at)
        period = max(period - shrink, least)
        at += period
    return found


def apgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    loss: str | Callable[..., Tensor] = "cross_entropy",
    target: Tensor | None = None,
    steps: int = 100,
    restarts: int = 1,
    seed: int = 0,
    stop: bool = True,
    eot: int = 1,
    batch: int | None = None,
    observe: Callable[[Look], None] | None = None,
) -> AttackResult:
    """Auto-PGD (Croce and Hein 2020): 100 steps, of lengths that each image finds for itself.

    Parameters
    ----------
    model, x, y, eps, norm, loss, target, restarts, stop, eot, batch : as for `pgd.pgd`.
    steps : 100 as published.
    seed : of the starts, which lie on the rim of the ball; each image has its own numbers.
    observe : called after each pass, see `climb.Look`.

    Returns
    -------
    AttackResult.  x_adv is the first point that fools, or else that of the highest loss; with
    stop=False that of the highest loss among those that fool, or else among all.  `gradients`
    counts the passes forward and back with this image in them, `forwards` the look at the last
    point, which needs no gradient.

    Raises ValueError for bad input (see `check_inputs`), impossible options, and too few classes.
    """
    check_inputs(model, x, y, target)
    options.counts(restarts=restarts)
    climb = Climb(
        model, x, y, target, options.objective(loss, target is not None), stop=stop,
        **_checked(eps, norm, steps, eot, batch, x), observe=observe,
    )  # fmt: skip
    adaptive = Adaptive(climb, norm, eps, steps)
    for restart in range(restarts):
        adaptive.seed = runtime.stream_seed(seed, f"restart {restart}") if restart else seed
        climb.run(adaptive.admit, adaptive.advance)
    return climb.result()


def apgd_targeted(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    targets: int = 9,
    steps: int = 100,
    seed: int = 0,
    eot: int = 1,
    batch: int | None = None,
    observe: Callable[[Look], None] | None = None,
) -> AttackResult:
    """Auto-PGD on the targeted dlr, once for each of the classes nearest by the logits of x.

    Any answer but y is a success, whatever the target of the run, and an image that fell leaves at
    once.  Images that the network gets wrong are returned as they are.

    Parameters
    ----------
    targets : classes to aim at, in the order of the clean logits; at most all but the label.  As
        published, 9.
    model, x, y, eps, norm, steps, seed, eot, batch, observe : as for `apgd`; each run has another
        start.

    Returns
    -------
    AttackResult, as of `apgd`; `forwards` counts the pass that orders the classes, too.

    Raises ValueError for bad input (see `check_inputs`), fewer than 4 classes, and options.
    """
    classes = check_inputs(model, x, y)
    options.counts(targets=targets)
    climb = Climb(
        model, x, y, None, dlr_targeted, stop=True, **_checked(eps, norm, steps, eot, batch, x),
        observe=observe,
    )  # fmt: skip
    order = _by_logits(climb)
    adaptive = Adaptive(climb, norm, eps, steps)
    for rank in range(min(targets, classes - 1)):
        climb.toward = order[:, rank].contiguous()
        climb.score.fill_(-torch.inf)  # losses of other targets do not compare
        adaptive.seed = runtime.stream_seed(seed, f"target {rank}")
        climb.run(adaptive.admit, adaptive.advance)
    return climb.result()


def _checked(eps: float, norm: str, steps: int, eot: int, batch: int | None, x: Tensor) -> dict:
    """Refuse what cannot be meant, and return what is for `Climb`."""
    options.positive(eps=eps)
    options.counts(steps=steps, eot=eot)
    options.choice(norm=(norm, BALLS))
    return {"eot": eot, "batch": options.rows_at_once(batch, x)}


@torch.no_grad()
def _by_logits(climb: Climb) -> Tensor:
    """Return the classes beside the label (N, K - 1) by falling logits of the clean images."""
    with runtime.eval_mode(climb.model):
        logits = batches.apply(lambda x: climb.model(x.clone()), climb.x, batch=climb.batch)
    climb.forwards += 1
    climb.fell |= logits.argmax(1) != climb.y
    return without(logits, climb.y).argsort(1, descending=True)[:, :-1]


class Adaptive:
    """The steps of Auto-PGD, for `pool.work`."""

    seed = 0  # of the starts of this run

    def __init__(self, climb: Climb, norm: str, eps: float, steps: int) -> None:
        self.climb, self.ball, self.eps, self.steps = climb, BALLS[norm], eps, steps
        ends = checkpoints(steps)
        self.period = torch.zeros(steps + 1, dtype=torch.int64, device=climb.x.device)
        self.period[ends] = torch.tensor(ends, device=climb.x.device).diff(
            prepend=self.period[:1]
        )  # (steps + 1,) how many steps a checkpoint looks back at, elsewhere 0

    def admit(self, rows: Tensor) -> State:
        x = self.climb.x[rows]
        ball = self.ball(x, self.eps)
        at = ball.rim(Draws(self.seed, x))
        lowest = torch.full_like(rows, -torch.inf, dtype=x.dtype)
        return {
            "rows": rows, "ball": ball, "at": at, "t": torch.zeros_like(rows),
            "before": at,  # the point of the step before
            "step": torch.full_like(lowest, 2 * self.eps)[:, None, None, None],
            "last": -lowest, "rises": torch.zeros_like(rows),
            "best": at, "best_g": torch.zeros_like(at), "best_loss": lowest,
            "checked": lowest,  # the best loss at the last checkpoint
            "halved": torch.ones_like(rows, dtype=torch.bool),  # there; the first one never was
        }  # fmt: skip

    def advance(self, state: State) -> State | None:
        state = self.climb.look(state, state["t"] == self.steps)
        if state is None:
            return None
        if not self.climb.stop:
            self.climb.offer(state["rows"], state["at"], state["loss"], state["fooled"])
        state = self.leave(self.noted(state))
        return None if state is None else self.moved(self.halved(state))

    def noted(self, state: State) -> State:
        """Return the state with the best point so far, and the rises of the loss counted."""
        loss, better = state["loss"], state["loss"] > state["best_loss"]
        wide = better[:, None, None, None]
        return state | {
            "best": torch.where(wide, state["at"], state["best"]),
            "best_g": torch.where(wide, state["g"], state["best_g"]),
            "best_loss": torch.where(better, loss, state["best_loss"]),
            "rises": state["rises"] + (loss > state["last"]),
            "last": loss,
        }

    def leave(self, state: State) -> State | None:
        """Return the rows that have steps to make, and keep the best points of the others."""
        done = state["t"] == self.steps
        if self.climb.stop and done.any():
            rows, best, loss = (state[name][done] for name in ("rows", "best", "best_loss"))
            self.climb.offer(rows, best, loss, torch.zeros_like(rows, dtype=torch.bool))
        return pool.kept(state, ~done)

    def halved(self, state: State) -> State:
        """Return the state with steps halved, back at their best points, where it is time."""
        period = self.period[state["t"]]
        due = period > 0
        if not due.any():
            return state
        stuck = ~state["halved"] & (state["best_loss"] <= state["checked"])
        halve = due & ((state["rises"] <= RISES * period) | stuck)
        wide = halve[:, None, None, None]
        return state | {
            "at": torch.where(wide, state["best"], state["at"]),
            "g": torch.where(wide, state["best_g"], state["g"]),
            "step": torch.where(wide, state["step"] / 2, state["step"]),
            "halved": torch.where(due, halve, state["halved"]),
            "checked": torch.where(due, state["best_loss"], state["checked"]),
            "rises": torch.where(due, 0, state["rises"]),
        }

    def moved(self, state: State) -> State:
        """Return the state after a step of each row."""
        at, ball = state["at"], state["ball"]
        new = ball.project(at + state["step"] * ball.direction(state["g"]))
        weight = torch.where(state["t"] == 0, 1.0, MOMENTUM).to(at)[:, None, None, None]
        new = ball.project(at + (new - at) * weight + (at - state["before"]) * (1 - weight))
        self.climb.iterations[state["rows"]] += 1
        return state | {"at": new, "before": at, "t": state["t"] + 1}
