"""The zoo: trained once, resumed after kill -9, checked when read, repeatable to the byte."""

import json
import os
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from intriguing import data, models, runtime, store, zoo
from intriguing.errors import UserError
from intriguing.store import state
from intriguing.training import objectives
from intriguing.training.loop import fit_full_batch

LIB = Path(__file__).resolve().parents[1] / "lib"

# What a separate process runs: it says so, waits for the starting file, and trains slowly enough
# that a kill arrives in mid-training.
CHILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from intriguing import zoo
folder, slow, spec = Path(sys.argv[1]), float(sys.argv[2]), eval(sys.argv[3])
zoo.resolve(spec)
(folder / f"ready-{sys.argv[4]}").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
def log(line):
    print(line, flush=True)
    time.sleep(slow)
print(zoo.get(spec, device="cpu", log=log, save_every=0).zoo_info["sha256"], flush=True)
"""


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """Every test has an empty store and one thread, as the processes it starts."""
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path / "zoo"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path / "zoo"
    torch.set_num_threads(threads)


def small(name="FC10(1e-2)", **kw):
    budget = {"epochs": 3} if name == "CNN" else {"iterations": 20}
    return zoo.szegedy(name, "mnist-5k", n=200, **(budget | kw))


def start(folder, text, number=0, slow=0.0):
    """Start a process that trains `text`, the source of a spec."""
    path = os.pathsep.join([str(LIB), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(slow), text, str(number)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train_again(spec, tmp_path, monkeypatch):
    """Train the same spec in another store and return its sidecar."""
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path / "another"))
    return zoo.get(spec, device="cpu").zoo_info


def test_four_processes_train_a_network_once(tmp_path):
    text = 'zoo.szegedy("FC10(1e-4)", "mnist-5k", n=200, iterations=40)'
    children = [start(tmp_path, text, number, slow=0.1) for number in range(4)]
    while len(list(tmp_path.glob("ready-*"))) < 4:  # all at the start line, imports done
        assert all(child.poll() is None for child in children), children[0].communicate()
        time.sleep(0.02)
    (tmp_path / "go").touch()
    said = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0] * 4, said
    assert len({out.split()[-1] for out, _ in said}) == 1  # one sha256
    assert sum("done:" in out for out, _ in said) == 1
    assert sum("waiting" in out for out, _ in said) >= 1
    assert [row["state"] for row in zoo.verify()] == ["ok"]


@pytest.mark.parametrize(
    ("text", "after", "first"),
    [
        ('zoo.szegedy("FC100-100-10", "mnist-5k", n=200, iterations=60)', 30, 10),
        ('zoo.szegedy("CNN", "mnist-5k", n=200, epochs=6, batch=50)', 12, 4),
    ],
)
def test_a_killed_training_resumes_to_the_same_bytes(tmp_path, monkeypatch, text, after, first):
    (tmp_path / "go").touch()
    child = start(tmp_path, text, slow=0.15)
    for line in child.stdout:
        if line.startswith(f"{after} iterations"):
            break
    child.kill()  # SIGKILL: no handler runs
    child.communicate()
    spec = eval(text)
    assert zoo.info(spec) is None
    assert [row["state"] for row in zoo.verify()] == ["unfinished"]

    lines = []
    model = zoo.get(spec, device="cpu", log=lines.append)
    resumed = int(lines[0].removeprefix("resuming after ").split()[0])
    assert after - first <= resumed <= after
    assert not any(line.startswith(f"{first} iterations") for line in lines)
    assert model.zoo_info["resumed"] and not store.path(spec.key, ".partial").exists()

    whole = train_again(spec, tmp_path, monkeypatch)
    assert not whole["resumed"]
    for name in ("sha256", "iterations", "evaluations", "loss", "test_error"):
        assert model.zoo_info[name] == whole[name]


def _flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def _cut(path, position):
    path.write_bytes(path.read_bytes()[:position])


@pytest.mark.parametrize(
    ("ending", "harm"),
    [
        (".safetensors", lambda path: _flip(path, -1)),
        (".safetensors", lambda path: _flip(path, 3)),
        (".safetensors", lambda path: _cut(path, 1000)),
        (".safetensors", Path.unlink),
        (".json", lambda path: _cut(path, 40)),
    ],
    ids=["last byte", "header", "cut short", "gone", "sidecar"],
)
def test_damage_is_detected_reported_and_rebuilt(own_store, ending, harm):
    spec = zoo.resolve(small())
    before = zoo.get(spec, device="cpu").zoo_info
    harm(store.path(spec.key, ending))
    assert [row["state"] for row in zoo.verify()] == ["damaged"]
    assert zoo.info(spec) is None
    assert f"zoo remove {spec.key[:12]}" in zoo.list()[0]["damage"]
    with pytest.warns(UserWarning, match=f"{spec.key[:12]}.*training it again"):
        after = zoo.get(spec, device="cpu").zoo_info
    assert after["sha256"] == before["sha256"] and after["rebuilt"]
    assert [row["state"] for row in zoo.verify()] == ["ok"]


def test_a_damaged_partial_state_starts_anew(own_store):
    spec = zoo.resolve(small())
    own_store.mkdir()
    partial = store.path(spec.key, ".partial")
    state.save(partial, {"model": {"w": torch.ones(100)}})
    _flip(partial, -1)
    lines = []
    assert not zoo.get(spec, device="cpu", log=lines.append).zoo_info["resumed"]
    assert "starting anew" in lines[0] and "checksum" in lines[0]


@pytest.mark.parametrize("name", ["FC10(1)", "FC100-100-10", "AE400-10", "CNN"])
def test_two_trainings_give_the_same_bytes(name, tmp_path, monkeypatch):
    kw = {"epochs": 1} if name in ("AE400-10", "CNN") else {}
    first = zoo.get(small(name, **kw), device="cpu").zoo_info
    second = train_again(small(name, **kw), tmp_path, monkeypatch)
    other = zoo.get(small(name, seed=1, **kw), device="cpu").zoo_info
    assert first["sha256"] == second["sha256"] != other["sha256"]


def test_what_the_sidecar_tells():
    model = zoo.get(small(), device="cpu")
    told = model.zoo_info
    assert not model.training and told == zoo.info(small())
    test = data.load("mnist-5k", "test")
    assert told["test_error"] == float((model(test.x).argmax(1) != test.y).double().mean())
    assert 0 <= told["train_error"] < told["test_error"] < 0.5
    assert told["iterations"] == 20 and told["evaluations"] > 20 and told["seconds"] > 0
    assert told["stop_reason"] == "budget spent" and told["grad_max"] > 0
    assert told["spec"]["data_sha256"] == data.load("mnist-5k", "train", n=200).sha256
    assert told["environment"]["device"] == "cpu" and told["environment"]["versions"]["torch"]
    assert told["sha256"] == state.sha256_file(store.path(told["key"], ".safetensors"))


def test_nothing_is_pickled(own_store, monkeypatch):
    def refuse(*args, **kw):
        raise AssertionError("pickled")

    for name in ("pickle.dump", "pickle.dumps", "pickle.load", "pickle.loads"):
        monkeypatch.setattr(name, refuse)
    monkeypatch.setattr("torch.save", refuse)
    monkeypatch.setattr("torch.load", refuse)
    zoo.get(small("CNN"), device="cpu", save_every=0)
    zoo.get(small("FC100-100-10"), device="cpu", save_every=0)
    assert {path.suffix for path in own_store.iterdir()} == {".safetensors", ".json", ".lock"}
    for module in (LIB / "intriguing").rglob("*.py"):
        assert "import pickle" not in module.read_text(encoding="utf-8"), module


def test_list_ensure_and_remove():
    specs = [small(), small("FC10(1)")]
    lines = []
    records = zoo.ensure(specs, device="cpu", log=lines.append)
    assert lines[0].startswith("[1/2] fc10 decay-calibrated lam=0.01 mnist-5k[200] seed 0: ")
    lines.clear()
    assert zoo.ensure(specs, log=lines.append) == records and not lines
    assert {row["key"] for row in zoo.list()} == {record["key"] for record in records}
    with pytest.raises(UserError, match="no network"):
        zoo.remove("")
    assert zoo.remove(records[0]["key"][:10]) == records[0]["key"]
    assert [row["key"] for row in zoo.list()] == [records[1]["key"]]


def test_a_network_in_training_is_not_removed():
    key = zoo.get(small(), device="cpu").zoo_info["key"]
    with store.locked(key), pytest.raises(UserError, match="being trained"):
        zoo.remove(key)
    assert len(zoo.list()) == 1


def test_an_ambiguous_beginning_removes_nothing(own_store):
    own_store.mkdir()
    for key in ("ab0", "ab1"):
        store.write(key, {"w": torch.ones(1)}, {"label": key})
    with pytest.raises(UserError, match="2 networks"):
        zoo.remove("ab")
    assert store.known() == ["ab0", "ab1"]


def test_an_empty_store_is_no_error():
    assert zoo.list() == () and zoo.verify() == () and zoo.info(small()) is None


def test_the_key_holds_what_decides_the_weights():
    spec = small()
    assert len(spec.key) == 64 and spec.key == small().key
    others = [
        small(seed=1),
        small(decay="literal"),
        small(iterations=21),
        small(lam=0.02),
        zoo.szegedy("FC10(1e-2)", "mnist-5k", n=201, iterations=20),
        zoo.resolve(spec),
    ]
    assert len({spec.key, *(other.key for other in others)}) == 7
    assert "device" not in {field.name for field in fields(zoo.Spec)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: zoo.szegedy("FC100-100"), "FC100-100-10"),
        (lambda: zoo.szegedy("FC10(1)", decay="half"), "calibrated, literal"),
        (lambda: zoo.szegedy("FC10(1)", iteration=3), "iterations"),
        (lambda: zoo.szegedy("FC100-100-10", lam=(1.0,)), "3 decayed layers"),
        (lambda: zoo.szegedy("CNN", lam=1.0), "no weight decay"),
        (lambda: zoo.Spec("fc11", "mnist", small().options), "fc10"),
        (lambda: zoo.spec("plane", "CNN", "mnist"), "plain"),
        (lambda: zoo.szegedy("FC10(1)", gain=float("nan")), "finite"),
        (lambda: zoo.convnet("CNN", "mnist", epochs=2.5), "epochs takes int, not 2.5"),
        (lambda: zoo.convnet("CNN", "mnist", optimiser="adagrad"), "one of adam, adamw"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_both_decay_readings():
    lam, units = (1e-5, 1e-5, 1e-6), (100, 100, 10)
    assert objectives.decay_coefficients("literal", lam, units) == pytest.approx((1e-7,) * 3)
    calibrated = objectives.decay_coefficients("calibrated", lam, units)
    assert calibrated == pytest.approx((5e-6, 5e-6, 5e-7))
    with pytest.raises(ValueError, match="2 weight decays for 3 layers"):
        objectives.decay_coefficients("literal", lam[:2], units)

    model = models.build("fc100-100-10").double()
    x = torch.rand(5, 1, 28, 28, dtype=torch.float64, generator=runtime.generator(0, "x"))
    y = torch.arange(5)
    plain = -torch.log_softmax(model(x), 1)[torch.arange(5), y].mean()
    penalty = sum(
        a * (layer.weight**2).sum() for a, layer in zip(calibrated, model.layers, strict=True)
    )
    loss = objectives.cross_entropy(calibrated)(model, x, y)
    assert loss.item() == pytest.approx((plain + penalty).item(), rel=1e-12)


def test_readings_order_the_weights_and_share_the_encoder():
    strong, weak = small("FC10(1)"), small("FC10(1)", decay="literal")
    norms = [zoo.get(s, device="cpu").layers[0].weight.norm() for s in (strong, weak)]
    assert norms[0] < norms[1]  # lambda / 2 is five times lambda / 10
    kinds = [
        zoo.get(small("AE400-10", decay=d, epochs=1), device="cpu") for d in objectives.READINGS
    ]
    assert torch.equal(kinds[0].layers[0].weight, kinds[1].layers[0].weight)
    assert kinds[0].zoo_info["parents"] == kinds[1].zoo_info["parents"] != {}
    assert sum("ae400 " in row["label"] for row in zoo.list()) == 1


def test_lbfgs_reaches_the_optimum_of_a_convex_network():
    losses = []
    for seed in range(2):
        told = zoo.get(small("FC10(1)", seed=seed, iterations=200), device="cpu").zoo_info
        assert told["stop_reason"].endswith("below tolerance") and told["grad_max"] < 1e-3
        losses.append(told["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_diverging_training_says_so():
    model = models.build("fc10")
    x, y = torch.rand(4, 784), torch.arange(4)
    with pytest.raises(FloatingPointError, match="diverged"):
        fit_full_batch(model, lambda m, x, y: m(x).sum() * float("nan"), x, y, iterations=3)


def test_states_survive_to_the_bit(tmp_path):
    shared = torch.rand(7, dtype=torch.float64)
    tree = {
        "a": [shared, shared, None, 0.1, (1, "text")],
        3: {"rng": torch.Generator().get_state(), "empty": torch.empty(0), "scalar": shared[0]},
    }
    state.save(tmp_path / "x", tree)
    back = state.load(tmp_path / "x")
    assert torch.equal(back["a"][0], shared) and back["a"][2:] == [None, 0.1, (1, "text")]
    assert torch.equal(back[3]["rng"], tree[3]["rng"]) and back[3]["empty"].shape == (0,)
    assert back[3]["scalar"].shape == ()
    with pytest.raises(TypeError, match="set"):
        state.pack({"a": {1, 2}})
    with pytest.raises(state.DamagedError):
        state.load(tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x"]


def test_images_of_another_format_are_refused(tmp_path):
    path = tmp_path / "wide.npz"
    x, y = np.zeros((10, 32, 32), np.uint8), np.arange(10)
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(ValueError, match="1 x 28 x 28"):
        zoo.get(replace(zoo.convnet("CNN", "mnist"), dataset=str(path)), device="cpu")


def test_other_images_than_the_spec_names_are_refused():
    spec = replace(small(), data_sha256="0" * 64)
    with pytest.raises(ValueError, match="sha256 000000000000"):
        zoo.get(spec, device="cpu")
    assert zoo.list() == ()


def test_leftovers_of_a_killed_writer_are_swept(own_store):
    spec = zoo.resolve(small())
    own_store.mkdir()
    leftover = own_store / f".{spec.key}.safetensors.abc.tmp"
    leftover.touch()
    assert zoo.verify() == ()
    zoo.get(spec, device="cpu")
    assert not leftover.exists()


def test_the_sidecar_is_plain_json(own_store):
    key = zoo.get(small(), device="cpu").zoo_info["key"]
    text = store.path(key, ".json").read_text(encoding="ascii")
    assert json.loads(text)["key"] == key and str(own_store.parent) not in text
