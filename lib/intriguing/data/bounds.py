"""How much is read of a container, so that no file makes this machine ask for memory it lacks.

A few bytes can claim or unpack to terabytes: each claim is held against these numbers before memory
is asked for.
"""

import functools
import os
from pathlib import Path

from intriguing.errors import UserError

CLASSES = 100_000  # ImageNet's largest release has 21,841
PIXELS = 89_478_485  # of an image, where Pillow begins to speak of a decompression bomb
SIDE = 8192  # pixels that an image is resized to, at most
MEMBERS = 5_000_000  # of an archive; ImageNet's has 1.3 million
MEMBER_BYTES = 2**29  # of a member of an archive, a picture file; an uncompressed one has 3 a pixel
HEADER_BYTES = 2**20  # of what a tar file says of a member, names of many kilobytes included
PADDING_BYTES = 2**26  # behind the end mark of a tar file; programs pad to a few kilobytes
_UNKNOWN = 16 * 2**30  # where the system does not say how much memory there is


@functools.cache
def memory() -> int:
    """Return the bytes of memory that this process may hope for: the machine's, or its group's."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        found = _UNKNOWN
    try:
        allowed = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # no Linux, or no limit
        allowed = "max"
    return min(found, int(allowed)) if allowed.isdecimal() else found


def check_split(count: int, where: str) -> None:
    """Refuse a split whose decoded images, `count` bytes, would fill more than half the memory.

    Raises
    ------
    UserError : names `where`, the size and the limit.
    """
    most = memory() // 2
    if count > most:
        raise UserError(
            f"{where} holds {shown(count)} of decoded images, and at most {shown(most)} are read, "
            "half of this machine's memory: take fewer or smaller images."
        )


def check_member(count: int, where: str) -> None:
    """Refuse a picture file of more than MEMBER_BYTES.

    Raises
    ------
    UserError : names `where`, the size and the limit.
    """
    if not 0 <= count <= MEMBER_BYTES:
        raise UserError(
            f"{where} has {shown(count)}, and at most {shown(MEMBER_BYTES)} are read of a picture: "
            "remove it or make it smaller."
        )


def shown(count: int) -> str:
    """Return a number of bytes for people, such as "931 GiB"."""
    power = min(max(abs(count).bit_length() - 1, 0) // 10, 6)
    return f"{count / 1024**power:.4g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[power]}"
