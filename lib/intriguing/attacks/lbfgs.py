"""The box-constrained L-BFGS attack of Szegedy et al. (2014), Section 4.1.

For an image x and a target class t the paper asks for the smallest r with f(x + r) = t and x + r
in the box, and solves in its place

    minimise  c |r| + loss(x + r, t)   subject to  x + r in [0, 1]^m                           (1)

with a line search for the weight c. A large c keeps r small, so the smallest distortion belongs to
the *largest* c whose minimiser is classified as t; the paper's "minimum c" holds for a c that
multiplies the loss. We keep the paper's equation and report its c; inside, the loss carries the
weight w = 1/c.

Each image is a small state machine: minimise at its w, look at the margin, move w, go on from
where it stands. All images advance together: one evaluation of the network a tick serves every
image, whichever w or line-search trial it is at, and images that finish make room for waiting
ones. Cost is therefore proportional to images, not to the slowest of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .boxlbfgs import BoxLBFGS
from .bracket import Brackets
from .common import AttackResult, check_inputs, measure
from .penalties import PENALTIES

WORDS = ("running", "bracket closed", "already the target", "rounds used up",
         "weight out of range", "fixed c")  # fmt: skip

BATCH = {"cpu": 512, "cuda": 8192}  # the cache of a core, the width of a GPU
PROMISE = 100  # a converged step gains half of what its slope promises; far less is no minimum


def lbfgs(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    target: Tensor,
    c: float | Tensor | None = None,
    penalty: str = "l2_squared",
    start: str = "warm",
    ftol: float = 2e-3,
    gtol: float = 0.0,
    c_tol: float = 0.02,
    max_rounds: int = 25,
    max_iterations: int = 100,
    memory: int = 5,
    batch: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AttackResult:
    """Find, for each image, the least distorted image classified as its target (equation 1).

    Parameters
    ----------
    model : pixels (N, C, H, W) -> logits, in eval mode, rows independent of each other.
    x : (N, C, H, W) pixels in [0, 1], float32 or float64 as the model's weights.
    y, target : (N,) int64, true and wanted labels.
    c : None searches c for each image. A number or (N,) tensor is used as it is, and the answer is
        the minimiser of (1), whether or not it reaches the target.
    penalty : "l2_squared" (default), "l2" (smoothed at 0) or "l1" (exact: r is split in two parts).
    start : "warm" goes on from the last point when c moves; "zero" starts again at r = 0.
    ftol : a minimisation ends when a step lowers the objective by less than this fraction of it.
    gtol : or when the projected gradient's largest entry, loss weighted by 1/c, is below this.
    c_tol : the search ends when the bracket of c is narrower than this fraction.
    max_rounds, max_iterations : values of c tried, and steps at each of them, at the most.
    memory : curvature pairs of L-BFGS.
    batch : images that advance together; None means 512 on a CPU, 8,192 on a GPU.
    progress : called as progress(images finished, images) now and then.

    Returns
    -------
    AttackResult. With a search, `x_adv` is the least distorted of *all* evaluated points that
    reached the target, so a success that is not monotone in c is never lost; `c` is the value at
    which it was found (inf where x is already classified as the target, which leaves x as it is).
    Where nothing reached the target, `x_adv` is the last point tried and `success` is False.

    Raises ValueError for bad input (see `check_inputs`) and unknown options.

    Paper: MNIST and AlexNet, search of c and stopping rule not given. Here the search starts at
    the w of a linear model, w = 4 margin / ||grad loss||^2, brackets by factors and closes the
    bracket by interpolating the margin in log w.
    """
    check_inputs(model, x, y, target)
    batch = batch if batch is not None else BATCH.get(x.device.type, 512)
    _check_options(
        len(x), penalty, start, c, ftol=ftol, gtol=gtol, c_tol=c_tol, max_rounds=max_rounds,
        max_iterations=max_iterations, memory=memory, batch=batch,
    )  # fmt: skip
    with torch.no_grad():
        search = _Search(
            model, x.clamp(0, 1), target, c, PENALTIES[penalty](), warm=start == "warm",
            ftol=ftol, gtol=gtol, c_tol=c_tol, max_rounds=max_rounds,
            max_iterations=max_iterations, memory=memory,
        )  # fmt: skip
        x_adv = search.run(batch, progress)
    reasons = tuple(WORDS[i] for i in search.reason.tolist())
    return measure(
        model, x, y, x_adv, target,
        c=1 / search.w, iterations=search.iterations, gradients=search.gradients,
        stop_reason=reasons,
    )  # fmt: skip


def global_c(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    target: Tensor,
    success_rate: float = 1.0,
    points: int = 8,
    rounds: int = 2,
    **options,
) -> AttackResult:
    """Attack all images with one c: the largest of a refined grid that reaches `success_rate`.

    The other reading of the paper's "line search for c", with one c for the whole set. All images
    at all `points` values of c are rows of one batch. The first grid spans the values that single
    images need; each further round refines between the last success and the first failure.
    `options` go to `lbfgs`. Raises ValueError where no c of the first grid reaches the rate.
    """
    n = len(x)
    alone = lbfgs(model, x, y, target=target, **options).c
    alone = alone[alone.isfinite()]
    if len(alone) == 0:  # every image is its own answer
        return lbfgs(model, x, y, target=target, **options)
    low, high = alone.min().log() - math.log(30), alone.quantile(0.9).log()
    best = None
    for _ in range(rounds):
        grid = torch.linspace(low.item(), high.item(), points, dtype=x.dtype, device=x.device)
        many = (t.repeat_interleave(points, 0) for t in (x, y, target))
        images, labels, wanted = many
        result = lbfgs(model, images, labels, target=wanted, c=grid.exp().repeat(n), **options)
        rate = result.success.view(n, points).float().mean(0)
        good = (rate >= success_rate).nonzero().squeeze(1)
        if len(good):
            last = int(good[-1])
            best = result[torch.arange(n, device=x.device) * points + last]
            low, high = grid[last], grid[min(last + 1, points - 1)]
        elif best is None:
            raise ValueError(f"no c in [{grid[0].exp():.3g}, {grid[-1].exp():.3g}] reaches a "
                             f"success rate of {success_rate}")  # fmt: skip
        else:
            high = low + (high - low) / points
    return best


def _check_options(n: int, penalty: str, start: str, c, **numbers: float) -> None:
    if penalty not in PENALTIES:
        raise ValueError(f"penalty must be one of {', '.join(PENALTIES)}, not {penalty!r}")
    if start not in ("warm", "zero"):
        raise ValueError(f"start must be 'warm' or 'zero', not {start!r}")
    if c is not None:
        c = torch.as_tensor(c)
        if not (c > 0).all():
            raise ValueError(f"c must be positive, not {c[~(c > 0)][0] if c.ndim else c:g}")
        if c.shape not in ((), (n,)):
            raise ValueError(f"c must be a number or of shape ({n},), not {tuple(c.shape)}")
    for name, value in numbers.items():
        least = 0 if name in ("ftol", "gtol", "c_tol") else 1
        if not value >= least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


class _Search:
    """The attack on all images: answers (one entry an image) and the rows now under way."""

    ROWS = ("who", "origin", "alive", "log_w", "steps", "penalty_x", "loss_x", "margin_x",
            "best_penalty")  # fmt: skip

    def __init__(self, model, x, target, c, penalty, *, warm, ftol, gtol, c_tol, max_rounds,
                 max_iterations, memory):  # fmt: skip
        self.model, self.shape, self.penalty, self.warm = model, x.shape[1:], penalty, warm
        self.ftol, self.gtol, self.c_tol = ftol, gtol, c_tol
        self.max_rounds, self.max_iterations, self.memory = max_rounds, max_iterations, memory
        self.images, self.target = x.flatten(1), target  # (N, D), (N,)
        self.fixed = c is not None
        self.fixed_log_w = -torch.as_tensor(c if self.fixed else 1.0).to(x).log().expand(len(x))
        self.answer, self.w = self.images.clone(), x.new_ones(len(x))
        self.iterations, self.gradients, self.reason = (torch.zeros_like(target) for _ in range(3))

    def run(self, batch: int, progress) -> Tensor:
        """Attack all images, at most `batch` at a time; return x_adv (N, C, H, W)."""
        n = len(self.images)
        waiting = torch.arange(n, device=self.images.device)
        rows, waiting = waiting[:batch], waiting[batch:]
        for name in self.ROWS:
            setattr(self, name, self.images.new_zeros(len(rows)))
        self.who, self.origin, self.alive = rows.clone(), self.images[rows], rows >= 0
        self.brackets = Brackets(len(rows), self.images, self.c_tol)
        self._admit(rows, rows)
        self.solver = BoxLBFGS(
            self.penalty.start(self.origin), *self.penalty.bounds(self.origin),
            memory=self.memory, curvature=self.penalty.curvature,
        )  # fmt: skip
        finished = 0
        while True:
            done = self._tick()
            self.alive[done] = False
            finished += len(done)
            if progress and len(done):
                progress(finished, n)
            if finished == n:
                return self.answer.view(n, *self.shape)
            waiting = self._replace_dead(waiting)
            self.solver.ask()

    # -- one tick --------------------------------------------------------------------------------

    def _evaluate(self, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (B,), its gradient (B, D) and the target's margin (B,) at the variables `v`."""
        pixels = self.penalty.pixels(v, self.origin).view(-1, *self.shape)  # (B, C, H, W)
        target = self.target[self.who]
        with torch.enable_grad():
            pixels = pixels.detach().requires_grad_()
            logits = self.model(pixels)
            if not logits.requires_grad:
                raise ValueError("the model's logits carry no gradient: its forward must not "
                                 "detach its input or switch gradients off")  # fmt: skip
            loss = F.cross_entropy(logits, target, reduction="none")
            (g,) = torch.autograd.grad(loss.sum(), pixels)
        logits = logits.detach()
        wanted = logits.gather(1, target[:, None]).squeeze(1)
        others = logits.scatter(1, target[:, None], -torch.inf).amax(1)
        return loss.detach(), self.penalty.gradient(g.flatten(1)), wanted - others

    def _tick(self) -> Tensor:
        """Evaluate every row once and move it on; return the indices of rows that finished."""
        solver, v = self.solver, self.solver.trial
        loss, g, margin = self._evaluate(v)
        penalty, grad = self.penalty(v, self.origin)
        self.gradients[self.who] += self.alive
        self._keep_best(v, penalty, margin)
        starting = solver.f.isinf()
        self._refuse_not_finite(loss, g, starting)
        unweighted = (starting & self.log_w.isnan()).nonzero().squeeze(1)
        if len(unweighted):
            guess = self.penalty.first_weight(margin[unweighted], g[unweighted])
            self.log_w[unweighted] = guess = guess.nan_to_num(1.0).clamp(1e-10, 1e10).log()
            self.brackets.guess[unweighted] = guess
        w = self.log_w.exp()
        f = torch.addcmul(penalty, w, loss)
        solver.tell(f, grad.addcmul_(g, w[:, None]))
        if len(unweighted):  # a whole step would go to twice the boundary of the linear model
            solver.step[unweighted] = 0.5
        moved = solver.accepted
        self.steps += moved
        for name, value in (("penalty_x", penalty), ("loss_x", loss), ("margin_x", margin)):
            setattr(self, name, torch.where(moved, value, getattr(self, name)))
        little = self.ftol * f.abs()
        over = moved & (solver.decrease <= little) & (solver.promise <= PROMISE * little)
        over |= moved & (solver.decrease <= torch.finfo(f.dtype).eps * f.abs()) | solver.stalled
        if self.gtol > 0:
            over |= solver.projected <= self.gtol * w
        over &= ~starting
        over |= starting & (margin > 0) & (not self.fixed)  # x is classified as the target
        over |= self.steps > self.max_iterations
        over = (over & self.alive).nonzero().squeeze(1)
        return self._end_of_weight(over) if len(over) else over

    def _refuse_not_finite(self, loss: Tensor, g: Tensor, starting: Tensor) -> None:
        """Make a trial whose loss is not finite one that is never accepted and teaches no pair."""
        wrong = (~loss.isfinite()).nonzero().squeeze(1)
        if not len(wrong):
            return
        at_x = wrong[(starting & self.alive)[wrong]]
        if len(at_x):
            raise ValueError(f"the model's loss for image {int(self.who[at_x[0]])} towards its "
                             f"target is {loss[at_x[0]].item()}: logits must be finite")
        loss[wrong], g[wrong] = torch.inf, torch.nan

    def _keep_best(self, v: Tensor, penalty: Tensor, margin: Tensor) -> None:
        if self.fixed:
            return
        better = ((margin > 0) & (penalty < self.best_penalty) & self.alive).nonzero().squeeze(1)
        if len(better):
            who = self.who[better]
            self.best_penalty[better] = penalty[better]
            self.answer[who] = self.penalty.pixels(v[better], self.origin[better])
            self.w[who] = self.log_w[better].exp()

    # -- between weights -------------------------------------------------------------------------

    def _end_of_weight(self, rows: Tensor) -> Tensor:
        """Move the weight of `rows`, whose minimisation ended; return those that are done."""
        self.iterations[self.who[rows]] += self.steps[rows].long() - 1
        self.brackets.update(rows, self.log_w[rows], self.margin_x[rows])
        reason = self._verdict(rows)
        going, done, reason = rows[reason == 0], rows[reason != 0], reason[reason != 0]
        if len(going):
            self._move_weight(going, self.brackets.propose(going))
        self.reason[self.who[done]] = reason
        last = done if self.fixed else done[self.best_penalty[done].isinf()]
        self.answer[self.who[last]] = self.penalty.pixels(self.solver.x[last], self.origin[last])
        self.w[self.who[last]] = self.log_w[last].exp()
        self.w[self.who[done[reason == WORDS.index("already the target")]]] = 0.0
        return done

    def _verdict(self, rows: Tensor) -> Tensor:
        """Index into WORDS: why each of `rows` is done, 0 where it goes on."""
        reason = torch.zeros_like(rows)
        if self.fixed:
            return reason + WORDS.index("fixed c")
        tried = self.brackets.tried[rows]
        reason[tried >= self.max_rounds] = WORDS.index("rounds used up")
        reason[self.brackets.lost(rows, self.log_w[rows])] = WORDS.index("weight out of range")
        reason[self.brackets.closed(rows)] = WORDS.index("bracket closed")
        still = (tried == 1) & (self.iterations[self.who[rows]] == 0)
        reason[still & (self.margin_x[rows] > 0)] = WORDS.index("already the target")
        return reason

    def _move_weight(self, rows: Tensor, log_w: Tensor) -> None:
        ratio = (log_w - self.log_w[rows]).exp()
        self.log_w[rows] = log_w
        if not self.warm:
            self.steps[rows] = 0
            self.solver.restart(rows, self.penalty.start(self.origin[rows]))
            return
        self.steps[rows] = 1
        f = self.penalty_x[rows] + log_w.exp() * self.loss_x[rows]
        _, grad = self.penalty(self.solver.x[rows], self.origin[rows])
        self.solver.reweight(rows, ratio, f, grad)

    # -- rows come and go ------------------------------------------------------------------------

    def _admit(self, rows: Tensor, who: Tensor) -> None:
        """Start images `who` in `rows`."""
        self.who[rows], self.origin[rows], self.alive[rows] = who, self.images[who], True
        self.log_w[rows] = self.fixed_log_w[who] if self.fixed else torch.nan
        self.best_penalty[rows], self.steps[rows] = torch.inf, 0
        self.brackets.reset(rows)

    def _replace_dead(self, waiting: Tensor) -> Tensor:
        """Once a sixteenth of the rows is done, fill them or drop them; return who still waits."""
        dead = (~self.alive).nonzero().squeeze(1)
        if len(dead) < max(1, len(self.alive) // 16):
            return waiting
        if len(waiting):
            dead, who = dead[: len(waiting)], waiting[: len(dead)]
            self._admit(dead, who)
            origin = self.origin[dead]
            self.solver.restart(dead, self.penalty.start(origin), *self.penalty.bounds(origin))
            return waiting[len(who) :]
        keep = self.alive.nonzero().squeeze(1)
        for name in self.ROWS:
            setattr(self, name, getattr(self, name).index_select(0, keep))
        self.brackets.select(keep)
        self.solver.select(keep)
        return waiting
