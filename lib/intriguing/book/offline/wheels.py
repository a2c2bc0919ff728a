"""Wheels on this disk: those that a lock lists are kept, fetched by pip or built, others removed.

A file with one of the checksums that the lock has for its name is whole, and fits the target.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from intriguing.book.offline.lock import Package, Say, named
from intriguing.book.offline.target import Target
from intriguing.errors import UserError
from intriguing.store.state import sha256_file

_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Wheel:
    """A wheel on this disk."""

    path: Path
    name: str
    version: Version
    sha256: str


def find(package: Package, folder: Path) -> Wheel | None:
    """Return the right wheel in `folder` after reading every byte of it, or None."""
    if package.source:  # nobody knows the sum of what is built here, but a zip has sums inside
        right = [path for path in sorted(folder.glob("*-none-any.whl"))
                 if named(path) == (package.name, package.version) and _whole(path)]
    else:
        right = [folder / name for name, digest in package.files.items()
                 if (folder / name).is_file() and sha256_file(folder / name) == digest]
    return Wheel(right[0], package.name, package.version, sha256_file(right[0])) if right else None


def _whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError):
        return False


def collect(folder: Path, packages: Collection[Package], target: Target, say: Say) -> list[Wheel]:
    """Bring the wheels of all packages into `folder`, taking those there, and remove others.

    A wheel appears there whole or not at all.

    Raises
    ------
    UserError : no pip, no network, or it got something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_PARTIAL}*"):  # by a call that was killed
        shutil.rmtree(left)
    found = {one.name: find(one, folder) for one in packages}
    lacking = [one for one in packages if found[one.name] is None]
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PARTIAL) as partial:
        _fetch(lacking, Path(partial), target, say)
        for one in lacking:
            wheel = find(one, Path(partial))
            if wheel is None:
                raise UserError(f"{one.name} {one.version}, as pip got it, is damaged or not for "
                                f"Python {target.python} on {target.platform}")
            path = wheel.path.replace(folder / wheel.path.name)
            found[one.name] = replace(wheel, path=path)
    for path in {*folder.glob("*.whl")} - {wheel.path for wheel in found.values()}:
        path.unlink()
    return list(found.values())


def _fetch(packages: Collection[Package], partial: Path, target: Target, say: Say) -> None:
    """Download or build what is lacking into `partial`."""
    binary = [one for one in packages if not one.source]
    source = [one for one in packages if one.source]
    if binary:
        # pip takes no wheel for an older glibc on its own: it compares platforms letter by letter
        fitting = {tag.platform for one in binary for name in one.files
                   for tag in parse_wheel_filename(name)[3]} - {"any"}
        _pip(["download", "--no-deps", "--only-binary=:all:", "--implementation=cp",
              f"--python-version={target.newest}", "-d", str(partial),
              *(f"--platform={tag}" for tag in sorted(fitting))], binary, partial, target, say)
    if source:
        _pip(["wheel", "--no-deps", "-w", str(partial)], source, partial, target, say)


def _pip(
    arguments: list[str], packages: Collection[Package], partial: Path, target: Target, say: Say
) -> None:
    """Let this environment's pip get packages, and no files but those known; tell what it does."""
    wanted = partial / "wanted.txt"
    wanted.write_text("".join(
        " ".join([f"{one.name}=={one.version}", *(f"--hash=sha256:{digest}" for digest in
                                                  one.files.values() or [one.source])]) + "\n"
        for one in packages), encoding="utf-8")
    command = [sys.executable, "-m", "pip", *arguments, "-r", str(wanted), "--progress-bar=off",
               "--no-input", "--disable-pip-version-check"]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL) as process:
        try:
            for line in process.stdout:
                lines.append(line.strip())
                if re.match(r"Downloading \S+\.whl \(.*\)|Building wheel", lines[-1]):
                    say(f"  {lines[-1]}")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        wrong = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise UserError(
            f"pip got no wheel for Python {target.python} on {target.platform}: "
            f"{(wrong or lines or ['it said nothing'])[-1]}. Is there a network?")
