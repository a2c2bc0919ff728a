"""The known data sets: what `data/sources.toml` says of them, and where they are here."""

import dataclasses
import os
import tomllib
from pathlib import Path

from filelock import FileLock

from intriguing import paths, textfiles, vision
from intriguing.data import cache
from intriguing.machine.environment import OFFLINE
from intriguing.errors import UserError, nearest

DEFAULT = "mnist-5k"  # comes with the book, so it is what an error can offer instead


@dataclasses.dataclass(frozen=True)
class Source:
    """One table of `data/sources.toml`.

    splits : images in each split.  file, sha256 : the container that is looked for first.
    torchvision : the set's class in torchvision.datasets, which can download it; or "".
    bytes : size of the container, or of what is downloaded; 0 where it is not known.
    shape : channels, height and width of an image; empty: not stated.
    class_names : name of each label; "" entries never occur; empty: the container has names.
    content : split -> sha256 of the decoded pixels and labels, where they are exact.
    """

    name: str
    title: str
    url: str
    licence: str
    classes: int
    splits: dict[str, int]
    file: str = ""
    sha256: str = ""
    torchvision: str = ""
    bytes: int = 0
    shape: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    content: dict[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a split was found: a container `path`, or torchvision's `files` below folder `path`."""

    path: Path
    files: tuple[Path, ...] = ()


def sources() -> dict[str, Source]:
    """Return the known data sets by name, in the order of `data/sources.toml`.

    Raises
    ------
    UserError : the table is missing or malformed; names the data set and the key.
    """
    table = paths.root() / "data" / "sources.toml"
    if not table.is_file():
        raise UserError(f"{table} is missing: restore it from the repository.")
    try:
        content = tomllib.loads(textfiles.read(table, str(table)))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{table} is not valid TOML: {error}.") from error
    found = {}
    for name, entry in content.items():
        try:
            lists = {"class_names": _names(entry), "shape": tuple(entry.get("shape", ()))}
            found[name] = Source(name=name, **{**entry, **lists})
        except TypeError as error:
            raise UserError(f"{table}, table {name!r}: {error}.") from error
        _check(found[name], f"{table}, table {name!r}")
    return found


def _check(source: Source, where: str) -> None:
    kind = source.torchvision
    if not (source.file or kind):
        raise UserError(f"{where}: needs a file or a torchvision set.")
    if kind and kind not in vision.FILES:
        raise UserError(f"{where}: torchvision has no {kind!r}, {nearest(kind, vision.FILES)}")
    if not source.splits or kind and set(source.splits) - set(vision.FILES[kind]):
        raise UserError(f"{where}: needs splits, of torchvision's sets train and test.")


def _names(entry: dict) -> tuple[str, ...]:
    names = tuple(entry.get("class_names", ()))
    if names and len(names) != entry.get("classes"):
        raise TypeError(f"has {len(names)} class_names for {entry.get('classes')} classes")
    return names


def locate(source: Source, split: str) -> Place | None:
    """Return where a split is on this machine, the first match in `paths.data_dirs()`, or None."""
    for folder in paths.data_dirs():
        if source.file and (folder / source.file).is_file():
            return Place(folder / source.file)
        if source.torchvision:
            files = vision.files(source.torchvision, folder, split)
            if files:
                return Place(folder, tuple(files))
    return None


def acquire(source: Source, split: str) -> Place:
    """Return where a split is, downloading it into `data/` if torchvision can.

    Raises
    ------
    UserError : it is nowhere and cannot be downloaded; says what was looked for and where.
    """
    place = locate(source, split)
    if place is not None:
        return place
    target = paths.data_dirs()[-1]  # INTRIGUING_DATA may be somebody else's; data/ is ours
    reason = "it has no automatic download"
    if source.torchvision and os.environ.get(OFFLINE):
        reason = f"{OFFLINE} is set, so that nothing is downloaded"
    elif source.torchvision:
        lock = paths.cache_dir() / f"download-{source.torchvision}.lock"
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock):
                vision.download(source.torchvision, target, split)
        except (OSError, RuntimeError) as error:
            lines = str(error).splitlines() or [type(error).__name__]
            reason = f"the download by torchvision failed: {lines[-1].strip('<> ')}"
        place = locate(source, split)
    if place is None:
        raise UserError(_missing(source, split, reason))
    return place


def _missing(source: Source, split: str, reason: str) -> str:
    sought = [source.file] if source.file else []
    if source.torchvision:
        sought.append(f"torchvision's files of {source.torchvision}")
    folders = " or ".join(str(folder) for folder in paths.data_dirs())
    return (
        f"data set {source.name!r} ({split}) is not here: looked for {' or '.join(sought)} in "
        f"{folders}, and {reason}; get it from {source.url}, set INTRIGUING_DATA to the folder "
        f'that has it, or use dataset = "{DEFAULT}", which comes with the book.'
    )


def check_file(source: Source, path: Path, *, again: bool = False) -> str:
    """Return the sha256 of a container after comparing it with the recorded one.

    Raises
    ------
    UserError : wrong checksum; names the file and both sums.
    """
    found = cache.file_sha256(path, again=again)
    if source.sha256 and found != source.sha256 and not again:
        # remembered, perhaps, of a bad copy with this one's size and time: `cp -p` restores both
        found = cache.file_sha256(path, again=True)
    if source.sha256 and found != source.sha256:
        raise UserError(
            f"{path} has sha256 {found[:16]}... where data/sources.toml says "
            f"{source.sha256[:16]}... for {source.name!r}: the file is damaged or another one; "
            "get it again or remove it."
        )
    return found
