"""The papermill driver, with real kernels: what lands on the shelf, and what never does."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest

import intriguing
from intriguing import chapters
from intriguing.book.run import runner
from intriguing.book.run.progress import CLEAR, Progress, clock
from intriguing.chapters import fingerprint, placing, shelves

LIB = str(Path(intriguing.__file__).resolve().parents[1])

REPORT = """\
import json, os, pathlib, sys
import intriguing
folder = pathlib.Path(os.environ["INTRIGUING_RESULTS"])
seen = {"python": sys.executable, "n": n_images, "eps": eps, "networks": networks,
        "profile": profile, "library": intriguing.__file__, "set": list({"x", "y", "z"}),
        "device": os.environ["INTRIGUING_DEVICE"], "data": os.environ["INTRIGUING_DATA"],
        "path": sys.path, "ipython": os.environ["IPYTHONDIR"]}
(folder / "seen.json").write_text(json.dumps(seen))
head = {"device": "a cpu", "commit": "c0ffee", "dirty": False}
(folder / "record.json").write_text(json.dumps(head))
"""
NOISE = """\
import sys, time
for i in range(3):
    print(i, flush=True)
    time.sleep(0.05)
print("a warning from a cell", file=sys.stderr)
{"b": 2}
"""
FIGURE = """\
import matplotlib.pyplot as plt
_ = plt.plot([1, 2])
"""


def run(book, name="01-first", profile="smoke", overrides=None, device=None):
    """Run a chapter of the tiny book; return (page, log)."""
    settings = chapters.resolve(chapters.find(name), profile, overrides)
    log = io.StringIO()
    page = runner.run(settings, shelves.built(profile), stream=log, device=device)
    return page, log.getvalue()


def without_provenance(path):
    """Return the text of a page without what it remembers of its run."""
    page = json.loads(path.read_text(encoding="utf-8"))
    made = page["metadata"].pop("intriguing")
    return json.dumps(page), made


def test_a_run_is_complete_clean_and_repeatable(tiny_book, tmp_path, monkeypatch, capfd):
    # kernels and start-up files of the user that would break every notebook
    spec = tmp_path / "user" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps(
        {"argv": ["/bin/false", "{connection_file}"], "display_name": "x", "language": "python"}))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("raise SystemExit('a start-up file of the user ran')")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "user"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # relative paths, which mean the folder that the command is called in
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["some/site", os.path.relpath(LIB)]))
    monkeypatch.setenv("INTRIGUING_DATA", "$HOME pictures")  # a name, which nobody is to read
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    tiny_book.add("01-first", REPORT, NOISE, FIGURE, "", cpu={"eps": 0.5, "networks": ["c"]})

    page, log = run(tiny_book, profile="cpu", overrides={"n_images": 5}, device="cpu")
    book = tiny_book.root / "_build" / "cpu" / "book"
    seen = json.loads((book / "results" / "01-first" / "seen.json").read_text())
    assert seen["python"] == sys.executable
    assert seen["library"] == intriguing.__file__
    assert (seen["n"], seen["eps"], seen["networks"], seen["profile"], seen["device"]) == (
        5, 0.5, ["c"], "cpu", "cpu")
    assert Path(seen["ipython"]).is_relative_to(tmp_path / "temporary")
    assert not any((tmp_path / "temporary").iterdir())
    assert seen["data"] == str(tmp_path / "$HOME pictures")
    assert str(tmp_path / "some" / "site") in seen["path"]

    first, made = without_provenance(book / "chapters" / "01-first.ipynb")
    assert made["profile"] == "cpu" and made["overrides"] == {"n_images": 5}
    assert made["parameters"] == {"profile": "cpu", "n_images": 5, "eps": 0.5, "networks": ["c"],
                                  "subset": None, "squared": True}
    assert (made["device"], made["commit"], made["dirty"]) == ("a cpu", "c0ffee", False)
    assert made["seconds"] > 0 and made["started"].endswith("+00:00") and made["versions"]["torch"]
    assert len(made["code"]) == 64 and "intriguing" in made["modules"]
    assert set(made["results"]) == {"record.json", "seen.json"}
    assert placing.differences(made, book / "results" / "01-first") == []

    injected = [c for c in page.cells if fingerprint.INJECTED in c.metadata.get("tags", [])]
    assert [c.metadata.tags for c in injected] == [[fingerprint.INJECTED, "remove-input"]]
    text = nbformat.writes(page)
    assert '"papermill"' not in text
    outputs = [o for c in page.cells if c.cell_type == "code" for o in c.outputs]
    streams = [(o.name, o.text) for o in outputs if o.output_type == "stream"]
    assert streams == [("stdout", "0\n1\n2\n")]  # three prints, one box
    assert "image/png" in text
    assert "01-first (cpu): started, 5 code cells" in log and "done in" in log
    assert "cell 4 (`import sys, time`) warned: a warning from a cell" in log  # dropped, and told
    assert "\r" not in log  # no terminal, no living line
    assert capfd.readouterr() == ("", "")  # neither papermill nor the kernel says a word

    run(tiny_book, profile="cpu", overrides={"n_images": 5}, device="cpu")
    second, again = without_provenance(book / "chapters" / "01-first.ipynb")
    assert first == second
    repeated = json.loads((book / "results" / "01-first" / "seen.json").read_text())
    assert repeated["set"] == seen["set"]
    assert (again["code"], again["params"]) == (made["code"], made["params"])
    built = "_build/cpu/book/"
    assert tiny_book.files("notebooks", "locks", "receipts", "cache") == {
        "_toc.yml", "_build/shelves.lock", f"{built}chapters/01-first.ipynb",
        f"{built}results/01-first/record.json", f"{built}results/01-first/seen.json"}


def test_what_a_killed_run_left_is_swept_and_that_of_others_is_not(tiny_book):
    tiny_book.add("01-first", "print(1)")
    running = tiny_book.root / "_build" / "smoke" / "running"
    for name in ("01-first.left", "02-second.works"):
        (running / name).mkdir(parents=True)
    run(tiny_book)
    assert [path.name for path in running.iterdir()] == ["02-second.works"]


def test_a_failed_run_changes_no_page_and_says_why(tiny_book):
    shelf = shelves.built("smoke")
    shelf.pages.mkdir(parents=True)
    shelf.page("01-first").write_text("the former page")
    (shelf.results / "01-first").mkdir(parents=True)
    (shelf.results / "01-first" / "t.csv").write_text("former")
    write = "import os\nopen(os.environ['INTRIGUING_RESULTS'] + '/t.csv', 'w').write('new')"
    for code, wrong in (
            ("x = 1\nassert n_images == 4, f'{n_images} is not 4'",
             "cell 4 (`x = 1`) raised AssertionError: 3 is not 4"),
            ("import os\nos.kill(os.getpid(), 9)",
             "the kernel died in code cell 4 of 4 of SIGKILL, which the system sends where memory"),
            ("import os\nos._exit(3)", "died in code cell 4 of 4 with exit status 3"),
            ("raise SystemExit", "ended with SystemExit")):
        tiny_book.add("01-first", write, code)
        with pytest.raises(runner.RunError) as error:
            run(tiny_book)
        assert wrong in str(error.value) and "01-first failed" in str(error.value)
        assert "\x1b" not in str(error.value)
        assert shelf.page("01-first").read_text() == "the former page"
        assert (shelf.results / "01-first" / "t.csv").read_text() == "former"
        kept = tiny_book.root / "_build" / "smoke" / "failed" / "01-first.ipynb"
        assert kept.is_file() and str(kept) in str(error.value)
        assert not list((tiny_book.root / "_build" / "smoke" / "running").iterdir())


def test_page_and_results_take_their_places_together(tiny_book, tmp_path, monkeypatch):
    shelf = shelves.built("cpu")
    for number in (1, 2):
        results = tmp_path / f"results {number}"
        results.mkdir()
        (results / f"{number}.csv").touch()
        placing.place(notebook((f"{number}", 1, [])), results, shelf, "01-first")
    assert [file.name for file in shelf.results.rglob("*.csv")] == ["2.csv"]
    before = tiny_book.files()

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(nbformat, "writes", full)
    with pytest.raises(OSError, match="no space left"):
        placing.place(notebook(("3", 1, [])), tmp_path / "results 1", shelf, "01-first")
    assert tiny_book.files() == before
    assert '"2"' in shelf.page("01-first").read_text(encoding="utf-8")


def notebook(*cells):
    """Return a notebook of code cells given as (source, execution count, outputs)."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        source, execution_count=count, outputs=outputs) for source, count, outputs in cells])


def test_every_cell_must_have_run_in_order():
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])
    runner.verify(notebook(("a", 1, []), ("", None, []), ("b", 2, [])))
    for cells, wrong in (
            ([("a", 1, []), ("b", None, [])], "cell 2"), ([("a", 2, []), ("b", 1, [])], "cell 1"),
            ([("a", 1, []), ("b", 1, [])], "cell 2"), ([("a", 1, [error])], "with ValueError")):
        with pytest.raises(runner.RunError, match=wrong):
            runner.verify(notebook(*cells))


def test_progress_lives_on_a_terminal_and_logs_elsewhere():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, live in ((Terminal(), True), (io.StringIO(), False)):
        with Progress("01-first", 4, stream) as progress:
            progress.advance()
            progress.say("a line")
        told = stream.getvalue()
        assert ("01-first: cell 1 of 4, 0 s" in told) == ("\r" in told) == live
        assert "a line\n" in told
        assert told.endswith(CLEAR if live else "a line\n")  # nothing of it stays behind
    assert [clock(s) for s in (0.4, 59.6, 187, 3723)] == ["0 s", "1:00", "3:07", "1:02:03"]


SLEEPER = """\
import os, pathlib, subprocess, sys, time
folder = pathlib.Path(os.environ["INTRIGUING_ROOT"])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"],
                         stderr=subprocess.DEVNULL)
(folder / "pids.tmp").write_text(f"{os.getpid()} {child.pid}")
(folder / "pids.tmp").rename(folder / "pids")
time.sleep(120)
"""


def alive(pid):
    """Say whether a process runs; one that waits to be collected by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds):
    """Wait until `condition()` holds; return whether it came to."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("number", [
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_stopped_run_leaves_no_kernel_and_no_page(tiny_book, number):
    tiny_book.add("01-first", SLEEPER)
    process = subprocess.Popen(
        [sys.executable, "-m", "intriguing", "run", "01-first"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": LIB},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))  # nohup ignores it
    pids = tiny_book.root / "pids"
    try:
        assert wait_for(pids.exists, 180), "the chapter did not start"
        kernel, child = map(int, pids.read_text().split())
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    # killed outright, the kernel notices that its parent is gone and ends by itself
    assert wait_for(lambda: not alive(kernel), 30)
    if number == signal.SIGKILL:
        os.kill(child, signal.SIGKILL)
    else:
        assert not alive(child)
        assert process.returncode == 130
        assert told.splitlines()[-1].startswith("intriguing: interrupted")
        assert "Traceback" not in told
        assert tiny_book.files("notebooks", "locks", "receipts", "cache") == {"_toc.yml", "pids"}
    assert not shelves.built("smoke").page("01-first").exists()
