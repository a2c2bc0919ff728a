"""Figures: functions that take data and return a matplotlib figure. They never call show()."""

from intriguing.plots.lines import curves, paths, share_lines
from intriguing.plots.pictures import heat_map, image_grid, signed_maps
from intriguing.plots.points import dot_plot, histograms, scatter_panels

__all__ = [
    "curves", "dot_plot", "heat_map", "histograms", "image_grid", "paths", "scatter_panels",
    "share_lines", "signed_maps",
]  # fmt: skip
