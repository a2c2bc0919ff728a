"""A folder for a machine without a network: the right wheels, whole or refused, and it runs."""

import base64
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from intriguing import chapters, store, vision
from intriguing.book.offline import lock, needs, wheelhouse, wheels
from intriguing.book.offline.target import Target
from intriguing.chapters import networks
from intriguing.cli import main
from intriguing.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "{}.{}".format(*sys.version_info)
NODE = Target("3.12", "manylinux_2_28_x86_64")


def silent(_: str) -> None:
    """Tell nobody."""


# ---------------------------------------------------------------- the target


@pytest.mark.parametrize("platform, triple", [
    ("manylinux_2_28_x86_64", "x86_64-manylinux_2_28"),
    ("manylinux2014_aarch64", "aarch64-manylinux_2_17"),
    ("manylinux_2_30_x86_64", "x86_64-manylinux_2_28"),  # uv knows no 2.29 and no 2.30
    ("manylinux_2_99_x86_64", "x86_64-manylinux_2_40"),
    ("macosx_14_0_arm64", "aarch64-apple-darwin"), ("macosx_13_0_x86_64", "x86_64-apple-darwin")])
def test_a_platform_has_a_name_that_uv_knows(platform, triple):
    assert Target("3.12", platform).triple == triple
    done = subprocess.run([sys.executable, "-m", "uv", "pip", "compile", "-", "--no-index",
                           f"--python-platform={triple}", f"--python={sys.executable}"],
                          input="", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("python, system, hint", [
    ("3", "manylinux_2_28_x86_64", "write it as 3.12"),
    ("2.7", "manylinux_2_28_x86_64", "write it as 3.12"),
    ("3.12", "linux", "manylinux_2_28_x86_64"), ("3.12", "manylinux_2_28_sparc", "aarch64"),
    ("3.12", "manylinux_2_16_x86_64", "2.17 at least"), ("3.12", "win_amd64", "macosx_14_0_arm64")])
def test_another_target_is_refused(python, system, hint):
    with pytest.raises(UserError, match=re.escape(hint)):
        Target(python, system)


# ---------------------------------------------------------------- wheels


def make_wheel(folder: Path, name: str, version: str, *requires: str, tag="py3-none-any") -> Path:
    """Write a wheel that pip accepts, of a module without content."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = name.replace("-", "_")
    info = f"{plain}-{version}.dist-info"
    content = {
        f"{plain}.py": "VALUE = 1\n" * 200,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                            + "".join(f"Requires-Dist: {line}\n" for line in requires),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"}
    record = []
    for inner, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record.append(f"{inner},sha256={digest.decode()},{len(text)}\n")
    content[f"{info}/RECORD"] = "".join(record) + f"{info}/RECORD,,\n"
    path = folder / f"{plain}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in content.items():
            archive.writestr(inner, text)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip, and so uv, takes for its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def collected(folder: Path, *roots: str, held=None, without=(), target=NODE) -> list[str]:
    """Collect and return names with versions, after comparing them with what lies there."""
    packages = lock.resolve(folder, roots, held or {}, target, without)
    found = wheels.collect(folder, packages, target, silent)
    assert {wheel.path for wheel in found} == {path for path in folder.iterdir()}
    for wheel in found:
        assert hashlib.sha256(wheel.path.read_bytes()).hexdigest() == wheel.sha256
    return [f"{wheel.name} {wheel.version}" for wheel in found]


CONDITIONS = {
    'python_version < "3.12"': False, 'python_version >= "3.12"': True,
    'sys_platform == "linux" and platform_machine == "x86_64"': True,
    'platform_system == "Windows"': False, 'os_name == "nt"': False,
    'python_full_version < "3.12.4"': False, 'python_full_version >= "3.12.4"': True,
    'extra == "more"': False}


def test_conditions_are_those_of_the_target_not_of_this_python(index, tmp_path):
    make_wheel(index, "top", "1.0",
               *(f"below{number}; {one}" for number, one in enumerate(CONDITIONS)))
    for number in range(len(CONDITIONS)):
        make_wheel(index, f"below{number}", "1.0")
    asked = [f"below{number} 1.0" for number, holds in enumerate(CONDITIONS.values()) if holds]
    assert collected(tmp_path / "wheels", "top") == [*asked, "top 1.0"]


def test_a_full_version_is_taken_at_its_word(index, tmp_path):
    make_wheel(index, "top", "1.0", 'late; python_full_version >= "3.12.4"',
               'apple; sys_platform == "darwin"')
    make_wheel(index, "late", "1.0")
    make_wheel(index, "apple", "1.0", tag="cp312-abi3-macosx_13_0_arm64")
    early = Target("3.12.3", NODE.platform)
    assert collected(tmp_path / "early", "top", target=early) == ["top 1.0"]
    mac = Target("3.12", "macosx_14_0_arm64")
    assert collected(tmp_path / "mac", "top", target=mac) == ["apple 1.0", "late 1.0", "top 1.0"]


def test_wheels_name_wheels_under_the_conditions_of_the_target(index, tmp_path):
    make_wheel(index, "top", "1.0", "Old; python_version < '3.12'", "new; python_version >= '3.12'",
               "middle[fast]>=1", "torch", "never; extra == 'fast'")
    make_wheel(index, "new", "2.0")
    make_wheel(index, "middle", "1.5", "quick<3; extra == 'fast'", "slow; extra == 'careful'")
    make_wheel(index, "middle", "1.9", "quick<3; extra == 'fast'")
    for version in ("1.0", "2.5", "3.0"):
        make_wheel(index, "quick", version, "top", tag="cp312-cp312-manylinux_2_17_x86_64")
    make_wheel(index, "quick", "2.9", tag="cp311-cp311-manylinux_2_17_x86_64")
    make_wheel(index, "quick", "2.8", tag="cp312-cp312-manylinux_2_34_x86_64")
    found = collected(tmp_path / "wheels", "top", held={"middle": "1.5"},
                      without=("torch",))
    assert found == ["middle 1.5", "new 2.0", "quick 2.5", "top 1.0"]


def test_a_version_that_a_later_wheel_excludes_is_given_up(index, tmp_path):
    make_wheel(index, "first", "1.0", "shared", "second")
    make_wheel(index, "second", "1.0", "shared<2")
    make_wheel(index, "shared", "1.0")
    make_wheel(index, "shared", "2.0")
    assert collected(tmp_path / "wheels", "first") == ["first 1.0", "second 1.0", "shared 1.0"]
    make_wheel(index, "second", "1.1", "shared<2", "shared>=2")
    assert "second 1.0" in collected(tmp_path / "newer", "first"), "1.1 fits nothing"
    (index / "second-1.0-py3-none-any.whl").unlink()
    with pytest.raises(UserError, match=r"3\.12 on manylinux_2_28_x86_64.*shared"):
        collected(tmp_path / "other", "first")
    assert not (tmp_path / "other").exists()


def test_pins_hold_and_one_that_the_target_lacks_is_named(index, tmp_path):
    make_wheel(index, "top", "1.0", "compiled", "plain")
    make_wheel(index, "compiled", "1.0", tag="cp312-cp312-manylinux_2_28_x86_64")
    make_wheel(index, "compiled", "1.1", tag="cp311-cp311-manylinux_2_28_x86_64")
    for version in ("1.0", "1.1+build", "1.2"):  # a build of 1.1 is 1.1
        make_wheel(index, "plain", version)
    held = {"plain": "1.1", "stranger": "1.0"}
    found = ["compiled 1.0", "plain 1.1+build", "top 1.0"]
    assert collected(tmp_path / "wheels", "top", held=held) == found
    held["plain"] = "1.2"  # over what a former call left
    assert "plain 1.2" in collected(tmp_path / "wheels", "top", held=held)
    with pytest.raises(UserError, match=r"compiled==1\.1 .*requirements\.txt"):
        collected(tmp_path / "wheels", "top", held={"compiled": "1.1"})


def test_what_a_former_call_left_is_given_up_where_it_no_longer_fits(index, tmp_path):
    make_wheel(index, "below", "1.0")
    assert collected(tmp_path / "wheels", "below") == ["below 1.0"]
    make_wheel(index, "below", "2.0")
    assert collected(tmp_path / "wheels", "below") == ["below 1.0"]
    assert collected(tmp_path / "wheels", "below>1") == ["below 2.0"]


def make_index(folder: Path, *found: Path, mark=True) -> str:
    """Lay wheels out as an index with checksums, wrong ones without `mark`, and return its URL."""
    for path in found:
        page = folder / path.name.split("-")[0].replace("_", "-")
        page.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(path.read_bytes() if mark else b"").hexdigest()
        with (page / "index.html").open("a") as stream:
            stream.write(f'<a href="{path.as_uri()}#sha256={digest}">{path.name}</a>\n')
    return folder.as_uri()


def test_uv_looks_where_pip_looks(index, tmp_path, monkeypatch):
    linux = "cp312-cp312-manylinux_2_28_x86_64"
    new = make_wheel(tmp_path / "files", "top", "1.0", "below", tag=linux)
    old = make_wheel(tmp_path / "files", "top", "1.0", "other", tag="cp311-cp311-win_amd64")
    below = [make_wheel(tmp_path / "files", "below", version) for version in ("1.0", "2.0")]
    (tmp_path / "constraints.txt").write_text("below<2\n")
    (tmp_path / "pip.conf").write_text(
        f"[global]\nindex-url = {make_index(tmp_path / 'one', new)}\nconstraint = nowhere.txt\n"
        f"extra-index-url =\n  {make_index(tmp_path / 'two', old)}\n"
        f"  {make_index(tmp_path / 'three', *below)}\n"
        f"[download]\nconstraint = {tmp_path / 'constraints.txt'}\ntimeout = 7\n"
        "[install]\nno-index = true\n")
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_DEFAULT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("UV_NO_INDEX", "1")  # of uv's own settings none counts but a few
    monkeypatch.setenv("UV_OFFLINE", "0")
    assert collected(tmp_path / "wheels", "top") == ["below 1.0", "top 1.0"]
    options, variables = lock._as_pip()
    assert "--no-index" not in options and "UV_NO_INDEX" not in variables
    assert (variables["UV_HTTP_TIMEOUT"], variables["UV_OFFLINE"]) == ("7", "0")


def test_a_file_that_is_not_what_the_index_says_is_refused(index, tmp_path, monkeypatch):
    wheel = make_wheel(tmp_path / "files", "top", "1.0")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", make_index(tmp_path / "one", wheel, mark=False))
    with pytest.raises(UserError, match=r"pip got no wheel for Python 3\.12 .*(?i:hash)"):
        collected(tmp_path / "wheels", "top")
    assert list((tmp_path / "wheels").iterdir()) == []


def test_what_is_there_and_right_is_kept_and_the_rest_is_got_again(index, tmp_path, monkeypatch):
    folder = tmp_path / "wheels"
    make_wheel(index, "top", "1.0", "below", "other")
    for name in ("below", "other"):
        make_wheel(index, name, "1.0")
    collected(folder, "top")
    (folder / "top-1.0-py3-none-any.whl").touch()
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    whole = (folder / "below-1.0-py3-none-any.whl").read_bytes()
    make_wheel(index, "other", "1.1")  # newer, and not wanted for that
    with monkeypatch.context() as patch:
        patch.setattr(wheels, "_pip", None)  # nothing is left for it to do
        assert len(collected(folder, "top")) == 3
    assert times == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    for damaged in (whole[:-30], whole[:300] + b"?" + whole[301:]):
        (folder / "below-1.0-py3-none-any.whl").write_bytes(damaged)
        (folder / ".partial-killed").mkdir()
        make_wheel(folder, "stranger", "1.0")
        assert len(collected(folder, "top")) == 3
        assert (folder / "below-1.0-py3-none-any.whl").read_bytes() == whole


def test_a_package_without_wheels_is_built_if_it_is_pure(index, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "SOURCE_ONLY", ("only-source",))
    built = make_wheel(tmp_path / "built", "only-source", "1.0")
    backend = (f"import shutil\ndef build_wheel(folder, *_):\n"
               f"    return shutil.copy({str(built)!r}, folder).rpartition('/')[2]\n")
    source = tmp_path / "only_source-1.0"
    source.mkdir()
    (source / "backend.py").write_text(backend)
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: only-source\nVersion: 1.0\n")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n')
    with tarfile.open(index / "only_source-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    make_wheel(index, "top", "1.0", "only.source")
    assert collected(tmp_path / "wheels", "top") == ["only-source 1.0", "top 1.0"]


def test_no_wheel_no_uv_and_no_pip_are_told(index, tmp_path, monkeypatch):
    make_wheel(index, "top", "1.0", tag="cp311-cp311-win_amd64")
    with pytest.raises(UserError, match=r"Python 3\.12 on manylinux_2_28_x86_64: .*top"):
        collected(tmp_path / "wheels", "top")
    for module, way in (("uv", "pip install uv"), ("pip", "ensurepip")):
        with monkeypatch.context() as patch:
            patch.setattr(lock.util, "find_spec", lambda name, gone=module: name != gone or None)
            with pytest.raises(UserError, match=f"needs {module}: .* -m {way}"):
                collected(tmp_path / "wheels", "top")
    assert not (tmp_path / "wheels").exists()


def test_roots_are_what_the_package_asks_for():
    found = {canonicalize_name(Requirement(one).name) for one in lock.roots(ROOT, NODE)}
    assert {"torch", "papermill", "jupyter-book", "setuptools"} <= found
    assert not found & {"intriguing", "pytest", "nbgrader", "uv"}
    assert lock.pins(ROOT / "requirements.txt")["torch"] == "2.13.0"
    with pytest.raises(UserError, match="needs Python >=3.11, not 3.10"):
        lock.roots(ROOT, Target("3.10", NODE.platform))


# ---------------------------------------------------------------- what chapters need

PARAMETERS = """\
profile = "smoke"  # str, scale of the run
dataset = "digits"  # str, images
others = ["digits"]  # list of str, images
imagenet = ""  # str, folder; "" for none
imagenet_weights = "IMAGENET1K_V1"  # str, published weights
alexnet_weights = ""  # str, published weights
"""
DIGITS = b"digits" * 1000
SOURCES = f"""\
[digits]
title = "Digits"
url = "https://example.org/digits"
licence = "none"
classes = 10
splits = {{ train = 1, test = 1 }}
file = "digits.npz"
sha256 = "{hashlib.sha256(DIGITS).hexdigest()}"

[letters]
title = "Letters"
url = "https://example.org/letters"
licence = "none"
classes = 26
splits = {{ train = 1 }}
file = "letters.npz"

[mnist]
title = "MNIST"
url = "https://example.org/mnist"
licence = "none"
classes = 10
splits = {{ train = 60000, test = 10000 }}
torchvision = "MNIST"
"""


@pytest.fixture
def book(tiny_book, index):
    """A clone of a tiny book that needs one package and one data set."""
    root = tiny_book.root
    tiny_book.add("01-first", parameters=PARAMETERS)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\n[project]\nname = "intriguing"\n'
        'requires-python = ">=3.11"\ndependencies = ["torch"]\n')
    (root / "requirements.txt").write_text("torch==1.0\n")
    (root / "workflow").mkdir()
    shutil.copy(ROOT / "workflow" / "run-offline.sh", root / "workflow")
    (root / "data").mkdir()
    (root / "data" / "sources.toml").write_text(SOURCES)
    (root / "data" / "digits.npz").write_bytes(DIGITS)
    (root / ".gitignore").write_text("_build/\n/data/*.npz\n")
    (root / "_build").mkdir()
    (root / "_build" / "made").write_text("made")
    (root / "gone.md").write_text("gone")
    make_wheel(index, "torch", "1.0")
    subprocess.run("git init -q . && git add .", shell=True, cwd=root, check=True)
    (root / "gone.md").unlink()
    return tiny_book


def change(book, **values) -> None:
    """Change parameters at cpu."""
    book.scales["cpu"]["01-first"] = values
    book.write_profiles()


def test_missing_data_is_named_with_the_way_to_get_it(book, tmp_path, capsys):
    change(book, dataset="mnist", others=["letters", "digits"], imagenet="data/photos")
    assert main(["wheelhouse", str(tmp_path / "new"), "--profile", "cpu"]) == 1
    told = capsys.readouterr().err
    assert "mnist: intriguing data fetch mnist" in told and "digits" not in told.split("--no")[1]
    assert "letters: get letters.npz (https://example.org/letters)" in told
    assert "data/photos: imagenet of 01-first" in told
    assert not (tmp_path / "new").exists()


def test_data_is_checked_and_found_once(book, monkeypatch, tmp_path):
    settings = chapters.settings("smoke")
    assert [item.place for item in needs.data_files(settings)] == ["data/digits.npz"]
    (book.root / "data" / "digits.npz").write_bytes(DIGITS + b"?")
    with pytest.raises(UserError, match="damaged or another one"):
        needs.data_files(settings)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "digits.npz").write_bytes(DIGITS)
    monkeypatch.setenv("INTRIGUING_DATA", str(tmp_path / "elsewhere"))
    (item,) = needs.data_files(settings)
    assert (item.source.parent.name, item.place) == ("elsewhere", "data/digits.npz")


def test_a_folder_of_photographs_goes_along_and_none_from_outside(book, tmp_path):
    photo = book.root / "data" / "photos" / "val" / "cat" / "1.png"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"cat")
    change(book, imagenet="data/photos")
    places = [item.place for item in needs.data_files(chapters.settings("cpu"))]
    assert places == ["data/digits.npz", "data/photos/val/cat/1.png"]
    for outside in (str(tmp_path), "../index"):
        change(book, imagenet=outside)
        with pytest.raises(UserError, match="lies outside"):
            needs.data_files(chapters.settings("cpu"))


def test_published_weights_are_fetched_unless_they_are_off(book, monkeypatch, tmp_path):
    asked = []

    def file(network, version):
        return tmp_path / f"{network}-{version}.pth" if network == "alexnet" else None

    monkeypatch.setattr(vision, "weights_file", file)
    monkeypatch.setattr(vision, "network", lambda *which: asked.append(which))
    assert needs.weight_files(chapters.settings("cpu")) == []  # `imagenet` is empty
    change(book, alexnet_weights="IMAGENET1K_V1")
    (item,) = needs.weight_files(chapters.settings("cpu"))
    assert asked == [("alexnet", "IMAGENET1K_V1")]
    assert item.place == "hub/checkpoints/alexnet-IMAGENET1K_V1.pth"
    change(book, alexnet_weights="weights/mine.pth")
    assert needs.weight_files(chapters.settings("cpu")) == []


def test_where_torch_keeps_published_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = vision.weights_file("alexnet", "IMAGENET1K_V1")
    assert file.parent == tmp_path / "hub" / "checkpoints"
    assert re.fullmatch(r"alexnet-owt-[0-9a-f]{8}\.pth", file.name)
    assert vision.weights_file("alexnet", "IMAGENET1K_V9") is None
    assert vision.weights_file("imagenet", "IMAGENET1K_V1") is None


def test_trained_networks_go_along_and_the_others_are_named(book, monkeypatch):
    class Spec:
        def __init__(self, key):
            self.key = self.label = key

    def read(key):
        if key == "damaged":
            raise store.DamagedError("damaged")
        return ({}, {}) if key == "trained" else None

    specs = [Spec("trained"), Spec("missing"), Spec("damaged")]
    monkeypatch.setattr(networks, "declared", lambda settings: specs)
    monkeypatch.setattr(networks, "with_bases", lambda found: found)
    monkeypatch.setattr(store, "read", read)
    items, missing = needs.network_files(chapters.settings("smoke"))
    assert [item.place for item in items] == [
        "_build/zoo/trained.safetensors", "_build/zoo/trained.json"]
    assert missing == ["missing", "damaged"]


# ---------------------------------------------------------------- the folder


def order(**changes) -> wheelhouse.Order:
    return wheelhouse.Order("smoke", Target(PYTHON, NODE.platform), **changes)


def names(folder: Path) -> set[str]:
    return {line.split("  ")[1]
            for line in (folder / wheelhouse.MANIFEST).read_text().splitlines()}


def run_sh(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run([folder / "run.sh", *arguments], capture_output=True, text=True,
                          env={**os.environ, "PYTHON": sys.executable, **variables})


def test_the_folder_holds_what_git_knows_and_its_manifest_is_true(book, tmp_path):
    (book.root / "new.md").write_text("not known to git")
    (book.root / "_toc.yml").write_text("changed since")
    folder, told = tmp_path / "a folder", []
    sizes = wheelhouse.collect(folder, order(), told.append)
    assert any("new.md" in line for line in told)
    assert names(folder) == {
        "README.md", "run.sh", "settings", "wheels.txt", "wheels/torch-1.0-py3-none-any.whl",
        *(f"book/{name}" for name in book.files(".git", "_build") - {"new.md"})}
    assert (folder / "book" / "_toc.yml").read_text() == "changed since"
    assert os.access(folder / "run.sh", os.X_OK)
    assert sizes["book"] > len(DIGITS) and sizes["wheels"] > 0
    checked = subprocess.run(["sha256sum", "--strict", "--quiet", "-c", wheelhouse.MANIFEST],
                             cwd=folder, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
    assert not list(folder.rglob(".partial*"))


def test_a_second_call_changes_what_changed(book, index, tmp_path):
    folder = tmp_path / "folder"
    wheelhouse.collect(folder, order(), silent)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    (folder / "book" / "_build").mkdir()
    (folder / "book" / "_build" / "mine").write_text("what a run made")
    (book.root / "_toc.yml").write_text("changed since")
    (book.root / "book" / "more.md").write_text("more")
    subprocess.run(["git", "rm", "-q", "--cached", ".gitignore"], cwd=book.root, check=True)
    (book.root / ".gitignore").unlink()
    wheelhouse.collect(folder, order(data=False), silent)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert {path.relative_to(folder).as_posix() for path in before.keys() - after.keys()} == {
        "book/.gitignore", "book/data/digits.npz"}
    changed = {path.relative_to(folder).as_posix() for path in before.keys() & after.keys()
               if before[path] != after[path]}
    assert changed - {".wheelhouse"} == {
        "book/_toc.yml", "README.md", "settings", "wheels.txt", "MANIFEST.sha256"}
    assert (folder / "book" / "_build" / "mine").is_file()


def test_an_interrupted_collection_is_not_taken_for_whole(book, tmp_path, monkeypatch):
    folder, real = tmp_path / "folder", wheelhouse._place
    wheelhouse.collect(folder, order(), silent)

    def place(source, target, partial):
        if target.name == "sources.toml":
            partial.write_bytes(b"half")
            raise KeyboardInterrupt
        return real(source, target, partial)

    monkeypatch.setattr(wheelhouse, "_place", place)
    with pytest.raises(KeyboardInterrupt):
        wheelhouse.collect(folder, order(), silent)
    done = run_sh(folder)
    assert done.returncode == 1 and "no MANIFEST.sha256" in done.stderr
    monkeypatch.setattr(wheelhouse, "_place", real)
    subprocess.run(["git", "rm", "-q", "--cached", "_toc.yml"], cwd=book.root, check=True)
    wheelhouse.collect(folder, order(), silent)
    assert "book/data/sources.toml" in names(folder)
    assert not (folder / "book" / "_toc.yml").exists(), "known from before the interruption"
    assert not (folder / ".partial").exists()


def test_a_folder_stays_whole_where_there_is_no_network(book, tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    wheelhouse.collect(folder, order(), silent)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9.*Is there a network"):
        wheelhouse.collect(folder, order(), silent)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_build_for_cpus_is_no_surprise_on_a_gpu_node(book, index, tmp_path):
    (index / "torch-1.0-py3-none-any.whl").unlink()
    make_wheel(index, "torch", "1.0+cpu")
    for profile, surprise in (("gpu", True), ("cpu", False)):
        book.scales["gpu"] = book.scales["cpu"]
        book.write_profiles()
        told = []
        wheelhouse.collect(tmp_path / "folder", wheelhouse.Order(profile, NODE), told.append)
        assert any("--torch-from-node" in line for line in told) is surprise


def test_a_folder_of_something_else_is_left_alone(book, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        wheelhouse.collect(tmp_path, order(), silent)
    shutil.rmtree(book.root / ".git")
    with pytest.raises(UserError, match="not a git clone"):
        wheelhouse.collect(tmp_path / "new", order(), silent)


def test_run_sh_refuses_a_damaged_wheel_and_another_python(book, tmp_path):
    folder = tmp_path / "a folder"
    wheelhouse.collect(folder, order(), silent)
    (wheel,) = (folder / "wheels").glob("*.whl")
    whole = wheel.read_bytes()
    for damaged in (whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], whole[:-10], None):
        wheel.unlink()
        if damaged is not None:
            wheel.write_bytes(damaged)
        done = run_sh(folder)
        assert done.returncode == 1 and f"wheels/{wheel.name}" in done.stderr
        assert "copy the folder again" in done.stderr and "settings" not in done.stderr
    wheel.write_bytes(whole)
    false = shutil.which("false")
    done = run_sh(folder, PYTHON=false)
    assert done.returncode == 1 and f"wheels are for Python {PYTHON}, and {false} is" in done.stderr
    assert not (folder / "venv").exists()


def test_run_sh_reads_no_settings_but_those_that_were_collected(book, tmp_path):
    folder = tmp_path / "house"
    wheelhouse.collect(folder, order(), silent)
    for text in (f"touch {folder}/read\n", None):
        settings = folder / "settings"
        settings.write_text(text) if text else settings.unlink()
        done = run_sh(folder, "--version")
        assert done.returncode == 1 and "settings is not the one that was collected" in done.stderr
        assert not (folder / "read").exists()


def test_torch_of_the_node_is_left_out_and_asked_for(book, tmp_path):
    folder = tmp_path / "folder"
    wheelhouse.collect(folder, order(torch_from_node=True), silent)
    assert not list(folder.rglob("*.whl")) and "torch=node" in (folder / "settings").read_text()
    done = run_sh(folder, PYTHON=sys._base_executable, PYTHONPATH="")
    assert done.returncode == 1 and "collect without --torch-from-node" in done.stderr
    assert not (folder / "venv").exists()


# ---------------------------------------------------------------- for real

LOOPBACK = """
import fcntl, os, socket, struct, sys
up = struct.pack("16sh", b"lo", 1)
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, up)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def without_network() -> list[str]:
    """Return the beginning of a command that runs the rest with nothing but loopback, or []."""
    words = ["unshare", "-rn", sys.executable, "-c", LOOPBACK]
    try:
        return words if subprocess.run([*words, "true"]).returncode == 0 else []
    except OSError:
        return []


def node_with_torch(folder: Path) -> None:
    """Link torch, torchvision and what they need, and nothing else, into a folder for packages."""
    folder.mkdir()
    waiting, seen = ["torch", "torchvision"], set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        for entry in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            if not (folder / entry).exists():
                (folder / entry).symlink_to(found.locate_file(entry))
        waiting += [one.name for one in map(Requirement, found.requires or ())
                    if one.marker is None or one.marker.evaluate({"extra": ""})]


@pytest.mark.longest
@pytest.mark.slow
def test_a_chapter_runs_from_the_folder_without_a_network(tmp_path, monkeypatch):
    """Real wheels from pip's index, but for torch: a bare Python with torch stands for the node."""
    probe = subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--retries=0",
                            "-qd", tmp_path / "probe", "iniconfig"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"pip has no index here: {probe.stderr.strip().splitlines()[-1]}")
    folder, node = tmp_path / "a folder", tmp_path / "node"
    # Jupyter Book and Snakemake would double the time; chapters run without them
    monkeypatch.setattr(lock, "LEFT_OUT", ("test", "course", "offline", "book", "slurm"))
    assert main(["wheelhouse", str(folder), "--profile", "smoke", "--torch-from-node",
                 "--networks"]) == 0
    assert not list((folder / "wheels").glob("torch-*"))
    node_with_torch(node)
    variables = {key: value for key, value in os.environ.items()
                 if not key.startswith(("PIP_", "INTRIGUING_", "PYTHON"))}
    variables |= {"PYTHON": sys._base_executable, "PYTHONPATH": str(node),
                  **dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")}
    done = subprocess.run(
        [*without_network(), folder / "run.sh", "run", "02-box-constrained-lbfgs"],
        env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = folder / "book/_build/smoke/book/chapters/02-box-constrained-lbfgs.ipynb"
    assert page.is_file()
