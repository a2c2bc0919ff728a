"""The attack with a penalty against closed forms, changes of one size, and both target modes."""

import attacknets
import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn

from intriguing.attacks import changes
from intriguing.attacks.transfer import penalised, penalty_for
from intriguing.interactions import mean_interaction, perturbation_game, readings


def linear_pair(seed=0):
    """Two classes of 3 x 3 pixels whose margin is linear, in float64."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
    return net


@pytest.mark.parametrize(("power", "c"), [(2.0, 3.0), (5.0, 4e4)])
def test_the_maximum_for_a_linear_network(power, c):
    """Concave for such c: delta_i = t sign(g_i) |g_i|^(1 / (p - 1)), with one t to find."""
    net, x = linear_pair(), torch.full((1, 1, 3, 3), 0.5, dtype=torch.float64)
    y = net(x).argmax(1)
    weight = net[1].weight.detach()
    g = (weight[1 - y] - weight[y]).flatten().numpy()
    shape = np.sign(g) * np.abs(g) ** (1 / (power - 1))
    start = (net(x)[0, 1 - y] - net(x)[0, y]).item()

    def objective(t):
        return -(np.logaddexp(0, start + t * g @ shape) - c * (np.abs(t * shape) ** power).sum())

    best = optimize.minimize_scalar(objective, bounds=(0, 1), method="bounded",
                                    options={"xatol": 1e-10}).x  # fmt: skip
    found = penalised(net, x, y, c=c, power=power, steps=1500, step=0.1)
    delta = (found.x_adv - x).flatten().numpy()
    assert delta == pytest.approx(best * shape, abs=2e-4)
    assert 1e-3 < np.abs(delta).max() < 0.5 and found.c.tolist() == [c]


def test_rows_have_weights_of_their_own_and_do_not_know_of_each_other():
    net = attacknets.smooth_cnn(torch.float64)
    x, y, _ = attacknets.problems(net, 8)
    c = torch.logspace(-1, 2, 8, dtype=torch.float64)
    whole = penalised(net, x, y, c=c, steps=5)
    for size in (1, 3):
        parts = [penalised(net, x[i : i + size], y[i : i + size], c=c[i : i + size], steps=5)
                 for i in range(0, 8, size)]  # fmt: skip
        joined = torch.cat([part.x_adv for part in parts])
        assert torch.allclose(joined, whole.x_adv, atol=1e-12)
    assert torch.allclose(penalised(net, x, y, c=c, steps=5, batch=3).x_adv, whole.x_adv)
    assert whole.x_adv.min() >= 0 and whole.x_adv.max() <= 1


def test_the_margin_of_a_linear_network_has_a_closed_form():
    """p c |delta|^(p - 1) = |g|."""
    net, x = linear_pair(1), torch.full((1, 1, 3, 3), 0.5, dtype=torch.float64)
    y = net(x).argmax(1)
    weight = net[1].weight.detach()
    g = (weight[1 - y] - weight[y]).view_as(x)
    for power, c in ((2.0, 10.0), (5.0, 1e4)):
        found = penalised(net, x, y, c=c, power=power, loss="margin", steps=1500, step=0.1)
        exact = g.sign() * (g.abs() / (power * c)) ** (1 / (power - 1))
        assert torch.allclose(found.x_adv - x, exact, atol=2e-4)
        c = penalty_for(net, x, y, norm=0.3, power=power, loss="margin")
        found = penalised(net, x, y, c=c, power=power, loss="margin", steps=1500, step=0.1)
        assert found.l2.item() == pytest.approx(0.3, abs=1e-3)


def test_a_larger_weight_keeps_changes_smaller_and_none_is_longer_than_its_way():
    net = attacknets.smooth_cnn(torch.float64)
    x, y, _ = attacknets.problems(net, 8)
    for power, weights in ((2.0, (0.0, 1.0, 10.0, 1000.0)), (5.0, (0.0, 1e2, 1e4, 1e7))):
        sizes = [penalised(net, x, y, c=c, power=power, step=0.4).l2.mean() for c in weights]
        assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0] / 3
        assert sizes[0] <= 0.4 * 21 / 2


def test_impossible_penalties_are_refused():
    net = attacknets.fc()
    x, y, _ = attacknets.problems(net, 2)
    for wrong, text in (({"c": -1.0}, "at least 0"), ({"c": float("nan")}, "at least 0"),
                        ({"c": 1.0, "power": 1.0}, "above 1"),
                        ({"c": 1.0, "loss": "entropy"}, "loss must be one of"),
                        ({"c": 1.0, "steps": 0}, "one step"), ({"c": 1.0, "step": 0.0}, "one step"),
                        ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            penalised(net, x, y, **wrong)
    with pytest.raises(ValueError, match="positive norm"):
        penalty_for(net, x, y, norm=0.0)


def test_resized_changes_have_the_norm_and_stay_in_the_box():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6, 1, 28, 28, generator=generator)
    x[:, :, :14] = 0  # where half of every lengthened change would be cut off
    change = 0.01 * torch.randn(x.shape, generator=generator)
    change *= torch.logspace(-2, 1, 6)[:, None, None, None]
    for norm in (0.1, 1.0, 3.0):
        found = changes.resized_in_box(x, x + change, norm)
        assert (found - x).flatten(1).norm(dim=1).tolist() == pytest.approx([norm] * 6, rel=1e-4)
        assert found.min() >= 0 and found.max() <= 1
    inside = torch.full_like(x, 0.5)
    short = changes.resized_in_box(inside, inside + change, 1e-3)
    cosine = torch.cosine_similarity((short - inside).flatten(1), change.flatten(1))
    assert cosine.min() > 0.999
    assert (changes.resized_in_box(x, x, 1.0) == x).all(), "no change, nothing to lengthen"
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive"):
            changes.resized_in_box(x, x + change, wrong)


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_readings_are_both_modes(batch):
    net = attacknets.cnn(torch.float64)
    x, y, _ = attacknets.problems(net, 5)
    delta = 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    ours = readings(net, x, y, delta, grid=4, batch=batch)
    for mode, found in (("max", ours.mean), ("fixed", ours.mean_fixed)):
        game = perturbation_game(net, x, y, delta, grid=4, target_mode=mode)
        assert torch.allclose(found, mean_interaction(game, 16), atol=1e-10)
        ends = game(torch.tensor([[True] * 16, [False] * 16]))
        if mode == "max":
            assert torch.allclose(torch.stack([ours.value, ours.clean], 1), ends)
            assert torch.allclose(ours.gain, ends[:, 0] - ends[:, 1])
    assert not torch.allclose(ours.mean, ours.mean_fixed)
    loss = perturbation_game(_WithLoss(net).eval(), x, y, delta, grid=4, target_mode="max")
    assert torch.allclose(ours.mean_loss, mean_interaction(loss, 16), atol=1e-10)


class _WithLoss(torch.nn.Module):
    """The logits, and one more whose lead over the label is the cross-entropy."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        logits = self.net(x)
        return torch.cat([logits, logits.logsumexp(1, keepdim=True)], 1)
