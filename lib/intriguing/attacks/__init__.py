"""Attacks: pure functions over (model, pixels, labels), one family a file.

Those made to transfer have a door of their own, `attacks.transfer`: they build on `interactions`,
which builds on this package.
"""

from .apgd import apgd, apgd_targeted
from .common import AttackResult, check_inputs, predict
from .lbfgs import global_c, lbfgs
from .pgd import fgsm, mi_fgsm, pgd
from .square import square
from .targets import TARGET_MODES, linearised, targets

__all__ = [
    "TARGET_MODES", "AttackResult", "apgd", "apgd_targeted", "check_inputs", "fgsm", "global_c",
    "lbfgs", "linearised", "mi_fgsm", "pgd", "predict", "square", "targets",
]  # fmt: skip
