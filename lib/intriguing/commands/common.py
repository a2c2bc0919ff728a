"""What the commands share: exit statuses, failure, output on a terminal or in a log."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from intriguing.errors import UserError

RIGHT, FAILED, MISUSE, INTERRUPTED = 0, 1, 2, 130

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class Failed(Exception):
    """The command was right and its work went wrong; the message says how."""


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Mark the part of a command that does the work: an error in here is no misuse."""
    try:
        yield
    except UserError as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(tell(error)) from error


def tell(error: OSError) -> str:
    """Return what the system refused as a sentence: which file, why, what to do."""
    if error.filename is None or error.strerror is None:
        return str(error)
    where = f"{os.fsdecode(error.filename)}: {error.strerror.lower()}"
    if error.errno in _UNWRITABLE:
        return (f"{where}; the book writes below _build, so work in a copy that is yours, and name "
                "it in INTRIGUING_ROOT")
    return f"{where}; make room and start again" if error.errno == errno.ENOSPC else where


def say(text: str) -> None:
    """Tell the person who waits; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def complain(text: str, status: int) -> int:
    """Print an error and return the exit status that goes with it."""
    print(f"intriguing: {text}", file=sys.stderr)
    return status


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their heads, columns as wide as they need."""
    lines = [[str(field) for field in line] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(f"{field:<{width}}" for field, width in zip(line, widths, strict=True))
              .rstrip())


def refuse_unread(options: Any, names: Sequence[str], why: str) -> None:
    """Refuse options that would be left unread.

    Raises
    ------
    UserError : one of them is given; `why` ends the sentence that begins with its name.
    """
    for name in names:
        given = getattr(options, name)
        if given is not None and given is not False:
            raise UserError(f"--{name.replace('_', '-')} {why}")


def check_device(name: str | None, *, here: bool = True) -> None:
    """Refuse what is no device, and a GPU that is not there, where it is to be used `here`.

    Raises
    ------
    UserError : either of these.
    """
    if name is None:
        return
    if not _DEVICE.fullmatch(name):
        raise UserError(f"{name!r} is not a device: use auto, cpu, mps, cuda or cuda:N")
    if here and name.startswith(("cuda", "mps")):
        from intriguing import runtime  # imports torch: only where a GPU is asked for

        try:
            runtime.device(name)
        except ValueError as error:
            raise UserError(str(error)) from error
