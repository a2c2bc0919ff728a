"""A chapter while it runs: what it measures, shows and writes."""

import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from intriguing.errors import nearest
from intriguing.records.files import FILE, write
from intriguing.records.halvings import Halvings
from intriguing.records.provenance import Card, Markdown, card, plain, provenance
from intriguing.records.record import SHOWN, PaperValue, Record
from intriguing.stats import Interval

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RECORD_NAME = re.compile(r"[^{}:\s][^{}:\n]*")


class Picture:
    """A PNG that a notebook displays."""

    def __init__(self, png: bytes) -> None:
        self._png = png

    def __repr__(self) -> str:
        return "Picture"  # no address: two runs of a chapter print the same

    def _repr_png_(self) -> bytes:
        return self._png


class Run:
    """The records of one chapter while it runs; made by `records.start`."""

    def __init__(self, head: dict[str, Any], folder: Path, clock: Callable[[], float]) -> None:
        self.head, self.folder = head, folder
        self._clock, self._begin = clock, clock()
        self._records: dict[str, Record] = {}
        self._files: dict[str, tuple[str, ...]] = {}  # stem -> suffixes
        self._trained: dict[str, float] = {}  # key -> seconds its training took
        self._card: Card | None = None
        self.halvings = Halvings()  # listens from `records.start` to `finish`
        # by hand a cell may run twice; under the runner a name that comes twice is a mistake
        self._strict = bool(os.environ.get("INTRIGUING_RESULTS", "").strip())

    def __getitem__(self, name: str) -> Record:
        if name not in self._records:
            raise ValueError(f"no record is called {name!r}: {nearest(name, self._records)}")
        return self._records[name]

    @property
    def records(self) -> list[Record]:
        """The records so far, in the order they were added."""
        return list(self._records.values())

    def uses(self, *models: Any) -> tuple[str, ...]:
        """Note the checkpoints a result rests on; return their names.

        Parameters
        ----------
        models : networks from the zoo, or the dicts that `zoo.info` returns.
        """
        names = []
        for model in models:
            info = model if isinstance(model, Mapping) else getattr(model, "zoo_info", None)
            if not isinstance(info, Mapping) or not {"key", "sha256"} <= info.keys():
                raise ValueError("a checkpoint is a network from zoo.get or a dict of zoo.info")
            key = str(info["key"])
            name = f"{info.get('label', 'network')} ({key[:12]})"
            self.head["checkpoints"][name] = str(info["sha256"])
            self._trained[key] = float(info.get("seconds") or 0.0)
            for parent in (info.get("parents") or {}).values():  # trained once, whoever uses it
                self._trained[str(parent["key"])] = float(parent["seconds"] or 0.0)
            if info.get("base"):  # so sidecars of before 2026-11-30 call an only parent
                self._trained[str(info["base"])] = float(info.get("base_seconds") or 0.0)
            names.append(name)
        return tuple(names)

    def add(
        self,
        name: str,
        interval_or_value: Interval | float,
        *,
        unit: str,
        seeds: Sequence[int] | None = None,
        checkpoints: Iterable[Any] = (),
        parameters: Mapping[str, Any] | None = None,
        paper: PaperValue | None = None,
        note: str | None = None,
    ) -> Record:
        """Add one number and return its record.

        Parameters
        ----------
        name : unique in the chapter; no braces, colons or line breaks (prose looks it up).
        interval_or_value : an Interval, or a bare number (which no claim can rest on).
        unit : what one of it is, "RMS distortion" or "fraction of images"; never empty.
        seeds : the training seeds behind it; None: those of the run.
        checkpoints : networks from the zoo, or dicts of `zoo.info`.
        parameters : settings that belong to this number alone.
        paper : the paper's number, from :func:`paper`.

        Raises
        ------
        ValueError : a bad or repeated name, no unit, a value that is not finite.
        """
        if not _RECORD_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a record: no braces, colons or line breaks")
        if self._strict and name in self._records:
            raise ValueError(f"the record {name!r} exists already: names are unique in a chapter")
        if not unit:
            raise ValueError(f"the record {name!r} needs a unit")
        given = interval_or_value
        if not isinstance(given, Interval):
            given = Interval(float(given), math.nan, math.nan, 0, "no interval")
        if not math.isfinite(given.value):
            raise ValueError(f"the record {name!r} has the value {given.value}")
        shown = paper is not None and not paper.from_memory
        record = Record(
            name=name,
            value=float(given.value),
            low=float(given.low) if given.known else None,
            high=float(given.high) if given.known else None,
            n=int(given.n) or None,
            unit=unit,
            method=given.method,
            seeds=tuple(self.head["seeds"] if seeds is None else (int(s) for s in seeds)),
            checkpoints=self.uses(*checkpoints),
            parameters=plain(dict(parameters)) if parameters else None,
            paper=paper.value if shown else None,
            paper_where=paper.where if paper else None,
            paper_tag=paper.tag if paper else None,
            note=note,
        )
        self._records[name] = record
        return record

    def table(self, name: str, df: Any) -> Any:
        """Write the data frame `df` to `<name>.csv` and return it unchanged.

        Numbers are written with eight significant digits and lines end with a bare newline, so the
        same numbers give the same bytes.  The index is written when it has a name or is not 0..N-1.
        """
        tidy = df.map(_csv_cell)
        plain_index = df.index.name is None and list(df.index) == list(range(len(df)))
        text = tidy.to_csv(index=not plain_index, lineterminator="\n")
        write(self.folder / f"{_stem(name)}.csv", text.encode())
        self._files[name] = (".csv",)
        return df

    def figure(self, name: str, fig: Any) -> "Picture":
        """Write the matplotlib figure `fig` to `<name>.svg` and `<name>.png` and return a picture.

        A notebook shows the picture as it stands, whatever backend matplotlib has.

        White face (a transparent one vanishes in dark mode), no date, ids from a fixed salt.
        """
        import matplotlib as mpl

        how = {"facecolor": "white", "bbox_inches": "tight"}
        with mpl.rc_context({"svg.hashsalt": "intriguing", "svg.fonttype": "path"}):
            for suffix, extra in (
                (".svg", {"metadata": {"Date": None, "Creator": None}}),
                (".png", {"metadata": {"Software": None}, "dpi": 150}),
            ):
                buffer = io.BytesIO()
                fig.savefig(buffer, format=suffix[1:], **how, **extra)
                write(self.folder / f"{_stem(name)}{suffix}", buffer.getvalue())
        self._files[name] = (".svg", ".png")
        return Picture(buffer.getvalue())

    def markdown(self, template: str) -> Markdown:
        """Return `template` with its fields filled from the records: prose without typed numbers.

        ``{name}`` shows the value with the digits its interval supports, ``{name:.3f}`` or
        ``{name:.1%}`` with a format, ``{name:+.1p}`` a difference of shares in points;
        ``{name.low}``, ``.high``, ``.interval``, ``.n``, ``.unit`` and ``.paper`` show the rest.
        Braces of mathematics are doubled, as in `str.format`.

        Raises
        ------
        ValueError : a field that names no record, or a stray brace.
        """

        def fill(match: re.Match) -> str:
            token = match[0]
            if token in ("{{", "}}"):
                return token[0]
            if match[1] is None:
                raise ValueError(f"stray {token!r} in the text: double the braces of mathematics")
            name, _, spec = match[1].partition(":")
            field = "value"
            if name not in self._records and name.rpartition(".")[2] in SHOWN:
                name, _, field = name.rpartition(".")
            return self[name].show(field, spec)

        return Markdown(re.sub(r"\{\{|\}\}|\{([^{}]+)\}|[{}]", fill, template))

    def finish(self) -> dict[str, Any]:
        """Write `record.json`, put the time on the run card, and return the head.

        The head says under "halved" which batches did not fit (`intriguing.batches`).
        """
        self.halvings.stop()
        self.head["halved"] = [dict(row) for row in self.halvings.rows]
        self.head["seconds"] = round(self._clock() - self._begin, 2)
        self.head["training_seconds"] = round(sum(self._trained.values()), 2)
        content = {**self.head, "records": [asdict(record) for record in self.records]}
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write(self.folder / FILE, text.encode())
        if self._card is not None:
            self._card.update(card(self.head))
        return dict(self.head)

    def card(self) -> Card:
        """Return the run card: profile, device, seeds, and the time, which `finish` fills in."""
        self._card = Card(card(self.head))
        return self._card

    def provenance(self) -> Markdown:
        """Return the closing table of a page: what was run, on what, when, and the files of it."""
        folder = f"../results/{self.head['chapter']}"
        links = [
            f"{stem} (" + ", ".join(f"[{s[1:].upper()}]({folder}/{stem}{s})" for s in kinds) + ")"
            for stem, kinds in self._files.items()
        ]
        return provenance(self.head, [*links, f"[all numbers]({folder}/{FILE})"])


def _csv_cell(value: Any) -> Any:
    """Return a real number as text with eight significant digits (NaN: nothing), else `value`."""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return "" if math.isnan(value) else f"{float(value):.8g}"
    return value


def _stem(name: str) -> str:
    if not FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a file name: use letters, digits, '.', '_' and '-'")
    return name
