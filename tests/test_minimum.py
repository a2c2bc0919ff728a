"""What minimum-norm attacks promise: rows, boxes, counts, refusals, and never below the truth."""

import math

import attacknets
import planes
import pytest
import torch
from torch import nn

from intriguing import attacks, runtime
from intriguing.attacks.minimum import Goal, Nearest, shorten

F64 = torch.float64


def at(size, name, **options):
    return size, lambda model, x, y, **kw: getattr(attacks, name)(model, x, y, **options, **kw)


ATTACKS = {
    "fab linf": at("linf", "fab", norm="linf", steps=8),
    "fab l2": at("l2", "fab", norm="l2", steps=8, targets=3),
    "fab l1": at("l1", "fab", norm="l1", steps=8, targets=3),
    "fab untargeted": at("linf", "fab", targets=None, steps=5),
    "fab eps": at("linf", "fab", eps=0.08, steps=12),
    "fab restarts": at("l2", "fab", norm="l2", restarts=2, steps=5, targets=2),
    "deepfool l2": at("l2", "deepfool", refine=True),
    "deepfool linf": at("linf", "deepfool", norm="linf"),
    "cw": at("l2", "carlini_wagner", searches=3, steps=40, rate=0.1),
    "cw linf": at("linf", "carlini_wagner_linf", steps=30, rate=0.1, shrink=0.7),
    "cw l0": at("l0", "carlini_wagner_l0", steps=10, rate=0.4, c_max=8.0),
    "ddn": at("l2", "ddn", steps=30),
    "fmn l2": at("l2", "fmn", steps=30),
    "fmn linf": at("linf", "fmn", steps=30, norm="linf"),
    "fmn l1": at("l1", "fmn", steps=30, norm="l1"),
}
EVERY = pytest.mark.parametrize("name", ATTACKS)
TARGETED = [name for name in ATTACKS if not name.startswith("fab")]


def sizes(norm, x, result):
    change = (result.x_adv - x).flatten(1)
    return {"l2": result.l2, "linf": result.linf, "l1": change.abs().sum(1),
            "l0": (change != 0).sum(1).to(x.dtype)}[norm]  # fmt: skip


@EVERY
def test_rows_do_not_depend_on_each_other(name):
    """Batches of 1, 3 and 8, and another order, in float64."""
    model = attacknets.smooth_cnn(F64)
    x, y, _ = attacknets.problems(model, 8)
    y[5] = (y[5] + 1) % 10  # one is wrong at the outset
    attack = ATTACKS[name][1]
    whole = attack(model, x, y)
    order = torch.randperm(8, generator=runtime.generator(0, "order"))
    others = [(order, attack(model, x[order], y[order])), (range(8), attack(model, x, y, batch=3)),
              ([2], attack(model, x[2:3], y[2:3])), ([5], attack(model, x[5:6], y[5:6]))]
    for rows, result in others:
        same = whole[torch.as_tensor(list(rows))]
        torch.testing.assert_close(result.x_adv, same.x_adv, rtol=0, atol=1e-7)
        for counter in ("success", "iterations", "gradients", "forwards"):
            assert torch.equal(getattr(result, counter), getattr(same, counter)), counter
        assert result.stop_reason == same.stop_reason


@EVERY
def test_result_and_arguments(name):
    """In the box, by a fresh pass; nothing of the caller's is changed; what is wrong stays."""
    model = attacknets.fc()
    x, y, _ = attacknets.problems(model, 6)
    y[1] = (y[1] + 1) % 10
    x[0, 0, 0, 0], x[0, 0, 0, 1] = 1 + 5e-7, -5e-7  # rounding that check_inputs lets through
    before = x.clone(), y.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    result = ATTACKS[name][1](model, x, y)
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])
    assert all(torch.equal(v, before[2][k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert not frozen.requires_grad and not model.training
    assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1
    assert not result.x_adv.requires_grad and result.x_adv.dtype == x.dtype
    assert torch.equal(result.success, model(result.x_adv).argmax(1) != y)
    assert result.success.sum() >= 5
    assert torch.equal(result.x_adv[1], x[1]) and result.success[1]
    assert result.gradients[1] == 0 and result.stop_reason[1] == "already there"
    assert (result.gradients[[0, 2, 3, 4, 5]] > 0).all() and (result.forwards > 0).all()


class Counted(nn.Module):
    """Counts the images it sees with and without gradients, and backward passes by image."""

    def __init__(self, model):
        super().__init__()
        self.model, self.without, self.backward = model, 0, 0

    def forward(self, x):
        if not x.requires_grad:
            self.without += len(x)
        else:
            x.register_hook(self._count)
        return self.model(x)

    def _count(self, g):
        self.backward += len(g)


@EVERY
def test_counts_are_those_of_the_network(name):
    model = Counted(attacknets.fc()).eval()
    x, y, _ = attacknets.problems(model.model, 5)
    y[1] = (y[1] + 1) % 10
    result = ATTACKS[name][1](model, x, y)
    assert result.gradients.sum() == model.backward
    # check_inputs looks at one image, the measure at all of them
    assert result.forwards.sum() == model.without - 1 - len(x)


@EVERY
@pytest.mark.parametrize("depth, low, high", [(0.2, 0.3, 0.7), (2.0, 0.0, 1.0)])
def test_no_answer_is_nearer_than_the_truth(name, depth, low, high):
    norm, attack = ATTACKS[name]
    if norm == "l1":
        pytest.skip("the exact distances are those of L2, Linf and L0")
    model, x, y = planes.plane(8, depth=depth, low=low, high=high)
    result = attack(model, x, y)
    truth = planes.of_plane(norm, model, x)
    if name != "fab eps":
        assert result.success.all()
    assert (sizes(norm, x, result)[result.success] >= truth[result.success] * (1 - 1e-9)).all()


@EVERY
def test_an_image_that_cannot_be_changed_is_left_alone(name):
    model, x, y = planes.plane(3, depth=50.0)
    assert planes.of_plane("l2", model, x).isinf().all()
    result = ATTACKS[name][1](model, x, y)
    assert torch.equal(result.x_adv, x) and not result.success.any()
    assert not result.l2.any() and not result.linf.any()


@pytest.mark.parametrize("name", TARGETED)
def test_targets_are_reached(name):
    norm, attack = ATTACKS[name]
    model = attacknets.smooth_cnn()
    x, y, target = attacknets.problems(model, 6)
    target[0] = model(x[:1]).argmax(1)  # there already
    y[0] = (target[0] + 1) % 10
    result = attack(model, x, y, target=target)
    assert torch.equal(result.success, model(result.x_adv).argmax(1) == target)
    assert result.success.sum() >= 5
    assert torch.equal(result.x_adv[0], x[0]) and result.success[0]
    free = attack(model, x[1:], y[1:])
    both = result.success[1:] & free.success
    nearest = sizes(norm, x[1:], free)[both].mean()
    assert nearest < sizes(norm, x, result)[1:][both].mean()


@EVERY
def test_numbers_that_are_none(name):
    """A network that breaks away from the image: no such point is an answer."""
    inner = attacknets.fc()
    x, y, _ = attacknets.problems(inner, 4)

    class Broken(nn.Module):
        def forward(self, v):
            far = (v - x.mean()).abs().mean((1, 2, 3)) > (x - x.mean()).abs().mean() * 3
            return torch.where(far[:, None] | (v[:, 0, 14, 14] != x[0, 0, 14, 14])[:, None],
                               math.nan, inner(v))  # fmt: skip

    model = Broken().eval()
    result = ATTACKS[name][1](model, x, y)
    assert result.x_adv.isfinite().all()
    found = (result.x_adv != x).flatten(1).any(1)
    assert model(result.x_adv[found]).isfinite().all()


@EVERY
def test_bad_input_is_refused(name):
    attack = ATTACKS[name][1]
    model = attacknets.fc()
    x, y, _ = attacknets.problems(model, 3)
    with pytest.raises(ValueError, match="train mode"):
        attack(attacknets.fc().train(), x, y)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        attack(model, 255 * x, y)
    with pytest.raises(ValueError, match="x is empty"):
        attack(model, x[:0], y[:0])
    with pytest.raises(ValueError, match="batch must be at least 1, not 0"):
        attack(model, x, y, batch=0)

    class Detached(nn.Module):
        def forward(self, v):
            return model(v).detach()

    with pytest.raises(ValueError, match="carry no gradient"):
        attack(Detached().eval(), x, y)


@pytest.mark.parametrize("name, options, message", [
    ("fab", {"norm": "l0"}, "norm must be one of linf, l2, l1, not 'l0'"),
    ("fab", {"eps": 0.0}, "eps must be positive, not 0.0"),
    ("fab", {"steps": 0}, "steps must be at least 1, not 0"),
    ("fab", {"targets": 0}, "targets must be at least 1, not 0"),
    ("fab", {"eta": 0.5}, "eta must be at least 1, not 0.5"),
    ("fab", {"beta": math.nan}, "beta must be positive, not nan"),
    ("deepfool", {"norm": "l1"}, "norm must be one of l2, linf, not 'l1'"),
    ("deepfool", {"candidates": 1}, "candidates must be at least 2, not 1"),
    ("deepfool", {"overshoot": -0.1}, "overshoot must be a number of at least 0, not -0.1"),
    ("carlini_wagner", {"norm": "linf"}, "norm must be one of l2, not 'linf'"),
    ("carlini_wagner", {"confidence": -1.0}, "confidence must be a number of at least 0"),
    ("carlini_wagner", {"c": 0.0}, "c must be positive, not 0.0"),
    ("carlini_wagner", {"edge": 0.5}, "edge must be below 0.5, not 0.5"),
    ("carlini_wagner_linf", {"shrink": 1.0}, "shrink must be below 1, not 1.0"),
    ("carlini_wagner_linf", {"edge": 0.7}, "edge must be below 0.5, not 0.7"),
    ("carlini_wagner_l0", {"rate": -1.0}, "rate must be positive, not -1.0"),
    ("ddn", {"gamma": 1.0}, "gamma must be below 1, not 1.0"),
    ("ddn", {"norm": "linf"}, "norm must be one of l2, not 'linf'"),
    ("fmn", {"norm": "l0"}, "norm must be one of l2, linf, l1, not 'l0'"),
    ("fmn", {"step": 0.0}, "step must be positive, not 0.0"),
    ("fmn", {"gamma": 2.0}, "gamma must be below 1, not 2.0"),
])  # fmt: skip
def test_bad_options(name, options, message):
    model, x, y = planes.plane(2, depth=1.0)
    with pytest.raises(ValueError, match=message):
        getattr(attacks, name)(model, x, y, **options)


# -- the parts ------------------------------------------------------------------------------------


def test_the_log_odds_have_the_direction_of_the_cross_entropy():
    g = runtime.generator(0, "logits")
    logits = torch.randn(6, 5, generator=g, dtype=F64).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    for goal, sign in ((Goal(labels, None), 1), (Goal((labels + 1) % 5, labels), -1)):
        (odds,) = torch.autograd.grad(goal.odds(logits).sum(), logits)
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        (plain,) = torch.autograd.grad(sign * loss, logits)
        torch.testing.assert_close(odds / odds.norm(dim=1, keepdim=True),
                                   plain / plain.norm(dim=1, keepdim=True))  # fmt: skip
        p = logits.detach().softmax(1).gather(1, labels[:, None]).squeeze(1)
        torch.testing.assert_close(goal.odds(logits), -sign * (p / (1 - p)).log())


def test_a_saturated_network_falls_to_ddn():
    """Logits times 1,000: in float32 the cross entropy is 0, and so is its gradient."""
    inner = attacknets.fc()

    class Sure(nn.Module):
        def forward(self, v):
            return 1000 * inner(v)

    x, y, _ = attacknets.problems(inner, 20)
    pixels = x.clone().requires_grad_()
    nn.functional.cross_entropy(Sure()(pixels), y, reduction="sum").backward()
    assert (pixels.grad.flatten(1).norm(dim=1) == 0).sum() > 10
    sure, plain = (attacks.ddn(m.eval(), x, y) for m in (Sure(), inner))
    assert sure.success.all()
    assert sure.l2.mean() < 1.1 * plain.l2.mean()


def test_shorten_ends_at_the_boundary():
    model, x, y = planes.plane(5, depth=0.2, low=0.3, high=0.7)
    found, goal = Nearest(x, "l2"), Goal(y, None)
    a = model.a.detach()
    end = x + 2 * (planes.of_plane("l2", model, x)[:, None, None, None] * a / a.norm())
    found.offer(torch.arange(5), end, torch.ones(5, dtype=torch.bool))
    with torch.no_grad():
        shorten(model, found, goal, 20)
    torch.testing.assert_close(found.size, planes.of_plane("l2", model, x), rtol=1e-5, atol=0)
    assert (found.forwards == 20).all() and (model(found.x_adv).argmax(1) == 1).all()
