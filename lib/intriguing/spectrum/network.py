"""The Lipschitz bound of a whole network: its layers' constants multiplied along the way."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from intriguing import runtime
from intriguing.spectrum.layers import is_known, layer_bound

# Functions and methods that a forward pass calls in place of a layer, and the layer they stand for.
_LAYERS = {
    torch.relu: nn.ReLU, F.relu: nn.ReLU, "relu": nn.ReLU,
    torch.sigmoid: nn.Sigmoid, F.sigmoid: nn.Sigmoid, "sigmoid": nn.Sigmoid,
    torch.tanh: nn.Tanh, "tanh": nn.Tanh,
    torch.flatten: nn.Flatten, "flatten": nn.Flatten,
    F.max_pool2d: nn.MaxPool2d, F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
}  # fmt: skip
_IN_PLACE = (operator.iadd, "add_")
_SUMS = (operator.add, torch.add, "add", *_IN_PLACE)


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
    """The steps of a network and the bound of the whole.

    Attributes
    ----------
    layers : the steps in order of execution.
    total : L, with ||f(x) - f(x')|| <= L ||x - x'|| for all x, x': the product at the step whose
        value is returned, 1 for the identity.
    """

    layers: tuple[Layer, ...]
    total: float

    @property
    def weighted(self) -> tuple[Layer, ...]:
        """The convolutions and dense layers, in order."""
        return tuple(layer for layer in self.layers if layer.kind in ("Conv2d", "Linear"))


class _Proxy(fx.Proxy):
    """Keeps `a += b` apart from `a = a + b`, which fx does not."""

    def __iadd__(self, other):
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return is_known(type(module)) or super().is_leaf_module(module, name)

    def proxy(self, node: fx.Node) -> _Proxy:
        return _Proxy(node, self)


class _Walk(fx.Interpreter):
    """Runs a traced network once, for the shapes, and multiplies constants as it goes."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False  # an error stays one sentence
        self.layers: list[Layer] = []
        self.product: dict[fx.Node, float] = {}
        self.given: set[int] = set()  # memory of the pixels and of the model's own tensors

    def run_node(self, node: fx.Node):
        if _called(node) in _IN_PLACE:
            self._refuse_shared(node)  # before it is done
        value = super().run_node(node)
        if node.op in ("placeholder", "get_attr"):
            self.product[node] = 1.0 if node.op == "placeholder" else 0.0  # else a constant
            self.given.add(_memory(value))
        elif node.op != "output":
            kind, bound, product = self._step(node, value)
            self.product[node] = product
            name = str(node.target) if node.op == "call_module" else node.name
            self.layers.append(Layer(name, kind, bound, product))
        elif not isinstance(node.args[0], fx.Node):
            raise ValueError("the network returns something else than one tensor")
        return value

    def total(self) -> float:
        """Return the constant of what the network returned."""
        (output,) = (node for node in self.module.graph.nodes if node.op == "output")
        return self.product[output.args[0]]

    def _step(self, node: fx.Node, value: Tensor) -> tuple[str, float, float]:
        """Return (kind, own constant, constant from the network's input on) of a node."""
        name = getattr(node.target, "__name__", str(node.target))
        if _called(node) in (*_SUMS, torch.cat):
            bounds = [self.product[part] for part in self._parts(node, name, value)]
            total = math.hypot(*bounds) if node.target is torch.cat else math.fsum(bounds)
            return name, total / (max(bounds, default=0) or 1.0), total
        layer = self._layer(node, name)
        source = node.args[0]
        bound = layer_bound(layer, tuple(self.env[source].shape[1:]))
        if bound > 1 and getattr(layer, "inplace", False):
            raise ValueError(f"no Lipschitz constant is known for {type(layer).__name__} in place")
        return type(layer).__name__, bound, bound * self.product[source]

    def _parts(self, node: fx.Node, name: str, value: Tensor) -> list[fx.Node]:
        """Return what a concatenation joins, or the summands of a sum that are not constant."""
        unknown = f"no Lipschitz constant is known for {name} with"
        if node.target is torch.cat:
            listed = node.args[0] if node.args else None
            if not isinstance(listed, Sequence) or node.kwargs.keys() - {"dim"}:
                raise ValueError(f"{unknown} other operands than a list and an axis")
            return list(listed)
        if len(node.args) != 2 or node.kwargs:
            raise ValueError(f"{unknown} other operands than two without keywords")
        parts = [part for part in node.args if isinstance(part, fx.Node) and self.product[part]]
        if any(self.env[part].shape != value.shape for part in parts):
            raise ValueError(f"{unknown} a broadcast part")
        return parts

    def _layer(self, node: fx.Node, name: str) -> nn.Module:
        """Return the layer that a node calls, or that its function stands for."""
        if node.op != "call_module" and node.target not in (*_LAYERS, "mean"):
            raise ValueError(f"no Lipschitz constant is known for the function {name}")
        if not node.args or not isinstance(node.args[0], fx.Node):
            raise ValueError(f"{name} is called without its input as first argument")
        if node.op == "call_module":
            if len(node.args) > 1 or node.kwargs:
                raise ValueError(f"{name} is called with more than its input")
            return self.fetch_attr(node.target)
        if node.target == "mean":
            return _mean(node, self.env[node.args[0]].ndim)
        try:
            return _LAYERS[node.target](*node.args[1:], **node.kwargs)
        except TypeError as error:
            raise ValueError(f"{name} cannot be bounded as a layer ({error})") from error

    def _refuse_shared(self, node: fx.Node) -> None:
        """Refuse to overwrite memory that somebody reads later, under whatever name."""
        memory, last = _memory(self.env[node.args[0]]), self.user_to_last_uses.get(node, ())
        later = (other for other in self.env if other.users and other not in last)
        if memory in self.given or memory in map(_memory, (self.env[other] for other in later)):
            name = getattr(node.target, "__name__", str(node.target))
            raise ValueError(
                f"no Lipschitz constant is known for {name} in place of a value that is used again"
            )


def _refuse_changed(model: nn.Module) -> None:
    """Refuse modules that need not compute what their class does."""
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            changed = "a forward hook"
        elif "forward" in vars(module):
            changed = "a forward of its own"
        else:
            continue
        where = f"module {name!r}" if name else "the network itself"
        raise ValueError(f"{where} ({type(module).__name__}) has {changed}, which may change what "
                         "it computes: bound the network without it")  # fmt: skip


def _called(node: fx.Node):
    """Return the function or method called; a module may be named like one."""
    return node.target if node.op in ("call_function", "call_method") else None


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _mean(node: fx.Node, ndim: int) -> nn.Module:
    """Return the pooling that a mean over all positions is."""
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    axes = axes if isinstance(axes, Sequence) else (axes,)
    if ndim != 4 or None in axes or sorted(a % 4 for a in axes) != [2, 3]:
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
    ValueError : a layer or function without a known constant, or called in an unusual way; a sum
        in place of a value that is read again; a module with forward hooks, or with a forward that
        was put in the place of its class's; a network in train mode, one that cannot be traced
        or that returns anything but one tensor; an input that it does not take.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("the model is in train mode: call model.eval() before bounding it")
    _refuse_changed(model)
    parameter = next(model.parameters(), torch.zeros(()))
    pixels = torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)
    try:
        walk = _Walk(fx.GraphModule(model, _Tracer().trace(model)))
    except (fx.proxy.TraceError, TypeError) as error:
        raise ValueError(f"the network's path depends on its input ({error})") from error
    with runtime.eval_mode(model):
        try:
            walk.run(pixels)
        except RuntimeError as error:
            reason, asked = str(error).partition("\n")[0], tuple(shape)
            raise ValueError(f"the network takes no input of shape {asked}: {reason}") from error
    return NetworkBound(tuple(walk.layers), walk.total())
