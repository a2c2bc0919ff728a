"""Snakemake as a process: run to its end, ended with all its jobs, its logs told as they grow."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from intriguing.book.run import kernel

POLL = 0.5  # seconds between two looks at the logs
GRACE = 20  # seconds that an interrupted workflow has to end its jobs


def run(command: list[str], folder: Path, environment: Mapping[str, str], log: TextIO) -> int:
    """Run Snakemake to its end; an interrupt ends its jobs and their kernels first."""
    if threading.current_thread() is threading.main_thread():
        # a shell starts background programs with Ctrl-C ignored, and Snakemake would inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log,
        stderr=subprocess.STDOUT, start_new_session=True)
    try:
        return process.wait()
    finally:
        with kernel.uninterrupted():
            _end(process)


def _end(process: subprocess.Popen) -> None:
    """End a process group: asked first, then killed.

    SIGINT comes first: it makes Snakemake end its jobs, on a cluster too; SIGTERM, wait for them.
    Of a Snakemake that was killed, the jobs are ended: each ends its kernel.
    """
    if (process.poll() or 0) < 0:
        _end_orphans(process.pid)
    for name in ("SIGINT", "SIGTERM", "SIGKILL"):
        if process.poll() is not None:
            return
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, getattr(signal, name))
        else:
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def _end_orphans(group: int) -> None:
    """End what is left of a process group whose head is gone."""
    end = time.monotonic() + GRACE
    with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < end:
            time.sleep(0.1)
            os.killpg(group, 0)  # is anybody left?
        os.killpg(group, signal.SIGKILL)


@contextlib.contextmanager
def telling(folder: Path, sizes: dict[Path, int], stream: TextIO) -> Iterator[None]:
    """Copy the whole lines that jobs add to their logs to `stream`, while the block runs."""
    ended = threading.Event()

    def tell() -> None:
        for path in sorted(folder.glob("*.log")):
            with contextlib.suppress(OSError), path.open("rb") as file:
                start = sizes.get(path, 0)
                start = 0 if start > path.stat().st_size else start  # a new run began the file anew
                file.seek(start)
                text = file.read()
                whole = text[:text.rfind(b"\n") + 1]
                sizes[path] = start + len(whole)
                stream.write(whole.decode("utf-8", "replace"))
                stream.flush()

    def follow() -> None:
        while not ended.wait(POLL):
            tell()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell()
