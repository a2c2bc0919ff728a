r"""The exact distance to the nearest adversarial image, for small networks of ReLU units.

In the Linf norm, for an image x of class y, the smallest r such that some x' in the box, no number
of which is further than r from x, is not classified as y.  A ReLU network is affine in pieces, so
whether there is one within r is a mixed integer linear program (Tjeng, Xiao and Tedrake 2019, arXiv
1711.07356): a unit a = max(0, z) with l <= z <= u becomes

.. math::
    a \ge 0, \quad a \ge z, \quad a \le z - l (1 - s), \quad a \le u s, \qquad s \in \{0, 1\}.

HiGHS solves it (`scipy.optimize.milp`), once for each wrong class.  No attack may find a smaller
distance: this is what attacks are measured against.  Seconds an image for some dozens of units, out
of reach for thousands.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize, sparse
from torch import Tensor, nn

from intriguing.attacks import check_inputs

_MARGIN = 1e-4  # by how far the other class must win, in logits: HiGHS works to 1e-6 of its numbers


@dataclass(frozen=True, eq=False)
class ExactDistance:
    """Distances of N images, with what is known where time ran out.

    low, high : (N,) float64 bounds of the smallest Linf distance, pixel units; 0 for an image that
        is wrong as it is.
    x_adv : (N, C, H, W) float64, adversarial images at distance `high`.
    seconds : of all programs.
    """

    low: np.ndarray
    high: np.ndarray
    x_adv: Tensor
    seconds: float

    def solved(self, tolerance: float = 1e-3) -> np.ndarray:
        """Return whether the bounds agree within a share of the distance, (N,) bool."""
        return self.high - self.low <= 1.001 * tolerance * self.high


def affine_pieces(model: nn.Module, shape: torch.Size) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights (out, in) and biases (out,) between the ReLUs of a network, in float64.

    Convolutions become matrices.

    Parameters
    ----------
    model : an `nn.Sequential`, also nested, of Flatten, Linear, Conv2d, Identity and ReLU, with a
        ReLU between each two affine parts.
    shape : (C, H, W) of an image.

    Raises
    ------
    ValueError : another module.
    """
    groups: list[list[nn.Module]] = [[]]
    for module in _leaves(model):
        if isinstance(module, nn.ReLU):
            groups.append([])
        else:
            groups[-1].append(module)
    found, size = [], shape
    for group in groups:
        part = nn.Sequential(*group).double()
        with torch.no_grad():
            bias = part(torch.zeros(1, *size, dtype=torch.float64))
            count = int(np.prod(size))
            basis = torch.eye(count, dtype=torch.float64).view(count, *size)
            weight = (part(basis) - bias).flatten(1).T  # (out, in)
        found.append((weight.numpy(), bias.flatten().numpy()))
        size = bias.shape[1:]
    return found


def _leaves(model: nn.Module) -> list[nn.Module]:
    """Return copies of the modules of a Sequential in order."""
    if isinstance(model, nn.Sequential):
        return [leaf for part in model for leaf in _leaves(part)]
    if not isinstance(model, (nn.Flatten, nn.Linear, nn.Conv2d, nn.Identity, nn.ReLU)):
        raise ValueError(
            f"the exact distance is for an nn.Sequential of Linear, Conv2d, Flatten and ReLU, and "
            f"this one holds a {type(model).__name__}"
        )
    if list(model.parameters()):
        copy = nn.Module.__new__(type(model))
        copy.__dict__.update(model.__dict__)
        copy._parameters = {
            name: None if value is None else nn.Parameter(value.detach().double().cpu())
            for name, value in model._parameters.items()
        }
        return [copy]
    return [model]


def linf_distance(
    model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor, *, tolerance: float = 1e-3,
    seconds: float = 60.0,
) -> ExactDistance:  # fmt: skip
    """Return the exact Linf distances of images x (N, C, H, W) of classes y (N,).

    It begins with images that are adversarial, and asks whether any is nearer by `tolerance`: one
    program for each wrong class.  One that is found takes its place.

    Parameters
    ----------
    model : see `affine_pieces`; pixels to logits, in eval mode.
    x_adv : (N, C, H, W) adversarial images in the box, the nearer the quicker.
    tolerance : share of the distance to which it is exact.
    seconds : limit of each program.

    Raises
    ------
    ValueError : bad input (see `check_inputs`), an image of x_adv that is classified as y, or a
        network of another kind.
    """
    check_inputs(model, x, y)
    pieces = affine_pieces(model, x.shape[1:])
    start = time.perf_counter()
    rows = [array.double().cpu().flatten(1).numpy() for array in (x, x_adv)]
    found = [
        _nearest(pieces, *row, tolerance, seconds)
        for row in zip(*rows, y.tolist(), strict=True)
    ]
    low, high, images = (np.array(column) for column in zip(*found, strict=True))
    nearest = torch.from_numpy(images).view(x.shape)
    return ExactDistance(low, high, nearest, time.perf_counter() - start)


def _nearest(pieces, x, best, label: int, tolerance: float, seconds: float):
    """Return (low, high, pixels) for one image (m,), `best` being an adversarial one."""
    if _forward(pieces, x).argmax() != label:
        return 0.0, 0.0, x
    best = _confirmed(pieces, x, best, label)
    logits = _forward(pieces, best)
    others = [k for k in np.argsort(-logits) if k != label]  # those that are likely come first
    high = np.abs(best - x).max()
    done = dict.fromkeys(others, 0.0)  # within this distance no image of the class
    waiting = list(others)
    while waiting:
        radius = high * (1 - tolerance)
        answer = _within(pieces, x, label, waiting[0], radius, seconds)
        if answer is None:  # no time, or nothing that a forward pass confirms
            break
        if isinstance(answer, np.ndarray):
            high, best = np.abs(answer - x).max(), answer
        else:
            done[waiting.pop(0)] = radius
    return min(done.values()), high, best


def _confirmed(pieces, x: np.ndarray, adversarial: np.ndarray, label: int) -> np.ndarray:
    """Return the image, or one a hair further from x where float64 sees the label in it.

    An attack in float32 may end on the very boundary.
    """
    for further in (0.0, 1e-6, 1e-5, 1e-4, 1e-3):
        pixels = np.clip(x + (1 + further) * (adversarial - x), 0, 1)
        if _forward(pieces, pixels).argmax() != label:
            return pixels
    raise ValueError("an image of x_adv is classified as its label: pass adversarial ones")


def _forward(pieces, x: np.ndarray) -> np.ndarray:
    for weight, bias in pieces[:-1]:
        x = np.maximum(weight @ x + bias, 0)
    weight, bias = pieces[-1]
    return weight @ x + bias


class _Rows:
    """The rows of a linear program, put together one block at a time."""

    def __init__(self, columns: int) -> None:
        self.columns, self.blocks, self.low, self.high = columns, [], [], []

    def add(self, parts: dict[int, np.ndarray], low, high) -> None:
        """Add low <= sum of blocks <= high; parts: first column of a block -> (rows, width)."""
        rows = len(next(iter(parts.values())))
        pieces, done = [], 0
        for start, block in sorted(parts.items()):
            pieces.append(sparse.csr_array((rows, start - done)))
            pieces.append(sparse.csr_array(block))
            done = start + block.shape[1]
        pieces.append(sparse.csr_array((rows, self.columns - done)))
        self.blocks.append(sparse.hstack(pieces))
        self.low.append(np.broadcast_to(low, rows))
        self.high.append(np.broadcast_to(high, rows))

    def constraint(self) -> optimize.LinearConstraint:
        return optimize.LinearConstraint(
            sparse.vstack(self.blocks).tocsc(), np.concatenate(self.low), np.concatenate(self.high)
        )


def _within(pieces, x: np.ndarray, label: int, other: int, radius: float, seconds: float):
    """Return an image within the radius where `other` beats the label, False, or None: no time."""
    low_pixels, high_pixels = np.maximum(x - radius, 0), np.minimum(x + radius, 1)
    bounds = bounds_of(pieces, low_pixels, high_pixels)
    weight, bias = pieces[-1]
    gap = (weight[other] - weight[label])[None], (bias[other] - bias[label])[None]
    best = bounds_of([*pieces[:-1], gap], low_pixels, high_pixels)[-1][1][0]
    if best < _MARGIN:
        return False
    m, units = len(x), [len(bias) for _, bias in pieces[:-1]]
    starts = np.cumsum([m] + [2 * count for count in units])  # pixels, then outputs and switches
    low, high, whole = np.zeros(starts[-1]), np.ones(starts[-1]), np.zeros(starts[-1])
    low[:m], high[:m] = low_pixels, high_pixels
    rows, inputs = _Rows(starts[-1]), 0
    layers = zip(pieces[:-1], bounds, starts[:-1], units, strict=False)
    for (weight, bias), (least, most), start, count in layers:
        ones, switch = np.eye(count), start + count
        rows.add({inputs: -weight, start: ones}, bias, np.inf)  # a >= z
        rows.add({inputs: -weight, start: ones, switch: np.diag(-np.minimum(least, 0))},
                 -np.inf, bias - np.minimum(least, 0))  # a <= z - l (1 - s)
        rows.add({start: ones, switch: -np.diag(np.maximum(most, 0))}, -np.inf, 0.0)  # a <= u s
        low[start:switch], high[start:switch] = np.maximum(least, 0), np.maximum(most, 0)
        choice = slice(switch, switch + count)
        low[choice], high[choice] = least >= 0, most > 0  # what cannot switch is no choice
        whole[choice] = 1
        inputs = start
    rows.add({inputs: gap[0]}, _MARGIN - gap[1], np.inf)
    price = np.zeros(starts[-1])
    price[inputs : inputs + gap[0].shape[1]] = -gap[0][0]
    answer = optimize.milp(
        price, integrality=whole, bounds=optimize.Bounds(low, high),
        constraints=rows.constraint(), options={"time_limit": seconds, "mip_rel_gap": 0.9},
    )  # fmt: skip
    if answer.x is not None:
        pixels = answer.x[:m].clip(low_pixels, high_pixels)
        return _in_piece(pieces, x, pixels, label, other)
    return False if answer.status == 2 else None


def _in_piece(pieces, x: np.ndarray, at: np.ndarray, label: int, other: int):
    """Return the nearest image to x, of those in the linear piece of `at`, that `other` wins.

    None where rounding leaves none that a forward pass confirms.
    """
    slope, offset, least, signs = np.eye(len(x)), np.zeros(len(x)), [], []
    for weight, bias in pieces[:-1]:
        slope, offset = weight @ slope, weight @ offset + bias
        on = slope @ at + offset > 0
        least.append(slope * np.where(on, 1, -1)[:, None])
        signs.append(offset * np.where(on, 1, -1))
        slope, offset = slope * on[:, None], offset * on
    weight, bias = pieces[-1]
    gap = weight[other] - weight[label]
    least.append((gap @ slope)[None])
    signs.append([gap @ offset + bias[other] - bias[label] - _MARGIN])
    a, b = np.concatenate(least), np.concatenate(signs)  # a x' + b >= 0
    eye, ones = sparse.identity(len(x)), np.ones((len(x), 1))
    answer = optimize.linprog(
        np.r_[np.zeros(len(x)), 1.0],
        sparse.vstack([sparse.hstack([sparse.csr_array(-a), np.zeros((len(a), 1))]),
                       sparse.hstack([eye, -ones]), sparse.hstack([-eye, -ones])]),
        np.concatenate([b, x, -x]), bounds=[(0, 1)] * len(x) + [(0, None)],
    )  # fmt: skip
    for pixels in (at if answer.x is None else answer.x[:-1].clip(0, 1), at):
        if _forward(pieces, pixels).argmax() != label:
            return pixels
    return None


def bounds_of(pieces, low: np.ndarray, high: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return bounds of what stands before each ReLU, for pixels in a box, and of the logits.

    Each layer is written as a linear function of the pixels, with a ReLU replaced by a line above
    and one below it (Zhang et al. 2018, arXiv 1811.00866; Singh et al. 2019).
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for depth, (weight, bias) in enumerate(pieces):
        sides = []
        for sign in (-1, 1):  # the most of -z, then of z
            slope, offset = sign * weight, sign * bias
            for (w, b), (least, most) in zip(pieces[:depth][::-1], found[::-1], strict=True):
                wide = np.maximum(most - least, 1e-12)
                line = np.where(least >= 0, 1.0, np.where(most <= 0, 0.0, most / wide))
                shift = np.where((least < 0) & (most > 0), -line * least, 0.0)
                under = np.where(least >= 0, 1.0, np.where(most <= 0, 0.0, most > -least))
                up, down = np.maximum(slope, 0), np.minimum(slope, 0)
                offset = offset + up @ shift
                slope = up * line + down * under
                offset, slope = offset + slope @ b, slope @ w
            sides.append(np.maximum(slope, 0) @ high + np.minimum(slope, 0) @ low + offset)
        found.append((-sides[0], sides[1]))
    return found
