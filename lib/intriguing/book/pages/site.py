"""The rendered book: stage the sources of one build in a folder, and let Jupyter Book make HTML.

The pages of a build are those of one profile, or the published ones.  Staging copies them, so that
banners and the scorecard can be put in without touching what a run wrote.  The HTML takes its place
only after a build without a single warning.
"""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from intriguing import chapters, paths, textfiles
from intriguing.book import claims
from intriguing.book.build import sources
from intriguing.book.gates import checks, outputs
from intriguing.book.pages import annotations as pages
from intriguing.book.run import child, kernel
from intriguing.chapters import shelves
from intriguing.errors import UserError

PUBLISHED = "published"  # folder below _build of the build without a profile
_FLAGS = ("-W", "-n", "--keep-going")
# Jupyter Book has no `__main__`; its console script may belong to another environment
_JUPYTER_BOOK = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
_WARNING = re.compile(r"WARNING|ERROR|CRITICAL|[Ee]xception|Traceback")

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # Jupyter Book paints its log, asked or not

Say = Callable[[str], None]


class SiteError(UserError):
    """The pages could not be rendered without a warning."""


def build(profile: str | None, say: Say) -> Path:
    """Stage and render the book; return the page to open.

    Parameters
    ----------
    profile : whose runs to show; None shows what is published.
    say : receives lines for the person who waits.

    Raises
    ------
    SiteError : a warning or an error of Jupyter Book, or a dead link; older HTML stays in place.
    """
    from filelock import FileLock, Timeout

    require()
    folder = paths.build_dir(profile or PUBLISHED)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "build.lock", timeout=0):
            return _build(profile, folder, say)
    except Timeout as error:
        raise SiteError(f"another build is at work in {folder}: wait for its end") from error


def require() -> None:
    """Make sure that Jupyter Book is installed.

    Raises
    ------
    UserError : it is not; the message says how to get it.
    """
    if importlib.util.find_spec("jupyter_book") is None:
        raise UserError("the HTML needs Jupyter Book: pip install -r requirements.txt")


def _build(profile: str | None, folder: Path, say: Say) -> Path:
    """Stage, render, look for dead links, and put the HTML in place."""
    source = stage(profile, say)
    say("rendering the pages (about half a minute)")
    output = folder / "jupyter-book"
    _remove(output)  # what a former build remembers can hide a warning
    html = _render(source, output, folder / "build.log")
    if (source / "book" / "results").is_dir():  # what a run's own output links to
        shutil.copytree(source / "book" / "results", html / "book" / "results")
    dead = [str(problem) for problem in checks.html_links(html)]
    if dead:
        raise SiteError("the book has dead links:\n  " + "\n  ".join(dead))
    with kernel.uninterrupted():
        old, new = folder / "html.old", folder / "html"
        _remove(old)
        if new.exists():
            new.rename(old)
        html.rename(new)
    _remove(old)
    _remove(output)
    return new / "index.html"


def stage(profile: str | None, say: Say) -> Path:
    """Copy what one build is made of into its `source` folder and return that folder."""
    source = paths.build_dir(profile or PUBLISHED) / "source"
    _remove(source)
    shutil.copytree(paths.book_dir(), source / "book", ignore=_but_chapters)
    for path in sources.beside_the_book():
        shutil.copy2(path, source / path.name)
    shelf = shelves.built(profile) if profile else shelves.published()
    contents = textfiles.read(paths.root() / paths.MARKER, paths.MARKER)
    for name in chapters.names():
        if f"book/chapters/{name}" not in contents:
            say(f"{name}: not in the contents yet")
            continue
        state = pages.status(name, shelf, profile)
        if state.page is not None:
            page = shelves.Shelf(source / "book" / "chapters", source / "book" / "results")
            page.pages.mkdir(exist_ok=True)
            annotated = pages.annotated(state)
            _refuse(name, annotated)
            shelves.write_notebook(annotated, page.page(name))
            if (shelf.results / name).is_dir():
                shutil.copytree(shelf.results / name, page.results / name)
            if state.stale:
                say(f"{name}: stale, {state.reason()}")
    _scorecard(source)
    _cost(source)
    _contents(source, say)
    return source


def _refuse(name: str, page: Any) -> None:
    """Refuse to render a page that shows what no page may.

    Raises
    ------
    SiteError : it does; the message names the cells.
    """
    found = [f"cell {number} shows {what}" if number else f"it shows {what}"
             for number, what in outputs.of_notebook(page)]
    if found:
        raise SiteError(f"the page of {name} is not rendered:\n  " + "\n  ".join(found))


def _but_chapters(folder: str, names: list[str]) -> list[str]:
    """Leave out published chapters and results; staging puts in those of the build."""
    own = Path(folder) == paths.book_dir()
    return [name for name in names
            if (own and name in ("chapters", "results")) or name == ".ipynb_checkpoints"]


def _scorecard(source: Path) -> None:
    """Write the scorecard of this build from the claims and the staged records."""
    if paths.claims_dir().is_dir():
        text = claims.scorecard_markdown(claims.load(), source / "book" / "results")
        (source / "book" / "scorecard.md").write_text(text, encoding="utf-8", newline="\n")


def _cost(source: Path) -> None:
    """Fill the tables of the page on cost, from the profile `paper` and what is published."""
    page = source / "book" / "cost.md"
    if page.is_file():
        from intriguing.book import cost  # torch: slow to import

        text = cost.fill(textfiles.read(page), cost.plan("paper", local=False))
        page.write_text(text, encoding="utf-8", newline="\n")


def _contents(source: Path, say: Say) -> None:
    """Take chapters that this build does not have out of the staged table of contents."""
    path = source / paths.MARKER
    try:
        contents = yaml.safe_load(textfiles.read(path, paths.MARKER))
    except (yaml.YAMLError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise SiteError(f"{paths.MARKER} is not valid YAML: {told}") from error
    missing: list[str] = []

    def there(entry: Any) -> bool:
        name = str(entry.get("file", "")) if isinstance(entry, dict) else ""
        absent = name.startswith("book/chapters/") and not any(
            (source / f"{name}{ending}").is_file() for ending in ("", ".ipynb", ".md"))
        if absent:
            missing.append(Path(name).name)
        return not absent

    def kept(node: Any) -> Any:
        if isinstance(node, list):
            return [kept(item) for item in node if there(item)]
        if isinstance(node, dict):
            parts = {key: kept(value) for key, value in node.items()}
            if "parts" in parts:  # a part without chapters is an error to Jupyter Book
                parts["parts"] = [part for part in parts["parts"] if part.get("chapters")]
            return parts
        return node

    contents = kept(contents)
    if missing:
        say(f"not in this build, because not run: {', '.join(missing)}")
        path.write_text(yaml.safe_dump(contents, sort_keys=False), encoding="utf-8")


def _render(source: Path, output: Path, log: Path) -> Path:
    """Run Jupyter Book and return the folder with its HTML."""
    command = [sys.executable, "-c", _JUPYTER_BOOK, "build", str(source), *_FLAGS,
               "--path-output", str(output)]
    environment = {**os.environ, **child.environment()}
    with log.open("w", encoding="utf-8") as file, _running(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment) as process:
        code = process.wait()
    html = output / "_build" / "html"
    if code != 0 or not (html / "index.html").is_file():
        lines = [_COLOURS.sub("", line) for line in
                 log.read_text(encoding="utf-8", errors="replace").splitlines()]
        told = [line.replace(f"{source}{os.sep}", "") for line in lines if _WARNING.search(line)]
        raise SiteError("the pages were not rendered (log: "
                        f"{log}):\n  " + "\n  ".join((told or lines)[-30:]))
    return html


@contextlib.contextmanager
def _running(command: list[str], **options: Any) -> Iterator[subprocess.Popen]:
    """Start a program that does not outlive this block, whatever ends it."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _remove(folder: Path) -> None:
    """Remove a folder if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
