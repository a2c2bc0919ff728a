"""Put a page and its results on a shelf together, and mend what a kill left half done.

A page holds the sha256 of each file of its results (in its metadata, under "results").  So it can
be told whether a record, a table or a figure is of the run that the page shows, and which of two
folders belongs to it after a kill.  One lock is held for all that moves: what is found under
temporary names while it is held was left by somebody who is gone.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intriguing import paths
from intriguing.chapters import shelves
from intriguing.errors import UserError

if TYPE_CHECKING:
    from nbformat import NotebookNode

KEY = "results"  # of what a page remembers of its run: {file: sha256}
_LEFT = re.compile(r"\.(?P<name>.+?)\.(?:(?P<kind>new|old)-|ipynb\.)[0-9a-f]{8}")


# ---------------------------------------------------------------- whose results these are


def digests(folder: Path) -> dict[str, str]:
    """Return {file: sha256} of all files in a folder, by their paths in it; {} without one."""
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def sealed(made: Mapping[str, Any]) -> bool:
    """Say whether a page holds the checksums of its results; those of before 2026-12 may not."""
    return isinstance(made.get(KEY), Mapping)


def differences(made: Mapping[str, Any], folder: Path) -> list[str]:
    """Return what separates the files of a folder from those that a page was made with.

    Parameters
    ----------
    made : what the page remembers of its run; nothing is known without checksums in it (`sealed`).
    folder : where its results stand.
    """
    if not sealed(made):
        return []
    then, now = made[KEY], digests(folder)
    told = {"is gone": then.keys() - now.keys(),
            "is of no run of this page": now.keys() - then.keys(),
            "is not what the run wrote": {name for name in then.keys() & now.keys()
                                          if then[name] != now[name]}}
    return [f"{name} {what}" for what, names in told.items() for name in sorted(names)]


# ---------------------------------------------------------------- to their places


def place(page: "NotebookNode", results: Path, shelf: shelves.Shelf, name: str) -> None:
    """Put page and results on the shelf, or neither.

    All that may fail for lack of room comes first, under temporary names; then three renames, the
    page last, because it is what says that the chapter was run.

    Raises
    ------
    UserError : the results are not those that the page was made with.
    """
    shelf.pages.mkdir(parents=True, exist_ok=True)
    shelf.results.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    target, new, old = (shelf.results / part for part in (name, f".{name}.new-{token}",
                                                          f".{name}.old-{token}"))
    with _alone():
        _mend(shelf, name)
        try:
            shutil.copytree(results, new)  # may cross file systems; a rename may not
            made = page.metadata.get("intriguing") or {}
            wrong = differences(made, new)
            if wrong:
                raise UserError(f"page and results of {name} are not of one run: {wrong[0]}")
            with shelves.draft(page, shelf.page(name)) as draft:
                if target.exists():
                    target.rename(old)
                try:
                    if any(new.iterdir()):
                        new.rename(target)
                    os.replace(draft, shelf.page(name))
                except BaseException:
                    if old.exists():
                        shutil.rmtree(target, ignore_errors=True)
                        old.rename(target)
                    raise
        finally:
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)


def rewrite(page: "NotebookNode", shelf: shelves.Shelf, name: str) -> None:
    """Exchange the page of a chapter for one of the same run: other prose, or a note."""
    with _alone():
        shelves.write_notebook(page, shelf.page(name))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of all shelves."""
    from filelock import FileLock

    lock = paths.made_dir() / "shelves.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        yield


# ---------------------------------------------------------------- after a kill


def mend(shelf: shelves.Shelf) -> list[str]:
    """Finish or undo what killed commands left half done on a shelf; return a sentence for each.

    A page under a temporary name that is whole has its results beside it: it takes its place, and
    they theirs.  Else the results that the page in place was made with are put back.  All else
    under temporary names is removed.
    """
    if not leftovers(shelf):  # the usual case takes no lock, and writes nothing
        return []
    with _alone():
        return [_mend(shelf, name) for name in leftovers(shelf)]


def leftovers(shelf: shelves.Shelf) -> dict[str, list[Path]]:
    """Return {chapter: what has a temporary name of ours on a shelf}."""
    found: dict[str, list[Path]] = {}
    for folder in (shelf.pages, shelf.results):
        for path in sorted(folder.glob(".*")):
            match = _LEFT.fullmatch(path.name)
            if match:
                found.setdefault(match["name"], []).append(path)
    return found


def _mend(shelf: shelves.Shelf, name: str) -> str:
    """Mend one chapter, see `mend`; the caller holds the lock."""
    left = leftovers(shelf).get(name, [])
    if not left:
        return ""
    folders, target = [path for path in left if path.is_dir()], shelf.results / name
    done = "what a killed command left was removed"
    for page in [*(path for path in left if path.is_file()), shelf.page(name)]:
        then = _checksums(page)
        if then is None:
            continue
        own = next((path for path in (target, *folders) if digests(path) == then), None)
        if own is None:
            continue
        draft = page != shelf.page(name)
        if own != target or draft:
            where = "were put in place" if draft else "are again those of the former run"
            done = f"a command was killed as it placed them: page and results {where}"
        if own != target:
            shutil.rmtree(target, ignore_errors=True)  # of no page, once this one is in its place
            if then:
                own.rename(target)
        if draft:
            os.replace(page, shelf.page(name))
        break
    else:  # pages of before 2026-12 hold no checksums
        if not target.exists():
            for path in (path for path in folders if f".{name}.old-" in path.name):
                path.rename(target)
                break
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            path.unlink()
    return f"{name}: {done}"


def _checksums(page: Path) -> dict[str, str] | None:
    """Return the checksums of its results that a page holds; None if it is not whole, or old."""
    try:
        then = (shelves.load(page)["metadata"].get("intriguing") or {}).get(KEY)
    except UserError:
        return None
    return dict(then) if isinstance(then, Mapping) else None
