r"""The interaction loss of Zhang et al. 2021 (arXiv 2009.11729), a rival of dropout.

A layer's n units are players, absent where they are set to zero; the value of a coalition is the
logit of the label, f_y.  Added to the cross entropy is

.. math::
    \lambda \, \mathbb E_S \big[ \Delta f(S)^2 \big], \qquad
    \Delta f(S) = f_y(S \cup A \cup B) - f_y(S \cup A) - f_y(S \cup B) + f_y(S),

with disjoint random sets A and B of units in the place of single ones.  The paper speaks of the
strength \|I\| of interactions; this form is that of the authors' code.  The square stands inside
the mean over contexts S, so that what is penalised is I^2 and the variance of the differences
together.

The network has `hidden` and `above`, as `models.cnn.SmallCNN` and `models.mlp.MLP`.  How the weight
was chosen, on held-out training images: `tuning/interaction_loss.csv`, run again by
`tuning/run.py`.  At weights of 30 and more a network may come to give all images the same logits,
which is the loss's own minimum.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.methods.plain import HEART, HEART_FEW
from intriguing.methods.unit_dropout import first
from intriguing.specs import Paper, Setting
from intriguing.training.fit import Fit
from intriguing.training.objectives import Drawing, Objective, cross_entropy
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "zhang2021interpreting"
version = 1
PAPER = Paper({"contexts": 10, "share": 0.05}, where="the authors' code", tag="C")


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of the interaction loss; see `InteractionLoss`.

    Parameters
    ----------
    fit : the training by minibatches.
    weight, contexts, share, level : as `InteractionLoss` takes them.
    """

    fit: Fit
    weight: float = 1.0
    contexts: int = 4
    share: float = 0.05
    level: int = 2

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, float]]:
        """Return them as the keys of 2026-11-29 do."""
        mine = {name: getattr(self, name) for name in ("weight", "contexts", "share", "level")}
        return "interaction-loss", self.fit.written() | mine, {}


def objective(request: Request, options: Options) -> Objective:
    """Return the cross entropy with the interaction loss."""
    return InteractionLoss(
        options.level,
        options.weight,
        options.contexts,
        options.share,
        request.generator("contexts"),
    )


def label(options: Options) -> str:
    """Return "interaction-loss" with its weight, and the layer where it is the first."""
    return f"interaction-loss weight={options.weight:g}" + first(options.level)


def passes(options: Options) -> Passes:
    """A forward and a backward pass, and four masked ones a context through the layers above."""
    return Passes(above=3.0 * 4 * options.contexts, level=options.level)


class InteractionLoss(Drawing):
    """Cross entropy plus the interaction loss of one hidden layer; its training's own companion.

    In eval mode: the cross entropy alone.

    Parameters
    ----------
    level : the hidden layer whose units are the players, counted from 1.
    weight : lambda.
    contexts : random contexts S for each image of a minibatch.  The authors: 10.
    share : of the units, how many are in A, and in B.  The authors: 0.05.
    generator : draws A, B and the contexts; on the CPU.

    Raises
    ------
    ValueError : a negative weight, no context, a share outside (0, 1/2].
    """

    def __init__(
        self,
        level: int,
        weight: float,
        contexts: int,
        share: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(generator)
        if not (weight >= 0 and contexts >= 1 and 0 < share <= 0.5):
            raise ValueError(
                "the interaction loss needs a weight of at least 0, one context at least and a "
                f"share in (0, 1/2], got {weight}, {contexts} and {share}"
            )
        self.level, self.weight = level, weight
        self.contexts, self.share, self.plain = contexts, share, cross_entropy()

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss on pixels x (N, C, H, W), labels y (N,)."""
        if not model.training:
            return self.plain(model, x, y)
        h, part = model.hidden(x)[self.level - 1], model.above(self.level)
        return self.plain(part, h, y) + self.weight * self.penalty(part, h, y)

    def penalty(self, part: nn.Module, h: Tensor, y: Tensor) -> Tensor:
        """Return the mean over images and contexts of the squared difference of f_y.

        One A, one B and one probability for each context serve the whole minibatch; which units
        are in a context is drawn for each image.  `part` maps the units h (N, ...) to logits; it
        is in eval mode meanwhile, so that batch norm does not learn from masked images.  Gradients
        reach its weights and h.
        """
        n = h[0].numel()
        size = max(1, round(self.share * n))
        order = torch.randperm(n, generator=self.generator)
        present = torch.rand(self.contexts, 1, 1, generator=self.generator)
        inside = torch.rand(self.contexts, len(h), n, generator=self.generator) < present
        masks = inside[:, None].repeat(1, 4, 1, 1)  # (K, 4, N, n): S + A + B, S + A, S + B, S
        with_a, with_b = torch.tensor([[True, True, False, False], [True, False, True, False]])
        masks[..., order[:size]] = with_a[:, None, None]
        masks[..., order[size : 2 * size]] = with_b[:, None, None]
        masked = h * masks.to(h.device).to(h.dtype).unflatten(3, h.shape[1:])  # (K, 4, N, ...)
        with runtime.evaluating(part):
            logits = part(masked.flatten(0, 2)).unflatten(0, masks.shape[:3])
        own = logits.gather(3, y.expand(masks.shape[:3])[..., None]).squeeze(3)  # (K, 4, N)
        both, only_a, only_b, neither = own.unbind(1)
        return (both - only_a - only_b + neither).square().mean()


OURS = {
    kind: {"CNN": Setting(architecture, Options(HEART[kind]), HEART_FEW)}
    for kind, architecture in (("grey", "cnn-mnist"), ("colour", "cnn-cifar"))
}
