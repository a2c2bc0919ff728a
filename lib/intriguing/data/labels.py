"""Labels that are exchanged for wrong ones."""

import torch
from torch import Tensor

from intriguing import runtime
from intriguing.data import bounds


def mislabelled(y: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Give a share of the images of each class a wrong label.

    Parameters
    ----------
    y : (N,) int64 labels, the largest of which says how many classes there are.
    share : of the images of each class, rounded.
    seed : chooses the images, and a wrong class for each, evenly.

    Returns
    -------
    labels (N,), wrong (N,) bool : on the device of y.

    Raises
    ------
    ValueError : a share outside [0, 1], no label, a negative one, a single class, or more classes
        than `bounds.CLASSES`.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of the labels lies in [0, 1], got {share}")
    own = y.cpu()
    if len(own) == 0 or int(own.min()) < 0:
        raise ValueError(f"labels count classes from 0, got {own[own < 0][:1].tolist() or 'none'}")
    classes = int(own.max()) + 1
    if classes < 2:
        raise ValueError("with one class there are no wrong labels")
    if classes > bounds.CLASSES:
        raise ValueError(f"labels may name {bounds.CLASSES:,} classes, got the label {classes - 1}")
    generator = runtime.generator(seed, "wrong labels")
    order = torch.randperm(len(own), generator=generator)
    shift = torch.randint(1, classes, (len(own),), generator=generator)
    wrong = torch.zeros(len(own), dtype=torch.bool)
    for label in range(classes):
        members = order[own[order] == label]
        wrong[members[: round(share * len(members))]] = True
    return torch.where(wrong, (own + shift) % classes, own).to(y.device), wrong.to(y.device)
