"""The sidecar of a network: JSON that carries a checksum of its own.

The name of the files is the key, and the key is the hash of the spec in the sidecar: a sidecar that
belongs to another network, or whose spec was changed, is seen without any checksum.  All other
numbers, such as `test_error`, are held by SEAL, the hash of all that stands beside it.

Sidecars from before 2026-12 have no SEAL.  They are read as they are, once their key and their
fields are right; `intriguing zoo verify` says which they are and completes them.
"""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from intriguing import textfiles
from intriguing.errors import UserError

SEAL = "sidecar_sha256"


class DamagedError(Exception):
    """A file of the store is not what was written: the message says which and how."""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_error(value: Any) -> bool:
    return value is None or (_is_number(value) and 0 <= value <= 1)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


# what whoever reads a network relies on; "parents" came later than the first networks
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "key": _is_digest,
    "sha256": _is_digest,
    "bytes": _is_count,
    "label": _is_text,
    "spec": lambda value: isinstance(value, dict),
    "environment": lambda value: isinstance(value, dict) and _is_text(value.get("device")),
    "iterations": _is_count,
    "evaluations": _is_count,
    "loss": _is_number,
    "grad_max": _is_number,
    "seconds": lambda value: _is_number(value) and value >= 0,
    "stop_reason": _is_text,
    "train_error": _is_error,
    "test_error": _is_error,
}


def digest(content: Any) -> str:
    """Return the sha256 of a content's canonical JSON (64 hex digits); of a spec: its key."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(record: dict) -> dict:
    """Return a record with the checksum of all its other entries."""
    plain = {name: value for name, value in record.items() if name != SEAL}
    return {**plain, SEAL: digest(plain)}


def text_of(record: dict) -> str:
    """Return a sidecar as the file holds it.

    Raises
    ------
    ValueError : a number in it is not finite.
    """
    return json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read(file: Path, key: str) -> dict:
    """Read the sidecar of `key` and hold it against its checksum, its key and its fields.

    Raises
    ------
    DamagedError : it is not what was written.
    UserError : the file is there and cannot be opened.
    """
    which = f"the sidecar of {key[:12]}"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{which} cannot be read: {error.strerror} ({file})") from error
    try:
        record = json.loads(textfiles.decode(content, which), parse_constant=_refuse)
    except (UserError, ValueError, RecursionError) as error:
        raise DamagedError(f"{which} is not readable") from error
    if why := _wrong(record, key):
        raise DamagedError(f"{which} {why}")
    return record


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of a sidecar")


def _wrong(record: Any, key: str) -> str:
    """Return what is wrong with a sidecar, "" if nothing is."""
    if not isinstance(record, dict):
        return "is not readable"
    if SEAL in record and record != sealed(record):
        return "does not match its checksum: it was changed after the training"
    missing = [name for name in _FIELDS if name not in record]
    if missing:
        return f"lacks {', '.join(missing)}"
    odd = [name for name, fits in _FIELDS.items() if not fits(record[name])]
    if odd:
        return f"has a wrong {odd[0]}: {record[odd[0]]!r}"[:200]
    if record["key"] != key or digest(record["spec"]) != key:
        return "tells of another network: its spec does not give its key"
    return ""
