"""FGSM, MI-FGSM and PGD: the step, exact answers on linear networks, counts, restarts, means."""

import attacknets
import pytest
import torch
import torch.nn.functional as F
from ballcases import F64, Linear
from torch import nn

from intriguing.attacks import transfer
from intriguing.attacks.losses import dlr, dlr_targeted
from intriguing.attacks.pgd import fgsm, mi_fgsm, pgd

EPS = 0.1


def problem(n=8, dtype=F64, net=attacknets.smooth_cnn):
    model = net(dtype)
    x, y, _ = attacknets.problems(model, n)
    return model, x, y


def loss_gradient(model, x, y):
    pixels = x.clone().requires_grad_()
    F.cross_entropy(model(pixels), y, reduction="sum").backward()
    model.zero_grad(set_to_none=True)
    return pixels.grad


def test_fgsm_is_one_step_of_eps_along_the_sign() -> None:
    model, x, y = problem()
    found = fgsm(model, x, y, eps=EPS)
    expected = (x + EPS * loss_gradient(model, x, y).sign()).clamp(0, 1)
    assert torch.allclose(found.x_adv, expected, atol=1e-15)
    assert found.gradients.tolist() == [1] * 8 and found.forwards.tolist() == [0] * 8
    g = loss_gradient(model, x, y)
    shorter = fgsm(model, x, y, eps=1.0, norm="l2").x_adv
    expected = (x + g / g.flatten(1).norm(dim=1)[:, None, None, None]).clamp(0, 1)
    assert torch.allclose(shorter, expected, atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_all_steps_are_those_of_the_attack_for_transfer(norm) -> None:
    model, x, y = problem()
    options = {"eps": EPS, "norm": norm, "steps": 7, "step": EPS / 3, "momentum": 0.9, "seed": 3}
    expected = transfer.pgd(model, x, y, **options)
    found = pgd(model, x, y, **options, stop=False)
    assert torch.allclose(found.x_adv, expected.x_adv, atol=1e-14)
    assert torch.equal(found.gradients, expected.gradients)


def test_mi_fgsm_without_momentum_is_the_basic_iterative_method() -> None:
    model, x, y = problem()
    at = x
    for _ in range(5):
        at = (at + EPS / 5 * loss_gradient(model, at, y).sign()).clamp(x - EPS, x + EPS)
        at = at.clamp(0, 1)
    found = mi_fgsm(model, x, y, eps=EPS, steps=5, momentum=0.0, stop=False)
    assert torch.allclose(found.x_adv, at, atol=1e-14)
    with_it = mi_fgsm(model, x, y, eps=EPS, steps=5, stop=False)
    assert (with_it.x_adv - at).abs().max() > 0.01
    one = mi_fgsm(model, x, y, eps=EPS, steps=1, stop=False)
    assert torch.equal(one.x_adv, fgsm(model, x, y, eps=EPS).x_adv)
    ten_times = mi_fgsm(model, x, y, eps=EPS, steps=5, stop=False,
                        loss=lambda z, y: 10 * F.cross_entropy(z, y, reduction="none"))  # fmt: skip
    assert torch.allclose(ten_times.x_adv, with_it.x_adv, atol=1e-14)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_two_classes_fall_from_their_distance_on(norm, loss) -> None:
    model = Linear(2)
    x, y = model.problem(12)
    for i, radius in enumerate(model.distances(x, y, norm).tolist()):
        below, above = (
            pgd(model, x[i : i + 1], y[i : i + 1], eps=share * radius, norm=norm,
                step=5 * radius, loss=loss).success.item() for share in (0.999, 1.001)
        )  # fmt: skip
        assert radius < 0.4 and not below and above


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_four_classes_fall_towards_the_nearest_from_their_distance_on(norm) -> None:
    """The nearest target decides: success iff some z_y - z_t < eps |w_y - w_t|."""
    def ahead(z, y, t):
        return (z.gather(1, t[:, None]) - z.gather(1, y[:, None]))[:, 0]

    model = Linear(4)
    x, y = model.problem(10)
    for i, radius in enumerate(model.distances(x, y, norm).tolist()):
        for share, falls in ((0.999, False), (1.001, True)):
            hit = [
                pgd(model, x[i : i + 1], y[i : i + 1], eps=share * radius, norm=norm,
                    step=5 * radius, loss=ahead, target=torch.tensor([t])).success.item()
                for t in range(4) if t != y[i]
            ]  # fmt: skip
            assert any(hit) == falls


def test_rows_leave_at_their_first_point_that_fools() -> None:
    model, x, y = problem(20)
    looks = []
    every = pgd(model, x, y, eps=EPS, steps=10, stop=False, observe=looks.append)
    stopped = pgd(model, x, y, eps=EPS, steps=10)
    fooled = torch.stack([look.fooled for look in looks])  # (10, N), before each step
    first = torch.where(fooled.any(0), fooled.int().argmax(0), 10)
    assert torch.equal(stopped.iterations, first)
    assert torch.equal(stopped.gradients, (first + 1).clamp_max(10))
    assert len(first.unique()) > 3 and every.gradients.tolist() == [10] * 20
    for i, at in enumerate(first.tolist()):
        point = looks[at].x_adv[i] if at < 10 else every.x_adv[i]
        assert torch.allclose(stopped.x_adv[i], point, atol=1e-12)


def test_restarts_have_other_starts_and_only_the_standing_go_on() -> None:
    model, x, y = problem(20)
    looks = []
    found = pgd(model, x, y, eps=0.06, steps=3, restarts=3, observe=looks.append)
    once = pgd(model, x, y, eps=0.06, steps=3)
    assert (found.success >= once.success).all() and found.success.sum() > 0
    starts = [look for look in looks if (look.number == 0).all()]
    assert len(starts) == 3 and len(starts[0].rows) > len(starts[2].rows) > 0
    last = starts[2].rows
    points = [start.x_adv[torch.isin(start.rows, last)] for start in starts]
    assert (points[0] - points[1]).abs().max() > 0.05 < (points[1] - points[2]).abs().max()
    stood = ~found.success
    assert (found.gradients[stood] == 9).all() and (found.forwards[stood] == 3).all()


def test_all_runs_are_compared_by_their_loss() -> None:
    model, x, y = problem(12)
    options = {"eps": 0.03, "steps": 4, "stop": False, "start": "random"}
    best = pgd(model, x, y, **options, restarts=3)
    once = pgd(model, x, y, **options)

    def loss(found):
        return F.cross_entropy(model(found.x_adv), y, reduction="none")

    assert (loss(best) >= loss(once) - 1e-12).all() and (loss(best) > loss(once) + 1e-6).any()


class Taking(nn.Module):
    """Logits of two linear networks by turns: what it answers changes from pass to pass."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.calls = Linear(3, seed=0), Linear(3, seed=1), 0

    def forward(self, x):
        self.calls += 1
        return (self.a if self.calls % 2 else self.b)(x)


def test_the_mean_gradient_of_several_passes_counts() -> None:
    model = Taking().eval()
    x = Linear(3).problem(6)[0]
    y = (model.a(x) + model.b(x)).argmax(1)
    found = pgd(model, x, y, eps=0.01, steps=1, step=0.01, start="zero", stop=False, eot=4,
                loss=lambda z, y: -z.gather(1, y[:, None])[:, 0])  # fmt: skip
    mean = (model.a.w + model.b.w).detach()[y].view_as(x)
    assert torch.allclose(found.x_adv, x - 0.01 * mean.sign(), atol=1e-15)
    assert found.gradients.tolist() == [4] * 6


def test_black_pixels_move() -> None:
    """The gradient is that at the projected point: through the clamp, half of them would stay."""
    model, x, y = problem(20)
    found = pgd(model, x, y, eps=EPS, steps=10, stop=False)
    dark = (x == 0) & (loss_gradient(model, found.x_adv, y) > 1e-4)
    assert dark.sum() > 500 and (found.x_adv[dark] > 0).float().mean() > 0.9


@pytest.mark.parametrize(("options", "message"), [
    ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
    ({"steps": 2.5}, "steps must be a whole number"),
    ({"step": -1.0}, "step must be positive, not -1.0"),
    ({"loss": "ce"}, "loss must be one of cross_entropy, margin, dlr, not 'ce'"),
    ({"start": "middle"}, "start must be one of random, zero, not 'middle'"),
    ({"momentum": -0.1}, "momentum must be a number of at least 0, not -0.1"),
    ({"restarts": 0}, "restarts must be a whole number of at least 1, not 0"),
    ({"restarts": 2, "start": "zero"}, 'start="zero" has only one start'),
    ({"eot": 0}, "eot must be a whole number of at least 1, not 0"),
    ({"loss": lambda z, y: z.sum()}, r"one number an image, \(2,\), not \(\)"),
])  # fmt: skip
def test_impossible_options_are_refused(options, message) -> None:
    model, x, y = problem(2)
    with pytest.raises(ValueError, match=message):
        pgd(model, x, y, **{"eps": 0.1} | options)


def test_dlr_by_hand_and_what_it_does_not_see() -> None:
    z = torch.tensor([[3.0, 1.0, 0.5, -1.0], [0.0, 2.0, 4.0, 1.0]], dtype=F64)
    y, t = torch.tensor([0, 1]), torch.tensor([3, 2])
    # - (3 - 1) / (3 - .5);  - (2 - 4) / (4 - 1)
    assert torch.allclose(dlr(z, y), torch.tensor([-0.8, 2 / 3], dtype=F64))
    # - (3 + 1) / (3 - (.5 - 1) / 2);  - (2 - 4) / (4 - (1 + 0) / 2)
    assert torch.allclose(dlr_targeted(z, y, t), torch.tensor([-4 / 3.25, 2 / 3.5], dtype=F64))
    for moved in (7 * z, z + 5, 1e-3 * z - 2):
        assert torch.allclose(dlr(moved, y), dlr(z, y), atol=1e-8)
        assert torch.allclose(dlr_targeted(moved, y, t), dlr_targeted(z, y, t), atol=1e-8)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: (dlr(z, y), dlr_targeted(z, y, t)), (z,))


def test_dlr_with_too_few_classes_names_another_loss() -> None:
    two, three = Linear(2), Linear(3)
    with pytest.raises(ValueError, match='dlr compares 3 logits and the network has 2.*"margin"'):
        pgd(two, *two.problem(2), eps=0.1, loss="dlr")
    x, y = three.problem(2)
    with pytest.raises(ValueError, match='targeted dlr compares 4 .* 3 classes.*"margin"'):
        pgd(three, x, y, eps=0.1, loss="dlr", target=(y + 1) % 3)


def test_a_radius_in_units_of_255_is_warned_of():
    x, y = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    with pytest.warns(UserWarning, match="eps = 8 exceeds the box .* 8/255 may be meant"):
        pgd(model, x, y, eps=8, steps=2)
