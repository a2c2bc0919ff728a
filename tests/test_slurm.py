"""A build on Slurm: what an earlier build left in the queue, and, for real, kill and interrupt.

The tests marked `slurm` hand jobs to the Slurm of this machine.  They run only where
INTRIGUING_TEST_SLURM is set, as `make test-slurm` does after it brought one up.
"""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import bookbuild
import nbformat
import pytest
from conftest import TinyBook, until

from intriguing.book.build import slurm
from intriguing.errors import UserError

ROOT = bookbuild.ROOT
SWITCH = "INTRIGUING_TEST_SLURM"
patiently = partial(until, seconds=600)  # Snakemake looks for the end of a job every few minutes


def real(test: Callable) -> Callable:
    """Mark a test that needs a Slurm that answers, and is asked for."""
    test = pytest.mark.skipif(not os.environ.get(SWITCH), reason="make test-slurm runs it")(test)
    return pytest.mark.slurm(pytest.mark.slow(test))


# ---------------------------------------------------------------- a queue that is made up


class Queue:
    """Programs called squeue and scancel; the first shows one file of `looks` after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for name, lines in {
            "squeue": "n=$(ls looks | head -n 1); cat looks/$n; rm looks/$n",
            "scancel": "echo $* >> cancelled",
            "sbatch": "exit 1",
        }.items():
            path = folder / "bin" / name
            path.write_text(f"#!/bin/sh\ncd '{folder}' || exit 1\n{lines}\n", encoding="utf-8")
            path.chmod(0o755)

    def shows(self, *looks: str) -> None:
        """Say what squeue prints, call after call."""
        (self.folder / "looks").mkdir()
        for number, text in enumerate(looks):
            (self.folder / "looks" / f"{number:02}").write_text(text, encoding="utf-8")

    @property
    def cancelled(self) -> list[str]:
        """The jobs that were cancelled, a call a line."""
        path = self.folder / "cancelled"
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


posix = pytest.mark.skipif(os.name != "posix", reason="needs a shell")


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = Queue(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "POLL", 0.01)
    return made


@posix
def test_what_waits_is_cancelled_and_what_runs_is_waited_for(queue: Queue, tmp_path: Path) -> None:
    here, job = str(tmp_path), "intriguing-smoke_0a1b-2c"
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    queue.shows(
        f"1|RUNNING|{job}|{here}\n"
        f"2|PENDING|{job}|{link}\n"
        f"3|PENDING|{job}|{here}\n"
        f"4|PENDING|{job}|{here}/another-clone\n"
        f"5|RUNNING|intriguing-smoke2_0a1b|{here}\n"
        f"6|PENDING|intriguing-cpu_0a1b|{here}\n"
        f"7|RUNNING|else|{here}\n",
        f"1|COMPLETING|{job}|{here}\n4|PENDING|{job}|{here}/another-clone\n",
        "7|RUNNING|else|/\n")
    told: list[str] = []
    slurm.wait_for_survivors("smoke", tmp_path, told.append)
    assert queue.cancelled == ["2 3"]
    assert len(told) == 1 and re.search(r"\bjob 1\b.*scancel 1\b", told[0])
    assert not list((tmp_path / "looks").iterdir()), "it was to look until the job had ended"


@posix
def test_an_empty_queue_is_not_waited_for(queue: Queue, tmp_path: Path) -> None:
    queue.shows("")
    slurm.wait_for_survivors("smoke", tmp_path, pytest.fail)
    assert not queue.cancelled


@posix
def test_a_missing_plugin_is_told(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install snakemake-executor-plugin-slurm"):
        slurm.require()


@posix
def test_a_slurm_that_does_not_answer_is_told(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "snakemake_executor_plugin_slurm.py").touch()  # whether it is installed or not
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="Slurm does not answer"):
        slurm.require()  # squeue has nothing to show and fails


def test_a_machine_without_slurm_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs sbatch, squeue, scancel .* login node"):
        slurm.require()


def test_jobs_have_a_name_that_the_next_build_knows_and_the_plugin_takes() -> None:
    option, name = slurm.arguments("my-profile_2")
    assert option == "--slurm-jobname-prefix" and name == "intriguing-my-profile_2"
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,50}", name)


# ---------------------------------------------------------------- a real Slurm

NETWORK = "small = zoo.szegedy('FC10(1)', 'mnist-5k', n=200, iterations=5)"
NOTE = """\
import os
from pathlib import Path
with Path(r'{runs}').open('a') as file:
    print(os.environ['SLURM_JOB_ID'], os.environ.get('CUDA_VISIBLE_DEVICES'), file=file)"""
WAITS = "import time\nwhile not Path(r'{go}').exists():\n    time.sleep(0.1)"


class Book:
    """A small book that is built on Slurm; its chapters note the jobs that ran them in `runs/`."""

    def __init__(self, tiny: TinyBook) -> None:
        self.tiny, self.root = tiny.with_workflow(), tiny.root
        self.smoke, self.go = self.root / "_build" / "smoke", self.root / "go"
        (self.root / "data").symlink_to(ROOT / "data")
        (self.root / "runs").mkdir()

    def add(self, name: str, *code: str) -> None:
        """Write a chapter that first notes its job; the cell NETWORK declares what it needs."""
        path = self.tiny.add(name, NOTE.format(runs=self.root / "runs" / name), *code)
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.source == NETWORK:
                cell.metadata["tags"] = ["networks"]
        nbformat.write(notebook, path)

    def runs(self, name: str) -> list[list[str]]:
        """Return [job, its GPUs] of each time a chapter was begun."""
        path = self.root / "runs" / name
        return [line.split() for line in path.read_text().splitlines()] if path.is_file() else []

    def begin(self, *, gpus: int = 0) -> subprocess.Popen[str]:
        """Start a build of the chapters; it prints its failures and ends with their number."""
        program = (
            "import sys; from intriguing.cli import _terminable\n"
            "from intriguing.book.build import driver, workflow\n"
            f"how = driver.How(jobs=3, gpus={gpus}, cluster='slurm', target='chapters')\n"
            "with _terminable():\n"
            "    failed = driver.drive(workflow.plan('smoke'), how, sys.stderr)\n"
            "print(*failed, sep='\\n'); sys.exit(bool(failed))")
        folders = {"INTRIGUING_ROOT": str(self.root), "PYTHONPATH": str(ROOT / "lib")}
        self.said = (self.root / "said").open("a+", encoding="utf-8")
        return subprocess.Popen(
            [sys.executable, "-c", program], cwd=self.root, stdin=subprocess.DEVNULL,
            stdout=self.said, stderr=self.said, start_new_session=True, env=os.environ | folders)

    def told(self) -> str:
        """Return what the builds said, and where it did not go well, why."""
        log = self.smoke / "workflow.log"
        return (self.root / "said").read_text() + (log.read_text() if log.is_file() else "")

    def jobs(self) -> dict[str, tuple[str, str]]:
        """Return {job: (state, what it is)} of this book's jobs, the ended ones too."""
        done = subprocess.run(
            ["squeue", "--noheader", "--states=all", "--format=%i|%T|%Z|%k"], timeout=60,
            check=True, capture_output=True, text=True)
        rows = [line.split("|", 3) for line in done.stdout.splitlines()]
        return {job: (state, what) for job, state, folder, what in rows
                if os.path.realpath(folder) == os.path.realpath(self.smoke)}

    def made(self, *names: str) -> dict[str, int]:
        """Return {file: time of its last change} of pages, receipts and what the zoo holds."""
        folders = (self.smoke / "book" / "chapters", self.smoke / "receipts",
                   self.root / "_build" / "zoo")
        return {path.name: path.stat().st_mtime_ns for folder in folders
                for path in sorted(folder.glob("*")) if path.suffix != ".lock"
                and (not names or path.name.startswith(names))}


@pytest.fixture
def book(tiny_book: TinyBook, monkeypatch: pytest.MonkeyPatch) -> Iterator[Book]:
    monkeypatch.delenv("INTRIGUING_ZOO", raising=False)
    made = Book(tiny_book)
    yield made
    print(made.told())  # shown where the test failed
    left = [job for job, (state, _) in made.jobs().items() if state in ("PENDING", "RUNNING")]
    if left:
        subprocess.run(["scancel", *left], timeout=60)
    tiny_book.kill()


@real
def test_a_killed_head_loses_nothing(book: Book) -> None:
    book.add("01-net", "from intriguing import zoo", NETWORK, "print(zoo.get(small))")
    book.add("02-long", WAITS.format(go=book.go))
    process = book.begin(gpus=1)
    patiently(lambda: book.runs("02-long") and any(
        "01-net" in what and state == "COMPLETED" for state, what in book.jobs().values()))
    finished = book.made()
    assert [name.split(".")[0][:2] for name in finished].count("01") == 2, finished
    heads = [pid for pid, what in book.tiny.processes().items()
             if "snakemake" in what and "jobstep" not in what and "srun" not in what
             and "slurm" in what]
    for pid in (process.pid, *heads):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert heads
    before = book.jobs()
    assert sorted(what.split("_")[1] for _, what in before.values()) == [
        "chapter", "chapter", "train"]
    assert [state for state, what in before.values() if "02-long" in what] == ["RUNNING"]
    again = book.begin(gpus=1)
    patiently(lambda: re.search(r"job \d+ of an earlier build still runs", book.told()))
    book.go.touch()
    assert again.wait(900) == 0
    assert set(book.jobs()) == set(before), "a job was handed in again"
    assert {name: len(book.runs(name)) for name in ("01-net", "02-long")} == {
        "01-net": 1, "02-long": 1}
    assert book.made(*finished) == finished, "finished work was made again"
    assert (book.smoke / "book" / "chapters" / "02-long.ipynb").is_file()
    assert all(gpu in ("0", "1") for name in ("01-net", "02-long")
               for _, gpu in book.runs(name)), "each job was to have a GPU of Slurm's"
    assert book.begin(gpus=1).wait(900) == 0
    assert set(book.jobs()) == set(before), "a third build has nothing to do"


@real
def test_an_interrupt_takes_the_jobs_back(book: Book) -> None:
    book.add("01-quick", "print(1)")
    book.add("02-long", WAITS.format(go=book.go))
    process = book.begin()
    patiently(lambda: book.runs("02-long") and any((book.smoke / "receipts").glob("01-quick.*")))
    process.send_signal(signal.SIGTERM)  # as Ctrl-C, which a test's children may ignore
    assert process.wait(900) != 0
    patiently(lambda: not [1 for state, _ in book.jobs().values()
                       if state in ("PENDING", "RUNNING", "COMPLETING")])
    assert [state for state, what in book.jobs().values() if "02-long" in what] == ["CANCELLED"]
    patiently(lambda: not book.tiny.processes())
    book.go.touch()
    assert book.begin().wait(900) == 0
    assert (len(book.runs("01-quick")), len(book.runs("02-long"))) == (1, 2)


@real
def test_a_chapter_that_fails_in_a_job_is_told_with_its_log(book: Book) -> None:
    book.add("01-bad", "raise ValueError('no such thing')")
    book.add("02-good", "print(1)")
    assert book.begin().wait(900) == 1
    log = re.search(r"01-bad failed \(log: (\S+)\)", book.told())
    assert log and "no such thing" in (book.root / log[1]).read_text()
    page = json.loads((book.smoke / "book" / "chapters" / "02-good.ipynb").read_text())
    assert page["cells"]
