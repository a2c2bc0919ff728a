"""What two attacks leave of a network: few steps, to be measured while it is trained."""

import torch
from torch import Tensor, nn

from intriguing.attacks import ascent
from intriguing.attacks.balls import BALLS
from intriguing.attacks.draws import Draws
from intriguing.attacks.losses import cross_entropy
from intriguing.training.objectives import cosines

PGD_STEPS = 10


def under_attack(
    model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float
) -> dict[str, Tensor]:
    """Return what two attacks leave of a network, and how linear its loss is, for each image.

    Parameters
    ----------
    model : in eval mode.
    norm, eps : of the ball, pixel units.

    Returns
    -------
    dict : "fgsm", right after one step of length eps from x, (N,) bool; "pgd", right after 10 steps
        of eps / 4 from a start drawn in the ball, the same at each call; "cosine", (N,), of the
        gradients at x and at that start, NaN where one of them is zero: 1 where the loss is linear.
    """

    def loss(logits: Tensor) -> Tensor:
        return cross_entropy(logits, y)

    def right(at: Tensor) -> Tensor:
        return model(at).argmax(1) == y

    with torch.no_grad():
        ball = BALLS[norm](x, eps)
        start = ball.start(Draws(0, x))
        here, there = (ascent.slope(lambda at: loss(model(at)), at) for at in (x, start))
        cosine, both = cosines(here, there)
        last = ascent.climb(ball, model, loss, start, eps / 4, PGD_STEPS)
        return {
            "fgsm": right(ball.move(x, here, eps)),
            "pgd": right(last),
            "cosine": cosine.where(both, torch.nan),
        }
