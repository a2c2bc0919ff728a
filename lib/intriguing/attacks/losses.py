"""Losses of logits that attacks raise, and the best class beside the label."""

import torch
import torch.nn.functional as F
from torch import Tensor


def without(logits: Tensor, label: Tensor) -> Tensor:
    """Return logits (..., K) with that of the label (...) at minus infinity."""
    return logits.scatter(-1, label[..., None], -torch.inf)


def best_other(logits: Tensor, label: Tensor) -> Tensor:
    """Return the largest logit (...) of logits (..., K), the label's (...) apart."""
    return without(logits, label).amax(-1)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return how far the best other class is ahead of the label, (N,): Wang et al.'s utility."""
    return best_other(logits, y) - logits.gather(1, y[:, None]).squeeze(1)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross entropy (N,) of logits (N, K) and labels (N,)."""
    return F.cross_entropy(logits, y, reduction="none")


LOSSES = {"cross_entropy": cross_entropy, "margin": margin}
