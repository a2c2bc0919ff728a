"""Show that today's library gives a published page's numbers, without running it at its scale.

When the library is rebuilt, pages rest on other files than they were made from, though no number of
theirs need have moved.  So the chapter is run at smoke twice: by the library of the commit that the
page was made from, and by that of the present commit, each with a store of its own, so that both
train all networks.  Only if every number and every network is the same to the last digit does the
page note the files that it rests on now, and says how that is known.  It is evidence at smoke, and
no proof at the page's scale; a page whose code or parameters changed is executed again.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intriguing import paths
from intriguing.book import pages
from intriguing.book.run import child, kernel
from intriguing.chapters import Settings, fingerprint, networks, placing, shelves
from intriguing.errors import UserError
from intriguing.records import provenance

MEASURED = ("value", "low", "high", "n")
CLOCKS = ("seconds",)  # units of what no two runs have in common


class DifferentError(UserError):
    """The two libraries do not give the same numbers: the chapter is to be executed again."""


def attest(settings: Settings, say: Callable[[str], None]) -> str:
    """Note on a published page that today's library gives its numbers; return what was compared.

    Parameters
    ----------
    settings : chapter and profile of the page.
    say : receives lines for the person who waits.

    Raises
    ------
    DifferentError : a number or a network differs, or one of the runs fails.
    UserError : there is no page, or its code or parameters changed.
    """
    name, shelf = settings.chapter.name, shelves.published()
    state = pages.status(name, shelf, settings.profile)
    if state.stale:
        raise UserError(f"{name} cannot be attested: {state.reason()}; publish it")
    for wrong in placing.differences(state.made, shelf.results / name):
        raise UserError(f"{name} cannot be attested: {wrong}; publish it with --force")
    then, now = state.made.get("commit"), provenance.commit()[0]
    if not then or not now:
        raise UserError(f"{name} cannot be attested: its commit, or the present one, is not known")
    heads = []
    for commit in (then, now):
        say(f"{name}: smoke run with the library of {commit[:12]}")
        with _checkout(commit) as root:
            heads.append(_smoke(name, root, commit))
    counted = compare(*heads)
    page, source = state.page, shelves.load(settings.chapter.source)
    families = _families(settings)
    page.metadata["intriguing"] |= {
        "families": families,
        "modules": fingerprint.module_hashes(source, families=families),
        "attested": {"commit": now, "on": datetime.now(UTC).date().isoformat(), **counted},
    }
    with kernel.uninterrupted():
        placing.rewrite(page, shelf, name)
    return "{numbers} numbers and {networks} networks are the same at smoke".format(**counted)


def _families(settings: Settings) -> list[str]:
    """Return the modules of the architectures of a chapter's networks; no image is needed."""
    from intriguing import models  # and with it torch

    specs = networks.declared(settings, resolved=False)
    return sorted({models.family(spec.architecture).__name__ for spec in specs})


def compare(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, int]:
    """Return how many numbers and networks two records have in common, which must be all.

    Raises
    ------
    DifferentError : names the first numbers that differ.
    """
    rows = [{one["name"]: [one[part] for part in MEASURED] for one in head["records"]
             if one["unit"] not in CLOCKS} for head in (then, now)]  # fmt: skip
    nets = [dict(head["checkpoints"]) for head in (then, now)]
    for what, (before, after) in (("numbers", rows), ("networks", nets)):
        wrong = sorted(key for key in before.keys() | after.keys()
                       if before.get(key) != after.get(key))  # fmt: skip
        if wrong:
            shown = "; ".join(f"{key}: {before.get(key)}, now {after.get(key)}"
                              for key in wrong[:3])  # fmt: skip
            raise DifferentError(f"{len(wrong)} of {len(before)} {what} differ ({shown})")
    return {"numbers": len(rows[0]), "networks": len(nets[0])}


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """Yield a folder with the book as it was at a commit, gone at the end.

    Raises
    ------
    UserError : git does not know the commit.
    """
    git = ["git", "-C", str(paths.root())]
    with tempfile.TemporaryDirectory(prefix="intriguing-") as folder:
        root = Path(folder, "book")
        done = subprocess.run([*git, "worktree", "add", "--detach", str(root), commit],
                              capture_output=True, text=True)  # fmt: skip
        if done.returncode:
            raise UserError(f"git has no commit {commit[:12]} here: {done.stderr.strip()}")
        try:
            yield root
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(root)], capture_output=True)


def _smoke(name: str, root: Path, commit: str) -> dict[str, Any]:
    """Run a chapter at smoke in a checkout, with its own library and store; return its record.

    Raises
    ------
    DifferentError : the run failed.
    """
    environment = {**os.environ, **child.environment(), "INTRIGUING_ROOT": str(root),
                   "INTRIGUING_ZOO": str(root / "_build" / "zoo"),
                   "PYTHONPATH": str(root / "lib")}  # fmt: skip
    for variable in ("INTRIGUING_DATA", "INTRIGUING_RESULTS", "INTRIGUING_NETWORKS"):
        environment.pop(variable, None)  # smoke needs the digits of the book alone
    done = subprocess.run(
        [sys.executable, "-m", "intriguing", "run", name, "--profile", "smoke", "--device", "cpu"],
        cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    record = root / "_build" / "smoke" / "book" / "results" / name / "record.json"
    if done.returncode or not record.is_file():
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise DifferentError(f"{name} does not run with the library of {commit[:12]}: {last}")
    return json.loads(record.read_text(encoding="utf-8"))
