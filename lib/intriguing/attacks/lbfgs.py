"""The box-constrained L-BFGS attack of Szegedy et al. (2014), Section 4.1.

For an image x and a target class t the paper asks for the smallest r with f(x + r) = t and x + r
in the box, and solves in its place

    minimise  c |r| + loss(x + r, t)   subject to  x + r in [0, 1]^m                           (1)

with a line search for the weight c. A large c keeps r small, so the smallest distortion belongs to
the *largest* c whose minimiser is classified as t; the paper's "minimum c" holds for a c that
multiplies the loss. We keep the paper's equation and report its c; inside, the loss carries the
weight w = 1/c.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from intriguing import runtime

from .common import AttackResult, check_inputs, measure
from .penalties import PENALTIES
from .search import WORDS, Search

BATCH = {"cpu": 512, "cuda": 8192}  # the cache of a core, the width of a GPU


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
        The default suits "l2_squared" and "l1"; "l2" is flat along r and wants 1e-6, with
        max_iterations in the thousands.
    gtol : or when the projected gradient's largest entry, loss weighted by 1/c, is below this.
    c_tol : the search ends when the bracket of c is narrower than this fraction.
    max_rounds, max_iterations : values of c tried, and steps at each of them, at the most.
    memory : curvature pairs of L-BFGS.
    batch : images that advance together; None means 512 on a CPU, 8,192 on a GPU.  Where a GPU has
        no room for them, fewer: see `intriguing.batches`.
    progress : called as progress(images finished, images) now and then.

    Returns
    -------
    AttackResult. With a search, `x_adv` is the least distorted of *all* evaluated points that
    reached the target, so a success that is not monotone in c is never lost; `c` is the value at
    which it was found (inf where x is already classified as the target, which leaves x as it is).
    Where nothing reached the target, `x_adv` is the last point tried and `success` is False.

    Raises ValueError for bad input (see `check_inputs`) and unknown options.

    Paper: MNIST and AlexNet, search of c and stopping rule not given. Here the search starts at
    the w of a linear model, w = -4 margin / ||grad loss||^2, brackets by factors and closes the
    bracket by interpolating the margin in log w.
    """
    check_inputs(model, x, y, target)
    batch = batch if batch is not None else BATCH.get(x.device.type, 512)
    _check_options(
        len(x), penalty, start, c, ftol=ftol, gtol=gtol, c_tol=c_tol, max_rounds=max_rounds,
        max_iterations=max_iterations, memory=memory, batch=batch,
    )  # fmt: skip
    with runtime.eval_mode(model), torch.no_grad():
        search = Search(
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
    images need; each further round refines between the last success and the next value.

    Parameters
    ----------
    model, x, y, target : as in `lbfgs`.
    success_rate : share of the images that must reach their target.
    points, rounds : values of c in a grid, and grids; c is known to the last grid's spacing.
    options : for `lbfgs`.

    Returns the AttackResult of the minimisers at that c; images already classified as their target
    do not take part in the choice of the first grid.
    Raises ValueError where no c of the first grid reaches the rate, and as `lbfgs` does.
    """
    n = len(x)
    alone = lbfgs(model, x, y, target=target, **options)
    finite = alone.c[alone.c.isfinite()]
    if len(finite) == 0:  # every image is its own answer
        return alone
    low, high = finite.min().log() - math.log(30), finite.max().log()
    best = None
    for _ in range(rounds):
        grid = torch.linspace(low.item(), high.item(), points, dtype=x.dtype, device=x.device)
        images, labels, wanted = (t.repeat_interleave(points, 0) for t in (x, y, target))
        result = lbfgs(model, images, labels, target=wanted, c=grid.exp().repeat(n), **options)
        rate = result.success.view(n, points).double().mean(0)
        good = (rate >= success_rate).nonzero().squeeze(1)
        if len(good) == 0:
            break
        last = int(good[-1])
        best = result[torch.arange(n, device=x.device) * points + last]
        low, high = grid[last], grid[min(last + 1, points - 1)]
    if best is None:
        raise ValueError(f"no c in [{low.exp():.3g}, {high.exp():.3g}] reaches a success rate of "
                         f"{success_rate}")  # fmt: skip
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
