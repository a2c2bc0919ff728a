"""The box-constrained L-BFGS attack: its minimisers, its search of c, its rows, its refusals."""

import math

import attacknets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linprog, minimize
from torch import nn

from intriguing import runtime
from intriguing.attacks import global_c, lbfgs

F32, F64 = torch.float32, torch.float64
NETS = {"fc": attacknets.fc, "cnn": attacknets.smooth_cnn}


class Wrapped(nn.Module):
    """Counts the rows of each call, and changes logits or pixels on the way."""

    def __init__(self, model, *, scale=1.0, change=None):
        super().__init__()
        self.model, self.scale, self.change, self.rows = model, scale, change, []

    def forward(self, x):
        self.rows.append((len(x), torch.is_grad_enabled()))
        logits = self.scale * self.model(x)
        return logits if self.change is None else self.change(x, logits)


def objective(model, x, v, target, c):
    """Equation 1 with the squared norm, (N,)."""
    r = (v - x).flatten(1)
    return c * (r * r).sum(1) + F.cross_entropy(model(v), target, reduction="none")


def scipy_objective(model, x, target, c):
    """The minimum SciPy finds for each image, float64 and tight, (N,)."""
    found = []
    for image, wanted, weight in zip(x.double(), target, c.double(), strict=True):
        def fun(z, image=image[None], wanted=wanted[None], weight=weight):
            v = torch.from_numpy(z).view_as(image).requires_grad_()
            f = objective(model, image, v, wanted, weight).sum()
            (g,) = torch.autograd.grad(f, v)
            return f.item(), g.flatten().numpy()

        start = image.flatten().numpy()
        options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 3000, "maxfun": 9000}
        bounds = [(0, 1)] * len(start)
        found.append(minimize(fun, start, jac=True, method="L-BFGS-B", bounds=bounds,
                              options=options).fun)  # fmt: skip
    return torch.tensor(found, dtype=F64)


def spread_c(n):
    """n values of c from 0.01 to 10, shuffled."""
    c = torch.logspace(-2, 1, n, dtype=F64)
    return c[torch.randperm(n, generator=runtime.generator(0, "c"))]


# -- the minimiser at a fixed c -------------------------------------------------------------------


@pytest.mark.parametrize("net", NETS)
def test_fifty_minima_like_scipy(net):
    """1e-6 in float64 at tight tolerance, 1e-4 in float32 at ftol 1e-6.

    Where the two end in different minima (one or two of the CNN's fifty) ours must be the lower.
    """
    model = NETS[net](F64)
    x, y, target = attacknets.problems(model, 50)
    c = spread_c(50)
    expected = scipy_objective(model, x, target, c)

    tight = lbfgs(model, x, y, target=target, c=c, ftol=1e-12, gtol=1e-8, max_iterations=2000)
    excess = (objective(model, x, tight.x_adv, target, c) - expected) / expected
    assert excess.max() < 1e-6
    assert (excess.abs() < 1e-6).sum() >= 48

    single = lbfgs(model.float(), x.float(), y, target=target, c=c.float(), ftol=1e-6,
                   max_iterations=1000)  # fmt: skip
    found = objective(model.double(), x, single.x_adv.double(), target, c)
    excess = (found - expected) / expected
    assert excess.max() < 1e-4
    assert (excess.abs() < 1e-4).sum() >= 48


def test_default_tolerance_is_near_the_minimum():
    """ftol 2e-3 stops within a few per cent of the minimum, from a cold start at any c."""
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 50)
    c = spread_c(50)
    values = [objective(model, x, lbfgs(model, x, y, target=target, c=c, **kw).x_adv, target, c)
              for kw in ({}, {"ftol": 1e-9, "max_iterations": 1000})]  # fmt: skip
    ratio = values[0] / values[1]
    assert ratio.median() < 1.002 and ratio.max() < 1.05


def test_a_step_that_gains_little_is_not_taken_for_the_end():
    """The problem on which an overshot step, cut back, once stopped at ten times the minimum."""
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 14)
    image, label, wanted = x[13:], y[13:], target[13:]
    c = torch.logspace(-2.5, 0, 60, dtype=F64)
    image, label, wanted = image.repeat(60, 1, 1, 1), label.repeat(60), wanted.repeat(60)
    values = [objective(model, image, lbfgs(model, image, label, target=wanted, c=c, **kw).x_adv,
                        wanted, c) for kw in ({}, {"ftol": 1e-9, "max_iterations": 1000})]
    assert (values[0] / values[1]).max() < 1.05


# -- linear models, where the answer is known -----------------------------------------------------


def two_classes(model, y, target):
    """For each row a softmax of the classes y and target of a linear model."""
    weight, bias = model.layers[-1].weight.detach(), model.layers[-1].bias.detach()
    return weight[target] - weight[y], bias[target] - bias[y]  # (N, D), (N,)


def shortest(x, a, b):
    """Exact min ||r|| with a.(x + r) + b >= 0 and x + r in [0, 1], by bisection of the dual.

    r(mu) = clip(x + mu a) - x for the multiplier mu >= 0; a.(x + r) grows with mu.
    """
    low, high = torch.zeros(len(x), 1, dtype=x.dtype), torch.full((len(x), 1), 1e4, dtype=x.dtype)
    for _ in range(100):
        mu = (low + high) / 2
        reached = ((x + mu * a).clamp(0, 1) * a).sum(1, keepdim=True) + b[:, None] >= 0
        low, high = torch.where(reached, low, mu), torch.where(reached, mu, high)
    return ((x + high * a).clamp(0, 1) - x).norm(dim=1)


class PairwiseLinear(nn.Module):
    """A two-class linear softmax: logits 0 and a.x + b."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x):
        z = x.flatten(1) @ self.a + self.b
        return torch.stack((torch.zeros_like(z), z), 1)


def test_the_oracle_agrees_with_slsqp():
    """The bisection that the next tests lean on, against a general method."""
    g = runtime.generator(0, "oracle")
    x = torch.rand(5, 12, dtype=F64, generator=g)
    a = torch.randn(5, 12, dtype=F64, generator=g)
    b = -(x * a).sum(1) - 0.3
    for i in range(5):
        found = minimize(
            lambda r: r @ r, np.zeros(12), jac=lambda r: 2 * r, method="SLSQP",
            bounds=[(-v, 1 - v) for v in x[i].tolist()], options={"ftol": 1e-14, "maxiter": 500},
            constraints={"type": "ineq", "fun": lambda r, i=i: a[i].numpy() @ (x[i].numpy() + r)
                         + b[i].item(), "jac": lambda r, i=i: a[i].numpy()},
        )  # fmt: skip
        assert math.sqrt(found.fun) == pytest.approx(shortest(x, a, b)[i].item(), rel=1e-6)


def test_two_class_linear_model_reaches_the_exact_minimum():
    linear = attacknets.linear(F64)
    x, y, target = attacknets.problems(linear, 20)
    a, b = two_classes(linear, y, target)
    exact = shortest(x.flatten(1), a, b)
    default, tight = [], []
    zero, one = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
    for i in range(20):
        model = PairwiseLinear(a[i], b[i]).eval()
        for into, kw in ((default, {}), (tight, {"ftol": 1e-10, "c_tol": 1e-5, "max_rounds": 60})):
            result = lbfgs(model, x[i : i + 1], zero, target=one, **kw)
            assert result.success
            into.append(result.l2.item())
    ratio = torch.tensor(default, dtype=F64) / exact
    assert ratio.min() >= 1 and ratio.mean() < 1.01 and ratio.max() < 1.03
    ratio = torch.tensor(tight, dtype=F64) / exact
    assert ratio.min() >= 1 and ratio.max() < 1.001


def test_ten_class_linear_model_is_near_its_lower_bound():
    """The largest of the nine pairwise minima; the penalty method is known to stay above it."""
    model = attacknets.linear(F64)
    x, y, target = attacknets.problems(model, 100)
    bound = torch.zeros(100, dtype=F64)
    for k in range(10):
        other = (target + k) % 10
        if k:
            bound = bound.maximum(shortest(x.flatten(1), *two_classes(model, other, target)))
    ratio = lbfgs(model, x, y, target=target).l2 / bound
    assert ratio.min() >= 1
    assert ratio.median() < 1.05 and ratio.quantile(0.9) < 1.12


def test_l1_on_a_linear_model_like_the_linear_programme():
    linear = attacknets.linear(F64)
    x, y, target = attacknets.problems(linear, 10)
    a, b = two_classes(linear, y, target)
    zero, one = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
    for i in range(10):
        pixels, slope = x[i].flatten(), a[i]
        need = -(slope @ pixels + b[i])
        exact = linprog(
            np.ones(2 * 784), A_ub=-torch.cat((slope, -slope))[None].numpy(), b_ub=[-need.item()],
            bounds=[(0, v) for v in torch.cat((1 - pixels, pixels)).tolist()],
        ).fun  # fmt: skip
        result = lbfgs(PairwiseLinear(slope, b[i]).eval(), x[i : i + 1], zero, target=one,
                       penalty="l1", ftol=1e-8, max_iterations=1000)  # fmt: skip
        found = (result.x_adv - x[i]).abs().sum().item()
        assert exact * (1 - 1e-9) <= found < 1.02 * exact


# -- the whole attack -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("penalty", ["l2_squared", "l2", "l1"])
def test_every_image_reaches_its_target(dtype, penalty):
    model = attacknets.fc(dtype)
    x, y, target = attacknets.problems(model, 200 if penalty == "l2_squared" else 40)
    result = lbfgs(model, x, y, target=target, penalty=penalty)
    assert result.success.all()
    assert torch.equal(model(result.x_adv).argmax(1), target)
    assert set(result.stop_reason) == {"bracket closed"}
    assert result.x_adv.dtype == dtype and result.x_adv.shape == x.shape
    assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1
    assert torch.allclose(result.l2, (result.x_adv - x).flatten(1).norm(dim=1))
    assert torch.allclose(result.distortion_rms, result.l2 / 28)


def test_the_relu_network_too():
    model = attacknets.cnn()
    x, y, target = attacknets.problems(model, 6)
    result = lbfgs(model, x, y, target=target)
    assert result.success.all() and result.x_adv.min() >= 0 and result.x_adv.max() <= 1
    fine = lbfgs(model, x, y, target=target, ftol=2e-4)
    assert result.l2.mean() < 1.02 * fine.l2.mean()


def test_the_answer_is_at_the_edge_of_the_target_class():
    """One hundredth of r less, and most answers are no longer the target."""
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 100)
    result = lbfgs(model, x, y, target=target)
    nearer = x + 0.98 * (result.x_adv - x)
    assert (model(nearer).argmax(1) != target).float().mean() > 0.9


def test_success_survives_another_rounding():
    """Logits that carry a few ulps of noise, another at each call, as other batch sizes give."""
    generator = runtime.generator(0, "noise")

    def noisy(x, logits):
        noise = torch.randint(-2, 3, logits.shape, generator=generator).to(logits.dtype)
        return logits + noise * torch.finfo(logits.dtype).eps * logits.detach().abs()

    model = Wrapped(attacknets.fc(), scale=1e3, change=noisy).eval()
    x, y, target = attacknets.problems(model, 40)
    result = lbfgs(model, x, y, target=target, c_tol=1e-6, max_rounds=60)
    assert result.success.all()
    assert all(torch.equal(model(result.x_adv).argmax(1), target) for _ in range(20))


@pytest.mark.parametrize("penalty", ["l2_squared", "l2", "l1"])
def test_nothing_of_the_caller_is_changed(penalty):
    model = attacknets.fc()
    for p in model.parameters():
        p.requires_grad_(p.ndim == 1)
        p.grad = torch.full_like(p, 7.0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x, y, target = attacknets.problems(model, 7)
    copies = x.clone(), y.clone(), target.clone()
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    lbfgs(model, x, y, target=target, penalty=penalty, batch=2)
    for mine, copy in zip((x, y, target), copies, strict=True):
        assert torch.equal(mine, copy) and not mine.requires_grad
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(m.training for m in model.modules())
    for p in model.parameters():
        assert p.requires_grad == (p.ndim == 1) and (p.grad == 7).all()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.is_grad_enabled()


def test_works_where_gradients_are_off():
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 3)
    plain = lbfgs(model, x, y, target=target)
    with torch.no_grad():
        assert torch.equal(plain.x_adv, lbfgs(model, x, y, target=target).x_adv)


# -- rows and batches -----------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["warm", "zero"])
@pytest.mark.parametrize("penalty", ["l2_squared", "l2", "l1"])
def test_a_row_that_is_filled_again_has_no_past(penalty, start):
    """One row for four images: bit for bit the same as each image alone."""
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 4)
    queue = lbfgs(model, x, y, target=target, penalty=penalty, start=start, batch=1)
    for i in range(4):
        row = slice(i, i + 1)
        alone = lbfgs(model, x[row], y[row], target=target[row], penalty=penalty, start=start)
        assert torch.equal(alone.x_adv[0], queue.x_adv[i])
        assert alone.gradients[0] == queue.gradients[i] and alone.c[0] == queue.c[i]


@pytest.mark.parametrize("batch, start", [
    (1, "warm"), (2, "warm"), (3, "warm"), (8, "warm"), (2, "zero"),
])  # fmt: skip
def test_the_size_of_the_batch_does_not_matter(start, batch):
    """Float64, the squared norm: 1e-6 of the norm (batched products round differently)."""
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 7)
    whole = lbfgs(model, x, y, target=target, start=start)
    part = lbfgs(model, x, y, target=target, start=start, batch=batch)
    assert torch.allclose(part.x_adv, whole.x_adv, atol=1e-6)
    assert torch.allclose(part.l2, whole.l2, rtol=1e-6)


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("net", NETS)
def test_company_and_order_do_not_matter(net, n):
    model = NETS[net](F64)
    x, y, target = attacknets.problems(model, 12)
    whole = lbfgs(model, x, y, target=target)
    rows = torch.randperm(12, generator=runtime.generator(n, "rows"))[:n]
    part = lbfgs(model, x[rows], y[rows], target=target[rows], batch=2)
    assert torch.allclose(part.x_adv, whole.x_adv[rows], atol=1e-6)
    assert torch.allclose(part.c, whole.c[rows], rtol=1e-6)
    assert [whole.stop_reason[i] for i in rows] == list(part.stop_reason)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_company_moves_other_penalties_by_little(penalty):
    """Kinks amplify rounding, so an image may end in another of several near equal points."""
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 20)
    whole = lbfgs(model, x, y, target=target, penalty=penalty)
    part = lbfgs(model, x, y, target=target, penalty=penalty, batch=3)
    assert part.l2.mean() == pytest.approx(whole.l2.mean().item(), rel=0.03)


def test_the_same_call_gives_the_same_bits():
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 20)
    first, second = (lbfgs(model, x, y, target=target, batch=8) for _ in range(2))
    assert torch.equal(first.x_adv, second.x_adv) and torch.equal(first.c, second.c)


def test_equal_images_get_equal_answers():
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 1)
    many = lbfgs(model, x.repeat(9, 1, 1, 1), y.repeat(9), target=target.repeat(9), batch=4)
    assert torch.allclose(many.x_adv, many.x_adv[:1].expand_as(many.x_adv), atol=1e-6)


@pytest.mark.parametrize("batch", [2, 512])
def test_gradients_are_counted_truthfully(batch):
    """Every image's count adds up to the rows evaluated, idle rows waiting to be filled aside."""
    inner = attacknets.fc()
    x, y, target = attacknets.problems(inner, 7)
    model = Wrapped(inner).eval()
    result = lbfgs(model, x, y, target=target, batch=batch)
    evaluated = sum(rows for rows, grad in model.rows if grad)
    assert result.gradients.sum() == evaluated  # with fewer than 16 rows none is ever idle
    assert max(rows for rows, grad in model.rows if grad) <= batch
    alone = Wrapped(inner).eval()
    single = lbfgs(alone, x[:1], y[:1], target=target[:1])
    assert single.gradients.item() == sum(grad for _, grad in alone.rows)
    assert (result.iterations < result.gradients).all()


def test_progress_ends_at_all_images_or_before():
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 9)
    calls = []
    lbfgs(model, x, y, target=target, batch=2, progress=lambda done, of: calls.append((done, of)))
    done = [d for d, _ in calls]
    assert done and done == sorted(done) and done[-1] == 9 and {of for _, of in calls} == {9}


# -- the search of c ------------------------------------------------------------------------------


class Band(nn.Module):
    """One pixel; the target, class 8, is a band that a heavier loss weight overshoots.

    Eight equal classes give way at 0.4 and class 9 takes over at 0.6; the cross-entropy to class 8
    is least beyond 0.6, so only weights between two values end inside the band.
    """

    def __init__(self, steepness, power=1):
        super().__init__()
        self.steepness, self.power = steepness, power

    def forward(self, x):
        v = x.flatten(1)[:, :1] ** self.power
        low, high = -self.steepness * (v - 0.4), self.steepness * (v - 0.6)
        return torch.cat((low.expand(-1, 8), torch.zeros_like(v), high), 1)


@pytest.mark.parametrize("batch", [2, 512])
@pytest.mark.parametrize("steepness, power", [(4, 1), (8, 1), (6, 2)])
def test_success_that_is_not_monotone_in_c(steepness, power, batch):
    """No worse, by more than the tolerance of c, than the best of a dense grid of c.

    With power 2 the first guess overshoots the band, and the search has to turn back; there are
    also several minima then, so a single image may do a little worse than the grid.
    """
    model = Band(steepness, power).eval()
    x = torch.linspace(0.05, 0.35, 15, dtype=F64).view(-1, 1, 1, 1)
    y = torch.zeros(15, dtype=torch.int64)
    target = y + 8
    grid = torch.logspace(-5, 4, 150, dtype=F64)
    dense = lbfgs(
        model, x.repeat_interleave(150, 0), y.repeat_interleave(150),
        target=target.repeat_interleave(150), c=grid.repeat(15), ftol=1e-12, max_iterations=500,
    )  # fmt: skip
    success = dense.success.view(15, 150)
    falls = (success[:, :-1] & ~success[:, 1:]).any(1)
    rises = (~success[:, :-1] & success[:, 1:]).any(1)
    assert (falls & rises).all()  # fails, succeeds and fails again as c grows
    best = dense.l2.view(15, 150).where(success, torch.inf).amin(1)
    result = lbfgs(model, x, y, target=target, batch=batch)
    assert result.success.all()
    assert (result.l2 <= (1.025 if power == 1 else 1.10) * best).all()
    assert result.l2.mean() < 1.01 * best.mean()


def test_no_worse_than_a_dense_grid_on_digits():
    """97 values of c, each minimised from r = 0, ten times tighter."""
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 12)
    grid = torch.logspace(-3, 1, 97)
    many = (t.repeat_interleave(97, 0) for t in (x, y, target))
    images, labels, wanted = many
    dense = lbfgs(model, images, labels, target=wanted, c=grid.repeat(12), ftol=2e-4)
    best = dense.l2.view(12, 97).where(dense.success.view(12, 97), torch.inf).amin(1)
    ratio = lbfgs(model, x, y, target=target).l2 / best
    assert ratio.mean() < 1.002 and ratio.max() < 1.05


def test_zero_and_warm_start_agree():
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 60)
    warm, zero = (lbfgs(model, x, y, target=target, start=s) for s in ("warm", "zero"))
    assert zero.success.all()
    assert warm.l2.mean() == pytest.approx(zero.l2.mean().item(), rel=0.01)
    assert ((warm.l2 / zero.l2).log().abs() < 0.01).float().mean() > 0.75
    assert warm.gradients.sum() < zero.gradients.sum()


def test_penalties_each_win_their_own_norm():
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 40)
    sums = {}
    for penalty in ("l2_squared", "l2", "l1"):
        r = (lbfgs(model, x, y, target=target, penalty=penalty).x_adv - x).flatten(1)
        sums[penalty] = r.norm(dim=1).mean().item(), r.abs().sum(1).mean().item()
    assert sums["l1"][1] < 0.8 * sums["l2_squared"][1]
    assert sums["l2_squared"][0] < 0.8 * sums["l1"][0]
    assert sums["l2"][0] == pytest.approx(sums["l2_squared"][0], rel=0.2)


def test_squared_or_not_is_one_path_on_a_linear_network():
    """The boundary of {f(x + r) = t} is met where ||r|| is least, whichever power is penalised."""
    net = attacknets.linear(torch.float64)
    x, y, target = attacknets.problems(net, 12)
    squared = lbfgs(net, x, y, target=target, ftol=1e-9, c_tol=1e-4, max_iterations=3000)
    plain = lbfgs(
        net, x, y, target=target, penalty="l2", ftol=1e-9, c_tol=1e-4, max_iterations=3000
    )
    assert plain.success.all() and squared.success.all()
    torch.testing.assert_close(plain.l2, squared.l2, rtol=5e-3, atol=0)


def test_l1_is_sparse():
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 20)
    r = lbfgs(model, x, y, target=target, penalty="l1").x_adv - x
    assert (r != 0).flatten(1).sum(1).double().mean() < 100


@pytest.mark.parametrize("penalty", ["l2_squared", "l2", "l1"])
@pytest.mark.parametrize("batch", [2, 512])
def test_an_image_of_the_target_class_is_its_own_answer(penalty, batch):
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 7)
    y[[0, 3, 6]] = target[[0, 3, 6]]
    y, target = target.where(y == target, y), y.where(y == target, target)
    predicted = model(x).argmax(1)
    own = torch.tensor([True, False, False, True, False, False, True])
    target = predicted.where(own, target)
    y = ((predicted + 1) % 10).where(own, y)
    result = lbfgs(model, x, y, target=target, penalty=penalty, batch=batch)
    assert torch.equal(result.x_adv[own], x[own])
    assert result.success.all() and (result.l2[own] == 0).all() and (result.l2[~own] > 0).all()
    assert result.c[own].isinf().all() and result.c[~own].isfinite().all()
    assert (result.gradients[own] == 1).all() and (result.iterations[own] == 0).all()
    assert [r == "already the target" for r in result.stop_reason] == own.tolist()


@pytest.mark.parametrize("batch", [2, 512])
@pytest.mark.parametrize("logits", [range(10, 0, -1), [0] * 10])
def test_a_target_out_of_reach_is_reported(logits, batch):
    """Constant logits, and a tie of all classes."""
    constant = torch.tensor(list(logits), dtype=F32)
    x, _, _ = attacknets.problems(attacknets.fc(), 7)
    model = Wrapped(nn.Flatten(), change=lambda _, flat: 0 * flat[:, :10] + constant).eval()
    y = torch.zeros(7, dtype=torch.int64)
    result = lbfgs(model, x, y, target=y + 3, batch=batch)
    assert not result.success.any()
    assert set(result.stop_reason) == {"weight out of range"}
    assert torch.equal(result.x_adv, x)


def test_fixed_c_is_the_minimiser_whether_or_not_it_succeeds():
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 7)
    c = torch.tensor([1e3, 1e-2] * 3 + [1e3], dtype=F64)
    result = lbfgs(model, x, y, target=target, c=c, batch=2)
    assert torch.allclose(result.c, c)
    assert result.success.tolist() == [False, True] * 3 + [False]
    assert set(result.stop_reason) == {"fixed c"}
    number = lbfgs(model, x[1:2], y[1:2], target=target[1:2], c=1e-2)
    assert torch.allclose(number.x_adv[0], result.x_adv[1], atol=1e-6)


@pytest.mark.parametrize("batch", [2, 512])
def test_limits_end_the_search(batch):
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 7)
    free = lbfgs(model, x, y, target=target, batch=batch)
    one = lbfgs(model, x, y, target=target, max_rounds=1, batch=batch)
    assert set(one.stop_reason) == {"rounds used up"}
    assert (one.gradients < free.gradients).all()
    short = lbfgs(model, x, y, target=target, max_iterations=1, max_rounds=6, batch=batch)
    assert (short.iterations <= 6).all()
    for result in (one, short):
        assert torch.equal(result.success, model(result.x_adv).argmax(1) == target)
        assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1


def test_gtol_ends_a_minimisation():
    model = attacknets.fc(F64)
    x, y, target = attacknets.problems(model, 7)
    kw = {"target": target, "c": 0.1, "ftol": 0.0, "max_iterations": 500}
    loose, tight = (lbfgs(model, x, y, gtol=g, **kw) for g in (1e-2, 1e-5))
    assert (loose.gradients <= tight.gradients).all()
    assert loose.gradients.sum() < 0.8 * tight.gradients.sum()


# -- difficult models -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_logits_of_any_scale(scale, dtype):
    model = attacknets.fc(dtype)
    x, y, target = attacknets.problems(model, 7)
    plain = lbfgs(model, x, y, target=target)
    result = lbfgs(Wrapped(model, scale=scale).eval(), x, y, target=target, batch=2)
    assert result.success.all()
    assert result.l2.mean() < (2 if scale < 1 else 1.02) * plain.l2.mean()


@pytest.mark.parametrize("penalty", ["l2_squared", "l2", "l1"])
def test_images_on_the_faces_of_the_box(penalty):
    """Every pixel is 0 or 1, so each may move one way only."""
    model = attacknets.fc()
    x = (attacknets.digits().x[:7] > 0.5).float()
    y = model(x).argmax(1)
    result = lbfgs(model, x, y, target=(y + 1) % 10, penalty=penalty, batch=2)
    assert result.success.all()
    assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1


def test_rounding_beyond_the_box_is_clipped():
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 7)
    beyond = torch.where(x == 1, x + 5e-7, x - 5e-7)
    for kw in ({}, {"penalty": "l1"}, {"c": 1e9}):
        result = lbfgs(model, beyond, y, target=target, **kw)
        assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1


def test_saturated_hidden_units():
    """Sigmoid inputs twenty times as large: most gradients vanish, and c still starts well."""
    model = attacknets.fc()
    with torch.no_grad():
        model.layers[0].weight.mul_(20)
        model.layers[0].bias.mul_(20)
    x, y, target = attacknets.problems(model, 12)
    result = lbfgs(model, x, y, target=target)
    assert result.success.float().mean() > 0.9
    assert result.gradients.double().mean() < 400
    assert result.x_adv.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused(value):
    inner = attacknets.fc()
    x, y, target = attacknets.problems(inner, 5)
    model = Wrapped(inner, change=lambda v, z: torch.where(
        (v == x[3]).flatten(1).all(1, keepdim=True), value, z)).eval()  # fmt: skip
    with pytest.raises(ValueError, match="loss for image 3 .* logits must be finite"):
        lbfgs(model, x, y, target=target, batch=2)


def test_steps_into_logits_that_are_not_finite_are_taken_back():
    """A model that breaks further than 5 from the image, with the answers nearer."""
    inner = attacknets.fc()
    x, y, target = attacknets.problems(inner, 7)
    plain = lbfgs(inner, x, y, target=target)

    def broken(v, z):
        far = torch.cdist(v.flatten(1), x.flatten(1)).amin(1, keepdim=True) > 5
        return torch.where(far, math.nan, z)

    result = lbfgs(Wrapped(inner, change=broken).eval(), x, y, target=target, batch=2)
    assert result.success.all() and result.x_adv.isfinite().all()
    assert result.l2.mean() < 1.05 * plain.l2.mean()


# -- one c for all --------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1.0, 0.8])
def test_global_c(rate):
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 20)
    each = lbfgs(model, x, y, target=target)
    one = global_c(model, x, y, target=target, success_rate=rate)
    assert len(set(one.c.tolist())) == 1
    assert one.success.float().mean() >= rate
    assert one.l2.mean() > each.l2.mean() or rate < 1
    assert torch.equal(one.success, model(one.x_adv).argmax(1) == target)


def test_global_c_that_cannot_be():
    constant = torch.arange(10.0).flip(0)
    x, _, _ = attacknets.problems(attacknets.fc(), 3)
    model = Wrapped(nn.Flatten(), change=lambda _, flat: 0 * flat[:, :10] + constant).eval()
    y = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="no c in .* reaches a success rate of 1.0"):
        global_c(model, x, y, target=y + 3)


def test_global_c_of_images_that_are_their_own_answer():
    model = attacknets.fc()
    x, _, _ = attacknets.problems(model, 3)
    predicted = model(x).argmax(1)
    result = global_c(model, x, (predicted + 1) % 10, target=predicted)
    assert torch.equal(result.x_adv, x) and result.success.all()


# -- results and refusals -------------------------------------------------------------------------


def test_result_rows_by_indices_and_by_mask():
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 5)
    target[3], y[3] = y[3].item(), target[3].item()
    result = lbfgs(model, x, y, target=target)
    mask = torch.tensor([False, True, False, True, False])
    for part in (result[mask], result[torch.tensor([1, 3])]):
        assert torch.equal(part.x_adv, result.x_adv[[1, 3]])
        assert torch.equal(part.gradients, result.gradients[[1, 3]])
        assert part.stop_reason == (result.stop_reason[1], result.stop_reason[3])
        assert all(len(value) == 2 for value in vars(part).values())
    assert len(result[~mask].stop_reason) == 3
    assert result[torch.tensor([4, 0])].stop_reason == (result.stop_reason[4],
                                                        result.stop_reason[0])  # fmt: skip


BAD = {
    "train mode": (lambda m, x, y, t: (m.train(), x, y, t), "model is in train mode: call"),
    "empty": (lambda m, x, y, t: (m, x[:0], y[:0], t[:0]), "x is empty"),
    "flat": (lambda m, x, y, t: (m, x.flatten(1), y, t), r"\(N, C, H, W\), not .*\(4, 784\)"),
    "integers": (lambda m, x, y, t: (m, (255 * x).byte(), y, t), "torch.uint8"),
    "half": (lambda m, x, y, t: (m.half(), x.half(), y, t), "float32 or float64"),
    "other dtype": (lambda m, x, y, t: (m, x.double(), y, t), "float64 on cpu.*float32 on cpu"),
    "nan": (lambda m, x, y, t: (m, x.where(x < 0.9, math.nan), y, t), "NaN or infinite"),
    "inf": (lambda m, x, y, t: (m, x.where(x < 0.9, math.inf), y, t), "NaN or infinite"),
    "0..255": (lambda m, x, y, t: (m, 255 * x, y, t), r"must lie in \[0, 1\], .*255"),
    "normalised": (lambda m, x, y, t: (m, x - 0.5, y, t), r"normalisation belongs in the model"),
    "short y": (lambda m, x, y, t: (m, x, y[:3], t), r"y must be int64 of shape \(4,\)"),
    "float y": (lambda m, x, y, t: (m, x, y.float(), t), "y must be int64 .* not torch.float32"),
    "int32 y": (lambda m, x, y, t: (m, x, y.int(), t), "y must be int64 .* not torch.int32"),
    "y too large": (lambda m, x, y, t: (m, x, y + 90, t), r"y holds \d+, the classes are 0\.\.9"),
    "y negative": (lambda m, x, y, t: (m, x, y - 90, t), r"y holds -\d+, the classes are 0\.\.9"),
    "short target": (lambda m, x, y, t: (m, x, y, t[:3]), r"target must be int64 of shape \(4,\)"),
    "target table": (lambda m, x, y, t: (m, x, y, t[:, None]), r"target must .* \(4, 1\)"),
    "target range": (lambda m, x, y, t: (m, x, y, t + 90), r"target holds \d+, the classes"),
    "target is y": (lambda m, x, y, t: (m, x, y, t.where(t != t[2], y)), r"label \(\d\) in row 2"),
    "no gradient": (lambda m, x, y, t: (
        Wrapped(m, change=lambda _, z: z.detach()).eval(), x, y, t), "carry no gradient"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_sentence(case):
    change, message = BAD[case]
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 4)
    target = torch.tensor([(v + k + 1) % 10 for k, v in enumerate(y.tolist())])
    model, x, y, target = change(model, x, y, target)
    with pytest.raises(ValueError, match=message) as caught:
        lbfgs(model, x, y, target=target)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option, message", [
    ({"penalty": "l3"}, "penalty must be one of l2_squared, l2, l1, not 'l3'"),
    ({"start": "cold"}, "start must be 'warm' or 'zero', not 'cold'"),
    ({"c": 0.0}, "c must be positive, not 0"),
    ({"c": -1.0}, "c must be positive, not -1"),
    ({"c": math.nan}, "c must be positive, not nan"),
    ({"c": torch.tensor([1.0, -2.0, 3.0])}, "c must be positive, not -2"),
    ({"c": torch.ones(2)}, r"c must be a number or of shape \(3,\), not \(2,\)"),
    ({"ftol": -1e-3}, "ftol must be at least 0, not -0.001"),
    ({"ftol": math.nan}, "ftol must be at least 0, not nan"),
    ({"gtol": -1.0}, "gtol must be at least 0"),
    ({"c_tol": -1.0}, "c_tol must be at least 0"),
    ({"max_rounds": 0}, "max_rounds must be at least 1, not 0"),
    ({"max_iterations": 0}, "max_iterations must be at least 1, not 0"),
    ({"memory": 0}, "memory must be at least 1, not 0"),
    ({"batch": 0}, "batch must be at least 1, not 0"),
])  # fmt: skip
def test_bad_options(option, message):
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 3)
    with pytest.raises(ValueError, match=message):
        lbfgs(model, x, y, target=target, **option)


def test_an_option_that_does_not_exist():
    model = attacknets.fc()
    x, y, target = attacknets.problems(model, 3)
    with pytest.raises(TypeError, match="steps"):
        lbfgs(model, x, y, target=target, steps=3)


def shortened(t):
    """The numbers of float32 as TF32 keeps them: 10 bits of the fraction, rounded."""
    return ((t.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(F32)


class Short(nn.Conv2d):
    """A convolution whose factors are shortened, as on a GPU where TF32 is allowed."""

    def __init__(self, like):
        super().__init__(like.in_channels, like.out_channels, like.kernel_size, like.stride,
                         like.padding)  # fmt: skip
        self.load_state_dict(like.state_dict())

    def forward(self, x):
        x = x + (shortened(x) - x).detach()
        return F.conv2d(x, shortened(self.weight), self.bias, self.stride, self.padding)


def test_some_of_the_nearest_images_do_not_survive_tf32():
    """Why `runtime.device` forbids it: they lie that near to the boundary.

    1.8 % of 500 in one training of the network, 3 % of the first 100 in another: trainings differ
    by machine, and of 100 images none need be lost.
    """
    model, short = attacknets.cnn(), attacknets.cnn()
    x, y, target = attacknets.problems(model, 500)
    for parent in list(short.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(parent, name, Short(child).eval())
    assert (short(x) - model(x)).abs().max() < 0.1, "the same network, nearly"
    found = lbfgs(short, x, y, target=target)
    assert found.success.all()
    lost = (model(found.x_adv).argmax(1) != target).float().mean()
    assert 0 < lost <= 0.2
