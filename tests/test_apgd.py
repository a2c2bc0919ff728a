"""Auto-PGD: against a program written down image by image, exact answers, and torchattacks."""

import attacknets
import pytest
import torch
import torch.nn.functional as F
from ballcases import F64, Linear

from intriguing.attacks.apgd import apgd, apgd_targeted, checkpoints
from intriguing.attacks.draws import Draws
from intriguing.attacks.losses import LOSSES
from intriguing.attacks.pgd import pgd


def problem(n=8, dtype=F64, net=attacknets.smooth_cnn):
    model = net(dtype)
    x, y, _ = attacknets.problems(model, n)
    return model, x, y


def written_down(model, x, y, norm, eps, loss, steps):
    """The points of one image after 0, 1, ... steps, and its lengths of step, by the paper."""
    def project(z):
        change = z - x
        if norm == "linf":
            change = change.clamp(-eps, eps)
        elif change.norm() > eps:
            change = change * eps / change.norm()
        return (x + change).clamp(0, 1)

    def value(z):
        pixels = z.clone().requires_grad_()
        v = loss(model(pixels), y).sum()
        g = torch.autograd.grad(v, pixels)[0]
        return v.item(), g.sign() if norm == "linf" else g / g.norm().clamp_min(1e-300)

    draws = Draws(0, x)
    if norm == "linf":
        u = draws.uniform(*x.shape[1:]) * 2 - 1
        at = project(x + eps * u / u.abs().max())
    else:
        u = draws.normal(*x.shape[1:])
        at = project(x + eps * u / u.norm())
    v, d = value(at)
    points, values, sizes = [at], [v], [2 * eps]
    best, best_v, best_d = at, v, d
    last_check, best_there, halved_there = 0, v, True
    before, step = at, 2 * eps
    for k in range(steps):
        a = 0.75 if k else 1.0
        z = project(at + step * d)
        at, before = project(at + a * (z - at) + (1 - a) * (at - before)), at
        v, d = value(at)
        points.append(at), values.append(v)
        if v > best_v:
            best, best_v, best_d = at, v, d
        if k + 1 in checkpoints(steps):
            length = k + 1 - last_check
            rises = sum(values[j + 1] > values[j] for j in range(last_check, k + 1))
            halve = rises <= 0.75 * length or (not halved_there and best_v <= best_there)
            if halve:
                step, at, d = step / 2, best, best_d
            last_check, best_there, halved_there = k + 1, best_v, halve
        sizes.append(step)
    return points, sizes


def flat(z, y):
    """A loss that has a slope but always the value 0: nothing ever improves."""
    v = LOSSES["margin"](z, y)
    return v - v.detach()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "dlr", flat])
def test_all_points_are_those_of_the_program(norm, loss) -> None:
    model, x, y = problem(3)
    steps, eps = 45, {"linf": 0.1, "l2": 1.0}[norm]
    looks = []
    apgd(model, x, y, eps=eps, norm=norm, loss=loss, steps=steps, stop=False, observe=looks.append)
    found = torch.stack([look.x_adv for look in looks], 1)  # (N, steps + 1, C, H, W)
    halvings = set()
    for i in range(3):
        points, sizes = written_down(
            model, x[i : i + 1], y[i : i + 1], norm, eps, LOSSES.get(loss, loss), steps
        )
        assert (found[i] - torch.cat(points)).abs().max() < 1e-9
        halvings.add(round(-torch.tensor(sizes[-1] / 2 / eps).log2().item()))
    assert min(halvings) >= 1
    if loss is flat:
        assert halvings == {len(checkpoints(steps))}


def test_checkpoints() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(20) == [4, 7, 9, *range(10, 21)]  # 4.4, less .6: whole steps, at least 1
    assert checkpoints(1) == [1]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_two_classes_fall_from_their_distance_on(norm) -> None:
    model = Linear(2)
    x, y = model.problem(12)
    for i, radius in enumerate(model.distances(x, y, norm).tolist()):
        below, above = (
            apgd(model, x[i : i + 1], y[i : i + 1], eps=share * radius, norm=norm,
                 steps=40).success.item() for share in (0.999, 1.001)
        )  # fmt: skip
        assert not below and above


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_five_classes_fall_by_targets_from_their_distance_on(norm) -> None:
    """The nearest of the other classes decides: success iff some z_y - z_o < eps |w_y - w_o|."""
    model = Linear(5)
    x, y = model.problem(6)
    for i, radius in enumerate(model.distances(x, y, norm).tolist()):
        below, above = (
            apgd_targeted(model, x[i : i + 1], y[i : i + 1], eps=share * radius, norm=norm,
                          targets=4, steps=50).success.item() for share in (0.999, 1.02)
        )  # fmt: skip
        assert not below and above


def test_counts_and_targets_in_the_order_of_the_logits() -> None:
    model, x, y = problem(10)
    looks = []
    found = apgd_targeted(model, x, y, eps=0.04, steps=5, targets=3, observe=looks.append)
    stood = (~found.success).nonzero().squeeze(1)
    assert 0 < len(stood) < 10
    assert found.gradients[stood].tolist() == [15] * len(stood)
    assert found.forwards[stood].tolist() == [1 + 3] * len(stood)
    order = model(x).argsort(1, descending=True)
    starts = [look for look in looks if (look.number == 0).all()]
    assert len(starts) == 3
    for rank, start in enumerate(starts, 1):  # the loss names its target
        z = model(start.x_adv)
        top, rows = z.sort(1, descending=True).values, torch.arange(len(start.rows))
        target = order[start.rows, rank]
        ratio = (z[rows, target] - z[rows, y[start.rows]]) / (top[:, 0] - top[:, 2:4].mean(1))
        assert torch.allclose(start.loss, ratio)
        assert set(stood.tolist()) <= set(start.rows.tolist())


def test_images_that_the_network_gets_wrong_cost_one_pass() -> None:
    model, x, y = problem(4)
    found = apgd_targeted(model, x, (y + 1) % 10, eps=0.1)
    assert torch.equal(found.x_adv, x) and found.success.all()
    assert found.gradients.tolist() == [0] * 4 and found.forwards.tolist() == [1] * 4


def test_targets_are_reached_and_success_means_the_target() -> None:
    model, x, y = problem(20)
    target = (y + 1) % 10
    for loss in ("cross_entropy", "margin", "dlr"):
        found = apgd(model, x, y, eps=0.25, loss=loss, target=target, steps=40)
        assert torch.equal(found.success, model(found.x_adv).argmax(1) == target)
        assert found.success.sum() > 10, loss


def test_it_climbs_higher_than_pgd_by_as_many_gradients() -> None:
    model, x, y = problem(24, torch.float32, attacknets.cnn)
    options = {"eps": 0.1, "steps": 30, "stop": False}
    ours, theirs = (
        F.cross_entropy(model(attack(model, x, y, **options).x_adv), y) for attack in (apgd, pgd)
    )
    assert ours > theirs


def test_its_answer_is_the_point_of_the_highest_loss() -> None:
    model, x, y = problem(9)
    x, y = x[3:], y[3:]  # those before are near their boundary
    looks = []
    found = apgd(model, x, y, eps=0.01, steps=25, observe=looks.append)
    assert not found.success.any()
    losses = torch.stack([look.loss for look in looks])  # (26, N)
    assert torch.allclose(F.cross_entropy(model(found.x_adv), y, reduction="none"),
                          losses.amax(0))  # fmt: skip
    assert (losses.argmax(0) < 25).any()
    assert found.gradients.tolist() == [25] * 6 and found.forwards.tolist() == [1] * 6


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.2)])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_beside_torchattacks(norm, eps, loss) -> None:
    theirs = pytest.importorskip(
        "torchattacks", reason="torchattacks is not installed: make test does that"
    )
    model, x, y = problem(60, torch.float32)
    attack = theirs.APGD(model, norm=norm.capitalize(), eps=eps, steps=100, loss=loss)
    expected = model(attack(x, y)).argmax(1) != y
    found = apgd(model, x, y, eps=eps, norm=norm, loss={"ce": "cross_entropy"}.get(loss, loss))
    assert 10 < found.success.sum() < 60
    assert (found.success != expected).sum() <= 2
