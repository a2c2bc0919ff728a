"""One training loop (`loop`, `minibatch`), objectives as functions (`objectives`), resumable state
(`state`) and the settings of the networks (`recipes`, `convnets`, `arms`, `dropout_arms`)."""

from intriguing.training.arms import ARMS
from intriguing.training.convnets import CONVNETS, network
from intriguing.training.dropout_arms import DROPOUT_ARMS
from intriguing.training.loop import Outcome, fit_full_batch
from intriguing.training.minibatch import fit_minibatch
from intriguing.training.recipes import RECIPES, Recipe

__all__ = [
    "ARMS", "CONVNETS", "DROPOUT_ARMS", "RECIPES", "Outcome", "Recipe", "fit_full_batch",
    "fit_minibatch", "network",
]  # fmt: skip
