"""Image archives (`.zip`, `.tar`, `.tar.gz`, ...) and folders laid out `split/class/file`.

Archives are read member by member in memory and never unpacked, so a hostile member name has
nothing to overwrite; names that try (`..`, absolute) are refused all the same, because an archive
that has them is not what its owner thinks it is.  One folder around everything is allowed, which
is how most programs pack a folder.  A class is its name, in whichever of Unicode's forms the system
that packed it writes accents.
"""

import lzma
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from intriguing import vision
from intriguing.data import bounds
from intriguing.data.arrays import Decoded
from intriguing.data.images import Stack
from intriguing.errors import UserError, nearest

LAYOUT = "split/class/file, such as train/cat/1.png"
TAR_ENDINGS = (".tgz", ".txz", ".tbz2")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)

Member = tuple[str, bool, int, Callable[[], bytes]]  # name, is a folder, bytes, read its content


def is_archive(path: Path) -> bool:
    """Say whether the name ends like one of the archives that `read_archive` reads."""
    path = Path(path.name.lower())
    return path.suffix in (".zip", *TAR_ENDINGS) or ".tar" in path.suffixes[-2:]


def read_archive(path: Path, split: str, size: int | None = None) -> Decoded:
    """Decode one split of an image archive.

    Parameters
    ----------
    path : a `.zip` or `.tar*` file; the class of an image is its folder, its label the rank of
        that name among the sorted names.
    split : the outer folder, "train" or "test" say.
    size : crop to a square and resize to this many pixels a side; None: all must have one size.

    Raises
    ------
    ValueError : no such split.
    UserError : truncated, an unreadable image, unequal sizes, a class without images, a member
        name that leaves the archive, or more of anything than `bounds` allows; names the member.
    """
    members = _zip_members if path.name.lower().endswith(".zip") else _tar_members
    stack = Stack(f"{path.name}", size)
    tree = _Tree(path.name)
    try:
        for number, (name, is_folder, size_in_bytes, read) in enumerate(members(path)):
            if number >= bounds.MEMBERS:
                raise UserError(f"{path.name} has more than the {bounds.MEMBERS:,} members that are "
                                "read of an archive: split it.")
            place = tree.place(name, is_folder)
            if place is not None and place[0] == split:
                bounds.check_member(size_in_bytes, f"{path.name}: {name}")
                stack.add(place[1], name, read())
    except _LongHeaderError as error:
        raise UserError(f"{path}: {error}") from error
    except DAMAGE as error:
        raise UserError(
            f"{path} is truncated or damaged ({type(error).__name__}: {error}): get it again."
        ) from error
    except NotImplementedError as error:
        raise UserError(f"{path} is packed in a way Python cannot read: {error}.") from error
    return stack.finish(tree.classes(split))


def read_folder(path: Path, split: str, size: int | None = None) -> Decoded:
    """Decode one split of a folder laid out as `split/class/file`; as `read_archive` otherwise."""
    splits = _folders(path)
    if split not in splits:
        raise ValueError(f"{path} has no split {split!r}: {nearest(split, splits)}")
    classes, listing = vision.image_folder(path / split)
    for other in splits:
        there = set(map(same_name, _folders(path / other)))
        _same_classes(path.name, split, set(classes), other, there)
    stack = Stack(path.name, size)
    for file, label in listing:
        member = file.relative_to(path).as_posix()
        if not file.is_file():  # reading a pipe would wait for ever
            raise UserError(f"{path.name}: {member} is no file: remove it.")
        bounds.check_member(file.stat().st_size, f"{path.name}: {member}")
        stack.add(classes[label], member, file.read_bytes())
    return stack.finish(classes)


def _folders(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.is_dir() and not vision.hidden(p.name))


class _Tree:
    """Sorts member names into split, class and file, and remembers what was there."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.outer: tuple[tuple[str, ...], str] | None = None  # folder around it all, and a witness
        self.found: dict[str, set[str]] = {}  # split -> classes that have files
        self.folders: list[tuple[str, ...]] = []

    def place(self, name: str, is_folder: bool) -> tuple[str, str] | None:
        """Return (split, class) of an image, None for folders, litter and text beside the splits.

        Raises
        ------
        UserError : a name that leaves the archive, or an image in an unexpected place.
        """
        parts = self._parts(name)
        if any(vision.hidden(part) for part in parts):
            return None
        if is_folder:
            self.folders.append(parts)
            return None
        if len(parts) < 3:
            if parts and parts[-1].lower().endswith(IMAGE_ENDINGS):
                raise UserError(f"{self.where}: {name} does not lie in {LAYOUT}.")
            return None
        outer, (split, label) = parts[:-3], parts[-3:-1]
        if self.outer is None:
            self.outer = (outer, name)
        if outer != self.outer[0]:
            raise UserError(
                f"{self.where}: {name} and {self.outer[1]} lie at different depths or in different "
                f"folders: every image must lie in {LAYOUT}."
            )
        label = same_name(label)
        self.found.setdefault(split, set()).add(label)
        return split, label

    def _parts(self, name: str) -> tuple[str, ...]:
        slashed = name.replace("\\", "/")  # some Windows programs pack with backslashes
        parts = slashed.split("/")
        if slashed.startswith("/") or ".." in parts or parts[0][1:2] == ":":
            raise UserError(
                f"{self.where}: the member name {name!r} is absolute or leads out of the archive, "
                "so the whole archive is refused: pack it again from inside its folder."
            )
        return tuple(part for part in parts if part not in ("", "."))

    def classes(self, split: str) -> tuple[str, ...]:
        """Return the sorted class names of the archive, checked to be those of `split`."""
        if not self.found:
            raise UserError(f"{self.where} holds no image that lies in {LAYOUT}.")
        if split not in self.found:
            raise ValueError(f"{self.where} has no split {split!r}: {nearest(split, self.found)}")
        depth = len(self.outer[0]) if self.outer else 0
        for parts in self.folders:  # folders that are stored but hold nothing
            if len(parts) == depth + 2 and parts[depth] in self.found:
                _same_classes(self.where, parts[depth], self.found[parts[depth]], "",
                              {same_name(parts[-1])})
        for other, labels in self.found.items():
            _same_classes(self.where, split, self.found[split], other, labels)
        return tuple(sorted(self.found[split]))


def same_name(name: str) -> str:
    """Return a name in one form: macOS writes an accent as a character of its own, others do not."""
    return unicodedata.normalize("NFC", name)


def _same_classes(where: str, split: str, here: set[str], other: str, there: set[str]) -> None:
    """Refuse a class that `split` lacks: its labels would mean different things in two splits."""
    if lacking := sorted(there - here):
        seen = f", but split {other!r} has" if other else ""
        raise UserError(
            f"{where}: class {lacking[0]!r} has no images in split {split!r}{seen}: "
            "remove the class or add images."
        )


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise UserError(f"{path.name}: {info.filename} is encrypted: pack it in the clear.")
            yield info.filename, info.is_dir(), info.file_size, lambda info=info: archive.read(info)


class _StrictInfo(tarfile.TarInfo):
    """Makes a tar file that stops without its end mark an error; tarfile takes that for the end."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no end mark, {error}") from error

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        """Read a header; refuse one that goes before a member's own and claims to be long.

        A long name, and what pax says of a member, are read whole before any member is seen.
        """
        info = super().frombuf(buf, encoding, errors)
        if info.type in _AHEAD and not 0 <= info.size <= bounds.HEADER_BYTES:
            raise _LongHeaderError(
                f"a header claims {bounds.shown(info.size)}, and at most "
                f"{bounds.shown(bounds.HEADER_BYTES)} are read: it is damaged, get it again."
            )
        return info


_AHEAD = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


class _LongHeaderError(Exception):
    """A tar file's header asks for more memory than a header needs."""


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path, tarinfo=_StrictInfo) as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # it would keep them all
            if not (info.isfile() or info.isdir()):
                raise UserError(f"{path.name}: {info.name} is a link or device: store plain files.")
            # all of them: to pass over a member of a compressed archive is to unpack it
            bounds.check_member(info.size, f"{path.name}: {info.name}")
            yield info.name, info.isdir(), info.size, lambda info=info: archive.extractfile(
                info).read()
        behind = 0
        while some := archive.fileobj.read(1 << 20):  # to the end, where gzip and xz keep their sum
            behind += len(some)
            if behind > bounds.PADDING_BYTES:
                raise UserError(
                    f"{path.name} goes on for more than {bounds.shown(bounds.PADDING_BYTES)} behind "
                    "its end mark: pack it again."
                )
