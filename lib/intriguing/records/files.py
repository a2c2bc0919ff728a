"""`record.json` and the files beside it: written whole or not at all, read strictly."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from intriguing.errors import UserError
from intriguing.records.record import Record

SCHEMA = 1
FILE = "record.json"
HEAD = (
    "schema", "chapter", "profile", "modified", "parameters", "seeds", "started", "seconds",
    "training_seconds", "device", "versions", "commit", "dirty", "checkpoints", "halved", "records",
)  # fmt: skip


def load(path: Path | str) -> tuple[dict[str, Any], list[Record]]:
    """Read a `record.json` (or the folder that holds it): its head and its records.

    Raises
    ------
    UserError : not there, not JSON, another schema, or fields missing, unknown or of a wrong type.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    where = "/".join(file.parts[-2:])
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = "is not there" if isinstance(error, FileNotFoundError) else f"is damaged: {error}"
        raise UserError(f"{where} {reason}; run the chapter again") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UserError(f"{where} does not have schema {SCHEMA}; run the chapter again")
    content.setdefault("halved", [])  # came later than the first published records
    if set(content) != set(HEAD):
        odd = ", ".join(sorted(set(content) ^ set(HEAD)))
        raise UserError(f"{where} has missing or unknown fields ({odd}); run the chapter again")
    known = {field.name for field in fields(Record)}
    result: dict[str, Record] = {}
    for entry in content.pop("records"):
        if not isinstance(entry, dict) or set(entry) != known:
            raise UserError(f"{where}: a record has missing or unknown fields: {entry}")
        numbers = [entry["value"], *(entry[k] or 0 for k in ("low", "high", "n", "paper"))]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers):
            raise UserError(f"{where}: the record {entry['name']!r} holds something not a number")
        if entry["name"] in result:
            raise UserError(f"{where}: the record {entry['name']!r} comes twice")
        lists = {key: tuple(entry[key]) for key in ("seeds", "checkpoints")}
        result[entry["name"]] = Record(**{**entry, **lists})
    return content, list(result.values())


def write(file: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
