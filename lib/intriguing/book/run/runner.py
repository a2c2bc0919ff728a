"""Run one chapter through papermill and put the page and its results in place together.

A run happens in a temporary folder.  It counts only if papermill returned and every code cell ran,
in order, without error: papermill's metadata also call a killed kernel "completed".  Only then do
the page and the results folder move to where the book looks for them.
"""

import contextlib
import glob
import importlib.metadata
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import nbformat

from intriguing import paths
from intriguing.book.run import child, kernel, receipts
from intriguing.book.run.progress import Progress, clock
from intriguing.chapters import Settings, fingerprint, outline, placing, shelves
from intriguing.errors import UserError

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # colours in tracebacks
_TRACEBACK_LINES = 12
NETWORKS = "networks.json"  # in the folder of a run: what the zoo may be asked for


class RunError(UserError):
    """A chapter was right to start and failed: a cell raised, or the kernel died."""


def run(
    settings: Settings, shelf: shelves.Shelf, *, stream: TextIO, device: str | None = None,
    done: Callable[[], bool] = lambda: False,
    seat: Callable[[], AbstractContextManager] = contextlib.nullcontext,
) -> nbformat.NotebookNode | None:
    """Execute a chapter and put its page and results on `shelf`; return the page.

    Two runs of one chapter at one profile take turns.

    Parameters
    ----------
    settings : chapter, profile and checked parameters (`chapters.resolve`).
    shelf : where page and results go, both or neither.
    stream : where progress is told.
    device : for INTRIGUING_DEVICE in the kernel; None leaves the choice to the chapter.
    done : asked when it is our turn; if it says yes, nothing is executed and None returned.
    seat : held during the execution: a GPU, say.

    Raises
    ------
    RunError : a cell raised, the kernel died, or a cell did not run.  What was on the shelf stays.
    """
    with turn(settings, stream):
        if done():
            return None
        with seat():
            return _run(settings, shelf, stream, device)


def _run(
    settings: Settings, shelf: shelves.Shelf, stream: TextIO, device: str | None
) -> nbformat.NotebookNode:
    chapter, name, profile = settings.chapter, settings.chapter.name, settings.profile
    source = shelves.prepare(shelves.read_notebook(chapter.source))
    folder = chapter.source.parent if chapter.foreign else paths.notebooks_dir()
    with _workplace(profile, chapter.handle) as work, \
            Progress(f"{name} ({profile})", _count(source) + 1, stream) as progress:
        results, draft = work / "results", work / f"{chapter.handle}.ipynb"
        results.mkdir()
        started = datetime.now(UTC)
        # as they are when the kernel imports them: what is saved during the run is not in it
        needed = outline.allow(settings, work / NETWORKS)
        families = outline.families(needed)
        made_from = {"modules": fingerprint.module_hashes(source, families=families),
                     "families": families, "networks": outline.keys(needed)}
        try:
            page = kernel.execute(
                source, settings.injected, output=draft, folder=folder, on_cell=progress.advance,
                environment=_environment(work, chapter.source, device),
            )
            verify(page)
        except Exception as error:
            what = _explain(error, source, progress.step)
            raise RunError(f"{name} failed: {what}{_keep_failed(draft, profile)}") from error
        for line in tidy(page):
            progress.say(f"{name}: {line}")
        page.metadata["intriguing"] = _provenance(
            settings, source, results, made_from, started, progress.seconds)
        with kernel.uninterrupted():
            placing.place(page, results, shelf, name)
            if shelf == shelves.built(profile):
                receipts.write(name, profile)
        progress.say(f"{name} ({profile}): done in {clock(progress.seconds)}")
    return page


@contextlib.contextmanager
def turn(settings: Settings, stream: TextIO) -> Iterator[None]:
    """Wait until nobody else runs this chapter at this profile; a killed run does not count."""
    from filelock import FileLock, Timeout

    name, profile = settings.chapter.name, settings.profile
    folder = paths.build_dir(profile) / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{settings.chapter.handle}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{name} ({profile}): another process runs it, waiting", file=stream, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _count(notebook: nbformat.NotebookNode) -> int:
    """Return how many code cells there are to run."""
    return sum(c.cell_type == "code" and bool(c.source.strip()) for c in notebook.cells)


@contextlib.contextmanager
def _workplace(profile: str, handle: str) -> Iterator[Path]:
    """Yield a temporary folder in the profile's build folder, gone at the end."""
    parent = paths.build_dir(profile) / "running"
    parent.mkdir(parents=True, exist_ok=True)
    # by a run that was killed: nobody else runs the chapter
    for left in parent.glob(f"{glob.escape(handle)}.*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(
            prefix=f"{handle}.", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _environment(work: Path, source: Path, device: str | None) -> dict[str, str]:
    """Return what the kernel is told: where it is, and settings that keep outputs the same."""
    variables = child.environment() | {
        "INTRIGUING_NOTEBOOK": str(source),
        "INTRIGUING_RESULTS": str(work / "results"),
        "INTRIGUING_NETWORKS": str(work / NETWORKS),
        "PYTHONHASHSEED": "0",  # sets in the same order in every run
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else a warning about frozen modules
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    return {**variables, **({"INTRIGUING_DEVICE": device} if device else {})}


def verify(page: nbformat.NotebookNode) -> None:
    """Check that every code cell ran, in order, without error.

    Raises
    ------
    RunError : naming the first cell that did not.
    """
    ran = 0
    for index, cell in enumerate(page.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        ran += 1
        wrong = [out.ename for out in cell.outputs if out.output_type == "error"]
        if wrong or cell.execution_count != ran:
            what = f"ended with {wrong[0]}" if wrong else "did not run, or not in order"
            raise RunError(f"{_cell(page, index)} {what}")


def _cell(page: nbformat.NotebookNode, index: int) -> str:
    """Return "cell 7 (`its first line`)", counted as in the source: without the injected cell."""
    before = [cell for cell in page.cells[:index + 1]
              if fingerprint.INJECTED not in cell.metadata.get("tags", [])]
    line = (page.cells[index].source.strip().splitlines() or [""])[0]
    return f"cell {len(before)} (`{line}`)"


def tidy(page: nbformat.NotebookNode) -> list[str]:
    """Strip what differs between two equal runs; return lines worth telling the re-runner.

    Warnings (stderr) leave the page: they hold folder names of the machine.  They are returned.
    """
    told = []
    for key in ("papermill", "widgets"):
        page.metadata.pop(key, None)
    page.metadata["kernelspec"] = {
        "display_name": "Python 3", "language": "python", "name": "python3"}
    for index, cell in enumerate(page.cells):
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        tags = list(cell.metadata.pop("tags", []))
        if fingerprint.INJECTED in tags:  # papermill gives this cell a random id
            cell["id"] = fingerprint.INJECTED
            tags = [fingerprint.INJECTED, "remove-input"]
        if tags:
            cell.metadata["tags"] = tags
        if cell.cell_type == "code":
            stderr = [o for o in cell.outputs if o.get("name") == "stderr"]
            told += [f"{_cell(page, index)} warned: {o.text.strip()}" for o in stderr]
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            shown = str(cell.outputs)
            if str(paths.root()) in shown:
                told.append(f"{_cell(page, index)} shows a folder of this machine")
            if re.search(r"\bat 0x[0-9a-f]{6,}", shown):
                told.append(f"{_cell(page, index)} shows a memory address, new in every run")
    return told


def _provenance(
    settings: Settings, source: nbformat.NotebookNode, results: Path,
    made_from: dict[str, Any], started: datetime, seconds: float,
) -> dict[str, Any]:
    """Return what a page remembers: what it was made from, with what, when and where."""
    head = _record_head(results)
    versions = head.get("versions") or _versions()
    return {
        "profile": settings.profile,
        "parameters": settings.parameters,
        "overrides": settings.overrides,
        "code": fingerprint.code_hash(source),
        "params": fingerprint.params_hash(settings.parameters),
        **made_from,
        placing.KEY: placing.digests(results),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "device": head.get("device"),
        "commit": head.get("commit"),
        "dirty": head.get("dirty"),
        "versions": versions,
    }


def _record_head(results: Path) -> dict[str, Any]:
    """Return the head of the record that the chapter wrote, or {} if it wrote none."""
    import json

    path = results / "record.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _versions() -> dict[str, str]:
    """Return the versions of Python and of what computes, without importing any of it."""
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _keep_failed(draft: Path, profile: str) -> str:
    """Keep the notebook of a failed run apart from the pages of the book; say where."""
    if not draft.is_file():
        return ""
    folder = paths.build_dir(profile) / "failed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = shutil.copy(draft, folder / draft.name)
    except OSError:  # the disk is full, say: what went wrong matters more
        return ""
    return f"\n  the notebook as far as it came: {kept}"


def _explain(error: Exception, source: nbformat.NotebookNode, step: int) -> str:
    """Return what went wrong in a chapter, with the end of the traceback."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        trace = "\n".join(_ESCAPES.sub("", line) for line in error.traceback).splitlines()
        lines = [line.rstrip() for line in trace if line.strip()][-_TRACEBACK_LINES:]
        same = [i for i, cell in enumerate(source.cells) if cell.source == error.source]
        where = _cell(source, same[0]) if same else f"code cell {step}"
        return f"{where} raised {error.ename}: {error.evalue}" + "".join(
            f"\n    {line}" for line in lines)
    if isinstance(error, DeadKernelError):
        return f"the kernel died in code cell {step} of {_count(source) + 1}{error}"
    return str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
