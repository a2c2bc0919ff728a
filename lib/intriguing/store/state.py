"""Training state as one safetensors file: trees of tensors and numbers, without pickle.

An optimiser's state is a nested dict and list of tensors, numbers and None.  `pack` takes the
tensors out and leaves a JSON skeleton that says where each belongs.  Floats survive JSON exactly
(shortest repr), tensors survive safetensors exactly, so a resumed training continues to the bit.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from intriguing.errors import UserError
from intriguing.store.sidecar import DamagedError


def pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Return (tensors by name, JSON-able skeleton) of a tree.

    Raises
    ------
    TypeError : the tree holds something else than tensors, numbers, text, None, dicts and lists.
    """
    tensors: dict[str, Tensor] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, Tensor):
            name = f"t{len(tensors):05d}"
            # A copy: safetensors refuses views that share memory, and optimisers keep some.
            tensors[name] = node.detach().cpu().clone().contiguous()
            return {"tensor": name}
        if isinstance(node, dict):  # pairs, because keys may be integers
            return {"dict": [[key, walk(value)] for key, value in node.items()]}
        if isinstance(node, (list, tuple)):
            kind = "list" if isinstance(node, list) else "tuple"
            return {kind: [walk(value) for value in node]}
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        raise TypeError(f"cannot store a {type(node).__name__} without pickle")

    return tensors, walk(tree)


def unpack(tensors: dict[str, Tensor], skeleton: Any) -> Any:
    """Return the tree that `pack` took apart."""
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: unpack(tensors, value) for key, value in content}
    items = [unpack(tensors, value) for value in content]
    return items if kind == "list" else tuple(items)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write(temporary)`` beside `path`, flush and rename: `path` is whole or absent.

    Raises
    ------
    UserError : there is no room, or the folder cannot be written to; `path` is as it was.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:  # a full disk is the latter to safetensors
        why = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise UserError(
            f"{path.name} cannot be written in {path.parent}: {why}; {_room(path.parent)}. "
            "Nothing that was there is lost: make room and ask again"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _room(folder: Path) -> str:
    """Return how much room the disk of a folder has, in words."""
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB are free there"
    except OSError:
        return "how much is free there is not known"


def save(path: Path, tree: Any) -> None:
    """Write a tree to one file that carries its own checksum."""
    tensors, skeleton = pack(tree)
    text = json.dumps(skeleton)
    metadata = {"skeleton": text, "sha256": _digest(text, tensors)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def load(path: Path) -> Any:
    """Read a tree back.

    Raises
    ------
    DamagedError : the file is cut short, altered, or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Cloned: tensors mapped from a file may start anywhere, and sums over an unaligned
            # vector are rounded in another order, so that a resumed training would drift.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedError(f"{path.name} cannot be read ({error})") from error
    text = metadata.get("skeleton", "")
    if metadata.get("sha256") != _digest(text, tensors):
        raise DamagedError(f"{path.name} does not match its checksum")
    return unpack(tensors, json.loads(text))


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """Return the sha256 of the skeleton and, in name order, of each tensor's bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
