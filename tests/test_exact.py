"""The exact distance against closed forms, a search without a program, and what attacks find."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from intriguing.robustness import exact


def small(inputs: int, units: int, classes: int, seed: int = 0, layers: int = 1) -> nn.Sequential:
    """A random network of ReLUs for images of `inputs` pixels."""
    torch.manual_seed(seed)
    parts, size = [nn.Flatten()], inputs
    for _ in range(layers):
        parts += [nn.Linear(size, units), nn.ReLU()]
        size = units
    return nn.Sequential(*parts, nn.Linear(size, classes)).eval()


def wrong_corner(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Some image that is not seen as y: the nearest of random ones."""
    points = torch.rand(4000, *x.shape[1:], generator=torch.Generator().manual_seed(1))
    found = []
    with torch.no_grad():
        answers = model(points).argmax(1)
    for image, label in zip(x, y, strict=True):
        other = points[answers != label]
        assert len(other), "the network knows one class only: another seed"
        found.append(other[(other - image).flatten(1).abs().amax(1).argmin()])
    return torch.stack(found)


def test_a_linear_network_has_its_closed_form():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 3)).eval()
    x = 0.5 + 0.01 * torch.rand(4, 1, 1, 5)  # far from the box
    with torch.no_grad():
        model[1].weight.mul_(3)
        logits = model(x)
    y = logits.argmax(1)
    weight = model[1].weight.detach()
    ratios = torch.stack([
        torch.stack([(z[label] - z[k]) / (weight[label] - weight[k]).abs().sum()
                     for k in range(3) if k != label]).min()
        for z, label in zip(logits, y, strict=True)
    ])  # fmt: skip
    inside = ratios < 0.4
    assert inside.any()
    x, y, ratios = x[inside], y[inside], ratios[inside]
    found = exact.linf_distance(model, x, y, wrong_corner(model, x, y), tolerance=1e-4)
    np.testing.assert_allclose(found.high, ratios.numpy(), rtol=5e-3)
    assert found.solved(2e-4).all()


@pytest.mark.parametrize("layers", [1, 2])
def test_no_image_of_a_fine_grid_is_nearer(layers):
    model = small(2, 6, 3, seed=5, layers=layers)
    with torch.no_grad():
        for part in model:
            if isinstance(part, nn.Linear):
                part.weight.mul_(3)
    side = np.linspace(0, 1, 401)
    grid = torch.tensor(list(itertools.product(side, side)), dtype=torch.float32).view(-1, 1, 1, 2)
    with torch.no_grad():
        answers = model(grid).argmax(1)
    x = grid[[40 * 401 + 50, 200 * 401 + 210, 330 * 401 + 90]]
    y = model(x).argmax(1)
    found = exact.linf_distance(model, x, y, wrong_corner(model, x, y))
    for row in range(len(x)):
        far = (grid - x[row]).flatten(1).abs().amax(1)[answers != y[row]].min().item()
        assert found.low[row] <= far + 1e-6
        assert far <= found.high[row] + 1 / 400  # the grid has a point this near the nearest
        assert found.high[row] - found.low[row] <= 1.1e-3 * found.high[row]
    assert (model(found.x_adv.float()).argmax(1) != y).all()


def test_bounds_hold_the_units():
    model = small(6, 8, 4, seed=2, layers=3)
    pieces = exact.affine_pieces(model, torch.Size([1, 2, 3]))
    low, high = np.full(6, 0.3), np.full(6, 0.6)
    bounds = exact.bounds_of(pieces, low, high)
    points = np.random.default_rng(0).uniform(low, high, (2000, 6)).T
    for (weight, bias), (least, most) in zip(pieces, bounds, strict=True):
        z = weight @ points + bias[:, None]
        assert (z >= least[:, None] - 1e-9).all() and (z <= most[:, None] + 1e-9).all()
        points = np.maximum(z, 0)


def test_a_convolution_becomes_its_matrix():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)
    ).eval()
    x = torch.rand(5, 2, 4, 4)
    pieces = exact.affine_pieces(model, x.shape[1:])
    h = x.double().flatten(1).numpy().T
    h = np.maximum(pieces[0][0] @ h + pieces[0][1][:, None], 0)
    z = pieces[1][0] @ h + pieces[1][1][:, None]
    np.testing.assert_allclose(z.T, model(x).detach().numpy(), atol=1e-5)
    assert model[0].weight.dtype == torch.float32  # the network is as it was


def test_what_it_cannot_do_it_says():
    x, y = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])
    sigmoid = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.Sigmoid()).eval()
    with pytest.raises(ValueError, match="Sigmoid"):
        exact.linf_distance(sigmoid, x, y, x)
    model = small(2, 4, 3)
    y = model(x).argmax(1)
    with pytest.raises(ValueError, match="adversarial"):
        exact.linf_distance(model, x, y, x)


def test_an_image_that_is_wrong_is_at_distance_zero():
    model = small(2, 4, 3)
    x = torch.full((1, 1, 1, 2), 0.5)
    y = (model(x).argmax(1) + 1) % 3
    found = exact.linf_distance(model, x, y, x)
    assert found.low[0] == found.high[0] == 0


def test_an_image_on_the_very_boundary_is_taken():
    model = small(2, 6, 3, seed=5)
    x = torch.full((1, 1, 1, 2), 0.5)
    y = model(x).argmax(1)
    far = exact.linf_distance(model, x, y, wrong_corner(model, x, y))
    inside = x + (far.x_adv.float() - x) * (1 - 8e-4)
    assert model(inside).argmax(1) == y
    again = exact.linf_distance(model, x, y, inside)
    assert again.high[0] <= far.high[0] * 1.002
