"""Dropout and the interaction loss in one hidden layer, and labels that are wrong on purpose."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from attacknets import digits
from torch import nn

from intriguing import models, runtime, zoo
from intriguing.interactions import exact_sii
from intriguing.interactions.pairwise import contexts
from intriguing.methods import method, plain
from intriguing.shorthands import ARMS
from intriguing.training import Fit
from intriguing.training.units import InteractionLoss, UnitDropout, mislabelled


def cnn():
    """An untrained network in float64; its biases are moved from zero, where black pixels kink."""
    net, draw = models.build("cnn-mnist").double(), runtime.generator(0, "biases")
    with torch.no_grad():
        for layer in net.children():
            layer.bias.normal_(0, 0.1, generator=draw)
    return net


def batch(n=8, dtype=torch.float64):
    test = digits()
    return test.x[:n].to(dtype), test.y[:n]


def interaction(level=2, weight=1.0, count=3, share=0.05, seed=0):
    return InteractionLoss(level, weight, count, share, runtime.generator(seed, "contexts"))


class Quadratic(nn.Module):
    """Two logits of 6 units: h^T Q h and 0."""

    def __init__(self, q):
        super().__init__()
        self.q = q

    def forward(self, h):
        own = ((h @ self.q) * h).sum(1)
        return torch.stack([own, torch.zeros_like(own)], dim=1)


# ---------------------------------------------------------------- the layers


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_the_parts_below_and_above_a_layer_make_the_network(level):
    net, (x, _) = cnn().eval(), batch()
    h = x if level == 0 else net.hidden(x)[level - 1]
    assert torch.equal(net.above(level)(h), net(x))
    own = [p.data_ptr() for p in net.parameters()]
    assert [p.data_ptr() for p in net.above(level).parameters()] == own[2 * level :]
    assert not net.above(level).training and net.train().above(level).training


def test_there_is_no_layer_beyond_the_last():
    for level in (-1, 4):
        with pytest.raises(ValueError, match=r"0\.\.3"):
            cnn().above(level)


# ---------------------------------------------------------------- dropout


def test_dropout_is_written_out_by_hand():
    net, (x, y) = cnn().train(), batch()
    found = UnitDropout(2, 0.25, runtime.generator(3, "d"))(net, x, y)
    h = F.max_pool2d(torch.relu(net.conv2(F.max_pool2d(torch.relu(net.conv1(x)), 2))), 2)
    kept = torch.rand(h.shape, generator=runtime.generator(3, "d")) >= 0.25
    logits = net.fc2(torch.relu(net.fc1((h * kept / 0.75).flatten(1))))
    assert torch.allclose(found, F.cross_entropy(logits, y), rtol=1e-12)
    assert 0.7 < kept.double().mean() < 0.8


def test_neither_does_anything_outside_of_training():
    net, (x, y) = cnn().eval(), batch()
    plain = F.cross_entropy(net(x), y)
    for loss in (UnitDropout(2, 0.5, runtime.generator(0, "d")), interaction(weight=1e3)):
        assert torch.equal(loss(net, x, y), plain)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_is_a_share(rate):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        UnitDropout(2, rate, runtime.generator(0, "d"))


# ---------------------------------------------------------------- the interaction loss


def test_the_penalty_of_single_units_is_that_of_the_pairs_interactions():
    """f quadratic: the difference is 2 Q_ab h_a h_b in every context, whichever that is."""
    draw = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q, h = draw + draw.T, torch.randn(1, 6, dtype=torch.float64,
                                      generator=torch.Generator().manual_seed(1))
    part, y = Quadratic(q).eval(), torch.zeros(1, dtype=torch.int64)
    pairs = exact_sii(lambda masks: part(h * masks)[:, 0], 6)  # = 2 Q_ab h_a h_b
    loss = interaction(share=1 / 6)
    for _ in range(20):
        order = torch.randperm(6, generator=runtime.generator(0, "copy").set_state(
            loss.generator.get_state()))
        a, b = order[:2].tolist()
        assert torch.allclose(loss.penalty(part, h, y), pairs[a, b].square(), rtol=1e-10)


def test_the_penalty_of_an_additive_part_is_zero():
    part = nn.Linear(50, 10).double().eval()
    h = torch.randn(4, 50, dtype=torch.float64)
    assert interaction(share=0.2).penalty(part, h, torch.arange(4)) < 1e-25


def test_the_penalty_is_written_out_by_hand():
    net, (x, y) = cnn().train(), batch(3)
    h, count = net.hidden(x)[1].detach(), 4
    found = interaction(count=count).penalty(net.above(2), h, y)
    generator, n = runtime.generator(0, "contexts"), h[0].numel()
    order = torch.randperm(n, generator=generator)
    a, b = order[:78], order[78:156]  # 0.05 of 1,568
    rates = torch.rand(count, 1, 1, generator=generator)
    drawn = torch.rand(count, 3, n, generator=generator)
    total = 0.0
    for k in range(count):
        for i in range(3):
            context = (drawn[k, i] < rates[k, 0]).double()

            def value(with_a, with_b, context=context, i=i):
                mask = context.clone()
                mask[a], mask[b] = with_a, with_b
                return net.above(2)(h[i : i + 1] * mask.view_as(h[:1]))[0, y[i]]

            total += (value(1, 1) - value(1, 0) - value(0, 1) + value(0, 0)) ** 2
    assert torch.allclose(found, total / (3 * count), rtol=1e-10)


@pytest.mark.parametrize("name", [name for name, _ in cnn().named_parameters()][:-1])
def test_its_gradient_reaches_all_layers_and_is_right(name):
    """Below the units and above; of the last bias there is none, for the signs cancel."""
    net, (x, y) = cnn().train(), batch(3)
    weight = dict(net.named_parameters())[name]

    def penalty():
        return 50 * interaction().penalty(net.above(2), net.hidden(x)[1], y)

    (gradient,) = torch.autograd.grad(penalty(), weight)
    assert gradient.norm() > 0
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight += sign * 1e-6 * direction
            values.append(penalty())
            weight -= sign * 1e-6 * direction
    slope = (values[0] - values[1]) / 2e-6
    assert torch.allclose((gradient * direction).sum(), slope, rtol=1e-4)
    whole = torch.autograd.grad(interaction(weight=50.0)(net, x, y), weight)[0]
    (plain,) = torch.autograd.grad(F.cross_entropy(net(x), y), weight)
    assert torch.allclose(whole, plain + gradient, rtol=1e-9, atol=1e-12)


def test_batch_norm_learns_nothing_from_masked_units():
    part = nn.Sequential(nn.Linear(20, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))
    part.train()
    h, before = torch.rand(6, 20), part[1].running_mean.clone()
    interaction(share=0.2).penalty(part, h, torch.arange(6))
    assert torch.equal(part[1].running_mean, before)
    assert all(module.training for module in part.modules())


@pytest.mark.parametrize("bad", [{"weight": -1.0}, {"count": 0}, {"share": 0.6}, {"share": 0.0}])
def test_impossible_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="interaction loss needs"):
        interaction(**bad)


def test_contexts_have_the_sizes_of_the_shapley_index():
    """One rate for each context, drawn evenly: sizes are even, as those of `pairwise`."""
    generator = runtime.generator(0, "sizes")
    rates = torch.rand(4000, 1, 1, generator=generator)
    ours = (torch.rand(4000, 1, 9, generator=generator) < rates).sum(2).flatten()
    theirs = contexts(11, torch.tensor([[0, 1]]), 4000, generator=generator)[0, :, 3].sum(1)
    for sizes in (ours, theirs):
        counts = torch.bincount(sizes, minlength=10)
        assert ((counts - 400).abs() < 5 * 400**0.5).all()


# ---------------------------------------------------------------- wrong labels


def test_a_share_of_each_class_gets_another_label():
    y = torch.arange(10).repeat(40)[torch.randperm(400)]
    labels, wrong = mislabelled(y, 0.05, seed=3)
    assert torch.equal(labels != y, wrong)
    assert torch.bincount(y[wrong], minlength=10).tolist() == [2] * 10
    again, other = mislabelled(y, 0.05, seed=3)[1], mislabelled(y, 0.05, seed=4)[1]
    assert torch.equal(again, wrong) and not torch.equal(other, wrong)
    many = torch.cat([torch.zeros(9000, dtype=torch.int64), torch.tensor([9])])
    counts = torch.bincount(mislabelled(many, 1.0, seed=0)[0][:9000], minlength=10)
    assert counts[0] == 0 and ((counts[1:] - 1000).abs() < 160).all()


def test_a_share_of_labels_is_a_share():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        mislabelled(torch.arange(3), 1.5, seed=0)
    with pytest.raises(ValueError, match="one class"):
        mislabelled(torch.zeros(3, dtype=torch.int64), 0.5, seed=0)


# ---------------------------------------------------------------- networks of the zoo


@pytest.mark.parametrize("arm", ARMS)
def test_a_killed_training_gives_the_same_network(arm):
    spec = zoo.dropout(arm, "mnist", epochs=2, batch=50)
    test, trees = digits(), []
    x, y = test.x[:200], test.y[:200]

    def train(seed=0, **kw):
        return method.train(replace(spec, seed=seed), x, y, **kw)[0].state_dict()

    whole = train(save=lambda tree: trees.append(runtime_copy(tree)))
    resumed = train(resume=trees[0])
    assert all(torch.equal(a, b) for a, b in zip(whole.values(), resumed.values(), strict=True))
    other = train(seed=1)
    assert not torch.equal(whole["fc2.weight"], other["fc2.weight"])


def runtime_copy(tree):
    """A tree as it is now: training goes on with the tensors themselves."""
    if isinstance(tree, dict):
        return {key: runtime_copy(value) for key, value in tree.items()}
    return tree.clone() if isinstance(tree, torch.Tensor) else tree


def test_a_training_with_wrong_labels_learns_them():
    test = digits()
    x, y = test.x[:100], test.y[:100]
    options = plain.Options(Fit(30, 20, 2e-3), wrong=0.2)
    net = method.train(zoo.Spec("cnn-mnist", "mnist", options), x, y)[0]
    labels, wrong = mislabelled(y, 0.2, 0)
    with torch.no_grad():
        seen = net.eval()(x).argmax(1)
    assert torch.equal(seen[wrong], labels[wrong]) and wrong.sum() > 10


def test_specs_of_the_arms():
    spec = zoo.dropout("interaction", "fashion-mnist", seed=2, split="train[:6000]@0", weight=30)
    assert dict(spec.numbers)["weight"] == 30 and spec.objective == "interaction-loss"
    assert "weight=30 " in spec.label and "[:6000]@0" in spec.label
    assert "first layer" not in spec.label
    assert "first layer" in zoo.dropout("interaction", "mnist", level=1).label
    assert zoo.dropout("plain", "cifar10-jpeg").architecture == "cnn-cifar"
    few = zoo.dropout("dropout", "mnist-5k")
    assert dict(few.numbers)["epochs"] < dict(zoo.dropout("dropout", "mnist").numbers)["epochs"]
    with pytest.raises(ValueError, match="no arm 'dropuot': did you mean dropout"):
        zoo.dropout("dropuot", "mnist")
    with pytest.raises(ValueError, match="no option 'weight'"):
        zoo.dropout("plain", "mnist", weight=1)
