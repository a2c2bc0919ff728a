"""A network for attacks: the same logits within rounding, cheaper passes."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-4  # of the largest logit, in float32


def folded(model: nn.Module, x: Tensor) -> nn.Module:
    """Return a copy of `model` whose batch norms are part of the convolutions before them.

    In eval mode a batch norm is a fixed scale and shift, which weights and bias can take.  On a CPU
    the copy keeps its tensors in `channels_last` order, which convolutions in float32 prefer there
    and not on a GPU.  It is in eval mode, its weights need no gradient, and `model` stays as it
    was.  Modules keep their names; a batch norm that is gone is an `nn.Identity`, so what holds on
    to the ends of residual branches, as SGM does, still can.

    Parameters
    ----------
    model : in eval mode.
    x : (N, C, H, W) pixels, on which the copy is compared with the model.

    Raises
    ------
    ValueError : a model in train mode, or logits that differ: then some convolution is not followed
        at once by the batch norm that stands behind it in the module's list.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("the model is in train mode: call model.eval() before folding it")
    other = copy.deepcopy(model).requires_grad_(False)
    for module in list(other.modules()):
        children = list(module.named_children())
        for (first, conv), (second, norm) in zip(children, children[1:], strict=False):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(conv, norm))
                setattr(module, second, nn.Identity())
    order = torch.channels_last if x.device.type == "cpu" else torch.contiguous_format
    other = other.requires_grad_(False).eval().to(memory_format=order)
    with torch.no_grad():
        expected, found = model(x), other(x)
    off = ((found - expected).abs().max() / expected.abs().max()).item()
    if not off <= TOLERANCE:
        raise ValueError(
            f"folding changed the logits by {off:.2g} of the largest: this model uses its "
            "convolutions and batch norms in another order than it lists them"
        )
    return other
