"""Lipschitz constants in l2 of the layers that have one whatever their input.

Each is the least constant that holds for all inputs of the given size, unless its comment says
that it is only a bound.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intriguing.models.normalize import Normalize
from intriguing.spectrum.convolution import conv_bound
from intriguing.spectrum.singular import linear_bound

Shape = tuple[int, ...]  # of one input, without the batch


def layer_bound(layer: nn.Module, shape: Shape) -> float:
    """Return L with ||f(x) - f(x')|| <= L ||x - x'|| for a layer f in eval mode.

    Known are Linear and Conv2d; ReLU, ReLU6, LeakyReLU, Sigmoid and Tanh; MaxPool2d, AvgPool2d and
    AdaptiveAvgPool2d; BatchNorm, LocalResponseNorm and Normalize; Dropout, Flatten and Identity.
    L is the least such number but for LocalResponseNorm and for all convolutions that are not
    circular (see `conv_bound`), of which it is a bound.  Others are added with
    ``register_layer(Type, lambda layer, shape: number)``.

    Parameters
    ----------
    layer : the layer.
    shape : of its input, without the batch: (C, H, W) or (features,).

    Raises
    ------
    ValueError : no constant is known for this kind of layer, or for its options.
    """
    return _bound(layer, shape)


@functools.singledispatch
def _bound(layer: nn.Module, shape: Shape) -> float:
    raise ValueError(
        f"no Lipschitz constant is known for the layer {type(layer).__name__}: add one with "
        "register_layer"
    )


register_layer = _bound.register


def is_known(kind: type[nn.Module]) -> bool:
    """Say whether a constant was given for this very type; what it inherits does not count."""
    return kind in _bound.registry


@_bound.register(nn.Identity)
@_bound.register(nn.Flatten)
@_bound.register(nn.Dropout)
@_bound.register(nn.ReLU)
@_bound.register(nn.ReLU6)
@_bound.register(nn.Tanh)
def _one(layer: nn.Module, shape: Shape) -> float:
    return 1.0


@_bound.register
def _sigmoid(layer: nn.Sigmoid, shape: Shape) -> float:
    return 0.25  # its derivative s (1 - s) is largest where s = 1/2


@_bound.register
def _leaky(layer: nn.LeakyReLU, shape: Shape) -> float:
    return max(1.0, abs(layer.negative_slope))


@_bound.register
def _linear(layer: nn.Linear, shape: Shape) -> float:
    return linear_bound(layer.weight)


@_bound.register
def _conv(layer: nn.Conv2d, shape: Shape) -> float:
    """A bound, exact for as many circular outputs as size / stride; see `conv_bound`."""
    return conv_bound(
        layer.weight, shape[-2:], stride=layer.stride, padding=layer.padding,
        dilation=layer.dilation, groups=layer.groups, mode=layer.padding_mode,
    )  # fmt: skip


@_bound.register
def _normalize(layer: Normalize, shape: Shape) -> float:
    return 1 / float(layer.std.min())


@_bound.register(nn.BatchNorm1d)
@_bound.register(nn.BatchNorm2d)
def _batch_norm(layer: nn.BatchNorm2d, shape: Shape) -> float:
    if layer.running_var is None:
        raise ValueError("a batch norm without running statistics depends on the whole batch")
    scale = (layer.running_var.double() + layer.eps).rsqrt()
    return float((scale if layer.weight is None else scale * layer.weight.detach().abs()).max())


@_bound.register
def _max_pool(layer: nn.MaxPool2d, shape: Shape) -> float:
    """The root of the number of windows that share a pixel, at most ceil(k / s) along an axis.

    Each output moves by no more than the pixel of its window that moves most, so
    sum_j dy_j^2 <= sum_j sum_(i in j) dx_i^2 <= (windows that share a pixel) sum_i dx_i^2;
    raising the one pixel that most windows share in an image of zeros attains it.  Windows that do
    not overlap give 1, 3 x 3 with stride 2 gives 2.
    """
    options = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    won = _per_axis(F.max_pool1d, layer, options, shape)  # a lit pixel wins all its windows
    if not all(axis.isfinite().all() for axis in won):
        raise ValueError(f"a window of {layer} lies wholly in the padding of {tuple(shape)}")
    return math.sqrt(math.prod(float(axis.sum(1).max()) for axis in won))


@_bound.register
def _avg_pool(layer: nn.AvgPool2d, shape: Shape) -> float:
    """The product of the norms along the two axes, since the pooling is a Kronecker product."""
    if layer.divisor_override is not None:
        raise ValueError("no Lipschitz constant is known for average pooling with another divisor")
    options = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    return _kronecker(_per_axis(F.avg_pool1d, layer, options, shape))


@_bound.register
def _adaptive(layer: nn.AdaptiveAvgPool2d, shape: Shape) -> float:
    size = layer.output_size
    size = (size, size) if isinstance(size, int) else size
    wanted = [out or n for out, n in zip(size, shape[-2:], strict=True)]
    return _kronecker(
        [F.adaptive_avg_pool1d(_eye(n), out)[0] for n, out in zip(shape[-2:], wanted, strict=True)]
    )


@_bound.register
def _local_response_norm(layer: nn.LocalResponseNorm, shape: Shape) -> float:
    """A bound, not the least constant, for y_i = x_i d_i^-b, d_i = k + a sum_(j in i) x_j^2.

    Its Jacobian is diag(d_i^-b) - 2 a b B with rows B_i = x_i d_i^(-b-1) (x_j, j in window i).
    With t = 1 - k / d_i, a ||B_i|| <= k^-b t (1 - t)^b, which is largest at t = 1 / (1 + b); and
    the norm of a matrix whose rows have supports of n entries that slide along is at most sqrt(n)
    times that of its longest row.
    """
    b, k = layer.beta, layer.k
    if k <= 0 or b < 0 or layer.alpha < 0:
        raise ValueError(f"local response normalisation needs k > 0, alpha, beta >= 0, got {layer}")
    row = (1 / (1 + b)) * (b / (1 + b)) ** b if b else 0.0
    return k**-b * (1 + 2 * b * math.sqrt(min(layer.size, shape[0])) * row * (layer.alpha > 0))


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)[None]  # (1, n, n): n images of one lit pixel each


def _per_axis(pool, layer: nn.Module, options: tuple[str, ...], shape: Shape) -> list[Tensor]:
    """Return, for each of the two axes, the pooling of every unit vector: (inputs, outputs)."""
    found = []
    for axis, n in enumerate(shape[-2:]):
        chosen = {}
        for name in options:
            value = getattr(layer, name)
            chosen[name] = value[axis] if isinstance(value, tuple) else value
        found.append(pool(_eye(n), **chosen)[0])
    return found


def _kronecker(axes: list[Tensor]) -> float:
    return math.prod(float(torch.linalg.matrix_norm(axis, 2)) for axis in axes)
