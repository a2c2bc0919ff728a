"""The batched solver against SciPy's, and what its rows may not do to each other."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from intriguing import runtime
from intriguing.attacks.boxlbfgs import BoxLBFGS

F64 = torch.float64


def quadratics(rows, size, seed=0):
    """Convex quadratics 0.5 v'Av - b'v with condition numbers up to 1e4, and interior starts."""
    g = runtime.generator(seed, "quadratics")
    basis = torch.linalg.qr(torch.randn(rows, size, size, dtype=F64, generator=g))[0]
    values = 10 ** (4 * torch.rand(rows, size, dtype=F64, generator=g) - 2)
    a = basis * values[:, None] @ basis.mT
    b = 3 * torch.randn(rows, size, dtype=F64, generator=g)
    start = torch.rand(rows, size, dtype=F64, generator=g)

    def evaluate(v, which):
        av = torch.einsum("bij,bj->bi", a[which], v)
        return 0.5 * (v * av).sum(1) - (b[which] * v).sum(1), av - b[which]

    return evaluate, start


def rosenbrock(v, which=None):
    """The chained Rosenbrock function of each row."""
    v = v.detach().requires_grad_()
    f = (100 * (v[:, 1:] - v[:, :-1] ** 2) ** 2 + (1 - v[:, :-1]) ** 2).sum(1)
    (g,) = torch.autograd.grad(f.sum(), v)
    return f.detach(), g


def descend(solver, evaluate, ticks, which=None):
    """Run all rows for a number of ticks and see that they stay in the box."""
    which = torch.arange(len(solver.x)) if which is None else which
    for _ in range(ticks):
        assert (solver.trial >= solver.lower).all() and (solver.trial <= solver.upper).all()
        solver.tell(*evaluate(solver.trial.clone(), which))
        solver.ask()
    return solver


def scipy_minimum(evaluate, start, row, lower=0.0, upper=1.0):
    def fun(z):
        f, g = evaluate(torch.from_numpy(z)[None], torch.tensor([row]))
        return f.item(), g[0].numpy()

    found = minimize(
        fun, start[row].numpy(), jac=True, method="L-BFGS-B",
        bounds=[(lower, upper)] * start.shape[1],
        options={"ftol": 1e-16, "gtol": 1e-10, "maxiter": 5000, "maxfun": 20000},
    )  # fmt: skip
    return found.fun


def test_convex_quadratics_like_scipy():
    evaluate, start = quadratics(20, 30)
    solver = descend(BoxLBFGS(start, 0.0, 1.0, memory=8), evaluate, 700)
    expected = torch.tensor([scipy_minimum(evaluate, start, i) for i in range(20)], dtype=F64)
    assert torch.allclose(solver.f, expected, rtol=1e-8, atol=1e-9)
    assert (solver.projected < 1e-4).all()


@pytest.mark.parametrize("memory", [1, 2, 5, 20])
def test_rosenbrock_like_scipy_at_any_memory(memory):
    start = torch.rand(8, 6, dtype=F64, generator=runtime.generator(0, "rosenbrock"))
    start = start.clamp(max=0.8)
    solver = descend(BoxLBFGS(start, 0.0, 0.8, memory=memory), rosenbrock, 300)
    expected = [scipy_minimum(rosenbrock, start, i, upper=0.8) for i in range(8)]
    assert torch.allclose(solver.f, torch.tensor(expected, dtype=F64), rtol=1e-7)


def test_a_quadratic_of_the_known_curvature_takes_one_step():
    centre = torch.tensor([[0.3, 1.7, -0.4, 0.5]], dtype=F64)  # two of four outside the box
    solver = BoxLBFGS(torch.full((1, 4), 0.5, dtype=F64), 0.0, 1.0, curvature=2.0)
    descend(solver, lambda v, _: (((v - centre) ** 2).sum(1), 2 * (v - centre)), 1)
    assert torch.allclose(solver.trial, centre.clamp(0, 1))


def test_boxes_of_each_row_and_degenerate_ones():
    """Bounds as tensors; a variable whose bounds coincide never moves."""
    evaluate, start = quadratics(6, 10)
    lower, upper = torch.zeros_like(start), torch.full_like(start, 0.6)
    lower[:, 3] = upper[:, 3] = start[:, 3] = 0.25
    solver = descend(BoxLBFGS(start.clamp(lower, upper), lower, upper), evaluate, 300)
    assert (solver.x[:, 3] == 0.25).all()
    assert solver.x.amin() >= 0 and solver.x[:, 4:].amax() <= 0.6


@pytest.mark.parametrize("corner", [0.0, 1.0])
def test_leaves_a_corner_of_the_box(corner):
    evaluate, start = quadratics(5, 12)
    solver = descend(BoxLBFGS(torch.full_like(start, corner), 0.0, 1.0), evaluate, 400)
    expected = torch.tensor([scipy_minimum(evaluate, start, i) for i in range(5)], dtype=F64)
    assert torch.allclose(solver.f, expected, rtol=1e-6, atol=1e-8)


def test_the_value_never_rises():
    evaluate, start = quadratics(10, 15)
    solver = BoxLBFGS(start, 0.0, 1.0)
    best = torch.full((10,), torch.inf, dtype=F64)
    for _ in range(100):
        solver.tell(*evaluate(solver.trial.clone(), torch.arange(10)))
        assert (solver.f <= best).all() and (solver.decrease >= 0).all()
        best = solver.f.clone()
        solver.ask()


def test_rows_do_not_know_of_each_other():
    evaluate, start = quadratics(8, 12)
    together = descend(BoxLBFGS(start, 0.0, 1.0), evaluate, 40)
    for i in range(8):
        row = torch.tensor([i])
        alone = descend(BoxLBFGS(start[row], 0.0, 1.0), evaluate, 40, row)
        assert torch.allclose(alone.x[0], together.x[i], atol=1e-9)


@pytest.mark.parametrize("curvature", [None, 0.0, 2.0])
def test_a_restarted_row_has_no_past(curvature):
    """Bit for bit the same as a solver that is new."""
    evaluate, start = quadratics(2, 12)
    rows = torch.tensor([0])
    used = descend(BoxLBFGS(start[rows], 0.0, 1.0, curvature=curvature), evaluate, 23, rows)
    used.restart(rows, start[1:])
    new = BoxLBFGS(start[1:], 0.0, 1.0, curvature=curvature)
    for solver in (used, new):
        descend(solver, evaluate, 17, torch.tensor([1]))
    assert torch.equal(used.x, new.x) and torch.equal(used.trial, new.trial)


def test_select_keeps_the_rows_it_is_given():
    evaluate, start = quadratics(6, 12)
    keep = torch.tensor([4, 0, 3])
    whole = descend(BoxLBFGS(start, 0.0, 1.0), evaluate, 15)
    part = descend(BoxLBFGS(start, 0.0, 1.0), evaluate, 15)
    part.select(keep)
    descend(whole, evaluate, 15)
    descend(part, evaluate, 15, keep)
    assert torch.allclose(part.x, whole.x[keep], atol=1e-10)
    assert torch.allclose(part.gram, whole.gram[keep], rtol=1e-6, atol=1e-10)


def test_gram_matrix_holds_the_inner_products():
    evaluate, start = quadratics(5, 12)
    solver = descend(BoxLBFGS(start, 0.0, 1.0, memory=4), evaluate, 30)
    assert torch.allclose(solver.gram, solver.pairs @ solver.pairs.mT, rtol=1e-8, atol=1e-12)


def two_loops(s, y, g, gamma):
    """Minus H g by the textbook recursion over the pairs s, y (m, D), oldest first."""
    q, alphas = g.clone(), []
    for a, b in zip(s.flip(0), y.flip(0), strict=True):
        alphas.append((a @ q) / (a @ b))
        q -= alphas[-1] * b
    q *= gamma
    for a, b, alpha in zip(s, y, reversed(alphas), strict=True):
        q += (alpha - (b @ q) / (a @ b)) * a
    return -q


@pytest.mark.parametrize("ratio", [1.0, 3.0, 0.2])
def test_the_step_is_that_of_the_two_loop_recursion(ratio):
    """Also after the weight of the loss changed, with pairs as the new objective makes them."""
    evaluate, start = quadratics(3, 10)
    which, m = torch.arange(3), 4

    def objective(w):
        def f(v, rows):
            loss, g = evaluate(v, rows)
            r = v - start[rows]
            return (r * r).sum(1) + w * loss, 2 * r + w * g
        return f

    solver = descend(BoxLBFGS(start, -99.0, 99.0, memory=m, curvature=2.0), objective(1.0), 9)
    solver.tell(*objective(1.0)(solver.trial.clone(), which))
    f, g = objective(ratio)(solver.x, which)
    solver.reweight(which, torch.full((3,), ratio, dtype=F64), f, 2 * (solver.x - start))
    assert torch.allclose(solver.g, g, atol=1e-10)
    direction = solver._direction(torch.ones_like(start))  # takes the newest pair in
    for row in range(3):
        hessian = torch.autograd.functional.hessian(
            lambda v, row=row: objective(ratio)(v[None], which[row : row + 1])[0].sum(), start[row]
        )
        order = (torch.arange(m) + solver.slot[row]) % m
        s = solver.pairs[row, order]
        expected = two_loops(s, s @ hessian, g[row], solver.gamma[row])
        assert torch.allclose(direction[row], expected, rtol=1e-7, atol=1e-10)


def test_a_zero_gradient_stays_where_it_is():
    solver = BoxLBFGS(torch.full((2, 3), 0.5), 0.0, 1.0)
    descend(solver, lambda v, _: (v.new_zeros(2), torch.zeros_like(v)), 5)
    assert (solver.x == 0.5).all() and (solver.projected == 0).all()
    assert not solver.x.isnan().any()


def test_infinite_trials_are_stepped_back_from():
    """A function that is infinite beyond 0.2: the row backtracks to its finite part."""

    def evaluate(v, _):
        f, g = -v.sum(1), -torch.ones_like(v)
        f = torch.where((v > 0.2).any(1), torch.inf, f)
        return f, g

    solver = descend(BoxLBFGS(torch.full((1, 3), 0.1), 0.0, 1.0), evaluate, 60)
    assert solver.f.item() < -0.45 and (solver.x <= 0.2).all()


def test_a_row_without_descent_reports_that_it_stalled():
    """A gradient that points the wrong way: no step is ever accepted."""
    solver = BoxLBFGS(torch.full((1, 3), 0.5, dtype=F64), 0.0, 1.0)
    for _ in range(60):
        v = solver.trial.clone()
        solver.tell(v.sum(1), -torch.ones_like(v))
        if solver.stalled:
            break
        solver.ask()
    assert solver.stalled and (solver.x == 0.5).all()


def test_float32_reaches_float32_accuracy():
    evaluate, start = quadratics(10, 20)
    exact = descend(BoxLBFGS(start, 0.0, 1.0), evaluate, 400)

    def single(v, which):
        f, g = evaluate(v.double(), which)
        return f.float(), g.float()

    solver = descend(BoxLBFGS(start.float(), 0.0, 1.0), single, 400)
    assert np.allclose(solver.f.double(), exact.f, rtol=1e-5, atol=1e-5)
