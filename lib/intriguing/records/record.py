"""One measured number, and a paper's number with how we know it."""

import math
from dataclasses import dataclass
from typing import Any

from intriguing.stats import decimals, format_interval

NOT_AVAILABLE = "not available to us"
TAGS = ("T", "Z", "S", "K", "C", "X", "M")  # how a paper's number was read; M: from memory only


@dataclass(frozen=True)
class PaperValue:
    """A number a paper reports, where, and how we know it (`tag`: see TAGS, joined by "+")."""

    value: float
    where: str
    tag: str

    @property
    def from_memory(self) -> bool:
        """Whether nothing but memory vouches for the number: such a number is never printed."""
        return memory_only(self.tag)

    def __format__(self, spec: str) -> str:
        return NOT_AVAILABLE if self.from_memory else format(self.value, spec or ".4g")

    def __str__(self) -> str:
        return format(self, "")


def memory_only(tag: str) -> bool:
    """Say whether `tag` means that a number was read nowhere.

    Raises
    ------
    ValueError : not a tag.
    """
    if tag == "from memory":
        return True
    parts = [part.strip() for part in str(tag).split("+")]
    if not all(part in TAGS for part in parts):
        raise ValueError(f"{tag!r} is not a source tag: join {', '.join(TAGS)} with '+'")
    return set(parts) == {"M"}


def paper(value: float, where: str, tag: str) -> PaperValue:
    """Return a paper's number with its place and its source tag, checked.

    Raises
    ------
    ValueError : a value that is not finite, an empty place, an unknown tag.
    """
    if not math.isfinite(float(value)) or not where:
        raise ValueError(f"a paper value needs a finite number and a place: {value!r}, {where!r}")
    memory_only(tag)
    return PaperValue(float(value), where, tag)


@dataclass(frozen=True)
class Record:
    """One measured number.  `low` and `high` are None where there is no interval.

    `paper` is None, whatever the tag, for a number that was only remembered.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int | None
    unit: str
    method: str = ""
    seeds: tuple[int, ...] = ()
    checkpoints: tuple[str, ...] = ()
    parameters: dict[str, Any] | None = None
    paper: float | None = None
    paper_where: str | None = None
    paper_tag: str | None = None
    note: str | None = None

    @property
    def known(self) -> bool:
        """Whether the number has an interval."""
        return self.low is not None and self.high is not None

    @property
    def interval(self) -> str:
        """The number with its interval as text."""
        return format_interval(self.value, self.low, self.high)

    def show(self, field: str = "value", spec: str = "") -> str:
        """Return one field as text: value, low, high, interval, n, unit or paper.

        `spec` as `format` takes it, or ending with p for a difference of shares in points: "+.1p".
        """
        if field == "paper":
            return NOT_AVAILABLE if self.paper is None else _shown(self.paper, spec or ".4g")
        if field == "interval":
            ends = (self.show("low", spec), self.show("high", spec))
            return f"[{ends[0]}, {ends[1]}]" if self.known else "no interval"
        content = getattr(self, field)
        if content is None:
            return "unknown"
        if field in ("value", "low", "high") and not spec:
            spec = f".{decimals(self.low, self.high)}f" if self.known else ".3g"
        return _shown(content, spec)


def _shown(content: Any, spec: str) -> str:
    return format(100 * content, f"{spec[:-1]}f") if spec.endswith("p") else format(content, spec)


SHOWN = ("value", "low", "high", "interval", "n", "unit", "paper")
