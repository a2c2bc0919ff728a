"""A training that is watched: the trace, the weights that are kept, images that are held out."""

import copy
from dataclasses import replace

import pytest
import torch
from attacknets import digits

from intriguing import runtime, store, zoo
from intriguing.book.cost import work
from intriguing.methods import method
from intriguing.store import state
from intriguing.training.watch import Watch

N, HELD = 100, 40
WATCHED = {"held_out": HELD, "watch": 2}
LENGTHS = {"epochs": 2, "batch": 20, "lr": 3e-3, "warmup": 0.0}
NEW = ["fgsm", "n_fgsm", "grad_align", "free", "trades", "fgsm_rs"]


def images():
    return digits().x[:N], digits().y[:N]


def spec(name="fgsm", **how):
    quick = {"trades": {"steps": 1}, "free": {"replays": 2}}
    how = {**quick.get(name, {}), **how}
    return zoo.spec(name, "CNN", "mnist-5k", n=N, **{**LENGTHS, **how})


def train(name="fgsm", x=None, y=None, run=None, **how):
    """(weights, outcome) of a training on some digits."""
    x, y = images() if x is None else (x, y)
    with runtime.deterministic():
        model, outcome = method.train(spec(name, **how), x, y, **(run or {}))
    return model.state_dict(), outcome


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))


def test_watching_changes_no_weight_and_has_its_rows():
    bare, _ = train(held_out=HELD)
    seen, outcome = train(**WATCHED)
    assert equal(bare, seen)
    rows = outcome.trace
    assert [(row["update"], row["epoch"]) for row in rows] == [(2, 1), (3, 1), (4, 2), (6, 2)]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("clean", "fgsm", "pgd"))
    assert all(row["pgd"] <= row["clean"] and -1 <= row["cosine"] <= 1 for row in rows)
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds) and seconds[-1] <= outcome.seconds + 1e-3
    assert outcome.extra["watching"] > 0


def test_what_is_held_out_is_not_trained_on():
    x, y = images()
    weights, outcome = train(**WATCHED)
    other, worse = train(x=torch.cat([x[:60], x[60:].flip(3)]), y=y, **WATCHED)
    assert equal(weights, other) and outcome.trace[-1]["clean"] != worse.trace[-1]["clean"]
    short, _ = method.train(spec(), x[:60], y[:60])
    assert equal(weights, short.state_dict())


def test_the_trace_measures_the_network_as_it_is():
    weights, outcome = train(**WATCHED)
    net = method.initial(spec()).eval()
    net.load_state_dict(weights)
    x, y = (part[-HELD:] for part in images())
    at = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(net(at), y, reduction="sum")
    (g,) = torch.autograd.grad(loss, at)
    moved = (x + 0.1 * g.sign()).clamp(0, 1)
    right = [(net(each).argmax(1) == y).double().mean().item() for each in (x, moved)]
    assert [outcome.trace[-1][name] for name in ("clean", "fgsm")] == pytest.approx(right)


def test_the_best_point_is_kept():
    weights, outcome = train("fgsm", keep="best", epochs=4, lr=0.01, **WATCHED)
    last, again = train("fgsm", epochs=4, lr=0.01, **WATCHED)
    scores = [row["pgd"] for row in outcome.trace]
    assert scores == [row["pgd"] for row in again.trace]
    best = scores.index(max(scores))
    assert scores[best] > scores[-1]  # the last point is another
    assert not equal(weights, last)
    watch = Watch(None, *(part[-HELD:] for part in images()), every=1, best=False, average=0.0,
                  robust=method.find("fgsm").Fgsm(0.1, 0.1, 1, torch.Generator()).robust,
                  companion=None)  # fmt: skip
    net = method.initial(spec())
    net.load_state_dict(weights)
    row = {name: outcome.trace[best][name] for name in ("clean", "fgsm", "pgd", "cosine")}
    assert watch.measure(net) == pytest.approx(row)


def test_without_a_threat_the_clean_accuracy_decides():
    weights, outcome = train("plain", keep="best", held_out=HELD)
    assert [row["update"] for row in outcome.trace] == [3, 6]
    assert all(row["fgsm"] is row["pgd"] is row["cosine"] is None for row in outcome.trace)
    bare, _ = train("plain", held_out=HELD)
    clean = [row["clean"] for row in outcome.trace]
    assert equal(weights, bare) == (clean[1] > clean[0])


def test_averaged_weights_are_the_running_mean():
    points = []

    class Seen(torch.optim.Adam):
        def step(self, *arguments):
            super().step(*arguments)
            points.append([p.detach().clone() for p in self.param_groups[0]["params"]])

    start = list(method.initial(spec("plain")).parameters())
    average, before = [p.detach().clone() for p in start], torch.optim.Adam
    torch.optim.Adam = Seen
    try:
        weights, _ = train("plain", average=0.3)
    finally:
        torch.optim.Adam = before
    for t, point in enumerate(points, 1):
        share = min(0.3, (1 + t) / (10 + t))
        average = [share * a + (1 - share) * p for a, p in zip(average, point, strict=True)]
    assert len(points) == 10 and not torch.allclose(average[0], points[-1][0], atol=1e-6)
    for mine, found in zip(average, weights.values(), strict=True):
        assert torch.allclose(mine, found, atol=1e-6)


ALL = {"held_out": HELD, "watch": 5, "keep": "best", "average": 0.9}


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("how", [{}, ALL], ids=["bare", "watched"])
def test_a_resumed_training_ends_with_the_same_bytes(tmp_path, name, how):
    class Stop(Exception):
        pass

    def save(tree):
        state.save(tmp_path / "partial", tree)
        raise Stop

    how = {"channels_last": True, **how}
    whole, outcome = train(name, **how)
    with pytest.raises(Stop):
        train(name, run={"save": save}, **how)
    tree = state.load(tmp_path / "partial")
    assert tree["outcome"]["rounds"] == 1
    resumed, again = train(name, run={"resume": copy.deepcopy(tree)}, **how)
    assert equal(whole, resumed)

    def numbers(rows):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert numbers(outcome.trace) == numbers(again.trace)
    assert bool(outcome.trace) == ("watch" in how)


def test_the_zoo_keeps_the_trace(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path))
    watched = spec(**WATCHED)
    table = zoo.trace(watched)
    assert list(table.columns[:4]) == ["update", "epoch", "seconds", "loss"]
    assert table["update"].tolist() == [2, 3, 4, 6] and table["cosine"].notna().all()
    record = zoo.info(watched)
    assert record["trace"][-1]["pgd"] == table["pgd"].iloc[-1]
    assert table.equals(zoo.trace(watched))  # from the store
    images = zoo.data.load("mnist-5k", "train", n=N)
    net = zoo.get(watched, device="cpu")
    with torch.no_grad():
        wrong = net(images.x[:60]).argmax(1) != images.y[:60]
    assert record["train_error"] == pytest.approx(wrong.double().mean().item())
    plain = zoo.trace(spec("plain", **WATCHED))
    assert plain["pgd"].isna().all() and plain["clean"].notna().all()
    with pytest.raises(ValueError, match="was not watched: give it held_out and watch"):
        zoo.trace(spec())
    assert len(store.known()) == 3


def test_what_is_not_set_is_in_no_key():
    bare = spec("plain")
    assert not {"held_out", "watch", "average", "keep_best"} & dict(bare.numbers).keys()
    changed = [spec("plain", **one) for one in ({"held_out": 1}, {"watch": 1}, {"keep": "best"},
                                                {"average": 0.9})]  # fmt: skip
    assert len({bare.key, *(one.key for one in changed)}) == 5


def test_the_estimate_of_costs_counts_what_is_trained_on():
    assert work.training(spec(held_out=HELD)) == work.training(replace(spec(), n=N - HELD))


@pytest.mark.parametrize(("how", "said"), [
    ({"held_out": N}, f"held_out is a part of the {N} images, not {N}"),
    ({"held_out": -1}, "not -1"),
    ({"watch": 5}, "measure on held-out images: held_out is 0"),
    ({"keep": "best"}, "measure on held-out images: held_out is 0"),
    ({"watch": -5, "held_out": 9}, "neither negative, got -5 and 0.0"),
    ({"average": 1.0}, "a share below 1"),
    ({"keep": "first"}, "keep is one of last, best, not 'first'"),
])
def test_bad_input_is_one_sentence(how, said):
    with pytest.raises(ValueError, match=said):
        train("plain", **how)


def test_a_network_without_classes_is_not_watched():
    encoder = zoo.spec("sparse_autoencoder", "AE400", "mnist-5k", n=50, held_out=10, watch=1)
    with pytest.raises(ValueError, match="does not classify: there is no accuracy to watch"):
        method.train(encoder, *images())
