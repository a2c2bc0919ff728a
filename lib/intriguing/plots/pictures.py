"""Figures of arrays: images, matrices of shares, matrices of either sign."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from intriguing.plots.style import grid


def image_grid(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    size: float = 0.95,
) -> Figure:
    """Pictures in a grid, rows of equal length; each (H, W) or (H, W, 3) in [0, 1], not smoothed.

    `size` : width of a picture in inches.
    """
    height, width = len(rows), len(rows[0])
    figure, axes = grid(height, width, (size * width + 1.2, (size + 0.1) * height))
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            ax = axes[i, j]
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if i == 0 and column_labels:
                ax.set_title(column_labels[j], fontsize=8, pad=4)
            if j == 0 and row_labels:
                ax.set_ylabel(row_labels[i], rotation=0, ha="right", va="center", fontsize=8)
    return figure


def heat_map(
    values: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    xlabel: str,
    ylabel: str,
    label: str,
) -> Figure:
    """A matrix as coloured cells with a text in each; NaN stays white.

    values : (R, C) numbers in [0, 1].  texts : one for each cell.  label : of the colour bar.
    """
    content = np.asarray(values, dtype=float)
    lines = max(text.count("\n") + 1 for line in texts for text in line)
    height = (0.19 * lines + 0.17) * len(rows) + 1.4
    figure, axes = grid(1, 1, (1.15 * len(columns) + 2.4, height))
    ax = axes[0, 0]
    image = ax.imshow(content, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for i, line in enumerate(texts):
        for j, text in enumerate(line):
            dark = content[i, j] < 0.5  # the low end of the map is dark
            ax.text(j, i, text, ha="center", va="center", fontsize=7.5,
                    color="white" if dark else "black")  # fmt: skip
    ax.set_xticks(range(len(columns)), columns, fontsize=8)
    ax.set_yticks(range(len(rows)), rows, fontsize=8)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=ax, label=label)
    return figure


def signed_maps(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    limits: Sequence[Sequence[float | None]] | None = None,
    size: float = 1.3,
) -> Figure:
    """Matrices of either sign, orange above zero and purple below, white at zero.

    limits : the size of number that is darkest, for each matrix, written beside it; None: its own
        largest.  A matrix of zeros stays white.
    """
    height, width = len(rows), max(len(row) for row in rows)
    figure, axes = grid(height, width, (size * width + 1.2, (size + 0.25) * height + 0.2))
    for i, row in enumerate(rows):
        for j, matrix in enumerate(row):
            ax, given = axes[i, j], limits[i][j] if limits else None
            most = float(np.abs(matrix).max()) if given is None else given
            ax.imshow(matrix, cmap="PuOr_r", vmin=-(most or 1), vmax=most or 1,
                      interpolation="nearest")  # fmt: skip
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(f"\u00b1{most:.2g}", fontsize=7.5, labelpad=2)
            if i == 0 and column_labels:
                ax.set_title(column_labels[j], fontsize=8, pad=4)
            if j == 0 and row_labels:
                ax.set_ylabel(row_labels[i], rotation=0, ha="right", va="center", fontsize=8)
    return figure
