"""One training loop (`loop`), objectives as functions (`objectives`), resumable state (`state`)
and the settings of the paper's networks (`recipes`)."""

from intriguing.training.loop import Outcome, fit_full_batch, fit_minibatch
from intriguing.training.recipes import RECIPES, Recipe

__all__ = ["RECIPES", "Outcome", "Recipe", "fit_full_batch", "fit_minibatch"]
