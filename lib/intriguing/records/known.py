"""What is known of a data set without its images: how many, how many classes, of what shape.

By name from `data/sources.toml`, read here without torch, since every command checks parameters.
"""

import math
import tomllib
from pathlib import Path
from typing import Any

from intriguing import paths
from intriguing.errors import UserError, nearest


def names() -> tuple[str, ...]:
    """Return the names of the known sets, () where the table cannot be read."""
    return tuple(_table())


def images(name: str, split: str) -> float:
    """Return the images of a known set's split; infinity for a part and for a set of one's own."""
    return _table().get(name, {}).get("splits", {}).get(split, math.inf)


def form(name: str) -> tuple[int, tuple[int, ...]]:
    """Return (number of classes, (channels, height, width)) of a data set, () where not known.

    A set of one's own is decoded for it, which leaves it in the cache for the run.

    Raises
    ------
    ValueError : it has no split "test".
    UserError : there is no such set, or it cannot be read.
    """
    table = _table()
    if name in table:
        return table[name].get("classes", 0), tuple(table[name].get("shape", ()))
    if len(Path(name).parts) == 1 and not Path(name).exists() and not Path(name).suffix:
        raise UserError(f"there is no data set {name!r}: {nearest(name, table)}")
    from intriguing import data  # and with it torch

    found = data.load(name, "test")
    return len(found.classes), tuple(found.x.shape[1:])


def _table() -> dict[str, dict[str, Any]]:
    """Return the tables of `data/sources.toml`, {} where it cannot be read: loading says why."""
    try:
        text = (paths.root() / "data" / "sources.toml").read_text(encoding="utf-8")
        return tomllib.loads(text)
    except (OSError, ValueError):
        return {}
