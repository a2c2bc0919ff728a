"""Which notebooks are chapters, and what a name or a path on the command line means.

A notebook in `notebooks/` is a chapter because a profile names it.  What else lies there (an
`Untitled.ipynb`, a copy that JupyterLab made) is a stray: it is named in a warning, and the book
goes on without it.  A path means the file at its end, wherever that is: coursework runs like a
chapter, with pages and results in a place of its own.
"""

import functools
from dataclasses import replace
from pathlib import Path

import yaml

from intriguing import paths
from intriguing.chapters import catalogue
from intriguing.chapters.catalogue import Chapter, Settings
from intriguing.errors import UserError, nearest
from intriguing.records.values import load_yaml


def names() -> list[str]:
    """Return the chapters of the book, in order, without reading them."""
    named = _named()
    return [name for name in notebooks() if named is None or name in named]


def strays() -> dict[str, str]:
    """Return {notebook in `notebooks/` that is no chapter: what to do about it}."""
    left = set(notebooks()) - set(names())
    return dict.fromkeys(sorted(left), "is no chapter, because no profile names it: move it away, "
                                       "or name it in notebooks/profiles/*.yml")


def notebooks() -> list[str]:
    """Return the names of all notebooks beside the chapters' sources, chapters or not."""
    return sorted(path.stem for path in paths.notebooks_dir().glob("*.ipynb"))


def _named() -> set[str] | None:
    """Return the chapters that profiles name; None where a profile cannot be read, or none is."""
    files = sorted(paths.profiles_dir().glob("*.yml"))
    found = []
    for file in files:
        status = file.stat()
        found.append(_keys(file, status.st_mtime_ns, status.st_size))
    return None if None in found or not found else set().union(*found)


@functools.lru_cache(maxsize=64)
def _keys(file: Path, saved: int, size: int) -> frozenset[str] | None:
    """Return the chapters that a profile names, as it was saved; None if it is no mapping."""
    try:
        content = load_yaml(file.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return None  # `load_profile` says what is wrong with it
    return frozenset(map(str, content)) if isinstance(content, dict) else None


def find(name: str) -> Chapter:
    """Return the chapter called `name`: its full name, its number alone, or its path.

    A path means the file that it leads to, relative to the working folder, else to the book; one
    that is no chapter of the book comes back as coursework (`Chapter.foreign`).

    Raises
    ------
    UserError : no chapter, or more than one, answers to that name, or no file is at the path.
    """
    if "/" in name or "\\" in name or name.endswith(".ipynb"):
        return _at(name)
    known = names()
    matches = [name] if name in notebooks() else []  # a stray is told what it lacks
    if not matches and name.isascii() and name.isdecimal():
        matches = [chapter for chapter in known if chapter.startswith(f"{int(name):02d}-")]
    if len(matches) != 1:
        raise UserError(f"no chapter is called {name!r}: {nearest(name, known)}" if not matches else
                        f"{name!r} could be {' or '.join(matches)}: write out which")
    return catalogue.read(paths.notebooks_dir() / f"{matches[0]}.ipynb")


def _at(name: str) -> Chapter:
    """Return the chapter or the coursework at a path.

    Raises
    ------
    UserError : no file is there, or it is no notebook with parameters.
    """
    file = Path(name).expanduser()
    folders = (Path.cwd(), paths.root(), paths.notebooks_dir())
    places = [folder / end for folder in folders for end in (file, f"{file}.ipynb")]
    real = next((place.resolve() for place in places if place.is_file()), None)
    if real is None:
        raise UserError(f"no notebook is at {name}: {nearest(file.stem, names())}")
    if real.parent == paths.notebooks_dir().resolve() and real.stem in names():
        return catalogue.read(paths.notebooks_dir() / real.name)
    return replace(catalogue.read(real), foreign=True)


def settings(profile: str) -> tuple[Settings, ...]:
    """Return the settings of every chapter of the book at a profile.

    Raises
    ------
    UserError : as `resolve`, before anything of the chapters is looked at for an unknown profile.
    """
    scales = catalogue.load_profile(profile)
    return tuple(catalogue.resolve(find(name), profile, scales=scales) for name in names())
