"""Whether a network is right, and pictures as they are stored."""

import pytest
import torch
from torch import nn

from intriguing.evaluate import correct, quantise


class Brightest(nn.Module):
    """The class is the brightest of three pixels."""

    def forward(self, x):
        return x.flatten(1)


def test_correct_compares_predictions_with_labels():
    x = torch.eye(3).view(3, 1, 1, 3)
    y = torch.tensor([0, 1, 0])
    for batch in (1, 2, 1000):
        assert correct(Brightest(), x, y, batch=batch).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="3 images cannot have 2 labels"):
        correct(Brightest(), x, y[:2])


def test_quantise_rounds_and_never_cuts():
    x = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0])
    assert (quantise(x) * 255).round().tolist() == [0, 0, 1, 255, 255]
    assert torch.equal(quantise(quantise(x)), quantise(x))
    with pytest.raises(ValueError, match="at least 2 levels"):
        quantise(x, 1)
