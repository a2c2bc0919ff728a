r"""An attack that a penalty holds back, in the place of a ball.

    maximise  loss(h(x + delta), y) - c ||delta||_p^p   subject to  x + delta in [0, 1].

The weight c decides how far the attack goes, the power p whether it rather makes many small changes
(p = 5) or few large ones (p = 2).  The maximum is sought by gradient ascent with steps of a fixed
length, which shrink to nothing.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from intriguing import batches, runtime
from intriguing.attacks.ascent import slope
from intriguing.attacks.common import AttackResult, answer, check_inputs, measure
from intriguing.attacks.losses import LOSSES
from intriguing.attacks.transfer.combined import BATCH, stop_reasons
from intriguing.tensors import beside, lengths, ordinary


def penalised(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    c: float | Tensor,
    power: float = 2.0,
    loss: str = "cross_entropy",
    steps: int = 20,
    step: float = 0.5,
    batch: int | None = None,
) -> AttackResult:
    """Raise the loss of each image, less c times the p-th power of the change's p-norm.

    Step t of T goes the length step (1 - (t - 1) / T) along the gradient and back into the box,
    from the image itself.  So no change is longer than step (T + 1) / 2, whatever c.

    Parameters
    ----------
    model : source, pixels to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    c : weight of the penalty, at least 0, one for all images or (N,), in nats over pixel units to
        the p.
    power : p, above 1.
    loss : "cross_entropy" or "margin", as in `pgd`.  Where a network is very sure of an image the
        gradient of the cross entropy is next to nothing, and any penalty keeps the attack there.
    steps, step : how many, and the L2 length of the first in pixel units.
    batch : images that the source sees at once; 128 on a CPU, 1,024 on a GPU if None, fewer
        where a GPU has no room for them.

    Returns
    -------
    AttackResult with c as given.  The stop reason is "steps", or "gradient not finite" where that
    was so at some step: NaN entries count as zero.

    Raises
    ------
    ValueError : bad input (see `check_inputs`), a negative or non-finite c, p of 1 or less,
        another loss, no step, a step that is not positive.
    """
    check_inputs(model, x, y)
    weight = torch.as_tensor(c, dtype=x.dtype, device=x.device).expand(len(x))
    if not (weight.isfinite() & (weight >= 0)).all():
        raise ValueError(f"c must be a number of at least 0, not {weight.min():g}")
    if not 1 < power < float("inf"):
        raise ValueError(f"power must be above 1, not {power}: the penalty needs a gradient at 0")
    if steps < 1 or not 0 < step < float("inf"):
        raise ValueError(f"needs at least one step of positive length, not {steps} of {step}")
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {loss!r}")
    batch = batch if batch is not None else BATCH.get(x.device.type, 128)
    lost = torch.zeros_like(y, dtype=torch.bool)

    def attacked(rows: slice) -> Tensor:
        return _ascend(
            model, x[rows], y[rows], weight[rows], power, LOSSES[loss], steps, step, lost[rows]
        )

    with runtime.eval_mode(model):
        x_adv = torch.cat(batches.Batch(batch).over(attacked, len(x)))
    result = measure(
        model, x, y, x_adv, None,
        iterations=torch.full_like(y, steps), gradients=torch.full_like(y, steps),
        stop_reason=stop_reasons(lost),
    )  # fmt: skip
    return replace(result, c=weight.clone())


def penalty_for(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: float,
    power: float = 2.0,
    loss: str = "cross_entropy",
    batch: int | None = None,
) -> Tensor:
    """Return the c (N,) at which `penalised` would end at L2 norm `norm`, were the loss linear.

    With the gradient g of the loss at the image the maximum has
    `|delta_i|^(p-1) = |g_i| / (p c)`, so `c = (sum_i |g_i|^(2/(p-1)))^((p-1)/2) / (p norm^(p-1))`.
    Networks are not linear and boxes have walls: it is a unit for c, with which one grid of norms
    serves every network, size and power.

    Arguments and errors are those of `penalised`; norm is positive.
    """
    check_inputs(model, x, y)
    if not 0 < norm < float("inf") or loss not in LOSSES or not 1 < power < float("inf"):
        raise ValueError(
            f"needs a positive norm, a power above 1 and a loss of {', '.join(LOSSES)}, "
            f"not {norm}, {power} and {loss!r}"
        )

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        return slope(lambda pixels: LOSSES[loss](answer(model, pixels), y), x)

    batch = batch if batch is not None else BATCH.get(x.device.type, 128)
    with runtime.eval_mode(model):
        g = batches.apply(gradient, x, y, batch=batch).flatten(1).abs()
    if power < 2:  # high powers of any gradient may be zero or infinite
        scale = g.amax(1).clamp_min(torch.finfo(g.dtype).tiny)  # (N,)
        g = g / scale[:, None]
    else:
        g, scale = ordinary(g)
    sums = g.pow(2 / (power - 1)).sum(1)  # (N,)
    return scale * sums.pow((power - 1) / 2) / (power * norm ** (power - 1))


def _ascend(
    model, x: Tensor, y: Tensor, c: Tensor, power, loss, steps: int, step: float, lost: Tensor
) -> Tensor:
    """Return the last point (N, C, H, W) of the ascent from x; `lost` is that of `slope`."""
    def penalised_gain(pixels: Tensor) -> Tensor:
        size = (pixels - x).abs().pow(power).flatten(1).sum(1)  # (N,)
        return loss(answer(model, pixels), y) - c * size

    at = x.clamp(0, 1)
    for number in range(steps):
        g, _ = ordinary(slope(penalised_gain, at, lost))
        length = lengths(g).clamp_min_(torch.finfo(g.dtype).tiny)
        stride = step * (1 - number / steps) / length  # (N,)
        at = (at + beside(stride, g) * g).clamp_(0, 1)
    return at.detach()
