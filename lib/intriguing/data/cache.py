"""Decoded arrays on disk, and checksums that are computed once.

The cache holds whole splits as uint8 in safetensors files; nothing is unpickled.  A file is
written under a temporary name and renamed, by one process at a time.  Its header carries the
content hash, which is compared on every read: a damaged file is reported and made again.
"""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from intriguing import paths
from intriguing.data.arrays import Decoded
from intriguing.errors import UserError

RECIPE = 2  # raise it when decoding changes: older cache files are then no longer found


def cached(identity: dict[str, object], label: str, decode: Callable[[], Decoded]) -> Decoded:
    """Return `decode()`, from the cache if it was decoded before.

    Parameters
    ----------
    identity : what determines the arrays: checksum of the source, split, options (JSON values).
    label : readable start of the file's name.
    decode : makes the arrays when the cache has none; its errors pass through.
    """
    text = json.dumps({**identity, "recipe": RECIPE}, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    readable = "".join(c if c.isalnum() or c in "-._" else "_" for c in label)
    file = paths.cache_dir() / "arrays" / f"{readable}-{key}.safetensors"
    found = _read(file)
    if found is not None:
        return found
    if not _writable(file.parent):
        return decode()
    with FileLock(file.with_suffix(".lock")):
        found = _read(file)  # another process may have made it while this one waited
        if found is None:
            found = decode()
            header = {
                "sha256": found.sha256,
                "classes": json.dumps(found.classes),
                "in_order": json.dumps(found.in_order),
            }
            replace(file, save({"x": found.x, "y": found.y}, metadata=header))
    return found


def _read(file: Path) -> Decoded | None:
    """Read a cache file; None if there is none, or, with a warning, if it is damaged."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="np") as store:
            header = store.metadata()
            x, y = store.get_tensor("x"), store.get_tensor("y")
        classes = tuple(json.loads(header["classes"]))
        found = Decoded(x, y, classes, json.loads(header["in_order"]))
        if found.sha256 != header["sha256"]:
            raise ValueError("its content does not have the recorded sha256")
        return found
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        warnings.warn(f"cache file {file.name} is damaged ({error}); made again", stacklevel=3)
        return None


def replace(file: Path, content: bytes) -> None:
    """Write a file as a whole: readers see the old content or the new, never a part."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would lock a shared cache to its first user
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _writable(folder: Path) -> bool:
    """Make the folder; with a warning, say no on a read-only disk, where one works uncached."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        warnings.warn(f"decoded data is not cached ({error}); set INTRIGUING_CACHE", stacklevel=4)
        return False
    if not os.access(folder, os.W_OK):
        warnings.warn(f"decoded data is not cached ({folder} is read-only)", stacklevel=4)
        return False
    return True


def file_sha256(path: Path, *, again: bool = False) -> str:
    """Return a file's sha256, remembered under its path, size and modification time.

    Parameters
    ----------
    path : the file.
    again : compute it even if it is remembered, as `verify` does.

    Raises
    ------
    UserError : the file cannot be read.
    """
    stat = path.stat()
    entry = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    memory = paths.cache_dir() / "checksums.json"
    name = str(path.absolute())
    known = _remembered(memory).get(name, {})
    if not again and "sha256" in known and known.items() >= entry.items():
        return known["sha256"]
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if _writable(memory.parent):
        with FileLock(memory.with_suffix(".lock")):
            content = {**_remembered(memory), name: {**entry, "sha256": digest}}
            replace(memory, json.dumps(content, indent=1, sort_keys=True).encode())
    return digest


def _remembered(memory: Path) -> dict[str, dict]:
    """Read the remembered checksums; a damaged memory is an empty one, they are computed again."""
    try:
        content = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def folder_sha256(folder: Path) -> str:
    """Return a `listing_sha256` of all files and folders below a folder, links followed.

    Raises
    ------
    UserError : a link to a folder that it lies in, which has no end.
    """
    found = []
    for inner, folders, files in os.walk(folder, followlinks=True):
        for name in filter(os.path.islink, (os.path.join(inner, each) for each in folders)):
            if any(os.path.samefile(name, above) for above in (Path(inner), *Path(inner).parents)):
                raise UserError(f"{name} is a link to a folder that it lies in: remove it.")
        found += [Path(inner, name) for name in (*folders, *files)]
    return listing_sha256(found, folder)


def listing_sha256(files: list[Path], base: Path) -> str:
    """Return a hash of names, sizes and times of many files, which stands for their content."""
    try:
        stats = [(file.relative_to(base).as_posix(), file.stat()) for file in files]
    except OSError as error:  # a link to nowhere, most likely
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from error
    rows = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()
