"""Claims of the papers, the verdicts that our records give them, and the scorecard page.

`book/claims.yml` lists what the chapters test; the entries are written before a chapter is run, the
verdict is computed.  A paper's number that was only remembered (tag M) is neither used nor printed.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from intriguing import records
from intriguing.errors import UserError, nearest
from intriguing.stats import format_interval

REPRODUCED, PARTLY, NOT_REPRODUCED = "reproduced", "partly", "not reproduced"
NOT_TESTED = "not tested at this profile"
VERDICTS = (REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_TESTED)
PROFILES = ("smoke", "cpu", "gpu", "paper")
_SCREEN = 12  # claims that the index page names
FINDINGS = ("<!-- findings -->", "<!-- /findings -->")  # the index page includes what is between
_KEYS = ("id", "chapter", "source", "statement", "paper", "unit", "record", "test", "profiles")
_TESTS = {"equal": ("margin",), "greater": ("than", "margin"), "less": ("than", "margin")}
_SLACK = 1e-12  # so that 0.062 + 0.006 includes 0.068 in binary arithmetic


@dataclass(frozen=True)
class Claim:
    """One claim of a paper and the test that decides it.

    `kind` "equal": the interval against `paper` +- `margin`; "greater" and "less": the interval
    against `than`, by at least `margin`.  `paper` is None for a claim of direction only.
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
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
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
    if kind == "equal" and "margin" not in test:
        raise ValueError("an equal test needs a margin")
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


# ---------------------------------------------------------------- verdicts


def verdict(claim: Claim, record: records.Record | None, profile: str | None) -> str:
    """Return the verdict that a record gives a claim.

    Parameters
    ----------
    record : the record the claim names, None if the chapter was not run.
    profile : the profile of that run; None for a run whose parameters were changed.

    A record without an interval decides nothing: the claim counts as not tested.
    """
    if record is None or profile not in claim.profiles or not record.known:
        return NOT_TESTED
    low, high = record.low, record.high
    if claim.kind == "equal":
        bottom = claim.paper - claim.margin - _SLACK
        top = claim.paper + claim.margin + _SLACK
        if bottom <= low and high <= top:
            return REPRODUCED
        return NOT_REPRODUCED if high < bottom or low > top else PARTLY
    if claim.kind == "less":  # the mirror image of "greater"
        low, high, bound = -high, -low, -claim.than + claim.margin
    else:
        bound = claim.than + claim.margin
    if low > bound:
        return REPRODUCED
    return NOT_REPRODUCED if high <= bound else PARTLY


@dataclass(frozen=True)
class Row:
    """A claim with what was measured for it; `record` and `profile` are None where nothing was."""

    claim: Claim
    record: records.Record | None
    profile: str | None
    modified: bool
    verdict: str


def rows(claims: Sequence[Claim], results_root: Path | str) -> Iterator[Row]:
    """Yield each claim with its record from `results_root/<chapter>/record.json` and its verdict.

    Raises
    ------
    UserError : a record file that is damaged.
    """
    runs: dict[str, tuple[dict[str, Any], dict[str, records.Record]]] = {}
    for claim in claims:
        folder = Path(results_root) / claim.chapter
        if claim.chapter not in runs and (folder / records.FILE).is_file():
            head, found = records.load(folder)
            runs[claim.chapter] = head, {record.name: record for record in found}
        head, found = runs.get(claim.chapter, ({}, {}))
        record, profile = found.get(claim.record), head.get("profile")
        modified = bool(head.get("modified"))
        result = verdict(claim, record, None if modified else profile)
        yield Row(claim, record, profile, modified, result)


# ---------------------------------------------------------------- the page


def scorecard_markdown(claims: Sequence[Claim], results_root: Path | str) -> str:
    """Return the whole text of the scorecard page.

    Chapters are linked where `results_root` has their record: page and record are published
    together.  What the index page includes stands between the two FINDINGS comments.
    """
    listed = list(rows(claims, results_root))
    table = [
        "| claim | paper | ours | n | profile | verdict | chapter |",
        "|---|---|---|---|---|---|---|",
        *(_line(row) for row in listed),
    ]
    tags = {part.strip() for claim in claims for part in claim.tag.split("+")}
    return "\n".join([
        "# Scorecard",
        "",
        "<!-- generated by `intriguing` from claims.yml and the records: do not edit -->",
        "",
        "Every claim of a paper that a chapter tests: the paper's value, ours with its 95% "
        "interval, and the verdict.",
        "",
        FINDINGS[0],
        "",
        *_findings(listed),
        "",
        FINDINGS[1],
        "",
        "## All claims",
        "",
        *(table if listed else ["No claim is listed yet."]),
        "",
        "## How a verdict is decided",
        "",
        *_explanation(tags),
        "",
    ])


def _findings(listed: Sequence[Row]) -> list[str]:
    """Return the counts by verdict and a line for each tested claim, at most a screen of them.

    Claims that we could not confirm are always named; reproduced ones as far as there is room.
    """
    counts = Counter(row.verdict for row in listed)
    tested = len(listed) - counts[NOT_TESTED]
    if not tested:
        return [f"{_count(len(listed), 'claim')} listed; the profile of this build tests none."]
    parts = [f"**{counts[name]} {name}**" for name in (REPRODUCED, PARTLY, NOT_REPRODUCED)]
    more = f"; {counts[NOT_TESTED]} more not tested at this profile" if counts[NOT_TESTED] else ""
    lines = [f"{_count(tested, 'claim')} tested: {', '.join(parts)}{more}.", ""]
    room = max(0, _SCREEN - counts[PARTLY] - counts[NOT_REPRODUCED])
    for name in (REPRODUCED, PARTLY, NOT_REPRODUCED):
        named = [row for row in listed if row.verdict == name]
        for row in named[:room] if name == REPRODUCED else named:
            beside = f"paper {_paper(row.claim)}, ours {_ours(row)}"
            if row.claim.paper is None:
                beside = f"ours {_ours(row)}"
            lines.append(f"- **{name.capitalize()}:** {row.claim.statement} ({beside})")
        if name == REPRODUCED and len(named) > room:
            lines.append(f"- **Reproduced:** {len(named) - room} more claims in the table.")
    return lines


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _line(row: Row) -> str:
    """Return one row of the table."""
    claim = row.claim
    source = f"{{cite:t}}`{claim.cite}`, {claim.where}"
    profile = "" if row.profile is None else row.profile + (", modified" if row.modified else "")
    name = f"`{claim.chapter}`"
    link = name if row.profile is None else f"{{doc}}`chapters/{claim.chapter}`"
    shown = [
        f"{claim.statement}<br><small>{source}. Reproduced if {claim.rule}.</small>",
        f"{_paper(claim)} [{claim.tag}]",
        _ours(row),
        str(row.record.n) if row.record and row.record.n else "",
        profile,
        f"**{row.verdict}**" if row.verdict != NOT_TESTED else row.verdict,
        link,
    ]
    return "| " + " | ".join(text.replace("|", "\\|") for text in shown) + " |"


def _paper(claim: Claim) -> str:
    """Return the paper's value as it may be printed."""
    if claim.paper is None:
        return "direction only"
    return records.NOT_AVAILABLE if claim.from_memory else f"{claim.paper:g}"


def _ours(row: Row) -> str:
    """Return our value with interval and unit."""
    if row.record is None:
        return "not measured"
    numbers = format_interval(row.record.value, row.record.low, row.record.high)
    return f"{numbers} {row.record.unit}"


_TAG_WORDS = {
    "T": "in a transcription of the paper's own source",
    "Z": "in a summary of the paper",
    "S": "in one independent reproduction",
    "K": "in a second independent reproduction",
    "C": "in the source of a published library",
    "X": "measured by us",
    "M": f"from memory (alone: printed as \"{records.NOT_AVAILABLE}\" and not used)",
}


def _explanation(tags: set[str]) -> list[str]:
    """Return the rules, and the legend of the tags that occur."""
    known = [f"{tag}: {words}" for tag, words in _TAG_WORDS.items() if tag in tags]
    legend = f" How we know it, in brackets: {'; '.join(known)}." if known else ""
    return [
        "The rule of each claim, its margin included, is written down in `book/claims.yml`; the "
        "verdict is computed from the chapter's record and never typed.",
        "",
        "- *Reproduced*: the whole interval meets the rule. For a value: it lies inside the "
        "paper's value plus or minus the margin. For a direction: it lies beyond the bound.",
        "- *Not reproduced*: the whole interval misses it.",
        "- *Partly*: the interval holds values that meet the rule and values that do not.",
        "- *Not tested at this profile*: the chapter was run at a scale that cannot decide the "
        "claim, was run with changed parameters, or was not run.",
        "",
        f"The paper's value is printed only if we could read it somewhere.{legend}",
    ]
