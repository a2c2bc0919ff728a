"""Lengths at any size, everywhere one is divided by or reported; labels are in test_foreign_*."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from intriguing import coherence, directions, permutation, spectrum
from intriguing.attacks import changes, linearised, targets
from intriguing.attacks.balls import L2
from intriguing.attacks.draws import Draws
from intriguing.attacks.transfer import penalty_for
from intriguing.tensors import lengths, ordinary, units

F32, F64 = torch.float32, torch.float64
SIZES = [1e-44, 1e-38, 1e-30, 1e-25, 1e-20, 1e-6, 1.0, 1e6, 1e18, 1e25, 1e36]


def normal(*shape, seed=0, dtype=F64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("size", SIZES)
def test_lengths_are_those_of_float64(size):
    x = (size * normal(3, 2, 5, 5)).float()
    exact = x.double().flatten(1).norm(dim=1)
    assert lengths(x).double().tolist() == pytest.approx(exact.tolist(), rel=1e-5, abs=2e-45)
    directions = units(x).double()
    assert torch.allclose(directions, x.double() / exact.view(3, 1, 1, 1), atol=1e-5)
    scaled, scale = ordinary(x)
    assert torch.allclose(scaled.double() * scale.double().view(3, 1, 1, 1), x.double(), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-250, 1e-160, 1.0, 1e160, 1e250])
def test_and_those_of_float64_are_right_too(size):
    x = size * normal(4, 7)
    assert lengths(x).tolist() == pytest.approx([math.hypot(*row) for row in x.tolist()])
    assert units(x).norm(dim=1).tolist() == pytest.approx([1.0] * 4)


def test_rows_of_ordinary_size_are_what_they_were_to_the_last_bit():
    x = normal(40, 28 * 28, dtype=F32) * torch.logspace(-9, 9, 40)[:, None]
    norm = x.norm(dim=1)
    assert torch.equal(lengths(x), norm) and torch.equal(units(x), x / norm[:, None])


def test_a_row_does_not_know_of_its_neighbours_and_zero_stays_zero():
    x = torch.cat([torch.zeros(1, 9), 1e-30 * normal(2, 9).float(), normal(2, 9).float(),
                   1e30 * normal(1, 9).float()])  # fmt: skip
    for rows in ([0], [1, 4], [5, 3, 0], [2, 1, 0, 5]):
        assert torch.equal(lengths(x[rows]), lengths(x)[rows])
        assert torch.equal(units(x[rows]), units(x)[rows])
    assert lengths(x)[0] == 0 and (units(x)[0] == 0).all()


def test_what_is_not_finite_shows():
    x = torch.tensor([[1.0, torch.nan], [1.0, torch.inf], [3.0, 4.0]])
    assert lengths(x)[0].isnan() and lengths(x)[1].isinf() and lengths(x)[2] == 5


# -- where lengths are taken ----------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_a_step_in_the_l2_ball_has_its_length(size):
    x = torch.full((2, 1, 3, 3), 0.5)
    g = normal(2, 1, 3, 3)
    moved = L2(x, 0.5).move(x, (size * g).float(), 0.1) - x
    expected = 0.1 * g / g.flatten(1).norm(dim=1).view(2, 1, 1, 1)
    coarse = 0.2 if size < 1e-43 else 1e-4  # such numbers have a digit or two
    assert torch.allclose(moved.double(), expected, atol=0.1 * coarse)
    assert torch.equal(L2(x, 0.5).move(x, torch.zeros_like(x), 0.1), x)
    assert L2(x, 0.5).start(Draws(0, x)).isfinite().all()


@pytest.mark.parametrize("size", [1e-30, 1e-24, 1e-8])
def test_changes_of_any_size_are_measured_and_resized(size):
    x = torch.zeros(3, 1, 4, 4)
    change = (size * normal(3, 1, 4, 4).abs()).float()
    exact = change.double().flatten(1).norm(dim=1)
    assert (4 * changes.rms(x, change)).tolist() == pytest.approx(exact.tolist(), rel=1e-5)
    assert lengths(changes.amplify(x, change, 0.1)).tolist() == pytest.approx([0.4] * 3, rel=1e-5)
    like = changes.gaussian_like(x, change, generator=torch.Generator().manual_seed(0))
    assert lengths(like).tolist() == pytest.approx(exact.tolist(), rel=1e-4)


class Linear(nn.Module):
    def __init__(self, weight, bias=None):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(len(weight), dtype=weight.dtype)
                                 if bias is None else bias)  # fmt: skip
        self.eval()

    def forward(self, x):
        return x.flatten(1) @ self.weight.T + self.bias


@pytest.mark.parametrize("size", [1e-28, 1e-22, 1.0, 1e22, 1e30])
def test_distances_of_a_linear_model_do_not_hang_on_the_unit_of_its_logits(size):
    weight, x = normal(4, 9), torch.full((5, 1, 3, 3), 0.5, dtype=F64) + 0.1 * normal(5, 1, 3, 3)
    x = x.clamp(0, 1)
    y = Linear(weight)(x).argmax(1)
    exact = linearised(Linear(weight), x, y)
    few = Linear((size * weight).float())
    found = linearised(few, x.float(), y).double()
    others = exact.isfinite()
    assert torch.allclose(found[others], exact[others], rtol=1e-3)
    assert targets(few, x.float(), y, mode="nearest").equal(targets(Linear(weight), x, y,
                                                                    mode="nearest"))  # fmt: skip
    for power in (1.2, 2.0, 5.0):
        wide = penalty_for(Linear(weight), x, y, norm=1.0, power=power, loss="margin")
        narrow = penalty_for(few, x.float(), y, norm=1.0, power=power, loss="margin")
        assert (narrow.double() / size).tolist() == pytest.approx(wide.tolist(), rel=1e-3)


def test_the_nearest_class_is_never_the_label():
    x, far = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0)), 7.0
    y = torch.tensor([0, 1, 3])
    flat = Linear(torch.zeros(4, 4), torch.tensor([far, far, 0.0, far]))  # no slope anywhere
    assert (targets(flat, x, y, mode="nearest") != y).all()
    ties = Linear(torch.ones(4, 4))  # all classes alike
    assert (targets(ties, x, y, mode="nearest") != y).all()
    assert (linearised(ties, x, y).gather(1, (1 - y.clamp(0, 1))[:, None]) == 0).all()

    class Nan(Linear):
        def forward(self, x):
            return super().forward(x) + torch.where(x.sum((1, 2, 3)) > x[0].sum(), torch.nan, 0.0
                                                    )[:, None]  # fmt: skip

    lost = Nan(torch.eye(4))
    assert lost(x).isnan().any()
    for label in range(4):
        wanted = targets(lost, x, torch.full((3,), label), mode="nearest")
        assert (wanted != label).all() and (wanted >= 0).all() and (wanted < 4).all()


@pytest.mark.parametrize("size", [1e-28, 1e-22, 1e22])
def test_features_of_any_size_have_the_same_directions(size):
    phi = normal(50, 4) @ torch.diag(torch.tensor([4.0, 3, 2, 1], dtype=F64))
    few = (size * phi).float()
    rows, _ = directions.principal_directions(phi)
    found, _ = directions.principal_directions(few)
    assert torch.allclose((rows * found.double()).sum(1).abs(), torch.ones(4, dtype=F64), atol=1e-4)
    assert torch.allclose(directions.whiten(few).double(), directions.whiten(phi), atol=1e-3)
    assert (directions.whiten(torch.zeros(5, 3)) == 0).all()
    sets = torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert (coherence.pair_distance(sets, few).double() / size).tolist() == pytest.approx(
        coherence.pair_distance(sets, phi).tolist(), rel=1e-4)  # fmt: skip


@pytest.mark.parametrize("size", [1e-28, 1e-22, 1e22])
def test_a_certificate_does_not_hang_on_the_unit_of_the_logits(size):
    weight, x = normal(3, 6), normal(4, 6)
    logits = x @ weight.T
    y = logits.argmax(1)
    y[0] = (y[0] + 1) % 3  # misclassified
    exact = spectrum.pairwise_radius(logits, y, weight, 1.0)
    few = spectrum.pairwise_radius((size * logits).float(), y, (size * weight).float(), 1.0)
    assert few.tolist() == pytest.approx(exact.tolist(), rel=1e-4) and few[0] == 0
    twins = torch.ones(3, 6)
    assert spectrum.pairwise_radius(torch.zeros(4, 3), y, twins, 1.0).tolist() == [0.0] * 4


# -- neighbours of these faults -------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-15, 1.0, 1e15])
def test_a_p_value_does_not_hang_on_the_unit(size):
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 12), rng.normal(0, 1, 12)
    p = permutation.permutation_test([size * a], [size * b], resamples=500)
    assert p == permutation.permutation_test([a], [b], resamples=500) < 0.2
    natural, bases = size * 3.0, [size * rng.normal(0, 1, 99)]
    assert permutation.basis_test([natural], bases) == pytest.approx(1 / 100)
    with pytest.raises(ValueError, match="finite"):
        permutation.basis_test([math.nan], bases)


@pytest.mark.parametrize("y", [torch.tensor([[0], [1], [1], [0], [2], [2]]), [0, 1, 1, 0, 2, 2],
                               torch.tensor([0, 1, 1, 0, 2, -1])])  # fmt: skip
def test_coherence_refuses_labels_that_are_none(y):
    sets = torch.tensor([[0, 1, 2], [3, 4, 5]])
    for measure in (coherence.label_purity, coherence.label_entropy):
        with pytest.raises(ValueError, match="y "):
            measure(sets, y)
