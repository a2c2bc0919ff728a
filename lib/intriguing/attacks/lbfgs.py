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

from .boxlbfgs import BoxLBFGS, dot
from .common import AttackResult, check_inputs, measure

PENALTIES = ("l2_squared", "l2", "l1")
L2_SMOOTHING = 1e-3  # sqrt(||r||^2 + this^2): the unsquared norm has a kink at the start, r = 0
W_RANGE = 1e8  # how far w may move from its first guess, either way
GROWTH = 4.0  # factor on w until both a failing and a succeeding weight are known
WORDS = ("running", "bracket closed", "already the target", "rounds used up",
         "weight out of range", "fixed c")  # fmt: skip


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
    batch: int = 512,
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
    memory : curvature pairs of L-BFGS. batch : images that advance together.
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
    _check_options(penalty, start, c)
    with torch.no_grad():
        search = _Search(model, x, target, c, penalty, start, ftol, gtol, c_tol, max_rounds,
                         max_iterations, memory)  # fmt: skip
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
    rounds: int = 3,
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


def _check_options(penalty: str, start: str, c) -> None:
    if penalty not in PENALTIES:
        raise ValueError(f"penalty must be one of {', '.join(PENALTIES)}, not {penalty!r}")
    if start not in ("warm", "zero"):
        raise ValueError(f"start must be 'warm' or 'zero', not {start!r}")
    if c is not None and not (torch.as_tensor(c) > 0).all():
        raise ValueError(f"c must be positive, not {c}")


class _Search:
    """The attack on all images: answers (one entry an image) and the rows now under way."""

    ROWS = ("who", "origin", "alive", "log_w", "guess", "low", "high", "margin_low", "margin_high",
            "side", "rounds", "steps", "penalty_x", "loss_x", "margin_x", "best_penalty")  # fmt: skip

    def __init__(self, model, x, target, c, penalty, start, ftol, gtol, c_tol, max_rounds,
                 max_iterations, memory):  # fmt: skip
        self.model, self.shape, self.penalty, self.warm = model, x.shape[1:], penalty, start == "warm"
        self.ftol, self.gtol, self.c_tol = ftol, gtol, math.log1p(c_tol)
        self.max_rounds, self.max_iterations, self.memory = max_rounds, max_iterations, memory
        self.images, self.target = x.flatten(1), target  # (N, D), (N,)
        n = len(x)
        self.fixed = c is not None
        self.fixed_log_w = -torch.as_tensor(c if self.fixed else 1.0, dtype=x.dtype).log()
        self.fixed_log_w = self.fixed_log_w.to(x.device).expand(n)
        self.answer = self.images.clone()
        self.w = x.new_ones(n)
        self.iterations, self.gradients, self.reason = (torch.zeros_like(target) for _ in range(3))

    # -- the three penalties ---------------------------------------------------------------------

    def _bounds(self, origin: Tensor):
        """The box of the solver's variables: pixels, or for L1 the two parts of r."""
        if self.penalty != "l1":
            return 0.0, 1.0
        return 0.0, torch.cat((1 - origin, origin), 1)

    def _first(self, origin: Tensor) -> Tensor:
        return torch.cat((origin, origin), 1) * 0 if self.penalty == "l1" else origin

    def _pixels(self, v: Tensor, origin: Tensor) -> Tensor:
        if self.penalty != "l1":
            return v
        up, down = v.chunk(2, 1)
        return (origin + up - down).clamp_(0, 1)

    def _penalise(self, v: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
        """Value (B,) and gradient (B, D) of the penalty."""
        if self.penalty == "l1":
            return v.sum(1), torch.ones_like(v)
        r = v - origin
        square = dot(r, r)
        if self.penalty == "l2_squared":
            return square, r.mul_(2)
        norm = (square + L2_SMOOTHING**2).sqrt()
        return norm, r.div_(norm[:, None])

    def _first_log_w(self, margin: Tensor, g: Tensor) -> Tensor:
        """The weight that would bring a linear model to its boundary, where |grad| is halved."""
        if self.penalty == "l2_squared":
            w = 4 * -margin / dot(g, g)
        else:
            w = 2 / g.norm(dim=1, p=2 if self.penalty == "l2" else torch.inf)
        return w.clamp(1e-10, 1e10).log()

    # -- one tick --------------------------------------------------------------------------------

    def _evaluate(self, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (B,), its gradient (B, D) and the target's margin (B,) at the solver's points."""
        pixels = self._pixels(v, self.origin).view(-1, *self.shape)  # (B, C, H, W)
        target = self.target[self.who]
        with torch.enable_grad():
            pixels.requires_grad_()
            logits = self.model(pixels)
            loss = F.cross_entropy(logits, target, reduction="none")
            (g,) = torch.autograd.grad(loss.sum(), pixels)
        logits, g = logits.detach(), g.flatten(1)
        wanted = logits.gather(1, target[:, None]).squeeze(1)
        others = logits.scatter(1, target[:, None], -torch.inf).amax(1)
        if self.penalty == "l1":
            g = torch.cat((g, -g), 1)
        return loss.detach(), g, wanted - others

    def _tick(self) -> Tensor:
        """Evaluate every row once and move it on; return the indices of rows that finished."""
        solver, v = self.solver, self.solver.trial
        loss, g, margin = self._evaluate(v)
        penalty, grad = self._penalise(v, self.origin)
        self.gradients[self.who] += self.alive
        self._keep_best(v, penalty, margin)
        starting = solver.f.isinf()
        first = (starting & self.log_w.isnan()).nonzero().squeeze(1)
        if len(first):
            self.log_w[first] = self.guess[first] = self._first_log_w(margin[first], g[first])
        w = self.log_w.exp()
        f = torch.addcmul(penalty, w, loss)
        solver.tell(f, grad.addcmul_(g, w[:, None]))
        moved = solver.accepted
        if len(first):  # a whole step would go to twice the boundary of the linear model
            solver.step[first] = 0.5
        self.steps += moved
        for name, value in (("penalty_x", penalty), ("loss_x", loss), ("margin_x", margin)):
            setattr(self, name, torch.where(moved, value, getattr(self, name)))
        flat = moved & ~starting & (solver.decrease <= self.ftol * f.abs())
        if self.gtol > 0:
            flat |= ~starting & (solver.projected <= self.gtol)
        over = flat | solver.stalled | (self.steps > self.max_iterations)
        over |= moved & starting & (margin > 0)  # x itself is classified as the target
        over = (over & self.alive).nonzero().squeeze(1)
        return self._next_weight(over) if len(over) else over

    def _keep_best(self, v: Tensor, penalty: Tensor, margin: Tensor) -> None:
        if self.fixed:
            return
        better = ((margin > 0) & (penalty < self.best_penalty) & self.alive).nonzero().squeeze(1)
        if len(better):
            who = self.who[better]
            self.best_penalty[better] = penalty[better]
            self.answer[who] = self._pixels(v[better], self.origin[better])
            self.w[who] = self.log_w[better].exp()

    def _next_weight(self, rows: Tensor) -> Tensor:
        """Move the weight of `rows`, whose minimisation ended; return those that are done."""
        margin, log_w = self.margin_x[rows], self.log_w[rows]
        won = margin > 0
        self.iterations[self.who[rows]] += self.steps[rows].long() - 1
        self.rounds[rows] += 1
        # Illinois: an end that stays twice in a row counts half, or interpolation creeps
        self.margin_low[rows] *= torch.where(won & (self.side[rows] > 0), 0.5, 1.0)
        self.margin_high[rows] *= torch.where(~won & (self.side[rows] < 0), 0.5, 1.0)
        self.side[rows] = won.to(margin.dtype) * 2 - 1
        for end, here in (("high", won), ("low", ~won)):
            for name, value in ((end, log_w), (f"margin_{end}", margin)):
                column = getattr(self, name)
                column[rows] = torch.where(here, value, column[rows])
        reason = self._verdict(rows, won)
        going = rows[reason == 0]
        if len(going):
            self._move_weight(going, self._propose(going))
        done, reason = rows[reason != 0], reason[reason != 0]
        self._finish(done, reason)
        return done

    def _verdict(self, rows: Tensor, won: Tensor) -> Tensor:
        """Index into WORDS: why each of `rows` is done, 0 where it goes on."""
        reason = torch.zeros_like(rows)
        if self.fixed:
            return reason + WORDS.index("fixed c")
        far = (self.log_w[rows] - self.guess[rows]).abs() > math.log(W_RANGE)
        reason[self.rounds[rows] >= self.max_rounds] = WORDS.index("rounds used up")
        reason[far] = WORDS.index("weight out of range")
        reason[self.high[rows] - self.low[rows] < self.c_tol] = WORDS.index("bracket closed")
        at_x = won & (self.rounds[rows] == 1) & (self.iterations[self.who[rows]] == 0)
        reason[at_x] = WORDS.index("already the target")
        return reason

    def _propose(self, rows: Tensor) -> Tensor:
        """The next log w: grow or shrink until both ends are known, then interpolate margins."""
        low, high = self.low[rows], self.high[rows]
        share = -self.margin_low[rows] / (self.margin_high[rows] - self.margin_low[rows])
        inside = low + (high - low) * share
        # at least almost a tolerance from both ends: a guess beside an end can close the bracket
        gap = torch.minimum(0.9 * self.c_tol + 0 * low, 0.5 * (high - low))
        inside = torch.maximum(torch.minimum(inside, high - gap), low + gap)
        grown = torch.where(high.isinf(), low + math.log(GROWTH), high - math.log(GROWTH))
        return torch.where((high - low).isinf(), grown, inside)

    def _move_weight(self, rows: Tensor, log_w: Tensor) -> None:
        ratio = (log_w - self.log_w[rows]).exp()
        self.log_w[rows] = log_w
        if not self.warm:
            self.steps[rows] = 0
            self.solver.restart(rows, self._first(self.origin[rows]))
            return
        self.steps[rows] = 1
        f = self.penalty_x[rows] + log_w.exp() * self.loss_x[rows]
        _, grad = self._penalise(self.solver.x[rows], self.origin[rows])
        self.solver.reweight(rows, ratio, f, grad)

    # -- rows come and go ------------------------------------------------------------------------

    def _finish(self, rows: Tensor, reason: Tensor) -> None:
        who = self.who[rows]
        self.reason[who] = reason
        self.alive[rows] = False
        last = rows if self.fixed else rows[self.best_penalty[rows].isinf()]
        if len(last):
            self.answer[self.who[last]] = self._pixels(self.solver.x[last], self.origin[last])
            self.w[self.who[last]] = self.log_w[last].exp()
        untouched = who[reason == WORDS.index("already the target")]
        self.answer[untouched], self.w[untouched] = self.images[untouched], 0.0

    def _admit(self, rows: Tensor, who: Tensor) -> None:
        """Start images `who` in `rows`."""
        self.who[rows], self.origin[rows], self.alive[rows] = who, self.images[who], True
        nan = torch.full_like(self.w[who], torch.nan)
        self.log_w[rows] = self.fixed_log_w[who] if self.fixed else nan
        self.low[rows], self.high[rows], self.best_penalty[rows] = -torch.inf, torch.inf, torch.inf
        for name in ("margin_low", "margin_high", "side", "rounds", "steps", "guess"):
            getattr(self, name)[rows] = 0

    def run(self, batch: int, progress) -> Tensor:
        """Attack all images, at most `batch` at a time; return x_adv (N, C, H, W)."""
        n = len(self.images)
        waiting = torch.arange(n, device=self.images.device)
        rows, waiting = waiting[:batch], waiting[batch:]
        for name in self.ROWS:
            setattr(self, name, self.images.new_zeros(len(rows)))
        self.who, self.origin, self.alive = rows.clone(), self.images[rows], rows >= 0
        self._admit(rows, rows)
        first = self._first(self.origin)
        self.solver = BoxLBFGS(first, *self._bounds(self.origin), memory=self.memory,
                               curvature=2.0 if self.penalty == "l2_squared" else None)  # fmt: skip
        finished = 0
        while finished < n:
            finished += len(self._tick())
            dead = (~self.alive).nonzero().squeeze(1)
            if len(dead) >= max(1, len(self.alive) // 16):
                if len(waiting):
                    dead, who = dead[: len(waiting)], waiting[: len(dead)]
                    waiting = waiting[len(who) :]
                    self._admit(dead, who)
                    self._rebound(dead)
                else:
                    self._compact(self.alive.nonzero().squeeze(1))
                if progress:
                    progress(finished, n)
            if finished < n:
                self.solver.ask()
        return self.answer.view(n, *self.shape)

    def _rebound(self, rows: Tensor) -> None:
        self.solver.restart(rows, self._first(self.origin[rows]))
        if self.penalty == "l1":
            self.solver.upper[rows] = self._bounds(self.origin[rows])[1]

    def _compact(self, rows: Tensor) -> None:
        for name in self.ROWS:
            setattr(self, name, getattr(self, name)[rows])
        self.solver.select(rows)
