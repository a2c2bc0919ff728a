"""Attacks whose images are meant for other networks: one function, and parts that combine.

`pgd` is the function, `parts` names the published methods as its arguments; `penalised` is held
back by a penalty in the place of a ball.
"""

from intriguing.attacks.draws import Draws
from intriguing.attacks.losses import margin
from intriguing.attacks.transfer.combined import pgd
from intriguing.attacks.transfer.interaction import Interaction
from intriguing.attacks.transfer.parts import (
    Diverse,
    Noise,
    VarianceTuning,
    parts,
    shrinking,
    smoothing,
)
from intriguing.attacks.transfer.penalised import penalised, penalty_for
from intriguing.attacks.transfer.residual import Ensemble, decayed, residual_blocks

__all__ = [
    "Diverse",
    "Draws",
    "Ensemble",
    "Interaction",
    "Noise",
    "VarianceTuning",
    "decayed",
    "margin",
    "parts",
    "penalised",
    "penalty_for",
    "pgd",
    "residual_blocks",
    "shrinking",
    "smoothing",
]
