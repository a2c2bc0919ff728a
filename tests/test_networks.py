"""The convolutional families: gradients, folded batch norms, and how they are trained."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intriguing import data, models, runtime, zoo
from intriguing.errors import UserError
from intriguing.methods import method, plain
from intriguing.models.folding import folded
from intriguing.models.normalize import Normalize
from intriguing.store import state
from intriguing.training import objectives
from intriguing.training.minibatch import fit_minibatch

GREY = ["vgg7-mnist", "densenet16-mnist", "mobilenet-mnist", "convmixer-mnist"]
COLOUR = [
    "resnet18-cifar", "resnet34-cifar", "vgg16-cifar", "densenet100-cifar", "mobilenet-cifar",
    "convmixer-cifar",
]  # fmt: skip


def settled(name, dtype=torch.float64):
    """A network in eval mode whose batch norms are far from the identity."""
    model = models.build(name).to(dtype).eval()
    draw = runtime.generator(1, "statistics")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.weight.shape
            with torch.no_grad():
                module.weight.copy_(0.5 + torch.rand(size, generator=draw))
                module.bias.copy_(torch.randn(size, generator=draw) / 4)
            module.running_mean.copy_(torch.randn(size, generator=draw) / 4)
            module.running_var.copy_(0.5 + torch.rand(size, generator=draw))
    return model


def pixels(name, n, dtype=torch.float64):
    generator = runtime.generator(0, "x")
    return torch.rand(n, *models.input_shape(name), dtype=dtype, generator=generator)


@pytest.mark.parametrize("name", [*GREY, "resnet18-cifar"])
def test_the_gradient_is_that_of_finite_differences(name):
    model, x = settled(name), pixels(name, 2)
    r = torch.randn(x.shape, dtype=x.dtype, generator=runtime.generator(2, "x"))
    weights = torch.randn(2, 10, dtype=x.dtype, generator=runtime.generator(3, "x"))
    x.requires_grad_()
    (g,) = torch.autograd.grad((model(x) * weights).sum(), x)
    h = 1e-8  # few ReLUs turn in between
    with torch.no_grad():
        slope = ((model(x + h * r) - model(x - h * r)) * weights).sum() / (2 * h)
    assert (g * r).sum().item() == pytest.approx(slope.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "left"),
    [  # a batch norm in front of its convolution, or behind a GELU, cannot be folded into one
        ("vgg7-mnist", 0), ("mobilenet-mnist", 0), ("resnet18-cifar", 0),
        ("densenet16-mnist", 8), ("convmixer-mnist", 7),
    ],
)  # fmt: skip
def test_folding_keeps_the_logits(name, left):
    model, x = settled(name), pixels(name, 3)
    other = folded(model, x)
    with torch.no_grad():
        assert torch.allclose(other(x), model(x), rtol=1e-9, atol=1e-9)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in other.modules())
    assert norms == left


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("vgg7-mnist", 32 * 9), ("densenet16-mnist", 44), ("mobilenet-mnist", 64),
        ("convmixer-mnist", 64), ("resnet18-cifar", 512), ("vgg16-cifar", 512),
        ("densenet100-cifar", 342), ("mobilenet-cifar", 1024), ("convmixer-cifar", 256),
    ],
)  # fmt: skip
def test_features_feed_the_last_layer(name, width):
    model, x = models.build(name).eval(), pixels(name, 2, torch.float32)
    with torch.no_grad():
        features = model.features(x)
        assert features.shape == (2, width)
        assert torch.equal(model.head(features), model(x))


@pytest.mark.parametrize(("name", "dataset"), [("vgg7-mnist", "mnist-5k"),
                                               ("vgg16-cifar", "cifar10-exact-4k")])  # fmt: skip
def test_pixels_are_normalised_first(name, dataset):
    try:
        x = data.load(dataset, "train").x
    except UserError as error:
        pytest.skip(f"{dataset} is not here: {error}")
    first = models.build(name).body[0]
    assert isinstance(first, Normalize)
    z = first(x).transpose(0, 1).flatten(1)  # (N, C, H, W) -> (C, N * H * W)
    assert z.mean(1).abs().max() < 0.03 and (z.std(1) - 1).abs().max() < 0.03


def test_keys_of_networks_trained_before_do_not_move():
    for spec, key in {
        zoo.convnet("CNN", "mnist"): "b801ca23599a181c",
        zoo.convnet("AllCNN", "mnist-5k", seed=1): "c6ae2b3d2e1f104f",
        zoo.convnet("ResNet", "mnist", seed=1): "9166bf230cbcac4e",
        zoo.convnet("CNN", "fashion-mnist", seed=2): "6c025dde189272c2",
        zoo.szegedy("FC100-100-10", "mnist"): "dc40df445979895a",
        zoo.pools("hidden", "mnist"): "06e811cfe13f35ff",
    }.items():
        assert spec.key.startswith(key), spec.label


def test_each_family_has_a_network_for_colour_and_most_for_grey():
    for name in plain.OURS["colour"]:
        assert zoo.convnet(name, "cifar10-jpeg").architecture.endswith("-cifar")
        if name in plain.OURS["grey"]:
            assert zoo.convnet(name, "fashion-mnist").architecture.endswith("-mnist")
    with pytest.raises(ValueError, match="for grey images: it is for colour images only"):
        zoo.convnet("ResNet-18", "mnist")
    with pytest.raises(ValueError, match="MobileNet"):
        zoo.convnet("Mobilenet", "mnist")


def training(name, dataset, n, objective="cross-entropy", **kw):
    spec = zoo.convnet(name, dataset, n=n, objective=objective, **kw)
    generator = runtime.generator(0, "images")
    x = torch.rand(n, *models.input_shape(spec.architecture), generator=generator)
    y = torch.randint(10, (n,), generator=generator)
    return spec, lambda **more: method.train(spec, x, y, **more)


class Stop(Exception):
    """Ends a training after its first saved state."""


@pytest.mark.parametrize(
    ("name", "dataset", "n", "objective", "kw"),
    [
        ("VGG", "mnist-5k", 40, "cross-entropy", {"epochs": 2, "batch": 10}),
        ("CNN", "mnist-5k", 40, "pgd", {"epochs": 2, "batch": 10}),
        ("MobileNet", "cifar10-jpeg", 12, "cross-entropy", {"epochs": 2, "batch": 6}),
        ("MobileNet", "cifar10-jpeg", 6, "fgsm-rs", {"epochs": 2, "batch": 3}),
        ("ConvMixer", "cifar10-jpeg", 6, "cross-entropy", {"epochs": 2, "batch": 3}),
    ],
)
def test_a_resumed_training_gives_the_same_weights(tmp_path, name, dataset, n, objective, kw):
    spec, train = training(name, dataset, n, objective, **kw)
    with runtime.deterministic():
        whole, outcome = train()

        def save(tree):
            state.save(tmp_path / "partial", tree)
            raise Stop

        with pytest.raises(Stop):
            train(save=save)
        resumed, _ = train(resume=state.load(tmp_path / "partial"))
    assert outcome.rounds == 2 and math.isfinite(outcome.loss)
    first = method.initial(spec).state_dict()
    for (key, one), other in zip(
        whole.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), key
        assert one.ndim != 4 or not torch.equal(one, first[key]), key
        assert one.dtype in (torch.float32, torch.int64) and one.is_contiguous(), key


@pytest.mark.parametrize("name", ["ResNet-18", "ResNet-34", "VGG", "DenseNet"])
def test_the_large_networks_take_a_step(name):
    spec, train = training(name, "cifar10-jpeg", 4, epochs=1, batch=4)
    model, outcome = train()
    assert outcome.iterations == 1 and math.isfinite(outcome.loss)
    before = method.initial(spec)
    assert all(
        not torch.equal(one, other)
        for one, other in zip(before.parameters(), model.parameters(), strict=True)
        if one.ndim == 4
    )


def test_a_colour_network_learns_real_images():
    try:
        images = data.load("cifar10-exact-4k", "train", n=32)
    except UserError as error:
        pytest.skip(f"cifar10-exact-4k is not here: {error}")
    spec = zoo.convnet("ConvMixer", "cifar10-exact-4k", n=32, epochs=4, batch=16, lr=2e-3)
    losses = []
    method.train(
        spec, images.x, images.y, save=lambda tree: losses.append(tree["outcome"]["loss"])
    )
    assert losses[0] > 2.2 and losses[-1] < 0.8 * losses[0]


def steps_of(warmup, epochs=4, n=40, batch=10):
    """The step sizes of a training, read from its optimiser at each update."""
    seen = []
    model = nn.Linear(3, 2)
    real = torch.optim.SGD.step

    def step(self, *args, **kw):
        seen.append(self.param_groups[0]["lr"])
        return real(self, *args, **kw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", step)
        fit_minibatch(
            model, objectives.cross_entropy(), torch.rand(n, 3), torch.zeros(n).long(),
            epochs=epochs, batch=batch, lr=0.3, generator=runtime.generator(0, "order"),
            optimiser="nesterov", warmup=warmup,
        )  # fmt: skip
    return seen


def test_the_step_size_rises_and_falls():
    assert steps_of(0.0) == [0.3 * (1 - i / 16) for i in range(16)]  # as before there was a rise
    lrs = steps_of(0.25)
    assert lrs[:5] == pytest.approx([0.06, 0.12, 0.18, 0.24, 0.3])
    assert lrs[4:] == pytest.approx([0.3 * (1 - i / 12) for i in range(12)])
    with pytest.raises(ValueError, match="warmup"):
        steps_of(1.0)


def test_the_order_of_tensors_changes_rounding_only():
    def train(**kw):
        model = models.build("vgg7-mnist").double()
        x, y = pixels("vgg7-mnist", 30), torch.arange(30) % 10
        fit_minibatch(
            model, objectives.cross_entropy(), x, y, epochs=2, batch=10, lr=1e-3,
            generator=runtime.generator(0, "order"), optimiser="adamw", weight_decay=0.1, **kw,
        )  # fmt: skip
        return nn.utils.parameters_to_vector(model.parameters())

    plain, other = train(), train(channels_last=True)
    assert torch.allclose(plain, other, atol=1e-8)


def test_labels_are_smoothed_in_train_mode_only():
    model, x, y = settled("vgg7-mnist"), pixels("vgg7-mnist", 5), torch.arange(5)
    smooth = objectives.cross_entropy(smoothing=0.2)
    assert torch.equal(smooth(model, x, y), F.cross_entropy(model(x), y))
    model.train()
    log = copy.deepcopy(model)(x).log_softmax(1)
    expected = -(0.8 * log[torch.arange(5), y] + 0.2 * log.mean(1)).mean()
    assert smooth(model, x, y).item() == pytest.approx(expected.item(), rel=1e-12)
    with pytest.raises(ValueError, match="smoothing"):
        objectives.cross_entropy(smoothing=1.0)


def test_the_loss_of_short_logits_is_computed_in_float32():
    model, y = nn.Linear(5, 10), torch.arange(8)
    x = torch.rand(8, 5, generator=runtime.generator(0, "x"))
    short = lambda x: model(x).bfloat16()  # noqa: E731 - as autocast leaves them
    short.training = True
    loss = objectives.cross_entropy(smoothing=0.1)(short, x, y)
    expected = F.cross_entropy(model(x).bfloat16().float(), y, label_smoothing=0.1)
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)
