"""Where chapters stand, and how their notebooks are read and written (`placing` moves results).

nbformat takes a second or two to import, so only what needs it does.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intriguing import paths, textfiles
from intriguing.chapters import structure
from intriguing.errors import UserError

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Shelf:
    """Where executed chapters stand: `pages/<chapter>.ipynb` and `results/<chapter>/`."""

    pages: Path
    results: Path

    def page(self, chapter: str) -> Path:
        """Return the executed page of a chapter, whether or not it is there."""
        return self.pages / f"{chapter}.ipynb"


def built(profile: str) -> Shelf:
    """Return the shelf of what was run at `profile`."""
    book = paths.build_dir(profile) / "book"
    return Shelf(book / "chapters", book / "results")


def coursework(profile: str, handle: str) -> Shelf:
    """Return the shelf of one foreign notebook (`Chapter.handle`) that was run at `profile`."""
    own = paths.build_dir(profile) / "coursework" / handle
    return Shelf(own / "chapters", own / "results")


def published() -> Shelf:
    """Return the shelf that the book is rendered from."""
    return Shelf(paths.chapters_dir(), paths.published_results_dir())


def load(path: Path) -> dict[str, Any]:
    """Return a notebook as the plain mapping that its file holds, metadata and cells in it.

    Raises
    ------
    UserError : the file is missing, or not a notebook that `structure.check` takes.
    """
    try:
        notebook = json.loads(textfiles.read(path, path.name))
        structure.check(notebook)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} cannot be read as a notebook: {error}") from error
    return {**notebook, "metadata": notebook.get("metadata") or {}}


def read_notebook(path: Path) -> "NotebookNode":
    """Read a notebook of any minor version of format 4, to be changed or executed.

    Raises
    ------
    UserError : as `load`.
    """
    import nbformat

    load(path)  # nbformat is content with much, and says little of the rest
    try:
        return nbformat.reads(textfiles.read(path, path.name), as_version=4)
    except ValueError as error:
        raise UserError(f"{path.name} cannot be read as a notebook: {error}") from error


def prepare(source: "NotebookNode") -> "NotebookNode":
    """Give cells of an old notebook ids that do not change from run to run."""
    for number, cell in enumerate(source.cells):
        cell.setdefault("id", f"cell-{number}")
    source.nbformat_minor = max(source.nbformat_minor, 5)
    return source


def write_notebook(page: "NotebookNode", path: Path) -> None:
    """Write a notebook under a temporary name and rename it."""
    with draft(page, path) as written:
        os.replace(written, path)


@contextlib.contextmanager
def draft(page: "NotebookNode", path: Path) -> Iterator[Path]:
    """Yield a file beside `path` that holds the notebook; what is not moved away is removed."""
    import nbformat

    written = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        written.write_text(nbformat.writes(page) + "\n", encoding="utf-8", newline="\n")
        yield written
    finally:
        written.unlink(missing_ok=True)
