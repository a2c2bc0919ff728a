"""The operator norm of a convolution, from the Fourier transform of its kernel.

With circular boundaries on a grid of n points an axis, the discrete Fourier transform takes a
convolution with stride s apart into one matrix for each frequency nu of the coarse output grid,

    A(nu) = s^(-1) [ w^_dc(nu + l / s) ],   rows d, columns (c, l), l in {0 .. s-1}^2,          (1)

    w^_dc(nu) = sum_u w_dc(u) exp(-2 pi i u . nu),     nu in {0, 1/n, ..., (n/s - 1)/n}^2,

and the norm is the largest singular value among them.  The factor is s^(-1) in two dimensions:
keeping every s-th point turns the transform into the mean over s^2 aliases, s^(-2), and Parseval's
identity on two grids, one with s^2 times the points of the other, gives s back.  Szegedy et al.
2014, section 4.3, print s^(-2).

A convolution padded with zeros is a circular one on a larger grid, restricted to images that are
zero outside and to some of the outputs; so it is bounded by (1) on any grid on which the padding
does not wrap around onto the image.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from intriguing.spectrum.singular import TOL, raised

MODES = ("zeros", "circular", "reflect", "replicate")
_CHUNK = 2**22  # complex numbers in memory at once: 64 MB
Pair = int | tuple[int, int]


@torch.no_grad()
def conv_bound(
    weight: Tensor,
    size: Pair,
    *,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    mode: str = "zeros",
    tol: float = TOL,
) -> float:
    """Return an upper bound on the operator norm of a two-dimensional convolution.

    Parameters
    ----------
    weight : (D, C / groups, h, w), as torch keeps it.
    size : height and width of the input.
    stride, padding, dilation, groups : as `torch.nn.Conv2d` takes them.
    mode : its `padding_mode`.  "circular": the norm itself, up to `tol`, where the stride divides
        the size and there are size / stride outputs along each axis.  All else is a bound and not
        the norm: "zeros", padded or not; fewer circular outputs; "reflect", "replicate" and other
        circular outputs, where the bound without padding is multiplied by the norm of the padding.
    tol : see `intriguing.spectrum.singular.raised`.

    Raises
    ------
    ValueError : shapes or options that do not belong to a convolution, or more circular or
        reflected padding than the image has pixels for.
    """
    if weight.ndim != 4 or groups < 1 or weight.shape[0] % groups:
        raise ValueError(
            "a kernel is (outputs, inputs / groups, height, width) and groups divide the outputs, "
            f"got {tuple(weight.shape)} with {groups} groups"
        )
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    grid, factor = [], 1.0
    steps, spread, sizes = _pair(stride), _pair(dilation), _pair(size)
    pads = _paddings(padding, weight.shape[2:], spread)
    for k, n, s, d, p in zip(weight.shape[2:], sizes, steps, spread, pads, strict=True):
        reach = d * (k - 1)  # how far a window stretches
        if min(n, s, d) < 1 or p < 0 or n + 2 * p <= reach:
            raise ValueError(
                f"a window that reaches over {reach + 1} pixels does not fit {n} pixels padded by "
                f"{p}, or a size, stride or dilation is below 1"
            )
        if p > {"circular": n, "reflect": n - 1}.get(mode, p):
            raise ValueError(f"{mode} padding by {p} asks for more than the image's {n} pixels")
        around = reach if padding == "same" else 2 * p
        if mode == "circular" and n % s == 0 and (n + around - reach - 1) // s < n // s:
            points = n  # some or all of the outputs on the torus
        elif mode == "zeros":
            points = n + p
        else:
            points = n + 2 * p
            padded = F.pad(torch.eye(n, dtype=torch.float64)[None], (p, p), mode=mode)[0]
            factor *= float(torch.linalg.matrix_norm(padded, 2))
        grid.append(-(-points // s) * s)
    (rows, columns), (s_h, s_w) = grid, steps
    # The kernel is real: frequencies nu and -nu have the same singular values.
    nu_h = torch.arange(rows // s_h, dtype=torch.float64) / rows
    nu_w = torch.arange(columns // s_w // 2 + 1, dtype=torch.float64) / columns
    return factor * symbol_norm(
        weight, (nu_h, nu_w), steps, dilation=spread, groups=groups, tol=tol)


@torch.no_grad()
def printed_bound(weight: Tensor, *, stride: int = 1, tol: float = TOL) -> float:
    """Return what Szegedy et al. 2014, section 4.3, print as the norm: not a bound, see (1).

    Their formula has the factor s^(-2), and its frequencies, read as those of a discrete Fourier
    transform of the kernel, are multiples of 1/N for a kernel of N x N.  (The exponent is printed
    with N^2 for N, which we take for a misprint.)

    Parameters
    ----------
    weight : (D, C, N, N).
    stride : s; it need not divide N, as with AlexNet's 4 and 11.

    Raises
    ------
    ValueError : a kernel that is not square.
    """
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise ValueError(f"the paper's kernels are square, not of shape {tuple(weight.shape)}")
    n = weight.shape[-1]
    nu = torch.arange(math.ceil(n / stride), dtype=torch.float64) / n
    return symbol_norm(weight, (nu, nu), stride, tol=tol) / stride


@torch.no_grad()
def symbol_norm(
    weight: Tensor,
    nu: tuple[Tensor, Tensor],
    stride: Pair = 1,
    *,
    dilation: Pair = 1,
    groups: int = 1,
    tol: float = TOL,
) -> float:
    """Return the largest singular value of A(nu), equation (1), over given frequencies.

    Parameters
    ----------
    weight : (D, C / groups, h, w).
    nu : frequencies along the two axes, in cycles per input pixel; all pairs of them are tried.
    stride, dilation, groups, tol : as in `conv_bound`.

    Rows of frequencies go through in slices: memory grows with the width of the grid alone.
    """
    steps, spread = _pair(stride), _pair(dilation)
    kernel = weight.detach().to(torch.complex128).unflatten(0, (groups, -1))  # (g, D/g, C/g, h, w)
    waves = [
        _waves(axis.double().to(weight.device), k, s, d)  # (F, s, k)
        for axis, k, s, d in zip(nu, weight.shape[2:], steps, spread, strict=True)
    ]
    along = torch.einsum("gdcuv,qmv->gdcuqm", kernel, waves[1])  # (g, D/g, C/g, h, F_w, s_w)
    each = kernel[..., 0, 0].numel() * len(nu[1]) * math.prod(steps)
    bound = 0.0
    for part in waves[0].split(max(1, _CHUNK // each)):
        blocks = torch.einsum("gdcuqm,plu->gpqdclm", along, part)
        bound = raised(bound, blocks.flatten(4).flatten(0, 2), tol)  # (g F_h F_w, D/g, C/g s_h s_w)
    return bound / math.sqrt(math.prod(steps))


def _waves(nu: Tensor, k: int, s: int, d: int) -> Tensor:
    """Return exp(-2 pi i d u (nu + l / s)), complex (F, s, k), l and u along the last two axes."""
    u, alias = (torch.arange(n, dtype=nu.dtype, device=nu.device) for n in (k, s))
    phase = (nu[:, None, None] + alias[:, None] / s) * (d * u)  # (F, s, k)
    return torch.polar(torch.ones_like(phase), -2 * math.pi * phase)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _paddings(padding: Pair | str, kernel, spread) -> tuple[int, int]:
    """Return the larger of the two paddings of each axis."""
    if padding == "valid":
        return (0, 0)
    if padding == "same":  # the odd pixel goes to the end
        return tuple((d * (k - 1) + 1) // 2 for k, d in zip(kernel, spread, strict=True))
    return _pair(padding)
