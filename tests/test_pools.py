"""Adversarial pools: what an entry is, what an update moves, and that a kill changes nothing."""

import copy

import pytest
import torch
from torch.nn import functional

from intriguing import attacks, data, models, runtime, store, zoo
from intriguing.methods import szegedy_pools as pools
from intriguing.methods.szegedy_pools import OURS
from intriguing.store import state
from intriguing.training import Outcome, fit_minibatch, objectives

ARMS = OURS["grey"]

NUMBERS = {"epochs": 3, "batch": 50, "lr": 1e-2}
DECAY = [5e-5] * 3


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path / "zoo"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images():
    found = data.load("mnist-5k", "train", n=400)
    return found.x, found.y


@pytest.fixture(scope="module")
def half_trained(images):
    model = models.build("fc100-100-10", generator=runtime.generator(0, "init"))
    fit_minibatch(model, objectives.cross_entropy(), *images, **NUMBERS,
                  generator=runtime.generator(0, "order"))  # fmt: skip
    return model


def training(images, sizes=None, **kw):
    options = {"fresh": 20, "coefficients": DECAY, "generator": runtime.generator(0, "pool")} | kw
    return pools.PoolTraining(*images, sizes=sizes or {0: 50, 1: 50, 2: 50}, **options)


def refreshed(images, model, rounds=1, **kw):
    """A PoolTraining after some refreshes, and the outcome that counted them."""
    trained, outcome = training(images, **kw), Outcome()
    for outcome.rounds in range(rounds + 1):
        trained.before_round(model, outcome)
    return trained, outcome


# ---------------------------------------------------------------- the part above a layer


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_parts_below_and_above_make_the_network(half_trained, images, level):
    x = images[0][:20]
    h = pools.outputs(half_trained, x, level)
    assert h.ndim == 4 and not h.requires_grad
    torch.testing.assert_close(half_trained.above(level)(h), half_trained(x), rtol=0, atol=0)
    shared = {p.data_ptr() for p in half_trained.above(level).parameters()}
    assert shared <= {p.data_ptr() for p in half_trained.parameters()}
    assert len(shared) == 2 * (3 - level)


def test_there_is_no_layer_beyond_the_last(half_trained):
    for level in (-1, 3):
        with pytest.raises(ValueError, match=r"0\.\.2"):
            half_trained.above(level)


# ---------------------------------------------------------------- entries


def test_entries_are_adversarial_when_made(half_trained, images):
    modes = [m.training for m in half_trained.modules()]
    trained, outcome = refreshed(images, half_trained)
    for pool in trained.pools:
        assert len(pool) == 20
        assert pool.h.min() >= 0 and pool.h.max() <= 1
        assert (pool.y == images[1][pool.image]).all()  # the original label
        part = half_trained.above(pool.level)
        clean = pools.outputs(half_trained, images[0][pool.image], pool.level)
        assert (part(clean).argmax(1) == pool.y).all()
        assert (part(pool.h).argmax(1) != pool.y).all()
        margin = part(pool.h).softmax(1).topk(2).values.diff(dim=1)  # the least change: a near tie
        assert margin.abs().median() < 0.2
        assert outcome.extra[f"pool{pool.level}_attacks"] == 20
        assert outcome.extra[f"pool{pool.level}_reached"] == 20
        assert outcome.extra[f"pool{pool.level}_gradients"] >= 40
    assert [m.training for m in half_trained.modules()] == modes  # as it was before
    assert all(p.requires_grad for p in half_trained.parameters())


def test_targets(half_trained, images):
    x, y = images[0][:200], images[1][:200]
    likeliest = training(images, target="likeliest")._targets(half_trained, x, y)
    probability = half_trained(x).softmax(1)
    probability[torch.arange(200), y] = 0
    assert (likeliest == probability.argmax(1)).all()
    random = training(images)._targets(half_trained, x, y)
    assert (random != y).all() and len(((random - y) % 10).unique()) == 9


@pytest.mark.parametrize("level", [0, 1, 2])
def test_gaussian_entries_stay_in_the_box_at_the_size_of_the_adversarial_change(
    half_trained, images, level
):
    options = {"sizes": {level: 50}, "gaussian": True, "target": "likeliest"}
    trained, _ = refreshed(images, half_trained, **options)
    (pool,) = trained.pools
    assert pool.h.min() >= 0 and pool.h.max() <= 1
    at = pools.outputs(half_trained, images[0], level)[pool.image]
    part = half_trained.above(level)
    aim = trained._targets(part, at, pool.y)
    found = attacks.lbfgs(part, at, pool.y, target=aim, **pools.LOOSE)
    torch.testing.assert_close((pool.h - at).flatten(1).norm(dim=1), found.l2, rtol=1e-3, atol=0)
    assert (part(pool.h).argmax(1) == pool.y).double().mean() > 0.7  # noise seldom fools


def test_a_pool_grows_to_its_size_and_then_replaces_random_entries():
    generator = runtime.generator(0, "test")
    pool = pools.Pool(0, 10)
    given = torch.arange(100.0)[:, None]
    for start in range(0, 12, 4):
        rows = slice(start, start + 4)
        before = None if pool.h is None else pool.h.clone()
        places = pool.put(given[rows], given[rows, 0].long(), given[rows, 0].long(), generator)
        assert len(pool) == min(start + 4, 10) and len(set(places.tolist())) == 4
        assert (pool.h[places, 0] == given[rows, 0]).all()
        if before is not None:  # the others stay
            others = [i for i in range(len(before)) if i not in places.tolist()]
            assert (pool.h[others] == before[others]).all()
    assert (pool.h[:, 0] == pool.y).all() and (pool.y == pool.image).all()
    assert len(pool.h.unique()) == 10
    hits = torch.zeros(10)
    for _ in range(500):
        hits[pool.put(given[:3], *[torch.zeros(3, dtype=torch.int64)] * 2, generator)] += 1
    assert hits.sum() == 1500 and hits.min() > 110 and hits.max() < 190  # 150 +- 4 * 10
    none = torch.zeros(100, dtype=torch.int64)
    pool.put(given, none, none, generator)  # more than there is room
    assert len(pool) == 10 and (pool.h[:, 0] < 10).all()


def test_draws_come_from_the_pool(half_trained, images):
    trained, _ = refreshed(images, half_trained)
    pool = trained.pools[1]
    h, y = pool.draw(200, runtime.generator(0, "test"))
    match = (h[:, None] == pool.h[None]).flatten(2).all(2)  # (200, 20)
    assert match.any(1).all() and match.any(0).all()
    assert (y == pool.y[match.double().argmax(1)]).all()


# ---------------------------------------------------------------- updates


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_entries_teach_only_the_layers_above(half_trained, images, level):
    model = copy.deepcopy(half_trained).train()
    trained, _ = refreshed(images, model, sizes={level: 50}, coefficients=[0.0] * 3)
    x, y = images[0][:40], images[1][:40]
    drawn = copy.deepcopy(trained)
    found = gradients(model, trained(model, x, y))
    h, labels = drawn.pools[0].draw(20, drawn.generator)  # half of the batch
    clean = functional.cross_entropy(model(x[20:]), y[20:], reduction="sum") / 40
    below = gradients(model, clean)
    entries = functional.cross_entropy(model.above(level)(h), labels, reduction="sum") / 40
    again = functional.cross_entropy(model(x[20:]), y[20:], reduction="sum") / 40
    above = gradients(model, again + entries)
    for i, (mine, alone, both) in enumerate(zip(found, below, above, strict=True)):
        torch.testing.assert_close(mine, both, rtol=1e-4, atol=1e-7)
        if i < 2 * level:
            torch.testing.assert_close(mine, alone, rtol=1e-4, atol=1e-7)
        else:
            assert (mine - alone).norm() > 0.1 * alone.norm()


def test_pools_take_turns(half_trained, images, monkeypatch):
    model = copy.deepcopy(half_trained).train()
    trained, _ = refreshed(images, model)
    asked = []
    for pool in trained.pools:
        monkeypatch.setattr(pool, "draw", lambda n, g, pool=pool, draw=pool.draw: (
            asked.append((pool.level, n)), draw(n, g))[1])  # fmt: skip
    for _ in range(6):
        trained(model, images[0][:40], images[1][:40])
    assert asked == [(0, 20), (1, 20), (2, 20)] * 2


def test_without_entries_it_is_weight_decay(half_trained, images):
    model = copy.deepcopy(half_trained).train()
    plain = objectives.cross_entropy(DECAY)(model, *images)
    assert training(images)(model, *images) == plain  # before the first refresh
    trained, _ = refreshed(images, model)
    assert trained(model, *images) != plain
    assert trained(model.eval(), *images) == plain


def test_decay_raises_the_loss_by_its_squares(half_trained):
    squares = sum(float(m.weight.detach().square().sum()) for m in half_trained.layers)
    found = objectives.add_decay(torch.tensor(1.0), half_trained, [0.01] * 3).detach()
    assert float(found) == pytest.approx(1 + 0.01 * squares, rel=1e-5)


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"sizes": {1: 0}}, "size of at least 1"),
        ({"share": 1.0}, "share"),
        ({"fresh": 0}, "fresh"),
        ({"target": "all"}, "likeliest"),
    ],
)
def test_bad_numbers_are_refused(images, kw, message):
    with pytest.raises(ValueError, match=message):
        training(images, **kw)
    with pytest.raises(ValueError, match="at least one pool"):
        pools.PoolTraining(*images, sizes={}, fresh=1, coefficients=DECAY, generator=None)


# ---------------------------------------------------------------- dropout


def test_dropout_keeps_the_mean_and_drops_the_rate(half_trained):
    dropout = objectives.Dropout(DECAY, (0.2, 0.5, 0.0), runtime.generator(0, "test"))
    h = torch.ones(200, 500)
    thinned = dropout.thin(h, 0.2)
    assert set(thinned.unique().tolist()) == {0.0, 1.25}
    assert float((thinned == 0).double().mean()) == pytest.approx(0.2, abs=0.006)
    assert dropout.thin(h, 0.0) is h


def test_dropout_without_rates_is_weight_decay(half_trained, images):
    model = copy.deepcopy(half_trained).train()
    plain = objectives.cross_entropy(DECAY)(model, *images)
    none = objectives.Dropout(DECAY, (0.0,) * 3, runtime.generator(0, "test"))
    some = objectives.Dropout(DECAY, (0.0, 0.5, 0.0), runtime.generator(0, "test"))
    assert none(model, *images) == plain
    assert some(model, *images) != some(model, *images) != plain
    assert some(model.eval(), *images) == plain
    with pytest.raises(ValueError, match="dropout rate"):
        objectives.Dropout(DECAY, (0.0, 1.0, 0.0), None)


# ---------------------------------------------------------------- whole trainings


def small(arm, **kw):
    few = {"epochs": 3, "batch": 40}
    if ARMS[arm].options.sizes:
        few |= {"fresh": 20}
    return zoo.pools(arm, "mnist-5k", n=400, **(few | kw))


def test_the_decay_arm_is_plain_training(images):
    spec = small("decay", lam=1e-4)
    model = models.build("fc100-100-10", generator=runtime.generator(0, "init"))
    fit_minibatch(model, objectives.cross_entropy(DECAY), *images, epochs=3, batch=40,
                  lr=spec.options.fit.lr, generator=runtime.generator(0, "order"))  # fmt: skip
    trained = zoo.get(spec, device="cpu").state_dict()
    assert all(torch.equal(trained[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("arm", ["dropout", "all", "gaussian"])
def test_a_stopped_training_goes_on_to_the_same_bytes(arm, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    said = []

    def stop_late(line):
        said.append(line)
        if line.startswith("20 iterations"):  # after two of three epochs
            raise Stop

    spec = small(arm)
    with pytest.raises(Stop):  # the state after the first epoch is on disk
        zoo.get(spec, device="cpu", log=stop_late, save_every=0)
    kept = state.load(store.path(zoo.resolve(spec).key, ".partial"))
    assert kept["outcome"]["rounds"] == 1 and kept["companion"]
    resumed = zoo.get(spec, device="cpu").zoo_info
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path / "another"))
    whole = zoo.get(spec, device="cpu").zoo_info
    assert resumed["resumed"] and not whole["resumed"]
    assert resumed["sha256"] == whole["sha256"]
    counts = [{k: v for k, v in info["extra"].items() if "seconds" not in k}
              for info in (resumed, whole)]  # fmt: skip
    assert counts[0] == counts[1]


def test_arms_share_their_start_and_differ_in_the_end():
    ends = {arm: zoo.get(small(arm), device="cpu").zoo_info for arm in ARMS}
    keys = [info["sha256"] for arm, info in ends.items() if arm != "longer"]  # here as long
    assert len(set(keys)) == len(keys)
    updates = {arm: info["iterations"] for arm, info in ends.items()}
    assert set(updates.values()) == {30}  # the same number in every arm, at equal epochs


def test_pools_begin_as_plain_training_does():
    first = {arm: zoo.get(small(arm, epochs=1, lr=1e-2), device="cpu") for arm in ("decay", "all")}
    assert first["decay"].zoo_info["sha256"] == first["all"].zoo_info["sha256"]  # pools come later


def test_every_arm_spends_the_same_updates_and_longer_more():
    full = {arm: dict(zoo.pools(arm).numbers) for arm in ARMS}
    assert len({(n["batch"], n["epochs"]) for arm, n in full.items() if arm != "longer"}) == 1
    assert full["longer"]["epochs"] > full["decay"]["epochs"]
    assert [bool(full["hidden"][f"size{i}"]) for i in range(3)] == [False, True, True]
    assert full["gaussian"] == full["all"] | {"gaussian": 1}


def test_an_unknown_arm_is_refused():
    with pytest.raises(ValueError, match="no arm 'al'.*all"):
        zoo.pools("al")
