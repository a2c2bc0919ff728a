"""The engine of all trainings: the loop, minibatches and full batches, shared objectives.

What is trained by which method stands in `intriguing.methods`.
"""

from intriguing.training.fit import Fit
from intriguing.training.loop import Outcome, fit_full_batch
from intriguing.training.minibatch import fit_minibatch
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

__all__ = [
    "Fit", "MethodOptions", "Outcome", "Passes", "Request", "fit_full_batch", "fit_minibatch",
]  # fmt: skip
