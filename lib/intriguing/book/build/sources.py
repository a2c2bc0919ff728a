"""The files that pages are made from, beside the runs of a profile."""

from pathlib import Path

from intriguing import paths
from intriguing.chapters import finding


def files() -> list[Path]:
    """Return the files whose change makes pages be rendered again, and gates be passed again.

    The library is among them: the reference shows its docstrings.  So are published runs: the page
    on cost is computed from them.
    """
    library = paths.package()
    book = [path for path in paths.book_dir().rglob("*")
            if path.is_file() and ".ipynb_checkpoints" not in path.parts]
    notebooks = paths.notebooks_dir()
    chapters = [notebooks / f"{name}.ipynb" for name in finding.names()]
    return [*book, *beside_the_book(), *chapters, *notebooks.glob("*.yml"),
            *paths.profiles_dir().glob("*.yml"), *library.rglob("*.py"),
            *(paths.root() / "data").glob("*.toml")]


def beside_the_book() -> list[Path]:
    """Return the files of the root that pages include: contents, settings, licences."""
    return [path for path in sorted(paths.root().iterdir()) if path.is_file()
            and path.suffix in (".yml", ".md", ".cff", "") and path.name[0] != "."]


def saved() -> set[tuple[str, int]]:
    """Return the files with the times at which they were saved, in nanoseconds."""
    return {(str(path), path.stat().st_mtime_ns) for path in files()}
