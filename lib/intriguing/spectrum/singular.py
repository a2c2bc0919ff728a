"""The largest singular value of one matrix or of many, bounded from above.

A Lanczos iteration approaches the largest eigenvalue of a Gram matrix from below, quickly, but
never says how much is missing.  A Cholesky factorisation does: t^2 I - A* A has one exactly if t
exceeds every singular value of A.  So the value that Lanczos suggests, raised by a little, is put
to that test, and raised again for the matrices that fail.  Both are products of matrices for the
most part, several times as fast as a singular value decomposition, and many matrices can be
tested at the best bound so far at once without looking for their singular values at all.
"""

import torch
from torch import Tensor

TOL = 1e-5  # a bound exceeds the norm by no more than this fraction
_STEPS, _FEW = 64, 16  # of the first Lanczos iteration; both double while some matrix fails


@torch.no_grad()
def linear_bound(weight: Tensor, *, tol: float = TOL) -> float:
    """Return an upper bound on the operator norm of a matrix, at most `tol` above it.

    Parameters
    ----------
    weight : (outputs, inputs), real; computed with in float64.
    tol : relative; far above float64's rounding and therefore a guarantee.

    Raises
    ------
    ValueError : not a matrix, not finite, or `tol` outside [1e-10, 1].
    """
    if weight.ndim != 2:
        raise ValueError(f"a matrix has two axes, not the shape {tuple(weight.shape)}")
    return raised(0.0, weight.double()[None], tol)


def raised(bound: float, matrices: Tensor, tol: float = TOL) -> float:
    """Return the least multiple of `bound` we can prove to be above all singular values.

    Parameters
    ----------
    bound : a bound that holds for other matrices; returned unchanged if it holds for these too.
    matrices : (F, m, n), float64 or complex128.
    tol : the result exceeds the larger of `bound` and the largest singular value by no more.

    Raises
    ------
    ValueError : values that are not finite, or `tol` outside [1e-10, 1].
    """
    if not matrices.isfinite().all():
        raise ValueError("a weight is NaN or infinite: there is no norm to bound")
    if not matrices.any():
        return bound
    if not 1e-10 <= tol <= 1:
        raise ValueError(f"tol must lie in [1e-10, 1], not {tol}: float64 proves no less")
    scale = max(bound, float(matrices.abs().max()))  # squares of what is left do not overflow
    held, bound, matrices = bound, bound / scale, matrices / scale
    wide = matrices.shape[-1] > matrices.shape[-2]
    gram = matrices @ matrices.mH if wide else matrices.mH @ matrices  # (F, k, k)
    steps, few = _STEPS, _FEW
    while len(gram := gram[~_below(gram, bound)]):
        likely = gram.flatten(1).norm(dim=1).topk(min(few, len(gram))).indices
        found = float(_largest_eigenvalue(gram[likely], steps).max()) ** 0.5
        bound, steps, few = max(found, bound) * (1 + tol / 2), 2 * steps, 2 * few
    return held if steps == _STEPS else bound * scale


def _below(gram: Tensor, bound: float) -> Tensor:
    """Say of each Gram matrix (F, k, k) whether its eigenvalues are below bound^2: (F,) bool."""
    if bound == 0:
        return torch.zeros(len(gram), dtype=torch.bool, device=gram.device)
    rest = -gram
    rest.diagonal(dim1=-2, dim2=-1).add_(bound**2)
    return torch.linalg.cholesky_ex(rest).info == 0


def _largest_eigenvalue(gram: Tensor, steps: int) -> Tensor:
    """Approach the largest eigenvalue of each Hermitian matrix (F, k, k) from below: (F,).

    Lanczos (Golub and Van Loan, section 10.1) without orthogonalising again: the copies of
    eigenvalues that this brings in do not exceed the largest one.
    """
    generator = torch.Generator(device=gram.device).manual_seed(0)
    shape, real = gram.shape[:2], gram.real if gram.is_complex() else gram
    start = torch.randn(shape, generator=generator, dtype=real.dtype, device=gram.device)
    v, before = start.to(gram.dtype), torch.zeros(shape, dtype=gram.dtype, device=gram.device)
    v = v / v.norm(dim=1, keepdim=True)
    steps = min(steps, 2 * shape[1])
    inner, outer = real.new_zeros(len(gram), steps), real.new_zeros(len(gram), steps)
    for j in range(steps):
        new = (gram @ v[..., None])[..., 0]  # (F, k)
        inner[:, j] = (v.conj() * new).sum(1).real
        new = new - inner[:, j, None] * v - outer[:, j - 1, None] * before * (j > 0)
        outer[:, j] = new.norm(dim=1)
        tiny = outer[:, j] <= 1e-14 * inner[:, 0].abs()  # the space is exhausted: stay at zero
        outer[tiny, j] = 0
        before, v = v, torch.where(tiny[:, None], 0, new / outer[:, j, None])
    tridiagonal = torch.diag_embed(inner)
    tridiagonal += torch.diag_embed(outer[:, :-1], 1) + torch.diag_embed(outer[:, :-1], -1)
    return torch.linalg.eigvalsh(tridiagonal)[:, -1].clamp(min=0)
