"""Figures of series: shares by level, lines with intervals, points joined in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from intriguing.plots.style import (
    COLOURS,
    MARKERS,
    grid,
    label_lowest,
    legend,
    panels_of,
    plain_numbers,
    told_apart,
)


def share_lines(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    *,
    xlabel: str,
    ylabel: str,
    levels: Sequence[float],
) -> Figure:
    """Shares of values that take few levels: `panels[panel][series]` is (N,), a line each.

    Raises ValueError for more than 4 panels, more series than can be told apart, or a value that is
    not a level.
    """
    most = max(len(series) for series in panels.values())
    if len(panels) > 4 or most > len(MARKERS):
        raise ValueError(f"{len(panels)} panels of {most} series: at most 4 of {len(MARKERS)}")
    figure, axes = grid(1, len(panels), (7.6, 2.9), sharey=True)
    for ax, (panel, series) in zip(axes[0], panels.items(), strict=True):
        for k, (name, values) in enumerate(series.items()):
            at = np.isclose(np.asarray(values)[:, None], np.asarray(levels)[None, :])  # (N, L)
            if not at.any(1).all():
                raise ValueError(f"{name!r} holds values that are none of the levels {levels}")
            ax.plot(levels, at.mean(0), color=COLOURS[k], marker=MARKERS[k], markersize=4,
                    linewidth=1, label=name)  # fmt: skip
        ax.set_title(panel, fontsize=9)
        ax.set_xlabel(xlabel)
        ax.grid(alpha=0.25)
    axes[0, 0].set_ylabel(ylabel)
    legend(figure, axes.flat[:1], "lower", 3)
    return figure


def curves(
    panels: Mapping[str, Mapping[str, Mapping[float, tuple[float, float, float]]]],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    reference: float | None = None,
    reference_label: str = "",
    columns: int = 3,
    ticks: Mapping[float, str] | None = None,
) -> Figure:
    """Lines with intervals: `panels[panel][series] = {x: (value, low, high)}`.

    log : axes on a logarithmic scale, "x", "y" or "xy".  reference : a horizontal line.
    ticks : places on the x axis and what stands there, for points without a number of their own.
    The series of a name have one colour and marker in all panels.

    Raises ValueError for more series than there are colours and markers to tell apart.
    """
    names = told_apart(panels.values())
    places = sorted({x for series in panels.values() for points in series.values() for x in points})
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    size = (7.6, 2.6 * rows + 0.5)
    figure, axes, used = panels_of(len(panels), columns, size, sharex=True, sharey=True)
    for ax, (panel, series) in zip(used, panels.items(), strict=True):
        if reference is not None:
            ax.axhline(reference, color="#444444", linewidth=1, linestyle="--",
                       label=reference_label)  # fmt: skip
        for name, points in series.items():
            k, at = names.index(name), np.array(list(points))
            value, low, high = np.array(list(points.values())).T
            ax.errorbar(at, value, yerr=[value - low, high - value], fmt=MARKERS[k] + "-",
                        color=COLOURS[k], markersize=4, linewidth=1, label=name)  # fmt: skip
        ax.set(title=panel, **{f"{axis}scale": "log" for axis in log})
        ax.title.set_fontsize(9)
        ax.grid(alpha=0.25)
        if ticks is not None:
            ax.set_xticks(list(ticks), list(ticks.values()))
            ax.xaxis.set_minor_locator(NullLocator())
        elif "x" in log and len(places) <= 6:
            ax.set_xticks(places, [f"{place:g}" for place in places])
            ax.xaxis.set_minor_locator(NullLocator())
        elif "x" in log:
            wide = places[-1] > 100 * places[0]  # then more than its decades would overlap
            plain_numbers(ax.xaxis, (1,) if wide else (1, 2, 5))
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    label_lowest(axes, xlabel)
    legend(figure, used, "lower", 3)
    return figure


def paths(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    xlabel: str,
    ylabel: str,
    columns: int = 4,
) -> Figure:
    """Points joined in their order: `panels[panel][series] = (x, y)`, on axes of their own.

    The series of a name have one colour and marker in all panels; a single point has no line.

    Raises ValueError for more series than there are colours and markers to tell apart.
    """
    names = told_apart(panels.values())
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, _, used = panels_of(len(panels), columns, (7.6, 2.1 * rows + 0.7))
    for ax, (panel, series) in zip(used, panels.items(), strict=True):
        for name, (x, y) in series.items():
            k = names.index(name)
            ax.plot(x, y, MARKERS[k] + "-", color=COLOURS[k], markersize=4, linewidth=0.8,
                    label=name)  # fmt: skip
        ax.set_title(panel, fontsize=9)
        ax.tick_params(labelsize=7)
        ax.locator_params(nbins=4)
        ax.margins(0.08)
        ax.grid(alpha=0.25)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    legend(figure, used, "upper", 4)
    return figure
