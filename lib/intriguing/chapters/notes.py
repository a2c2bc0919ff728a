"""Notes: small files of what was found out once.  One that is damaged, or not there, is no note.

They spare time and decide nothing: whoever writes one says in it what it holds for.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def read(file: Path) -> Any | None:
    """Return what a note says, as JSON reads it; None without a whole one."""
    try:
        digest, _, text = file.read_text(encoding="utf-8").partition("\n")
        return json.loads(text) if digest == _digest(text) else None
    except (OSError, ValueError):
        return None


def write(file: Path, content: Any) -> None:
    """Write a note under a temporary name and rename it; a folder that takes no files is no error.

    Parameters
    ----------
    content : as JSON has it; tuples come back as lists.
    """
    text = json.dumps(content)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(f"{_digest(text)}\n{text}", encoding="utf-8", newline="\n")
        os.replace(draft, file)
    except OSError:
        draft.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
