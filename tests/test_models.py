"""Networks: shapes, seeds, sizes, and the layers the paper names."""

import pytest
import torch

from intriguing import models, runtime
from intriguing.models.autoencoder import adopt_encoder
from intriguing.models.mlp import MLP

CLASSIFIERS = [name for name in models.architectures() if name != "ae400"]

PARAMETERS = {
    "relu-mnist": 25_450,
    "fc10": 784 * 10 + 10,
    "fc100-100-10": 784 * 100 + 100 + 100 * 100 + 100 + 100 * 10 + 10,
    "fc200-200-10": 784 * 200 + 200 + 200 * 200 + 200 + 200 * 10 + 10,
    "fc123-456-10": 784 * 123 + 123 + 123 * 456 + 456 + 456 * 10 + 10,
    "ae400": 784 * 400 + 400 + 400 * 784 + 784,
    "ae400-10": 784 * 400 + 400 + 400 * 10 + 10,
    "cnn-mnist": 16 * 9 + 16 + 32 * 16 * 9 + 32 + 1568 * 64 + 64 + 64 * 10 + 10,
    "allcnn-mnist": 9 * (8 + 2 * 64 + 128 + 3 * 256) + 256 + 2 * (3 * 8 + 5 * 16) + 160 + 10,
    "resnet8-mnist": (
        9 * (8 + 64 * 2 + 128 + 256 + 512 + 1024) + 128 + 512 + 2 * (3 * 8 + 3 * 16 + 3 * 32) + 330
    ),
    "cnn-cifar": 32 * 27 + 32 + 64 * 32 * 9 + 64 + 4096 * 256 + 256 + 2570,
    "allcnn-cifar": (
        9 * (3 * 96 + 2 * 96**2 + 96 * 192 + 3 * 192**2) + 192**2 + 2 * (3 * 96 + 5 * 192) + 1930
    ),
    "resnet20-cifar": (
        9 * (3 * 32 + 6 * 32**2 + 32 * 64 + 5 * 64**2 + 64 * 128 + 5 * 128**2)
        + 32 * 64 + 64 * 128 + 2 * (7 * 32 + 7 * 64 + 7 * 128) + 1290
    ),
    "vgg7-mnist": 9 * (8 + 64 + 128 + 256 + 512 + 1024) + 2 * 2 * (8 + 16 + 32) + 2890,
    "densenet16-mnist": (
        9 * 16 + (16 + 24 + 32) * 16 + (20 + 28 + 36) * 16 + 6 * 9 * 16 * 8 + 40 * 20
        + 2 * (16 + 24 + 32 + 40 + 20 + 28 + 36 + 6 * 16 + 44) + 450
    ),
    "mobilenet-mnist": (
        9 * (16 + 16 + 32 + 64 + 64) + 16 * 32 + 32 * 64 + 2 * 64**2 + 2 * (16 * 2 + 64 + 5 * 64)
        + 650
    ),
    "convmixer-mnist": 17 * 64 + 3 * (26 * 64 + 65 * 64) + 2 * 7 * 64 + 650,
    # As others count them for 10 classes: 11.17, 21.28, 14.7, 0.77, 3.22 and 0.59 million.
    "resnet18-cifar": 11_173_962,
    "resnet34-cifar": 21_282_122,
    "vgg16-cifar": 14_728_266 - 4_224,  # whose convolutions have biases, which batch norm undoes
    "densenet100-cifar": 769_162,
    "mobilenet-cifar": 3_217_226,
    "convmixer-cifar": 594_186,
}  # fmt: skip
LARGE = [name for name in PARAMETERS if PARAMETERS[name] > 3e6 or "densenet100" in name]


def pixels(name, n):
    generator = runtime.generator(0, "x")
    return torch.rand(n, *models.input_shape(name), dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", models.architectures())
def test_sizes(name):
    assert sum(p.numel() for p in models.build(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("n", [1, 3, 8])
def test_rows_are_independent(name, n):
    if name in LARGE and n > 3:
        pytest.skip("a large network: three rows are enough")
    model = models.build(name).double().eval()
    x = pixels(name, n)
    logits = model(x)
    assert logits.shape == (n, 10)
    alone = torch.cat([model(row[None]) for row in x])
    assert torch.allclose(logits, alone, atol=1e-12)
    assert torch.allclose(model(x.flip(0)), logits.flip(0), atol=1e-12)


@pytest.mark.parametrize("name", models.architectures())
def test_a_generator_fixes_the_weights(name):
    def weights(seed):
        model = models.build(name, generator=runtime.generator(seed, "init"))
        return torch.cat([p.flatten() for p in model.parameters()])

    torch.manual_seed(5)
    first = weights(0)
    torch.manual_seed(6)  # the global state must not matter
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))


@pytest.mark.parametrize("name", models.architectures())
def test_building_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    model = models.build(name)
    assert torch.equal(before, torch.get_rng_state())
    assert all(p.requires_grad for p in model.parameters()) and model.training


def test_hidden_layers_are_sigmoids_of_the_layer_before():
    model = models.build("fc123-456-10")
    x = torch.rand(4, 1, 28, 28, generator=runtime.generator(0, "x"))
    first, second = model.hidden(x)
    assert torch.equal(first, torch.sigmoid(model.layers[0](x.flatten(1))))
    assert torch.equal(second, torch.sigmoid(model.layers[1](first)))
    assert torch.equal(model(x), model.layers[2](second))


def test_the_classifier_uses_the_frozen_encoder():
    autoencoder = models.build("ae400", generator=runtime.generator(7, "init"))
    classifier = adopt_encoder(models.build("ae400-10"), autoencoder)
    x = torch.rand(4, 1, 28, 28, generator=runtime.generator(0, "x"))
    assert torch.equal(classifier.hidden(x)[0], autoencoder.encode(x))
    assert not any(p.requires_grad for p in classifier.layers[0].parameters())
    assert all(p.requires_grad for p in classifier.layers[1].parameters())


def test_a_new_autoencoder_starts_sparse():
    autoencoder = models.build("ae400", rho=0.05)
    dark = torch.zeros(1, 1, 28, 28)
    assert torch.allclose(autoencoder.encode(dark), torch.full((1, 400), 0.05), atol=1e-6)


def test_a_misspelt_architecture_gets_the_nearest():
    with pytest.raises(ValueError, match="fc100-100-10"):
        models.build("fc100-100")
    with pytest.raises(ValueError, match="output sizes"):
        MLP((784,))


@pytest.mark.parametrize("name", ["cnn-mnist", "allcnn-mnist", "resnet8-mnist"])
def test_features_feed_the_last_layer(name):
    model = models.build(name).double().eval()
    x = pixels(name, 3)
    last = model.fc2 if name == "cnn-mnist" else model.head
    assert torch.equal(last(model.features(x)), model(x))


def test_a_block_is_the_identity_where_its_convolutions_are_zero():
    model = models.build("resnet8-mnist").double().eval()
    block = model.body[2]
    torch.nn.init.zeros_(block.conv2[0].weight)
    x = pixels("resnet8-mnist", 2).expand(-1, 8, -1, -1)
    assert torch.allclose(block(x), x)
