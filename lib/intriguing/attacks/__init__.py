"""Attacks: pure functions over (model, pixels, labels), one family a file."""

from .common import AttackResult, check_inputs, predict
from .lbfgs import global_c, lbfgs
from .targets import TARGET_MODES, linearised, targets
from .transfer import Ensemble, Interaction, parts, pgd

__all__ = [
    "TARGET_MODES", "AttackResult", "Ensemble", "Interaction", "check_inputs", "global_c", "lbfgs",
    "linearised", "parts", "pgd", "predict", "targets",
]  # fmt: skip
