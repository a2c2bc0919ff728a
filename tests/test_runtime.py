"""Devices, seeded streams, and modes that come back."""

import os

import pytest
import torch
from torch import nn

from intriguing import runtime


def test_device_names(monkeypatch):
    monkeypatch.delenv("INTRIGUING_DEVICE", raising=False)
    assert runtime.device("cpu") == torch.device("cpu")
    assert runtime.device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_environment_overrides_auto_only(monkeypatch):
    monkeypatch.setenv("INTRIGUING_DEVICE", "meta")
    assert runtime.device("auto").type == "meta"
    assert runtime.device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:97", ""])
def test_a_wrong_device_is_named(name):
    with pytest.raises(ValueError, match=repr(name) if name else "is not a device"):
        runtime.device(name)


def test_choosing_a_gpu_prepares_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    runtime.device("cpu")
    assert torch.backends.cudnn.allow_tf32 and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert runtime.device("cuda").type == "cuda"
    # float32 is float32: a tenth of the shortest adversarial changes is lost to TF32
    assert not torch.backends.cudnn.allow_tf32
    # cuBLAS reads it once, at the first product: later is too late for `deterministic`
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    runtime.device("cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_streams_are_repeatable_and_independent():
    def draw(seed, stream):
        return torch.rand(1000, generator=runtime.generator(seed, stream))

    assert torch.equal(draw(0, "init"), draw(0, "init"))
    for other in (draw(0, "order"), draw(1, "init")):
        together = torch.stack([draw(0, "init"), other])
        assert abs(torch.corrcoef(together)[0, 1]) < 0.15  # 4.7 standard errors


def test_streams_do_not_touch_the_global_generator():
    before = torch.get_rng_state()
    torch.rand(3, generator=runtime.generator(3, "attack"))
    assert torch.equal(before, torch.get_rng_state())


def test_stream_seeds_are_fixed_for_ever():
    # A changed number here would silently change every network and every attack.
    assert runtime.stream_seed(0, "init") == 7885824881599989479


def test_describe_names_no_place():
    told = runtime.describe("cpu")
    assert told["device"] == "cpu" and told["threads"] >= 1
    assert told["versions"]["torch"] and told["python"]
    assert "/" not in "".join(str(value) for value in told.values())


def test_deterministic_mode_comes_back():
    def settings():
        return (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32,
                torch.utils.deterministic.fill_uninitialized_memory)

    before = settings()
    assert before == (False, True, True)
    with pytest.raises(RuntimeError, match="inside"), runtime.deterministic():
        assert settings() == (True, False, False)
        raise RuntimeError("inside")
    assert settings() == before


def test_eval_mode_restores_each_module_and_parameter():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2))
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    wanted = [p.requires_grad for p in model.parameters()]
    with pytest.raises(RuntimeError, match="inside"), runtime.eval_mode(model) as same:
        assert same is model and not any(module.training for module in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
        x = torch.zeros(1, 2, requires_grad=True)
        model(x).sum().backward()
        assert x.grad is not None
        raise RuntimeError("inside")
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert [p.requires_grad for p in model.parameters()] == wanted
