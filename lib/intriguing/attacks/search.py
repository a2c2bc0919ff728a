"""The search behind the L-BFGS attack: every image at its own weight, all in one batch.

Each image is a small state machine: minimise at its w, look at the margin, move w, go on from
where it stands. All images advance together: one evaluation of the network a tick serves every
image, whichever w or line-search trial it is at, and images that finish make room for waiting
ones. Cost is therefore proportional to images, not to the slowest of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from intriguing.batches import Batch

from .ascent import finite
from .boxlbfgs import BoxLBFGS
from .bracket import Brackets
from .common import decided, leaf, logits_of
from .losses import best_other, cross_entropy

WORDS = ("running", "bracket closed", "already the target", "rounds used up",
         "weight out of range", "fixed c")  # fmt: skip
ROUNDING = 8  # units in the last place by which logits may differ in a batch of another size
PROMISE = 100  # a converged step gains half of what its slope promises; far less is no minimum


class Search:
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
        self.passes = Batch(batch)
        waiting = self.passes.fit(self._begin, n)
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

    def _begin(self, rows: int) -> Tensor:
        """Make the state of so many rows, start the first images; return those who wait."""
        who = torch.arange(len(self.images), device=self.images.device)
        rows, waiting = who[:rows], who[rows:]
        for name in self.ROWS:
            setattr(self, name, self.images.new_zeros(len(rows)))
        self.who, self.origin, self.alive = rows.clone(), self.images[rows], rows >= 0
        self.brackets = Brackets(len(rows), self.images, self.c_tol)
        self._admit(rows, rows)
        self.solver = BoxLBFGS(
            self.penalty.start(self.origin), *self.penalty.bounds(self.origin),
            memory=self.memory, curvature=self.penalty.curvature,
        )  # fmt: skip
        return waiting

    # -- one tick --------------------------------------------------------------------------------

    def _evaluate(self, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (B,), its gradient (B, D) and the target's margin (B,) at the variables `v`."""
        parts = self.passes.over(lambda rows: self._pass(v, rows), len(v))
        if len(parts) == 1:
            return parts[0]
        loss, gradient, margin = (torch.cat(part) for part in zip(*parts, strict=True))
        return loss, gradient, margin

    def _pass(self, v: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """`_evaluate` for some rows, in one pass of the model."""
        pixels = self.penalty.pixels(v[rows], self.origin[rows])
        pixels = pixels.view(-1, *self.shape)  # (B, C, H, W)
        target = self.target[self.who[rows]]
        with torch.enable_grad():
            pixels = leaf(pixels)
            logits = logits_of(self.model, pixels)
            loss = cross_entropy(logits, target)
            (g,) = torch.autograd.grad(loss.sum(), pixels)
        logits = logits.detach()
        loss = loss.detach().where(decided(logits), torch.nan)
        g = finite(g)
        wanted = logits.gather(1, target[:, None]).squeeze(1)
        others = best_other(logits, target)
        margin = wanted - others
        rounding = ROUNDING * torch.finfo(logits.dtype).eps
        size = torch.maximum(wanted.abs(), others.abs())
        margin = margin.where(margin.abs() > rounding * size, 0)
        return loss, self.penalty.gradient(g.flatten(1)), margin

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
        reason[self.brackets.give_up(rows, self.log_w[rows])] = WORDS.index("weight out of range")
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
        """Once a sixteenth of the rows is done, fill them or drop them; return who still waits.

        A GPU drops half at a time: fewer rows are hardly faster there, and another size is slow.
        """
        dead = (~self.alive).nonzero().squeeze(1)
        share = 2 if self.images.is_cuda and not len(waiting) else 16
        if len(dead) < max(1, len(self.alive) // share):
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
