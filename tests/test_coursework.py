"""Notebooks that are no chapters: a path means the file at its end, and strays stop nothing."""

import io
import json
import shutil

import pytest
from test_site import executed

from intriguing import chapters, paths, records
from intriguing.book.build import sources
from intriguing.book.run import receipts, runner
from intriguing.chapters import outline, shelves
from intriguing.cli import main
from intriguing.errors import UserError

WRITE = """\
import os, pathlib
from intriguing import records
run = records.start("01-first", globals())
run.add("n", n_images, unit="images")
pathlib.Path(os.environ["INTRIGUING_RESULTS"], "where.txt").write_text(os.getcwd())
_ = run.finish()
"""


@pytest.fixture
def book(tiny_book, monkeypatch):
    """A book of two chapters, and the working folder beside it."""
    tiny_book.add("01-first", WRITE, smoke={"n_images": 5}, cpu={"n_images": 50})
    tiny_book.add("02-second", title="The second")
    (tiny_book.root.parent / "desk").mkdir()
    monkeypatch.chdir(tiny_book.root.parent / "desk")
    return tiny_book


def copied(book, target, old="", new=""):
    """Copy the first chapter to a place, with a change; return the path."""
    text = (book.root / "notebooks" / "01-first.ipynb").read_text(encoding="utf-8")
    assert old in text
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text.replace(old, new), encoding="utf-8")
    return target


def test_a_path_means_the_file_at_its_end(book):
    work = book.root.parent / "desk"
    mine = copied(book, work / "alice" / "01-first.ipynb", "A tiny chapter", "Mine")
    for path in ("alice/01-first.ipynb", str(mine), "./alice/01-first", "../desk/alice/01-first"):
        found = chapters.find(path)
        assert (found.title, found.foreign, found.source) == ("Mine", True, mine), path
    for path in ("01-first.ipynb", "notebooks/01-first.ipynb", "notebooks/01-first",
                 str(book.root / "notebooks" / "01-first.ipynb")):
        assert not chapters.find(path).foreign, path
    (work / "link.ipynb").symlink_to(book.root / "notebooks" / "01-first.ipynb")
    assert chapters.find("link.ipynb") == chapters.find("01-first")
    copied(book, work / "01-first.ipynb", "A tiny chapter", "Here")
    assert chapters.find("01-first.ipynb").title == "Here"
    assert chapters.find("01-first").title == "A tiny chapter"
    with pytest.raises(UserError, match=r"no notebook is at bob/01-frst.ipynb: did you mean 01-fi"):
        chapters.find("bob/01-frst.ipynb")


def test_two_files_of_one_name_have_two_places(book):
    one, two = (chapters.find(str(copied(book, book.root.parent / who / "01-first.ipynb")))
                for who in ("alice", "bob"))
    assert len({one.handle, two.handle, "01-first"}) == 3
    odd = chapters.find(str(copied(book, book.root.parent / "l'été [1]; x.ipynb")))
    assert set(odd.handle.rpartition("@")[0]) <= set("lt_1x")


def test_coursework_gets_what_the_profile_says_of_a_chapter_of_its_name(book):
    other = copied(book, book.root.parent / "x" / "01-first.ipynb", "n_images = 3", "n_pics = 3")
    mine = copied(book, book.root.parent / "y" / "homework.ipynb")
    named = copied(book, book.root.parent / "z" / "01-first.ipynb")
    values = [chapters.resolve(chapters.find(str(path)), "cpu").parameters
              for path in (named, other, mine)]
    assert [one.get("n_images", one.get("n_pics")) for one in values] == [50, 3, 3]
    assert {one["profile"] for one in values} == {"cpu"}


def test_coursework_runs_and_leaves_the_chapter_alone(book):
    settings = chapters.resolve(chapters.find("01-first"), "smoke")
    runner.run(settings, shelves.built("smoke"), stream=io.StringIO())
    before = {path: path.read_bytes() for path in (book.root / "_build" / "smoke").rglob("*")
              if path.is_file()}
    assert receipts.hold(settings)
    path = copied(book, book.root.parent / "alice" / "01-first.ipynb", "squared = True",
                  "mine = 7  # int, of the student\\n\",\n    \"squared = True")
    assert main(["run", str(path), "-p", "mine", "8"]) == 0
    assert {path: path.read_bytes() for path in before} == before
    handle = chapters.find(str(path)).handle
    shelf = shelves.coursework("smoke", handle)
    assert shelf.page("01-first").is_file()
    results = shelf.results / "01-first"
    assert (results / "where.txt").read_text() == str(path.parent)
    record = json.loads((results / "record.json").read_text())
    assert record["parameters"]["mine"] == 8 and record["records"][0]["value"] == 5
    assert receipts.hold(settings) and len(list(receipts.folder("smoke").iterdir())) == 1


def test_a_run_by_hand_touches_no_result_of_the_runner(book, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    shelf = shelves.built("smoke")
    executed("01-first", "smoke", shelf)
    settings = chapters.resolve(chapters.find("01-first"), "smoke")
    assert receipts.hold(settings)
    names = {"": "01-first", "01-first-Copy1.ipynb": "01-first-Copy1"}
    for session in names:
        monkeypatch.setenv("JPY_SESSION_NAME", session)
        run = records.start("01-first", {**settings.parameters, "n_images": 7}, device="cpu")
        run.add("n", 7, unit="images")
        run.finish()
    by_hand = book.root / "_build" / "smoke" / "by-hand"
    assert {path.parent.name for path in by_hand.rglob("record.json")} == set(names.values())
    assert receipts.hold(settings), "page and results are still of one run"
    # where a run's record is exchanged all the same, neither build nor publish takes the page
    shutil.copy2(by_hand / "01-first" / "record.json", shelf.results / "01-first")
    assert not receipts.hold(settings)
    receipts.write("01-first", "smoke")  # as a build does when it begins
    assert not list(receipts.folder("smoke").iterdir())


@pytest.mark.parametrize("words, wrong", [
    (["publish", "--profile", "cpu"], "is not published"), (["run", "--if-needed"], "leave it out"),
])
def test_what_is_for_chapters_only_is_refused(book, capsys, words, wrong):
    path = copied(book, book.root.parent / "alice" / "01-first.ipynb")
    assert main([words[0], str(path), *words[1:]]) == 2
    assert wrong in capsys.readouterr().err


def test_the_note_of_a_chapters_networks_is_not_that_of_coursework(book, monkeypatch):
    cell = '# networks\nx = 1'
    source = book.add("03-third", cell)
    text = source.read_text().replace('"id": "c2",\n   "metadata": {}',
                                      '"id": "c2",\n   "metadata": {"tags": ["networks"]}')
    source.write_text(text)
    monkeypatch.setattr(outline, "_library", lambda: ("", 0.0))
    outline.outline(chapters.resolve(chapters.find("03"), "smoke"))
    note = paths.build_dir("smoke") / "networks" / "03-third.json"
    before = note.stat().st_mtime_ns, note.read_text()
    other = book.root.parent / "alice" / "03-third.ipynb"
    other.parent.mkdir()
    other.write_text(text.replace("x = 1", "x = 2"))
    outline.outline(chapters.resolve(chapters.find(str(other)), "smoke"))
    assert (note.stat().st_mtime_ns, note.read_text()) == before


# ---------------------------------------------------------------- strays


@pytest.fixture
def strays(book):
    folder = book.root / "notebooks"
    (folder / "Untitled.ipynb").write_text('{"cells": [], "metadata": {}}')
    copied(book, folder / "01-first-Copy1.ipynb")
    return ["01-first-Copy1", "Untitled"]


def test_strays_are_no_chapters_and_stop_nothing(book, strays, capsys, monkeypatch):
    assert chapters.names() == ["01-first", "02-second"] and list(chapters.strays()) == strays
    assert chapters.find("1").name == chapters.find("01").name == "01-first"
    assert [one.chapter.name for one in chapters.settings("smoke")] == ["01-first", "02-second"]
    assert not any(name in str(file) for file in sources.files() for name in strays)
    ran = []
    monkeypatch.setattr(runner, "run", lambda one, *_, **__: ran.append(one.chapter.name))
    for words in (["list"], ["run", "all"]):
        assert main(words) == 0
        told = capsys.readouterr().err
        assert all(f"notebooks/{name}.ipynb is no chapter" in told for name in strays), words
    assert ran == ["01-first", "02-second"]
    assert main(["run", "1"]) == 0 and "no chapter" not in capsys.readouterr().err


def test_an_exact_name_wins_and_a_stray_says_what_it_lacks(book, strays):
    book.add("01", title="A name that is a number")
    assert chapters.find("01").title == "A name that is a number"
    with pytest.raises(UserError, match="says nothing about 01-first-Copy1"):
        chapters.resolve(chapters.find("01-first-Copy1"), "smoke")
    with pytest.raises(UserError, match=r"Untitled.ipynb has 0 cells tagged 'parameters'"):
        chapters.find("Untitled")
    assert chapters.find("notebooks/01-first-Copy1.ipynb").foreign


def test_a_chapter_that_cannot_be_read_is_listed_with_the_others(book, capsys):
    (book.root / "notebooks" / "01-first.ipynb").write_text("{")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "(01-first.ipynb cannot be read as a notebook" in out and "The second" in out


def test_a_broken_profile_makes_no_chapter_a_stray(book, strays):
    (book.root / "notebooks" / "profiles" / "cpu.yml").write_text("a: [")
    assert chapters.strays() == {}
