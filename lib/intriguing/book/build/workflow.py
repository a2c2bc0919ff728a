"""The plan of a build, as `Snakefile` reads it: chapters, their receipts, networks and sources.

Snakemake decides what runs, when and where; this module says what there is.  It is imported by
Snakemake's process; nothing a notebook imports knows of either.
"""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from intriguing import chapters, paths
from intriguing.book.build import sources
from intriguing.book.run import receipts
from intriguing.chapters import fingerprint, outline, shelves

PAGES = "html/index.html"  # below the profile's folder: the page to open
RENDERED = "rendered"  # a file there that says that the pages show all that was run
LOCK = "workflow.lock"  # below the profile's folder: held while a workflow runs


@dataclass(frozen=True)
class Plan:
    """What a build at one profile consists of.

    Paths are relative to `folder`, where the workflow is at work: a book that moves is not built
    again.
    """

    profile: str
    settings: tuple[chapters.Settings, ...]

    @property
    def folder(self) -> Path:
        """The profile's folder below `_build`."""
        return paths.build_dir(self.profile)

    def _relative(self, path: Path) -> str:
        # the real folder: `_build` may be a link to a larger disk
        return Path(os.path.relpath(path, os.path.realpath(self.folder))).as_posix()

    @cached_property
    def _needed(self) -> dict[str, tuple[outline.Network, ...]]:
        """{chapter: networks it needs}."""
        return {one.chapter.name: outline.outline(one) for one in self.settings}

    @cached_property
    def _known(self) -> dict[str, tuple[outline.Network, str]]:
        """{key: (network, the first chapter that needs it)}, bases included."""
        known: dict[str, tuple[outline.Network, str]] = {}
        for name, needed in self._needed.items():
            for one in needed:
                known.setdefault(one.key, (one, name))
        return known

    def check(self) -> None:
        """Make the whole plan.

        Raises
        ------
        UserError : what stops it, such as a data set that is not here.
        """
        _ = self.receipts, self.known

    @cached_property
    def receipts(self) -> list[str]:
        """The receipts that all chapters are to have."""
        return [f"receipts/{receipts.name(one.chapter.name, receipts.wanted(one))}"
                for one in self.settings]

    @cached_property
    def prose(self) -> list[str]:
        """The files that pages are rendered from, beside the chapters' runs."""
        return sorted(self._relative(path) for path in sources.files())

    @property
    def known(self) -> list[str]:
        """The keys of all networks that chapters declare, and of those they are built on."""
        return list(self._known)

    def label(self, key: str) -> str:
        """Return the name that a network has for people."""
        return self._known[key][0].label

    def network(self, key: str) -> str:
        """Return the file that a finished network has: its sidecar, which is written last."""
        return self._relative(paths.zoo_dir() / f"{key}.json")

    def networks(self, chapter: str) -> list[str]:
        """Return the files of the networks that a chapter declares."""
        return [self.network(one.key) for one in self._needed[chapter] if one.declared]

    def bases(self, key: str) -> list[str]:
        """Return the files of the networks that one is built on."""
        return [self.network(below) for below in self._known[key][0].below]

    @property
    def all_networks(self) -> list[str]:
        """The files of all networks."""
        return [self.network(key) for key in self._known]

    def chapter_of(self, key: str) -> str:
        """Return a chapter that needs a network."""
        return self._known[key][1]

    def sources(self, chapter: str) -> list[str]:
        """Return the notebook of a chapter, its profile, and the library modules it rests on."""
        one = next(one for one in self.settings if one.chapter.name == chapter)
        notebook = shelves.load(one.chapter.source)
        profile = paths.profiles_dir() / f"{self.profile}.yml"
        families = outline.families(self._needed[chapter])
        modules = fingerprint.module_files(notebook, families)
        return [self._relative(path) for path in (one.chapter.source, profile, *modules)]


def plan(profile: str) -> Plan:
    """Return the plan of a build at a profile.

    Raises
    ------
    UserError : unknown profile, or a chapter whose parameters do not fit it.
    """
    return Plan(profile, chapters.settings(profile))


def claim(
    plan: Plan, waiting: Callable[[], None] = lambda: None, *, wait: bool = True
) -> Any | None:
    """Take the lock of a profile's workflow and return it; whoever drops it lets it go.

    Parameters
    ----------
    waiting : called once if another workflow is at work there, before waiting for its end.
    wait : False to return None instead of waiting.
    """
    from filelock import FileLock, Timeout

    plan.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(plan.folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            return None
        waiting()
        lock.acquire()
    return lock


class Jobs(logging.Handler):
    """Writes each job that Snakemake tells of to a file, a line of JSON: its rule and wildcards."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = Path(file)
        self.file.touch()

    def emit(self, record: logging.LogRecord) -> None:
        """Write down what Snakemake says, if it is a job (an event of its logger plugins)."""
        if getattr(record, "event", None) == "job_info":
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps([record.rule_name, dict(record.wildcards)]) + "\n")
