"""What figures have in common: colours and markers, axes in a grid, one legend for all.

Colours are those of Okabe and Ito (2008), told apart with any colour vision; series
differ by marker as well. Faces are white: figures stay readable on a dark page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE = {
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.axisbelow": True,
}


def grid(rows: int, columns: int, size: tuple[float, float], **options):
    """A white figure with axes (R, C), outside pyplot so that nothing is shown twice."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels_of(count: int, columns: int, size: tuple[float, float], **options):
    """A figure of `count` axes in rows of `columns`: figure, all axes (R, C), those in use."""
    figure, axes = grid(-(-count // columns), columns, size, **options)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, axes, list(axes.flat[:count])


def label_lowest(axes: np.ndarray, xlabel: str = "") -> None:
    """Label x axis and ticks below the last visible axes of each column of shared axes (R, C)."""
    for column in axes.T:
        last = [ax for ax in column if ax.get_visible()][-1]
        last.tick_params(labelbottom=True)
        last.set_xlabel(xlabel)


def told_apart(series: Iterable[Mapping[str, object]]) -> list[str]:
    """Return the names of all series, in order: a name has one colour and marker everywhere.

    Raises ValueError for more than there are colours and markers.
    """
    names = list(dict.fromkeys(name for panel in series for name in panel))
    if len(names) > len(MARKERS):
        raise ValueError(f"{len(names)} series, but only {len(MARKERS)} can be told apart")
    return names


def legend(figure: Figure, axes: Iterable[Axes], side: str, columns: int, **options) -> None:
    """Put one legend above ("upper") or below ("lower") all axes, each label in it once."""
    found = {label: handle for ax in axes
             for handle, label in zip(*ax.get_legend_handles_labels(), strict=True) if label}
    figure.legend(found.values(), found.keys(), loc=f"outside {side} center", ncols=columns,
                  fontsize=7.5, frameon=False, **options)  # fmt: skip


def plain_numbers(axis, factors: Sequence[float]) -> None:
    """Write plain numbers on a logarithmic axis, at these factors times the powers of ten."""
    axis.set_major_locator(LogLocator(subs=factors))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())
