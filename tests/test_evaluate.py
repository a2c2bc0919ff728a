"""Whether a network is right, and pictures as they are stored."""

import numpy as np
import pytest
import torch
from attacknets import cnn, fc, linear, problems
from torch import nn

from intriguing import attacks
from intriguing.evaluate import (
    ChangedSet,
    correct,
    leave_one_out,
    quantise,
    transfer_matrix,
)


class Brightest(nn.Module):
    """The class is the brightest of three pixels."""

    def forward(self, x):
        return x.flatten(1)


def test_correct_compares_predictions_with_labels():
    x = torch.eye(3).view(3, 1, 1, 3)
    y = torch.tensor([0, 1, 0])
    for batch in (1, 2, 1000):
        assert correct(Brightest(), x, y, batch=batch).tolist() == [True, True, False]
    with pytest.raises(ValueError, match=r"int64 of shape \(3,\), not torch.int64 \(2,\)"):
        correct(Brightest(), x, y[:2])


def test_quantise_rounds_and_never_cuts():
    x = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0])
    assert (quantise(x) * 255).round().tolist() == [0, 0, 1, 255, 255]
    assert torch.equal(quantise(quantise(x)), quantise(x))
    with pytest.raises(ValueError, match="at least 2 levels"):
        quantise(x, 1)


class Fixed(nn.Module):
    """Sees in image i, whose first pixel is i / 100, the class that it was told."""

    def __init__(self, answers):
        super().__init__()
        self.answers = torch.tensor(answers)
        self.eval()

    def forward(self, x):
        number = (x[:, 0, 0, 0] * 100).round().long()
        return nn.functional.one_hot(self.answers[number], 3).float()


def numbered(*numbers):
    return torch.tensor(numbers).view(-1, 1, 1, 1) / 100


def test_transfer_counts_only_what_both_saw_before():
    y = torch.tensor([0, 0, 0, 0])
    images = ChangedSet(numbered(0, 1, 2, 3), y, numbered(4, 5, 6, 7))
    a = Fixed([0, 0, 0, 1, 1, 1, 1, 1])  # right before but for image 3; then always wrong
    b = Fixed([0, 0, 1, 0, 1, 0, 1, 1])  # right before but for image 2; then for image 1 only
    matrix = transfer_matrix({"a": a}, {"a": a, "b": b}, {"a": images})
    assert np.array_equal(matrix.flags("a", "b"), [1, 0, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(matrix.flags("a", "a"), [1, 1, 1, np.nan], equal_nan=True)
    assert (matrix.rate("a", "b").value, matrix.rate("a", "b").n) == (0.5, 2)
    assert (matrix.error("a", "b").value, matrix.error("a", "b").n) == (0.75, 4)
    assert matrix.table("n").loc["a"].tolist() == [3, 2]
    assert matrix.table().loc["a"].tolist() == [1.0, 0.5]
    noise = transfer_matrix({"noise": None}, {"b": b}, {"noise": images})
    assert noise.table("n").loc["noise", "b"] == 3


def test_transfer_does_not_depend_on_batch_or_order_of_images():
    networks = {"fc": fc(), "linear": linear(), "cnn": cnn()}
    x, y, target = problems(networks["fc"], 40)
    sets = {"fc": ChangedSet(x, y, attacks.lbfgs(networks["fc"], x, y, target=target).x_adv)}
    order = torch.arange(39, -1, -1)
    turned = {"fc": ChangedSet(x[order], y[order], sets["fc"].x_adv[order])}
    one = transfer_matrix({"fc": networks["fc"]}, networks, sets)
    many = transfer_matrix({"fc": networks["fc"]}, networks, sets, batch=7)
    other = transfer_matrix({"fc": networks["fc"]}, networks, turned)
    for name in networks:
        assert np.array_equal(one.flags("fc", name), many.flags("fc", name), equal_nan=True)
        assert np.array_equal(one.flags("fc", name), other.flags("fc", name)[::-1], equal_nan=True)
    assert one.rate("fc", "fc").value == 1.0  # the attack was made for it
    assert one.rate("fc", "cnn").value < 0.5


def test_transfer_refuses_what_it_cannot_count():
    a = Fixed([0, 1])
    images = ChangedSet(numbered(0), torch.tensor([0]), numbered(1))
    with pytest.raises(ValueError, match="alone: b"):
        transfer_matrix({"a": a}, {"a": a}, {"a": images, "b": images})
    with pytest.raises(ValueError, match="at least one source"):
        transfer_matrix({"a": a}, {}, {"a": images})
    with pytest.raises(ValueError, match="'b' is in train mode"):
        transfer_matrix({"a": a}, {"b": Fixed([0, 1]).train()}, {"a": images})
    with pytest.raises(ValueError, match="as many changed images"):
        ChangedSet(numbered(0, 1), torch.tensor([0]), numbered(1))
    never = transfer_matrix({"a": Fixed([1, 1])}, {"a": a}, {"a": images})
    with pytest.raises(ValueError, match="no clean image"):
        never.rate("a", "a")
    assert np.isnan(never.table().loc["a", "a"])
    with pytest.raises(ValueError, match="not 'rates'"):
        never.table("rates")


def test_leave_one_out_by_hand_with_ties():
    """Three images, four steps: no image counts in the choice of its own step."""
    flags = [[0, 0, 1],
             [1, 1, 0],
             [1, 0, 1],
             [0, 1, 1]]  # fmt: skip
    # for image 0 the others sum to 1, 1, 1, 2; for image 1 to 1, 1, 2, 1; for image 2 to 0, 2, 1, 1
    assert leave_one_out(flags).tolist() == [0, 0, 0]
    tied = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]  # the first of equals: steps 0, 0 and, for 2, 0
    assert leave_one_out(tied).tolist() == [1, 0, 1]


def test_leave_one_out_against_brute_force():
    rng = np.random.default_rng(0)
    flags = rng.integers(0, 2, size=(6, 15)).astype(float)
    flags[:, [3, 8]] = np.nan
    found = leave_one_out(flags)
    for k in range(15):
        if k in (3, 8):
            assert np.isnan(found[k])
            continue
        rest = [n for n in range(15) if n != k and n not in (3, 8)]
        means = [flags[t, rest].mean() for t in range(6)]
        assert found[k] == flags[int(np.argmax(means)), k]


def test_leave_one_out_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match="steps, images"):
        leave_one_out([0, 1])
    with pytest.raises(ValueError, match="at least 2 images"):
        leave_one_out([[1.0], [0.0]])
    with pytest.raises(ValueError, match="at all steps or at none"):
        leave_one_out([[1, np.nan, 0], [0, 1, 1]])
