"""One training loop (`loop`), objectives as functions (`objectives`), resumable state (`state`)
and the settings of the paper's networks (`recipes`, `arms`)."""

from intriguing.training.arms import ARMS
from intriguing.training.loop import Outcome, fit_full_batch, fit_minibatch
from intriguing.training.recipes import CONVNETS, RECIPES, Recipe, network

__all__ = [
    "ARMS", "CONVNETS", "RECIPES", "Outcome", "Recipe", "fit_full_batch", "fit_minibatch",
    "network",
]  # fmt: skip
