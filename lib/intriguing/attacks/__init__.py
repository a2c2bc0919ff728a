"""Attacks: pure functions over (model, pixels, labels), one family a file.

Those made to transfer have a door of their own, `attacks.transfer`: they build on `interactions`,
which builds on this package.
"""

from .apgd import apgd, apgd_targeted
from .carlini_wagner import carlini_wagner
from .carlini_wagner_l0 import carlini_wagner_l0
from .carlini_wagner_linf import carlini_wagner_linf
from .common import AttackResult, check_inputs, logits_of, looks_like_probabilities, predict
from .ddn import ddn
from .deepfool import deepfool
from .fab import fab
from .fmn import fmn
from .lbfgs import global_c, lbfgs
from .pgd import fgsm, mi_fgsm, pgd
from .square import square
from .targets import TARGET_MODES, linearised, targets

__all__ = [
    "TARGET_MODES", "AttackResult", "apgd", "apgd_targeted", "carlini_wagner", "carlini_wagner_l0",
    "carlini_wagner_linf", "check_inputs", "ddn", "deepfool", "fab", "fgsm", "fmn", "global_c",
    "lbfgs", "linearised", "logits_of", "looks_like_probabilities", "mi_fgsm", "pgd", "predict",
    "square", "targets",
]  # fmt: skip
