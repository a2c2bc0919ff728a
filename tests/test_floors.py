"""The floors of the house: a module imports from its own floor and those below."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint(library: Path) -> subprocess.CompletedProcess[str]:
    """Hold a library to the contract of pyproject.toml, in a process of its own."""
    program = ("import sys; sys.path.insert(0, sys.argv[1])\n"
               "from importlinter.cli import lint_imports\n"
               "sys.exit(lint_imports(sys.argv[2], no_cache=True))")  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", program, str(library), str(ROOT / "pyproject.toml")],
        cwd=library, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def library(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lib" / "intriguing", tmp_path / "intriguing", ignore=ignored)
    return tmp_path


def test_the_floors_hold():
    done = lint(ROOT / "lib")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("file", "line", "told"), [
    ("attacks/losses.py", "from intriguing import zoo", "attacks is not allowed to import"),
    ("another.py", "", "another"),  # a room without a floor
])
def test_a_step_upwards_and_a_room_without_a_floor_are_seen(library, file, line, told):
    path = library / "intriguing" / file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{text}\n{line}\n", encoding="utf-8")
    done = lint(library)
    assert done.returncode == 1 and told in done.stdout, done.stdout + done.stderr
