"""The files of the zoo: whole or absent, checked when read, written by one process at a time.

A key has ``<key>.safetensors`` (weights), ``<key>.json`` (sidecar with their sha256 and its own,
see `store.sidecar`), while it is trained ``<key>.partial`` (see `store.state`), and ``<key>.lock``,
which stays and is harmless.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from intriguing import paths
from intriguing.errors import UserError
from intriguing.store import sidecar
from intriguing.store.sidecar import DamagedError
from intriguing.store.state import sha256_file, write_atomically

_ENDINGS = (".safetensors", ".json", ".partial")


def path(key: str, ending: str) -> Path:
    """Return the path of a key's file; `ending` is one of .safetensors .json .partial .lock."""
    return paths.zoo_dir() / f"{key}{ending}"


def known() -> list[str]:
    """Return the keys that have any file but a lock, sorted."""
    found = {file.stem for file in paths.zoo_dir().glob("*") if file.suffix in _ENDINGS}
    return sorted(name for name in found if not name.startswith("."))


def read(key: str) -> tuple[dict, dict[str, Tensor]] | None:
    """Return (sidecar, tensors) of a key, or None when it was never finished.

    Raises
    ------
    DamagedError : the files are not what was written.
    UserError : a file is there and cannot be opened.
    """
    about, weights = path(key, ".json"), path(key, ".safetensors")
    if not about.exists():
        # The sidecar is written last: weights alone are a training killed at its very end.
        return None
    record = sidecar.read(about, key)
    if not weights.exists():
        raise DamagedError(f"the weights of {key[:12]} are gone")
    try:
        if sha256_file(weights) != record["sha256"]:
            raise DamagedError(f"the weights of {key[:12]} do not match their sha256")
        return record, load_file(weights)
    except SafetensorError as error:
        raise DamagedError(f"the weights of {key[:12]} cannot be read ({error})") from error
    except OSError as error:
        raise UserError(f"the weights of {key[:12]} cannot be read: {error.strerror} ({weights})"
                        ) from error


def write(key: str, tensors: dict[str, Tensor], record: dict) -> dict:
    """Store tensors and sidecar, drop the partial state, and return the sidecar.

    It has the entries of `record`, and "key", "sha256", "bytes" and `sidecar.SEAL`.

    Raises
    ------
    UserError : there is no room, or the folder cannot be written to.
    """
    weights = path(key, ".safetensors")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(weights, lambda temporary: save_file(plain, temporary))
    record = {"key": key, "sha256": sha256_file(weights), "bytes": weights.stat().st_size, **record}
    record = sidecar.sealed(record)
    _write_sidecar(key, record)
    path(key, ".partial").unlink(missing_ok=True)
    return record


def seal(key: str, record: dict) -> None:
    """Give an old sidecar, just read, its checksum; the caller holds the lock.

    The file keeps its time: for the workflow the network is as old as it was.
    """
    before = path(key, ".json").stat()
    _write_sidecar(key, sidecar.sealed(record))
    os.utime(path(key, ".json"), ns=(before.st_atime_ns, before.st_mtime_ns))


def _write_sidecar(key: str, record: dict) -> None:
    text = sidecar.text_of(record)
    write_atomically(
        path(key, ".json"), lambda temporary: temporary.write_text(text, encoding="utf-8")
    )


def delete(key: str) -> None:
    """Delete a key's files.  The sidecar goes first, so that what is left is never taken whole."""
    for ending in (".json", ".safetensors", ".partial"):
        path(key, ending).unlink(missing_ok=True)
    sweep(key)


def sweep(key: str) -> None:
    """Delete the temporary files of writers that were killed; the caller holds the lock."""
    for leftover in paths.zoo_dir().glob(f".{key}.*.tmp"):
        leftover.unlink(missing_ok=True)


@contextmanager
def locked(key: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a key's lock.  The operating system frees it when the holder dies, even by kill -9.

    Parameters
    ----------
    key : which.
    waiting : called once when another process holds the lock, before waiting for it; it may
        raise to give up.
    """
    paths.zoo_dir().mkdir(parents=True, exist_ok=True)
    lock = FileLock(path(key, ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is not None:
            waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
