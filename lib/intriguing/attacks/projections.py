r"""The nearest point of a hyperplane within the box [0, 1], for each row of a batch.

For a point x of the box and the hyperplane {z : <w, z - x> + gap = 0} the change d solves

    minimise  ||d||_p   subject to  <w, d> = -gap  and  x + d in [0, 1]^m.                       (1)

Every number with w_i != 0 moves towards the plane, and none further than its room, which is what
the box leaves it.  In Linf all move by min(level, room_i), in L2 by min(level ``|w_i|``, room_i);
in L1 those of the largest ``|w_i|`` move first, by all their room.  Where no point of the box lies
on the plane, every number takes its room: the box's nearest point to the plane.

Croce and Hein 2020, arXiv 1907.02044, section 3.1 and appendix A.  They sort the rooms and halve
the sorted places.  Here the level comes from Newton's method: what is reached grows with the level
in straight pieces, each flatter than the last, so that Newton climbs from 0 to the solution without
passing it, in a few steps, and ends exactly on its piece.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.linalg import vecdot

FLAT = 1e-12  # a weight below this share of the row's largest is taken for 0


def linf(at: Tensor, w: Tensor, gap: Tensor) -> Tensor:
    """Return the smallest change in Linf that meets equation 1, (N, D).

    Parameters
    ----------
    at : (N, D) points of the box [0, 1].
    w : (N, D) finite normals of the hyperplanes, of any length; where w = 0 nothing moves.
    gap : (N,) how far <w, .> is above the plane at `at`, in the units of w times pixels.
    """
    size, room, sign, need = _prepare(at, w, gap)
    level = _level(size, room, size * room, need)
    return torch.minimum(level[:, None], room).mul_(sign)


def l2(at: Tensor, w: Tensor, gap: Tensor) -> Tensor:
    """Return the smallest change in L2 that meets equation 1, (N, D); arguments as `linf`."""
    size, room, sign, need = _prepare(at, w, gap)
    cap = room / size.clamp_min(FLAT)
    level = _level(size * size, cap, size * room, need)
    return torch.minimum(level[:, None] * size, room).mul_(sign)


def l1(at: Tensor, w: Tensor, gap: Tensor) -> Tensor:
    """Return a smallest change in L1 that meets equation 1, (N, D); arguments as `linf`."""
    size, room, sign, need = _prepare(at, w, gap)
    size, order = size.sort(dim=1, descending=True, stable=True)
    reach = size * room.gather(1, order)
    before = torch.cat([torch.zeros_like(need)[:, None], reach.cumsum(1)[:, :-1]], dim=1)
    used = torch.minimum((need[:, None] - before).clamp_min(0), reach)  # (N, D), of the need
    moved = torch.where(size > 0, used / size, 0)
    change = torch.zeros_like(at).scatter(1, order, moved)
    return torch.minimum(change, room).mul_(sign)


PROJECTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "linf": linf, "l2": l2, "l1": l1,
}  # fmt: skip


def _prepare(at: Tensor, w: Tensor, gap: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return |w| over its largest, room and direction of every number (N, D); and the need (N,)."""
    size = w.abs()
    largest = size.amax(1).clamp_min(torch.finfo(w.dtype).tiny)  # (N,)
    size /= largest[:, None]
    size *= size >= FLAT
    sign = w.sign().mul_(size.sign()).mul_(-gap.sign()[:, None])
    room = (sign > 0).to(at.dtype).sub_(at).abs_().mul_(sign.abs())
    return size, room, sign, gap.abs() / largest


def _level(weight: Tensor, cap: Tensor, reach: Tensor, need: Tensor) -> Tensor:
    """Solve sum_i weight_i min(level, cap_i) = need for each row; the largest cap if it is short.

    reach : weight * cap, (N, D).
    """
    level, highest = torch.zeros_like(need), cap.amax(1)
    mask = torch.empty_like(cap)  # of 0 and 1, as numbers: products are faster than choices
    for _ in range(cap.shape[1] + 1):
        slope = vecdot(weight, torch.gt(cap, level[:, None], out=mask))
        used = vecdot(reach, torch.le(cap, level[:, None], out=mask))
        # the level of this piece; on the right piece it comes out the same again
        wanted = torch.where(slope > 0, (need - used) / slope, highest)
        wanted = torch.minimum(wanted, highest)
        grows = wanted > level
        if not grows.any():
            break
        level = torch.where(grows, wanted, level)
    return level
