"""The workflow: what a change rebuilds in the real book, and what survives in small ones.

Changes are made in a copy of the book whose chapters have been run at smoke; Snakemake's dry run
says what it would do.  Kills, interrupts and a full disk happen to small books for real.
"""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bookbuild
import pytest
from conftest import TinyBook, until
from filelock import FileLock
from test_site import executed as put_on_shelf

from intriguing import chapters, paths
from intriguing.book.build import driver, processes, settled, workflow
from intriguing.book.run import receipts
from intriguing.chapters import fingerprint, networks, outline, shelves
from intriguing.errors import UserError

ROOT = bookbuild.ROOT
LIBRARY = str(ROOT / "lib")


# ---------------------------------------------------------------- the real book


@pytest.fixture(scope="module")
def built() -> None:
    """The smoke book, up to date."""
    done = bookbuild.build("smoke")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def copy(built: None, tmp_path: Path) -> Path:
    """A copy of the book with what was run at smoke, times kept, the same zoo."""
    book = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for path in ROOT.iterdir():
        if path.is_file():
            book.mkdir(exist_ok=True)
            shutil.copy2(path, book)
        elif path.name in ("book", "data", "lib", "notebooks", "workflow"):
            shutil.copytree(path, book / path.name, ignore=ignored)
    smoke = ROOT / "_build" / "smoke"
    for part in (".snakemake", "book", "networks", "receipts"):
        shutil.copytree(smoke / part, book / "_build" / "smoke" / part)
    shutil.copy2(smoke / workflow.RENDERED, book / "_build" / "smoke")
    (book / "_build" / "smoke" / "html").mkdir()
    shutil.copy2(smoke / "html" / "index.html", book / "_build" / "smoke" / "html")
    (book / "_build" / "zoo").symlink_to(ROOT / "_build" / "zoo")
    return book


def run(book: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build a copy at smoke, with its own library."""
    return subprocess.run(
        [sys.executable, "-m", "intriguing", "build", "--profile", "smoke", *options], cwd=book,
        env=os.environ | {"INTRIGUING_ROOT": str(book), "PYTHONPATH": str(book / "lib")},
        stdin=subprocess.DEVNULL, capture_output=True, text=True)


def pending(book: Path) -> set[str]:
    """Return the lines in which a dry run of the build at smoke says what it would do."""
    done = run(book, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"^(?:train|run|render|nothing) .*", done.stdout, flags=re.MULTILINE))


def change(path: Path, old: str, new: str) -> None:
    """Replace a text that a file must have."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def importing(module: str) -> set[str]:
    """Return the lines that run the chapters that import a module, themselves or through others."""
    plan = workflow.plan("smoke")
    file = f"lib/intriguing/{module.replace('.', '/')}"
    return {f"run {name}" for name in chapters.names()
            if any(source.endswith((f"{file}.py", f"{file}/__init__.py"))
                   for source in plan.sources(name))}


slow = pytest.mark.slow


def test_planning_imports_neither_torch_nor_jupyter() -> None:
    program = ("import sys, intriguing.cli, intriguing.book.build.driver\n"
               "import intriguing.book.build.workflow as w\n"
               "w.plan('smoke').settings\n"
               "print(*{'torch', 'nbformat', 'papermill', 'snakemake'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=os.environ | {"INTRIGUING_ROOT": str(ROOT), "PYTHONPATH": LIBRARY})
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


@slow
def test_an_idle_build_writes_nothing_and_asks_snakemake_once(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved() -> dict[str, int]:
        folder = copy / "_build" / "smoke"
        return {str(path): path.stat().st_mtime_ns for part in ("book", "receipts", "html", "logs")
                for path in (folder / part).rglob("*") if path.is_file()}

    before, log = saved(), copy / "_build" / "smoke" / "workflow.log"
    for _ in range(2):
        done = run(copy)
        assert done.returncode == 0, done.stdout + done.stderr
        assert saved() == before and len(before) > 2 * len(chapters.names())
        assert "Nothing to be done" in log.read_text(encoding="utf-8")
        snakemake = log.stat().st_mtime_ns
    monkeypatch.setenv("INTRIGUING_ROOT", str(copy))
    monkeypatch.setattr(paths, "package", lambda: copy / "lib" / "intriguing")
    assert settled.settled(workflow.plan("smoke"))
    assert run(copy).returncode == 0
    assert log.stat().st_mtime_ns == snakemake, "Snakemake was asked though all is as it left it"
    _disturb(copy)


def _disturb(book: Path) -> None:
    """Change a settled book in every way that Snakemake might have to know of, and back."""
    smoke, name = book / "_build" / "smoke", chapters.names()[0]
    receipt = next((smoke / "receipts").glob(f"{name}.*"))
    for path in (receipt, smoke / "rendered", smoke / "html" / "index.html", book / "_config.yml",
                 book / "Snakefile", book / "book" / "index.md", book / "data" / "sources.toml",
                 book / "notebooks" / f"{name}.ipynb", book / "notebooks" / "profiles" / "cpu.yml",
                 book / "workflow" / "profiles" / "default" / "config.yaml"):
        stat, kept = path.stat(), path.with_name("kept")
        os.utime(path)
        assert not settled.settled(workflow.plan("smoke")), f"{path} was touched"
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        path.rename(kept)
        with contextlib.suppress(UserError):  # some files no plan can do without
            assert not settled.settled(workflow.plan("smoke")), f"{path} is gone"
        kept.rename(path)
        assert settled.settled(workflow.plan("smoke")), path
    new = book / "book" / "new.md"
    new.touch()
    assert not settled.settled(workflow.plan("smoke")), "there is a new page"
    new.unlink()
    change(book / "notebooks" / "profiles" / "smoke.yml", "cnn_seeds: [0]", "cnn_seeds: [77]")
    assert not settled.settled(workflow.plan("smoke")), "there is another network"
    change(book / "notebooks" / "profiles" / "smoke.yml", "cnn_seeds: [77]", "cnn_seeds: [0]")
    (smoke / settled.FILE).write_text("{", encoding="utf-8")
    assert not settled.settled(workflow.plan("smoke")), "what was written down is damaged"


@slow
def test_touched_files_with_the_same_bytes_change_nothing(copy: Path) -> None:
    for folder in ("book", "lib", "notebooks", "data", "workflow"):
        for path in (copy / folder).rglob("*"):
            if path.is_file():
                os.utime(path)
    assert pending(copy) == {"nothing to do: everything is up to date"}


@slow
def test_one_seed_of_one_network_makes_it_its_chapter_and_the_pages(copy: Path) -> None:
    change(copy / "notebooks" / "profiles" / "smoke.yml", "cnn_seeds: [0]", "cnn_seeds: [77]")
    assert pending(copy) == {
        "train cnn-mnist cross-entropy mnist-5k seed 77", "run 01-units-and-directions",
        "render the pages"}


@slow
@pytest.mark.parametrize("module", ["plots.lines", "spectrum.singular"])
def test_a_function_makes_the_chapters_that_import_it(copy: Path, module: str) -> None:
    path = copy / "lib" / "intriguing" / f"{module.replace('.', '/')}.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n\ndef another():\n    return 1\n")
    expected = importing(module)
    assert expected and (module == "plots.lines" or len(expected) < len(chapters.names()))
    assert pending(copy) == expected | {"render the pages"}


@slow
def test_a_comment_in_a_training_module_and_prose_train_and_run_nothing(copy: Path) -> None:
    for name in ("lib/intriguing/training/loop.py", "book/index.md"):
        text = (copy / name).read_text(encoding="utf-8")
        (copy / name).write_text(f"{text}\n# a remark\n", encoding="utf-8")
    assert pending(copy) == {"render the pages"}  # their reference shows the library


@slow
def test_a_new_version_of_a_method_trains_its_networks_and_no_others(copy: Path) -> None:
    path = copy / "lib" / "intriguing" / "methods" / "interaction_loss.py"
    change(path, "version = 1", "version = 2")
    mine = {f"train {spec.label}" for one in chapters.settings("smoke")
            for spec in networks.declared(one) if spec.options.method.__name__.endswith(path.stem)}
    expected = {"run 10-interaction-loss", "run 09-dropout-and-interactions", "render the pages"}
    assert mine and pending(copy) == mine | expected  # 09 names the file through training.units


@slow
def test_new_files_make_no_page_and_no_receipt_stale(copy: Path) -> None:
    library = copy / "lib" / "intriguing"
    before = {name: modules(copy, name) for name in bookbuild.published_names()}
    shutil.copy2(library / "methods" / "madry.py", library / "methods" / "another.py")
    text = (library / "models" / "vgg.py").read_text(encoding="utf-8")
    (library / "models" / "another.py").write_text(
        text.replace('"vgg7-mnist"', '"vgg8-mnist"'), encoding="utf-8")
    (library / "attacks" / "another.py").write_text("def another():\n    return 1\n")
    change(library / "attacks" / "__init__.py", "from .targets import",
           "from .another import another\nfrom .targets import")
    assert before and {name: modules(copy, name) for name in before} == before
    assert pending(copy) == {"render the pages"}  # their reference shows the library


def modules(book: Path, name: str) -> dict[str, str]:
    """Return what a published page rests on of the library of a copy, by their hashes."""
    page = shelves.load(book / "book" / "chapters" / f"{name}.ipynb")
    families = page["metadata"]["intriguing"].get("families", ())
    return fingerprint.module_hashes(page, book / "lib" / "intriguing", families)


@slow
def test_a_lost_page_is_made_again(copy: Path) -> None:
    name = chapters.names()[0]
    (copy / "_build" / "smoke" / "book" / "chapters" / f"{name}.ipynb").unlink()
    assert pending(copy) == {f"run {name}", "render the pages"}


@slow
def test_lost_html_and_a_rendering_that_failed_are_made_again(copy: Path) -> None:
    folder = copy / "_build" / "smoke"
    page = folder / "html" / "index.html"
    good = page.read_bytes()
    change(copy / "book" / "index.md", "# Intriguing", "# Most intriguing")
    with FileLock(folder / "build.lock"):  # as if another call rendered
        for _ in range(2):  # the second must not take the failure of the first for done
            done = run(copy)
            assert done.returncode == 1 and "the pages were not rendered" in done.stderr, done
            assert page.read_bytes() == good
    assert pending(copy) == {"render the pages"}
    change(copy / "book" / "index.md", "# Most intriguing", "# Intriguing")
    page.unlink()
    assert pending(copy) == {"render the pages"}


# ---------------------------------------------------------------- small books


class Small:
    """A small book whose chapters the workflow runs; each counts its runs in `runs/`."""

    def __init__(self, tiny: TinyBook) -> None:
        self.tiny, self.root = tiny.with_workflow(), tiny.root
        (self.root / "runs").mkdir()

    def add(self, name: str, *code: str) -> Path:
        """Write a chapter that first notes that it runs."""
        runs = f"{self.root}/runs/{name}"
        note = f"from pathlib import Path\nPath({runs!r}).open('a').write('x')"
        return self.tiny.add(name, note, *code)

    def runs(self, name: str) -> int:
        """Return how often a chapter was begun."""
        path = self.root / "runs" / name
        return len(path.read_text()) if path.is_file() else 0

    def begin(self, **options: object) -> subprocess.Popen[str]:
        """Start a build of the chapters; it says its failures, and fails if there are any."""
        program = (
            "import sys; from intriguing.cli import _terminable\n"
            "from intriguing.book.build import driver, workflow\n"
            "how = driver.How(jobs=2, target='chapters')\n"
            "with _terminable():\n"
            "    failed = driver.drive(workflow.plan('smoke'), how, sys.stderr)\n"
            "print(*failed, sep='\\n'); sys.exit(bool(failed))")
        return subprocess.Popen(
            [sys.executable, "-c", program], cwd=self.root, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env=os.environ | {"INTRIGUING_ROOT": str(self.root), "PYTHONPATH": LIBRARY}, **options)

    def build(self) -> tuple[int, str, str]:
        """Build the chapters; return status, what failed, and what was said."""
        process = self.begin()
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def page(self, name: str) -> Path:
        """Return the page of a chapter."""
        return self.root / "_build" / "smoke" / "book" / "chapters" / f"{name}.ipynb"


@pytest.fixture
def small(tiny_book: TinyBook) -> Iterator[Small]:
    book = Small(tiny_book)
    yield book
    tiny_book.kill()


linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
WAITS = "import time\nwhile not Path(r'{go}').exists():\n    time.sleep(0.05)"


@slow
@linux
def test_a_killed_driver_costs_nothing_that_was_finished(small: Small) -> None:
    go = small.root / "go"
    small.add("01-quick", "print(1)")
    small.add("02-long", WAITS.format(go=go))
    process = small.begin()
    until(lambda: small.page("01-quick").is_file() and small.runs("02-long"))
    until(lambda: any((small.root / "_build" / "smoke" / "receipts").glob("01-quick.*")))
    ours = small.tiny.processes()  # of driver, Snakemake, shells, runner, kernel the last two live
    heads = [pid for pid, command in ours.items() if "snakemake" in command]
    for pid in (process.pid, *heads):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert heads and not small.page("02-long").is_file()
    again = small.begin()  # the orphan still runs the chapter: it is waited for, not repeated
    time.sleep(3)
    go.touch()
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert (small.runs("01-quick"), small.runs("02-long")) == (1, 1)
    assert small.page("02-long").is_file()


@slow
@linux
def test_a_killed_kernel_fails_its_chapter_alone_and_is_told(small: Small) -> None:
    small.add("01-dies", f"import os\nif not Path(r'{small.root}/go').exists():\n"
                         "    os.kill(os.getpid(), 9)")
    small.add("02-lives", "print(1)")
    status, failed, said = small.build()
    assert status == 1 and "the kernel died in code cell" in said
    log = re.search(r"01-dies failed \(log: (\S+)\)", failed)
    assert log and (small.root / log[1]).is_file()
    assert small.page("02-lives").is_file() and not small.page("01-dies").exists()
    (small.root / "go").touch()
    assert small.build()[0] == 0
    assert (small.runs("01-dies"), small.runs("02-lives")) == (2, 1)


@slow
def test_a_chapter_that_raises_keeps_its_good_page_and_names_cell_and_log(small: Small) -> None:
    small.add("01-one", "print('good')")
    small.add("02-two", "print(2)")
    assert small.build()[0] == 0
    good = small.page("01-one").read_bytes()
    small.add("01-one", "x = 1", "raise ValueError('no such thing')")
    small.add("02-two", "print(3)")
    status, failed, said = small.build()
    assert status == 1 and re.search(r"01-one failed \(log: \S+\)", failed)
    assert "cell 5 (`raise ValueError('no such thing')`) raised ValueError" in said
    assert small.page("01-one").read_bytes() == good
    assert small.runs("02-two") == 2, "the other chapter was to go on"
    small.add("01-one", "print('good again')")
    assert small.build()[0] == 0
    assert (small.runs("01-one"), small.runs("02-two")) == (3, 2)


@slow
@linux
def test_an_interrupt_leaves_no_process_and_the_next_call_goes_on(small: Small) -> None:
    go = small.root / "go"
    small.add("01-quick", "print(1)")
    small.add("02-long", WAITS.format(go=go))
    process = small.begin()
    until(lambda: small.page("01-quick").is_file() and small.runs("02-long"))
    until(lambda: any((small.root / "_build" / "smoke" / "receipts").glob("01-quick.*")))
    process.send_signal(signal.SIGTERM)  # as Ctrl-C, which a test's children may ignore
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert until(lambda: not small.tiny.processes())
    go.touch()
    assert small.build()[0] == 0
    assert (small.runs("01-quick"), small.runs("02-long")) == (1, 2)


@slow
@linux
def test_a_full_disk_is_told_and_the_next_call_finishes(small: Small) -> None:
    folder = small.root / "_build"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
                             capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this test needs the right to mount a small tmpfs")
    try:
        small.add("01-small", "print(1)")
        small.add("02-large", WAITS.format(go=small.page("01-small")), "import os\n"
                  "Path(os.environ['INTRIGUING_RESULTS'], 'x').write_bytes(bytes(2_000_000))")
        status, failed, said = small.build()
        assert status == 1 and "02-large failed" in failed, failed + said
        assert "No space left on device" in said
        assert not small.page("02-large").exists()
        subprocess.run(["mount", "-o", "remount,size=20m", str(folder)], check=True)
        assert small.build()[0] == 0
        assert small.page("01-small").is_file() and small.page("02-large").is_file()
        assert small.runs("02-large") == 2
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@slow
def test_two_builds_of_a_profile_take_turns(small: Small) -> None:
    small.add("01-one", "print(1)")
    lock = workflow.claim(workflow.plan("smoke"))
    process = small.begin()
    assert "another build at smoke" in process.stderr.readline()
    assert not (small.root / "_build" / "smoke" / "workflow.log").exists()
    lock.release()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert small.runs("01-one") == 1


@slow
def test_a_job_that_fails_after_its_output_was_written_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text("open('net', 'w').write('whole')\nraise SystemExit(1)\n")
    (tmp_path / "Snakefile").write_text(
        f"rule net:\n    output: 'net'\n    shell: '{sys.executable} work.py'\n")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--workflow-profile",
         str(ROOT / "workflow" / "profiles" / "default")],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode != 0, done.stderr
    assert (tmp_path / "net").read_text() == "whole", done.stderr


@slow
def test_what_is_saved_during_a_build_is_told(small: Small) -> None:
    small.add("01-one", "print(1)")
    index = small.root / "book" / "index.md"
    small.add("02-two", f"Path(r'{index}').write_text('# New')", "raise ValueError('no')")
    status, failed, _ = small.build()
    assert status == 1
    assert "saved during the build" in failed and "02-two failed" in failed


@slow
def test_a_dry_run_neither_waits_nor_downloads(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTRIGUING_ROOT", str(small.root))
    small.add("01-one", "print(1)")
    plan = workflow.plan("smoke")
    lock = workflow.claim(plan)
    try:
        assert driver.pending(plan, driver.How(target="chapters")) == [("chapter", "01-one")]
    finally:
        lock.release()
    offline = "import os\nassert os.environ['INTRIGUING_OFFLINE']\nnets = []"
    settings(small.tiny, offline)
    assert driver.pending(workflow.plan("smoke"), driver.How(target="chapters")) == [
        ("chapter", "01-one")]


@slow
def test_a_profile_of_the_users_plays_no_part(
    small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("quiet: rules\ndry-run: true\n")
    monkeypatch.setenv("SNAKEMAKE_PROFILE", str(tmp_path))
    monkeypatch.setenv("INTRIGUING_ROOT", str(small.root))
    small.add("01-one", "print(1)")
    assert driver.pending(workflow.plan("smoke"), driver.How(target="chapters")) == [
        ("chapter", "01-one")]
    assert small.build()[0] == 0 and small.runs("01-one") == 1


def test_an_end_without_the_chapters_is_no_success(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.add("01-one", "print(1)")
    small.add("02-two", "print(1)")
    monkeypatch.setenv("INTRIGUING_ROOT", str(small.root))
    monkeypatch.setattr(processes, "run", lambda *_: 0)  # says that all is well, and did nothing
    for target in ("chapters", "all"):
        told = driver.drive(workflow.plan("smoke"), driver.How(target=target), io.StringIO())
        assert [line.partition(".")[0] for line in told[:2]] == ["01-one was not run",
                                                                  "02-two was not run"], told
    put_on_shelf("01-one", "smoke", shelves.built("smoke"))
    put_on_shelf("02-two", "smoke", shelves.built("smoke"))
    plan = workflow.plan("smoke")
    assert driver.drive(plan, driver.How(target="chapters"), io.StringIO()) == []
    (told, _) = driver.drive(plan, driver.How(), io.StringIO())
    assert told == "the pages were not rendered"
    # a receipt that tells of another page than the one that stands there is none
    (shelves.built("smoke").results / "02-two" / "t.csv").write_text("a,b\n1,3\n")
    assert driver._not_run(plan) == [plan.receipts[1]]


@slow
def test_networks_that_leave_stop_the_build_and_say_so(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTRIGUING_ROOT", str(small.root))
    leaving = "tagged 'networks' of 01-one raised SystemExit"
    for leave in ("raise SystemExit", "import sys\nsys.exit(0)"):
        with pytest.raises(UserError, match=leaving):
            networks.declared(settings(small.tiny, leave))
    with pytest.raises(UserError, match=leaving):
        driver.drive(workflow.plan("smoke"), driver.How(), io.StringIO())


@slow
@linux
def test_a_killed_snakemake_leaves_no_job(small: Small) -> None:
    small.add("01-long", WAITS.format(go=small.root / "go"))
    process = small.begin()
    until(lambda: small.runs("01-long"))
    head, = (pid for pid, command in small.tiny.processes().items()
             if "snakemake\0chapters" in command)
    os.kill(head, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "01-long" in out
    assert "Snakemake was killed; the jobs that it left were ended" in err
    assert until(lambda: not small.tiny.processes())


@slow
def test_names_are_not_read_by_a_shell(small: Small) -> None:
    name = "01 l'attaque; with $(touch x) & more"
    small.add(name, "print(1)")
    status, failed, said = small.build()
    assert status == 0, failed + said
    assert small.runs(name) == 1 and small.page(name).is_file()
    assert not list(small.root.rglob("x"))


def test_an_interrupt_is_held_back_in_a_process_with_threads_too() -> None:
    program = (
        "import os, signal, threading, time\nfrom intriguing.book.run import kernel\n"
        "threading.Thread(target=time.sleep, args=(2,), daemon=True).start()\n"
        "try:\n    with kernel.uninterrupted():\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(0.2)\n"
        "        print('whole', flush=True)\n    print('too far')\n"
        "except KeyboardInterrupt:\n    print('then interrupted')")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": LIBRARY})
    assert done.stdout.split("\n")[:2] == ["whole", "then interrupted"], done.stdout + done.stderr


# ---------------------------------------------------------------- networks and receipts


def settings(book: TinyBook, code: str, **profile: object) -> chapters.Settings:
    """Return the settings of a chapter whose cell tagged `networks` has this code."""
    import nbformat

    (book.root / "data").mkdir(exist_ok=True)
    shutil.copy2(ROOT / "data" / "sources.toml", book.root / "data")
    path = book.add("01-one", code, smoke=profile)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].metadata["tags"] = ["networks"]
    nbformat.write(notebook, path)
    return chapters.resolve(chapters.find("01"), "smoke")


def test_networks_are_read_from_their_cell_alone(tiny_book: TinyBook) -> None:
    code = ("specs = {'a': [zoo.szegedy('FC10(1)', 'mnist', seed=s) for s in range(n_images)],\n"
            "         'b': (zoo.szegedy('AE400-10', 'mnist'), zoo.szegedy('FC10(1)', 'mnist'))}")
    found = networks.declared(settings(tiny_book, code, n_images=2), resolved=False)
    assert [(spec.architecture, spec.seed) for spec in found] == [
        ("fc10", 0), ("fc10", 1), ("ae400-10", 0)]
    assert [spec.architecture for spec in networks.with_bases(found[2:])] == ["ae400", "ae400-10"]


def test_a_networks_cell_that_needs_more_is_told(tiny_book: TinyBook) -> None:
    with pytest.raises(UserError, match="01-one raised NameError.*nothing else"):
        networks.declared(settings(tiny_book, "specs = [torch.nn.Linear(1, 1)]"))


@pytest.fixture
def remembering(tiny_book: TinyBook, monkeypatch: pytest.MonkeyPatch) -> TinyBook:
    """A tiny book with the digits and one chapter, whose networks cell counts its executions."""
    monkeypatch.setattr(outline, "_library", lambda: ("this library", 0.0))  # saved long ago
    (tiny_book.root / "data").mkdir()
    shutil.copy2(ROOT / "data" / "mnist-5k.npz", tiny_book.root / "data")
    return tiny_book


def counting(book: TinyBook, *lines: str, **profile: object) -> chapters.Settings:
    """Return the settings of a chapter whose networks cell leaves a mark whenever it is run."""
    mark = f"open(r'{book.root}/runs', 'a').write('x')"
    return settings(book, "\n".join((mark, *lines)), **profile)


def executed(book: TinyBook) -> int:
    """Return how often networks cells were run; looking at the networks may run them twice."""
    file = book.root / "runs"
    count = len(file.read_text()) if file.is_file() else 0
    file.unlink(missing_ok=True)
    return count


def test_networks_are_remembered_as_their_cells_declare_them(
    remembering: TinyBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = ("specs = [zoo.szegedy('AE400-10', 'mnist-5k'), "
            "zoo.szegedy('FC10(1)', 'mnist-5k', split='train[:50%]@0', seed=n_images)]")
    one = counting(remembering, code)
    found, specs = outline.outline(one), networks.declared(one)
    assert [(each.key, each.label) for each in found if each.declared] == [
        (spec.key, spec.label) for spec in specs]
    assert [each.key for each in found] == [spec.key for spec in networks.with_bases(specs)]
    assert found[1].below == (found[0].key,) and not found[0].below and not found[0].declared
    executed(remembering)
    assert outline.outline(one) == found and not executed(remembering)
    # whatever decides the outcome makes the cells be asked again
    file = remembering.root / "_build" / "smoke" / "networks" / "01-one.json"
    good = file.read_text(encoding="utf-8")
    for text in ("", "{}", "[]", good[:-9], good.replace("seed 3", "seed 4"), "\0"):
        file.write_text(text, encoding="utf-8")
        assert outline.outline(one) == found and executed(remembering), text[:20]
        assert outline.outline(one) == found and not executed(remembering), "remembered anew"
    digits = remembering.root / "data" / "mnist-5k.npz"
    os.utime(digits)
    assert outline.outline(one) == found and executed(remembering)
    assert outline.outline(counting(remembering, code, n_images=5)) != found
    assert executed(remembering)
    assert outline.outline(counting(remembering, code, "more = zoo.szegedy('FC10(1)', 'mnist-5k')"))
    assert executed(remembering)
    with monkeypatch.context() as patch:
        patch.setattr(outline, "_library", lambda: ("another library", 0.0))
        assert outline.outline(one) and executed(remembering)


def test_networks_are_not_remembered_where_that_would_be_rash(
    remembering: TinyBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = counting(remembering, "net = zoo.szegedy('FC10(1)', 'mnist-5k')")
    monkeypatch.setattr(outline, "_library", lambda: ("saved just now", time.time()))
    for _ in range(2):
        assert outline.outline(one) and executed(remembering)
    monkeypatch.setattr(outline, "_library", lambda: ("this library", 0.0))
    other = chapters.resolve(one.chapter, "smoke", {"n_images": 9})
    own = counting(remembering, f"net = zoo.szegedy('FC10(1)', r'{ROOT}/data/mnist-5k.npz')")
    for asked in (other, own, own):
        assert outline.outline(asked) and executed(remembering)
    assert outline.outline(counting(remembering, "nets = []")) == () and executed(remembering)


def test_a_network_that_is_not_declared_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from intriguing import zoo

    monkeypatch.setenv("INTRIGUING_ROOT", str(ROOT))
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path / "zoo"))
    listed = tmp_path / "networks.json"
    monkeypatch.setenv("INTRIGUING_NETWORKS", str(listed))
    spec = zoo.szegedy("FC10(1)", "mnist-5k")
    listed.write_text('{"chapter": "07-x", "keys": [], "strict": true}')
    for ask in (lambda: zoo.get(spec), lambda: zoo.ensure([spec])):
        with pytest.raises(UserError, match="07-x asks the zoo for fc10 .* seed 0.*'networks'"):
            ask()
    assert not (tmp_path / "zoo").exists(), "nothing was trained"


def test_a_receipt_tells_of_the_page_that_is_there(tiny_book: TinyBook) -> None:
    import io

    from intriguing.book.run import runner
    from intriguing.chapters import shelves

    tiny_book.add("01-one", "print(n_images)")
    chapter = chapters.find("01")
    usual = chapters.resolve(chapter, "smoke")
    other = chapters.resolve(chapter, "smoke", {"n_images": 9})
    shelf = shelves.built("smoke")
    for run in (usual, other):
        runner.run(run, shelf, stream=io.StringIO())
        assert [path.name for path in receipts.folder("smoke").iterdir()] == [
            receipts.name("01-one", receipts.wanted(run))]
        assert receipts.hold(run)
    assert not receipts.hold(usual), "the page was made with another number of images"
    for damage in (lambda: shelf.page("01-one").write_text(""), shelf.page("01-one").unlink):
        runner.run(usual, shelf, stream=io.StringIO())
        damage()
        receipts.write("01-one", "smoke")
        assert not list(receipts.folder("smoke").iterdir()) and not receipts.hold(usual)


def test_what_is_saved_during_a_run_is_not_in_its_page(
    tiny_book: TinyBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from intriguing.book.run import kernel, runner
    from intriguing.chapters import fingerprint, shelves

    tiny_book.add("01-one", "print(1)")
    usual, execute = chapters.resolve(chapters.find("01"), "smoke"), kernel.execute

    def saving(*given: object, **named: object) -> object:
        page = execute(*given, **named)
        monkeypatch.setattr(fingerprint, "module_hashes",
                            lambda *_, **__: {"intriguing.plots": "new"})
        return page

    monkeypatch.setattr(kernel, "execute", saving)
    runner.run(usual, shelves.built("smoke"), stream=io.StringIO())
    assert not receipts.hold(usual)
