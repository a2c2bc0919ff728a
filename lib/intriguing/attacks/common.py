"""What every attack shares: the checks of its input, its result, and the measure of success."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from intriguing import batches

BOX_SLACK = 1e-6  # pixels may leave [0, 1] by rounding, not by more


@dataclass(frozen=True)
class AttackResult:
    """Adversarial images and what they cost; row i belongs to image i of the call.

    Attributes
    ----------
    x_adv : (N, C, H, W) pixels, exactly in [0, 1].
    success : (N,) bool, by a fresh forward pass of `x_adv`: the target is predicted, or, where
        there is no target, anything but `y`.
    l2 : (N,) Euclidean norm of r = x_adv - x, pixel units.
    distortion_rms : (N,) ||r||_2 / sqrt(C*H*W), the "distortion" of Szegedy et al. (2014).
    c : (N,) weight of the penalty where the attack searched one, else nan.
    iterations, gradients : (N,) int64, accepted steps and gradient evaluations of that row.
    stop_reason : N words.
    linf : (N,) largest change of a number, pixel units.
    forwards : (N,) int64, forward passes of that row without a gradient; one with a gradient counts
        in `gradients` only.
    """

    x_adv: Tensor
    success: Tensor
    l2: Tensor
    distortion_rms: Tensor
    c: Tensor
    iterations: Tensor
    gradients: Tensor
    stop_reason: tuple[str, ...]
    linf: Tensor
    forwards: Tensor

    def __getitem__(self, rows: Tensor) -> AttackResult:
        """The result of some rows, given by indices or a mask."""
        index = torch.arange(len(self.stop_reason), device=rows.device)[rows].tolist()
        tensors = {k: v[rows] for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors, stop_reason=tuple(self.stop_reason[i] for i in index))


def check_inputs(model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None = None) -> int:
    """Refuse what no attack can use; return the number of classes.

    Raises ValueError, naming the offending value, for: a model in train mode, an empty batch, x
    that is not (N, C, H, W) floating point, NaN or pixels outside [0, 1], labels or targets of
    the wrong shape, type or range, a target equal to the label, x of another type or device than
    the model's weights.
    """
    if any(m.training for m in model.modules()):
        raise ValueError("the model is in train mode: call model.eval() before attacking it")
    if x.ndim != 4 or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"x must be float32 or float64 (N, C, H, W), not {x.dtype} {tuple(x.shape)}"
        )
    if len(x) == 0:
        raise ValueError("x is empty: an attack needs at least one image")
    if not x.isfinite().all():
        raise ValueError(f"x holds {int((~x.isfinite()).sum())} values that are NaN or infinite")
    low, high = x.min().item(), x.max().item()
    if low < -BOX_SLACK or high > 1 + BOX_SLACK:
        raise ValueError(
            f"pixels must lie in [0, 1], these span [{low:.6g}, {high:.6g}]: "
            "pass raw pixels, normalisation belongs in the model"
        )
    weight = next(model.parameters(), x)
    if (weight.dtype, weight.device) != (x.dtype, x.device):
        raise ValueError(
            f"x is {x.dtype} on {x.device}, the model's weights are {weight.dtype} on "
            f"{weight.device}: bring both to one with .to(...)"
        )
    with torch.no_grad():
        classes = model(x[:1]).shape[1]
    for name, labels in (("y", y), ("target", target)):
        if labels is None:
            continue
        if labels.dtype != torch.int64 or labels.shape != (len(x),):
            raise ValueError(
                f"{name} must be int64 of shape ({len(x)},), "
                f"not {labels.dtype} {tuple(labels.shape)}"
            )
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise ValueError(f"{name} holds {wrong[0].item()}, the classes are 0..{classes - 1}")
    if target is not None and (target == y).any():
        i = int((target == y).nonzero()[0])
        raise ValueError(f"target equals the label ({target[i].item()}) in row {i}")
    return classes


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, *, batch: int = 1000) -> Tensor:
    """Predicted labels (N,) of pixels (N, C, H, W)."""
    return batches.apply(lambda images: model(images).argmax(1), x, batch=batch)


def measure(model, x: Tensor, y: Tensor, x_adv: Tensor, target: Tensor | None, **search):
    """The AttackResult of `x_adv`: norms, a fresh forward pass, and what `search` adds."""
    predicted = predict(model, x_adv)
    change = (x_adv - x).flatten(1)  # (N, C, H, W) -> (N, C*H*W)
    l2 = change.norm(dim=1)
    nothing = torch.zeros_like(y)
    rest = {
        "c": torch.full_like(l2, torch.nan),
        "iterations": nothing,
        "gradients": nothing,
        "stop_reason": ("",) * len(x),
        "forwards": nothing,
        **search,
    }
    return AttackResult(
        x_adv=x_adv,
        success=predicted == target if target is not None else predicted != y,
        l2=l2,
        linf=change.abs().amax(1),
        distortion_rms=l2 / x[0].numel() ** 0.5,
        **rest,
    )
