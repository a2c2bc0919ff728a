"""The Lipschitz bound of a whole network: its layers' constants multiplied along the way."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from intriguing import runtime
from intriguing.models.normalize import Normalize
from intriguing.spectrum.layers import layer_bound

# Functions and methods that a forward pass calls in place of a layer, and the layer they stand for.
_LAYERS = {
    torch.relu: nn.ReLU, F.relu: nn.ReLU, "relu": nn.ReLU,
    torch.sigmoid: nn.Sigmoid, F.sigmoid: nn.Sigmoid, "sigmoid": nn.Sigmoid,
    torch.tanh: nn.Tanh, "tanh": nn.Tanh,
    torch.flatten: nn.Flatten, "flatten": nn.Flatten,
    F.max_pool2d: nn.MaxPool2d, F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
}  # fmt: skip
_SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")


@dataclass(frozen=True)
class Layer:
    """One step of a network.

    Attributes
    ----------
    name : of the module ("net.features.0"), or of the function called.
    kind : "Conv2d", "ReLU", "add", ...
    bound : its own Lipschitz constant; for a sum or a concatenation, what it makes of its inputs'.
    product : of the network from its input up to and including this step.
    """

    name: str
    kind: str
    bound: float
    product: float


@dataclass(frozen=True)
class NetworkBound:
    """The steps of a network in order of execution, and the bound of the whole."""

    layers: tuple[Layer, ...]

    @property
    def total(self) -> float:
        """L, with ||f(x) - f(x')|| <= L ||x - x'|| for all x, x'."""
        return self.layers[-1].product

    @property
    def weighted(self) -> tuple[Layer, ...]:
        """The convolutions and dense layers, in order."""
        return tuple(layer for layer in self.layers if layer.kind in ("Conv2d", "Linear"))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, Normalize) or super().is_leaf_module(module, name)


class _Walk(fx.Interpreter):
    """Runs a traced network once, for the shapes, and multiplies constants as it goes."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False  # an error stays one sentence
        self.layers: list[Layer] = []
        self.product: dict[fx.Node, float] = {}

    def run_node(self, node: fx.Node):
        value = super().run_node(node)
        if node.op == "placeholder":
            self.product[node] = 1.0
        elif node.op == "get_attr":
            self.product[node] = 0.0  # a constant
        elif node.op != "output":
            kind, bound, product = self._step(node, value)
            self.product[node] = product
            name = str(node.target) if node.op == "call_module" else node.name
            self.layers.append(Layer(name, kind, bound, product))
        return value

    def _step(self, node: fx.Node, value: Tensor) -> tuple[str, float, float]:
        """Return (kind, own constant, constant from the network's input on) of a node."""
        name = getattr(node.target, "__name__", str(node.target))
        if node.target in _SUMS or node.target is torch.cat:
            joined = node.target is torch.cat
            listed = node.args[0] if joined else node.args
            parts = [part for part in listed if isinstance(part, fx.Node) and self.product[part]]
            same = joined or all(self.env[part].shape == value.shape for part in parts)
            if not same or "alpha" in node.kwargs:
                raise ValueError(f"no Lipschitz constant is known for {name} with a broadcast part")
            bounds = [self.product[part] for part in parts]
            total = math.hypot(*bounds) if joined else math.fsum(bounds)
            return name, total / max(bounds, default=1.0), total
        source = node.args[0]
        shape = tuple(self.env[source].shape[1:])
        if node.op == "call_module":
            layer = self.fetch_attr(node.target)
        elif node.target == "mean":
            layer = _mean(node, shape)
        elif node.target in _LAYERS:
            layer = _LAYERS[node.target](*node.args[1:], **node.kwargs)
        else:
            raise ValueError(f"no Lipschitz constant is known for the function {name}")
        bound = layer_bound(layer, shape)
        return type(layer).__name__, bound, bound * self.product[source]


def _mean(node: fx.Node, shape: tuple[int, ...]) -> nn.Module:
    """Return the pooling that a mean over all positions is."""
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    axes = axes if isinstance(axes, Sequence) else (axes,)
    if len(shape) != 3 or None in axes or sorted(a % 4 for a in axes) != [2, 3]:
        raise ValueError(f"no Lipschitz constant is known for a mean over the axes {axes}")
    return nn.AdaptiveAvgPool2d(1)


@torch.no_grad()
def network_bound(model: nn.Module, shape: Sequence[int]) -> NetworkBound:
    """Bound the Lipschitz constant of a network by those of its layers.

    The forward pass is traced, so any network will do whose layers and functions are known and
    whose path does not depend on the pixels: plain ones, residual ones (constants of summands add)
    and concatenations (their squares add).

    Parameters
    ----------
    model : in eval mode.
    shape : of one input, (C, H, W).

    Raises
    ------
    ValueError : a layer without a known constant, a network in train mode or one that cannot be
        traced, an input that it does not take.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("the model is in train mode: call model.eval() before bounding it")
    parameter = next(model.parameters(), torch.zeros(()))
    pixels = torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)
    try:
        walk = _Walk(fx.GraphModule(model, _Tracer().trace(model)))
    except fx.proxy.TraceError as error:
        raise ValueError(f"the network's path depends on its input ({error})") from error
    with runtime.eval_mode(model):
        try:
            walk.run(pixels)
        except RuntimeError as error:
            reason, asked = str(error).partition("\n")[0], tuple(shape)
            raise ValueError(f"the network takes no input of shape {asked}: {reason}") from error
    return NetworkBound(tuple(walk.layers))
