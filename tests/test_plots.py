"""Figures hold the data they were given."""

import numpy as np
import pytest

from intriguing import plots


def test_image_grid_shows_every_picture_as_it_is():
    rows = [[np.full((4, 4), (i + j) / 4) for j in range(3)] for i in range(2)]
    figure = plots.image_grid(rows, row_labels=["a", "b"], column_labels=["x", "y", "z"])
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert [float(picture[0, 0]) for picture in shown] == [0, 0.25, 0.5, 0.25, 0.5, 0.75]
    assert [ax.get_title() for ax in figure.axes[:3]] == ["x", "y", "z"]
    assert figure.axes[3].get_ylabel() == "b"


def test_histograms_are_shares_that_lose_no_value():
    samples = {"a": np.r_[np.zeros(999), 50.0], "b": np.ones(10)}
    figure = plots.histograms(samples, xlabel="size", lines={"a": {"mean": 0.5}}, columns=2)
    for ax in figure.axes[:2]:
        assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(1)
    assert figure.axes[0].lines[0].get_xdata()[0] == 0.5


def test_share_lines_count_each_level():
    panels = {"net": {"units": np.array([0.5, 1, 1, 1]), "random": np.array([0.5, 0.5])}}
    figure = plots.share_lines(panels, xlabel="x", ylabel="y", levels=[0.25, 0.5, 1])
    units, random = figure.axes[0].lines
    assert units.get_ydata().tolist() == [0, 0.25, 0.75]
    assert random.get_ydata().tolist() == [0, 1, 0]
    assert units.get_marker() != random.get_marker()
    with pytest.raises(ValueError, match="none of the levels"):
        plots.share_lines(panels, xlabel="x", ylabel="y", levels=[0.5])
    with pytest.raises(ValueError, match="at most 4"):
        plots.share_lines({str(k): panels["net"] for k in range(5)}, xlabel="", ylabel="",
                          levels=[0.5, 1])


def test_dot_plot_draws_value_and_interval():
    rows = {"first": {"s": (1.0, 0.5, 2.0)}, "second": {"s": (3.0, 2.5, 3.5), "t": (1.0, 1.0, 1.0)}}
    ax = plots.dot_plot(rows, xlabel="ratio", reference=1, reference_label="one").axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    bars = ax.containers[0]
    assert list(bars.lines[0].get_xdata()) == [1.0, 3.0]
    ends = [segment[:, 0].tolist() for segment in bars.lines[2][0].get_segments()]
    assert ends == [[0.5, 2.0], [2.5, 3.5]]


def test_dot_plot_refuses_more_series_than_can_be_told_apart():
    rows = {"row": {str(k): (1.0, 1.0, 1.0) for k in range(9)}}
    with pytest.raises(ValueError, match="9 series"):
        plots.dot_plot(rows, xlabel="x")


def test_heat_map_puts_each_number_in_its_cell():
    values = [[0.0, 0.25, float("nan")], [1.0, 0.5, 0.75]]
    texts = [["a", "b", "c"], ["d", "e", "f"]]
    figure = plots.heat_map(values, texts, rows=["r", "s"], columns=["x", "y", "z"],
                            xlabel="seen by", ylabel="made for", label="share")  # fmt: skip
    ax, bar = figure.axes
    assert np.array_equal(ax.images[0].get_array().filled(np.nan), values, equal_nan=True)
    cells = {text.get_position(): text for text in ax.texts}
    assert {at: text.get_text() for at, text in cells.items()} == {
        (j, i): texts[i][j] for i in range(2) for j in range(3)}
    assert cells[0, 0].get_color() == "white" and cells[0, 1].get_color() == "black"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["r", "s"]
    assert bar.get_ylabel() == "share"


def test_scatter_panels_leave_out_only_what_a_logarithm_cannot_show():
    x, y = np.array([0.0, 0.1, 0.2]), np.array([1.0, 0.5, 2.0])
    panels = {str(k): {"a": (x, y), "b": (y, x + 1)} for k in range(5)}
    figure = plots.scatter_panels(panels, xlabel="x", ylabel="y", columns=4)
    first, second, diagonal = figure.axes[0].lines
    assert first.get_xdata().tolist() == [0.1, 0.2] and first.get_ydata().tolist() == [0.5, 2.0]
    assert len(second.get_xdata()) == 3 and first.get_marker() != second.get_marker()
    assert figure.axes[0].get_xscale() == "log"
    assert [ax.get_visible() for ax in figure.axes] == [True] * 5 + [False] * 3
    assert diagonal.get_xdata().tolist() == diagonal.get_ydata().tolist() == [0.1, 2.0]


def test_signed_maps_are_white_at_zero_and_as_dark_either_way():
    rows = [[np.array([[0.0, -2.0], [1.0, 2.0]]), np.zeros((2, 2))]]
    figure = plots.signed_maps(rows, row_labels=["a"], column_labels=["x", "y"])
    first, second = (ax.images[0] for ax in figure.axes)
    assert first.get_clim() == (-2, 2)
    white = first.cmap(first.norm(0.0))
    assert min(white) > 0.95
    assert second.cmap(second.norm(0.0)) == white
    assert "2" in figure.axes[0].get_xlabel()
    wider = plots.signed_maps(rows, limits=[[4.0, None]]).axes[0].images[0]
    assert wider.get_clim() == (-4, 4)


def test_curves_name_places_that_have_no_number():
    panels = {"a": {"s": {0.1: (1, 0, 2), 1: (2, 1, 3), 10: (3, 2, 4)}}}
    names = {0.1: "none", 1: "1", 10: "alone"}
    (ax,) = plots.curves(panels, xlabel="x", ylabel="y", log="x", ticks=names).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["none", "1", "alone"]
    assert ax.get_xticks().tolist() == [0.1, 1, 10] and not len(ax.get_xticks(minor=True))


def test_curves_draw_value_and_interval_and_keep_a_series_its_colour():
    panels = {"p": {"a": {1: (0.5, 0.25, 1.0), 10: (0.25, 0.25, 0.5)}, "b": {1: (1.0, 1.0, 1.0)}},
              "q": {"b": {10: (2.0, 1.0, 3.0)}}}  # fmt: skip
    figure = plots.curves(panels, xlabel="x", ylabel="y", log="x", reference=1)
    p, q = figure.axes[:2]
    assert p.get_xscale() == "log" and p.get_yscale() == "linear"
    line, _, (bars,) = p.containers[0].lines
    assert line.get_ydata().tolist() == [0.5, 0.25]
    assert [s[:, 1].tolist() for s in bars.get_segments()] == [[0.25, 1.0], [0.25, 0.5]]
    assert q.containers[0].lines[0].get_color() == p.containers[1].lines[0].get_color()
    assert p.get_ylabel() == "y" and p.get_xlabel() == "x"
    too_many = {"p": {str(k): {1: (1.0, 1.0, 1.0)} for k in range(9)}}
    with pytest.raises(ValueError, match="9 series"):
        plots.curves(too_many, xlabel="", ylabel="")


def test_paths_join_points_in_their_order():
    panels = {"a": {"p": ([3, 1, 2], [0, 1, 2]), "q": ([1], [1])}, "b": {"q": ([2, 4], [5, 6])}}
    figure = plots.paths(panels, xlabel="x", ylabel="y")
    first, second = (ax for ax in figure.axes if ax.get_visible())
    assert first.lines[0].get_xdata().tolist() == [3, 1, 2]
    assert first.lines[1].get_color() == second.lines[0].get_color()
    assert first.lines[0].get_marker() != first.lines[1].get_marker()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["p", "q"]
    with pytest.raises(ValueError, match="told apart"):
        plots.paths({"a": {str(k): ([1], [1]) for k in range(20)}}, xlabel="", ylabel="")


def test_curves_name_only_decades_on_a_long_logarithmic_axis():
    for last, fewest in ((50.0, [5, 10, 20]), (20_000.0, [10, 100, 1000])):
        points = {float(x): (1.0, 1.0, 1.0) for x in np.geomspace(4, last, 9)}
        figure = plots.curves({"p": {"a": points}}, xlabel="", ylabel="", log="x")
        figure.draw_without_rendering()
        ax = figure.axes[0]
        low, high = ax.get_xlim()
        named = [round(tick, 6) for tick in ax.get_xticks() if low <= tick <= high]
        assert named[: len(fewest)] == fewest
