"""The Square attack: its schedule, its windows, what it reaches, and torchattacks beside it."""

import importlib

import attacknets
import pytest
import torch
from ballcases import F64, Linear
from torch import nn

from intriguing.attacks.apgd import apgd
from intriguing.attacks.balls import L2, Linf
from intriguing.attacks.draws import Draws
from intriguing.attacks.pgd import pgd
from intriguing.attacks.square import share, sides, square
from intriguing.attacks.windows import L2Windows, LinfWindows, pattern, placed


def problem(n=8, dtype=F64, net=attacknets.smooth_cnn):
    model = net(dtype)
    x, y, _ = attacknets.problems(model, n)
    return model, x, y


def test_the_schedule_is_the_table() -> None:
    table = [(10, 1), (50, 2), (200, 4), (500, 8), (1000, 16), (2000, 32), (4000, 64), (6000, 128),
             (8000, 256), (9999, 512)]  # fmt: skip
    for last, factor in table:
        assert share(last) == 0.8 / factor
        assert share(last + 1) == 0.8 / factor / (2 if last < 9999 else 1)
    assert share(0) == 0.8
    found = sides(5000, 0.8, "linf", 28, 28)
    # the root of .8 * 784 / 1, 2, 4, ..., 128
    assert found.unique().flip(0).tolist() == [25, 18, 13, 9, 6, 4, 3, 2]
    assert found[[0, 10, 11, 4001]].tolist() == [25, 25, 18, 2]
    assert sides(5000, 0.8, "l2", 28, 28).unique().flip(0).tolist() == [25, 19, 13, 9, 7, 5, 3]
    assert sides(3, 0.8, "linf", 3, 20).tolist() == [3, 3, 3]
    assert sides(3, 0.8, "l2", 4, 4).tolist() == [3, 3, 3] and sides(2, 1, "l2", 2, 2)[0] == 1


def test_windows_lie_evenly_over_all_corners() -> None:
    drawn = torch.rand(20000, 2, generator=torch.Generator().manual_seed(0))
    size = torch.tensor([1, 2, 4] * 7000)[:20000]
    inside, down, across = placed(drawn, size, 4, 5)
    assert torch.equal(inside.sum((1, 2, 3)), size**2)
    corner = inside.flatten(1).int().argmax(1)
    for side, places in ((1, 20), (2, 12), (4, 2)):
        seen = corner[size == side].bincount()
        seen = seen[seen > 0].float()
        assert len(seen) == places and (seen / seen.mean() - 1).abs().max() < 0.2
    assert torch.equal(down.amax((1, 2)) + 1, size) and torch.equal(across.amax((1, 2)) + 1, size)
    first = corner.div(5, rounding_mode="floor")  # the row of the upper left pixel
    assert (down[torch.arange(20000), first, 0] == 0).all()


def test_the_pattern_by_hand() -> None:
    """Of side 3: one row above, two below, of opposite sign; numbers from the authors' formula."""
    above = torch.tensor([[1 / 4, 1 + 1 / 4, 1 / 4]], dtype=F64)
    below = torch.tensor([[1 / 4] * 3, [1 / 4, 5 / 4, 1 / 4]], dtype=F64)
    expected = torch.cat((above / above.norm(), -below / below.norm())) / 2**0.5
    assert torch.allclose(pattern(3), expected)
    for side in (1, 2, 5, 9, 25):
        assert pattern(side).norm().sub(1).abs() < 1e-12


def test_every_query_changes_its_window_and_nothing_else() -> None:
    model, x, y = problem(6)
    windows, ball = LinfWindows(torch.tensor([1, 2, 9]), x.shape[1:]), Linf(x, 0.1)
    draws = Draws(0, x)
    best = windows.start(ball, draws)
    assert ((best == ball.low) | (best == ball.high)).all()
    assert (best == best[:, :, :1]).logical_or(x != x[:, :, :1]).all()  # stripes
    for number, side in enumerate((1, 2, 9)):
        for _ in range(20):
            new = windows.propose(ball, best, torch.full((6,), number), draws)
            changed = (new != best)[:, 0]
            assert changed.flatten(1).any(1).all()
            assert ((new == ball.low) | (new == ball.high)).all()
            assert changed.any(1).sum(1).max() <= side >= changed.any(2).sum(1).max()
            best = new


def test_l2_points_stay_on_the_rim_and_move_length_between_two_windows() -> None:
    x = torch.full((5, 3, 12, 12), 0.5, dtype=F64) + 0.01 * torch.arange(5).view(5, 1, 1, 1)
    eps = 0.8  # no pixel meets the box
    ball, windows = L2(x, eps), L2Windows(torch.tensor([5, 3]), x.shape[1:])
    draws = Draws(0, x)
    best = windows.start(ball, draws)
    for number in (0, 1) * 10:
        new = windows.propose(ball, best, torch.full((5,), number), draws)
        assert ((new - x).flatten(1).norm(dim=1) - eps).abs().max() < 1e-9
        changed = (new - best).abs().amax(1) > 1e-9  # (N, H, W)
        assert (changed.sum((1, 2)) <= 2 * (5, 3)[number] ** 2).all()
        per_channel = (new - x).square().sum((2, 3)) - (best - x).square().sum((2, 3))
        assert per_channel.abs().max() < 1e-9  # a full rim has no length to spare
        best = new


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_accepted_margins_only_rise_and_the_best_is_returned(norm) -> None:
    model, x, y = problem(6)
    looks = []
    found = square(model, x, y, eps={"linf": 0.05, "l2": 0.6}[norm], norm=norm, queries=300,
                   observe=looks.append)  # fmt: skip
    best: dict[int, float] = {}
    rises = 0
    for look in looks:
        for row, loss in zip(look.rows.tolist(), look.loss.tolist(), strict=True):
            assert loss >= best.get(row, -100)
            rises += loss > best.get(row, loss)
            best[row] = loss
    z = model(found.x_adv)
    margin = z.scatter(1, y[:, None], -torch.inf).amax(1) - z.gather(1, y[:, None])[:, 0]
    assert torch.allclose(margin, torch.tensor([best[i] for i in range(6)], dtype=F64))
    assert rises > 60
    stood = ~found.success
    assert stood.any() and (found.forwards[stood] == 301).all()


def test_a_linear_network_is_driven_into_the_corner_of_fgsm() -> None:
    """Two classes: the margin is worst at x - eps sign(w), last row and column included."""
    model = Linear(2, (2, 3, 4))
    x, y = model.problem(5)
    eps = 0.9 * model.distances(x, y, "linf").min().item()
    found = square(model, x, y, eps=eps, queries=1500)
    w = (model.w[1] - model.w[0]).detach().view(2, 3, 4)
    corner = x + eps * torch.where(y == 0, 1.0, -1.0)[:, None, None, None] * w.sign()
    assert not found.success.any()
    assert torch.allclose(found.x_adv, corner, atol=1e-12)
    for i, radius in enumerate(model.distances(x, y, "linf").tolist()):
        assert square(model, x[i : i + 1], y[i : i + 1], eps=1.001 * radius, queries=1500).success


def test_in_l2_a_linear_network_falls_in_a_ball_of_twice_its_distance() -> None:
    """Its patterns are not the weights: it gets 60 % of the way on so small images, not all."""
    model = Linear(2, (1, 4, 5))
    x, y = model.problem(6)
    radius = model.distances(x, y, "l2")
    for i in range(6):
        below, above = (
            square(model, x[i : i + 1], y[i : i + 1], norm="l2", eps=factor * radius[i].item(),
                   queries=300).success.item() for factor in (0.999, 2)
        )  # fmt: skip
        assert not below and above


class Rounded(nn.Module):
    """A network that sees its input in steps of 1/8: no gradient leads anywhere."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((8 * x).round() / 8)


def test_it_finds_what_gradients_miss() -> None:
    model, x, y = problem(30, torch.float32)
    hidden = Rounded(model).eval()
    options = {"eps": 0.12}
    blind = pgd(hidden, x, y, **options).success | apgd(hidden, x, y, **options, steps=20).success
    found = square(hidden, x, y, **options, queries=300).success
    assert found.sum() >= blind.sum() + 5


def test_a_targeted_search_reaches_its_target() -> None:
    model, x, y = problem(10)
    target = model(x).scatter(1, y[:, None], -torch.inf).argmax(1)
    found = square(model, x, y, eps=0.3, target=target, queries=300)
    assert torch.equal(found.success, model(found.x_adv).argmax(1) == target)
    assert found.success.sum() >= 5


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_queries_asked_at_once_are_those_asked_one_after_the_other(norm, monkeypatch) -> None:
    model, x, y = problem(4)
    options = {"eps": {"linf": 0.06, "l2": 0.7}[norm], "norm": norm, "queries": 101}
    answers = []
    file = importlib.import_module("intriguing.attacks.square")
    for ahead in (1, 64):
        monkeypatch.setattr(file, "AHEAD", {"cpu": ahead})
        answers.append(square(model, x, y, **options))
    one, many = answers
    assert torch.allclose(one.x_adv, many.x_adv, atol=1e-9)
    assert torch.equal(one.forwards, many.forwards) and torch.equal(one.success, many.success)
    assert torch.equal(one.iterations, many.iterations) and one.iterations.max() > 9


@pytest.mark.parametrize(("options", "message"), [
    ({"queries": 0}, "queries must be a whole number of at least 1, not 0"),
    ({"first": 0.0}, r"share of the pixels in \(0, 1\], not 0.0"),
])  # fmt: skip
def test_impossible_options_are_refused(options, message) -> None:
    model, x, y = problem(2)
    with pytest.raises(ValueError, match=message):
        square(model, x, y, eps=0.1, **options)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.2)])
def test_beside_torchattacks(norm, eps) -> None:
    """By 1,000 queries the draws hardly matter; in Linf ours spends none on a point it knows."""
    theirs = pytest.importorskip(
        "torchattacks", reason="torchattacks is not installed: make test does that"
    )
    model, x, y = problem(60, torch.float32, attacknets.fc)
    attack = theirs.Square(model, norm=norm.capitalize(), eps=eps, n_queries=1000,
                           resc_schedule=False)  # fmt: skip
    with torch.no_grad():
        expected = model(attack(x, y)).argmax(1) != y
    found = square(model, x, y, eps=eps, norm=norm, queries=1000)
    assert 10 < found.success.sum() < 60
    assert (found.success != expected).sum() <= 4  # another seed of theirs: 1
    assert found.success.sum() >= expected.sum() - 2
