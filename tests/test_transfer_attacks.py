"""Attacks for transfer: parts, combinations, rows, balls, and what others compute."""

import copy
import math

import attacknets
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intriguing import models, runtime, vision
from intriguing.attacks import transfer
from intriguing.attacks.transfer import (
    Diverse,
    Draws,
    Ensemble,
    Interaction,
    Noise,
    VarianceTuning,
    decayed,
    parts,
    pgd,
)
from intriguing.interactions import mean_interaction, perturbation_game
from intriguing.models import folding

F32, F64 = torch.float32, torch.float64
EPS = 0.15
GRID7 = Interaction(grid=7, samples=4, set_size=8)
# every part, cheaper than published; those that draw numbers among them
CHEAP = {
    "PGD": {},
    "MI": parts("MI"),
    "TI": {"kernel": 5},
    "VR": parts("VR") | {"copies": 3},
    "DI": {"views": (Diverse(0.7, 0.8),)},
    "VMI": {"momentum": 1.0, "variance": VarianceTuning(2)},
    "IR": {"interaction": GRID7},
    "all": {"momentum": 1.0, "kernel": 3, "views": (Noise(), Diverse()), "copies": 2,
            "variance": VarianceTuning(1), "interaction": GRID7},
}  # fmt: skip


def problem(dtype=F32, n=8, net=attacknets.smooth_cnn):
    model = net(dtype)
    x, y, _ = attacknets.problems(model, n)
    return model, x, y


def loss_gradient(model, x, y):
    """The gradient of the cross entropy of each row, written out."""
    pixels = x.clone().requires_grad_()
    F.cross_entropy(model(pixels), y, reduction="sum").backward()
    return pixels.grad


def small_resnet(dtype=F32, *, blocks=1):
    """A residual network of ours with batch statistics that are not those of a fresh one."""
    model = models.resnet.ResNet(width=4, blocks=blocks, generator=runtime.generator(3, "init"))
    model.train()(attacknets.digits().x[:64])
    return model.to(dtype).eval()


# -- the step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_step_of_pgd_is_what_the_formula_says(norm) -> None:
    model, x, y = problem(F64)
    eps = EPS if norm == "linf" else 2.0
    found = pgd(model, x, y, eps=eps, steps=1, step=eps / 2, norm=norm, start="zero")
    g = loss_gradient(model, x, y)
    direction = g.sign() if norm == "linf" else g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(found.x_adv, (x + eps / 2 * direction).clamp(0, 1), atol=1e-6)
    assert found.gradients.tolist() == [1] * len(x) == found.iterations.tolist()


def test_attacks_raise_the_loss_and_report_a_fresh_pass() -> None:
    model, x, y = problem(n=100, net=attacknets.cnn)
    found = pgd(model, x, y, eps=EPS, steps=10)
    assert found.success.float().mean() > 0.5
    assert torch.equal(found.success, model(found.x_adv).argmax(1) != y)
    assert torch.allclose(found.l2, (found.x_adv - x).flatten(1).norm(dim=1))


@pytest.mark.parametrize("start", ["zero", "random"])
def test_weight_zero_is_pgd_bit_for_bit(start) -> None:
    model, x, y = problem()
    options = {"eps": EPS, "steps": 4, "start": start, "seed": 5}
    plain = pgd(model, x, y, **options)
    nothing = pgd(model, x, y, **options, interaction=Interaction(0.0, grid=7))
    little = pgd(model, x, y, **options, interaction=Interaction(1e-30, grid=7, samples=2))
    assert torch.equal(plain.x_adv, nothing.x_adv) and torch.equal(plain.x_adv, little.x_adv)
    assert plain.gradients.tolist() == nothing.gradients.tolist()
    assert little.gradients.tolist() == [4 * (1 + 1 + 2 * 2)] * len(x)


def test_all_start_at_the_same_point() -> None:
    model, x, y = problem()
    points = []
    for method in ("PGD", "MI", "IR", "VR"):
        pgd(model, x, y, eps=EPS, steps=1, step=1e-30, seed=2, **CHEAP[method],
            observe=lambda number, rows, at: points.append(at))  # fmt: skip
    assert all((points[0] - other).abs().max() < 1e-20 for other in points[1:])
    change = (points[0] - x)[(x > EPS) & (x < 1 - EPS)]
    assert change.abs().max() > 0.95 * EPS and change.mean().abs() < 0.05 * EPS


def test_momentum_adds_up_gradients_of_norm_one() -> None:
    model, x, y = problem(F64)
    points = []
    pgd(model, x, y, eps=1.0, steps=3, step=0.01, start="zero", norm="l2", momentum=0.9,
        observe=lambda number, rows, at: points.append(at))  # fmt: skip
    at, direction = x, torch.zeros_like(x)
    for point in points:
        g = loss_gradient(model, at, y)
        direction = 0.9 * direction + g / g.abs().sum((1, 2, 3), keepdim=True)
        unit = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        at = (at + 0.01 * unit).clamp(0, 1)
        assert torch.allclose(point, at, atol=1e-12)


def test_all_parts_together_are_the_formula() -> None:
    """The docstring's step, written out with other means: VR, VMI, IR, TI and MI in one."""
    model, x, y = problem(F64, n=4)
    points = []
    pgd(model, x, y, eps=EPS, steps=4, step=0.02, start="zero", seed=6, views=(Noise(0.1),),
        copies=3, variance=VarianceTuning(2, 1.5), kernel=5, momentum=0.9,
        interaction=Interaction(3.0, grid=4, method="exact", samples=None),
        observe=lambda number, rows, at: points.append(at))  # fmt: skip
    draws, shape = Draws(6, x), x.shape[1:]

    def smoothed_loss(at):
        return sum(loss_gradient(model, at + 0.1 * draws.normal(*shape), y) for _ in range(3)) / 3

    line = torch.exp(-(torch.linspace(-3, 3, 5, dtype=F64) ** 2) / 2)
    kernel = (torch.outer(line, line) / line.sum() ** 2)[None, None]
    at, last, tuning = x, 0.0, 0.0
    for point in points:
        here = smoothed_loss(at)
        near = [smoothed_loss(at + 1.5 * EPS * (2 * draws.uniform(*shape) - 1)) for _ in range(2)]
        delta = (at - x).requires_grad_()
        mean = mean_interaction(perturbation_game(model, x, y, delta, grid=4), 16)
        (term,) = torch.autograd.grad(mean.sum(), delta)
        g = F.conv2d(here + tuning - 3.0 * term, kernel, padding=2)
        last = g / g.abs().sum((1, 2, 3), keepdim=True) + 0.9 * last
        tuning = sum(near) / 2 - here
        at = x + (at + 0.02 * last.sign() - x).clamp(-EPS, EPS)
        at = at.clamp(0, 1)
        assert (point - at).abs().max() < 1e-9


def test_a_view_is_what_the_source_sees() -> None:
    """DI with a side and a place that cannot vary: the gradient goes through the small image."""
    model, x, y = problem(F64, n=4)

    def upper_left(pixels, draws=None):
        small = F.interpolate(pixels, size=[20, 20], mode="bilinear", antialias=False)
        return F.pad(small, [0, 8, 0, 8])

    def shrunk(pixels, draws):
        way = transfer.shrinking(28, torch.tensor([20]), torch.tensor([0])).to(pixels)
        return way @ pixels @ way.mT

    g = loss_gradient(lambda pixels: model(upper_left(pixels)), x, y)
    found = pgd(model, x, y, eps=EPS, steps=1, step=0.1, start="zero", views=(shrunk,)).x_adv
    assert torch.allclose(found, (x + 0.1 * g.sign() * (g.abs() > 1e-9)).clamp(0, 1), atol=1e-9)


def test_parts_join() -> None:
    hybrid = parts("HybridIR")
    assert hybrid == parts("MI+VR") | parts("SGM+IR") and set(hybrid) == {
        "momentum", "views", "copies", "gamma", "interaction"}  # fmt: skip
    assert [type(view) for view in parts("DI+VR")["views"]] == [Diverse, Noise]
    assert parts("VMI") == parts("MI") | parts("VT") and parts("PGD") == {}
    with pytest.raises(ValueError, match="did you mean"):
        parts("MI+HybridR")
    with pytest.raises(ValueError, match="twice"):
        parts("HybridIR+MI")


# -- rows, balls, refusals ------------------------------------------------------------------------


@pytest.mark.parametrize("method", CHEAP)
def test_rows_are_alone_in_any_order(method) -> None:
    model, x, y = problem(F64)
    options = {"eps": EPS, "steps": 3, "seed": 1, **CHEAP[method]}
    whole = pgd(model, x, y, **options).x_adv
    order = torch.randperm(len(x), generator=runtime.generator(0, "order"))
    assert torch.allclose(pgd(model, x[order], y[order], **options).x_adv, whole[order], atol=1e-9)
    for size in (1, 3):
        pieces = [pgd(model, a, b, **options).x_adv
                  for a, b in zip(x.split(size), y.split(size), strict=True)]  # fmt: skip
        assert torch.allclose(torch.cat(pieces), whole, atol=1e-9)
    assert torch.allclose(pgd(model, x, y, batch=3, **options).x_adv, whole, atol=1e-9)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("norm, eps", [("linf", 8 / 255), ("linf", 0.3), ("l2", 0.2), ("l2", 1.0)])
def test_no_pixel_leaves_ball_or_box(dtype, norm, eps) -> None:
    model, x, y = problem(dtype)
    x = torch.cat([x[:4], 0.45 + 0.1 * x[4:]])  # four are far from the box's sides
    for start in ("random", "zero"):
        found = pgd(model, x, y, eps=eps, steps=8, step=eps, norm=norm, start=start)
        change = (found.x_adv.double() - x.double()).flatten(1)
        size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        assert (size <= eps).all() and found.x_adv.min() >= 0 and found.x_adv.max() <= 1
        assert (size > 0.99 * eps).any(), "the ball is used"
    if norm == "l2":
        assert (found.l2 <= eps).all()


def test_the_call_leaves_everything_as_it_was() -> None:
    model, x, y = problem(net=lambda dtype: small_resnet(dtype))
    before = copy.deepcopy(model.state_dict())
    kept, state = x.clone(), torch.get_rng_state()
    pgd(model, x, y, eps=EPS, steps=2, gamma=0.5, **CHEAP["all"])
    assert torch.equal(x, kept) and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m.training for m in model.modules())


def test_impossible_input_is_refused() -> None:
    model, x, y = problem(n=2)
    for bad, words in (
        ({"norm": "l1"}, "norm must be one of linf, l2, not 'l1'"),
        ({"start": "here"}, "start must be one of"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"eps": -0.1}, "eps must be positive, not -0.1"),
        ({"eps": math.nan}, "eps must be positive"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"step": 0.0}, "step must be positive"),
        ({"copies": 0}, "copies must be at least 1"),
        ({"momentum": -1}, "momentum must be"),
        ({"kernel": 4}, "must be an odd number, not 4"),
        ({"gamma": 1.5}, r"gamma must lie in \[0, 1\], not 1.5"),
        ({"gamma": 0.5}, "has no block"),
        ({"x": x * 2}, r"pixels must lie in \[0, 1\]"),
        ({"interaction": Interaction(grid=29)}, "grid"),
    ):
        with pytest.raises(ValueError, match=words):
            pgd(model, **{"x": x, "y": y, "eps": EPS, "steps": 1} | bad)
    for make, words in (
        (lambda: Interaction(-1.0), "subtracted already"),
        (lambda: Interaction(grid=1), "players"),
        (lambda: Interaction(method="every"), "no method"),
        (lambda: Interaction(target_mode="best"), "target_mode"),
        (lambda: Noise(-1), "standard deviation"),
        (lambda: Diverse(low=0), "low"),
        (lambda: Diverse(probability=2), "probability"),
        (lambda: VarianceTuning(0), "copies"),
        (lambda: Ensemble([]), "at least one"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


# -- the interaction term -------------------------------------------------------------------------


@pytest.mark.parametrize("target_mode", ["fixed", "max"])
@pytest.mark.parametrize("method", [("exact", None), ("sets", 3), ("pairs", 4)])
def test_gradient_of_the_interaction_beside_finite_differences(method, target_mode) -> None:
    model, x, y = problem(F64, n=3)
    term = Interaction(grid=4, method=method[0], samples=method[1], target_mode=target_mode)
    delta = 0.1 * Draws(0, x).normal(*x.shape[1:])
    g = term.gradient(model, x, y, delta, seed=7, batch=11)

    def interaction(change):  # by the function that the chapters measure with
        game = perturbation_game(model, x, y, change, grid=4, target_mode=target_mode)
        return mean_interaction(game, 16, method[0], samples=method[1], seed=7)

    for way in range(3):
        along = Draws(1 + way, x).normal(*x.shape[1:])
        slope = (interaction(delta + 1e-5 * along) - interaction(delta - 1e-5 * along)) / 2e-5
        expected = (g * along).flatten(1).sum(1)
        assert torch.allclose(expected, slope, rtol=2e-4, atol=1e-8)


def test_one_step_ascends_the_objective_of_the_paper() -> None:
    model, x, y = problem(F64)
    term = Interaction(2.0, grid=4, method="exact", samples=None)
    points = []
    options = {"eps": 1.0, "norm": "l2", "step": 0.05, "seed": 3, "observe":
               lambda number, rows, at: points.append(at)}  # fmt: skip
    pgd(model, x, y, steps=2, interaction=term, **options)
    at = points[0]
    delta = (at - x).requires_grad_()
    game = perturbation_game(model, x, y, delta, grid=4)
    objective = F.cross_entropy(model(x + delta), y, reduction="sum")
    objective = objective - 2.0 * mean_interaction(game, 16).sum()
    (g,) = torch.autograd.grad(objective, delta)
    change = at - x + 0.05 * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    length = change.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    expected = (x + change * (1 / length).clamp(max=1)).clamp(0, 1)
    assert torch.allclose(points[1], expected, atol=1e-9)


@pytest.mark.parametrize("method, weight", [("sets", 1.0), ("exact", 50.0)])
def test_the_sign_is_right(method, weight) -> None:
    """At equal norm the interaction is lower than PGD's, and the lower the larger the weight."""
    model, x, y = problem(n=16, net=attacknets.cnn)
    measured = {}
    for w in (0.0, weight, math.inf):
        term = Interaction(w, grid=4, method=method, samples=8 if method == "sets" else None)
        found = pgd(model, x, y, eps=EPS, steps=6, seed=0, interaction=term)
        delta = found.x_adv - x
        delta = 1.5 * delta / delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        game = perturbation_game(model, x, y, delta, grid=4)
        measured[w] = mean_interaction(game, 16)
    plain, reduced, alone = measured.values()
    assert alone.mean() < reduced.mean() < plain.mean()
    assert (reduced < plain).float().mean() > 0.7 and (alone < plain).float().mean() > 0.8


def test_at_the_image_itself_there_is_no_interaction_to_ascend() -> None:
    model, x, y = problem(F64, n=4)
    at_zero = GRID7.gradient(model, x, y, torch.zeros_like(x), seed=0)
    beside = GRID7.gradient(model, x, y, torch.full_like(x, 0.1), seed=0)
    assert at_zero.abs().max() < 1e-13 < 1e-3 < beside.abs().max()


# -- smoothing, views, draws ----------------------------------------------------------------------


def test_smoothing_is_the_convolution() -> None:
    x = torch.randn(2, 3, 9, 14, dtype=F64, generator=runtime.generator(0, "x"))
    for length in (1, 5, 15):
        points = torch.linspace(-3, 3, length, dtype=F64) if length > 1 else torch.zeros(1)
        line = (-(points.to(F64) ** 2) / 2).exp()
        kernel = torch.outer(line, line) / line.sum() ** 2
        expected = F.conv2d(x, kernel.expand(3, 1, -1, -1), padding="same", groups=3)
        found = transfer.smoothing(9, length) @ x @ transfer.smoothing(14, length).T
        assert torch.allclose(found, expected, atol=1e-12)


def test_shrinking_is_interpolate_and_pad() -> None:
    x = torch.rand(4, 1, 12, 12, dtype=F64, generator=runtime.generator(0, "x"))
    sides, tops, lefts = (torch.tensor(t) for t in ([12, 11, 7, 1], [0, 1, 3, 11], [0, 0, 5, 2]))
    rows, columns = (transfer.shrinking(12, sides, at).to(x)[:, None] for at in (tops, lefts))
    found = rows @ x @ columns.mT
    for i, (side, top, left) in enumerate(zip(*(t.tolist() for t in (sides, tops, lefts)),
                                              strict=True)):  # fmt: skip
        small = F.interpolate(x[i : i + 1], size=[side, side], mode="bilinear")
        expected = F.pad(small, [left, 12 - side - left, top, 12 - side - top])
        assert torch.allclose(found[i : i + 1], expected, atol=1e-6)


def test_diverse_draws_every_size_and_place() -> None:
    x = torch.ones(600, 1, 10, 10) * torch.linspace(0.5, 1, 600).view(-1, 1, 1, 1)
    seen = Diverse(low=0.8, probability=0.5)(x, Draws(0, x))
    heights = (seen.amax((1, 3)) > 0.1).sum(1)
    changed = heights < 10
    assert torch.equal(seen[~changed], x[~changed])
    assert 0.25 < changed.float().mean() < 0.42  # two of three sizes, half of the times
    assert set(heights.tolist()) == {8, 9, 10}
    assert set((seen.amax((1, 3)) > 0.1).float().argmax(1).tolist()) == {0, 1, 2}


def test_noise_averages_gradients_of_independent_copies() -> None:
    model, x, y = problem(F64, n=4)
    points = []
    pgd(model, x, y, eps=1.0, steps=1, step=0.1, norm="l2", start="zero", views=(Noise(0.2),),
        copies=3, seed=4, observe=lambda number, rows, at: points.append(at))  # fmt: skip
    draws = Draws(4, x)
    g = sum(loss_gradient(model, x + 0.2 * draws.normal(*x.shape[1:]), y) for _ in range(3))
    unit = g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(points[0], (x + 0.1 * unit).clamp(0, 1), atol=1e-9)


def test_draws_are_even_normal_and_independent() -> None:
    x = torch.linspace(0, 1, 50).view(50, 1, 1, 1).expand(-1, 1, 2, 2)
    draws = Draws(0, x)
    u, z = draws.uniform(2000), draws.normal(2001)
    assert u.shape == (50, 2000) and z.shape == (50, 2001) and u.min() >= 0 and u.max() < 1
    counts = torch.histc(u, 100, 0, 1)
    assert ((counts - 1000) ** 2 / 1000).sum() < 150  # chi-square, 99 degrees of freedom
    moments = [(z**k).mean().item() for k in range(1, 5)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.06)
    assert torch.corrcoef(u).triu(1).abs().max() < 0.11  # 1,225 pairs of rows, 5 s.e.
    assert torch.corrcoef(z.T[:60]).triu(1).abs().max() < 0.65
    rows = torch.tensor([7, 3])
    assert torch.equal(Draws(0, x[rows]).uniform(2000), u[rows])
    assert not torch.equal(Draws(1, x).uniform(2000), u)


# -- sources --------------------------------------------------------------------------------------


def test_an_ensemble_is_the_mean_of_logits() -> None:
    nets, (x, y, _) = [attacknets.fc(), attacknets.cnn()], attacknets.problems(attacknets.fc(), 5)
    both = Ensemble(nets)
    assert torch.allclose(both(x), (nets[0](x) + nets[1](x)) / 2)
    assert not both.training
    found = pgd(both, x, y, eps=EPS, steps=3)
    assert torch.equal(found.success, both(found.x_adv).argmax(1) != y)
    assert Ensemble([nets[0].train()]).training


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_sgm_weighs_the_branch_of_our_blocks(gamma) -> None:
    model, x, y = small_resnet(F64, blocks=2), *attacknets.problems(attacknets.fc(F64), 4)[:2]

    def by_hand(pixels):
        h = pixels
        for layer in model.body:
            if isinstance(layer, models.resnet.Block):
                branch = layer.conv2(torch.relu(layer.conv1(h)))
                h = torch.relu(layer.skip(h) + gamma * branch + (1 - gamma) * branch.detach())
            else:
                h = layer(h)
        return model.head(h.mean((2, 3)))

    expected = loss_gradient(by_hand, x, y)
    with decayed(model, gamma):
        assert torch.equal(model(x), by_hand(x)) or gamma == 0.3
        found, logits = loss_gradient(model, x, y), model(x)
    assert torch.allclose(found, expected, atol=1e-12)
    plain = loss_gradient(model, x, y)
    assert torch.equal(logits, model(x)), "the values do not change, to the bit"
    assert torch.equal(found, plain) == (gamma == 1.0), "the model is as before"


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_sgm_weighs_the_branch_of_torchvisions_blocks(name) -> None:
    torchvision = vision.module()
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None, num_classes=5).double().eval()
    for module in model.modules():  # a fresh Bottleneck ends in a scale that may be zero
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(2.0)
    x = torch.rand(2, 3, 32, 32, dtype=F64, generator=runtime.generator(0, "x"))
    y = torch.tensor([0, 3])
    assert len(transfer.residual_blocks(model)) == {"resnet18": 8, "resnet50": 16}[name]
    with decayed(model, 0.0):
        found = loss_gradient(model, x, y)

    def skips_only(module, inputs, z):
        return z.detach()

    end = "bn2" if name == "resnet18" else "bn3"
    kept = [getattr(block, end).register_forward_hook(skips_only)
            for block in transfer.residual_blocks(model)]  # fmt: skip
    expected = loss_gradient(model, x, y)
    for hook in kept:
        hook.remove()
    assert torch.allclose(found, expected, atol=1e-14) and found.abs().max() > 0
    with decayed(model, 1.0):
        assert torch.equal(loss_gradient(model, x, y), loss_gradient(model, x, y))
    assert not torch.allclose(found, loss_gradient(model, x, y), rtol=0.1)


class Block(nn.Module):
    """A stranger's block: named like ours and torchvision's, and no residual one."""

    def __init__(self):
        super().__init__()
        self.conv2 = self.bn2 = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv2(x)


class Residual(nn.Module):
    """Another stranger's, which says where its branch ends."""

    def __init__(self, end="branch.1"):
        super().__init__()
        self.branch_end = end
        self.branch = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Tanh())

    def forward(self, x):
        return x + self.branch(x)


def test_a_block_is_what_it_declares_and_not_what_it_is_called() -> None:
    class BasicBlock(Block):
        pass

    named = nn.Sequential(Block(), BasicBlock(), nn.Flatten(), nn.Linear(784, 10)).eval()
    assert transfer.residual_blocks(named) == []
    x, y, _ = attacknets.problems(attacknets.fc(), 3)
    with pytest.raises(ValueError, match="has no block that declares its branch_end"):
        pgd(named, x, y, eps=EPS, steps=1, gamma=0.5)
    declared = nn.Sequential(Residual(), nn.Flatten(), nn.Linear(784, 10)).eval()
    assert transfer.residual_blocks(declared) == [declared[0]]
    with decayed(declared, 0.0):
        found = loss_gradient(declared, x, y)
    skip_only = loss_gradient(
        lambda pixels: declared[1:](pixels + declared[0].branch(pixels).detach()), x, y)
    assert torch.allclose(found, skip_only, atol=1e-7)
    assert not torch.allclose(found, loss_gradient(declared, x, y), atol=1e-7)
    for wrong in ("branch.7", 3):
        with pytest.raises(ValueError, match="Residual declares branch_end = .*no module"):
            transfer.residual_blocks(nn.Sequential(Residual(wrong)))


# -- beside torchattacks --------------------------------------------------------------------------


class Colour(nn.Module):
    """A network of one channel that takes three, as torchattacks' TI does."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x @ torch.eye(28, dtype=x.dtype) if x.shape[1] == 1 else x.mean(1, True))


def colourful(n=16):
    model = Colour(attacknets.smooth_cnn(F64)).eval()
    x, y, _ = attacknets.problems(model.model, n)
    tints = torch.tensor([1.0, 0.9, 0.8], dtype=F64).view(3, 1, 1)
    return model, x * tints, y


@pytest.mark.parametrize("method", ["PGD", "MI", "TI", "DI", "VMI"])
def test_beside_torchattacks(method, monkeypatch) -> None:
    """The same points to rounding, from a zero start, in float64, on the same noise."""
    theirs = pytest.importorskip(
        "torchattacks", reason="torchattacks is not installed: make test does that"
    )
    model, x, y = colourful()
    options = {"eps": EPS, "alpha": EPS / 5, "steps": 8}
    ours: dict = {}
    if method == "PGD":
        attack = theirs.PGD(model, **options, random_start=False)
    elif method == "MI":
        attack, ours = theirs.MIFGSM(model, **options, decay=0.9), {"momentum": 0.9}
    elif method == "TI":
        attack = theirs.TIFGSM(model, **options, decay=1.0, len_kernel=7, diversity_prob=0.0)
        line = transfer.smoothing(7, 7)[3]
        assert torch.allclose(attack.stacked_kernel[0, 0].double(), torch.outer(line, line))
        attack.stacked_kernel = torch.outer(line, line).expand(3, 1, -1, -1)  # not float32
        ours = {"momentum": 1.0, "kernel": 7}
    elif method == "DI":  # sides of 27 at the upper left: all that these arguments can draw
        attack = theirs.DIFGSM(model, **options, resize_rate=27.5 / 28, diversity_prob=1.01)

        def upper_left(seen, draws):
            way = transfer.shrinking(28, torch.tensor([27]), torch.tensor([0])).to(seen)
            return way @ seen @ way.mT

        ours = {"views": (upper_left,)}
    else:
        attack = theirs.VMIFGSM(model, **options, decay=1.0, N=3, beta=1.5)
        ours = {"momentum": 1.0, "variance": VarianceTuning(3, 1.5)}
        draws = Draws(0, x)

        class Drawn:
            def uniform_(self, low, high):
                return low + (high - low) * draws.uniform(*x.shape[1:])

        monkeypatch.setattr(torch, "randn_like", lambda like: Drawn())
    expected = attack(x, y)
    found = pgd(model, x, y, eps=EPS, steps=8, step=EPS / 5, start="zero", **ours).x_adv
    assert (found - x).abs().max() > 0.9 * EPS
    assert (found - expected).abs().max() < 1e-7


# -- cheaper passes -------------------------------------------------------------------------------


def test_a_folded_network_is_attacked_alike() -> None:
    model, (x, y, _) = small_resnet(F64, blocks=2), attacknets.problems(attacknets.fc(F64), 6)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2, generator=runtime.generator(0, "norm"))
                module.bias.normal_(generator=runtime.generator(1, "norm"))
    fast = folding.folded(model, x)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert not any(p.requires_grad for p in fast.parameters())
    assert torch.allclose(fast(x), model(x), atol=1e-12)
    options = {"eps": EPS, "steps": 3, "momentum": 1.0, "gamma": 0.3}
    found, expected = (pgd(net, x, y, **options).x_adv for net in (fast, model))
    assert torch.allclose(found, expected, atol=1e-9)


def test_folding_refuses_what_it_would_change() -> None:
    class Crossed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.utils.skip_init(nn.Conv2d, 1, 1, 3)
            self.norm = nn.BatchNorm2d(1)
            nn.init.constant_(self.conv.weight, 0.1), nn.init.zeros_(self.conv.bias)
            self.norm.running_var.fill_(9.0)

        def forward(self, x):
            return self.conv(torch.relu(self.norm(x) - 0.1)).flatten(1)

    x = attacknets.digits().x[:2]
    with pytest.raises(ValueError, match="another order"):
        folding.folded(Crossed().eval(), x)
    with pytest.raises(ValueError, match="train mode"):
        folding.folded(Crossed(), x)
