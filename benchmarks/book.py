"""Cost of the book's own commands beside those of another checkout: today's main, say.

    python benchmarks/book.py ../main --rounds 5 --json results/book.json

Whole processes, one thread: wall seconds, CPU seconds of the process and all that it started, the
memory of the largest of them.  Every round runs each command on both sides, one after the other.
See README.md for what is measured, and what `--tests` does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
FEW, MANY = 5, 25  # copies of a chapter, to see what one more costs
IDLE = ("build", "--profile", "smoke")


@dataclass(frozen=True)
class Side:
    """A checkout, and the Python that has its library installed from it."""

    name: str
    root: Path
    python: Path

    def command(self, *words: str) -> list[str]:
        """Return the command line of `intriguing WORDS...`, as a reader calls it."""
        return [str(self.python.with_name("intriguing")), *words]


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds, CPU seconds, MB of the largest process; its last line."""

    wall: float
    cpu: float
    mb: float
    said: str


def measure(command: list[str], book: Path, zoo: Path | None) -> Cost:
    """Run a command in a book; it must go well.

    zoo : the store of networks; None: the command finds book and store itself, as `make test` does.
    """
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith(("INTRIGUING_", "PYTHON", "PYTEST"))}
    environment["OMP_NUM_THREADS"] = "1"
    if zoo is not None:
        environment |= {"INTRIGUING_ROOT": str(book), "INTRIGUING_ZOO": str(zoo)}
    with tempfile.TemporaryFile() as said:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=book, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=said, stderr=subprocess.STDOUT)
        _, ended, used = os.wait4(process.pid, 0)  # with all that it waited for
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(ended)
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").splitlines()
        if process.returncode != 0:
            told = [line for line in lines if line.startswith("error")] or lines
            raise SystemExit("\n".join([
                f"{' '.join(command)} in {book} ended with {process.returncode}:", *told[-20:]]))
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, *lines[-1:] or [""])


# ---------------------------------------------------------------- a book of copies


def copies(side: Side, chapter: str, count: int, folder: Path) -> Path:
    """Make a book of `count` copies of a chapter, all of it up to date; return its root.

    The chapter's run at smoke and its published page are copied, and say that they are the copies':
    nothing is executed, and no page rendered.
    """
    book = folder / f"{side.name}-{count}"
    names = [f"{number:02d}-copy" for number in range(1, count + 1)]
    for path in side.root.iterdir():
        if path.is_file() and path.name[0] != ".":
            book.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, book)
    shutil.copytree(side.root / "workflow", book / "workflow")
    shutil.copytree(side.root / "data", book / "data")
    _prose(side.root, book, chapter, names)
    for profile in (side.root / "notebooks" / "profiles").glob("*.yml"):
        values = yaml.safe_load(profile.read_text(encoding="utf-8"))[chapter]
        target = book / "notebooks" / "profiles" / profile.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(yaml.safe_dump(dict.fromkeys(names, values)), encoding="utf-8")
    shelves = (side.root / "_build" / "smoke" / "book", book / "_build" / "smoke" / "book"), (
        side.root / "book", book / "book")
    for name in names:
        pairs = [(side.root / "notebooks", book / "notebooks"),
                 *((made / "chapters", target / "chapters") for made, target in shelves)]
        for made, target in pairs:
            target.mkdir(parents=True, exist_ok=True)
            text = (made / f"{chapter}.ipynb").read_text(encoding="utf-8")
            (target / f"{name}.ipynb").write_text(  # links only: the code stays as it is
                text.replace(f"results/{chapter}", f"results/{name}"), encoding="utf-8")
        for made, target in shelves:
            shutil.copytree(made / "results" / chapter, target / "results" / name)
            record = target / "results" / name / "record.json"
            record.write_text(record.read_text(encoding="utf-8").replace(chapter, name),
                              encoding="utf-8")
    _rendered(side, book)
    return book


def _prose(root: Path, book: Path, chapter: str, names: list[str]) -> None:
    """Write contents, one page, and the chapter's claims once for each copy."""
    toc = {"format": "jb-book", "root": "book/index",
           "parts": [{"chapters": [{"file": f"book/chapters/{name}"} for name in names]}]}
    (book / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    (book / "book").mkdir()
    (book / "book" / "index.md").write_text("# Copies\n", encoding="utf-8")
    shutil.copy2(root / "book" / "references.bib", book / "book")
    one_list, folder = root / "book" / "claims.yml", root / "book" / "claims"
    if one_list.is_file():
        toc["parts"][0]["chapters"].append({"file": "book/scorecard"})
        (book / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
        known = yaml.safe_load(one_list.read_text(encoding="utf-8"))
        known = [claim for claim in known if claim["chapter"] == chapter]
        claims = [claim | {"id": f"{claim['id']}-{name[:2]}", "chapter": name}
                  for name in names for claim in known]
        (book / "book" / "claims.yml").write_text(yaml.safe_dump(claims), encoding="utf-8")
    elif folder.is_dir():
        toc["parts"][0]["chapters"].append({"file": "book/scorecard"})
        (book / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
        (book / "book" / "claims").mkdir()
        known = yaml.safe_load((folder / f"{chapter}.yml").read_text(encoding="utf-8"))
        for name in names:
            claims = [claim | {"id": f"{claim['id']}-{name[:2]}"} for claim in known]
            (book / "book" / "claims" / f"{name}.yml").write_text(
                yaml.safe_dump(claims), encoding="utf-8")


def _rendered(side: Side, book: Path) -> None:
    """Make the book count as rendered: receipts from its pages, then files newer than all else."""
    program = ("try:\n    from intriguing.book.run import receipts\n"
               "except ImportError:\n    from intriguing.book import receipts\n"  # before Dec. 2026
               f"for path in {[str(path) for path in (book / 'notebooks').glob('*.ipynb')]}:\n"
               "    receipts.write(path.rpartition('/')[2].removesuffix('.ipynb'), 'smoke')")
    measure([str(side.python), "-c", program], book, side.root / "_build" / "zoo")
    smoke = book / "_build" / "smoke"
    (smoke / "html").mkdir()
    (smoke / "html" / "index.html").write_text("", encoding="utf-8")
    time.sleep(0.01)
    (smoke / "rendered").touch()


# ---------------------------------------------------------------- the commands


def commands(sides: list[Side], chapter: str, folder: Path) -> dict[str, dict[str, tuple]]:
    """Return {what: {side: (command, book)}}; builds are brought up to date first."""
    found: dict[str, dict[str, tuple]] = defaultdict(dict)
    for side in sides:
        root, zoo = side.root, side.root / "_build" / "zoo"
        print(f"{side.name}: bringing the smoke book up to date", file=sys.stderr, flush=True)
        measure(side.command(*IDLE), root, zoo)
        found["a bare Python"][side.name] = [str(side.python), "-c", "pass"], root
        found["import intriguing"][side.name] = [str(side.python), "-c", "import intriguing"], root
        found["intriguing --help"][side.name] = side.command("--help"), root
        found["intriguing check"][side.name] = side.command("check"), root
        found["idle build at smoke"][side.name] = side.command(*IDLE), root
        for count in (FEW, MANY):
            book = copies(side, chapter, count, folder)
            measure(side.command("check"), book, zoo)
            measure(side.command(*IDLE), book, zoo)
            found[f"check, {count} copies"][side.name] = side.command("check"), book
            found[f"idle build, {count} copies"][side.name] = side.command(*IDLE), book
    return found


def test_suites(sides: list[Side]) -> dict[str, list[Cost]]:
    """Return what one `make test` takes on each side, with nothing built before."""
    found = {}
    for side in sides:
        venv = side.python.parent.parent
        with _nothing_built(side.root):
            print(f"{side.name}: make test", file=sys.stderr, flush=True)
            cost = measure(["make", "test", f"VENV={venv}"], side.root, None)
        print(f"{side.name}: {cost.said}", file=sys.stderr, flush=True)
        found[side.name] = [cost]
    return found


@contextlib.contextmanager
def _nothing_built(root: Path) -> Iterator[None]:
    """Put what was built aside, and back at the end."""
    build, aside = root / "_build", root / "_build.aside"
    if build.exists():
        build.rename(aside)
    try:
        yield
    finally:
        shutil.rmtree(build, ignore_errors=True)
        if aside.exists():
            aside.rename(build)


def summary(costs: dict[str, list[Cost]], sides: list[Side]) -> dict:
    """Return medians of both sides, and the ratios: of the medians, least and most of a round."""
    ours, others = (costs[side.name] for side in sides)
    row: dict = {}
    for what in ("wall", "cpu", "mb"):
        mine, theirs = ([getattr(cost, what) for cost in each] for each in (ours, others))
        ratios = [a / b for a, b in zip(mine, theirs, strict=True) if b]
        row[what] = {
            "ours": statistics.median(mine), "theirs": statistics.median(theirs),
            "ratio": statistics.median(mine) / max(statistics.median(theirs), 1e-9),
            "least": min(ratios, default=0), "most": max(ratios, default=0),
        }
    return row


def table(rows: dict[str, dict]) -> Iterator[str]:
    """Yield the lines of the table: CPU and wall seconds and memory, ours, theirs, ratio."""
    yield f"{'':<24}" + "".join(f"{head:>27}" for head in ("CPU s", "wall s", "MB, largest"))
    for what, row in rows.items():
        cells = (f"{row[key]['ours']:9.{digits}f} {row[key]['theirs']:8.{digits}f} "
                 f"{row[key]['ratio']:8.2f}" for key, digits in (("cpu", 3), ("wall", 2),
                                                                 ("mb", 0)))
        yield f"{what:<24}" + "".join(cells)


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="another checkout, such as today's main")
    parser.add_argument("--python", type=Path, help="its Python (default: its .venv's)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chapter", default="06-shapley-interactions",
                        help="the chapter that is copied (default: %(default)s)")
    parser.add_argument("--tests", action="store_true", help="make test too, once on each side")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    other = asked.other.resolve()
    python = (asked.python or other / ".venv" / "bin" / "python").absolute()
    sides = [Side("ours", ROOT, Path(sys.executable)), Side("theirs", other, python)]
    costs: dict[str, dict[str, list[Cost]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        found = commands(sides, asked.chapter, Path(folder))
        for number in range(asked.rounds):
            print(f"round {number + 1} of {asked.rounds}", file=sys.stderr, flush=True)
            for what, each in found.items():
                for side in sides if number % 2 else sides[::-1]:
                    command, book = each[side.name]
                    costs[what][side.name].append(
                        measure(command, book, side.root / "_build" / "zoo"))
        if asked.tests:
            costs["make test"] = test_suites(sides)
    rows = {what: summary(each, sides) for what, each in costs.items()}
    print("\n".join(table(rows)))
    growth = {}
    for what in ("check", "idle build"):
        growth[what] = {
            side: (rows[f"{what}, {MANY} copies"]["cpu"][side]
                   - rows[f"{what}, {FEW} copies"]["cpu"][side]) / (MANY - FEW)
            for side in ("ours", "theirs")}
        print(f"{what}: {growth[what]['ours']:.3f} CPU s a chapter more "
              f"(theirs {growth[what]['theirs']:.3f})")
    if asked.json:
        commits = {side.name: subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=side.root, capture_output=True,
            text=True).stdout.strip() for side in sides}
        asked.json.write_text(json.dumps({
            "commits": commits, "rounds": asked.rounds, "chapter copied": asked.chapter,
            "cores": os.cpu_count(), "python": platform.python_version(),
            "commands": rows, "CPU seconds a chapter more": growth}, indent=1) + "\n",
            encoding="utf-8")


if __name__ == "__main__":
    main()
