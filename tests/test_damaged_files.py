"""Files that others saved: one odd byte, a cell of another type.  Each costs one sentence."""

import json
import os
from pathlib import Path

import pytest
from test_checks import NAME, Book, published_notebook, source_notebook

from intriguing import chapters, data, records, textfiles
from intriguing.book import claims
from intriguing.book.build import driver
from intriguing.book.cost import rules
from intriguing.book.gates import checks, guard
from intriguing.book.gates.house import Problem, load
from intriguing.book.offline import lock
from intriguing.book.pages import site
from intriguing.chapters import shelves
from intriguing.cli import main
from intriguing.errors import UserError
from intriguing.records import limits, parameters

CAFE = b"# caf\xe9\n"  # as an editor of Windows saves it


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_ROOT", str(tmp_path))
    monkeypatch.delenv("INTRIGUING_RESULTS", raising=False)
    return Book(tmp_path)


# ---------------------------------------------------------------- text


@pytest.mark.parametrize(("content", "told"), [
    (b"a\nb\xe9\n", "x.yml, line 2: the byte 0xe9 (in Windows-1252 it is 'é') is not UTF-8"),
    (b"\x81", "line 1: the byte 0x81 is not UTF-8"),
    (b"a\n\xe2\x82", "line 2: the byte 0xe2"),
    ("é".encode("utf-16"), "is text in UTF-16"),
])
def test_the_byte_is_named(tmp_path, content, told):
    (tmp_path / "x.yml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        textfiles.read(tmp_path / "x.yml")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_what_an_editor_of_windows_adds_is_no_text(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa\r\n\xc3\xa9\r")
    assert textfiles.read(tmp_path / "x") == "a\né\n"
    with pytest.raises(UserError, match=f"{tmp_path.name}/none cannot be read: No such file"):
        textfiles.read(tmp_path / "none")


def test_one_byte_of_windows_in_any_file_is_a_problem_of_that_file(book):
    files = {"_toc.yml": CAFE, "book/references.bib": CAFE, "book/index.md": CAFE,
             f"book/claims/{NAME}.yml": CAFE, f"notebooks/{NAME}.ipynb": b'{"a": "\xe9"}',
             f"book/chapters/{NAME}.ipynb": b'{"a": "\xe9"}',
             f"book/results/{NAME}/record.json": b'{"a": "\xe9"}'}
    for name, content in files.items():
        before = (book.root / name).read_bytes()
        (book.root / name).write_bytes(content + before)
        problems = [p for p in checks.run_checks() if p.level == "error" and name == p.where]
        assert len(problems) == 1 and "0xe9" in problems[0].what, (name, problems)
        (book.root / name).write_bytes(before)
    assert checks.run_checks() == []


def test_other_readers_name_the_file_too(book, tmp_path, capsys):
    (book.root / "_toc.yml").write_bytes(CAFE)
    with pytest.raises(UserError, match=r"_toc.yml, line 1: the byte 0xe9"):
        site.stage(None, print)
    (book.root / "_toc.yml").write_text("a: [", encoding="utf-8")
    with pytest.raises(UserError, match="_toc.yml is not valid YAML"):
        site.stage(None, print)
    (book.root / "pyproject.toml").write_bytes(CAFE)
    with pytest.raises(UserError, match="pyproject.toml, line 1: the byte 0xe9"):
        lock.roots(book.root, None)
    (book.root / "pyproject.toml").write_text("[", encoding="utf-8")
    with pytest.raises(UserError, match="pyproject.toml is not valid TOML"):
        lock.roots(book.root, None)
    (book.root / "book/references.bib").write_bytes(CAFE)
    assert main(["list", "--methods"]) == 2
    assert "references.bib, line 1: the byte 0xe9" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "read"), [
    ("notebooks/profiles/cpu.yml", lambda: chapters.load_profile("cpu")),
    ("notebooks/limits.yml", limits.load), (f"book/claims/{NAME}.yml", claims.load),
    ("notebooks/costs.yml", rules.load), ("data/sources.toml", data.sources),
    ("workflow/profiles/slurm/config.yaml",
     lambda: driver._on_slurm(driver.How(1, 0, "slurm", None))),
    (f"notebooks/{NAME}.ipynb", lambda: parameters.of_chapter(NAME)),
])
def test_what_is_set_up_by_hand(book, name, read):
    file = book.root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(CAFE)
    with pytest.raises(UserError, match=f"{file.name}.*0xe9"):
        read()


# ---------------------------------------------------------------- notebooks


def harmed(**cell):
    """Return a source notebook whose fifth cell is changed."""
    nb = source_notebook()
    nb["cells"][4] |= cell
    return nb


@pytest.mark.parametrize(("nb", "told"), [
    ([], "no JSON object"),
    ({"cells": 3}, "no list of cells"),
    ({"cells": [], "metadata": [1]}, "its metadata are no JSON object"),
    ({"nbformat": 3, "metadata": {}, "worksheets": [{"cells": []}]}, "notebook format 3, not 4"),
    (source_notebook() | {"nbformat": "4"}, "the notebook format '4'"),
    ({"cells": ["text"]}, "cell 1 is a text in place of a JSON object"),
    ({"cells": [None]}, "cell 1 is null"),
    (harmed(cell_type="figure"), "cell 5 has the cell_type 'figure'"),
    (harmed(cell_type=None), "cell 5 has the cell_type None"),
    (harmed(source=3), "cell 5 has 3 for a source"),
    (harmed(source=["a", 3]), "cell 5 has a list for a source"),
    (harmed(metadata=[]), "cell 5 has a list for its metadata"),
    (harmed(metadata={"tags": "parameters"}), "cell 5 has the tags 'parameters'"),
    (harmed(metadata={"tags": [3]}), "cell 5 has the tags [3]"),
    (harmed(metadata={"mystnb": "a"}), "cell 5 has metadata 'mystnb'"),
    (harmed(metadata={"mystnb": {"figure": "a"}}), "cell 5 has metadata 'mystnb'"),
    (harmed(outputs={}), "cell 5 has an object for its outputs"),
    (harmed(outputs=["a"]), "an output that is a text in place"),
    (harmed(outputs=[{}]), "an output that has no output_type"),
    (harmed(outputs=[{"output_type": "stream", "text": 3}]), "an output that has 3 for a text"),
    (harmed(outputs=[{"output_type": "display_data", "data": []}]), "a list for its data"),
    (harmed(outputs=[{"output_type": "display_data", "data": {"text/plain": {}}}]),
     "an object for text/plain"),
    (harmed(execution_count="1"), "a text for an execution_count"),
])
def test_notebooks_of_another_build_are_refused_at_the_door(book, nb, told):
    """Readers refuse it, and `check` goes on to all other chapters."""
    file = book.root / "notebooks/03-odd.ipynb"
    file.write_text(json.dumps(nb), encoding="utf-8")
    for read in (shelves.load, shelves.read_notebook, chapters.read):
        with pytest.raises(UserError, match="03-odd.ipynb cannot be read as a notebook") as caught:
            read(file)
        assert told in str(caught.value)
    file.rename(book.root / "book/chapters/03-odd.ipynb")
    book.source["cells"][1]["execution_count"] = 1
    book.save()
    where = {problem.where for problem in checks.run_checks()}
    assert "book/chapters/03-odd.ipynb" in where and f"notebooks/{NAME}.ipynb, cell 2" in where


def test_a_notebook_nested_beyond_reason(tmp_path):
    (tmp_path / "a.ipynb").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(UserError, match=r"a.ipynb cannot be read as a notebook"):
        shelves.load(tmp_path / "a.ipynb")


# ---------------------------------------------------------------- gates


def test_a_gate_that_falls_over_a_file_is_a_problem_of_that_file(book):
    book.source["metadata"] = {"wrong": True}
    book.save()
    for name in ("03-b", "04-b"):
        book.write(f"notebooks/{name}.ipynb", source_notebook())
    book.write("notebooks/profiles/cpu.yml", f"{NAME}: {{}}\n03-b: {{}}\n04-b: {{}}\n")

    def gate(house):
        for name, nb in house.sources.items():
            if nb["metadata"].get("wrong"):
                raise KeyError("nobody thought of this")
            yield Problem("note", name, "looked at")

    found = guard.passed(gate, load())
    fallen = [problem for problem in found if problem.level == "error"]
    assert len(fallen) == 1 and NAME in fallen[0].where
    assert "gate" in fallen[0].what and "KeyError: 'nobody thought of this'" in fallen[0].what
    assert {p.where for p in found if p.level == "note"} == {"03-b", "04-b"}


def test_a_gate_that_falls_over_the_book_as_a_whole_is_a_problem_too(book):
    def gate(house):
        yield Problem("note", "first", "found")
        raise ZeroDivisionError("no file to blame" if house.runs else "none at all")

    found = guard.passed(gate, load())
    assert found and all("gate gate" not in str(p) or p.level == "error" for p in found)
    assert any("ZeroDivisionError" in problem.what for problem in found)


@pytest.mark.parametrize("metadata", [
    {"intriguing": []}, {"intriguing": {"profile": ["cpu"]}}, {"papermill": "yes"},
    {"intriguing": {"profile": "cpu", "modules": 3, "families": 3}},
])
def test_odd_metadata_of_a_page_cost_this_page_only(book, metadata):
    book.page["metadata"] = metadata
    book.write("book/chapters/03-b.ipynb", published_notebook(source_notebook()))
    book.save()
    problems = checks.run_checks()
    assert [p for p in problems if p.level == "error" and f"book/chapters/{NAME}.ipynb" in p.where]
    assert [p for p in problems if "03-b" in p.where and "no source notebook" in p.what]


def test_records_with_null_seeds(book):
    book.record["seeds"] = None
    found = book.found(checks.readable)
    assert len(found) == 1 and "seeds of the record 'distortion' cannot be None" in found[0]
    with pytest.raises(UserError, match="cannot be None"):
        records.load(book.root / f"book/results/{NAME}/record.json")


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize("command", [
    ["check"], ["list"], ["list", NAME], ["zoo", "list"], ["zoo", "verify"], ["build"],
    ["run", NAME, "--profile", "cpu"], ["build", "--profile", "cpu"], ["data", "list"],
    ["zoo", "train", "FC10(1e-2)", "--dataset", "mnist-5k"],
])
def test_a_build_folder_that_is_a_link_to_nowhere_is_a_sentence(book, capsys, command, monkeypatch):
    for variable in ("INTRIGUING_ZOO", "INTRIGUING_CACHE", "INTRIGUING_SLOTS"):
        monkeypatch.delenv(variable, raising=False)
    os.symlink(book.root / "gone", book.root / "_build")
    os.symlink(Path(__file__).resolve().parents[1] / "data", book.root / "data")
    status, told = main(command), capsys.readouterr().err
    if command[0] in ("check", "data") or command == ["list", NAME]:  # which need no such folder
        assert status in (0, 1) and "Traceback" not in told
        return
    assert status in (1, 2), told
    assert "gone, which leads nowhere: make that folder" in told, told
