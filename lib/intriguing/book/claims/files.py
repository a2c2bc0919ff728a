"""Read `book/claims/`, the lists of what the papers claim and the chapters test, strictly.

One file a chapter, named after it.  Entries are written before a chapter is run.  A paper's number
that was only remembered (tag M) can be listed, but no test may use it and no statement print it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from intriguing import chapters, paths, records, textfiles
from intriguing.errors import UserError, nearest
from intriguing.records.values import load_yaml

PROFILES = ("smoke", "cpu", "gpu", "paper")
_KEYS = ("id", "source", "statement", "paper", "unit", "record", "test", "profiles")
_TESTS = {"equal": ("margin",), "within": ("than", "margin"), "greater": ("than", "margin"),
          "less": ("than", "margin")}


@dataclass(frozen=True)
class Claim:
    """One claim of a paper and the test that decides it.

    `kind` "equal": the interval against `paper` +- `margin`; "within": against `than` +- `margin`,
    for a claim that two things are alike where the paper has no number; "greater" and "less": the
    interval against `than`, by at least `margin`.  `paper` is None for a claim without a number.
    """

    id: str
    chapter: str
    cite: str
    where: str
    tag: str
    statement: str
    paper: float | None
    unit: str
    record: str
    kind: str
    margin: float
    than: float | None
    profiles: tuple[str, ...]

    @property
    def from_memory(self) -> bool:
        """Whether the paper's number was read nowhere."""
        return records.memory_only(self.tag)

    @property
    def rule(self) -> str:
        """What must hold for the claim to count as reproduced, in words."""
        if self.kind == "equal":
            return f"within {self.margin:g} of the paper's value"
        if self.kind == "within":
            return f"within {self.margin:g} of {self.than:g}"
        sign = 1 if self.kind == "greater" else -1
        return f"{self.kind} than {self.than + sign * self.margin:g}"


def load(folder: Path | str | None = None) -> list[Claim]:
    """Read and check the claims of all chapters: in the book's order, within one in the file's.

    Parameters
    ----------
    folder : where the files `<chapter>.yml` are; None: `paths.claims_dir()`.

    Raises
    ------
    UserError : no such folder, or as `read`.
    """
    folder = paths.claims_dir() if folder is None else Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder.name} is not there: the folder of the claims, one file a chapter")
    found: list[Claim] = []
    for file in files(folder):
        found += read(file, found)
    return found


def files(folder: Path) -> list[Path]:
    """Return the files of claims in a folder: all of YAML, however their names end.

    `read` refuses those that do not end in ".yml", which would be left out without a word.
    """
    return sorted(file for file in folder.glob("*") if file.suffix.lower() in (".yml", ".yaml"))


def read(file: Path, others: Iterable[Claim] = ()) -> list[Claim]:
    """Read and check the claims of one chapter.

    Parameters
    ----------
    file : named after the chapter.
    others : claims of other files, whose ids are taken.

    Raises
    ------
    UserError : a file that belongs to no chapter or is no list of complete entries, or an id used
        twice; the message names the file, the claim and what is wrong.
    """
    where = f"{file.parent.name}/{file.name}"
    if file.suffix != ".yml":
        raise UserError(f"{where}: call it {file.stem}.yml: files of claims end so")
    if file.stem not in chapters.names():
        hint = nearest(file.stem, chapters.names())
        raise UserError(f"{where}: no chapter is called {file.stem!r}: {hint}")
    try:
        entries = load_yaml(textfiles.read(file, where))
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{where} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list | None):
        raise UserError(f"{where} must be a list of claims")
    taken = {claim.id: claim.chapter for claim in others}
    found = []
    for number, entry in enumerate(entries or [], start=1):
        name = entry.get("id") if isinstance(entry, dict) else None
        try:
            claim = _claim(entry, file.stem)
            if claim.id in taken:
                also = taken[claim.id]
                raise ValueError("the id is used twice" if also == file.stem else
                                 f"the id is used by chapter {also} too")
        except ValueError as error:
            what = name if isinstance(name, str) else repr(number)
            raise UserError(f"{where}: claim {what}: {error}") from error
        taken[claim.id] = claim.chapter
        found.append(claim)
    return found


def _claim(entry: Any, chapter: str) -> Claim:
    """Return one checked entry of a chapter; ValueError says what is wrong with it."""
    _exactly(entry, _KEYS, "the claim")
    _exactly(entry["source"], ("cite", "where", "tag"), "source")
    test = entry["test"]
    kind = test.get("kind") if isinstance(test, dict) else None
    if kind not in _TESTS:
        raise ValueError(f"test has the kind {kind!r}: {nearest(str(kind), _TESTS)}")
    _exactly({"margin": 0.0, **test}, ("kind", *_TESTS[kind]), "test")
    if kind in ("equal", "within") and "margin" not in test:
        raise ValueError(f"a test of the kind {kind!r} needs a margin")
    profiles = entry["profiles"]
    if not isinstance(profiles, list) or not profiles:
        raise ValueError("profiles must be a list with at least one profile")
    for profile in profiles:
        if profile not in PROFILES:
            raise ValueError(f"no profile is called {profile!r}: {nearest(profile, PROFILES)}")
    claim = Claim(
        id=_text(entry, "id"),
        chapter=chapter,
        cite=_text(entry["source"], "cite"),
        where=_text(entry["source"], "where"),
        tag=_text(entry["source"], "tag"),
        statement=" ".join(_text(entry, "statement").split()),
        paper=None if entry["paper"] is None else _number(entry, "paper"),
        unit=_text(entry, "unit"),
        record=_text(entry, "record"),
        kind=kind,
        margin=_number(test, "margin") if "margin" in test else 0.0,
        than=_number(test, "than") if kind != "equal" else None,
        profiles=tuple(profiles),
    )
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", claim.id):
        raise ValueError("an id has lower-case letters, digits, '-' and '.' only")
    if not re.fullmatch(r"[\w:.+/-]+", claim.cite):
        raise ValueError(f"{claim.cite!r} is no key of references.bib")
    if claim.margin < 0:
        raise ValueError(f"the margin {claim.margin:g} is negative")
    if claim.from_memory:  # an unknown tag raises here
        if kind == "equal":
            raise ValueError("a value from memory cannot be tested against: read the paper first")
        if claim.paper is not None and any(
            float(n) == claim.paper for n in re.findall(r"\d+(?:\.\d+)?", claim.statement)
        ):
            raise ValueError("the statement prints a value that is known from memory only")
    elif kind == "equal" and claim.paper is None:
        raise ValueError("an equal test needs the paper's value")
    return claim


def _exactly(entry: Any, keys: Sequence[str], what: str) -> None:
    """Raise ValueError unless `entry` is a mapping with exactly these keys."""
    if not isinstance(entry, dict):
        raise ValueError(f"{what} must be a mapping with {', '.join(keys)}")
    for key in entry:
        if key not in keys:
            raise ValueError(f"{what} has the unknown key {key!r}: {nearest(str(key), keys)}")
    missing = [key for key in keys if key not in entry]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(missing)}")


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be text, not {value!r}")
    return value.strip()


def _number(entry: Mapping[str, Any], key: str) -> float:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        hint = " (YAML wants 1.0e-3 for 1e-3)" if isinstance(value, str) else ""
        raise ValueError(f"{key} must be a number, not {value!r}{hint}")
    return float(value)
