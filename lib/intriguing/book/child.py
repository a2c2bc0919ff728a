"""The environment of the processes that we start: this library, this book, the same folders."""

import os
from pathlib import Path

from intriguing import paths

_FOLDERS = ("INTRIGUING_DATA", "INTRIGUING_CACHE", "INTRIGUING_ZOO", "INTRIGUING_SLOTS")


def environment() -> dict[str, str]:
    """Return what a child is told; it works in another folder, so that no path is relative."""
    library = [str(Path(__file__).resolve().parents[2]),
               *(str(Path(entry).absolute())
                 for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)]
    folders = {name: str(Path(os.environ[name].strip()).expanduser().absolute())
               for name in _FOLDERS if os.environ.get(name, "").strip()}
    return {**folders, "INTRIGUING_ROOT": str(paths.root()),
            "PYTHONPATH": os.pathsep.join(library)}
