"""What was found in the modules of the library: remembered, since most of them stay as they are."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from intriguing import paths
from intriguing.chapters import notes
from intriguing.errors import UserError

VERSION = 1  # raised when `imports` finds something else in the same text
_new: set[str] = set()  # modules of which the note does not know yet


def module(name: str, text: str, base: Path, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `find` returns, from the note if it was found before.

    Parameters
    ----------
    name, text : of a module of this library.
    base : the library's folder.
    find : looks into the text; its answer may also hang on which files the library has.
    """
    decides = hashlib.sha256(f"{VERSION} {_files(base)} {text}".encode()).hexdigest()
    known = _known()
    if known.get(name, {}).get("decides") != decides:
        known[name] = {**find(), "decides": decides}
        _new.add(name)
    return known[name]


def keep() -> None:
    """Write down what is new.  Whoever comes last writes all; what is lost is found again."""
    file = _note()
    if _new and file is not None:
        notes.write(file, _known())
        _new.clear()


def _note() -> Path | None:
    """Return where the note is; None in a book without a folder of builds, which gets none."""
    try:
        return paths.cache_dir() / "modules.json" if (paths.made_dir()).is_dir() else None
    except UserError:  # no book
        return None


@functools.cache
def _known() -> dict[str, Any]:
    file = _note()
    return (notes.read(file) if file else None) or {}


@functools.cache
def _files(base: Path) -> str:
    """Return the names of the library's files: which names are modules hangs on them."""
    return " ".join(sorted(path.relative_to(base).as_posix() for path in base.rglob("*.py")))
