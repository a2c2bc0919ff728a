"""Receipts: what says that a chapter's page in `_build` was made from what is there now.

A receipt is a small file named after the chapter and the fingerprint of its page: the hashes of
code, parameters and library modules, and the keys of the networks.  Whoever puts a page on a
profile's shelf writes it, so that the workflow finds its work done whoever did it, and undone as
soon as any of these changes; when a file was written plays no part.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intriguing import paths
from intriguing.chapters import Settings, fingerprint, outline, placing, shelves
from intriguing.errors import UserError

LENGTH = 16  # hex digits of a fingerprint in a file name


def folder(profile: str) -> Path:
    """Return the folder of a profile's receipts."""
    return paths.build_dir(profile) / "receipts"


def wanted(settings: Settings) -> str:
    """Return the fingerprint of the page that a run would make now."""
    source, networks = shelves.load(settings.chapter.source), outline.outline(settings)
    return of({
        "code": fingerprint.code_hash(source),
        "params": fingerprint.params_hash(settings.parameters),
        "modules": fingerprint.module_hashes(source, families=outline.families(networks)),
        "networks": outline.keys(networks),
    })


def of(made: Mapping[str, Any]) -> str:
    """Return the fingerprint of a page from what it remembers of its run."""
    parts = [made.get(name) for name in ("code", "params", "modules", "networks")]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def present(chapter: str, profile: str) -> str:
    """Return the fingerprint of the page on the profile's shelf.

    "" without a page of ours that can be read and has the results that it was made with, to the
    last byte.
    """
    made = _made(chapter, profile)
    return of(made) if made else ""


def _made(chapter: str, profile: str) -> Mapping[str, Any]:
    """Return what the page on the shelf remembers of its run; {} where `present` says ""."""
    shelf = shelves.built(profile)
    try:
        made = shelves.load(shelf.page(chapter))["metadata"].get("intriguing") or {}
    except UserError:
        return {}
    own = placing.sealed(made) and not placing.differences(made, shelf.results / chapter)
    return made if own else {}


def hold(settings: Settings) -> bool:
    """Say whether the page on the shelf is what a run would make now; if so, see to its receipt."""
    chapter, profile = settings.chapter.name, settings.profile
    if present(chapter, profile) != wanted(settings):
        return False
    write(chapter, profile)
    return True


def name(chapter: str, digest: str) -> str:
    """Return the file name of a receipt."""
    return f"{chapter}.{digest}"


def write(chapter: str, profile: str) -> None:
    """Make the receipts of a chapter tell of its page as it is: one, or none without a page."""
    here = folder(profile)
    here.mkdir(parents=True, exist_ok=True)
    made = _made(chapter, profile)
    digest = of(made) if made else ""
    for old in here.glob(f"{chapter}.*"):
        if old.name != name(chapter, digest):
            old.unlink(missing_ok=True)
    if digest:
        text = json.dumps({"chapter": chapter, "started": made.get("started")}) + "\n"
        path = here / name(chapter, digest)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
