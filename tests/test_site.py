"""Staged pages and the rendered book: banners, contents, and HTML only from a clean build."""

import sys

import nbformat
import pytest
import yaml

from intriguing import chapters
from intriguing.book import pages
from intriguing.book.pages import site
from intriguing.chapters import fingerprint, placing, shelves
from intriguing.cli import main
from intriguing.errors import UserError

CONFIG = """\
title: A tiny book
author: Nobody
only_build_toc_files: true
execute: {execute_notebooks: "off"}
html: {use_repository_button: false}
"""
TOC = """\
format: jb-book
root: book/index
parts:
  - caption: One
    chapters: [{file: book/chapters/01-first}]
  - caption: Two
    chapters: [{file: book/chapters/02-second}]
"""
BOOTSTRAP = "import intriguing"
CARD = "print('run.card() would stand here')"


@pytest.fixture
def book(tiny_book):
    tiny_book.scales |= {"gpu": {}, "paper": {}}
    (tiny_book.root / "_config.yml").write_text(CONFIG, encoding="utf-8")
    (tiny_book.root / "_toc.yml").write_text(TOC, encoding="utf-8")
    (tiny_book.root / "book" / "index.md").write_text("# Hello\n\nThe index.\n", encoding="utf-8")
    tiny_book.add("01-first", CARD, cpu={"n_images": 50})
    return tiny_book


def executed(name, profile, shelf, **changes):
    """Put a page on a shelf as a run would have left it."""
    settings = chapters.resolve(chapters.find(name), profile)
    source = shelves.prepare(shelves.read_notebook(settings.chapter.source))
    page = nbformat.from_dict(source)
    injected = nbformat.v4.new_code_cell("n_images = 50", metadata={"tags": [fingerprint.INJECTED]})
    injected["id"] = fingerprint.INJECTED
    page.cells.insert(2, injected)
    for count, cell in enumerate((c for c in page.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
    page.metadata["intriguing"] = {
        "profile": profile, "parameters": settings.parameters, "overrides": {},
        "code": fingerprint.code_hash(source),
        "params": fingerprint.params_hash(settings.parameters),
        "modules": fingerprint.module_hashes(source), "networks": [],
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 1.0, "dirty": False, **changes}
    shelf.pages.mkdir(parents=True, exist_ok=True)
    (shelf.results / name).mkdir(parents=True, exist_ok=True)
    (shelf.results / name / "t.csv").write_text("a,b\n1,2\n")
    page.metadata["intriguing"][placing.KEY] = placing.digests(shelf.results / name)
    shelves.write_notebook(page, shelf.page(name))
    return page


def change(book, old, new, name="01-first"):
    """Change the source of a chapter."""
    path = book.root / "notebooks" / f"{name}.ipynb"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def shown(name="01-first", profile="cpu"):
    """Return the staged page's Markdown, in order, as one text."""
    state = pages.status(name, shelves.published(), profile)
    page = pages.annotated(state)
    nbformat.validate(page)
    return "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")


def test_a_fresh_page_gets_its_settings_and_no_banner(book):
    executed("01-first", "cpu", shelves.published())
    text = shown()
    assert "| `n_images` | `50` | `3` | int, images |" in text
    assert "admonition" not in text and "Library" not in text


def test_changed_prose_is_carried_and_changed_code_is_not(book):
    before = executed("01-first", "cpu", shelves.published())
    change(book, "One claim.", "Another claim.")
    state = pages.status("01-first", shelves.published(), "cpu")
    assert (state.stale, state.prose, state.code) == (False, True, False)
    assert "Another claim." in shown() and "stale" not in shown()
    change(book, "would stand here", "stands here")
    state = pages.status("01-first", shelves.published(), "cpu")
    assert (state.stale, state.code, state.parameters) == (True, True, False)
    text = shown()
    assert "One claim." in text and "Another claim." not in text
    assert "on 2026-01-02: code changed" in text and "publish 01-first --profile cpu" in text
    assert text.index("stale") > text.index("# A tiny chapter")
    assert shelves.read_notebook(shelves.published().page("01-first")) == before  # never touched


def test_changed_parameters_library_and_profile_show(book):
    executed("01-first", "cpu", shelves.published(), modules={"intriguing.errors": "0"})
    text = shown()
    assert "Library changed since this run: `intriguing" in text and "admonition" not in text
    assert text.index("Library changed") > text.index("Settings of this run")  # by the run card
    book.scales["cpu"]["01-first"] = {"n_images": 60}
    book.write_profiles()
    assert "parameters changed" in shown() and "Library changed" not in shown()
    del book.scales["cpu"]["01-first"]
    book.write_profiles()
    assert "says nothing about 01-first" in shown()


def test_smoke_and_changed_parameters_are_said(book):
    executed("01-first", "smoke", shelves.published(), overrides={"n_images": 9})
    text = shown(profile="smoke")
    assert "Smoke run, numbers not comparable" in text
    assert "`n_images = 9`" in text


def test_a_page_of_unknown_origin_is_stale(book):
    page = executed("01-first", "cpu", shelves.published())
    del page.metadata["intriguing"]
    shelves.write_notebook(page, shelves.published().page("01-first"))
    assert "not written by a run" in shown()


def test_staging_takes_the_pages_of_the_build_and_no_others(book):
    book.add("02-second", CARD)
    executed("01-first", "cpu", shelves.built("cpu"))
    executed("02-second", "cpu", shelves.published())
    (book.root / "LICENSE").write_text("free")
    said = []
    for profile, here, gone in (("cpu", "01-first", "02-second"), (None, "02-second", "01-first")):
        source = site.stage(profile, said.append)
        assert source == book.root / "_build" / (profile or "published") / "source"
        files = {f.relative_to(source).as_posix() for f in source.rglob("*") if f.is_file()}
        assert files == {"LICENSE", "_config.yml", "_toc.yml", "book/index.md",
                         f"book/chapters/{here}.ipynb", f"book/results/{here}/t.csv"}
        contents = yaml.safe_load((source / "_toc.yml").read_text())
        assert [part["chapters"] for part in contents["parts"]] == [
            [{"file": f"book/chapters/{here}"}]]
        assert any(gone in line and "not in this build" in line for line in said)
    assert yaml.safe_load((book.root / "_toc.yml").read_text()) == yaml.safe_load(TOC)


def test_build_runs_what_is_missing_and_keeps_html_of_clean_builds_only(book, capsys, monkeypatch):
    book.with_workflow().add("01-first", BOOTSTRAP, CARD, "print(n_images)")
    (book.root / "_toc.yml").write_text(TOC.partition("  - caption: Two")[0], encoding="utf-8")
    monkeypatch.setattr(site.checks, "run_checks", lambda root, strict: [])  # has its own tests
    index = book.root / "_build" / "smoke" / "html" / "index.html"
    assert main(["build", "--profile", "smoke"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"open {index}"
    assert "01-first (smoke): done in" in err
    html = (index.parent / "book" / "chapters" / "01-first.html").read_text(encoding="utf-8")
    assert "Smoke run, numbers not comparable" in html and "Settings of this run" in html
    assert "a tiny chapter" in html.lower()

    (book.root / "book" / "index.md").write_text("# Hello\n\n{doc}`nowhere`\n", encoding="utf-8")
    assert main(["build", "--profile", "smoke"]) == 1
    out, err = capsys.readouterr()
    assert "01-first (smoke)" not in err, "nothing is stale"
    assert "not rendered" in err and "book/index.md:3: WARNING" in err and "nowhere" in err
    assert "open" not in out and "\x1b" not in err
    assert index.is_file() and html == (
        index.parent / "book" / "chapters" / "01-first.html").read_text(encoding="utf-8")


def test_gates_stop_a_build(book, capsys, monkeypatch):
    problem = site.checks.Problem("error", "notebooks/01-first.ipynb", "is odd")
    monkeypatch.setattr(site.checks, "run_checks", lambda root, strict: [problem])
    monkeypatch.setattr(site, "build", lambda *_: pytest.fail("rendered"))
    assert main(["build"]) == 1
    assert "error: notebooks/01-first.ipynb: is odd" in capsys.readouterr().err


def test_without_jupyter_book_the_error_says_what_to_install(book, monkeypatch):
    monkeypatch.setattr(site.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install -r requirements.txt"):
        site.build("smoke", lambda _: None)


def test_an_interrupted_build_leaves_no_process():
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(KeyboardInterrupt), site._running(command) as process:
        raise KeyboardInterrupt
    assert process.poll() is not None
