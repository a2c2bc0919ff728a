"""Wheels for another Python and platform: which are needed, which are here, and pip for the rest.

pip evaluates the conditions in a package's metadata (`; python_version < "3.12"`) for the Python
that it runs on, not for the one that `--python-version` names.  So the set is found here: metadata
are read from the wheels, conditions evaluated for the target, and pip fetches, no dependencies.
"""

import email.parser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from packaging import tags
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from intriguing.book.offline.target import Target
from intriguing.errors import UserError

SOURCE_ONLY = ("connection-pool",)  # published without wheels, pure Python: built here
LEFT_OUT = ("test", "course")  # extras that running the book does not need
ROUNDS = 40  # wheels name wheels that name wheels: about 8 rounds; more is a contradiction
_PARTIAL = ".partial-"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wheel:
    """A wheel on this disk and what it requires."""

    path: Path
    name: str
    version: Version
    tags: frozenset[tags.Tag]
    requires: tuple[Requirement, ...]


def read(path: Path) -> Wheel | None:
    """Return a wheel after reading every byte of it, or None where it is cut short or damaged."""
    try:
        name, version, _, fits = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
            (inner,) = [n for n in archive.namelist()
                        if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)]
            text = archive.read(inner).decode("utf-8")
    except (InvalidWheelFilename, zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError):
        return None
    headers = email.parser.HeaderParser().parsestr(text)
    requires = tuple(map(Requirement, headers.get_all("Requires-Dist", [])))
    return Wheel(path, name, version, fits, requires)


def roots(root: Path, target: Target) -> list[Requirement]:
    """Return what the package asks for by pyproject.toml: to be built, run and rendered.

    Raises
    ------
    UserError : the target's Python is older than the package allows.
    """
    content = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project = content["project"]
    if not SpecifierSet(project["requires-python"]).contains(target.newest):
        raise UserError(f"the book needs Python {project['requires-python']}, not {target.python}")
    extras = project.get("optional-dependencies", {})
    lines = [*content["build-system"]["requires"], *project["dependencies"],
             *(line for name in extras if name not in LEFT_OUT for line in extras[name])]
    asked = [one for one in map(Requirement, lines) if target.asks(one)]
    return [one for one in asked if canonicalize_name(one.name) != project["name"]]


def pins(file: Path) -> dict[str, SpecifierSet]:
    """Return {name: "==version"} of a file of exact versions."""
    lines = (line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    found = map(Requirement, filter(None, lines))
    return {canonicalize_name(one.name): one.specifier for one in found}


def installed() -> dict[str, Wheel]:
    """Return what is installed here: a set that fits together, so its versions are preferred."""
    found = {}
    for one in metadata.distributions():
        requires = tuple(map(Requirement, one.requires or ()))
        name = canonicalize_name(one.metadata["Name"])
        found.setdefault(name, Wheel(Path(), name, Version(one.version), frozenset(), requires))
    return found


def needed(
    roots: Iterable[Requirement], have: Mapping[str, Wheel], held: Mapping[str, SpecifierSet],
    target: Target, without: Collection[str] = (),
) -> dict[str, SpecifierSet]:
    """Return the packages that `roots` lead to through the wheels in `have`, with all that is
    asked of their versions (what `held` says among it).  `without` is not followed."""
    found: dict[str, SpecifierSet] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in without:
            continue
        found[name] = found.get(name, held.get(name, SpecifierSet())) & one.specifier
        for extra in {"", *one.extras}:
            if name in have and (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [below for below in have[name].requires if target.asks(below, extra)]
    return found


def collect(
    folder: Path, roots: Iterable[Requirement], held: Mapping[str, SpecifierSet], target: Target,
    say: Say, without: Collection[str] = (),
) -> list[Wheel]:
    """Bring all needed wheels into `folder`, taking those that are there, and remove others.

    Raises
    ------
    UserError : no pip, no network, or no wheel of a package for this target.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_PARTIAL}*"):  # by a call that was killed
        shutil.rmtree(left)
    stock = [wheel for path in sorted(folder.glob("*.whl")) if (wheel := read(path))]
    stock = [wheel for wheel in stock if wheel.tags & target.tags]
    roots, here, have = list(roots), installed(), {}
    asked = needed(roots, here, held, target, without)  # a first guess, which saves rounds
    for _ in range(ROUNDS):
        lacking = {name: versions for name, versions in asked.items()
                   if name not in have or not _fits(have[name], versions)}
        for name, versions in list(lacking.items()):
            if name in here and _fits(here[name], versions):
                versions = lacking[name] = SpecifierSet(f"=={here[name].version.public}")
            fitting = [wheel for wheel in stock if wheel.name == name and _fits(wheel, versions)]
            if fitting:
                have[name] = max(fitting, key=lambda wheel: wheel.version)
                del lacking[name]
        if lacking:
            have |= {wheel.name: wheel for wheel in _fetch(lacking, folder, target, say)}
        asked = needed(roots, have, held, target, without)
        if all(name in have and _fits(have[name], asked[name]) for name in asked):
            kept = [have[name] for name in sorted(asked)]
            for path in {*folder.glob("*.whl")} - {wheel.path for wheel in kept}:
                path.unlink()
            return kept
    raise UserError(f"no set of wheels was found in {ROUNDS} rounds: packages ask for versions "
                    "that exclude one another")


def _fits(wheel: Wheel, versions: SpecifierSet) -> bool:
    return versions.contains(wheel.version, prereleases=True)


def _fetch(
    lacking: Mapping[str, SpecifierSet], folder: Path, target: Target, say: Say
) -> Iterator[Wheel]:
    """Download what is lacking into `folder`; a wheel appears there whole or not at all."""
    binary = [f"{name}{versions}" for name, versions in lacking.items() if name not in SOURCE_ONLY]
    source = [f"{name}{versions}" for name, versions in lacking.items() if name in SOURCE_ONLY]
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PARTIAL) as partial:
        if binary:
            places = [word for tag in target.platforms for word in ("--platform", tag)]
            _pip(["download", "--no-deps", "--only-binary=:all:", "--implementation=cp",
                  f"--python-version={target.newest}", *places, "-d", partial, *binary],
                 target, say)
        if source:
            _pip(["wheel", "--no-deps", "-w", partial, *source], target, say)
        for path in sorted(Path(partial).glob("*.whl")):
            wheel = read(path)
            if wheel is None or not wheel.tags & target.tags:
                raise UserError(f"{path.name}, as pip got it, is damaged or not for "
                                f"Python {target.python} on {target.platform}")
            os.replace(path, folder / path.name)
            yield Wheel(folder / path.name, wheel.name, wheel.version, wheel.tags, wheel.requires)


def _pip(arguments: list[str], target: Target, say: Say) -> None:
    """Run this environment's pip with the user's own indexes; tell what it downloads."""
    if util.find_spec("pip") is None:
        raise UserError(f"{sys.executable} has no pip: python -m ensurepip")
    command = [sys.executable, "-m", "pip", *arguments, "--progress-bar=off", "--no-input",
               "--disable-pip-version-check"]
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
            f"{(wrong or lines or ['it said nothing'])[-1]}. Is there a network, is the Python too "
            "new for the packages, or the glibc of the platform too old?")
