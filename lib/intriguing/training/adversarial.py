r"""Adversarial training: each minibatch is exchanged for images made against the network as it is.

.. math::
    \min_\theta \; \mathbb E_{(x, y)} \max_{\|\delta\|_\infty \le \varepsilon} \ell(h(x+\delta), y)

Madry et al. 2018 (arXiv 1706.06083) search the maximum by projected gradient ascent from a random
start.  One step of 1.25 eps is the fast variant of Wong, Rice and Kolter 2020 (arXiv 2001.03994).
The ascent is that of `intriguing.attacks.transfer`, without its checks and its closing measure.

A network that has learnt nothing yet may answer large changes by giving the same logits to all
images, and stay there; a radius that grows from zero over the first steps avoids this.

The network is in eval mode while it is attacked: batch norm then does not learn from half-made
images, and it moves as in the attacks that come later.
"""

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.attacks.transfer.ascent import LOSSES, Ascent
from intriguing.attacks.transfer.balls import Linf
from intriguing.attacks.transfer.draws import Draws
from intriguing.training import objectives


class Adversarial:
    """The cross entropy at adversarial pixels; the companion of its own training.

    In eval mode: at the pixels given.

    Parameters
    ----------
    eps : radius of the Linf ball, pixel units.
    step, steps : of the ascent, pixel units.
    generator : draws the starts, evenly in the ball; on the CPU.
    growth : minibatches in which eps and step rise linearly from zero to their values.
    smoothing : of the labels, see `objectives.cross_entropy`.

    Raises
    ------
    ValueError : eps or step not positive, or no step.
    """

    def __init__(
        self,
        eps: float,
        step: float,
        steps: int,
        generator: torch.Generator,
        growth: int = 0,
        smoothing: float = 0.0,
    ) -> None:
        if not (eps > 0 and step > 0 and steps >= 1):
            raise ValueError(
                f"adversarial training needs eps > 0, step > 0 and at least one step, got "
                f"eps {eps}, step {step}, {steps} steps"
            )
        self.eps, self.step, self.steps, self.generator = eps, step, steps, generator
        self.growth, self.done = growth, 0
        self.plain = objectives.cross_entropy(smoothing=smoothing)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss at adversarial images made of pixels x (N, C, H, W), labels y (N,)."""
        if not model.training:
            return self.plain(model, x, y)
        self.done += 1
        share = min(1.0, self.done / self.growth) if self.growth else 1.0
        return self.plain(model, self.images(model, x, y, share), y)

    def images(self, model: nn.Module, x: Tensor, y: Tensor, share: float = 1.0) -> Tensor:
        """Return adversarial pixels (N, C, H, W), within share * eps of x, in [0, 1] exactly."""
        keys = torch.randint(-(2**63), 2**63 - 1, (len(x),), generator=self.generator)
        draws, ball = Draws.keyed(keys.to(x.device), x.dtype), Linf(x, share * self.eps)
        ascent = Ascent(
            model, LOSSES["cross_entropy"], views=(), copies=1, variance=None, interaction=None,
            smooth=None, momentum=0.0, seed=0, batch=len(x),
        )  # fmt: skip
        with runtime.eval_mode(model), torch.no_grad():
            start, step = ball.start(draws), share * self.step
            *_, x_adv = ascent.run(ball, y, start, draws, self.steps, step)
        return x_adv

    def before_round(self, model: nn.Module, outcome: object) -> None:
        """Nothing to prepare."""

    def state_dict(self) -> dict:
        """Return the generator's state and the count of minibatches."""
        return {"generator": self.generator.get_state(), "done": self.done}

    def load_state_dict(self, tree: dict) -> None:
        """Go on from what `state_dict` returned."""
        self.generator.set_state(tree["generator"])
        self.done = tree["done"]
