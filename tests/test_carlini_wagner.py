"""Carlini and Wagner: L2, Linf and L0 against exact distances, kappa, black pixels, and a peer."""

import attacknets
import foolbox
import planes
import pytest
import torch

from intriguing.attacks import carlini_wagner, carlini_wagner_l0, carlini_wagner_linf
from intriguing.attacks.adam import TanhAdam
from intriguing.attacks.carlini_wagner_l0 import _freeze

F64 = torch.float64


@pytest.mark.parametrize("depth, low, high", [(0.2, 0.3, 0.7), (2.0, 0.0, 1.0)])
def test_l2_distance_to_a_plane(depth, low, high):
    model, x, y = planes.plane(8, depth=depth, low=low, high=high)
    result = carlini_wagner(model, x, y, searches=9, steps=300)
    ratio = result.l2 / planes.of_plane("l2", model, x)
    assert ratio.min() >= 1 and ratio.max() < 1.01
    assert (result.c > 0).all() and (result.gradients <= 9 * 300).all()


def test_l2_of_a_linear_network_of_digits():
    model = attacknets.linear()
    x, y, _ = attacknets.problems(model, 10)
    result = carlini_wagner(model, x, y, searches=6, steps=200)
    ratio = result.l2 / planes.of_linear("l2", model.double().layers[-1], x.double(), y)
    assert ratio.min() >= 1 and ratio.mean() < 1.01


@pytest.mark.parametrize("targeted", [False, True])
def test_confidence(targeted):
    """Every answer has a margin above kappa, and more confidence costs more."""
    model = attacknets.smooth_cnn(F64)
    x, y, target = attacknets.problems(model, 5)
    before = torch.zeros(5, dtype=F64)
    for kappa in (0.0, 1.0, 3.0):
        result = carlini_wagner(model, x, y, target=target if targeted else None, searches=4,
                                steps=60, rate=0.05, confidence=kappa)  # fmt: skip
        assert result.success.all()
        logits = model(result.x_adv).detach()
        label = (target if targeted else y)[:, None]
        own, others = logits.gather(1, label).squeeze(1), logits.scatter(1, label, -torch.inf)
        margin = (own - others.amax(1)) if targeted else (others.amax(1) - own)
        assert (margin >= kappa).all()
        assert (result.l2 > before).all()
        before = result.l2


def test_early_abort_is_each_rows_own():
    """One row stands still from the start: it stops, and the others go on as if alone."""
    model, x, y = planes.plane(4, depth=0.2, low=0.3, high=0.7)
    a = model.a.detach()
    x[3] = torch.where(a > 0, 0.0, 1.0)  # as far away as can be: c = 1e-6 does not move it
    options = {"searches": 1, "steps": 200, "c": 1e-6}
    short, long = (carlini_wagner(model, x, y, abort_early=e, **options) for e in (True, False))
    assert (long.gradients == 200).all() and (short.gradients < 60).all()
    c = torch.tensor([10.0])
    two = carlini_wagner(model, x, y, searches=2, steps=200, c=c.item())
    one = carlini_wagner(model, x[:1], y[:1], searches=2, steps=200, c=c.item())
    assert torch.equal(two.gradients[:1], one.gradients)
    assert len(set(two.gradients.tolist())) > 1


def test_black_and_white_pixels_move():
    """At the authors' edge the loss stands still for 60 steps, and the search gives up."""
    model = attacknets.fc()
    x, y, _ = attacknets.problems(model, 20)
    x = x.round()
    y = model(x).argmax(1)
    near, far = (carlini_wagner(model, x, y, searches=3, steps=60, edge=e) for e in (0.01, 5e-7))
    assert near.success.all() and far.success.sum() <= 2
    far = carlini_wagner(model, x, y, searches=3, steps=60, edge=5e-7, abort_early=False)
    assert far.success.sum() <= 2


def test_the_variable_of_an_image_is_that_image():
    x = torch.tensor([0.0, 1.0, 0.5, 1e-7, 1 - 1e-7, 0.3]).view(1, 1, 2, 3)
    variables = TanhAdam(x, 0.1)
    assert torch.equal(variables.pixels(), x)
    for sign in (1.0, -1.0):
        variables = TanhAdam(x, 0.5)
        for _ in range(200):
            variables.step(torch.full_like(x, sign))
        moved = variables.pixels()
        assert moved.min() >= 0 and moved.max() <= 1
        assert (moved < 0.011).all() if sign > 0 else (moved > 0.989).all()


def test_adam_is_torchs():
    x = torch.rand(3, 1, 2, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    ours = TanhAdam(x, 0.05)
    u = ours.start.clone().requires_grad_()
    adam = torch.optim.Adam([u], 0.05)
    for _ in range(30):
        pixels = x + (u.tanh() - ours.start.tanh()) / 2
        (g,) = torch.autograd.grad((pixels - 0.3).pow(2).sum(), pixels)
        adam.zero_grad()
        ((u.tanh() / 2) * g).sum().backward()
        adam.step()
        ours.step(2 * (ours.pixels() - 0.3))
    torch.testing.assert_close(ours.u, u.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("net", ["fc", "smooth_cnn"])
def test_no_farther_than_foolbox_at_the_same_gradients(net):
    model = getattr(attacknets, net)()
    x, y, _ = attacknets.problems(model, 16)
    peer = foolbox.attacks.L2CarliniWagnerAttack(4, 60, 0.05, initial_const=1.0)
    _, found, success = peer(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=None)
    ours = carlini_wagner(model, x, y, searches=4, steps=60, rate=0.05, c=1.0)
    assert ours.success.all() and ours.gradients.max() <= 240
    both = success & ours.success
    theirs = (found - x).flatten(1).norm(dim=1)
    assert both.sum() >= 15 and ours.l2[both].mean() < 1.0 * theirs[both].mean()


# -- Linf and L0 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth, low, high", [(0.2, 0.3, 0.7), (2.0, 0.0, 1.0)])
def test_linf_distance_to_a_plane(depth, low, high):
    """tau falls by a tenth at a time, so the answer is within a tenth; by 3 %, within 4 %."""
    model, x, y = planes.plane(8, depth=depth, low=low, high=high)
    truth = planes.of_plane("linf", model, x)
    for shrink, rate, factor in ((0.9, 0.01, 1 / 0.9), (0.97, 0.005, 1.04)):
        ratio = carlini_wagner_linf(model, x, y, shrink=shrink, rate=rate).linf / truth
        assert ratio.min() >= 1 and ratio.max() < factor


def test_l0_distance_to_a_plane():
    model, x, y = planes.plane(12, depth=2.0)
    result = carlini_wagner_l0(model, x, y)
    count = (result.x_adv != x).flatten(1).sum(1)
    truth = planes.of_plane("l0", model, x)
    assert (count >= truth).all() and (count <= truth + 1).all()
    assert (count == truth).sum() >= 6


def test_l0_counts_pixels_not_channels():
    """Three channels of a pixel change for the price of one."""
    g = torch.Generator().manual_seed(0)
    a = torch.randn(3, 4, 4, generator=g, dtype=F64)
    model = planes.Plane(a, 0.0).eval()
    x = torch.rand(4, 3, 4, 4, generator=g, dtype=F64)
    model.b = -float((x.flatten(1) @ a.flatten()).max()) - 3.0
    result = carlini_wagner_l0(model, x, torch.zeros(4, dtype=torch.int64))
    gains = (torch.where(a > 0, 1 - x, x) * a.abs()).sum(1).flatten(1)
    best = gains.sort(dim=1, descending=True).values.cumsum(1)
    truth = (best < -model(x).detach()[:, 1:]).sum(1) + 1
    pixels = (result.x_adv != x).any(1).flatten(1).sum(1)
    assert result.success.all() and (pixels >= truth).all() and (pixels <= truth + 1).all()


def test_which_pixels_are_frozen():
    """The least that matter, up to and with the first above 0.01, at most 0.3 sqrt(changed)."""
    free = torch.tensor([[1.0, 1, 1, 1, 0, 1]]).view(1, 1, 2, 3)
    matters = torch.tensor([[5e-3, 1.0, 0.02, 1e-3, 0.0, 0.5]]).view(1, 1, 2, 3)
    few = torch.ones(1, 1, 2, 3, dtype=torch.bool)  # ceil(0.3 sqrt(6)) = 1 at a time
    many = torch.ones(1, 1, 40, 40, dtype=torch.bool)  # 12 at a time
    assert _freeze(free, few, matters).flatten().tolist() == [1, 1, 1, 0, 0, 1]
    assert _freeze(free, many, matters).flatten().tolist() == [0, 1, 0, 0, 0, 1]
