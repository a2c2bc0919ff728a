"""Attesting a page: the same numbers by the library of its commit and by that of today."""

import json
import shutil
import subprocess

import pytest

from intriguing import chapters, paths
from intriguing.book import pages
from intriguing.book.run import attest
from intriguing.chapters import fingerprint, shelves
from intriguing.errors import UserError

PARAMETERS = 'profile = "smoke"  # str\nn = 3  # int\nseeds = [0]  # list[int]\n'
CODE = """\
from intriguing import records
from intriguing.helper import double
run = records.start("01-one", profile=profile, parameters={"n": n}, seeds=seeds, device="cpu")
run.add("doubled", double(n), unit="things")
run.add("took", 0.5, unit="seconds")
run.finish()
"""


def git(root, *words):
    person = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    return subprocess.run(["git", "-C", str(root), *person, *words], check=True,
                          capture_output=True, text=True).stdout.strip()  # fmt: skip


@pytest.fixture
def book(tiny_book):
    """A tiny book under version control, with a library of its own, a chapter published at cpu."""
    source = tiny_book.add("01-one", CODE, parameters=PARAMETERS)
    root = tiny_book.root
    house = paths.package()
    shutil.copytree(
        house, root / "lib" / "intriguing", ignore=shutil.ignore_patterns("__pycache__"))
    helper(root, "def double(n):\n    return 2 * n\n")
    (root / "data").mkdir()
    (root / ".gitignore").write_text("_build/\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    nb = shelves.read_notebook(source)
    for count, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), 1):
        cell.execution_count = count
    settings = chapters.resolve(chapters.find("01-one"), "cpu")
    nb.metadata["intriguing"] = {
        "profile": "cpu", "commit": git(root, "rev-parse", "HEAD"),
        "modules": {"intriguing.old": ""},
        "code": fingerprint.code_hash(nb), "params": fingerprint.params_hash(settings.parameters),
        "parameters": settings.parameters, "overrides": {}, "started": "2026-11-22T10:00:00",
    }  # fmt: skip
    shelves.published().pages.mkdir(parents=True)
    shelves.write_notebook(nb, shelves.published().page("01-one"))
    return root


def helper(root, text):
    (root / "lib" / "intriguing" / "helper.py").write_text(text)


def commit(root):
    git(root, "add", "-A")
    git(root, "commit", "-qm", "another")
    return chapters.resolve(chapters.find("01-one"), "cpu")


def made():
    return shelves.load(shelves.published().page("01-one"))["metadata"]["intriguing"]


@pytest.mark.slow
def test_a_rebuilt_library_with_the_same_numbers_makes_the_page_current(book):
    helper(book, "def double(n):\n    return n + n\n")
    said = []
    assert "1 numbers and 0 networks" in attest.attest(commit(book), said.append)
    noted = made()
    assert noted["attested"]["commit"] == git(book, "rev-parse", "HEAD") and len(said) == 2
    assert noted["started"] == "2026-11-22T10:00:00" and "intriguing.old" not in noted["modules"]
    state = pages.status("01-one", shelves.published())
    assert "gave, at smoke, the same 1 numbers" in pages.annotated(state).cells[1].source
    assert len(git(book, "worktree", "list").splitlines()) == 1  # nothing is left


def test_another_number_or_a_failure_leaves_the_page_as_it_was(book, monkeypatch):
    before, settings = made(), chapters.resolve(chapters.find("01-one"), "cpu")
    values = iter([6.0, 6.0 + 1e-9])
    monkeypatch.setattr(attest, "_smoke", lambda *_: head(next(values)))
    with pytest.raises(attest.DifferentError, match=r"1 of 1 numbers differ .x: \[6.0, "):
        attest.attest(settings, lambda line: None)

    def broken(name, root, commit):
        assert (root / "notebooks" / f"{name}.ipynb").is_file()
        raise attest.DifferentError("it does not run")

    monkeypatch.setattr(attest, "_smoke", broken)
    with pytest.raises(attest.DifferentError, match="does not run"):
        attest.attest(settings, lambda line: None)
    assert made() == before and len(git(book, "worktree", "list").splitlines()) == 1


def head(value=1.0, sha="a", seconds=3.0, low=None):
    """The head of a record with a number and a clock."""
    rows = [{"name": "x", "value": value, "low": low, "high": None, "n": 3, "unit": "things"},
            {"name": "t", "value": seconds, "low": None, "high": None, "n": 1,
             "unit": "seconds"}]  # fmt: skip
    return {"records": rows, "checkpoints": {"net (key)": sha}}


def test_what_cannot_be_attested_is_told(book):
    page = shelves.published().page("01-one")
    nb = json.loads(page.read_text(encoding="utf-8"))
    nb["metadata"]["intriguing"]["commit"] = "0" * 40
    page.write_text(json.dumps(nb), encoding="utf-8")
    settings = chapters.resolve(chapters.find("01-one"), "cpu")
    with pytest.raises(UserError, match="git has no commit 000000000000 here"):
        attest.attest(settings, lambda line: None)
    nb["metadata"]["intriguing"]["code"] = "another"
    page.write_text(json.dumps(nb), encoding="utf-8")
    with pytest.raises(UserError, match="cannot be attested: code changed; publish it"):
        attest.attest(settings, lambda line: None)


def test_networks_and_numbers_are_compared_but_clocks_are_not():
    assert attest.compare(head(), head(seconds=9.0)) == {"numbers": 1, "networks": 1}
    for other in (head(value=1 + 1e-12), head(sha="b"), head(low=0.5)):
        with pytest.raises(attest.DifferentError, match="1 of 1"):
            attest.compare(head(), other)


def test_the_architectures_are_known_without_the_images_of_the_profile(monkeypatch, tmp_path):
    monkeypatch.setenv("INTRIGUING_DATA", str(tmp_path))
    monkeypatch.setenv("INTRIGUING_OFFLINE", "1")
    settings = chapters.resolve(chapters.find("03"), "cpu")  # of halves of a set
    assert {"intriguing.models.autoencoder", "intriguing.models.mlp"} <= set(
        attest._families(settings))
