"""Page and results take their places together, whatever ends the command that places them."""

import os
import shutil
from pathlib import Path

import nbformat
import pytest

from intriguing.chapters import placing, shelves
from intriguing.errors import UserError

NAME = "01-first"


class Killed(BaseException):
    """Stands for `kill -9`: nothing after it runs, clean-up included."""


@pytest.fixture
def shelf(tiny_book):
    return shelves.published()


def run(folder, value):
    """Write what a run would: (page, folder of results)."""
    results = folder / f"run {value}"
    results.mkdir(parents=True)
    (results / "record.json").write_text(f"{value}")
    (results / "t.csv").write_text(f"a\n{value}\n")
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"run {value}")])
    page.metadata["intriguing"] = {placing.KEY: placing.digests(results)}
    return page, results


def on(shelf):
    """Return what a shelf shows: (the page's run, its record)."""
    record = shelf.results / NAME / "record.json"
    page = shelf.page(NAME)
    return ("".join(shelves.load(page)["cells"][0]["source"]) if page.is_file() else None,
            record.read_text() if record.is_file() else None)


def temporary(shelf):
    return [path.name for folder in (shelf.pages, shelf.results) for path in folder.glob(".*")]


def kill_at(monkeypatch, step):
    """Let the process die before its `step`th rename, with all that it would have cleaned up."""
    count = [0]

    def counted(real):
        def rename(*args):
            count[0] += 1
            if count[0] >= step:
                raise Killed
            return real(*args)
        return rename

    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(os, "replace", counted(os.replace))
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)


@pytest.mark.parametrize(("former", "step"), [
    (False, 1), (False, 2), (True, 1), (True, 2), (True, 3)])
def test_a_kill_between_two_renames_is_mended(shelf, tmp_path, monkeypatch, former, step):
    if former:
        placing.place(*run(tmp_path, 1), shelf, NAME)
    page, results = run(tmp_path, 2)
    with monkeypatch.context() as dying:
        kill_at(dying, step)
        with pytest.raises(Killed):
            placing.place(page, results, shelf, NAME)
    assert temporary(shelf) and list(placing.leftovers(shelf)) == [NAME]
    (told,) = placing.mend(shelf)
    assert told.startswith(f"{NAME}: a command was killed")
    assert on(shelf) == ("run 2", "2"), "all of it was ready"
    assert not temporary(shelf) and placing.mend(shelf) == []


@pytest.mark.parametrize("draft", [None, b'{"cells": [', b"\xe9"])
def test_without_a_whole_page_the_former_run_comes_back(shelf, tmp_path, draft):
    placing.place(*run(tmp_path, 1), shelf, NAME)
    page, results = run(tmp_path, 2)
    (shelf.results / NAME).rename(shelf.results / f".{NAME}.old-0a1b2c3d")
    shutil.copytree(results, shelf.results / NAME)
    if draft is not None:
        (shelf.pages / f".{NAME}.ipynb.0a1b2c3d").write_bytes(draft)
    assert placing.differences(shelves.load(shelf.page(NAME))["metadata"]["intriguing"],
                               shelf.results / NAME) == [
        "record.json is not what the run wrote", "t.csv is not what the run wrote"]
    (told,) = placing.mend(shelf)
    assert "those of the former run" in told
    assert on(shelf) == ("run 1", "1") and not temporary(shelf)


def test_a_page_without_checksums_gets_its_results_back(shelf, tmp_path):
    page, results = run(tmp_path, 1)
    del page.metadata["intriguing"]
    placing.place(page, results, shelf, NAME)
    (shelf.results / NAME).rename(shelf.results / f".{NAME}.old-0a1b2c3d")
    (shelf.results / f".{NAME}.new-0a1b2c3d").mkdir()
    placing.mend(shelf)
    assert on(shelf) == ("run 1", "1") and not temporary(shelf)


def test_placing_sweeps_what_is_left_and_nothing_else(shelf, tmp_path):
    placing.place(*run(tmp_path, 1), shelf, NAME)
    other = [shelf.pages / ".02-second.ipynb.0a1b2c3d", shelf.pages / ".DS_Store"]
    for path in (*other, shelf.pages / f".{NAME}.ipynb.00000000"):
        path.write_text("{")
    (shelf.results / f".{NAME}.new-00000000").mkdir()
    placing.place(*run(tmp_path, 2), shelf, NAME)
    assert on(shelf) == ("run 2", "2")
    assert sorted(temporary(shelf)) == [".02-second.ipynb.0a1b2c3d", ".DS_Store"]
    assert len(placing.mend(shelf)) == 1 and temporary(shelf) == [".DS_Store"]


def test_results_of_another_run_are_not_placed(shelf, tmp_path):
    placing.place(*run(tmp_path, 1), shelf, NAME)
    (page, _), (_, results) = run(tmp_path, 2), run(tmp_path, 3)
    with pytest.raises(UserError, match=f"{NAME} are not of one run: record.json is not"):
        placing.place(page, results, shelf, NAME)
    assert on(shelf) == ("run 1", "1") and not temporary(shelf)


def test_differences_name_each_file(shelf, tmp_path):
    page, results = run(tmp_path, 1)
    made = page.metadata["intriguing"]
    assert placing.sealed(made) and placing.differences(made, results) == []
    (results / "t.csv").unlink()
    (results / "u.csv").touch()
    (results / "record.json").write_text("2")
    assert placing.differences(made, results) == [
        "t.csv is gone", "u.csv is of no run of this page", "record.json is not what the run wrote"]
    assert not placing.sealed({}) and not placing.sealed({placing.KEY: ["t.csv"]})
