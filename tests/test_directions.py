"""Directions, their top images and the coherence of sets, against brute force and closed forms."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats as sp
from torch import nn

from intriguing import coherence as co
from intriguing import data, directions, models, paths, runtime, vision


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- features


@pytest.fixture
def digits():
    return torch.rand(7, 1, 28, 28, generator=gen())


def test_activations_of_an_mlp_are_its_hidden_layers(digits):
    net = models.build("fc100-100-10").eval()
    first, second = net.hidden(digits)
    assert torch.equal(directions.activations(net, digits), second)
    assert torch.allclose(directions.activations(net, digits, -2, batch=3), first)
    assert torch.equal(directions.activations(net, digits, "layers.1"), first)
    assert torch.equal(directions.activations(net, digits, 0), digits.flatten(1))
    assert directions.weight_layers(net, digits) == ["layers.0", "layers.1", "layers.2"]
    assert not any(m._forward_pre_hooks for m in net.modules())


def test_activations_of_the_cnn_are_its_features(digits):
    net = models.build("cnn-mnist").eval()
    phi = directions.activations(net, digits, batch=2)
    assert torch.equal(phi, torch.cat([net.features(part) for part in digits.split(2)]))
    assert directions.activations(net, digits, "fc1").shape == (7, 32 * 7 * 7)
    assert not phi.requires_grad


def test_layers_count_in_the_order_in_which_they_run(digits):
    class Crossed(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(5, 3), nn.Linear(784, 5)

        def forward(self, x):
            return self.last(torch.relu(self.first(x.flatten(1))))

    net = Crossed().eval()
    assert directions.weight_layers(net, digits) == ["first", "last"]
    assert directions.activations(net, digits).shape == (7, 5)


def test_activations_refuse(digits):
    net = models.build("fc100-100-10")
    with pytest.raises(ValueError, match="train mode"):
        directions.activations(net, digits)
    net.eval()
    with pytest.raises(ValueError, match="did you mean layers.1"):
        directions.activations(net, digits, "layer.1")
    with pytest.raises(ValueError, match="no layer 3: the network has 3"):
        directions.activations(net, digits, 3)
    with pytest.raises(ValueError, match="no image"):
        directions.activations(net, digits[:0])

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(784, 784)

        def forward(self, x):
            return self.layer(self.layer(x.flatten(1)))

    with pytest.raises(ValueError, match="exactly once"):
        directions.activations(Twice().eval(), digits)


def imagenet_folder(folder: Path, size=64) -> Path:
    """Three classes of two images in the layout of an ImageNet validation folder."""
    rng = np.random.default_rng(0)
    for label, name in itertools.product(range(3), ("a", "b")):
        target = folder / "val" / f"n{label:08d}"
        target.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (size + label, size + 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(target / f"{name}.png")
    return folder


def check_imagenet_path(images: data.Dataset, k: int):
    """The paper profile's path: a torchvision network, its last hidden layer, top images."""
    net = vision.network("alexnet", seed=0)
    phi = directions.activations(net, images.x, batch=4)
    assert phi.shape == (len(images), 4096) and phi.isfinite().all() and (phi >= 0).all()
    v = directions.random_directions(5, 4096, gen())
    sets = directions.top_images(phi.double(), v, k)
    brute = (phi.double() @ v.T).argsort(dim=0, descending=True)[:k].T
    assert torch.equal(sets, brute)
    found = co.coherence(sets, images.y, images.x, phi)
    assert found.purity.shape == (5,) and (found.pixels > 0).all()


def test_a_folder_of_images_through_a_torchvision_network(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_CACHE", str(tmp_path / "cache"))
    images = data.load(imagenet_folder(tmp_path / "imagenet"), "val", size=64)
    check_imagenet_path(images, k=2)


@pytest.mark.slow
def test_real_photographs_through_a_torchvision_network():
    if not any((folder / "imagenet-1k-samples.tar").is_file() for folder in paths.data_dirs()):
        pytest.skip("imagenet-1k-samples.tar is not in INTRIGUING_DATA")
    check_imagenet_path(data.load("imagenet-1k-samples", "test", n=12), k=3)


# ---------------------------------------------------------------- directions


def test_random_directions_are_uniform_on_the_sphere():
    v = directions.random_directions(4000, 3, gen())
    assert v.norm(dim=1).sub(1).abs().max() < 1e-12
    # Archimedes: on the sphere in three dimensions each coordinate is uniform on [-1, 1]
    for column in v.T:
        assert sp.kstest(column.numpy(), "uniform", args=(-1, 2)).pvalue > 1e-3
    assert torch.equal(v, directions.random_directions(4000, 3, gen()))


def test_random_bases_are_orthonormal_and_uniform():
    bases = torch.stack([directions.random_basis(3, gen(seed)) for seed in range(500)])
    eye = torch.eye(3, dtype=torch.float64)
    assert (bases @ bases.mT - eye).abs().max() < 1e-12
    for row in range(3):  # without the mending of signs the entries lean to one side
        assert sp.kstest(bases[:, row, row].numpy(), "uniform", args=(-1, 2)).pvalue > 1e-3


def test_principal_directions_equal_the_svd():
    phi = torch.randn(40, 5, generator=gen(), dtype=torch.float64) * torch.tensor([5, 4, 3, 2, 1])
    rows, variance = directions.principal_directions(phi)
    _, s, vh = torch.linalg.svd(phi - phi.mean(0), full_matrices=False)
    assert torch.allclose(variance, s**2 / 40)
    assert torch.allclose((rows * vh).sum(1).abs(), torch.ones(5, dtype=torch.float64))


def test_whitened_features_are_uncorrelated():
    phi = torch.randn(300, 4, generator=gen(), dtype=torch.float64)
    white = directions.whiten(phi @ torch.diag(torch.tensor([3.0, 1, 1, 2]).double()) + 7)
    assert white.mean(0).abs().max() < 1e-12
    assert torch.allclose(white.T @ white / 300, torch.eye(4, dtype=torch.float64))
    assert torch.allclose(directions.whiten(white), white)  # the symmetric root leaves it alone
    constant = torch.cat([phi, torch.ones(300, 1).double()], 1)
    assert directions.whiten(constant).isfinite().all()  # a dead unit


# ---------------------------------------------------------------- images of a direction


@pytest.mark.parametrize("chunk", [20_000_000, 60])
def test_top_images_equal_brute_force(monkeypatch, chunk):
    monkeypatch.setattr(directions, "_CHUNK", chunk)
    phi = torch.randn(30, 4, generator=gen(), dtype=torch.float64)
    v = directions.random_directions(9, 4, gen(1))
    brute = torch.stack([(phi @ row).argsort(descending=True)[:5] for row in v])
    assert torch.equal(directions.top_images(phi, v, 5), brute)
    assert torch.equal(directions.top_images(phi - phi.mean(0), v, 5), brute), "centred"
    assert torch.equal(directions.top_images(phi, 3 * v, 5), brute), "the norm of v is ignored"
    assert not directions.tied(phi, v, 5).any()


def test_top_images_do_not_depend_on_the_order_of_the_images():
    phi = torch.randn(30, 4, generator=gen(), dtype=torch.float64)
    v, order = directions.random_directions(9, 4, gen(1)), torch.randperm(30, generator=gen(2))
    assert torch.equal(
        order[directions.top_images(phi[order], v, 5)], directions.top_images(phi, v, 5))


def test_ties_are_broken_at_random():
    phi = torch.zeros(50, 1, dtype=torch.float64)
    phi[7] = 1  # one image excites the unit, all others leave it at zero
    unit = torch.ones(1, 1, dtype=torch.float64)
    assert directions.tied(phi, unit, 2).tolist() == [True]
    assert directions.tied(phi, unit, 1).tolist() == [False]
    drawn = [directions.top_images(phi, unit, 2, generator=gen(seed))[0] for seed in range(400)]
    assert all(pair[0] == 7 for pair in drawn)
    counts = np.bincount([int(pair[1]) for pair in drawn], minlength=50)
    assert counts[7] == 0 and sp.chisquare(np.delete(counts, 7)).pvalue > 1e-3


def test_top_images_refuse():
    phi = torch.zeros(5, 3)
    with pytest.raises(ValueError, match="k must lie between 1 and the 5 images, not 6"):
        directions.top_images(phi, torch.ones(1, 3), 6)
    with pytest.raises(ValueError, match="must share F"):
        directions.top_images(phi, torch.ones(1, 4), 2)


def test_random_sets_hold_different_images_equally_often():
    sets = directions.random_sets(3000, 10, 4, gen())
    assert all(len(set(row)) == 4 for row in sets.tolist())
    assert sp.chisquare(sets.flatten().bincount(minlength=10).numpy()).pvalue > 1e-3
    with pytest.raises(ValueError, match="not 11"):
        directions.random_sets(1, 10, 11, gen())


# ---------------------------------------------------------------- coherence


def test_labels_of_sets():
    y = torch.tensor([0, 0, 1, 2])
    sets = torch.tensor([[0, 1], [0, 2], [2, 3]])
    assert co.label_purity(sets, y).tolist() == [1.0, 0.5, 0.5]
    assert torch.allclose(co.label_entropy(sets, y), torch.tensor([0.0, 1, 1]).double())
    three = torch.tensor([[0, 1, 2, 3]])
    assert co.label_purity(three, y).tolist() == [0.5]
    assert co.label_entropy(three, y).item() == pytest.approx(1.5)


def test_purity_of_random_sets_has_its_closed_form():
    """Two images out of ten of each of two classes agree with probability 9/19."""
    y = torch.arange(20) % 2
    sets = directions.random_sets(4000, 20, 2, gen())
    purity = co.label_purity(sets, y).mean().item()
    exact = 1 * 9 / 19 + 0.5 * 10 / 19
    assert abs(purity - exact) < 4 * 0.25 / math.sqrt(4000)


@pytest.mark.parametrize("chunk", [20_000_000, 50])
def test_pair_distance_equals_a_double_loop(monkeypatch, chunk):
    monkeypatch.setattr(co, "_CHUNK", chunk)
    vectors = torch.randn(12, 6, generator=gen(), dtype=torch.float64)
    sets = directions.random_sets(7, 12, 4, gen())
    loop = [
        np.mean([(vectors[a] - vectors[b]).norm().item() for a, b in itertools.combinations(s, 2)])
        for s in sets.tolist()
    ]
    assert co.pair_distance(sets, vectors).tolist() == pytest.approx(loop)
    with pytest.raises(ValueError, match="no pairs"):
        co.pair_distance(sets[:, :1], vectors)


def test_coherence_does_not_depend_on_the_order_within_a_set():
    x = torch.rand(20, 1, 4, 4, generator=gen())
    y = torch.arange(20) % 3
    phi = torch.randn(20, 5, generator=gen(1))
    sets = directions.random_sets(6, 20, 5, gen())
    one, other = co.coherence(sets, y, x, phi), co.coherence(sets.flip(1), y, x, phi)
    for name in ("purity", "entropy", "pixels", "features"):
        assert torch.allclose(getattr(one, name), getattr(other, name))
        assert getattr(one, name).shape == (6,)


def test_a_planted_unit_is_found_coherent_and_a_rotation_is_not():
    """Units that each answer to one class; along a random direction classes mix."""
    y = torch.arange(400) % 8
    noise = torch.randn(400, 8, generator=gen(), dtype=torch.float64)
    phi = nn.functional.one_hot(y, 8).double() * 3 + noise
    units = co.label_purity(directions.top_images(phi, torch.eye(8).double(), 8), y)
    basis = directions.random_basis(8, runtime.generator(0, "basis"))
    rotated = co.label_purity(directions.top_images(phi, basis, 8), y)
    assert units.mean() > 0.8 > rotated.mean() + 0.1
