"""Decoded images as arrays: the form every container is brought to, its hash, and Keras' `.npz`."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from intriguing.data import bounds
from intriguing.errors import UserError, nearest

_NPY_HEADER = 10_000  # bytes, where numpy stops too


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
    """A whole split as it is cached.

    x : uint8 (N, C, H, W).  y : int64 (N,).  classes : name of each label.
    in_order : False when the rows are sorted by class, so that a prefix of them is no sample.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    in_order: bool

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of pixels and labels in this order; container and class names do not enter."""
        return content_sha256(self.x, self.y)


def content_sha256(x: np.ndarray, y: np.ndarray) -> str:
    """Return the sha256 of images uint8 (N, C, H, W) and labels int64 (N,), shapes included."""
    digest = hashlib.sha256(json.dumps([list(x.shape), list(y.shape)]).encode())
    digest.update(np.ascontiguousarray(x, dtype=np.uint8))
    digest.update(np.ascontiguousarray(y, dtype="<i8"))
    return digest.hexdigest()


def check_labels(y: np.ndarray, classes: tuple[str, ...], where: str) -> None:
    """Refuse labels that name no class, and classes that no label names.

    Raises
    ------
    UserError : names `where`, and the label or the class.
    """
    if len(y) == 0:
        raise UserError(f"{where} holds no images.")
    if y.min() < 0 or y.max() >= len(classes):
        wrong = int(y.min() if y.min() < 0 else y.max())
        raise UserError(f"{where} has the label {wrong}: expected 0 to {len(classes) - 1}.")
    counts = np.bincount(y, minlength=len(classes))
    if (counts == 0).any():
        empty = classes[int(np.argmin(counts))]
        raise UserError(f"{where} has no images of class {empty!r}: remove it or add images.")


def read_npz(path: Path, split: str, classes: tuple[str, ...] = ()) -> Decoded:
    """Read one split of a Keras-style archive: `x_<split>` and `y_<split>`, order kept.

    Parameters
    ----------
    path : the `.npz` file.  Images uint8 (N, H, W) or (N, H, W, C) with C of 1 or 3; labels of any
        integer type, (N,) or (N, 1).  An optional array `classes` holds names.
    split : "train", "test", ...
    classes : names to use where the file has none; numbers if empty.

    Raises
    ------
    ValueError : no such split.
    UserError : damaged file, arrays of another shape or type, or larger than half the memory.
    """
    with _readable(path), np.load(path, allow_pickle=False) as archive:
        keys = set(archive.files)
        wanted = {f"x_{split}", f"y_{split}", "classes"} & keys
        claimed = sum(_claimed_bytes(archive.zip, key) for key in wanted)
        bounds.check_split(claimed, str(path))
        arrays = {key: archive[key] for key in wanted}
    splits = sorted(key[2:] for key in keys if key.startswith("x_"))
    if splits and split not in splits:
        raise ValueError(f"{path.name} has no split {split!r}: {nearest(split, splits)}")
    for key in (f"x_{split}", f"y_{split}"):
        if key not in keys:
            raise UserError(f"{path} has no array {key!r}: expected x_{split} and y_{split}.")
    if "classes" in arrays:
        classes = tuple(str(name) for name in arrays["classes"].ravel())
    where = f"{path.name}, split {split!r},"
    return _from_keras(arrays[f"x_{split}"], arrays[f"y_{split}"], classes, where)


def _claimed_bytes(archive: zipfile.ZipFile, key: str) -> int:
    """Return the bytes that an array of an `.npz` would take, from its header alone.

    Raises
    ------
    ValueError : no array, a header of another form, or more than the file holds.
    """
    name = key if key in archive.namelist() else f"{key}.npy"
    with archive.open(name) as stream:
        start = stream.read(12)
    version, length = start[6:8], int.from_bytes(start[8:10 if start[6:7] == b"\x01" else 12],
                                                 "little")
    readers = {b"\x01\x00": np.lib.format.read_array_header_1_0,
               b"\x02\x00": np.lib.format.read_array_header_2_0}
    if not start.startswith(np.lib.format.MAGIC_PREFIX) or version not in readers:
        raise ValueError(f"{name} is no array of numbers")
    if length > _NPY_HEADER:
        raise ValueError(f"the header of {name} has {length} bytes, at most {_NPY_HEADER} are read")
    with archive.open(name) as stream:
        np.lib.format.read_magic(stream)
        shape, _, dtype = readers[version](stream)
    claimed, held = math.prod(shape) * dtype.itemsize, archive.getinfo(name).file_size
    if not dtype.hasobject and not 0 <= claimed <= held:  # reading refuses objects in its own words
        raise ValueError(f"{name} claims {bounds.shown(claimed)} and holds {bounds.shown(held)}")
    return claimed


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what numpy and zipfile raise on a damaged file into one sentence."""
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("no zip directory at its end")
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as .npz ({error}): it is truncated or damaged, or holds Python "
            "objects instead of numbers; get it again."
        ) from error


def _from_keras(x: np.ndarray, y: np.ndarray, classes: tuple[str, ...], where: str) -> Decoded:
    """Check the arrays of an `.npz` and bring them to (N, C, H, W)."""
    if x.ndim == 3:
        x = x[..., None]  # (N, H, W) -> (N, H, W, 1)
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] not in (1, 3) or 0 in x.shape[1:]:
        raise UserError(
            f"{where} has images of type {x.dtype} and shape {x.shape}: expected uint8, "
            "(N, H, W) or (N, H, W, C) with 1 or 3 channels."
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]  # (N, 1) -> (N,), as Keras stores CIFAR
    if y.ndim != 1 or y.dtype.kind not in "iu" or len(y) != len(x):
        raise UserError(
            f"{where} has labels of type {y.dtype} and shape {y.shape} for {len(x)} images: "
            "expected one whole number for each image."
        )
    highest = int(y.max(initial=0))  # before int64, in which 2**63 is negative
    if highest >= (most := len(classes) or bounds.CLASSES):
        raise UserError(
            f"{where} has the label {highest}: labels count classes from 0, and " + (
                f"there are {most} names." if classes else f"at most {most:,} classes are read.")
        )
    y = y.astype(np.int64)
    classes = classes or tuple(str(label) for label in range(int(y.max(initial=-1)) + 1))
    check_labels(y, classes, where)
    return Decoded(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y, classes, in_order=True)
