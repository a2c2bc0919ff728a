"""Result records: every number, table and figure of a chapter, with what it takes to repeat it.

A chapter opens a run, adds records as it measures, and finishes it::

    run = records.start("02-box-constrained-lbfgs", globals())
    run.add("distortion/FC10(1e-4)", stats.mean_interval(rms), unit="RMS distortion",
            checkpoints=[model], paper=records.paper(0.062, "Table 1", "S+M"))
    run.table("distortions", records.compare({"FC10": run["distortion/FC10(1e-4)"]}))
    run.markdown("The mean distortion is {distortion/FC10(1e-4):.3f}.")
    run.finish()

It writes `record.json`, one CSV per table, one SVG and one PNG per figure into the chapter's
results folder.  Tables and figures are byte-stable: no dates, fixed number format, fixed SVG ids.

Names are imported when they are first asked for: `records.parameters` alone loads neither numpy nor
pandas, and so `intriguing --help` does not.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors, and for `fingerprint`, which follows imports without running them
    from intriguing.records.comparison import compare
    from intriguing.records.files import FILE, SCHEMA, load
    from intriguing.records.opening import start
    from intriguing.records.record import (
        NOT_AVAILABLE,
        TAGS,
        PaperValue,
        Record,
        memory_only,
        paper,
    )
    from intriguing.records.run import Picture, Run

__all__ = [
    "FILE", "NOT_AVAILABLE", "SCHEMA", "TAGS", "PaperValue", "Picture", "Record", "Run", "compare",
    "load", "memory_only", "paper", "start",
]  # fmt: skip

_HOMES = {
    "comparison": ("compare",),
    "files": ("FILE", "SCHEMA", "load"),
    "opening": ("start",),
    "record": ("NOT_AVAILABLE", "TAGS", "PaperValue", "Record", "memory_only", "paper"),
    "run": ("Picture", "Run"),
}


def __getattr__(name: str) -> Any:
    """Import and return an exported name (PEP 562); it is then an ordinary attribute."""
    for module, names in _HOMES.items():
        if name in names:
            globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return what is exported as well as what is there."""
    return sorted({*globals(), *__all__})
