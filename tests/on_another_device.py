"""The library on a device that is not the CPU.  `test_rehearsal` runs this in a process of its own,
for torch must know all devices before its first backward pass."""

import math

import ballcases
import numpy as np
import pytest
import rehearsal
import torch
from torch import nn

from intriguing import models, runtime, zoo
from intriguing.methods import method
from intriguing.models import folding


@pytest.fixture
def device():
    with rehearsal.device() as made:
        yield made


# -- the instrument --------------------------------------------------------------------------------


def test_it_computes_as_the_cpu_does(device):
    x = torch.randn(5, 3, 8, 8, generator=runtime.generator(0, "x"))
    net = models.build("cnn-mnist", generator=runtime.generator(0, "init"))
    x = x[:, :1].repeat(1, 1, 4, 4)[:, :, :28, :28]
    found = []
    for here in (torch.device("cpu"), device):
        pixels = x.to(here).requires_grad_()
        logits = net.to(here)(pixels)
        (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), pixels)
        changed = gradient.clone()
        changed[:, 0][changed[:, 0] > 0] = 7.0  # in place, through a view
        found.append([one.detach().cpu() for one in (logits, gradient, changed)])
    assert all(map(torch.equal, *found))
    assert found[1][2].eq(7).any() and str(logits.device) == "rehearsal:0"


@pytest.mark.parametrize("mix", [
    lambda a, b: a + b, lambda a, b: b @ a, lambda a, b: torch.cat((a, b)),
    lambda a, b: a.index_put_((torch.arange(3),), b), lambda a, b: b[a.long()],
    lambda a, b: torch.where(a > 0, a, b), lambda a, b: nn.functional.linear(b, a),
])
def test_it_refuses_tensors_of_two_devices(device, mix):
    a, b = torch.eye(3, device=device), torch.eye(3)
    with pytest.raises(RuntimeError, match="on the same device"):
        mix(a, b)
    mix(a, b.to(device)), mix(a.cpu(), b)  # neither is to blame


def test_it_hands_no_memory_to_numpy(device):
    with pytest.raises(RuntimeError, match="numpy"):
        torch.zeros(2, device=device).numpy()
    with pytest.raises(RuntimeError, match="numpy"):
        np.asarray(torch.zeros(2, device=device))


def test_it_takes_what_a_gpu_takes(device):
    a = torch.zeros(4, device=device)
    a[torch.tensor([0, 2])] = 1.0  # indices and single numbers of the CPU
    assert (a + torch.tensor(1.0)).tolist() == [2, 1, 2, 1]
    assert a.cpu().device.type == "cpu" and a.to("cpu").numpy().sum() == 2


def test_launches_and_waits_are_counted(device):
    a = torch.ones(4, 4, device=device)
    before = rehearsal.counts.copy()
    b = (a * 2 + 1).T[0].view(-1)[1:]  # two launches, and views
    float(b.sum())  # a launch, and a wait
    b[b > 1]  # a launch, then one with a wait: how many?
    asked = rehearsal.counts - before
    assert (asked["mul"], asked["add"], asked["sum"], asked["gt"], asked["index"]) == (1,) * 5
    assert asked[rehearsal.WAITS] == 2


# -- the library on it -----------------------------------------------------------------------------

SMALL = {"epochs": 2, "batch": 8}
TRAININGS = {
    "decay": zoo.szegedy("FC100-100-10", "mnist-5k", iterations=4),
    "autoencoder": zoo.parents(zoo.szegedy("AE400-10", "mnist-5k", **SMALL))["encoder"],
    "dropout": zoo.pools("dropout", "mnist-5k", **SMALL),
    "pools": zoo.pools("all", "mnist-5k", **SMALL),
    "minibatches": zoo.convnet("CNN", "mnist-5k", **SMALL),
    "channels last": zoo.convnet("DenseNet", "mnist-5k", **SMALL),
    "PGD": zoo.convnet("CNN", "mnist-5k", objective="pgd", **SMALL),
    "FGSM": zoo.convnet("CNN", "mnist-5k", objective="fgsm-rs", **SMALL),
    "colour": zoo.convnet("MobileNet", "cifar10-jpeg", bfloat16=0, **SMALL),
    "dropout of units": zoo.dropout("dropout", "mnist-5k", **SMALL),
    "interaction loss": zoo.dropout("interaction", "mnist-5k", **SMALL),
    "wrong labels": zoo.dropout("mislabelled", "mnist-5k", **SMALL | {"wrong": 0.5}),
    "ConvMixer": zoo.convnet("ConvMixer", "cifar10-jpeg", bfloat16=0, **SMALL),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_gives_the_same_weights(device, name):
    spec = TRAININGS[name]
    draw = runtime.generator(0, "images")
    x = torch.rand(16, *models.input_shape(spec.architecture), generator=draw)
    y = torch.randint(10, (16,), generator=draw)
    weights = []
    for here in ("cpu", device):
        with runtime.deterministic():
            model, outcome = method.train(spec, x.to(here), y.to(here))
        weights.append({k: v.cpu() for k, v in model.state_dict().items()})
    assert {v.device.type for v in model.state_dict().values()} == {device.type}
    assert math.isfinite(outcome.loss) and outcome.iterations
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


def test_a_folded_network_has_the_order_that_its_device_prefers(device):
    net = models.build("vgg7-mnist", generator=runtime.generator(0, "init")).eval()
    x = torch.rand(4, 1, 28, 28, generator=runtime.generator(0, "x"))
    for here, order in (("cpu", torch.channels_last), (device, torch.contiguous_format)):
        fast = folding.folded(net.to(here), x.to(here))
        weights = [m.weight for m in fast.modules() if isinstance(m, nn.Conv2d)]
        assert all(w.is_contiguous(memory_format=order) for w in weights) and len(weights) > 3


@pytest.mark.parametrize("norm", ballcases.RADII)
@pytest.mark.parametrize("name", ballcases.ATTACKS)
def test_an_attack_in_a_ball_gives_the_same_points(device, name, norm):
    net = models.build("cnn-mnist", generator=runtime.generator(0, "init")).eval()
    x = torch.rand(5, 1, 28, 28, generator=runtime.generator(0, "x"))
    y = net(x).argmax(1)
    options = {"eps": ballcases.RADII[norm] / 20, "norm": norm, "batch": 3}
    found = []
    for here in (torch.device("cpu"), device):
        if name == "square":
            options["target"] = ((y + 1) % 10).to(here)
        one = ballcases.ATTACKS[name](net.to(here), x.to(here), y.to(here), **options)
        assert one.x_adv.device.type == here.type
        found.append((one.x_adv.cpu(), one.gradients.cpu(), one.forwards.cpu()))
    assert all(map(torch.equal, *found))
