"""The table of a chapter: the paper's number, ours with its interval, and n, one line a record."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from intriguing.records.record import NOT_AVAILABLE, PaperValue, Record
from intriguing.stats import decimals

if TYPE_CHECKING:
    import pandas as pd

Cells = Record | Mapping[str, Record]
Line = Cells | tuple[Cells, PaperValue | None]


def compare(
    rows: Mapping[str, Line],
    minus: Mapping[str, Line] | None = None,
    *,
    label: str = "",
    spec: str = "",
    to_paper: bool = False,
) -> "pd.DataFrame":
    """Return the table paper | ours | n of some records, for `run.table` to write and show.

    One line a label: its record, or several with the name of each column, such as
    `{"FC10": {"calibrated": run["d/FC10/c"], "literal": run["d/FC10/l"]}}`, which gives the columns
    "ours, calibrated", "n, calibrated" and so on.  Ours is the value with its interval.

    Parameters
    ----------
    rows : {label: record or {column: record}}, or a pair of this and the paper's number; without
        it the first record that has one gives the paper's number.
    minus : further lines, of differences: shown with a sign, and in points where `spec` has per
        cent.  Such an interval comes from the same images or seeds (`stats.paired_difference`,
        `stats.seed_image_interval`), never from two intervals: give the record of the difference.
    label : the head of the first column, such as "network".
    spec : as `Record.show` takes it, ".4f" or ".2%"; "": the digits that each interval supports.
        The paper's number keeps the digits it was printed with.
    to_paper : whether to add ours minus the paper's, with its interval, where there are both.

    The column "paper" is left out where no line has a number or a place in the paper; a number
    that was only remembered is "not available to us".

    Raises
    ------
    ValueError : something that is no record.
    """
    import pandas as pd  # not for whoever only reads records

    lines = [{label: name, **_line(row, spec, to_paper)} for name, row in rows.items()]
    lines += [{label: name, **_line(row, _signed(spec), to_paper, sign=True)}
              for name, row in (minus or {}).items()]
    columns = dict.fromkeys(column for line in lines for column in line)
    if not any(line["paper"] for line in lines):
        columns.pop("paper", None)
    full = [{column: line.get(column, "") for column in columns} for line in lines]
    return pd.DataFrame(full, columns=list(columns))


def _line(row: Line, spec: str, to_paper: bool, sign: bool = False) -> dict[str, Any]:
    """Return one line as {column: text or n}."""
    cells, given = row if isinstance(row, tuple) else (row, None)
    named = cells if isinstance(cells, Mapping) else {"": cells}
    for record in named.values():
        if not isinstance(record, Record):
            raise ValueError(f"a line is made of records, such as run['name'], not {record!r}")
    told = given or next((r for r in named.values() if r.paper_tag is not None), None)
    value = None if told is None else _paper_value(told)
    shown = NOT_AVAILABLE if value is None else _paper_text(value, spec)
    line: dict[str, Any] = {"paper": "" if told is None else shown}
    for name, record in named.items():
        end = f", {name}" if name else ""
        line[f"ours{end}"] = _text(record, spec, sign)
        if to_paper:
            line[f"ours - paper{end}"] = "" if value is None else _text(
                _less(record, value), _signed(spec), sign=True)
        line[f"n{end}"] = "" if record.n is None else record.n
    return line


def _paper_value(told: PaperValue | Record) -> float | None:
    """Return the paper's number, None if it may not be printed."""
    if isinstance(told, Record):
        return told.paper
    return None if told.from_memory else told.value


def _paper_text(value: float, spec: str) -> str:
    """Return the paper's number in the unit of `spec`, with the digits it has."""
    per_cent = spec[-1:] in ("%", "p")
    return f"{100 * value if per_cent else value:.4g}" + ("%" if spec.endswith("%") else "")


def _signed(spec: str) -> str:
    """Return the form of a difference: with a sign, and of shares in points."""
    return f"+{spec.lstrip('+')[:-1]}p" if spec.endswith("%") else spec and f"+{spec.lstrip('+')}"


def _less(record: Record, value: float) -> Record:
    """Return a record less a number that has no interval of its own."""
    ends = {key: getattr(record, key) - value for key in ("low", "high") if record.known}
    return replace(record, value=record.value - value, **ends)


def _text(record: Record, spec: str, sign: bool = False) -> str:
    """Return "0.052 [0.051, 0.054]", without brackets where there is no interval."""
    if not spec:
        digits = f".{decimals(record.low, record.high)}f" if record.known else ".3g"
        spec = f"+{digits}" if sign else digits
    value = record.show("value", spec)
    text = f"{value} {record.show('interval', spec)}" if record.known else value
    return f"{text} points" if spec.endswith("p") else text
