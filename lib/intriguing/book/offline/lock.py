"""Which packages another Python and platform need, and which of their files: asked of uv.

pip evaluates the conditions in a package's metadata (`; python_version < "3.12"`) for the Python
that it runs on, not for the one that `--python-version` names: it cannot find the set.  uv can, but
downloads no wheels.  So uv writes a lock, which lists every file that fits the target with its
checksum, and pip fetches these (wheels.py): from the same indexes, for uv is told pip's settings.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from intriguing import textfiles
from intriguing.book.offline.target import Target
from intriguing.errors import UserError

SOURCE_ONLY = ("connection-pool",)  # published without wheels, pure Python: built here
LEFT_OUT = ("test", "course", "offline")  # extras that running the book does not need
# pip's settings and their names among uv's options and variables; uv's own indexes do not count,
# because pip would not find there what uv chose
_OPTIONS = {"index-url": "--default-index", "extra-index-url": "--index", "constraint": "-c",
            "find-links": "--find-links", "trusted-host": "--allow-insecure-host"}
_VARIABLES = {"cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY", "timeout": "UV_HTTP_TIMEOUT",
              "default-timeout": "UV_HTTP_TIMEOUT"}
_KEPT = ("UV_CACHE_DIR", "UV_NO_CACHE", "UV_OFFLINE", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES",
         "UV_SYSTEM_CERTS")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Package:
    """A package that is needed: its version, and {name: sha256} of the wheels that fit.

    source : the sha256 of its sources, where there is no wheel and one is built here.
    """

    name: str
    version: Version
    files: Mapping[str, str]
    source: str = ""


def named(path: Path) -> tuple[str, Version] | None:
    """Return package and version by the name of a wheel, or None where it is no such name."""
    try:
        return parse_wheel_filename(path.name)[:2]
    except InvalidWheelFilename:
        return None


def roots(root: Path, target: Target) -> list[str]:
    """Return what the package asks for by pyproject.toml: to be built, run and rendered.

    uv would read the file itself, but not its `build-system`, and it accepts any Python.

    Raises
    ------
    UserError : the target's Python is older than the package allows.
    """
    try:
        content = tomllib.loads(textfiles.read(root / "pyproject.toml"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"pyproject.toml is not valid TOML: {error}") from error
    project = content["project"]
    if not SpecifierSet(project["requires-python"]).contains(target.newest):
        raise UserError(f"the book needs Python {project['requires-python']}, not {target.python}")
    extras = project.get("optional-dependencies", {})
    lines = [*content["build-system"]["requires"], *project["dependencies"],
             *(line for name in extras if name not in LEFT_OUT for line in extras[name])]
    return [line for line in lines if canonicalize_name(Requirement(line).name) != project["name"]]


def pins(file: Path) -> dict[str, str]:
    """Return {name: version} of a file of exact versions."""
    lines = (line.split("#")[0].strip() for line in textfiles.read(file).splitlines())
    found = map(Requirement, filter(None, lines))
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}


def resolve(
    folder: Path, roots: Iterable[str], held: Mapping[str, str], target: Target,
    without: Collection[str] = (),
) -> list[Package]:
    """Return all that `roots` need on the target, by name; nothing is written.

    Versions are those of `held`; other packages keep the version that a former call left in
    `folder`, if it still fits.  `without` is left out, and what only it needs.

    Raises
    ------
    UserError : no uv or no pip, no network, or no set of wheels with these versions.
    """
    for module, way in (("uv", "pip install uv"), ("pip", "ensurepip")):
        if util.find_spec(module) is None:
            raise UserError(f"collecting wheels needs {module}: {sys.executable} -m {way}")
    former = dict(filter(None, map(named, folder.glob("*.whl"))))
    with tempfile.TemporaryDirectory() as scratch:
        _lines(Path(scratch, "roots.in"), roots)
        _lines(Path(scratch, "without.txt"), without)
        for fixed in (former | held, held):
            wrong = _lock(Path(scratch), fixed, target)
            if not wrong.startswith("No solution"):
                break
        if wrong:
            raise UserError(
                f"uv found no set of wheels for Python {target.python} on {target.platform}: "
                f"{wrong}. Is there a network, is the Python too new for the packages (take pins "
                "that it lacks out of requirements.txt), or the glibc of the platform too old?")
        content = tomllib.loads(Path(scratch, "pylock.toml").read_text(encoding="utf-8"))
    return sorted(map(_package, content.get("packages", [])), key=lambda one: one.name)


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _lock(scratch: Path, fixed: Mapping[str, object], target: Target) -> str:
    """Write pylock.toml for the roots in `scratch`; return "", or what is wrong by uv's word.

    Versions are constraints.  uv also takes wishes (a lock that is there already), but loosely: for
    torch 2.13.0 it takes a newer one where an index has 2.13.0+cu130 only, and of several indexes
    it looks into one that has the version, even where no wheel in it fits.
    """
    _lines(scratch / "held.txt", (f"{name}=={version}" for name, version in fixed.items()))
    of_pip, environment = _as_pip()
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", str(scratch / "roots.in"), "-c",
         str(scratch / "held.txt"), "--excludes", str(scratch / "without.txt"), *of_pip,
         "--only-binary=:all:",
         *(f"--no-binary={name}" for name in SOURCE_ONLY),
         # as pip does: without it, the first index that has a package hides the others
         "--index-strategy=unsafe-best-match", f"--python-platform={target.triple}",
         f"--python-version={target.newest}", f"--python={sys.executable}",
         # the target's Python need not be here; uv would fetch one to build with
         "--no-python-downloads", "--quiet", "--no-config", "--format=pylock.toml",
         "-o", str(scratch / "pylock.toml")],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env=environment | target.variables | {"NO_COLOR": "1"})
    if not done.returncode:
        return ""
    told = done.stderr.split("\n\nhint:")[0].splitlines()
    told = [re.sub(r"^\W*(error:|cause:)?\s*", "", line) for line in told]
    first, *more = filter(None, told or ["it said nothing"])
    return ": ".join(filter(None, [first.rstrip(":"), " ".join(more).rstrip(".")]))


def _as_pip() -> tuple[list[str], dict[str, str]]:
    """Return options and variables with which uv looks where pip looks."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True,
                          text=True)
    found = re.findall(r"^(global|download|:env:)\.([\w-]+)=(.+)$", done.stdout, re.MULTILINE)
    order = ("global", "download", ":env:")  # the later ones overrule
    settings = {name: ast.literal_eval(value)
                for _, name, value in sorted(found, key=lambda one: order.index(one[0]))}
    options = [word for name, option in _OPTIONS.items()
               for value in settings.get(name, "").split() for word in (option, value)]
    if settings.get("no-index", "").lower() in ("1", "true", "t", "yes", "y", "on"):
        options.append("--no-index")
    variables = {name: value for name, value in os.environ.items()
                 if not name.startswith("UV_") or name in _KEPT}
    return options, variables | {variable: settings[name] for name, variable in _VARIABLES.items()
                                 if name in settings}


def _package(entry: Mapping) -> Package:
    """Return a package of a lock."""
    files = {unquote(urlsplit(one.get("url") or one["path"]).path).rpartition("/")[2]:
             one["hashes"]["sha256"] for one in entry.get("wheels", ())}
    source = entry["sdist"]["hashes"]["sha256"] if not files else ""
    return Package(entry["name"], Version(entry["version"]), files, source)
