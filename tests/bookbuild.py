"""Builds that several test files look at, made once a session by the book's own command.

The tests of a session may be shared out among several processes (pytest-xdist); what one of them
has made is there for all.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

ROOT = Path(__file__).resolve().parents[1]
shared = Path()  # the session's folder, which `conftest` sets


def command(*words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run `intriguing WORDS...` in the repository, as a reader would; return what came of it."""
    return subprocess.run(
        [sys.executable, "-m", "intriguing", *words],
        cwd=ROOT,
        env=os.environ | {"INTRIGUING_ROOT": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def toc_files() -> list[str]:
    """Return every page of the table of contents, root first, as paths without a suffix."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry for part in toc["parts"] for entry in part["chapters"]]
    return [toc["root"], *(entry["file"] for entry in entries)]


def chapter_names() -> list[str]:
    """Return the names of the chapters that have a source notebook."""
    return sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def published_names() -> list[str]:
    """Return the names of the chapters that readers see."""
    return sorted(path.stem for path in (ROOT / "book" / "chapters").glob("*.ipynb"))


def _once(
    name: str, *words: str, wait: bool = True
) -> tuple[subprocess.CompletedProcess[str], float] | None:
    """Run `intriguing WORDS...` once a session; return the finished command and its seconds.

    None if another process runs it just now and `wait` is False.
    """
    file = shared / f"{name}.json"
    try:
        with FileLock(file.with_suffix(".lock"), timeout=-1 if wait else 0):
            if not file.is_file():
                start = time.monotonic()
                done = command(*words)
                told = [done.args, done.returncode, done.stdout, done.stderr]
                file.write_text(json.dumps([told, time.monotonic() - start]), encoding="utf-8")
    except Timeout:
        return None
    told, seconds = json.loads(file.read_text(encoding="utf-8"))
    return subprocess.CompletedProcess(*told), seconds


def run_chapter(
    name: str, wait: bool = True
) -> tuple[subprocess.CompletedProcess[str], float] | None:
    """Execute one chapter at smoke, as `_once`."""
    return _once(f"run-{name}", "run", name, "--profile", "smoke", "--device", "cpu", wait=wait)


def build(profile: str | None) -> subprocess.CompletedProcess[str]:
    """Build the HTML of a profile (None: of what is published).  Smoke runs its chapters first.

    From the last: a process that comes from the first meets this one midway.
    """
    if profile is None:
        return _once("build", "build")[0]
    for wait in (False, True):
        for name in reversed(chapter_names()):
            run_chapter(name, wait)
    return _once(f"build-{profile}", "build", "--profile", profile)[0]


def html_dir(profile: str | None) -> Path:
    """Return the folder that the HTML of a profile is built into."""
    return ROOT / "_build" / (profile or "published") / "html"
