"""The environment of the processes that we start: this library, this book, the same folders.

Beside these, settings of the memory that only glibc, and so only Linux, looks at.
"""

import os
from pathlib import Path

from intriguing import paths

# By default glibc gives the memory of each large tensor back to the system, which hands it out
# again page by page: attacks on small networks then took 7 to 25 % more time (one thread).
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": 2**25, "MALLOC_TRIM_THRESHOLD_": 2**32}  # bytes
_FOLDERS = ("INTRIGUING_DATA", "INTRIGUING_CACHE", "INTRIGUING_ZOO", "INTRIGUING_SLOTS")


def environment() -> dict[str, str]:
    """Return what a child is told; it works in another folder, so that no path is relative."""
    library = [str(paths.package().parent),
               *(str(Path(entry).absolute())
                 for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)]
    folders = {name: str(Path(os.environ[name].strip()).expanduser().absolute())
               for name in _FOLDERS if os.environ.get(name, "").strip()}
    memory = {name: os.environ.get(name, str(size)) for name, size in _MEMORY.items()}
    return {**memory, **folders, "INTRIGUING_ROOT": str(paths.root()),
            "PYTHONPATH": os.pathsep.join(library)}
