"""Small networks for the tests of attacks, trained in seconds on the embedded digits."""

import copy
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intriguing import data, models, runtime


@cache
def digits() -> data.Dataset:
    """The 1,000 test images of mnist-5k."""
    return data.load("mnist-5k", "test")


@cache
def trained(architecture: str, epochs: int, rate: float = 3e-3) -> nn.Module:
    """A network after a few epochs of Adam on mnist-5k, float32, in eval mode."""
    train = data.load("mnist-5k", "train")
    model = _smooth_cnn() if architecture == "smooth" else models.build(architecture)
    optimiser = torch.optim.Adam(model.parameters(), rate)
    order = runtime.generator(0, "order")
    for _ in range(epochs):
        for rows in torch.randperm(len(train.x), generator=order).split(100):
            optimiser.zero_grad()
            F.cross_entropy(model(train.x[rows]), train.y[rows]).backward()
            optimiser.step()
    optimiser.zero_grad()
    return model.eval()


def fc(dtype=torch.float32) -> nn.Module:
    """FC100-100-10, about 92 % right."""
    return _copy(trained("fc100-100-10", 10), dtype)


def linear(dtype=torch.float32) -> nn.Module:
    """FC10, about 90 % right."""
    return _copy(trained("fc10", 3), dtype)


def cnn(dtype=torch.float32) -> nn.Module:
    """The MNIST CNN (ReLU, max pooling), about 96 % right."""
    return _copy(trained("cnn-mnist", 2, 2e-3), dtype)


def smooth_cnn(dtype=torch.float32) -> nn.Module:
    """Two convolutions with tanh: a network whose minimisers are defined to the last digit."""
    return _copy(trained("smooth", 3), dtype)


def _smooth_cnn() -> nn.Module:
    generator = runtime.generator(0, "init")
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.Tanh(), nn.Conv2d(8, 8, 5, stride=2), nn.Tanh(),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    for weight in model.parameters():
        fan_in = weight[0].numel()
        with torch.no_grad():
            weight.normal_(0.0, 1 / fan_in**0.5 if weight.ndim > 1 else 0.0, generator=generator)
    return model


def _copy(model: nn.Module, dtype) -> nn.Module:
    return copy.deepcopy(model).to(dtype)


def problems(model: nn.Module, n: int, skip: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The first n test images that `model` gets right, their labels, and random targets."""
    test = digits()
    dtype = next(model.parameters()).dtype
    x, y = test.x.to(dtype), test.y
    with torch.no_grad():
        right = (model(x).argmax(1) == y).nonzero().squeeze(1)[skip : skip + n]
    x, y = x[right], y[right]
    shift = torch.randint(1, 10, (n,), generator=runtime.generator(0, "targets"))
    return x, y, (y + shift) % 10
