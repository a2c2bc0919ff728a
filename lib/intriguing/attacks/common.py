"""What every attack shares: how a network is asked, the checks of its input, and what comes out.

A network is other people's code.  It is asked by `logits_of` or `answer` alone, so that it gets
pixels of its own to write into if it likes, and that no logits are told in one sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from intriguing import batches
from intriguing.tensors import check_labels, lengths

BOX_SLACK = 1e-6  # pixels may leave [0, 1] by rounding, not by more


@dataclass(frozen=True)
class AttackResult:
    """Adversarial images and what they cost; row i belongs to image i of the call.

    Attributes
    ----------
    x_adv : (N, C, H, W) pixels, exactly in [0, 1].
    success : (N,) bool, by a fresh forward pass of `x_adv`: the target is predicted, or, where
        there is no target, anything but `y`.  Logits of which none is the largest, because one is
        NaN or the largest infinite, predict nothing and are no success.
    l2 : (N,) Euclidean norm of r = x_adv - x, pixel units.
    distortion_rms : (N,) ||r||_2 / sqrt(C*H*W), the "distortion" of Szegedy et al. (2014).
    c : (N,) weight of the penalty where the attack searched one, else nan.
    iterations, gradients : (N,) int64, accepted steps and gradient evaluations of that row.
    stop_reason : N words; "logits not finite" where `x_adv` is predicted nothing.
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


def logits_of(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return the logits (N, K) of a network for a copy of pixels (N, ...), which it may spoil.

    Raises as `answer`.
    """
    return answer(model, pixels.clone())


def answer(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return the logits (N, K) of a network for pixels (N, ...) that nobody needs any more.

    Raises ValueError for an answer that is not logits of at least two classes, one row an image, or
    that gives no gradient where the pixels ask for one.  What the network itself raises is its own.
    """
    logits = model(pixels)
    if not isinstance(logits, Tensor):
        raise ValueError(f"the model returns a {type(logits).__name__}, not logits: wrap it in one "
                         "that returns the logits (N, classes) alone")  # fmt: skip
    if logits.ndim != 2 or len(logits) != len(pixels):
        raise ValueError(
            f"the model returns {tuple(logits.shape)} for {len(pixels)} image"
            f"{'s' * (len(pixels) != 1)}: logits are "
            "(N, classes), one row for each image"
        )
    if logits.shape[1] < 2:
        raise ValueError("the model returns one number an image: logits are of two classes at "
                         "least, such as 0 and the number")  # fmt: skip
    if not logits.is_floating_point():
        raise ValueError(f"the model returns {logits.dtype}: logits are floating point, not labels")
    if torch.is_grad_enabled() and pixels.requires_grad and not logits.requires_grad:
        raise ValueError(
            "the model's logits carry no gradient: its forward must not detach its input or switch "
            "gradients off"
        )
    return logits


def leaf(pixels: Tensor) -> Tensor:
    """Return pixels that a gradient can be asked of.

    Raises ValueError inside `torch.inference_mode()`, where there is none.
    """
    if torch.is_inference_mode_enabled():
        raise ValueError("an attack that follows gradients cannot run inside torch.inference_mode()"
                         ": call it outside")  # fmt: skip
    return (pixels.clone() if pixels.is_inference() else pixels.detach()).requires_grad_()


def decided(logits: Tensor) -> Tensor:
    """Say which logits (N, K) predict a class, (N,) bool: none is NaN, the largest not infinite.

    Minus infinity is an answer, that of a network which forbids a class.
    """
    return logits.amax(1).isfinite()


def looks_like_probabilities(logits: Tensor) -> bool:
    """Say whether all rows of logits (N, K) lie in [0, 1] and sum to 1, to 0.001.

    A network that ends in a softmax gives those.  Attacks take them for logits: the cross entropy
    is then that of a softmax of probabilities, nearly flat, and the network seems robust.
    """
    rows = logits.detach().double()
    inside = ((rows >= 0) & (rows <= 1)).all()
    return bool(inside and ((rows.sum(1) - 1).abs() <= 1e-3).all())


def check_inputs(model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None = None) -> int:
    """Refuse what no attack can use; return the number of classes.

    Raises ValueError, naming the offending value, for: a model in train mode, an empty batch, x
    that is not (N, C, H, W) floating point, NaN or pixels outside [0, 1], labels or targets of
    the wrong shape, type or range, a target equal to the label, x of another type or device than
    the model's weights, an answer to the first image that is not finite or no logits (`logits_of`).
    """
    if any(m.training for m in model.modules()):
        raise ValueError("the model is in train mode: call model.eval() before attacking it")
    if not isinstance(x, Tensor):
        raise ValueError(f"x must be a tensor (N, C, H, W), not a {type(x).__name__}")
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
        logits = logits_of(model, x[:1])
    if not decided(logits):
        raise ValueError(f"the model's logits for the first image are not finite: {_some(logits)}")
    classes = logits.shape[1]
    for name, labels in (("y", y), ("target", target)):
        if labels is not None or name == "y":
            check_labels(labels, x, classes=classes, name=name)
    if target is not None and (target == y).any():
        i = int((target == y).nonzero()[0])
        raise ValueError(f"target equals the label ({target[i].item()}) in row {i}")
    return classes


def predict(model: nn.Module, x: Tensor, *, batch: int = 1000) -> Tensor:
    """Predicted labels (N,) of pixels (N, C, H, W).

    Raises ValueError where an answer is no logits, or predicts nothing (see `decided`).
    """
    return classified(model, x, batch=batch)[0]


def classified(model: nn.Module, x: Tensor, *, batch: int) -> tuple[Tensor, int]:
    """Return what `predict` does, and the number of classes; raises as it does."""
    found, classes = _labels(model, x, batch)
    lost = (found < 0).nonzero()
    if len(lost):
        raise ValueError(f"the model's logits for image {int(lost[0])} are NaN or infinite: there "
                         "is no prediction")  # fmt: skip
    return found, classes


@torch.no_grad()
def _labels(model: nn.Module, x: Tensor, batch: int) -> tuple[Tensor, int]:
    """Return the predicted labels (N,), -1 where nothing is predicted, and how many there are."""
    classes = 0

    def labels(images: Tensor) -> Tensor:
        nonlocal classes
        logits = logits_of(model, images)
        classes = logits.shape[1]
        return logits.argmax(1).where(decided(logits), -1)

    return batches.apply(labels, x, batch=batch), classes


def measure(model, x: Tensor, y: Tensor, x_adv: Tensor, target: Tensor | None, **search):
    """The AttackResult of `x_adv`: norms, a fresh forward pass, and what `search` adds."""
    predicted, _ = _labels(model, x_adv, 1000)
    success = (predicted == target) if target is not None else (predicted != y) & (predicted >= 0)
    change = x_adv - x
    l2 = lengths(change)
    nothing = torch.zeros_like(y)
    rest = {
        "c": torch.full_like(l2, torch.nan),
        "iterations": nothing,
        "gradients": nothing,
        "stop_reason": ("",) * len(x),
        "forwards": nothing,
        **search,
    }
    reasons = list(rest.pop("stop_reason"))
    for row in (predicted < 0).nonzero().flatten().tolist():
        reasons[row] = "logits not finite"
    return AttackResult(
        x_adv=x_adv,
        success=success,
        l2=l2,
        linf=change.flatten(1).abs().amax(1),
        distortion_rms=l2 / x[0].numel() ** 0.5,
        stop_reason=tuple(reasons),
        **rest,
    )


def _some(logits: Tensor) -> str:
    """Write the first few numbers of one row."""
    row = [f"{value:g}" for value in logits[0, :4].tolist()]
    return ", ".join(row + ["..."] * (logits.shape[1] > 4))
