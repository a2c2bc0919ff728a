"""`record.json` and the files beside it: written whole or not at all, read strictly."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from intriguing import textfiles
from intriguing.errors import UserError
from intriguing.records.record import Record

SCHEMA = 1
FILE = "record.json"
HEAD = (
    "schema", "chapter", "profile", "modified", "parameters", "seeds", "started", "seconds",
    "training_seconds", "device", "versions", "commit", "dirty", "checkpoints", "halved", "records",
)  # fmt: skip


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


# what each field may hold; a number that makes no sense is a matter of the gates
_HEAD: dict[str, Callable[[Any], bool]] = {
    "chapter": _text, "profile": _text, "modified": lambda value: isinstance(value, bool),
    "parameters": _mapping, "seeds": _list_of(_count), "started": _text,
    "seconds": _or_none(_number), "training_seconds": _or_none(_number), "device": _text,
    "versions": _mapping, "commit": _or_none(_text),
    "dirty": _or_none(lambda value: isinstance(value, bool)), "checkpoints": _mapping,
    "halved": _list_of(_mapping), "records": lambda value: isinstance(value, list),
}  # fmt: skip
_RECORD: dict[str, Callable[[Any], bool]] = {
    "name": _text, "value": _number, "low": _or_none(_number), "high": _or_none(_number),
    "n": _or_none(_number), "unit": _text, "method": _text, "seeds": _list_of(_count),
    "checkpoints": _list_of(_text), "parameters": _or_none(_mapping), "paper": _or_none(_number),
    "paper_where": _or_none(_text), "paper_tag": _or_none(_text), "note": _or_none(_text),
}  # fmt: skip


def load(path: Path | str) -> tuple[dict[str, Any], list[Record]]:
    """Read a `record.json` (or the folder that holds it): its head and its records.

    Raises
    ------
    UserError : not there, not JSON, another schema, or fields missing, unknown or of a wrong type.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    where = "/".join(file.parts[-2:])
    if not file.is_file():
        raise UserError(f"{where} is not there; run the chapter again")
    try:
        content = json.loads(textfiles.read(file, where))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is damaged: {error}; run the chapter again") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UserError(f"{where} does not have schema {SCHEMA}; run the chapter again")
    content.setdefault("halved", [])  # came later than the first published records
    if set(content) != set(HEAD):
        odd = ", ".join(sorted(set(content) ^ set(HEAD)))
        raise UserError(f"{where} has missing or unknown fields ({odd}); run the chapter again")
    for key, fits in _HEAD.items():
        if not fits(content[key]):
            raise UserError(f"{where}: {key} cannot be {content[key]!r}; run the chapter again")
    result: dict[str, Record] = {}
    for entry in content.pop("records"):
        record = _record(entry, where)
        if record.name in result:
            raise UserError(f"{where}: the record {record.name!r} comes twice")
        result[record.name] = record
    return content, list(result.values())


def _record(entry: Any, where: str) -> Record:
    """Return one entry of a file as a record, its fields checked."""
    if not isinstance(entry, dict) or set(entry) != set(_RECORD):
        raise UserError(f"{where}: a record has missing or unknown fields: {entry}")
    for key, fits in _RECORD.items():
        if not fits(entry[key]):
            raise UserError(f"{where}: {key} of the record {entry['name']!r} cannot be "
                            f"{entry[key]!r}; run the chapter again")
    return Record(**{**entry, **{key: tuple(entry[key]) for key in ("seeds", "checkpoints")}})


def write(file: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
