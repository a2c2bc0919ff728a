"""The work of a training, counted from its spec: floating-point operations and kernel launches.

One forward pass of one image is counted by torch itself; a training is so many passes.  A
multiplication with its addition counts as two operations.  A forward and a backward pass cost three
forward ones, a gradient with respect to the pixels alone two.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from intriguing import data, imagenet, models, vision, zoo
from intriguing.zoo import Spec

EVALUATIONS = 1.16  # gradients of an L-BFGS iteration: 1.15 to 1.17 in our trainings
OPTIMISER = 20  # kernels of one update of the weights, whatever their number: Adam on lists
GRADIENTS = 10  # of one attack on a pool's entry: 8 to 11 in our trainings
ROUNDS = 40  # gradients of the slowest entry of a refreshed pool, one after the other
MASKS = 30  # kernels around the masked passes of the interaction loss
SEARCH = 150  # kernels around one gradient of a box-constrained L-BFGS search


@dataclass(frozen=True)
class Forward:
    """A forward pass: `flops` of one image, `kernels` of one call, and the network's weights."""

    flops: float
    kernels: int
    parameters: int


@dataclass(frozen=True)
class Work:
    """A whole training: floating-point operations, kernel launches, bytes of its checkpoint.

    bfloat16 : whether its operations are in that type rather than in float32.
    """

    flops: float
    kernels: float
    bytes: int
    bfloat16: bool = False


class _Kernels(TorchDispatchMode):
    """Counts the operations that compute something; a view of a tensor does not."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple = (), options: dict | None = None
    ) -> Any:
        returned = [result.alias_info for result in function._schema.returns]
        self.count += not any(alias is not None and not alias.is_write for alias in returned)
        return function(*arguments, **(options or {}))


def count(module: torch.nn.Module, shape: tuple[int, ...]) -> Forward:
    """Count a forward pass of a module on one image of this shape."""
    image, kernels = torch.zeros(1, *shape), _Kernels()
    with torch.no_grad(), FlopCounterMode(display=False) as flops, kernels:
        module.eval()(image)
    return Forward(flops.get_total_flops(), kernels.count,
                   sum(parameter.numel() for parameter in module.parameters()))


@functools.cache
def forward(architecture: str) -> Forward:
    """Count a forward pass of a network by name.

    Raises
    ------
    ValueError : no such architecture.
    """
    shape = models.input_shape(architecture)
    return count(models.build(architecture), shape)


@functools.cache
def forward_above(architecture: str, level: int) -> Forward:
    """Count a forward pass of the part of a network above a hidden layer.

    Raises
    ------
    ValueError : no such architecture or layer.
    """
    network = models.build(architecture)
    with torch.no_grad():
        h = network.hidden(torch.zeros(1, *models.input_shape(architecture)))[level - 1]
    return count(network.above(level), tuple(h.shape[1:]))


def training(spec: Spec) -> Work:
    """Return the work of training one network; the network that it is built on is another.

    The budget counts as spent: a training that converges earlier costs less.

    Raises
    ------
    ValueError, UserError : no such images.
    """
    options, images = spec.options, data.count(spec.dataset, spec.split, spec.n)
    passes, fit = options.method.passes(options), getattr(options, "fit", None)
    whole = once = forward(spec.architecture)
    if passes.part == "last layer":
        last = models.build(spec.architecture).layers[-1]
        once = count(last, (last.in_features,))
    if fit is None:  # L-BFGS on all images at once
        steps = options.iterations * EVALUATIONS
        seen, update = steps * images, 10 * options.history
    else:
        images -= fit.held_out
        steps = fit.epochs * math.ceil(images / fit.batch)
        seen, update = fit.epochs * images, OPTIMISER
    flops = passes.network * seen * once.flops
    kernels = steps * (passes.network * once.kernels + update)
    if passes.above:
        above = forward_above(spec.architecture, passes.level)
        flops += passes.above * seen * above.flops
        kernels += steps * (3 * above.kernels + MASKS)
    if passes.attacked:
        refreshes = fit.epochs - 1
        flops += refreshes * passes.attacked * GRADIENTS * 2 * whole.flops
        kernels += refreshes * passes.pools * ROUNDS * (2 * whole.kernels + SEARCH)
    return Work(flops, kernels, 4 * whole.parameters, fit is not None and fit.bfloat16)


def mflop(names: str | list[str], dataset: str, photographs: object = "") -> float:
    """Return the millions of operations of one image through networks, given by their names.

    Parameters
    ----------
    names : those of `zoo.szegedy` ("FC...") and of `zoo.convnet`.
    dataset : what these are trained on.
    photographs : if true, names are those of `imagenet.NETWORKS` or of torchvision, which says
        itself what its networks take.

    Raises
    ------
    ValueError : an unknown name.
    """
    listed = [names] if isinstance(names, str) else names
    if photographs:
        own = (imagenet.NETWORKS.get(name, (name,))[0] for name in listed)
        return sum(vision.operations(name) for name in own) / 1e6
    made = ((zoo.szegedy if name.startswith("FC") else zoo.convnet)(name, dataset)
            for name in listed)
    return sum(forward(spec.architecture).flops for spec in made) / 1e6
