"""What all attacks in a ball promise: rows, ball and box, untouched arguments, words of refusal."""

import attacknets
import ballcases
import pytest
import torch
from ballcases import ATTACKS, F64, RADII, inside
from torch import nn

from intriguing import batches
from intriguing.attacks import pool
from intriguing.attacks.draws import Draws

BOTH = pytest.mark.parametrize("norm", ["linf", "l2"])
ALL = pytest.mark.parametrize("name", ATTACKS)


def problem(n=8, dtype=F64):
    model = attacknets.smooth_cnn(dtype)
    x, y, _ = attacknets.problems(model, n)
    return model, x, y


def same(found, expected) -> None:
    """Rows are the same but for the order of sums in a batch of another size."""
    assert torch.allclose(found.x_adv, expected.x_adv, atol=1e-9)
    for name in ("success", "iterations", "gradients", "forwards"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.stop_reason == expected.stop_reason


@BOTH
@ALL
def test_rows_do_not_depend_on_their_neighbours(name, norm) -> None:
    model, x, y = problem()
    attack, options = ATTACKS[name], {"eps": RADII[norm], "norm": norm}
    whole = attack(model, x, y, **options)
    assert whole.success.any()
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    same(attack(model, x[order], y[order], **options), whole[order])
    same(attack(model, x, y, **options, batch=3), whole)  # rows leave, others take their places
    same(attack(model, x[3:6], y[3:6], **options), whole[torch.tensor([3, 4, 5])])
    same(attack(model, x[6:7], y[6:7], **options), whole[torch.tensor([6])])


@BOTH
@ALL
def test_points_are_in_ball_and_box_and_success_is_a_fresh_pass(name, norm) -> None:
    model, x, y = problem(40, torch.float32)
    found = ATTACKS[name](model, x, y, eps=RADII[norm], norm=norm)
    assert inside(found.x_adv, x, norm, RADII[norm])
    assert torch.equal(found.success, model(found.x_adv).argmax(1) != y)
    assert 0 < found.success.sum() < 40 and (found.linf > 0).all()
    if not name.endswith("all") and name != "fgsm":
        assert [r == "fooled" for r in found.stop_reason] == found.success.tolist()


@ALL
def test_arguments_mode_and_gradients_stay_as_they_were(name) -> None:
    model, x, y = problem(4)
    weights = [p.clone() for p in model.parameters()]
    frozen = next(model.parameters()).requires_grad_(False)
    before = x.clone(), y.clone()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    ATTACKS[name](model, x, y, eps=0.1)
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
    assert all(p.grad is None and p.requires_grad != (p is frozen) for p in model.parameters())
    assert not model.training and not x.requires_grad


class Scrubbing(nn.Module):
    """A network that normalises its input in place, as some do."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.sub_(0.1).mul_(2.0))


class Shifted(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x - 0.1) * 2.0)


@ALL
def test_a_network_may_write_into_its_input(name) -> None:
    model, x, y = problem(4)
    clone = x.clone()
    y = Shifted(model)(x).argmax(1).detach()
    expected = ATTACKS[name](Shifted(model).eval(), clone, y, eps=0.1)
    found = ATTACKS[name](ForAttack(Scrubbing(model)).eval(), clone, y, eps=0.1)
    assert torch.allclose(found.x_adv, expected.x_adv, atol=1e-9)
    assert torch.equal(found.success, expected.success)


class ForAttack(nn.Module):
    """Copies outside the attack's own passes: checks and measures of `common` hand out views."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        attacked = x.requires_grad or x._base is None
        return self.model(x if attacked else x.clone())


@ALL
@pytest.mark.parametrize(("change", "message"), [
    ({"eps": 0.0}, "eps must be positive, not 0.0"),
    ({"eps": float("nan")}, "eps must be positive, not nan"),
    ({"norm": "l1"}, "norm must be one of linf, l2, not 'l1'"),
    ({"batch": 0}, "batch must be a whole number of at least 1, not 0"),
])  # fmt: skip
def test_impossible_options_are_refused(name, change, message) -> None:
    model, x, y = problem(2)
    with pytest.raises(ValueError, match=message):
        ATTACKS[name](model, x, y, **{"eps": 0.1} | change)


@ALL
def test_bad_input_is_refused(name) -> None:
    model, x, y = problem(2)
    with pytest.raises(ValueError, match="pixels must lie in"):
        ATTACKS[name](model, x * 255, y, eps=0.1)
    with pytest.raises(ValueError, match="train mode"):
        ATTACKS[name](model.train(), x, y, eps=0.1)


class Broken(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def test_networks_that_cannot_be_climbed_are_refused() -> None:
    x, y = torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64)
    nan = Broken(lambda x: x.flatten(1)[:, :4] / 0.0 * 0.0).eval()
    cut = Broken(lambda x: x.detach().flatten(1)[:, :4] - torch.arange(4.0)).eval()
    for name, attack in ATTACKS.items():
        if name != "fgsm":
            with pytest.raises(ValueError, match="logits hold NaN|not finite"):
                attack(nan, x, y, eps=0.1)
    with pytest.raises(ValueError, match="no gradient by the pixels.*square"):
        ATTACKS["pgd"](cut, x, cut(x).argmax(1), eps=0.1)


@pytest.mark.parametrize("name", ["pgd", "apgd", "apgd-t", "square"])
def test_where_memory_runs_out_batches_are_halved(name) -> None:
    model, x, y = problem(6)

    def narrow(pixels):
        if len(pixels) > 4:
            raise torch.OutOfMemoryError("no room")
        return model(pixels)

    attack = ATTACKS[name]
    expected = attack(model, x, y, eps=0.05)
    with pytest.warns(batches.BatchHalved):
        found = attack(Broken(narrow).eval(), x, y, eps=0.05)
    same(found, expected)


def test_the_pool_stays_full_and_each_row_has_its_steps() -> None:
    """Rows of 1, 3, 1, 4, 1, 5, ... steps through three places."""
    length = torch.tensor([1, 3, 1, 4, 1, 5, 2, 2])
    steps, sizes = torch.zeros_like(length), []

    def admit(rows):
        return {"rows": rows, "t": torch.zeros_like(rows)}

    def advance(state):
        sizes.append(len(state["rows"]))
        steps[state["rows"]] += 1
        state["t"] = state["t"] + 1
        return pool.kept(state, state["t"] < length[state["rows"]])

    pool.work(torch.arange(8), 3, admit, advance)
    assert torch.equal(steps, length)
    assert max(sizes) == 3 and sum(sizes) == length.sum() and len(sizes) <= 9


def test_events_of_a_row_have_numbers_of_their_own() -> None:
    x = torch.rand(3, 1, 4, 4)
    draws = Draws(0, x)
    rows, numbers = torch.tensor([2, 0, 2, 1]), torch.tensor([5, 5, 6, -1])
    drawn = draws.numbered(rows, numbers).uniform(1000)
    again = Draws(0, x[2:]).numbered(torch.tensor([0]), torch.tensor([6])).uniform(1000)
    assert torch.equal(drawn[2:3], again)
    corr = torch.corrcoef(drawn)
    assert (corr - torch.eye(4)).abs().max() < 0.12
    assert (drawn.mean(1) - 0.5).abs().max() < 0.04


@BOTH
def test_success_does_not_fall_as_the_ball_grows(norm) -> None:
    model, x, y = problem(40, torch.float32)
    counts = {name: [] for name in ("pgd", "apgd", "apgd-t", "square")}
    for name, found in counts.items():
        for share in (0.3, 0.6, 1.0, 1.5):
            found.append(int(ATTACKS[name](model, x, y, eps=share * RADII[norm], norm=norm)
                             .success.sum()))  # fmt: skip
        assert found == sorted(found) and found[-1] > found[0], (name, found)


def test_ballcases_distances_are_the_nearest_points() -> None:
    """Along the nearest class's weights, the class changes at the distance and not before."""
    model = ballcases.Linear(4)
    x, y = model.problem(20)
    for norm in ("linf", "l2"):
        radius = model.distances(x, y, norm)
        moved = []
        for share in (0.999, 1.001):
            step = share * radius[:, None]
            w = model.w.detach()[None] - model.w.detach()[y][:, None]  # (N, K, numbers)
            d = w.sign() if norm == "linf" else w / w.norm(dim=2, keepdim=True).clamp_min(1e-9)
            points = x.flatten(1)[:, None] + step[:, None] * d
            z = (points - 0.5) @ model.w.detach().T + model.b.detach()  # (N, K, K)
            moved.append((z.argmax(2) != y[:, None]).any(1))
        assert not moved[0].any() and moved[1].all()
