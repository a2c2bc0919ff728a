"""Read `book/claims.yml`, the list of what the papers claim and the chapters test, strictly.

Entries are written before a chapter is run.  A paper's number that was only remembered (tag M) can
be listed, but no test may use it and no statement print it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from intriguing import records
from intriguing.errors import UserError, nearest

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times faster
PROFILES = ("smoke", "cpu", "gpu", "paper")
_KEYS = ("id", "chapter", "source", "statement", "paper", "unit", "record", "test", "profiles")
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


def load(path: Path | str) -> list[Claim]:
    """Read and check the list of claims.

    Raises
    ------
    UserError : not a list of complete entries; the message names the claim and what is wrong.
    """
    path = Path(path)
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except FileNotFoundError as error:
        raise UserError(f"{path.name} is not there: the claims are listed in it") from error
    except (OSError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{path.name} cannot be read: {text}") from error
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise UserError(f"{path.name} must be a list of claims")
    found: dict[str, Claim] = {}
    for number, entry in enumerate(entries, start=1):
        name = entry.get("id") if isinstance(entry, dict) else None
        where = f"{path.name}: claim {name if isinstance(name, str) else number!r}"
        try:
            claim = _claim(entry)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error
        if claim.id in found:
            raise UserError(f"{where}: the id is used twice")
        found[claim.id] = claim
    return list(found.values())


def _claim(entry: Any) -> Claim:
    """Return one checked entry; ValueError says what is wrong with it."""
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
        chapter=_text(entry, "chapter"),
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
