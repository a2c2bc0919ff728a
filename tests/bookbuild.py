"""Builds that several test files look at, made once a session by the book's own command."""

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


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


@functools.cache
def run_chapter(name: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Execute one chapter at smoke; return the finished command and its seconds."""
    start = time.monotonic()
    done = command("run", name, "--profile", "smoke", "--device", "cpu")
    return done, time.monotonic() - start


@functools.cache
def build(profile: str | None) -> subprocess.CompletedProcess[str]:
    """Build the HTML of a profile (None: of what is published).  Smoke runs its chapters first."""
    if profile is None:
        return command("build")
    for name in chapter_names():
        run_chapter(name)
    return command("build", "--profile", profile)


def html_dir(profile: str | None) -> Path:
    """Return the folder that the HTML of a profile is built into."""
    return ROOT / "_build" / (profile or "published") / "html"
