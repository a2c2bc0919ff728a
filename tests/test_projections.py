"""The nearest point of a plane in the box, against SciPy, in every corner case."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from intriguing import runtime
from intriguing.attacks.projections import PROJECTIONS

F64 = torch.float64


def problems(rows, size, seed, *, corners=0.3):
    """Points of the box, many numbers at a wall; normals, many of them 0; gaps, some too wide."""
    g = runtime.generator(seed, "projections")
    at = torch.rand(rows, size, generator=g, dtype=F64)
    at = torch.where(torch.rand(rows, size, generator=g) < corners, at.round(), at)
    w = torch.randn(rows, size, generator=g, dtype=F64)
    w = torch.where(torch.rand(rows, size, generator=g) < 0.2, 0, w)
    w *= 10 ** (6 * torch.rand(rows, 1, generator=g, dtype=F64) - 3)
    side = torch.randn(rows, generator=g, dtype=F64).sign()
    reach = (w.abs() * torch.where((w * side[:, None]) < 0, 1 - at, at)).sum(1)
    gap = side * reach * 1.3 * torch.rand(rows, generator=g, dtype=F64)  # beyond 1: out of reach
    return at, w, gap


def reference(norm, at, w, gap):
    """The smallest norm by a general method; None where no point of the box is on the plane."""
    size, scale = len(at), np.abs(w).max() or 1.0
    w, gap = w / scale, gap / scale  # linprog has an absolute tolerance
    low, high = -at, 1 - at
    # linprog in (d, t): minimise t with |d_i| <= t, or sum of t_i for L1
    auxiliary = 1 if norm == "linf" else size
    cover = np.ones((size, 1)) if norm == "linf" else np.eye(size)
    bounds = [*zip(low, high, strict=True), *[(0, None)] * auxiliary]
    above = np.block([[np.eye(size), -cover], [-np.eye(size), -cover]])
    found = linprog(np.r_[np.zeros(size), np.ones(auxiliary)], A_ub=above, b_ub=np.zeros(2 * size),
                    A_eq=np.r_[w, np.zeros(auxiliary)][None], b_eq=[-gap],
                    bounds=bounds)  # fmt: skip
    if found.status == 2:
        return None
    assert found.status == 0
    if norm != "l2":
        return found.fun
    return np.sqrt(minimize(
        lambda d: d @ d, found.x[:size], jac=lambda d: 2 * d, method="SLSQP",
        bounds=list(zip(low, high, strict=True)), options={"ftol": 1e-15, "maxiter": 1000},
        constraints={"type": "eq", "fun": lambda d: w @ d + gap, "jac": lambda d: w},
    ).fun)  # fmt: skip


SIZE = {"linf": lambda d: d.abs().amax(1), "l2": lambda d: d.norm(dim=1),
        "l1": lambda d: d.abs().sum(1)}  # fmt: skip


@pytest.mark.parametrize("norm", PROJECTIONS)
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_like_scipy(norm, size):
    at, w, gap = problems(40, size, seed=size)
    change = PROJECTIONS[norm](at, w, gap)
    found = SIZE[norm](change)
    feasible = 0
    for i in range(len(at)):
        expected = reference(norm, *(t[i].numpy() for t in (at, w)), gap[i].item())
        if expected is None:  # the nearest there is: every number takes the room it has
            side = -w[i].sign() * gap[i].sign()
            all_of_it = torch.where(side > 0, 1 - at[i], -at[i]) * (side != 0)
            torch.testing.assert_close(change[i], all_of_it, rtol=1e-12, atol=1e-12)
        else:
            feasible += 1
            assert found[i] == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert 20 <= feasible < 40 or size == 1


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (F64, 1e-13)])
@pytest.mark.parametrize("norm", PROJECTIONS)
def test_on_the_plane_and_in_the_box_with_the_pixels_of_an_image(norm, dtype, tolerance):
    at, w, gap = (t.to(dtype) for t in problems(64, 784, seed=0, corners=0.8))
    change = PROJECTIONS[norm](at, w, gap)
    after = at + change
    assert after.min() >= -1e-7 and after.max() <= 1 + 1e-7
    room = torch.where(-w * gap[:, None] > 0, 1 - at, at)
    within = (w.abs() * room).double().sum(1) > gap.abs().double()
    off = (w.double() * change.double()).sum(1) + gap.double()
    assert (off[within].abs() / gap[within].abs()).max() < tolerance
    assert 30 < within.sum() < 64


@pytest.mark.parametrize("norm", PROJECTIONS)
def test_nothing_to_do_and_nothing_to_be_done(norm):
    """On the plane already; no normal; normals so small or large that their squares vanish."""
    at = torch.rand(5, 30, generator=runtime.generator(0, "at"))
    w = torch.randn(5, 30, generator=runtime.generator(1, "w"))
    gap = torch.tensor([0.0, 1.0, 1e-30, 1e30, 1.0])
    w = w * torch.tensor([1.0, 0.0, 1e-30, 1e30, 1.0])[:, None]
    w[4, 1:] *= 1e-20  # but for one number
    change = PROJECTIONS[norm](at, w, gap)
    assert change.isfinite().all()
    assert not change[:2].any()
    same = PROJECTIONS[norm](at[2:4], w[2:4] / gap[2:4, None], torch.ones(2))
    torch.testing.assert_close(change[2:4], same, rtol=1e-4, atol=1e-7)
    assert change[4, 1:].abs().max() == 0 and change[4, 0] != 0


@pytest.mark.parametrize("norm", PROJECTIONS)
def test_a_row_does_not_depend_on_the_others(norm):
    at, w, gap = (t.float() for t in problems(8, 100, seed=3))
    whole = PROJECTIONS[norm](at, w, gap)
    order = torch.randperm(8, generator=runtime.generator(0, "order"))
    torch.testing.assert_close(PROJECTIONS[norm](at[order], w[order], gap[order]), whole[order],
                               rtol=1e-6, atol=1e-7)  # fmt: skip
    for i in range(8):
        one = PROJECTIONS[norm](at[i : i + 1], w[i : i + 1], gap[i : i + 1])
        torch.testing.assert_close(one, whole[i : i + 1], rtol=1e-6, atol=1e-7)
