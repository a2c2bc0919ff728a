r"""An attack that a penalty holds back, in the place of a ball: the sweep of Wang et al. 2021.

    maximise  loss(h(x + delta), y) - c ||delta||_p^p   subject to  x + delta in [0, 1].

The weight c decides how far the attack goes, the power p whether it rather makes many small changes
(p = 5) or few large ones (p = 2).  How the paper maximises is not known to us; here it is gradient
ascent by steps of a fixed length, which shrink to nothing.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from intriguing import batches, runtime
from intriguing.attacks.common import AttackResult, check_inputs, measure
from intriguing.attacks.transfer.ascent import BATCH, LOSSES


def penalised(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    c: float | Tensor,
    power: float = 2.0,
    steps: int = 20,
    step: float = 0.5,
    batch: int | None = None,
) -> AttackResult:
    """Raise the cross entropy of each image, less c times the p-th power of the change's p-norm.

    Step t of T goes the length step (1 - (t - 1) / T) along the gradient and back into the box,
    from the image itself.  So no change is longer than step (T + 1) / 2, whatever c.

    Parameters
    ----------
    model : source, pixels to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    c : weight of the penalty, at least 0, one for all images or (N,), in nats over pixel units to
        the p.
    power : p, above 1.  Wang et al. 2021: 2 and 5.
    steps, step : how many, and the L2 length of the first in pixel units.
    batch : images that the source sees at once; 128 on a CPU, 1,024 on a GPU if None, fewer
        where a GPU has no room for them.

    Returns
    -------
    AttackResult with c as given.

    Raises
    ------
    ValueError : bad input (see `check_inputs`), a negative or non-finite c, p of 1 or less, no
        step, a step that is not positive.
    """
    check_inputs(model, x, y)
    weight = torch.as_tensor(c, dtype=x.dtype, device=x.device).expand(len(x))
    if not (weight.isfinite() & (weight >= 0)).all():
        raise ValueError(f"c must be a number of at least 0, not {weight.min():g}")
    if not 1 < power < float("inf"):
        raise ValueError(f"power must be above 1, not {power}: the penalty needs a gradient at 0")
    if steps < 1 or not 0 < step < float("inf"):
        raise ValueError(f"needs at least one step of positive length, not {steps} of {step}")
    batch = batch if batch is not None else BATCH.get(x.device.type, 128)
    with runtime.eval_mode(model):
        x_adv = batches.apply(
            lambda *rows: _ascend(model, *rows, power, steps, step), x, y, weight, batch=batch
        )
    result = measure(
        model, x, y, x_adv, None,
        iterations=torch.full_like(y, steps), gradients=torch.full_like(y, steps),
        stop_reason=("steps",) * len(x),
    )  # fmt: skip
    return replace(result, c=weight.clone())


def _ascend(model, x: Tensor, y: Tensor, c: Tensor, power: float, steps: int, step: float):
    """Return the last point (N, C, H, W) of the ascent from x."""
    at = x.clamp(0, 1)
    for number in range(steps):
        pixels = at.detach().requires_grad_()
        with torch.enable_grad():
            loss = LOSSES["cross_entropy"](model(pixels), y)
            size = (pixels - x).abs().pow(power).flatten(1).sum(1)  # (N,)
            (g,) = torch.autograd.grad((loss - c * size).sum(), pixels)
        length = g.flatten(1).norm(dim=1).clamp_min(torch.finfo(g.dtype).tiny)
        stride = step * (1 - number / steps) / length  # (N,)
        at = (at + stride[:, None, None, None] * g).clamp_(0, 1)
    return at.detach()
