"""Figures of single values: distributions, points with intervals, points against points."""

from __future__ import annotations

from collections.abc import Mapping

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


def histograms(
    samples: Mapping[str, np.ndarray],
    *,
    xlabel: str,
    lines: Mapping[str, Mapping[str, float]] | None = None,
    columns: int = 3,
    bins: int = 40,
) -> Figure:
    """One histogram a sample on a common axis, as shares of its values.

    samples : name -> (N,) values. lines : name -> {label: value}, at most 3 marked in each.
    The few values beyond the 0.999 quantile of a sample count in its last bin.
    """
    rows = -(-len(samples) // columns)
    size = (2.6 * columns, 1.75 * rows)
    figure, axes, used = panels_of(len(samples), columns, size, sharex=True, sharey=True)
    top = max(float(np.quantile(values, 0.999)) for values in samples.values())
    for ax, (name, values) in zip(used, samples.items(), strict=True):
        edges = np.linspace(0, top, bins + 1)
        shares = np.full(len(values), 1 / len(values))
        ax.hist(np.minimum(values, top), edges, weights=shares, color=COLOURS[5])
        for k, (label, at) in enumerate((lines or {}).get(name, {}).items()):
            style = {"color": COLOURS[(6, 1, 2)[k]], "linestyle": ("-", "--", ":")[k]}
            ax.axvline(at, linewidth=1.6, label=label, **style)
        ax.set_title(name, fontsize=9)
        ax.grid(alpha=0.25)
    for ax in axes[:, 0]:
        ax.set_ylabel("share of images")
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    if lines:
        axes[0, 0].legend(fontsize=7, loc="upper right", frameon=False)
    return figure


def dot_plot(
    rows: Mapping[str, Mapping[str, tuple[float, float, float]]],
    *,
    xlabel: str,
    reference: float | None = None,
    reference_label: str = "",
    log: bool = False,
) -> Figure:
    """Rows of points with intervals: `rows[row][series] = (value, low, high)`.

    Raises ValueError for more series than there are colours and markers to tell apart.
    """
    series = told_apart(rows.values())
    figure, axes = grid(1, 1, (7.2, 0.5 * len(rows) + 1.2))
    ax = axes[0, 0]
    if reference is not None:
        ax.axvline(reference, color="#444444", linewidth=1, linestyle="--", label=reference_label)
    for k, name in enumerate(series):
        at = [i for i, points in enumerate(rows.values()) if name in points]
        value, low, high = np.array([p[name] for p in rows.values() if name in p]).T
        offset = (k - (len(series) - 1) / 2) * 0.75 / max(len(series), 1)
        ax.errorbar(
            value, np.array(at) + offset, xerr=[value - low, high - value], fmt=MARKERS[k],
            color=COLOURS[k], markersize=4, linewidth=1, label=name,
        )  # fmt: skip
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), xlabel=xlabel)
    if log:
        ax.set_xscale("log")
        plain_numbers(ax.xaxis, (1, 1.5, 2, 3, 4, 5, 7))
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.3)
    for i in range(1, len(rows)):
        ax.axhline(i - 0.5, color="#dddddd", linewidth=0.6)
    figure.legend(loc="outside right upper", fontsize=7.5, frameon=False)
    return figure


def scatter_panels(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    *,
    xlabel: str,
    ylabel: str,
    columns: int = 4,
) -> Figure:
    """Points on common logarithmic axes with the diagonal: `panels[panel][series] = (x, y)`.

    Points with a coordinate that is not positive cannot be shown and are left out.
    """
    rows = -(-len(panels) // columns)
    size = (2 * columns, 2 * rows + 0.5)
    figure, axes, used = panels_of(len(panels), columns, size, sharex=True, sharey=True)
    shown = np.concatenate([np.ravel(v) for s in panels.values() for xy in s.values() for v in xy])
    ends = [f(shown[shown > 0]) for f in (np.min, np.max)]  # NaN is not positive
    for ax, (panel, series) in zip(used, panels.items(), strict=True):
        for k, (name, (x, y)) in enumerate(series.items()):
            keep = (np.asarray(x) > 0) & (np.asarray(y) > 0)
            ax.plot(x[keep], y[keep], MARKERS[k], color=COLOURS[k], markersize=2, alpha=0.5,
                    markeredgewidth=0, label=name)  # fmt: skip
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_minor_locator(NullLocator())
        ax.plot(ends, ends, color="#444444", linewidth=0.8, linestyle="--")
        ax.set_title(panel, fontsize=9)
        ax.grid(alpha=0.25)
    label_lowest(axes)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    legend(figure, used[:1], "upper", 3, markerscale=3)
    return figure
