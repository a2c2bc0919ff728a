"""Limited-memory BFGS under box constraints, for a batch of independent problems.

Every row of the batch is one bound-constrained minimisation with its own step length, curvature
pairs and active set; one evaluation of the batch serves all rows, whatever each of them is doing.
The caller evaluates (`ask`, evaluate, `tell`), so the same state serves any objective and device.

The method is the two-metric projection of Bertsekas (1982): variables held at a bound by the sign
of their gradient are frozen, the L-BFGS step acts on the others, and the step is projected back on
the box. Curvature pairs are projected on the free variables when they are made. The step uses the
compact representation of Byrd, Nocedal and Schnabel (1994), so each iteration reads the history
twice: once for all inner products and once for the step.
"""

from __future__ import annotations

import torch
from torch import Tensor

ARMIJO = 1e-4  # sufficient decrease, as in Nocedal and Wright
MAX_BACKTRACKS = 20


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each row: (B, D), (B, D) -> (B,)."""
    return (a * b).sum(1)


class BoxLBFGS:
    """Minimise B functions of D variables each over a box, one L-BFGS step per `tell`/`ask`.

    Parameters
    ----------
    start : (B, D) float tensor inside the box; the first points to evaluate, `self.trial`.
    lower, upper : the box, both floats or both (B, D) tensors.
    memory : curvature pairs kept per row.
    curvature : float or None. The Hessian of a quadratic part of the objective that is known
        exactly (2 for ||x - x0||^2, 0 for a linear part): it lets `reweight` keep the pairs and,
        where positive, is the metric that the pairs correct. None: no such part.

    Use: evaluate value and gradient at `trial`, call `tell`, look at `accepted`, `decrease` and
    `stalled`, perhaps `restart` or `reweight` some rows, then call `ask` for the next `trial`.
    """

    ROWS = (
        "x", "f", "g", "step", "direction", "trial", "move", "expected", "backtracks", "pending",
        "fresh", "pairs", "gram", "ratio", "slot", "gamma", "accepted", "decrease", "promise",
        "stalled", "projected",
    )  # fmt: skip

    def __init__(self, start: Tensor, lower, upper, *, memory: int = 5, curvature=None):
        rows, size = start.shape
        self.lower, self.upper, self.memory, self.curvature = lower, upper, memory, curvature
        new = start.new_zeros
        self.x, self.trial = start.clone(), start.clone()
        self.f = start.new_full((rows,), torch.inf)  # infinite: the first point is accepted
        self.g, self.move, self.pending, self.direction = (new(rows, size) for _ in range(4))
        self.step = start.new_ones(rows)
        self.expected, self.decrease, self.projected = (new(rows) for _ in range(3))
        self.backtracks, self.promise = new(rows), new(rows)
        self.pairs = new(rows, 2 * memory, size)  # s in the first half, y in the second
        self.gram = new(rows, 2 * memory, 2 * memory)  # inner products of all pairs
        self.ratio = new(rows, memory)  # loss weight now over that when the pair was made
        self.slot = torch.zeros(rows, dtype=torch.int64, device=start.device)  # of the next pair
        self.first_gamma = 1.0 / curvature if curvature else 1.0
        self.gamma = start.new_full((rows,), self.first_gamma)
        self.accepted = torch.zeros(rows, dtype=torch.bool, device=start.device)
        self.stalled, self.fresh = self.accepted.clone(), self.accepted.clone()

    def tell(self, f: Tensor, g: Tensor) -> None:
        """Take value (B,) and gradient (B, D) at `trial`; decide which rows accept the point.

        `g` and `trial` belong to the solver from here on: rows that stay are written over.
        """
        self.accepted = f <= self.f + ARMIJO * self.expected
        self.decrease = torch.where(self.accepted, self.f - f, 0)
        self.backtracks = torch.where(self.accepted, 0, self.backtracks + 1)
        rejected = (~self.accepted).nonzero().squeeze(1)
        if len(rejected):
            # the minimiser of the parabola through both values and the slope, kept in [0.1, 0.5]
            slope = self.expected[rejected]
            excess = f[rejected] - self.f[rejected] - slope
            shrink = (-0.5 * slope / excess).nan_to_num(0.1).clamp(0.1, 0.5)
        # what the whole step would gain were the objective linear: large where a point that gains
        # little was reached by a shortened step, and so is no minimum
        self.promise = -self.expected / self.step
        self.step = torch.ones_like(self.step).where(self.accepted, self.step)
        self.pending = g - self.g
        if len(rejected):
            # the rejected point has taught a pair already, so the first failure in a row shortens
            # the step by less
            first = self.backtracks[rejected] <= 1
            self.step[rejected] *= shrink.sqrt().where(first, shrink)
            g[rejected], self.trial[rejected] = self.g[rejected], self.x[rejected]
        self.x, self.g = self.trial, g
        self.f = torch.where(self.accepted, f, self.f)
        self.stalled = self.backtracks > MAX_BACKTRACKS
        hopeless = (self.stalled & ~self.fresh).nonzero().squeeze(1)
        if len(hopeless):  # perhaps the pairs are at fault: try once more without them
            self._forget(hopeless)
            self.stalled[hopeless] = False

    def ask(self) -> Tensor:
        """Compute the next `trial` (B, D) of every row."""
        descent = (self.x - self.g).clamp_(self.lower, self.upper).sub_(self.x)
        self.projected = descent.abs().amax(1)  # inf-norm of the projected gradient
        free = descent.sign_().abs_()
        direction = self._direction(free)
        self.fresh &= ~self.accepted  # a row that moved has a pair again
        self.direction = direction
        self._propose()
        uphill = (self.expected >= 0).nonzero().squeeze(1)
        if len(uphill):  # projection spoilt the step: go down the gradient
            self.direction[uphill] = -self.gamma[uphill, None] * (self.g * free)[uphill]
            self._propose()
        return self.trial

    def restart(self, rows: Tensor, start: Tensor, lower=None, upper=None) -> None:
        """Give `rows` (indices) a new problem that starts at `start` (len(rows), D)."""
        if isinstance(self.lower, Tensor) and lower is not None:
            self.lower[rows], self.upper[rows] = lower, upper
        self.x[rows] = self.trial[rows] = start
        self.f[rows] = torch.inf
        self.expected[rows] = self.decrease[rows] = 0
        self.g[rows] = self.move[rows] = 0
        self.accepted[rows] = self.stalled[rows] = False
        self.gamma[rows] = self.first_gamma
        self._forget(rows)

    def reweight(self, rows: Tensor, ratio: Tensor, f: Tensor, penalty_grad: Tensor) -> None:
        """Change objective penalty + w * loss to penalty + (ratio * w) * loss in `rows`.

        Gradient and pairs are linear in w, so nothing is evaluated again: with y_p = curvature * s
        the part of y that the penalty makes, y' = ratio * y + (1 - ratio) * y_p. The pairs stay as
        they were made, with their ratio beside them; `_weights` does the rest. A penalty without
        constant curvature loses its pairs instead. `f`: the new value at `x`, (len(rows),);
        `penalty_grad`: its penalty's gradient, (len(rows), D).
        """
        rest = 1 - ratio
        self.f[rows] = f
        self.g[rows] = ratio[:, None] * self.g[rows] + rest[:, None] * penalty_grad
        self.step[rows], self.backtracks[rows] = 1.0, 0.0
        if self.curvature is None:
            self._forget(rows)
            return
        self.ratio[rows] *= ratio[:, None]
        kept = (rest * self.curvature)[:, None] * self.move[rows]
        self.pending[rows] = kept.addcmul_(self.pending[rows], ratio[:, None])
        self.fresh[rows] |= ~self.accepted[rows]  # the line search of the old objective is void

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` (indices), in that order."""
        for name in self.ROWS:
            setattr(self, name, getattr(self, name).index_select(0, rows))
        if isinstance(self.lower, Tensor):
            self.lower = self.lower.index_select(0, rows)
            self.upper = self.upper.index_select(0, rows)

    def _forget(self, rows: Tensor) -> None:
        self.pairs[rows] = 0
        self.gram[rows] = 0
        self.pending[rows] = 0
        self.slot[rows] = 0
        self.step[rows], self.backtracks[rows] = 1.0, 0.0
        self.fresh[rows] = True

    def _propose(self) -> None:
        self.trial = torch.addcmul(self.x, self.direction, self.step[:, None])
        self.trial.clamp_(self.lower, self.upper)
        self.move = self.trial - self.x
        self.expected = dot(self.g, self.move)

    def _direction(self, free: Tensor) -> Tensor:
        """Store the newest pair and return minus the inverse Hessian times the free gradient."""
        rows, size = free.shape
        new = free.new_empty(rows, 3, size)  # s, y and the gradient, on the free variables
        for place, vector in enumerate((self.move, self.pending, self.g)):
            torch.mul(vector, free, out=new[:, place])
        sy, yy = dot(new[:, 0], new[:, 1]), dot(new[:, 1], new[:, 1])
        curved = (sy > torch.finfo(sy.dtype).eps * yy)
        if not self.curvature:
            self.gamma = torch.where(curved, sy / yy, self.gamma)
        keep = curved.nonzero().squeeze(1)
        first, second = self.slot[keep], self.slot[keep] + self.memory
        self.pairs[keep, first], self.pairs[keep, second] = new[keep, 0], new[keep, 1]
        self.ratio[keep, first] = 1
        products = torch.bmm(self.pairs, new.transpose(1, 2))  # (B, 2m, 3)
        for column, place in ((0, first), (1, second)):
            self.gram[keep, :, place] = self.gram[keep, place] = products[keep, :, column]
        self.slot = (self.slot + curved) % self.memory
        weights = self._weights(products[:, :, 2])
        step = torch.bmm(weights[:, None], self.pairs).squeeze(1)
        return step.addcmul_(new[:, 2], self.gamma[:, None]).mul_(free).neg_()

    def _weights(self, q: Tensor) -> Tensor:
        """Weights (B, 2m) of the pairs in H g, from q = pairs^T g (B, 2m).

        With R = triu(S^T Y) in order of age, D its diagonal and p = R^-1 S^T g,
        H g = gamma g + S R^-T ((D + gamma Y^T Y) p - gamma Y^T g) - gamma Y p.
        """
        m, gamma = self.memory, self.gamma[:, None]
        age = (torch.arange(m, device=q.device) + self.slot[:, None]) % m  # oldest first
        order = torch.cat((age, age + m), 1)  # (B, 2m)
        gram = self.gram.gather(1, order[:, :, None].expand_as(self.gram))
        gram = gram.gather(2, order[:, None].expand_as(self.gram))
        q = q.gather(1, order)

        # products with y' = ratio y + rest s, the pairs of today's objective: see `reweight`
        ratio = self.ratio.gather(1, age)
        rest = (1 - ratio) * (self.curvature or 0.0)
        sg, yg = q[:, :m], ratio * q[:, m:] + rest * q[:, :m]
        sy = gram[:, :m, m:] * ratio[:, None] + gram[:, :m, :m] * rest[:, None]
        yy = gram[:, m:, m:] * ratio[:, None] + gram[:, m:, :m] * rest[:, None]
        yy = ratio[:, :, None] * yy + rest[:, :, None] * sy

        r = sy.triu()
        curvatures = r.diagonal(dim1=1, dim2=2)
        r = r + torch.diag_embed((curvatures == 0).to(r.dtype))  # empty slots: a harmless one
        p = torch.linalg.solve_triangular(r, sg[:, :, None], upper=True)  # (B, m, 1)
        rhs = curvatures * p.squeeze(2) + gamma * (torch.bmm(yy, p).squeeze(2) - yg)
        a = torch.linalg.solve_triangular(r.mT, rhs[:, :, None], upper=False).squeeze(2)
        b = -gamma * p.squeeze(2)
        return torch.zeros_like(q).scatter(1, order, torch.cat((a + rest * b, ratio * b), 1))
