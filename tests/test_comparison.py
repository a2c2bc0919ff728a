"""The table paper | ours | n: published tables come out again, and what is shown where."""

import pandas as pd
import pytest

from intriguing import paths, records
from intriguing.records import Record, compare


def published(chapter, table):
    """A chapter's records by name, and one of its tables as text."""
    folder = paths.published_results_dir() / chapter
    frame = pd.read_csv(folder / f"{table}.csv", dtype=str, keep_default_na=False)
    return {record.name: record for record in records.load(folder)[1]}, frame


def test_table_1_of_chapter_02_comes_out_again():
    run, made = published("02-box-constrained-lbfgs", "table-1")
    decays = ("calibrated", "literal")
    table = compare({name: {decay: run[f"distortion/{name}/{decay}"] for decay in decays}
                     for name in made["network"]}, label="network", spec=".4f").astype(str)
    assert list(table) == ["network", "paper", "ours, calibrated", "n, calibrated",
                           "ours, literal", "n, literal"]
    assert table[["network", "paper"]].equals(made[["network", "paper"]])
    for decay in decays:
        both = made[f"ours, {decay}"] + " " + made[f"{decay} interval"]
        assert list(table[f"ours, {decay}"]) == list(both)
        assert list(table[f"n, {decay}"]) == list(made[f"{decay} n"])


def test_the_errors_of_chapter_02_with_the_paper_in_per_cent():
    run, made = published("02-box-constrained-lbfgs", "errors")
    rows = {i: run[f"test_error/{one['network']}/{one['weight decay']}"]
            for i, one in made.iterrows()}
    table = compare(rows, spec=".2%", to_paper=True)
    assert list(table["paper"]) == list(made["test error, paper"])
    assert list(table["ours"]) == list(made["test error, ours"] + " " + made["test interval"])
    assert table["ours - paper"][0] == "-0.05 [-0.05, -0.05] points"


@pytest.mark.parametrize("chapter", ["05-adversarial-pools", "10-interaction-loss"])
def test_the_differences_of_chapters_05_and_10_come_out_again(chapter):
    run, made = published(chapter, "differences")
    gaps = [name.removeprefix("gain/") for name in run if name.startswith("gain/")]
    table = compare({}, {label: {"seeds x images": run[f"gain/{gap}"],
                                 "seeds": run[f"gain by seed/{gap}"]}
                         for label, gap in zip(made["difference"], gaps, strict=True)},
                    label="difference", spec=".2%")
    assert list(table["difference"]) == list(made["difference"]) and "paper" not in table
    for which in ("seeds x images", "seeds"):
        shown = table[f"ours, {which}"].str.extract(r"^(\S+) \[(\S+), (\S+)\] points$")
        assert list(shown[0]) == list(made["points"])
        ends = made[which].str.extract(r"^\[(\S+)%, (\S+)%\]$")
        for mine, printed in ((shown[1], ends[0]), (shown[2], ends[1])):
            assert list(mine.astype(float)) == list(printed.astype(float))


A = Record("a", 0.0621, 0.0601, 0.0641, 1000, "RMS", paper=0.07, paper_where="T", paper_tag="S")
B = Record("b", 0.5, None, None, None, "RMS")


def test_columns_and_digits():
    table = compare({"A": A, "B": B}, {"A - B": Record("c", 0.01, 0.005, 0.015, 9, "RMS")},
                    label="network", to_paper=True)
    assert table.to_dict("list") == {
        "network": ["A", "B", "A - B"], "paper": ["0.07", "", ""],
        "ours": ["0.0621 [0.0601, 0.0641]", "0.5", "+0.0100 [+0.0050, +0.0150]"],
        "ours - paper": ["-0.0079 [-0.0099, -0.0059]", "", ""], "n": [1000, "", 9]}
    assert list(compare({"A": {"x": A}, "B": {"y": B}})) == [
        "", "paper", "ours, x", "n, x", "ours, y", "n, y"]
    assert compare({"A": {"x": A}, "B": {"y": B}})["n, x"].tolist() == [1000, ""]
    assert len(compare({})) == 0


def test_a_paper_value_may_be_given_and_a_remembered_one_is_not_shown():
    remembered = Record("d", 0.4, 0.3, 0.5, 9, "u", paper_where="Table 9", paper_tag="M")
    table = compare({"A": (A, records.paper(0.062, "Table 1", "S+M")), "D": remembered,
                     "B": (B, records.paper(0.777, "Table 9", "M")), "C": (B, None)},
                    to_paper=True)
    assert list(table["paper"]) == ["0.062"] + ["not available to us"] * 2 + [""]
    assert list(table["ours - paper"])[1:] == ["", "", ""]
    assert "777" not in table.to_string()


def test_something_that_is_no_record_is_named():
    with pytest.raises(ValueError, match="a line is made of records, .* not 0.5"):
        compare({"A": 0.5})
