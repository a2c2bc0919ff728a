"""The files of the zoo: whole or absent, checked when read, written by one process at a time.

A key has ``<key>.safetensors`` (weights), ``<key>.json`` (sidecar with their sha256), while it is
trained ``<key>.partial`` (see `store.state`), and ``<key>.lock``, which stays and is harmless.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from intriguing import paths
from intriguing.store.state import DamagedError, sha256_file, write_atomically

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
    """
    sidecar, weights = path(key, ".json"), path(key, ".safetensors")
    if not sidecar.exists():
        # The sidecar is written last: weights alone are a training killed at its very end.
        return None
    try:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
        expected = record["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"the sidecar of {key[:12]} is not readable") from error
    if not weights.exists():
        raise DamagedError(f"the weights of {key[:12]} are gone")
    if sha256_file(weights) != expected:
        raise DamagedError(f"the weights of {key[:12]} do not match their sha256")
    try:
        return record, load_file(weights)
    except SafetensorError as error:
        raise DamagedError(f"the weights of {key[:12]} cannot be read ({error})") from error


def write(key: str, tensors: dict[str, Tensor], record: dict) -> dict:
    """Store tensors and sidecar, drop the partial state, and return the sidecar with "sha256"."""
    weights = path(key, ".safetensors")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(weights, lambda temporary: save_file(plain, temporary))
    record = {"key": key, "sha256": sha256_file(weights), "bytes": weights.stat().st_size, **record}
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(
        path(key, ".json"), lambda temporary: temporary.write_text(text, encoding="utf-8")
    )
    path(key, ".partial").unlink(missing_ok=True)
    return record


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
