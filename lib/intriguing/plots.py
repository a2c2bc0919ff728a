"""Figures: functions that take data and return a matplotlib figure. They never call show().

Colours are those of Okabe and Ito (2008), told apart with any colour vision; series
differ by marker as well. Faces are white: figures stay readable on a dark page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter, NullLocator

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE = {
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.axisbelow": True,
}


def _figure(rows: int, columns: int, size: tuple[float, float], **options):
    """A white figure with a grid of axes, outside pyplot so that nothing is shown twice."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


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
    figure, axes = _figure(height, width, (size * width + 1.2, (size + 0.1) * height))
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
    top = max(float(np.quantile(values, 0.999)) for values in samples.values())
    figure, axes = _figure(rows, columns, (2.6 * columns, 1.75 * rows), sharex=True, sharey=True)
    for ax in axes.flat[len(samples) :]:
        ax.set_visible(False)
    for ax, (name, values) in zip(axes.flat, samples.items(), strict=False):
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
    figure, axes = _figure(1, len(panels), (7.6, 2.9), sharey=True)
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
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7.5,
                  frameon=False)  # fmt: skip
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
    series = list(dict.fromkeys(name for points in rows.values() for name in points))
    if len(series) > len(MARKERS):
        raise ValueError(f"{len(series)} series, but only {len(MARKERS)} can be told apart")
    figure, axes = _figure(1, 1, (7.2, 0.5 * len(rows) + 1.2))
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
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(NullFormatter())
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
    figure, axes = _figure(rows, columns, (2 * columns, 2 * rows + 0.5), sharex=True, sharey=True)
    shown = np.concatenate([np.ravel(v) for s in panels.values() for xy in s.values() for v in xy])
    ends = [f(shown[shown > 0]) for f in (np.min, np.max)]  # NaN is not positive
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (panel, series) in zip(axes.flat, panels.items(), strict=False):
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
    for column in axes.T:
        [ax for ax in column if ax.get_visible()][-1].tick_params(labelbottom=True)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=7.5,
                  markerscale=3, frameon=False)  # fmt: skip
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
    figure, axes = _figure(1, 1, (1.15 * len(columns) + 2.4, height))
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
    figure, axes = _figure(height, width, (size * width + 1.2, (size + 0.25) * height + 0.2))
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
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    if len(names) > len(MARKERS):
        raise ValueError(f"{len(names)} series, but only {len(MARKERS)} can be told apart")
    places = sorted({x for series in panels.values() for points in series.values() for x in points})
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = _figure(rows, columns, (7.6, 2.6 * rows + 0.5), sharex=True, sharey=True)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (panel, series) in zip(axes.flat, panels.items(), strict=False):
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
            ax.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
            ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            ax.xaxis.set_minor_formatter(NullFormatter())
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    for column in axes.T:
        last = [ax for ax in column if ax.get_visible()][-1]
        last.tick_params(labelbottom=True)
        last.set_xlabel(xlabel)
    found = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(),
                                                              strict=True) if label}  # fmt: skip
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=3, fontsize=7.5,
                  frameon=False)  # fmt: skip
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
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    if len(names) > len(MARKERS):
        raise ValueError(f"{len(names)} series, but only {len(MARKERS)} can be told apart")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = _figure(rows, columns, (7.6, 2.1 * rows + 0.7))
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (panel, series) in zip(axes.flat, panels.items(), strict=False):
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
    found = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(),
                                                              strict=True)}  # fmt: skip
    figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=4, fontsize=7.5,
                  frameon=False)  # fmt: skip
    return figure
