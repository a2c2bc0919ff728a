"""Every chapter at smoke through the command line, then the pages, then the gates."""

import json
import re

import bookbuild
import nbformat
import pytest

pytestmark = pytest.mark.slow
CHAPTERS = bookbuild.chapter_names()


def test_there_is_a_chapter() -> None:
    assert CHAPTERS, "no chapter source in notebooks/"


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_runs_at_smoke(name: str) -> None:
    done, _ = bookbuild.run_chapter(name)
    assert done.returncode == 0, done.stdout + done.stderr
    book = bookbuild.ROOT / "_build" / "smoke" / "book"
    cells = nbformat.read(book / "chapters" / f"{name}.ipynb", as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]
    record = json.loads((book / "results" / name / "record.json").read_text(encoding="utf-8"))
    assert record["profile"] == "smoke"
    assert record["records"], "a chapter without a single record measures nothing"


@pytest.mark.parametrize("profile", [None, "smoke"], ids=["published", "smoke"])
def test_build_is_clean_and_names_the_page(profile: str | None) -> None:
    done = bookbuild.build(profile)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert not re.search(r"\bWARNING\b", text), text
    pages = re.findall(r"\S+\.html", done.stdout)
    assert pages, f"the build did not print the page to open:\n{text}"
    html = bookbuild.html_dir(profile)
    assert (html / "index.html").is_file()
    for page in bookbuild.toc_files():
        assert (html / f"{page}.html").is_file(), f"{page} is in the contents and was not built"


def test_second_build_executes_nothing() -> None:
    bookbuild.build("smoke")
    chapters = bookbuild.ROOT / "_build" / "smoke" / "book" / "chapters"
    before = {path.name: path.stat().st_mtime_ns for path in chapters.glob("*.ipynb")}
    done = bookbuild.command("build", "--profile", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    assert before == {path.name: path.stat().st_mtime_ns for path in chapters.glob("*.ipynb")}


def test_gates_are_green() -> None:
    done = bookbuild.command("check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_listed_and_every_listed_page_exists() -> None:
    prose = {f"book/{path.stem}" for path in (bookbuild.ROOT / "book").glob("*.md")}
    chapters = {f"book/chapters/{name}" for name in bookbuild.published_names()}
    assert set(bookbuild.toc_files()) == prose | chapters | {"book/scorecard"}


def test_api_page_lists_every_public_module() -> None:
    package = bookbuild.ROOT / "lib" / "intriguing"
    text = (bookbuild.ROOT / "book" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"automodule:: intriguing\.(\S+)", text)
    for name in listed:
        path = package.joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), f"{name} does not exist"
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__", "cli"}
    modules -= {"specs"}  # what zoo offers as its own
    packages = {path.parent.name for path in package.glob("*/__init__.py")} - {"commands", "book"}
    assert (modules | packages) - set(listed) == set(), "not on the API page"
