"""`load`: a named data set or a user's own archive as tensors."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from intriguing import paths, vision
from intriguing.data import archives, arrays, bounds, cache, catalog
from intriguing.data.arrays import Decoded
from intriguing.errors import UserError, nearest

CONTAINERS = ".npz, .zip, .tar, .tar.gz, .tar.xz, .tar.bz2, or a folder"
_PART = re.compile(r"(.+)\[(\d*%?):(\d*%?)\]@(\d+)")  # train[:50%]@0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images in memory.

    x : float32 (N, C, H, W) in [0, 1].  y : int64 (N,), an index into `classes`.
    classes : class names.  sha256 : hash of these pixels and labels in this order, whatever
    container they came from.  name, split : what was asked for (for a path, the file's name).
    """

    x: torch.Tensor
    y: torch.Tensor
    classes: tuple[str, ...]
    sha256: str
    name: str
    split: str

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, {self.split!r}, x={tuple(self.x.shape)}, "
            f"{len(self.classes)} classes, sha256={self.sha256[:12]}...)"
        )


def load(
    name: str | os.PathLike,
    split: str,
    n: int | None = None,
    classes: Sequence[str | int] | None = None,
    seed: int = 0,
    *,
    size: int | None = None,
) -> Dataset:
    """Load a split of a data set, all of it or a stratified random part.

    Parameters
    ----------
    name : a name in `data/sources.toml`, looked for in INTRIGUING_DATA, then in `data/`; or the
        path of your own `.npz` (x_train, y_train, ...), or of your own image archive or folder with
        `split/class/file` inside.
    split : "train", "test", ...; or a part of one, "train[:50%]@0" and "train[50000:]@0": the split
        is put in an order drawn with the seed behind the @, and sliced by percent or by number of
        images, so that "[:50%]" and "[50%:]" of one seed share no image and leave none out.
    n : how many images; classes keep their proportions, the order is random.  None: all of them.
    classes : names or labels to keep; they become the labels 0, 1, ... in the order given.
    seed : chooses the part and the order.  A whole `.npz` or torchvision split keeps its order;
        archives and folders, which are sorted by class, are always shuffled.
    size : crop images of an archive or folder to a square and resize them to this many pixels.

    Returns
    -------
    Dataset : float32 (N, C, H, W) in [0, 1] and int64 (N,).  Never other data than was asked for.

    Raises
    ------
    ValueError : a split or class that does not exist, n below 1 or above what there is.
    UserError : the data is missing, damaged or malformed.
    """
    _check_numbers(n, seed, size)
    whole, split, cut = split, *_parse_part(split)
    name = os.fspath(name)
    known = catalog.sources() if not _looks_like_path(name) else {}
    if name in known:
        source, shown = known[name], name
        decoded = _known(source, split, size)
        available = source.class_names or decoded.classes
    elif _looks_like_path(name) or Path(name).exists():
        path = Path(name).expanduser()
        decoded, shown = _own(path, split, size), path.name
        available = decoded.classes
    else:
        raise UserError(
            f"there is no data set {name!r} ({nearest(name, known)}), nor a file of that name."
        )
    if cut is not None:
        decoded = _part(decoded, cut, f"{shown} ({whole})")
    kept = _kept_labels(available, classes, shown)
    rows, labels = _choose(decoded, kept, n, seed, f"{shown} ({whole})")
    if rows is None:
        x, y, digest = decoded.x, decoded.y, decoded.sha256
    else:
        x, y = decoded.x[rows], labels
        digest = arrays.content_sha256(x, y)
    pixels = torch.from_numpy(x).to(torch.float32).div_(255)  # (N, C, H, W), exactly 1 at 255
    names = tuple(available[label] for label in kept)
    return Dataset(pixels, torch.from_numpy(y.copy()), names, digest, shown, whole)


def count(name: str, split: str, n: int | None = None) -> int:
    """Return how many images `load` would give, from `data/sources.toml` alone: it reads no image.

    Raises
    ------
    ValueError : a split that does not exist or holds no image.
    UserError : no known data set has that name.
    """
    known = catalog.sources()
    if name not in known:
        raise UserError(f"there is no data set {name!r}: {nearest(name, known)}")
    whole, cut = _parse_part(split)
    if whole not in known[name].splits:
        raise ValueError(f"{name!r} has no split {whole!r}: {nearest(whole, known[name].splits)}")
    if n is not None:
        return n
    start, stop = 0, known[name].splits[whole]
    if cut is not None:
        start, stop = _ends(cut, stop, f"{name} ({split})")
    return stop - start


def places(name: str, split: str) -> list[Path] | None:
    """Return the files that `load` may read of a known set's split, whether or not they are there.

    All folders that are searched count, since one that comes to hold the set takes precedence.
    None for a path of your own.
    """
    source = None if _looks_like_path(name) else catalog.sources().get(name)
    if source is None:
        return None
    names = [source.file] if source.file else []
    if source.torchvision:
        names += map(str, vision.all_files(source.torchvision, Path()))
    return [(folder / each).absolute() for folder in paths.data_dirs() for each in names]


def _parse_part(split: str) -> tuple[str, tuple[str, str, int] | None]:
    """Take "train[:50%]@0" apart into "train" and ("", "50%", 0); a plain split has no part."""
    match = _PART.fullmatch(split)
    if match is None:
        if any(mark in split for mark in "[]@"):
            raise ValueError(f"{split!r} is no part of a split: write it as 'train[:50%]@0'.")
        return split, None
    return match[1], (match[2], match[3], int(match[4]))


def _part(decoded: Decoded, cut: tuple[str, str, int], shown: str) -> Decoded:
    """Return the slice of a seeded permutation of the images."""
    count = len(decoded.y)
    start, stop = _ends(cut, count, shown)
    rows = np.random.RandomState(cut[2]).permutation(count)[start:stop]
    return Decoded(decoded.x[rows], decoded.y[rows], decoded.classes, in_order=True)


def _ends(cut: tuple[str, str, int], count: int, shown: str) -> tuple[int, int]:
    """Return the ends of a slice of `count` images."""
    start, stop = (_position(text, count, shown) for text in cut[:2])
    start, stop = start or 0, count if stop is None else stop
    if not start < stop <= count:
        raise ValueError(f"{shown} would hold no image, or more than the {count} there are.")
    return start, stop


def _position(text: str, count: int, shown: str) -> int | None:
    """Return an end of a slice as a number of images; percent are rounded to whole images."""
    if not text:
        return None
    if not text.endswith("%"):
        return int(text)
    if text == "%" or int(text[:-1]) > 100:
        raise ValueError(f"{shown} has no part at {text!r}: percent go from 0 to 100.")
    return round(count * int(text[:-1]) / 100)


def _looks_like_path(name: str) -> bool:
    path = Path(name)
    return len(path.parts) > 1 or path.suffix.lower() == ".npz" or archives.is_archive(path)


def _check_numbers(n: int | None, seed: int, size: int | None) -> None:
    most = 2**32 - 1
    for what, value, least, most in (
        ("n", n, 1, most), ("seed", seed, 0, most), ("size", size, 1, bounds.SIDE)
    ):
        if value is None and what != "seed":
            continue
        if not _is_whole(value) or value < least:
            raise ValueError(f"{what} must be a whole number of at least {least}, not {value!r}.")
        if value > most:
            raise ValueError(f"{what} must be at most {most}, not {value!r}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _known(source: catalog.Source, split: str, size: int | None) -> Decoded:
    """Decode a split of a known set and hold it against what `sources.toml` says of it."""
    if split not in source.splits:
        raise ValueError(f"{source.name!r} has no split {split!r}: {nearest(split, source.splits)}")
    place = catalog.acquire(source, split)
    if place.files:
        _refuse_size(size, source.name)
        identity = {"torchvision": cache.listing_sha256(list(place.files), place.path)}

        def decode() -> Decoded:
            x, y, names = vision.read(source.torchvision, place.path, split)
            arrays.check_labels(y, names, f"{source.name} ({split})")
            return Decoded(x, y, names, in_order=True)

        label = f"{source.name}-{split}"
        decoded = cache.cached({**identity, "split": split}, label, decode)
    else:
        digest = catalog.check_file(source, place.path)
        decoded = _container(place.path, split, size, digest, source.name)
    _hold_against(source, split, decoded, place.path, source.shape if size is None else ())
    return decoded


def _hold_against(
    source: catalog.Source, split: str, decoded: Decoded, path: Path, shape: tuple[int, ...]
) -> None:
    found = {"images": len(decoded.y), "classes": len(decoded.classes),
             "channels, rows and columns": decoded.x.shape[1:]}
    table = {"images": source.splits[split], "classes": source.classes,
             "channels, rows and columns": shape or decoded.x.shape[1:]}
    for what, expected in table.items():
        if found[what] != expected:
            raise UserError(
                f"{source.name!r} ({split}) in {path} has {found[what]} {what} where "
                f"data/sources.toml says {expected}: it is incomplete or another set; get it again."
            )
    expected = source.content.get(split)
    if expected and decoded.sha256 != expected:
        raise UserError(
            f"{source.name!r} ({split}) in {path} decodes to other pixels or labels (sha256 "
            f"{decoded.sha256[:16]}...) than data/sources.toml says ({expected[:16]}...): "
            "get it again."
        )


def _own(path: Path, split: str, size: int | None) -> Decoded:
    """Decode a split of a user's own container."""
    if not path.exists():
        raise UserError(f"there is no file or folder {path}: check the path, or start it with /.")
    if path.is_dir():
        return _container(path, split, size, cache.folder_sha256(path), path.name)
    if not path.is_file():  # reading a pipe would wait for ever
        raise UserError(f"{path} is neither a file nor a folder: {CONTAINERS}.")
    return _container(path, split, size, cache.file_sha256(path), path.name)


def _container(path: Path, split: str, size: int | None, digest: str, label: str) -> Decoded:
    """Decode one split of an `.npz`, archive or folder whose content is identified by `digest`."""
    if path.suffix.lower() == ".npz":
        _refuse_size(size, path.name)
        read = arrays.read_npz
        options = ()
    elif path.is_dir() or archives.is_archive(path):
        read = archives.read_folder if path.is_dir() else archives.read_archive
        options = (size,)
    else:
        raise UserError(f"{path} is not a container of images that is understood: {CONTAINERS}.")
    identity = {"container": digest, "split": split, "size": size}
    return cache.cached(identity, f"{label}-{split}", lambda: read(path, split, *options))


def _refuse_size(size: int | None, name: str) -> None:
    if size is not None:
        raise ValueError(f"size= is for archives of images; {name} holds arrays of one size.")


def _kept_labels(
    names: tuple[str, ...], classes: Sequence[str | int] | None, shown: str
) -> list[int]:
    """Translate the `classes` argument to labels of the whole set."""
    if classes is None:
        return list(range(len(names)))
    if isinstance(classes, (str, int)) or len(classes) == 0:
        raise ValueError(f"classes must be a list of names or labels, not {classes!r}.")
    kept = []
    for wanted in classes:
        if isinstance(wanted, str):
            same, all_same = archives.same_name(wanted), list(map(archives.same_name, names))
            if same not in all_same:
                raise ValueError(f"{shown} has no class {wanted!r}: {nearest(wanted, names)}")
            kept.append(all_same.index(same))
        elif _is_whole(wanted) and 0 <= wanted < len(names):
            kept.append(int(wanted))
        else:
            raise ValueError(f"{shown} has no class {wanted!r}: labels are 0 to {len(names) - 1}.")
    if len(set(kept)) < len(kept):
        raise ValueError(f"classes {list(classes)!r} names a class twice.")
    return kept


def _choose(
    decoded: Decoded, kept: list[int], n: int | None, seed: int, shown: str
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return chosen rows (None: all, in order) and their labels among the `kept` classes."""
    if n is None and decoded.in_order and kept == list(range(len(decoded.classes))):
        return None, decoded.y
    relabel = np.full(len(decoded.classes), -1, dtype=np.int64)
    relabel[kept] = np.arange(len(kept))
    labels = relabel[decoded.y]
    rows = np.flatnonzero(labels >= 0)
    if n is not None and n > len(rows):
        raise ValueError(f"n = {n} is larger than {shown}, which has {len(rows)} such images.")
    # RandomState, because numpy promises its stream for good: a seed means the same images later.
    random = np.random.RandomState(seed)
    if n is not None:
        rows = _stratified(rows, labels[rows], n, random)
    if n is not None or not decoded.in_order:
        rows = random.permutation(rows)
    return rows, labels[rows]


def _stratified(
    rows: np.ndarray, labels: np.ndarray, n: int, random: np.random.RandomState
) -> np.ndarray:
    """Draw n rows so that classes keep their proportions (largest remainder, ties at random)."""
    counts = np.bincount(labels)
    quota = n * counts / len(rows)
    share = np.floor(quota).astype(int)
    ties = random.permutation(len(counts))
    by_remainder = ties[np.argsort(-(quota - share)[ties], kind="stable")]
    share[by_remainder[: n - share.sum()]] += 1
    chosen = [random.permutation(rows[labels == c])[: share[c]] for c in range(len(counts))]
    return np.concatenate(chosen)
