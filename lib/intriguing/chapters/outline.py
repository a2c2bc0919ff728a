"""The networks of a chapter by key and name, remembered, so that a plan needs no torch.

What its cells tagged `networks` declare is a matter of seconds to find out: they are executed, and
with them torch is imported.  So the outcome is kept in a small file under `_build`, with a hash of
all that decides it.
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from intriguing import paths, textfiles
from intriguing.chapters import networks, notes, shelves
from intriguing.chapters.catalogue import Settings
from intriguing.chapters.fingerprint import code_cells, source_of, tags_of

VERSION = 1  # raised when the file's form changes
_BEGAN = time.time()  # about when this process imported the library
_MARGIN = 10.0  # seconds: what was saved since so long before may not be what was imported


@dataclass(frozen=True)
class Network:
    """A network that a chapter needs: its key, its name for people, the keys that it is built on.

    `declared` is False for one that is there only because another is built on it.  `family` is the
    module of its architecture, which no import leads to.
    """

    key: str
    label: str
    below: tuple[str, ...]
    declared: bool
    family: str


def outline(settings: Settings) -> tuple[Network, ...]:
    """Return the networks that a chapter needs with these settings, each behind those below it.

    Raises
    ------
    UserError : as `networks.declared`.
    """
    cells = [source_of(cell) for cell in code_cells(shelves.load(settings.chapter.source))
             if networks.TAG in tags_of(cell)]
    if not cells:
        return ()
    file = paths.build_dir(settings.profile) / "networks" / f"{settings.chapter.name}.json"
    decides = _decides(cells, settings)
    found = _read(file, decides)
    if found is None:
        found, watched = _found_out(settings)
        # others come once, and would take the place of these
        usual = not settings.overrides and not settings.chapter.foreign
        if usual and watched is not None and _library()[1] < _BEGAN - _MARGIN:
            notes.write(file, {"decides": decides, "data": watched,
                               "networks": [asdict(one) for one in found]})
    return found


def keys(networks: Iterable[Network]) -> list[str]:
    """Return the keys of the networks that a chapter declares, sorted."""
    return sorted(one.key for one in networks if one.declared)


def families(networks: Iterable[Network]) -> list[str]:
    """Return the modules of the architectures of the networks that a chapter declares, sorted."""
    return sorted({one.family for one in networks if one.declared})


def allow(settings: Settings, path: Path) -> tuple[Network, ...]:
    """Write what the zoo is to allow the chapter's run, and return the networks that it needs.

    At smoke a network that is not declared ends the run; elsewhere, where a run can be hours old by
    then, it is a warning.
    """
    found = outline(settings)
    content = {"chapter": settings.chapter.name, "keys": [one.key for one in found],
               "strict": settings.profile == "smoke"}
    path.write_text(json.dumps(content), encoding="utf-8")
    return found


def _found_out(settings: Settings) -> tuple[tuple[Network, ...], dict[str, Any] | None]:
    """Execute the cells; return the networks, and the state of the data files that were read.

    None instead of the latter: the images come from a place that is not watched.
    """
    from intriguing import models
    from intriguing.data import loading  # and with it torch

    bare = networks.declared(settings, resolved=False)
    wanted = {(spec.dataset, spec.split) for spec in bare if not spec.data_sha256}
    places = [loading.places(*each) for each in sorted(wanted)]
    files = None if None in places else sorted(
        {_relative(path) for some in places for path in some})
    before = None if files is None else _state(files)
    specs = networks.declared(settings)
    declared = {spec.key for spec in specs}
    found = tuple(
        Network(spec.key, spec.label,
                tuple(below.key for below in networks.with_bases([spec])[:-1]),
                spec.key in declared, models.family(spec.architecture).__name__)
        for spec in (networks.with_bases(specs) if specs else ()))
    return found, before if before is None or before == _state(files) else None


def _relative(path: Path) -> str:
    """Return a path as seen from the root: a book that moves need not be asked again."""
    return os.path.relpath(path, paths.root())


def _state(files: list[str]) -> dict[str, list[int] | None]:
    """Return {path: [bytes, time of change in nanoseconds]}, None for what is not there."""
    found: dict[str, list[int] | None] = {}
    root = paths.root()
    for name in files:
        try:
            status = (root / name).stat()
            found[name] = [status.st_size, status.st_mtime_ns]
        except OSError:
            found[name] = None
    return found


def _decides(cells: list[str], settings: Settings) -> str:
    """Return the hash of what decides the outcome, but for files of data."""
    table = paths.root() / "data" / "sources.toml"
    parts = [
        VERSION, settings.profile, cells, sorted(map(repr, settings.parameters.items())),
        _library()[0], textfiles.read(table) if table.is_file() else "",
        [_relative(folder) for folder in paths.data_dirs()],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@functools.cache  # as this process imported it
def _library() -> tuple[str, float]:
    """Return the hash of all modules of this package, and when the latest of them was saved.

    All of them: how a spec is made runs through many, some of which are found by name only.
    """
    folder, digest, latest = paths.package(), hashlib.sha256(), 0.0
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
        latest = max(latest, file.stat().st_mtime)
    return digest.hexdigest(), latest


def _read(file: Path, decides: str) -> tuple[Network, ...] | None:
    """Return what was remembered, None if nothing was or all that decides it is not the same."""
    kept = notes.read(file)
    if kept is None or kept["decides"] != decides or kept["data"] != _state(list(kept["data"])):
        return None
    return tuple(Network(**{**row, "below": tuple(row["below"])}) for row in kept["networks"])
