"""Where chapters 09 and 10 look for the objectives of units and for wrong labels."""

from intriguing.data.labels import mislabelled
from intriguing.methods.interaction_loss import InteractionLoss
from intriguing.methods.unit_dropout import UnitDropout

__all__ = ["InteractionLoss", "UnitDropout", "mislabelled"]
