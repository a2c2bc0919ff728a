"""One folder with all that a machine without a network needs to run the book.

::

    wheels/          Python packages          book/    the sources, with data and trained networks
    torch/           published weights        run.sh   checks, installs, runs (run-offline.sh)
    MANIFEST.sha256  every file's checksum, written last: without it the folder is not complete

A file gets its name when it is whole.  What an earlier call left there and is right is kept.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from intriguing import chapters, paths
from intriguing.book.offline import lock, needs, wheels
from intriguing.book.offline.lock import Say
from intriguing.book.offline.needs import Item
from intriguing.book.offline.target import Target
from intriguing.errors import UserError
from intriguing.records import provenance
from intriguing.store.state import sha256_file

MANIFEST = "MANIFEST.sha256"
_BEFORE = ".MANIFEST.before"  # of a former call: what is listed there may be replaced or removed
_MARK = ".wheelhouse"
_SCRIPT = "workflow/run-offline.sh"
_TORCH = ("torch", "torchvision")


@dataclass(frozen=True)
class Order:
    """What to collect: the profile's data unless told not to, trained networks if wanted."""

    profile: str
    target: Target
    torch_from_node: bool = False
    data: bool = True
    networks: bool = False


def collect(folder: Path, order: Order, say: Say) -> dict[str, int]:
    """Fill `folder`, or bring it up to date, and return {part of it: bytes}.

    Parameters
    ----------
    folder : new, empty, or of a former call.
    say : receives lines for the person who waits.

    Raises
    ------
    UserError : the folder holds something else, data is missing (all of it is named), the book is
        no clone, another call is at work there, or uv or pip finds no wheel.
    """
    from filelock import FileLock, Timeout

    settings = chapters.settings(order.profile)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise UserError(f"{folder} holds something else: name a new folder")
    roots = lock.roots(paths.root(), order.target)
    items = [Item(source, f"book/{name}") for name, source in _sources(say).items()]
    if order.data:
        items += [Item(one.source, f"book/{one.place}") for one in needs.data_files(settings)]
        items += [Item(one.source, f"torch/{one.place}") for one in needs.weight_files(settings)]
    if order.networks:
        trained, missing = needs.network_files(settings)
        items += [Item(one.source, f"book/{one.place}") for one in trained]
        if missing:
            say(f"{len(missing)} networks are not trained here, and will be there: "
                + ", ".join(missing))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{_MARK}.lock", timeout=0):
            (folder / _MARK).touch()
            return _fill(folder, order, roots, items, say)
    except Timeout as error:
        raise UserError(f"another call is at work in {folder}: wait for its end") from error


def _sources(say: Say) -> dict[str, Path]:
    """Return {name: path} of the files under version control, as they are in the working tree.

    Raises
    ------
    UserError : the book is not a clone.
    """
    root = paths.root()

    def git(*words: str) -> list[str]:
        try:
            done = subprocess.run(["git", "-C", str(root), "ls-files", "-z", *words],
                                  capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"{root} is not a git clone: the book's sources are the files that "
                            "git knows") from error
        return sorted(filter(None, done.stdout.split("\0")))

    others = git("--others", "--exclude-standard")
    if others:
        say(f"left out, because git does not know them (git add): {', '.join(others)}")
    return {name: root / name for name in git() if (root / name).is_file()}


def _fill(
    folder: Path, order: Order, roots: list, items: Iterable[Item], say: Say
) -> dict[str, int]:
    """Do the work of `collect` in a folder that is ours alone; the manifest comes last."""
    manifest, before, partial = folder / MANIFEST, folder / _BEFORE, folder / ".partial"
    say("wheels")
    packages = lock.resolve(  # without a network this fails, and leaves a whole folder whole
        folder / "wheels", roots, lock.pins(paths.root() / "requirements.txt"), order.target,
        without=_TORCH if order.torch_from_node else ())
    if manifest.exists():
        os.replace(manifest, before)
    kept = wheels.collect(folder / "wheels", packages, order.target, say)
    _judge_torch(order, kept, say)
    placed = {wheel.path.relative_to(folder).as_posix(): wheel.sha256 for wheel in kept}
    say("sources and data")
    items = [*items, Item(paths.root() / _SCRIPT, "run.sh")]
    for item in {item.place: item for item in items}.values():
        placed[item.place] = _place(item.source, folder / item.place, partial)
    written = {"wheels.txt": "".join(f"{w.name}=={w.version}\n" for w in kept),
               "settings": _settings(order), "README.md": _readme(order, kept)}
    for name, text in written.items():
        _write(folder / name, text)
        placed[name] = sha256_file(folder / name)
    for name in _listed(before) - placed.keys():
        (folder / name).unlink(missing_ok=True)
    _write(manifest, "".join(f"{placed[name]}  {name}\n" for name in sorted(placed)))
    before.unlink(missing_ok=True)
    sizes: dict[str, int] = {}
    for name in placed:
        if "/" in name:
            part = name.split("/")[0]
            sizes[part] = sizes.get(part, 0) + (folder / name).stat().st_size
    return sizes


def _judge_torch(order: Order, kept: Iterable[wheels.Wheel], say: Say) -> None:
    """Say so when a profile for GPUs got a PyTorch that has none."""
    (torch,) = [wheel for wheel in kept if wheel.name == "torch"] or [None]
    if torch and torch.version.local == "cpu" and order.profile in ("gpu", "paper"):
        say(f"{torch.path.name} is for CPUs only: for a GPU remove it, name PyTorch's own index to "
            "pip (PIP_INDEX_URL) and call again, or use --torch-from-node")


def _listed(manifest: Path) -> set[str]:
    """Return the names in a manifest; none of them leads out of its folder."""
    if not manifest.exists():
        return set()
    names = {line[66:] for line in manifest.read_text(encoding="utf-8").splitlines()}
    return {name for name in names if name and ".." not in Path(name).parts and name[0] != "/"}


def _place(source: Path, target: Path, partial: Path) -> str:
    """Copy a file unless the same bytes are there, and return the sha256 of what is there now.

    `partial` is its name while it is copied, on the same disk.

    Raises
    ------
    UserError : the copy is not what the file was when it was read: a disk that fails, most likely.
    """
    digest = sha256_file(source)
    if target.is_file() and sha256_file(target) == digest:
        shutil.copymode(source, target)
        return digest
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, partial)
    if sha256_file(partial) != digest:
        raise UserError(f"the copy of {source} differs from it: is the file being written, or the "
                        f"disk of {target.parent} failing?")
    os.replace(partial, target)
    return digest


def _write(path: Path, text: str) -> None:
    partial = path.with_name(".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)


def _settings(order: Order) -> str:
    """Return the variables that run.sh reads."""
    torch = "node" if order.torch_from_node else "wheels"
    return f"python={order.target.minor}\nprofile={order.profile}\ntorch={torch}\n"


def _readme(order: Order, kept: Iterable[wheels.Wheel]) -> str:
    """Return what the person on the other machine should know."""
    commit, dirty = provenance.commit()
    said = f"commit {commit}" + (" with uncommitted changes" if dirty else "") if commit else \
        "no commit"
    versions = [str(wheel.version) for wheel in kept if wheel.name == "torch"]
    torch = (versions or ["of the machine itself (2.6 or newer, with torchvision)"])[0]
    data = "" if order.data else """
Data was left out. Put the files into one folder, say where: `export INTRIGUING_DATA=/path/to/it`.
"""
    return f"""# The book, for a machine without a network

| | |
|---|---|
| sources | {said} |
| profile | {order.profile} |
| Python | {order.target.python} |
| platform | {order.target.platform} or newer |
| PyTorch | {torch} |

Copy this folder to a disk that the machine can write to, with 5 GB free. Then, there:

```bash
./run.sh                       # checks and installs once, then runs the profile and renders
./run.sh run 02 --profile {order.profile}   # or any other command of `intriguing`
PYTHON=/path/to/python{order.target.minor} ./run.sh   # where it is not on the PATH
```

What is made goes to `book/_build`. Nothing is downloaded, or written outside this folder. The files
in `book` may be changed after the first call; before it, run.sh refuses what differs from
{MANIFEST}. Before many jobs start at once, call `./run.sh --version` once: it installs.
{data}"""
