"""Changes of a known size keep that size, and what they say they keep."""

import pytest
import torch

from intriguing import runtime
from intriguing.attacks import changes


def images(n=5, channels=2):
    generator = runtime.generator(0, "images")
    x = torch.rand(n, channels, 6, 7, dtype=torch.float64, generator=generator)
    x_adv = torch.rand(n, channels, 6, 7, dtype=torch.float64, generator=generator)
    x_adv[-1] = x[-1]  # an image that was adversarial as it stood
    return x, x_adv


def draws():
    return runtime.generator(1, "noise")


def test_rms_is_the_norm_over_the_root_of_the_pixels():
    x, x_adv = images()
    assert torch.allclose(changes.rms(x, x_adv), (x_adv - x).square().mean((1, 2, 3)).sqrt())


def test_controls_have_the_norm_of_the_change():
    x, x_adv = images()
    size = changes.rms(x, x_adv)
    for other in (
        changes.gaussian_like(x, x_adv, generator=draws()),
        changes.shuffled(x, x_adv, generator=draws()),
        changes.flipped(x, x_adv),
    ):
        assert torch.allclose(changes.rms(x, other), size)
        assert not torch.allclose(other[:-1], x_adv[:-1])
        assert torch.equal(other[-1], x[-1])


def test_noise_in_the_box_is_an_image_at_the_distance_of_the_adversarial_one():
    x, x_adv = images()
    x[:, :, ::2] = 0  # a background that noise can only brighten
    noisy = changes.gaussian_in_box(x, x_adv, generator=draws())
    assert noisy.min() >= 0 and noisy.max() <= 1
    assert torch.allclose(changes.rms(x, noisy), changes.rms(x, x_adv), rtol=1e-9)
    raw = changes.gaussian_like(x, x_adv, generator=draws())
    inside = (noisy > 0) & (noisy < 1) & (x_adv != x)
    assert torch.equal((noisy - x)[inside] > 0, (raw - x)[inside] > 0)  # the same noise, larger


def test_a_shuffled_change_has_the_same_values_and_keeps_channels_together():
    x, x_adv = images()
    change = (changes.shuffled(x, x_adv, generator=draws()) - x).flatten(2)
    pairs = {tuple(column) for column in change[0].T.round(decimals=9).tolist()}
    assert pairs == {tuple(c) for c in (x_adv - x)[0].flatten(1).T.round(decimals=9).tolist()}
    assert not torch.allclose(change[0].argsort(1), change[1].argsort(1))  # an order for each


def test_flipping_twice_gives_the_change_back():
    x, x_adv = images()
    assert torch.allclose(changes.flipped(x, changes.flipped(x, x_adv)), x_adv)


def test_amplified_changes_have_the_size_and_the_direction():
    x, x_adv = images()
    larger = changes.amplify(x, x_adv, 0.1)
    assert torch.allclose(changes.rms(x, larger)[:-1], torch.tensor(0.1, dtype=x.dtype))
    a, b = (larger - x).flatten(1)[:-1], (x_adv - x).flatten(1)[:-1]
    assert torch.allclose(torch.cosine_similarity(a, b), torch.ones(4, dtype=x.dtype))
    assert torch.equal(larger[-1], x[-1])


def test_the_formula_as_printed_is_smaller_by_the_root_of_the_pixels():
    x, x_adv = images()
    r = (x_adv - x)[:-1]
    printed = x[:-1] + 0.1 * r / r.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(changes.amplify(x, x_adv, 0.1 / x[0].numel() ** 0.5)[:-1], printed)


def test_gaussian_noise_has_the_standard_deviation_and_no_mean():
    x = torch.zeros(200, 1, 28, 28)
    noisy = changes.gaussian(x, 0.3, generator=draws())
    assert noisy.std().item() == pytest.approx(0.3, rel=0.01)
    assert noisy.mean().item() == pytest.approx(0, abs=0.003)
    assert torch.equal(noisy, changes.gaussian(x, 0.3, generator=draws()))


@pytest.mark.parametrize("size", [-0.1, float("nan"), float("inf")])
def test_impossible_sizes_are_refused(size):
    x, x_adv = images()
    with pytest.raises(ValueError, match="at least 0"):
        changes.gaussian(x, size, generator=draws())
    with pytest.raises(ValueError, match="at least 0"):
        changes.amplify(x, x_adv, size)
