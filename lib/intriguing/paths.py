"""The one module that knows folders.  Every function computes a path; none creates anything.

Environment variables move a folder: INTRIGUING_ROOT (the book), INTRIGUING_DATA (an extra place to
look for data sets), INTRIGUING_CACHE (decoded arrays), INTRIGUING_ZOO (trained networks),
INTRIGUING_SLOTS (locks of this machine's GPUs).  The runner sets INTRIGUING_NOTEBOOK (what is
running) and INTRIGUING_RESULTS (the folder of its results).
"""

import os
import platform
from pathlib import Path, PurePosixPath

from intriguing.errors import UserError

MARKER = "_toc.yml"  # the file that makes a folder the root of the book


def _from_environment(variable: str) -> Path | None:
    """Return the absolute path an environment variable holds; unset and empty mean None."""
    value = os.environ.get(variable, "").strip()
    return Path(value).expanduser().absolute() if value else None


def package() -> Path:
    """Return the folder of this package."""
    return Path(__file__).resolve().parent


def root() -> Path:
    """Return the root of the book: the folder with `_toc.yml`.

    INTRIGUING_ROOT if set, else the nearest such parent of this file (a clone or an editable
    install), else the nearest such parent of the working directory (an ordinary install).

    Raises
    ------
    UserError : INTRIGUING_ROOT names no folder, or no parent has the marker.
    """
    chosen = _from_environment("INTRIGUING_ROOT")
    if chosen is not None:
        if not chosen.is_dir():
            raise UserError(
                f"INTRIGUING_ROOT is {chosen}, which is not a folder: set it to your clone of the "
                "book, or unset it."
            )
        return chosen
    for start in (Path(__file__).resolve().parent, Path.cwd()):
        for folder in (start, *start.parents):
            if (folder / MARKER).is_file():
                return folder
    raise UserError(
        f"no {MARKER} found above {Path.cwd()}: work inside a clone of the book, or set "
        "INTRIGUING_ROOT to one."
    )


def data_dirs() -> list[Path]:
    """Return the folders that are searched for data sets, first match wins."""
    extra = _from_environment("INTRIGUING_DATA")
    return [root() / "data"] if extra is None else [extra, root() / "data"]


def made_dir() -> Path:
    """Return the folder of all that is made, `_build`; it need not be there yet.

    Raises
    ------
    UserError : it is a link that leads nowhere: to a disk that is not mounted, say.
    """
    folder = root() / "_build"
    if folder.is_symlink() and not folder.exists():
        raise UserError(f"{folder} is a link to {os.readlink(folder)}, which leads nowhere: make "
                        "that folder, or remove the link")
    return folder


def cache_dir() -> Path:
    """Return the folder of decoded arrays."""
    return _from_environment("INTRIGUING_CACHE") or made_dir() / "cache"


def zoo_dir() -> Path:
    """Return the store of trained networks."""
    return _from_environment("INTRIGUING_ZOO") or made_dir() / "zoo"


def slots_dir() -> Path:
    """Return the folder of the locks that share out this machine's GPUs, see `slots`.

    One for each machine: a clone on a disk that several machines see must not mix up their GPUs.
    """
    own = platform.node() or "this-machine"
    return _from_environment("INTRIGUING_SLOTS") or made_dir() / "slots" / own


def build_dir(profile: str) -> Path:
    """Return the folder that everything made at `profile` goes to."""
    return made_dir() / profile


def notebooks_dir() -> Path:
    """Return the folder of chapter sources (notebooks without outputs)."""
    return root() / "notebooks"


def profiles_dir() -> Path:
    """Return the folder of the profiles' parameter files."""
    return root() / "notebooks" / "profiles"


def book_dir() -> Path:
    """Return the folder of what readers see."""
    return root() / "book"


def claims_dir() -> Path:
    """Return the folder of what the papers claim, one YAML file a chapter."""
    return root() / "book" / "claims"


def chapters_dir() -> Path:
    """Return the folder of published, executed chapters."""
    return root() / "book" / "chapters"


def published_results_dir() -> Path:
    """Return the folder of published results, one subfolder a chapter."""
    return root() / "book" / "results"


def running_notebook() -> Path | None:
    """Return the notebook that the runner executes in this process, None in any other process."""
    return _from_environment("INTRIGUING_NOTEBOOK")


def results_dir(chapter: str, profile: str) -> Path:
    """Return the folder that `chapter` writes its results to.

    The runner sets INTRIGUING_RESULTS to the (temporary) folder of this very chapter.  By hand (in
    JupyterLab, through papermill) results land in `_build/<profile>/by-hand`, where no page of the
    book is made from them: below the notebook's own path where Jupyter says which one it is, so
    that a copy does not write over the original's, else below the chapter's name.
    """
    return _from_environment("INTRIGUING_RESULTS") or (
        build_dir(profile) / "by-hand" / (_session() or chapter)
    )


def _session() -> Path | None:
    """Return the path of the notebook that a Jupyter server opened here, without its ending."""
    said = PurePosixPath(os.environ.get("JPY_SESSION_NAME", ""))
    if said.suffix != ".ipynb":  # a console, or no server
        return None
    return Path(*(part for part in said.with_suffix("").parts if part not in ("/", "..")))
