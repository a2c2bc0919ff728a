"""Where a device has no room for a batch, the library gives the same in halves."""

import io
import json
import warnings

import pytest
import torch
from torch import nn

from intriguing import attacks, batches, directions, evaluate, interactions, runtime, zoo
from intriguing.attacks.transfer import Interaction, VarianceTuning, parts, pgd
from intriguing.errors import UserError
from intriguing.methods import method

ROOM = 3  # images


class Crowded(nn.Module):
    """A network on a device with room for so many images at once; it counts the refusals."""

    def __init__(self, model, room=ROOM):
        super().__init__()
        self.model, self.room, self.refused = model, room, 0
        self.eval()

    def forward(self, x):
        if len(x) > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError(f"{len(x)} images")
        return self.model(x)


@pytest.fixture(scope="module")
def problem():
    """A small smooth network in float64, 11 images, labels, targets."""
    draw = runtime.generator(0, "images")
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).double().eval()
    for weight in model.parameters():
        weight.requires_grad_(False).copy_(
            torch.randn(weight.shape, generator=draw, dtype=weight.dtype) / 2)
    x = torch.rand(11, 1, 8, 8, generator=draw, dtype=torch.float64)
    y = model(x).argmax(1)
    return model, x, y, (y + 1 + torch.arange(11) % 4) % 5


def both(model, call, room=ROOM):
    """Return what `call` gives with room and without, and the halvings as (before, after)."""
    crowded = Crowded(model, room)
    whole = call(Crowded(model, 10**6))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        halved = call(crowded)
    assert all(one.category is batches.BatchHalved for one in told)
    assert crowded.refused >= len(told) > 0
    return whole, halved, [(one.message.before, one.message.after) for one in told]


def test_predictions(problem):
    model, x, y, _ = problem
    for call in (lambda net: attacks.predict(net, x), lambda net: evaluate.correct(net, x, y)):
        whole, halved, told = both(model, call)
        assert torch.equal(whole, halved) and told == [(11, 5), (5, 2)]


def test_the_error_of_a_trained_network(problem):
    model, x, y, _ = problem
    labels = torch.where(torch.arange(11) < 4, (y + 1) % 5, y)
    whole, halved, _ = both(model, lambda net: zoo._error(net, x, labels))
    assert whole == halved == 4 / 11


def test_distances_and_features(problem):
    model, x, y, _ = problem
    whole, halved, _ = both(model, lambda net: attacks.targets(net, x, y, mode="nearest"))
    assert torch.equal(whole, halved)
    whole, halved, told = both(model, lambda net: directions.activations(net, x, "model.3"))
    assert whole.shape == (11, 144) and torch.allclose(whole, halved, rtol=0, atol=1e-12)
    assert told == [(11, 5), (5, 2)]


def test_features_of_a_batch_that_failed_behind_the_layer_are_dropped(problem):
    model, x, _, _ = problem
    behind = nn.Sequential(model[0], Crowded(model[1:])).eval()
    with pytest.warns(batches.BatchHalved):
        phi = directions.activations(behind, x, "0")
    assert torch.equal(phi, x.flatten(1))


@pytest.mark.parametrize("batch", [4, 512])
def test_lbfgs(problem, batch):
    model, x, y, target = problem
    whole, halved, told = both(
        model, lambda net: attacks.lbfgs(net, x, y, target=target, batch=batch))
    assert torch.equal(whole.success, halved.success) and whole.success.any()
    assert torch.allclose(whole.l2, halved.l2, rtol=1e-6, atol=1e-12)
    measured = [(11, 5), (5, 2)]
    assert told == ([(4, 2)] if batch == 4 else measured) + measured, "the search keeps its batch"


def test_lbfgs_without_room_for_its_own_state(problem, monkeypatch):
    from intriguing.attacks import search

    model, x, y, target = problem

    class Large(search.BoxLBFGS):
        def __init__(self, start, *rest, **more):
            if len(start) > 4:
                raise torch.OutOfMemoryError("state")
            super().__init__(start, *rest, **more)

    whole = attacks.lbfgs(model, x, y, target=target)
    monkeypatch.setattr(search, "BoxLBFGS", Large)
    with pytest.warns(batches.BatchHalved) as told:
        halved = attacks.lbfgs(model, x, y, target=target)
    assert [(one.message.before, one.message.after) for one in told] == [(11, 5), (5, 2)]
    assert torch.allclose(whole.l2, halved.l2, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("options", [
    {"start": "random"},
    parts("VR+MI") | {"copies": 3},
    {"variance": VarianceTuning(copies=2), "norm": "l2"},
    {"interaction": Interaction(grid=4, samples=3)},
    {"interaction": Interaction(grid=4, samples=3, target_mode="max"), "momentum": 1.0},
], ids=["random start", "noisy views", "variance", "interaction", "interaction max"])
def test_transfer_attacks_draw_the_same_numbers(problem, options):
    model, x, y, _ = problem
    options = {"eps": 0.1, "steps": 3, "seed": 5, **options}
    whole, halved, told = both(model, lambda net: pgd(net, x, y, **options))
    assert torch.allclose(whole.x_adv, halved.x_adv, rtol=0, atol=1e-9)
    assert told[:2] == [(11, 5), (5, 2)]


def test_rows_that_start_again_are_observed_again(problem):
    """What is stored by step and row is right in the end."""
    model, x, y, _ = problem
    seen = torch.zeros(3, *x.shape, dtype=x.dtype)
    counts = torch.zeros(3, len(x))

    class Later(Crowded):
        calls = 0

        def forward(self, x):
            self.calls += x.requires_grad
            return super().forward(x) if self.calls > 2 else self.model(x)

    def observe(number, rows, at):
        seen[number - 1, rows] = at
        counts[number - 1, rows] += 1

    with pytest.warns(batches.BatchHalved):
        pgd(Later(model), x, y, eps=0.1, steps=3, observe=observe)
    assert counts[0, 0] == 2 and counts[2].eq(1).all()
    for steps in (1, 2, 3):
        alone = pgd(model, x, y, eps=0.1, steps=steps, step=0.1 / 8).x_adv
        assert torch.allclose(seen[steps - 1], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("mode", ["fixed", "max"])
@pytest.mark.parametrize("room", [1, 3, 8])
def test_games(problem, mode, room):
    model, x, y, _ = problem
    delta = 0.1 * torch.sin(torch.arange(x.numel(), dtype=x.dtype)).view_as(x)

    def ask(net):
        game = interactions.perturbation_game(net, x, y, delta, grid=2, target_mode=mode)
        exact = interactions.exact_sii(game, 4)
        pairs = torch.tensor([[0, 1], [2, 3]])
        drawn = interactions.pairwise(game, 4, pairs, 5, seed=3).value
        return torch.cat([exact.flatten(1), drawn], dim=1)

    whole, halved, told = both(model, ask, room)
    assert torch.allclose(whole, halved, rtol=0, atol=1e-9)
    assert len(told) <= 8, "a game remembers what it has room for"


def test_a_single_image_of_a_game_needs_room_for_itself(problem):
    model, x, y, _ = problem
    game = interactions.perturbation_game(model, x, y, 0.1 * x, grid=2)
    crowded = type(game)(Crowded(model, 0), x, y, game.delta, game.other, game.grid, game.batch)
    with (pytest.warns(batches.BatchHalved),
          pytest.raises(torch.OutOfMemoryError, match="^1 images$")):
        crowded(torch.ones(3, 4, dtype=torch.bool))


def test_a_game_that_keeps_graphs_leaves_the_halving_to_its_caller(problem):
    """Halves of one graph take the room of the whole."""
    model, x, y, _ = problem
    game = interactions.perturbation_game(model, x, y, 0.1 * x, grid=2)
    delta = (0.1 * x).requires_grad_()
    net = Crowded(model)
    crowded = type(game)(net, x, y, delta, game.other, game.grid, game.batch)
    with pytest.raises(torch.OutOfMemoryError):
        crowded(torch.ones(3, 4, dtype=torch.bool))
    assert net.refused == 1


# ---------------------------------------------------------------- training


@pytest.fixture
def empty_zoo(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path / "zoo"))
    monkeypatch.setenv("INTRIGUING_DEVICE", "cpu")
    return monkeypatch


def test_a_training_without_room_says_what_to_do(empty_zoo):
    spec = zoo.szegedy("FC10(1)", "mnist-5k", n=50)

    def full(request, options):
        request.log("trying")
        raise torch.OutOfMemoryError("tried to allocate")

    def crowded_companion(request, options):
        attacks.predict(Crowded(nn.Flatten()), request.x, batch=50)

    for job in (full, crowded_companion):
        empty_zoo.setattr(method.find("szegedy"), "train", job)
        with pytest.raises(UserError, match="another one: use a GPU with more memory") as error:
            zoo.get(spec)
        assert spec.label in str(error.value) and "\n" not in str(error.value)
    assert zoo.list() == ()


# ---------------------------------------------------------------- a chapter


CHAPTER = """\
import io
import json
import warnings
warnings.filterwarnings("ignore")
import torch
from intriguing import batches, records
run = records.start("01-first", profile="smoke", parameters={}, seeds=[], device="cpu")
def crowded(x):
    if len(x) > 3:
        raise torch.OutOfMemoryError("no room")
    return x
batches.apply(crowded, torch.zeros(8), batch=8)
run.finish()
"""


def test_the_page_of_a_chapter_says_so(tiny_book):
    from intriguing import chapters
    from intriguing.book.run import runner
    from intriguing.chapters import shelves

    tiny_book.add("01-first", CHAPTER, "run.provenance()")
    told = io.StringIO()
    page = runner.run(chapters.resolve(chapters.find("01-first"), "smoke"),
                      shelves.built("smoke"), stream=told)
    said = "no memory for 8 images at once: going on with 4"
    assert "8 to 4 images, 4 to 2 images" in str(page.cells[-1].outputs)
    assert said in told.getvalue(), "whoever runs the chapter hears of it"
    assert said not in str(page.cells), "and its readers of no folder"
    rows = json.loads((shelves.built("smoke").results / "01-first" / "record.json").read_text())
    assert [row["times"] for row in rows["halved"]] == [1, 1]
