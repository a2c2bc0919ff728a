"""The only module that imports torchvision: its data sets, and its networks.

torchvision's published Linux wheel is built for CUDA.  Installed beside a CPU-only torch its
compiled extension cannot be loaded, pip notices nothing, and `import torchvision` fails with
"operator torchvision::nms does not exist".  Data sets and networks need none of the compiled
operators, so `module` declares the two operators the import stumbles over and imports again;
calling them (detection only) still fails, with a clear error.  Every other failure of the import
becomes a UserError that names both versions.

torchvision reads the CIFAR batches with pickle, which is their published format; it compares the
MD5 sum of each file with the published one first, so nothing else is ever unpickled.
"""

import collections
import contextlib
import http.client
import importlib
import importlib.util
import io
import os
import socket
import sys
import unicodedata
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from intriguing.errors import UserError, nearest
from intriguing.models import weights as saved
from intriguing.models.normalize import Normalize

SYMPTOM = "operator torchvision::nms does not exist"
STUBS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
TIMEOUT = 20.0  # seconds without an answer after which a download is given up

# What torchvision keeps on disk below the folder it is given, split by split.
_IDX = {"train": "{}/raw/train-{}-ubyte", "test": "{}/raw/t10k-{}-ubyte"}
FILES: dict[str, dict[str, list[str]]] = {
    kind: {
        split: [text.format(kind, part) for part in ("images-idx3", "labels-idx1")]
        for split, text in _IDX.items()
    }
    for kind in ("MNIST", "FashionMNIST")
}
FILES["CIFAR10"] = {
    "train": [f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)],
    "test": ["cifar-10-batches-py/test_batch"],
}
FILES["CIFAR100"] = {"train": ["cifar-100-python/train"], "test": ["cifar-100-python/test"]}
FILES["SVHN"] = {split: [f"{split}_32x32.mat"] for split in ("train", "test")}
_NAMES = {"CIFAR10": "cifar-10-batches-py/batches.meta", "CIFAR100": "cifar-100-python/meta"}


def module() -> ModuleType:
    """Return the imported torchvision, repaired if its wheel does not fit a CPU-only torch.

    Raises
    ------
    UserError : torchvision is missing, or fails for any other reason; names both versions.
    """
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise UserError(_import_failure(error)) from error
        raise UserError(
            f"torchvision is not installed beside torch {torch.__version__}: install the version "
            "in requirements.txt."
        ) from error
    except Exception as error:
        if SYMPTOM not in str(error) or not _built_for_cuda_on_cpu():
            raise UserError(_import_failure(error)) from error
    try:
        return _repaired()
    except Exception as error:
        raise UserError(_import_failure(error)) from error


def _import_failure(error: Exception) -> str:
    try:
        version = metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        version = "(version unknown)"
    return (
        f"torchvision {version} cannot be imported with torch {torch.__version__} "
        f"({type(error).__name__}: {error}): install a pair that belongs together, such as the one "
        "in requirements.txt."
    )


def _built_for_cuda_on_cpu() -> bool:
    """Say whether this torch has no CUDA while torchvision's compiled extension asks for it."""
    if torch.version.cuda is not None:
        return False
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    extensions = Path(spec.origin).parent.glob("_C*")
    return any(b"torch_cuda" in file.read_bytes() for file in extensions if file.is_file())


def _repaired() -> ModuleType:
    """Import torchvision with its two missing operators declared but not implemented."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in STUBS:
        library.define(operator + SIGNATURE)
    torchvision = importlib.import_module("torchvision")
    torchvision._intriguing_stubs = library  # torch forgets the operators when this is collected
    return torchvision


def files(kind: str, folder: Path, split: str) -> list[Path]:
    """Return the files of a torchvision set's split below `folder`.

    Empty unless all are there that torchvision asks for: but for SVHN, those of both splits.
    """
    needed = FILES[kind][split] if kind == "SVHN" else sum(FILES[kind].values(), [])
    complete = all((folder / name).is_file() for name in needed)
    return [folder / name for name in FILES[kind][split]] if complete else []


def all_files(kind: str, folder: Path) -> list[Path]:
    """Return everything below `folder` that torchvision reads of a set, class names included."""
    names = [*sum(FILES[kind].values(), []), *([_NAMES[kind]] if kind in _NAMES else [])]
    return [folder / name for name in names]


def read(kind: str, folder: Path, split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read one of torchvision's own data sets from disk, in the order of its files.

    Parameters
    ----------
    kind : "MNIST", "FashionMNIST", "CIFAR10", "CIFAR100" or "SVHN".
    folder : torchvision's `root`.
    split : "train" or "test".

    Returns
    -------
    images uint8 (N, C, H, W), labels int64 (N,), class names.

    Raises
    ------
    UserError : files damaged, incomplete, or with another checksum than torchvision publishes.
    """
    try:
        data = _construct(kind, folder, split, download=False)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the files of torchvision's {kind} in {folder} are incomplete, damaged or have a "
            f"wrong checksum ({type(error).__name__}: {error}): delete them and fetch it again."
        ) from error
    images = np.asarray(data.data)
    if images.ndim == 3:
        images = images[:, None]  # (N, H, W) -> (N, 1, H, W)
    elif kind != "SVHN":
        images = images.transpose(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
    labels = np.asarray(data.labels if kind == "SVHN" else data.targets, dtype=np.int64)
    names = getattr(data, "classes", None) or [str(i) for i in range(10)]
    return np.ascontiguousarray(images), labels, tuple(str(name) for name in names)


def download(kind: str, folder: Path, split: str) -> None:
    """Let torchvision download one of its sets into `folder` and check its MD5 sums.

    Raises
    ------
    OSError, RuntimeError : no network, or the server's file is not the published one.
    """
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else _discard_progress()
    with _network_timeout(TIMEOUT), quiet:
        try:
            _construct(kind, folder, split, download=True)
        except http.client.HTTPException as error:
            raise OSError(f"the server broke off ({error})") from error


def _construct(kind: str, folder: Path, split: str, download: bool):
    chosen = {"split": split} if kind == "SVHN" else {"train": split == "train"}
    return getattr(module().datasets, kind)(root=str(folder), download=download, **chosen)


def image_folder(folder: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """List `folder/class/file` with torchvision's ImageFolder.

    Hidden folders and files (`.ipynb_checkpoints`, `._x.jpg`) are left out.  Folders whose names
    differ in Unicode's form alone are one class.

    Returns
    -------
    class names, sorted; (file, label) of every image, sorted by class and name.

    Raises
    ------
    UserError : no class at all, or a class without images.
    """
    datasets = module().datasets
    extensions = datasets.folder.IMG_EXTENSIONS

    class Folder(datasets.ImageFolder):
        def find_classes(self, directory):
            with os.scandir(directory) as entries:
                names = sorted(e.name for e in entries if e.is_dir() and not hidden(e.name))
            if not names:
                raise FileNotFoundError(f"{directory} has no class folders")
            same = [unicodedata.normalize("NFC", name) for name in names]
            classes = sorted(set(same))
            labels = map(classes.index, same)
            return classes, dict(zip(names, labels, strict=True))

    def is_image(file: str) -> bool:
        return file.lower().endswith(extensions) and not hidden(os.path.basename(file))

    try:
        listing = Folder(str(folder), is_valid_file=is_image)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is not laid out as class/file, or has a class without images ({error}): "
            "put at least one image in each class folder."
        ) from error
    return tuple(listing.classes), [(Path(file), label) for file, label in listing.samples]


def hidden(name: str) -> bool:
    """Say whether a file or folder is what systems leave behind rather than somebody's data."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def network(
    name: str,
    weights: str | Path | None = None,
    *,
    seed: int = 0,
    classes: int | None = None,
) -> nn.Sequential:
    """Return one of torchvision's classifiers behind a `Normalize` layer, in eval mode, on the CPU.

    It maps pixels (N, 3, H, W) in [0, 1] to logits (N, classes).  The layer `.normalize` holds the
    mean and std that torchvision's first published weights were trained with; `.net` is the bare
    network.

    Parameters
    ----------
    name : as `torchvision.models.list_models(torchvision.models)` lists it, such as "alexnet".
    weights : None for torchvision's own random initialisation; the name of one version of the
        published weights, such as "IMAGENET1K_V1", downloaded by torchvision, which checks its
        hash; or the path of a saved state dict of the network, or of what this returns.
    seed : of the random initialisation; torch's global generator is left alone.
    classes : outputs, 1000 unless told; published weights have their own number.

    Raises
    ------
    ValueError : no such network or weights, "DEFAULT" (its meaning changes between versions of
        torchvision), or `classes` beside published weights.
    UserError : the published weights cannot be downloaded, or the file cannot be read or does not
        fit.
    """
    zoo = module().models
    if name not in (names := zoo.list_models(module=zoo)):
        raise ValueError(f"torchvision has no classifier {name!r}: {nearest(name, names)}")
    published = {member.name: member for member in zoo.get_model_weights(name)}
    normalize = next(iter(published.values())).transforms()
    if weights in published:
        if classes is not None:
            raise ValueError(f"{weights} fixes the number of classes: leave classes={classes} out")
        with torch.random.fork_rng(devices=[]):  # it draws weights before it loads them
            net = _published(name, published[weights])
        normalize = published[weights].transforms()
    else:
        if weights is not None and not Path(weights).is_file():
            raise ValueError(
                f"weights {str(weights)!r} of {name}: neither a file nor one of its published "
                f"versions ({', '.join(published)})"
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = zoo.get_model(name, weights=None, num_classes=classes or 1000)
        if weights is not None:
            saved.load(net, weights, prefix="net.")
    first = Normalize(normalize.mean, normalize.std)
    return nn.Sequential(collections.OrderedDict(normalize=first, net=net)).eval()


def operations(name: str) -> float:
    """Return the floating-point operations of one image through one of torchvision's classifiers.

    As torchvision states them, at the size of its first published weights; a multiplication with
    its addition counts as two.

    Raises
    ------
    ValueError : no such network.
    """
    zoo = module().models
    if name not in (names := zoo.list_models(module=zoo)):
        raise ValueError(f"torchvision has no classifier {name!r}: {nearest(name, names)}")
    return 2e9 * next(iter(zoo.get_model_weights(name))).meta["_ops"]


def weights_file(name: str, weights: str) -> Path | None:
    """Return where torch keeps a version of published weights, be it there or not yet.

    None where torchvision has no classifier of that name, or no such version of its weights.
    """
    zoo = module().models
    if name not in zoo.list_models(module=zoo):
        return None
    urls = {member.name: member.url for member in zoo.get_model_weights(name)}
    if weights not in urls:
        return None
    return Path(torch.hub.get_dir(), "checkpoints", urls[weights].rpartition("/")[2])


def _published(name: str, member) -> nn.Module:
    """Download a version of the weights unless torch's cache has it, and build the network."""
    if member.meta.get("categories") is None:
        raise ValueError(f"{member.name} of {name} has no classifier: choose another version")
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else _discard_progress()
    try:
        with _network_timeout(TIMEOUT), quiet:
            # First without unpickling anything but tensors: torchvision's own reading is laxer.
            member.get_state_dict(progress=False, check_hash=True, weights_only=True)
            return module().models.get_model(name, weights=member, progress=False)
    except Exception as error:  # no network, a server that breaks off, a damaged file
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the weights {member.name} of {name} could not be had from {member.url} "
            f"({type(error).__name__}: {reason}): fetch that file where there is a network and "
            "give its path as weights, or use weights=None for random ones."
        ) from error


@contextlib.contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    """Give up on a silent server: torchvision opens its connections without any time limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _discard_progress() -> Iterator[None]:
    """Keep torchvision's progress bar, which cannot be turned off, out of logs and pages."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
