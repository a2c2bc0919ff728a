"""Whether a network is right: on clean images, on those made for others, on stored pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from intriguing import stats
from intriguing.attacks.common import classified
from intriguing.tensors import check_labels


def correct(model: nn.Module, x: Tensor, y: Tensor, *, batch: int = 1000) -> Tensor:
    """Whether `model` (eval mode) classifies each of the pixels x (N, C, H, W) as y: (N,) bool.

    Raises ValueError for labels that are not (N,) classes of the model, and where it predicts
    nothing because its logits are NaN (see `attacks.predict`): that is neither right nor wrong.
    """
    check_labels(y, x)
    predicted, classes = classified(model, x, batch=batch)
    check_labels(y, x, classes=classes)
    return predicted == y


def quantise(x: Tensor, levels: int = 256) -> Tensor:
    """Round pixels in [0, 1] to `levels` equal steps, as a stored picture would be (never cut).

    Raises ValueError for fewer than 2 levels.
    """
    if levels < 2:
        raise ValueError(f"an image needs at least 2 levels, not {levels}")
    return torch.round(x * (levels - 1)) / (levels - 1)


def leave_one_out(flags: ArrayLike) -> np.ndarray:
    """Return each image's flag at the step that does best on the other images: (N,).

    The step selection of the code of Wang et al. 2021.  For image k it takes the step with the
    highest mean over the others (the first of several), so that no image chooses its own step.  It
    needs the target's answers on those others: an oracle, if a mild one.

    Parameters
    ----------
    flags : (T, N), 1 where image n fools the target at step t, NaN in the columns of images that do
        not count; these choose nothing and stay NaN.

    Raises
    ------
    ValueError : not a matrix, fewer than 2 images that count, or a column partly NaN.
    """
    values = np.asarray(flags, dtype=np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"flags must be (steps, images), got shape {values.shape}")
    counted = ~np.isnan(values).any(0)
    if counted.sum() < 2 or (np.isnan(values).any(0) & ~np.isnan(values).all(0)).any():
        raise ValueError("at least 2 images must count, and each at all steps or at none")
    kept = values[:, counted]
    others = kept.sum(1, keepdims=True) - kept  # (T, n): the same order as the means
    found = np.full(values.shape[1], np.nan)
    found[counted] = kept[others.argmax(0), np.arange(kept.shape[1])]
    return found


@dataclass(frozen=True, eq=False)
class ChangedSet:
    """Images and what became of them: adversarial for a network, or noisy.

    x, x_adv : (N, C, H, W) pixels before and after.  y : (N,) labels.
    """

    x: Tensor
    y: Tensor
    x_adv: Tensor

    def __post_init__(self) -> None:
        if not len(self.x) or self.x.shape != self.x_adv.shape:
            raise ValueError(
                f"a set needs as many changed images as images, of one shape, and at least one: "
                f"got {tuple(self.x.shape)} and {tuple(self.x_adv.shape)}"
            )
        check_labels(self.y, self.x)


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """Which network is wrong on which set; every cell is a (source, target) pair of names.

    wrong : per cell (N,) bool, the target does not see the label in the changed image.
    counted : per cell (N,) bool, source and target both see it in the clean image; for a set made
        for no network, the target does.
    """

    wrong: Mapping[tuple[str, str], np.ndarray]
    counted: Mapping[tuple[str, str], np.ndarray]

    def flags(self, source: str, target: str) -> np.ndarray:
        """Return (N,) floats for `stats`: 1 fooled, 0 not, NaN where the image does not count."""
        cell = source, target
        return np.where(self.counted[cell], self.wrong[cell].astype(float), np.nan)

    def rate(self, source: str, target: str) -> stats.Interval:
        """Return the transfer rate: the share of wrong ones among the images that count.

        Raises
        ------
        ValueError : no image counts, because one of the two networks is never right.
        """
        counted = self.counted[source, target]
        if not counted.any():
            raise ValueError(f"no clean image is right for both {source!r} and {target!r}")
        wrong = self.wrong[source, target] & counted
        return stats.wilson(int(wrong.sum()), int(counted.sum()))

    def error(self, source: str, target: str) -> stats.Interval:
        """Return the target's error on the whole set, right before or not: a paper's usual cell."""
        wrong = self.wrong[source, target]
        return stats.wilson(int(wrong.sum()), len(wrong))

    def table(self, cell: str = "rate") -> pd.DataFrame:
        """Return sources x targets of "rate", "error" (shares) or "n" (images that count).

        A rate without any image that counts is NaN.
        """
        numbers = {
            "rate": lambda key: np.nanmean(self.flags(*key)) if self.counted[key].any() else np.nan,
            "error": lambda key: self.wrong[key].mean(),
            "n": lambda key: int(self.counted[key].sum()),
        }
        if cell not in numbers:
            raise ValueError(f"a cell is one of {', '.join(numbers)}, not {cell!r}")
        rows = list(dict.fromkeys(source for source, _ in self.wrong))
        columns = list(dict.fromkeys(target for _, target in self.wrong))
        content = [[numbers[cell]((row, column)) for column in columns] for row in rows]
        return pd.DataFrame(content, index=rows, columns=columns)


def transfer_matrix(
    sources: Mapping[str, nn.Module | None],
    targets: Mapping[str, nn.Module],
    sets: Mapping[str, ChangedSet],
    *,
    batch: int = 1000,
) -> TransferMatrix:
    """Show the set made for each source to each target network.

    Parameters
    ----------
    sources : the networks that the sets were made for, by name, in eval mode; None for a set that
        was made for none, such as noise.
    targets : the networks that look at them, by name; a source may be one of them.
    sets : for each source its images before and after.  They may differ in number and in images.
    batch : images in one forward pass.

    Raises
    ------
    ValueError : no target, a source without a set or a set without a source, a network in train
        mode; as `correct`.
    """
    if set(sources) != set(sets):
        odd = ", ".join(sorted(set(sources) ^ set(sets)))
        raise ValueError(f"every source needs a set and every set a source; alone: {odd}")
    if not sources or not targets:
        raise ValueError("a transfer matrix needs at least one source and one target")
    networks = {**sources, **targets}
    for name, network in networks.items():
        if network is not None and network.training:
            raise ValueError(f"{name!r} is in train mode: call model.eval() before")
    seen: dict[tuple[int, int], np.ndarray] = {}  # sets often share their clean images

    def right(network: nn.Module | None, images: ChangedSet) -> np.ndarray:
        key = id(network), id(images.x)
        if network is None:
            return np.ones(len(images.y), dtype=bool)
        if key not in seen:
            seen[key] = correct(network, images.x, images.y, batch=batch).cpu().numpy()
        return seen[key]

    wrong, counted = {}, {}
    for source, made_for in sources.items():
        images = sets[source]
        for target, network in targets.items():
            flags = correct(network, images.x_adv, images.y, batch=batch)
            wrong[source, target] = ~flags.cpu().numpy()
            counted[source, target] = right(made_for, images) & right(network, images)
    return TransferMatrix(wrong, counted)
