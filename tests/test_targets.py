"""The modes of choosing a target class."""

import attacknets
import pytest
import torch
from torch import nn

from intriguing.attacks import linearised, targets


def images(n, classes=10, seed=0):
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(n) % classes


def net(classes=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).eval()


def test_random_is_never_the_label_and_even():
    x, y = images(9000)
    t = targets(net(), x, y, seed=3)
    assert t.dtype == torch.int64 and t.shape == y.shape and (t != y).all()
    shift = torch.bincount((t - y) % 10, minlength=10)[1:].double()
    chi2 = ((shift - 1000) ** 2 / 1000).sum()
    assert chi2 < 26.1  # 99.9 % of chi-squared with 8 degrees of freedom
    assert (torch.bincount(t, minlength=10) > 800).all()


def test_random_hangs_on_its_seed_alone():
    x, y = images(50)
    model = net()
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first = targets(model, x, y, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)  # the global generator is left alone
    torch.rand(5)
    assert torch.equal(first, targets(model, x, y, seed=1))
    assert not torch.equal(first, targets(model, x, y, seed=2))
    stream = targets(model, *images(5), seed=0).tolist()
    assert stream == [9, 2, 5, 0, 2]  # the book's tables hang on it: it must never change


def test_random_with_two_classes_is_the_other_one():
    x, y = images(20, 2)
    assert torch.equal(targets(net(2), x, y), 1 - y)


def test_fixed():
    x, y = images(20)
    t = targets(net(), x, y, mode="fixed", label=9)
    assert (t[y != 9] == 9).all() and (t[y == 9] == 0).all()


@pytest.mark.parametrize("label", [None, -1, 10])
def test_fixed_needs_a_class(label):
    with pytest.raises(ValueError, match=rf"a label in 0\.\.9, not {label}"):
        targets(net(), *images(3), mode="fixed", label=label)


def test_all_lists_every_wrong_class_in_order():
    x, y = images(12)
    t = targets(net(), x, y, mode="all")
    assert t.shape == (12, 9)
    for row, label in zip(t.tolist(), y.tolist(), strict=True):
        assert row == [k for k in range(10) if k != label]


def test_nearest_is_brute_force_on_a_linear_model():
    model = attacknets.linear(torch.float64)
    x, y, _ = attacknets.problems(model, 60)
    weight, bias = model.layers[-1].weight.detach(), model.layers[-1].bias.detach()
    expected = []
    for image, label in zip(x.flatten(1), y.tolist(), strict=True):
        distance = {}
        for k in set(range(10)) - {label}:
            w = weight[label] - weight[k]
            distance[k] = ((w @ image + bias[label] - bias[k]) / w.norm()).item()
        expected.append(min(distance, key=distance.get))
    assert targets(model, x, y, mode="nearest").tolist() == expected


def test_linearised_distances_lead_to_the_boundary_of_a_linear_model():
    model = attacknets.linear(torch.float64)
    x, y, _ = attacknets.problems(model, 5)
    weight, bias = (p.detach() for p in model.parameters())
    distance = linearised(model, x, y)
    assert distance[torch.arange(5), y].isinf().all()
    for k in range(10):
        step = weight[k] - weight[y]  # (5, 784)
        moved = x.flatten(1) + distance[:, k, None] * step / step.norm(dim=1, keepdim=True)
        gap = ((moved @ weight.T + bias) * (torch.eye(10)[k] - torch.eye(10)[y])).sum(1)
        assert (gap[y != k].abs() < 1e-10).all()


def test_nearest_does_not_hang_on_the_batch(monkeypatch):
    model = attacknets.fc(torch.float64)
    x, y, _ = attacknets.problems(model, 40)
    whole = targets(model, x, y, mode="nearest")
    assert (whole != y).all()
    assert torch.equal(whole[7:9], targets(model, x[7:9], y[7:9], mode="nearest"))
    assert torch.equal(whole.flip(0), targets(model, x.flip(0), y.flip(0), mode="nearest"))
    assert all(p.grad is None for p in model.parameters())


def test_nearest_is_nearer_than_random():
    """By the attack itself, on a network with hidden layers."""
    from intriguing.attacks import lbfgs

    model = attacknets.fc()
    x, y, random = attacknets.problems(model, 40)
    near = targets(model, x, y, mode="nearest")
    distance = [lbfgs(model, x, y, target=t).l2.mean() for t in (near, random)]
    assert distance[0] < 0.75 * distance[1]


def test_unknown_mode():
    with pytest.raises(ValueError, match="one of random, fixed, all, nearest, not 'a'"):
        targets(net(), *images(3), mode="a")


def test_input_is_checked():
    x, y = images(3)
    with pytest.raises(ValueError, match="the classes are 0..9"):
        targets(net(), x, y + 9)
