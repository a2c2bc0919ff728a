"""Text files, read or refused in one sentence that names the file, the line and the byte."""

import codecs
from pathlib import Path

from intriguing.errors import UserError


def read(file: Path, name: str | None = None) -> str:
    """Return the text of a UTF-8 file, its line ends as "\\n", a byte order mark left out.

    Parameters
    ----------
    file : which.
    name : what messages call it; None: its name with that of its folder.

    Raises
    ------
    UserError : it cannot be opened, or a byte in it is not UTF-8 (an editor of Windows that saves
        in its own code page writes such).
    """
    name = "/".join(file.absolute().parts[-2:]) if name is None else name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from error
    return decode(content, name)


def decode(content: bytes, name: str) -> str:
    """Return bytes as text; `name` and errors as for `read`."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{name} is text in UTF-16: save it as UTF-8")
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        byte, line = error.object[error.start], error.object.count(b"\n", 0, error.start) + 1
        meant = bytes([byte]).decode("cp1252", errors="ignore")
        hint = f" (in Windows-1252 it is {meant!r})" if meant else ""
        raise UserError(f"{name}, line {line}: the byte 0x{byte:02x}{hint} is not UTF-8: save the "
                        "file as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
