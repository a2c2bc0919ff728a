"""Whether a build has anything to do, without a start of Snakemake, which takes seconds.

A workflow that ended well is written down with all that Snakemake looked at: receipts, networks,
the files that pages are made from, and their times.  As long as all of it stands as it stood then,
Snakemake would find nothing to do again.  Whatever is new, gone or touched: Snakemake is asked.
"""

from pathlib import Path
from typing import Any

from intriguing import paths
from intriguing.book.build import sources, workflow
from intriguing.chapters import notes

FILE = "settled"  # below the profile's folder: there while the last workflow ended well


def settled(plan: workflow.Plan) -> bool:
    """Say whether everything is as the last workflow left it, which then ended well."""
    then = notes.read(plan.folder / FILE)
    return then is not None and then == _state(plan)


def forget(plan: workflow.Plan) -> None:
    """Take back what was written down: a workflow begins."""
    (plan.folder / FILE).unlink(missing_ok=True)


def remember(plan: workflow.Plan) -> None:
    """Write down that a workflow ended well."""
    state = _state(plan)
    if state is not None:
        notes.write(plan.folder / FILE, state)


def _state(plan: workflow.Plan) -> Any | None:
    """Return what Snakemake would look at, as JSON reads it; None if something is not there."""
    made = [*plan.receipts, workflow.RENDERED, workflow.PAGES]
    how = (paths.root() / "workflow").rglob("*.yaml")
    try:
        return {
            "made": [[name, _time(plan.folder / name)] for name in made],
            "sources": sorted(map(list, sources.saved())),
            "workflow": sorted([str(path), _time(path)] for path in how),
            "networks": [[key, (plan.folder / plan.network(key)).is_file()] for key in plan.known],
        }
    except FileNotFoundError:
        return None


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns
