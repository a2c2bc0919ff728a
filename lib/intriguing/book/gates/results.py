"""The gates of published results: files of the run that their page shows, and numbers of sense."""

import math
from collections.abc import Iterator
from typing import Any

from intriguing import paths, records
from intriguing.book.gates.house import House, Problem, page
from intriguing.chapters import placing, shelves


def results_of_the_run(house: House) -> Iterator[Problem]:
    """Every published record, table and figure is what the run of its page wrote, byte for byte."""
    for name, nb in house.published.items():
        made = nb.get("metadata", {}).get("intriguing", {})
        if not made:
            continue  # executed_in_order says so
        wrong = placing.differences(made, paths.published_results_dir() / name)
        if not placing.sealed(made):
            wrong = ["holds no checksums of its results"]
        for what in wrong:
            again = f"`intriguing publish {name} --profile {made.get('profile')} --force`"
            yield Problem("error", page(name), f"{what}: restore both from git, or {again}")
    for name, left in placing.leftovers(shelves.published()).items():
        yield Problem("error", page(name), f"a killed command left {left[0].name}: any `intriguing "
                      "run`, `build` or `publish` puts page and results right")


def numbers_of_sense(house: House) -> Iterator[Problem]:
    """A published number is finite, its interval has its ends in order, its n counts something."""
    for name, (_, found) in house.runs.items():
        for record in found.values():
            for what in _nonsense(record):
                yield Problem("error", f"book/results/{name}/{records.FILE}",
                              f"the record {record.name!r} {what}")


def _nonsense(record: records.Record) -> Iterator[str]:
    """Yield what cannot be true of a record."""
    for part in ("value", "low", "high", "paper"):
        number = getattr(record, part)
        if number is not None and not math.isfinite(number):
            yield f"has the {part} {number}: records hold finite numbers"
    if (record.low is None) != (record.high is None):
        yield "has one end of an interval"
    if record.known and record.low > record.high:
        yield f"has an interval from {record.low} down to {record.high}"
    if record.n is not None and not _count(record.n):
        yield f"has n = {record.n}: a count is a whole number, 1 or more"


def _count(number: Any) -> bool:
    return float(number).is_integer() and number >= 1
