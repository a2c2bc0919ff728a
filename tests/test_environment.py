"""One list of pins, one repository address, and patterns that are refused."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lib" / "intriguing"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

REFUSED = {
    r"pickle\.\w|import pickle|from pickle|allow_pickle=True": "pickle",
    r"\.cuda\(\)": ".cuda(): take the device as an argument",
    r"import \*": "star imports",
    r"except Exception:\s*\n\s*pass": "an exception swallowed",
    r"weights\s*=\s*[\"']DEFAULT[\"']": "weights that change under us",
    r"torch\.load\((?![^)]*weights_only=True)": "torch.load without weights_only=True",
    r"torch\.manual_seed|np\.random\.seed|(?<!\w)random\.seed": "global seeds",
}


def pins(path: Path) -> dict[str, str]:
    """Return {canonical name: version} of a requirements file of exact pins."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{path.name} pins exactly, not: {text}"
        assert not Version(specifier.version).local, f"a build of one machine: {text}"
        assert requirement.url is None and "/" not in text, f"a path of one machine: {text}"
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} stands in {path.name} twice"
        found[name] = specifier.version
    return found


def wanted(extra: str | None = None) -> list[Requirement]:
    """Return the requirements of the package, or of one of its extras, own extras unrolled."""
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    found = []
    for requirement in map(Requirement, lines):
        if canonicalize_name(requirement.name) == PROJECT["name"]:
            found += [inner for name in sorted(requirement.extras) for inner in wanted(name)]
        else:
            found.append(requirement)
    return found


PINS = pins(ROOT / "requirements.txt")


@pytest.mark.parametrize("extra", [None, "book", "test"])
def test_pins_satisfy_the_ranges(extra: str | None) -> None:
    for requirement in wanted(extra):
        name = canonicalize_name(requirement.name)
        assert name in PINS, f"pyproject.toml asks for {name}, requirements.txt does not pin it"
        assert requirement.specifier.contains(PINS[name]), f"{requirement} against {PINS[name]}"


def test_conda_takes_the_same_file() -> None:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (section,) = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    assert section == ["-r requirements.txt", "-e ."], "the pip section takes the one list of pins"
    plain = dict(
        re.match(r"([\w-]+)\s*(?:[=<>]+\s*(.+))?$", entry).groups("")
        for entry in entries
        if isinstance(entry, str)
    )
    assert set(plain) == {"python", "pip"}, "a second list of versions would part from the first"
    assert PROJECT["requires-python"] == f">={plain['python']}"


def test_installed_packages_are_the_pinned_ones() -> None:
    """Fails when someone tests with other packages than those that the book pins."""
    if not (Path(sys.prefix) / ".installed").is_file():
        pytest.skip("not the environment that `make` installs")
    requested = {canonicalize_name(r.name) for extra in (None, "test") for r in wanted(extra)}
    installed = {name: Version(metadata.version(name)).public for name in requested}
    assert installed == {name: PINS[name] for name in requested}


def test_torch_and_torchvision_are_a_pair() -> None:
    needs = [r for line in metadata.requires("torchvision") or () if (r := Requirement(line))]
    (torch,) = [requirement for requirement in needs if requirement.name == "torch"]
    assert metadata.version("torchvision").split("+")[0] == PINS["torchvision"]
    assert torch.specifier.contains(PINS["torch"])


def tracked() -> list[Path]:
    """Return the files under version control; outside a clone, what looks like them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.split("\0") if (path := ROOT / name).is_file()]
    folders = ("lib", "tests", "notebooks", "book", "data")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    return [path for path in [*ROOT.iterdir(), *found] if path.is_file()]


def test_one_repository_address() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    address = config["repository"]["url"]
    owner, name = address.removeprefix("https://github.com/").split("/")
    mentions = 0
    pattern = re.compile(rf"github(?:\.com)?/([\w.-]+)/({re.escape(name)}|intriguing[\w-]*)")
    for path in tracked():
        if path.suffix not in {".md", ".py", ".ipynb", ".toml", ".yml", ".cff", ".txt", ".svg"}:
            continue
        for found in pattern.finditer(path.read_text(encoding="utf-8")):
            mentions += 1
            said = (found[1], found[2].removesuffix(".git"))
            assert said == (owner, name), f"{path.relative_to(ROOT)}: {found[0]}"
    assert mentions >= 4, "README, pyproject.toml, CITATION.cff and _config.yml name it"
    assert PROJECT["urls"]["Repository"] == address
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == address


def test_one_version() -> None:
    version = re.search(
        r'__version__ = "(.+)"', (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    )[1]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert version == PROJECT["version"] == str(citation["version"])


def test_lib_and_data_are_not_ignored() -> None:
    """Templates of .gitignore drop both; then the package never reaches a clone."""
    paths = ["lib/intriguing/new.py", "data/sources.toml", "book/results/x/record.json"]
    done = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 128:
        pytest.skip("not a git clone")
    assert done.stdout == ""


def test_readme_names_what_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), f"README links to {target}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", text)) - {"sure"} <= rules
    chapters = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(re.findall(r"\b\d\d-[a-z][a-z0-9-]+", text)) <= chapters


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, as full names."""
    found: set[str] = set()
    own = ("intriguing", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = own[: len(own) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_knows_no_notebook_and_no_workflow(path: Path) -> None:
    heads = {name.partition(".")[0] for name in imports(path)}
    assert not heads & {"notebooks", "snakemake"}  # `test_floors` holds it to its own floors


def test_torchvision_is_imported_in_one_module_only() -> None:
    importers = {
        path.relative_to(PACKAGE).as_posix()
        for path in SOURCES
        if any(name.split(".")[0] == "torchvision" for name in imports(path))
        or re.search(r"import_module\([\"']torchvision", path.read_text(encoding="utf-8"))
    }
    assert importers == {"vision.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_refused_pattern(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.isascii(), "ASCII in code"
    code = ast.unparse(ast.parse(text))  # without comments
    for pattern, why in REFUSED.items():
        assert not re.search(pattern, code), why


def test_heavy_packages_are_imported_only_where_they_are_used() -> None:
    """A bare GPU node has torch and papermill and nothing of the book's own tools."""
    program = (
        "import sys, intriguing.cli, intriguing.zoo, intriguing.records, intriguing.attacks\n"
        "print([name for name in ('jupyter_book', 'sphinx', 'snakemake', 'nbgrader', 'foolbox')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
