r"""Objectives that act on the units of one hidden layer: dropout, and the interaction loss.

A layer's n units are players, absent where they are set to zero; the value of a coalition is the
logit of the label, f_y.  Zhang et al. 2021 (arXiv 2009.11729) add to the cross entropy

.. math::
    \lambda \, \mathbb E_S \big[ \Delta f(S)^2 \big], \qquad
    \Delta f(S) = f_y(S \cup A \cup B) - f_y(S \cup A) - f_y(S \cup B) + f_y(S),

with disjoint random sets A and B of units in the place of single ones.  The paper speaks of the
strength \|I\| of interactions; this form is that of the authors' code.  The square stands inside
the mean over contexts S, so that what is penalised is I^2 and the variance of the differences
together.

The networks have `hidden` and `above`, as `models.SmallCNN` and `models.MLP`.
"""

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.training.objectives import Drawing, check_rates, cross_entropy


class UnitDropout(Drawing):
    """Cross entropy with dropout in one hidden layer; the companion of its own training.

    Parameters
    ----------
    level : the hidden layer whose outputs are dropped, counted from 1.
    rate : the share dropped in train mode, in [0, 1).
    generator : draws what is dropped; on the CPU.

    Raises
    ------
    ValueError : another rate.
    """

    def __init__(self, level: int, rate: float, generator: torch.Generator) -> None:
        super().__init__(generator)
        check_rates(rate)
        self.level, self.rate, self.plain = level, rate, cross_entropy()

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss on pixels x (N, C, H, W), labels y (N,)."""
        if not model.training:
            return self.plain(model, x, y)
        h = model.hidden(x)[self.level - 1]
        return self.plain(model.above(self.level), self.thin(h, self.rate), y)


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


def mislabelled(y: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Give a share of the images of each class a wrong label.

    Parameters
    ----------
    y : (N,) int64 labels, the largest of which says how many classes there are.
    share : of the images of each class, rounded.
    seed : chooses the images, and a wrong class for each, evenly.

    Returns
    -------
    labels (N,), wrong (N,) bool : on the device of y.

    Raises
    ------
    ValueError : a share outside [0, 1], a single class.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of the labels lies in [0, 1], got {share}")
    own = y.cpu()
    classes = int(own.max()) + 1
    if classes < 2:
        raise ValueError("with one class there are no wrong labels")
    generator = runtime.generator(seed, "wrong labels")
    order = torch.randperm(len(own), generator=generator)
    shift = torch.randint(1, classes, (len(own),), generator=generator)
    wrong = torch.zeros(len(own), dtype=torch.bool)
    for label in range(classes):
        members = order[own[order] == label]
        wrong[members[: round(share * len(members))]] = True
    return torch.where(wrong, (own + shift) % classes, own).to(y.device), wrong.to(y.device)
