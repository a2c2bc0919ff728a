"""Attacks: pure functions over (model, pixels, labels), one family a file.

Those made to transfer have a door of their own, `attacks.transfer`: they build on `interactions`,
which builds on this package.
"""

from .common import AttackResult, check_inputs, logits_of, looks_like_probabilities, predict
from .lbfgs import global_c, lbfgs
from .targets import TARGET_MODES, linearised, targets

__all__ = [
    "TARGET_MODES", "AttackResult", "check_inputs", "global_c", "lbfgs", "linearised", "logits_of",
    "looks_like_probabilities", "predict", "targets",
]  # fmt: skip
