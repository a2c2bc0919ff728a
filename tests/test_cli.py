"""The command line: misuse runs nothing, publishing costs no more than needed, output is usable."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_site import change, executed

import intriguing
from intriguing import cli, zoo
from intriguing.book.run import kernel, publish, runner
from intriguing.chapters import shelves
from intriguing.cli import main
from intriguing.commands import help, parser
from intriguing.commands.common import check_device, tell
from intriguing.errors import UserError
from intriguing.methods import method
from intriguing.records import provenance

LIB = str(Path(intriguing.__file__).resolve().parents[1])


@pytest.fixture
def book(tiny_book, monkeypatch):
    """A book of two chapters in which nothing runs: what would have run is in `book.ran`."""
    tiny_book.add("01-first", "x = n_images", cpu={"n_images": 50})
    tiny_book.add("02-second", "x = n_images", title="The second")
    tiny_book.ran = []

    def run(settings, shelf, *, stream, device, **_):
        tiny_book.ran.append((settings.chapter.name, settings.parameters["n_images"], device))
        return executed(settings.chapter.name, settings.profile, shelf)

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(provenance, "commit", lambda: ("c0ffee", False))
    return tiny_book


MISUSE = [
    (["pubish"], "did you mean publish?"),
    (["zoo", "lst"], "did you mean list?"),
    (["data", "get"], "valid names: fetch, list, verify"),
    (["run"], "CHAPTER"),
    (["run", "01-frist"], "did you mean 01-first?"),
    (["run", "01-first", "02-secnd"], "did you mean 02-second?"),
    (["run", "01-first", "--profile", "cup"], "did you mean cpu?"),
    (["run", "01-first", "--profil", "cpu"], "did you mean --profile?"),
    (["run", "01-first", "-p", "n_image", "3"], "did you mean n_images?"),
    (["run", "01-first", "-p", "n_images", "abc"], "takes int (default 3), not 'abc'"),
    (["run", "01-first", "-p", "n_images=3"], "expected 2 arguments"),
    (["run", "01-first", "-p", "profile", "cpu"], "--profile"),
    (["run", "01-first", "--device", "gpu"], "is not a device"),
    (["run", "all", "--device", "cuda:99"], "cuda:99"),
    (["build", "--profile", "cpu", "-j", "0"], "1 or more"),
    (["build", "--profile", "cpu", "--pages-only", "--dry-run"], "choose one"),
    (["build", "extra"], "unexpected argument 'extra'"),
    (["build", "--profile", "smoek"], "did you mean smoke?"),
    (["publish", "01-first"], "--profile"),
    (["publish", "01-first", "--profile", "smoke"], "--force-smoke"),
    (["publish", "01-frst", "--profile", "cpu"], "did you mean 01-first?"),
    (["zoo"], "ACTION"),
    (["zoo", "train", "FC1O(1)", "--dataset", "mnist-5k"], "did you mean FC10(1)"),
    (["zoo", "train", "madry", "CMM"], "valid names: AllCNN, CNN"),
    (["zoo", "train", "--chapter", "1", "--seeds", "5"], "--seeds goes with names of networks"),
    (["zoo", "train", "--chapter", "1", "--dataset", "mnist"], "--dataset goes with names"),
    (["zoo", "train", "--chapter", "1", "--n", "0"], "--n goes with names"),
    (["zoo", "train", "--chapter", "1", "--decay", "literal"], "--decay goes with names"),
    (["zoo", "train", "CNN", "--profile", "cpu"], "--profile goes with --chapter"),
    (["zoo", "train", "CNN", "--key", "ab"], "--key goes with --chapter"),
    (["build", "--profile", ""], "not an empty text"),
    (["run", "01-first", "--profile", " "], "not an empty text"),
    (["build", "--profile", "cpu", "--pages-only", "-j", "2"], "--jobs is for jobs"),
    (["build", "--device", "cpu"], "--device goes with --profile"),
    (["publish", "1", "--profile", "cpu", "--attest", "--force"], "--force is for a run"),
    (["list", "1", "--methods"], "leave the chapter out"),
    (["zoo", "remove", "c0ffee"], "c0ffee"),
    (["list", "01-frist"], "did you mean 01-first?"),
    (["wheelhouse"], "DIR"),
    (["wheelhouse", "there", "--profile", "cup"], "did you mean cpu?"),
    (["wheelhouse", "there", "--python", "2.7"], "write it as 3.12"),
    (["wheelhouse", "there", "--platform", "linux"], "manylinux_2_28_x86_64"),
]


@pytest.mark.parametrize("arguments, hint", MISUSE, ids=lambda value: " ".join(value)[:40]
                         if isinstance(value, list) else "")
def test_misuse_is_one_sentence_exit_2_and_nothing_run(book, capsys, arguments, hint):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert hint in err and len(err.splitlines()) == 1 and not out, err
    assert err.startswith("intriguing: ")
    assert not book.ran and not (book.root / "_build").exists()


@pytest.mark.parametrize("arguments", [["run", "1"], ["build", "--profile", "smoke"]])
def test_a_checkout_that_takes_no_files_is_one_sentence(tiny_book, capsys, monkeypatch, arguments):
    """A file where folders are to be made: unlike permissions, it stops root, too."""
    monkeypatch.setattr("intriguing.commands.book._pass_gates", lambda: None)
    tiny_book.add("01-first", "x = n_images")
    (tiny_book.root / "_build").touch()
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert re.search(r"_build/\S*: not a directory; the book writes below _build, so work", said)
    assert "Traceback" not in said and said.count("\n") == 1


def test_other_refusals_of_the_system_name_the_file():
    for error, said in ((OSError(errno.ENOSPC, "No space left on device", "/x/y"),
                         "/x/y: no space left on device; make room and start again"),
                        (OSError(errno.EIO, "Input/output error", "/x"), "/x: input/output error"),
                        (OSError("the server broke off"), "the server broke off")):
        assert tell(error) == said


def test_misspelt_data_set(book, capsys):
    (book.root / "data").mkdir()
    sources = Path(LIB).parent / "data" / "sources.toml"
    (book.root / "data" / "sources.toml").write_text(sources.read_text(encoding="utf-8"))
    assert main(["data", "fetch", "mnits"]) == 2
    assert "did you mean mnist" in capsys.readouterr().err
    assert main(["data", "list"]) == 0
    assert "mnist-5k" in capsys.readouterr().out
    assert main(["zoo", "train", "CNN", "--dataset", "mnits"]) == 2


def test_the_device_of_a_cluster_need_not_be_on_its_head():
    with pytest.raises(UserError, match="cuda:99"):
        check_device("cuda:99")
    check_device("cuda:99", here=False)
    with pytest.raises(UserError, match="is not a device"):
        check_device("gpu", here=False)


def test_a_device_that_is_not_there_is_refused_before_anything_runs(book, capsys, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert main(["run", "1", "--device", "mps"]) == 2
    assert "'mps' asked for" in capsys.readouterr().err and not book.ran


def test_one_wrong_chapter_stops_all_before_any_runs(book):
    assert main(["run", "01-first", "-p", "n_images", "-2", "-p", "eps", "-1e-3"]) == 0
    assert main(["run", "01-first", "02-second", "-p", "n_images", "4"]) == 0
    assert book.ran.pop(0) == ("01-first", -2, None)
    assert book.ran == [("01-first", 4, None), ("02-second", 4, None)]
    book.ran.clear()
    assert main(["run", "all", "--profile", "cpu", "--device", "cpu"]) == 0
    assert book.ran == [("01-first", 50, "cpu"), ("02-second", 3, "cpu")]
    book.ran.clear()
    book.scales["cpu"]["02-second"] = {"n_imagse": 3}
    book.write_profiles()
    assert main(["run", "all", "--profile", "cpu"]) == 2
    assert not book.ran


def test_a_failed_chapter_is_exit_1_and_the_others_run(book, capsys, monkeypatch):
    def run(settings, *_, **__):
        book.ran.append(settings.chapter.name)
        raise runner.RunError(f"{settings.chapter.name} failed: why")

    monkeypatch.setattr(runner, "run", run)
    assert main(["run", "all"]) == 1
    assert book.ran == ["01-first", "02-second"]
    err = capsys.readouterr().err.splitlines()
    assert err == ["intriguing: 01-first failed: why", "intriguing: 02-second failed: why",
                   "intriguing: 2 of 2 chapters failed: 01-first, 02-second"]


def test_list_shows_chapters_and_parameters(book, capsys):
    executed("01-first", "cpu", shelves.published())
    executed("01-first", "smoke", shelves.built("smoke"), params="changed")
    assert main(["list"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "cpu 2026-01-02" in out[1] and "smoke 2026-01-02 (stale: parameters changed)" in out[1]
    assert out[2].split()[:3] == ["02-second", "no", "-"] and "The second" in out[2]
    assert out[-1] == "profiles: smoke, cpu"
    assert main(["list", "1"]) == 0
    out = capsys.readouterr().out
    assert "int or None" in out and "50" in out and "L_inf budget in pixel units" in out


def test_publish_refuses_a_dirty_tree_unless_told(book, capsys, monkeypatch):
    for state, what in ((("c0ffee", True), "uncommitted changes"), ((None, None), "not a git")):
        monkeypatch.setattr(provenance, "commit", lambda state=state: state)
        assert main(["publish", "1", "--profile", "cpu"]) == 2
        err = capsys.readouterr().err
        assert what in err and "--dirty" in err
    assert not book.ran
    assert main(["publish", "1", "--profile", "cpu", "--dirty"]) == 0
    assert main(["publish", "2", "--profile", "smoke", "--dirty", "--force-smoke"]) == 0
    assert [name for name, *_ in book.ran] == ["01-first", "02-second"]


def test_publish_costs_no_more_than_needed(book, capsys):
    page = shelves.published().page("01-first")

    def done(*more):
        book.ran.clear()
        assert main(["publish", "01-first", "--profile", "cpu", *more]) == 0
        return capsys.readouterr().out, bool(book.ran)

    assert done() == ("01-first: executed\n", True)
    assert done() == ("01-first: up to date, nothing to do\n", False)
    change(book, "One claim.", "A better claim.")
    text, ran = done()
    assert "prose carried" in text and not ran
    assert "A better claim." in page.read_text(encoding="utf-8")
    change(book, "x = n_images", "x = n_images + 1")
    assert done()[1]
    assert done("--force")[1]
    change(book, "x = n_images + 1", "x = n_images + 2")
    # a run that holds in everything and came from a clean commit is taken as it is
    executed("01-first", "cpu", shelves.built("cpu"), dirty=True)
    assert done()[1]
    change(book, "x = n_images + 2", "x = n_images + 3")
    executed("01-first", "cpu", shelves.built("cpu"))
    text, ran = done()
    assert "taken from the run of 2026-01-02" in text and not ran
    assert "x = n_images + 3" in page.read_text(encoding="utf-8")
    table = shelves.published().results / "01-first" / "t.csv"
    assert table.is_file()
    # what stands in the book is not what the run wrote: its page and its own results come back
    table.write_text("a,b\n1,3\n")
    text, ran = done()
    assert "taken from the run" in text and not ran and table.read_text() == "a,b\n1,2\n"
    # neither is what stands in _build: it is of no use
    table.write_text("a,b\n1,3\n")
    (shelves.built("cpu").results / "01-first" / "t.csv").write_text("a,b\n1,3\n")
    assert done()[1]


def test_a_build_without_a_profile_executes_no_chapter(book, monkeypatch):
    from intriguing.book.gates import checks
    from intriguing.book.pages import site

    built = []
    monkeypatch.setattr(checks, "run_checks", lambda root, strict: [])
    monkeypatch.setattr(site, "build", lambda profile, say: built.append(profile) or "index.html")
    assert main(["build"]) == 0
    assert built == [None] and not book.ran
    for option in (["-j", "2"], ["--dry-run"], ["--cluster", "slurm"]):
        assert main(["build", *option]) == 2, "these speak of running"
    assert main(["build", "--profile", "cpu", "--cluster", "slrum"]) == 2
    assert built == [None] and not book.ran


def test_check_says_what_is_wrong(book, capsys, monkeypatch):
    from intriguing.book.gates import checks

    found = [checks.Problem(level, "here", level) for level in ("error", "warning", "note")]
    monkeypatch.setattr(checks, "run_checks", lambda root, strict: found[0 if strict else 1:])
    assert main(["check", "--strict"]) == 1
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "warning: here: warning" in out and "note: here: note" in out


def command(*arguments, code="from intriguing.cli import main; main(sys.argv[1:])"):
    """Run the command in a fresh process; return (status, stdout, stderr)."""
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}", *arguments], timeout=60,
                          capture_output=True, text=True, env={**os.environ, "PYTHONPATH": LIB})
    return done.returncode, done.stdout, done.stderr


def test_help_and_misuse_import_nothing_heavy(book):
    probe = ("from intriguing.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
             "heavy = ('numpy', 'scipy', 'torch', 'papermill', 'pandas', 'jupyter_book',"
             " 'nbclient', 'matplotlib')\n"
             "print('\\n', [m for m in heavy if m in sys.modules])")
    for arguments in (["--help"], ["run", "--help"], ["run", "01-frist"], ["nonsense"],
                      ["list"], ["list", "01-first"], ["run", "01-first", "-p", "eps", "x"]):
        assert command(*arguments, code=probe)[1].splitlines()[-1] == " []", arguments


def test_the_help_of_the_whole_needs_no_parser_and_names_every_command():
    probe = ("from intriguing.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
             "print([m for m in ('argparse', 'filelock', 'yaml') if m in sys.modules])")
    lines = command(code=probe)[1].splitlines()
    assert lines[-1] == "[]"
    assert set(parser._ADD) == set(help.SUMMARIES)
    for name, summary in help.SUMMARIES.items():
        assert any(line.split() == [name, *summary.split()] for line in lines), name
    for name, actions in help.ACTIONS.items():
        made = parser._parser([name])[1]
        assert set(made) == {name, *(f"{name} {action}" for action in actions)}


def test_every_command_has_help(capsys):
    for words in ([], ["list"], ["run"], ["build"], ["publish"], ["check"], ["zoo"], ["data"],
                  ["wheelhouse"], ["zoo", "train"], ["zoo", "remove"], ["data", "fetch"]):
        with pytest.raises(SystemExit) as stop:
            main([*words, "--help"])
        assert stop.value.code == 0
        assert "usage: intriguing" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


def test_the_driver_imports_without_jupyter_book_and_torch(book):
    """What a bare GPU node has: papermill and ipykernel, none of the tools that render pages."""
    probe = ("import json\nfor name in ('jupyter_book', 'sphinx', 'pandas', 'matplotlib'):\n"
             "    sys.modules[name] = None\n"
             "from intriguing.book.run import publish, runner\n"
             "from intriguing.chapters import shelves\n"
             "print(json.dumps('torch' in sys.modules))")
    status, out, err = command(code=probe)
    assert (status, err) == (0, "") and json.loads(out) is False


def test_refuse_takes_only_a_clean_commit(monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: ("c0ffee", False))
    assert publish.refuse("cpu", smoke=False, dirty=False) is None


def test_the_methods_are_listed_with_paper_and_chapters(capsys):
    assert main(["list", "--methods"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert list(rows) == method.names()
    assert "Madry et al. 2018" in rows["madry"] and " 08 " in rows["madry"]
    assert "Szegedy et al. 2014" in rows["szegedy_pools"] and " 05 " in rows["szegedy_pools"]


def test_every_method_can_be_trained_by_its_name(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path))
    asked = []
    monkeypatch.setattr(zoo, "ensure", lambda specs, **_: asked.extend(specs))
    for name in method.names():
        assert main(["zoo", "train", name, "--n", "60"]) == 0
    assert {spec.options.method for spec in asked} == {method.find(name) for name in method.names()}
    assert main(["zoo", "train", "plain", "CNN", "--decay", "literal"]) == 2
    assert "no option 'decay'" in capsys.readouterr().err
    asked.clear()
    assert main(["zoo", "train", "madry", "VGG", "--seeds", "1", "2"]) == 0
    assert [spec.label for spec in asked] == [
        f"vgg7-mnist pgd eps=0.2 mnist-5k seed {seed}" for seed in (1, 2)]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_ends_the_command_unless_nohup_was_asked_for(ignored):
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        ends = contextlib.nullcontext() if ignored else pytest.raises(KeyboardInterrupt)
        with ends, cli._terminable():
            signal.raise_signal(signal.SIGHUP)
            time.sleep(0.01)
        came = []
        with contextlib.suppress(KeyboardInterrupt), cli._terminable():
            with kernel.uninterrupted():
                signal.raise_signal(signal.SIGHUP)
                came.append("whole")
            came.append("further")
        assert came == ["whole", "further"][:2 if ignored else 1]
    finally:
        signal.signal(signal.SIGHUP, former)
