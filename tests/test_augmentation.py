"""Random crops and mirror images: every result is a shift of the image or of its mirror image."""

import torch
from torch.nn import functional

from intriguing import runtime
from intriguing.training.augmentation import crop_and_mirror


def test_every_image_is_a_shift_of_itself_or_of_its_mirror_image():
    x = torch.rand(40, 3, 10, 12, generator=runtime.generator(0, "x"))
    changed = crop_and_mirror(x, runtime.generator(0, "order"), margin=2)
    assert changed.shape == x.shape
    seen = set()
    for before, after in zip(x, changed, strict=True):
        ways = {
            (mirrored, i, j): functional.pad(image, (2,) * 4)[:, i : i + 10, j : j + 12]
            for mirrored, image in ((False, before), (True, before.flip(2)))
            for i in range(5)
            for j in range(5)
        }
        (way,) = [way for way, image in ways.items() if torch.equal(image, after)]
        seen.add(way)
    assert len(seen) > 20  # not one and the same change for all
    again = crop_and_mirror(x, runtime.generator(0, "order"), margin=2)
    assert torch.equal(again, changed)
