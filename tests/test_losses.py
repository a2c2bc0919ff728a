"""The cross entropy that attacks raise: value and gradient at any gap, and what hangs on them."""

import math

import attacknets
import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intriguing.attacks import lbfgs
from intriguing.attacks.losses import LEAST, cross_entropy
from intriguing.attacks.transfer import penalised, pgd
from intriguing.interactions import readings

F32, F64 = torch.float32, torch.float64
GAPS = [0.0, 1.0, 5.0, 10.0, 15.0, 16.5, 17.0, 20.0, 30.0, 50.0, 68.0]
FAR = [90.0, 104.0, 150.0, 200.0, 800.0, 1e5]


def sure(gap, dtype):
    """Logits of a network that is sure of class 0 by a gap, and prefers 1 to 2 by 1 nat."""
    return torch.tensor([[gap, 0.0, -1.0]], dtype=dtype, requires_grad=True)


def value_and_gradient(gap, dtype):
    logits = sure(gap, dtype)
    loss = cross_entropy(logits, torch.tensor([0]))
    (g,) = torch.autograd.grad(loss.sum(), logits)
    return loss.item(), g[0].double()


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("gap", [*GAPS, -5.0, -60.0, -200.0])
def test_value_and_gradient_beside_fifty_digits(dtype, gap):
    with mpmath.workdps(50):
        parts = [mpmath.exp(gap), mpmath.mpf(1), mpmath.exp(-1)]
        share = [float(part / sum(parts)) for part in parts]
        value = float(mpmath.log1p((parts[1] + parts[2]) / parts[0]))
        share[0] = -float((parts[1] + parts[2]) / sum(parts))  # softmax - 1 without cancelling
    loss, g = value_and_gradient(gap, dtype)
    tolerance = 30 * torch.finfo(dtype).eps * max(1, abs(gap))  # e^gap turns absolute to relative
    assert loss == pytest.approx(value, rel=tolerance)
    assert g.tolist() == pytest.approx(share, rel=tolerance)


@pytest.mark.parametrize("gap", GAPS + FAR)
def test_float32_has_the_gradient_of_float64(gap):
    (few, g32), (many, g64) = (value_and_gradient(gap, dtype) for dtype in (F32, F64))
    assert g32.tolist() == pytest.approx(g64.tolist(), rel=1e-5 * max(1, gap / 10))
    assert math.isfinite(few) and few == pytest.approx(many, rel=1e-4, abs=1e-38)
    assert g32[0] < 0 < g32[1] and g32.sum().abs() < 1e-6 * g32.abs().sum()


def test_beyond_what_float32_holds_the_direction_stays():
    _, g = value_and_gradient(200.0, F64)
    odds = math.exp(0) + math.exp(-1)
    assert g.tolist() == pytest.approx([-LEAST, LEAST / odds, LEAST * math.exp(-1) / odds])


def test_ordinary_logits_give_what_torch_gives():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 7, generator=generator, dtype=F64) * 4
    y = torch.randint(7, (200,), generator=generator)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    found, expected = cross_entropy(ours, y), F.cross_entropy(theirs, y, reduction="none")
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    weights = torch.randn(200, generator=generator, dtype=F64)
    found.backward(weights), expected.backward(weights)
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-14)
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, y[:9]), ours[:9].detach()
                                    .requires_grad_())  # fmt: skip
    many = cross_entropy(logits.view(4, 50, 7), y.view(4, 50))
    assert torch.equal(many.flatten(), cross_entropy(logits, y))


class Pixels(nn.Module):
    """Logits that are multiples of four pixels, one each: the network of a stranger's report."""

    def __init__(self, *rows, dtype=F32):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(rows, dtype=dtype))
        self.eval()

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


def picture(dtype):
    return torch.full((1, 1, 2, 2), 0.5, dtype=dtype), torch.tensor([0])


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("first", [40.0, 120.0, 200.0, 500.0])
def test_one_step_goes_where_the_gradient_points(dtype, first):
    model = Pixels((first, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, -9.0, 0), dtype=dtype)
    x, y = picture(dtype)
    options = {"eps": 0.1, "step": 0.1, "steps": 1, "start": "zero"}
    change = (pgd(model, x, y, **options).x_adv - x).flatten()
    assert change.tolist() == pytest.approx([-0.1, 0.1, -0.1, 0])
    for more in ({"momentum": 1.0}, {"momentum": 1.0, "kernel": 1, "copies": 2}):
        again = pgd(model, x, y, **options | more).x_adv - x
        assert again.flatten().tolist() == pytest.approx([-0.1, 0.1, -0.1, 0])


@pytest.mark.parametrize("first", [40.0, 120.0, 200.0])
def test_the_length_of_a_step_does_not_hang_on_the_gap(first):
    found = {}
    for dtype in (F32, F64):
        model = Pixels((first, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, -9.0, 0), dtype=dtype)
        x, y = picture(dtype)
        one = penalised(model, x, y, c=0.0, steps=1, step=0.01)
        two = pgd(model, x, y, eps=0.01, steps=1, step=0.005, norm="l2", start="zero")
        assert one.l2.item() == pytest.approx(0.01, rel=1e-4)
        assert two.l2.item() == pytest.approx(0.005, rel=1e-4)
        found[dtype] = one.x_adv
    assert torch.allclose(found[F32].double(), found[F64], atol=1e-6)


def test_a_sure_network_is_no_safer_than_it_is():
    """Logits times 40 are the same network: whoever follows the gradient's sign gets as far."""
    model = attacknets.fc()
    x, y, _ = attacknets.problems(model, 60)

    class Times(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.model, self.factor = model, factor

        def forward(self, pixels):
            return self.factor * self.model(pixels)

    rates = []
    for factor in (1.0, 40.0):
        net = Times(factor).eval()
        gap = net(x).topk(2).values.diff().abs()
        found = pgd(net, x, y, eps=0.08, steps=5, start="zero", momentum=1.0)
        rates.append(found.success.double().mean().item())
    assert (gap > 104).any() and rates[0] > 0.3
    assert rates[1] >= rates[0] - 0.1


def test_the_search_for_a_target_forms_the_loss_in_the_same_place(monkeypatch):
    from intriguing.attacks import search

    calls = []

    def counted(logits, y):
        calls.append(len(y))
        return cross_entropy(logits, y)

    monkeypatch.setattr(search, "cross_entropy", counted)
    model = attacknets.linear()
    x, y, target = attacknets.problems(model, 3)
    found = lbfgs(model, x, y, target=target)
    assert found.success.all() and sum(calls) >= found.gradients.sum()


def test_the_loss_as_a_game_is_right_where_the_network_is_sure():
    """float32 and float64 agree on the mean interaction of losses of 1e-9."""
    found = {}
    for dtype in (F32, F64):
        model = Pixels((60, 1, 0, 0), (0, 20.0, 0, 0), (0, 0, -9.0, 2), dtype=dtype)
        x, y = picture(dtype)
        delta = torch.tensor([-0.1, 0.1, -0.2, 0.2], dtype=dtype).view_as(x)
        found[dtype] = readings(model, x, y, delta, grid=2).mean_loss.item()
    assert 1e-12 < abs(found[F64]) < 1e-6
    assert found[F32] == pytest.approx(found[F64], rel=1e-3)
