"""torchvision: its import repaired or explained, and its data sets read from files of real format.

The files are tiny but laid out byte for byte as the published ones: IDX, CIFAR's python batches,
MATLAB files.  CIFAR's format is a pickle, so a pickle has to be made here; the library itself
never unpickles, torchvision does, after it has compared the published MD5 sum.
"""

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import scipy.io
import torch

from intriguing import data, vision
from intriguing.errors import UserError

LIB = Path(__file__).resolve().parents[1] / "lib"
SIZES = {"train": 20, "test": 10}


def run(program: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter, with `path` before everything else."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*map(str, path), str(LIB)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


# The import


def test_torchvision_comes_whole_enough_for_data_and_networks() -> None:
    torchvision = vision.module()
    assert vision.module() is torchvision, "repaired once"
    network = torchvision.models.resnet18(weights=None).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
    assert torchvision.datasets.FakeData(size=1, image_size=(1, 4, 4))[0][0].size == (4, 4)


def test_the_repair_says_nothing_and_is_needed_only_where_it_applies() -> None:
    program = "from intriguing import vision; print(hasattr(vision.module(), '_intriguing_stubs'))"
    done = run(program)
    assert done.returncode == 0 and done.stderr == ""
    plain = run("import torchvision")
    assert (done.stdout.strip() == "True") == (vision.SYMPTOM in plain.stderr)


FAKE = {
    "another RuntimeError": "raise RuntimeError('operator torchvision::roi_align does not exist')",
    "a broken library": "raise ImportError('undefined symbol: _ZN3c10')",
    "a missing dependency": "import surely_not_installed",
    "the symptom without a CUDA build": f"raise RuntimeError({vision.SYMPTOM!r})",
}


@pytest.fixture
def without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget that torchvision was imported, until the end of the test."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("case", FAKE)
def test_any_other_failure_names_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_torchvision: None, case: str
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(FAKE[case], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="torchvision .* cannot be imported with torch") as caught:
        vision.module()
    text = str(caught.value)
    assert metadata.version("torchvision") in text and torch.__version__ in text
    assert "\n" not in text


def test_a_missing_torchvision_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(
        UserError, match=f"not installed beside torch {re.escape(torch.__version__)}"
    ):
        vision.module()


def test_a_wheel_for_cuda_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_torchvision: None
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("", encoding="utf-8")
    extension = tmp_path / "torchvision" / "_C.so"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.version, "cuda", None)
    extension.write_bytes(b"\x7fELF libtorch_cpu.so")
    assert not vision._built_for_cuda_on_cpu()
    extension.write_bytes(b"\x7fELF libtorch_cuda.so libtorch_cpu.so")
    assert vision._built_for_cuda_on_cpu()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert not vision._built_for_cuda_on_cpu()


# The data sets


def pixels(split: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState(len(split)).randint(0, 256, shape, dtype=np.uint8)


def labels(split: str, classes: int = 10) -> np.ndarray:
    return np.arange(SIZES[split]) * 3 % classes


def idx(array: np.ndarray) -> bytes:
    """Encode uint8 as IDX: two zero bytes, type 8, dimensions, big-endian extents, the values."""
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def idx_files() -> dict[str, bytes]:
    """The four files of MNIST and Fashion-MNIST."""
    return {
        f"{stem}-{part}-ubyte": idx(content)
        for split, stem in (("train", "train"), ("test", "t10k"))
        for part, content in (
            ("images-idx3", pixels(split, (SIZES[split], 28, 28))),
            ("labels-idx1", labels(split)),
        )
    }


def cifar_files(classes: int) -> dict[str, bytes]:
    """The batches of CIFAR-10, or the two files of CIFAR-100, and the file of class names."""
    key, meta = ("labels", "label_names") if classes == 10 else ("fine_labels", "fine_label_names")
    rows = {split: pixels(split, (SIZES[split], 3072)) for split in SIZES}
    tags = {split: labels(split, classes).tolist() for split in SIZES}
    names = [f"class {i}" for i in range(classes)]
    if classes == 10:
        content = {
            f"data_batch_{i + 1}": (
                rows["train"][4 * i : 4 * i + 4],
                tags["train"][4 * i : 4 * i + 4],
            )
            for i in range(5)
        } | {"test_batch": (rows["test"], tags["test"])}
    else:
        content = {split: (rows[split], tags[split]) for split in SIZES}
    files = {name: pickle.dumps({"data": x, key: y}) for name, (x, y) in content.items()}
    return files | {"batches.meta" if classes == 10 else "meta": pickle.dumps({meta: names})}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def publish_cifar(monkeypatch: pytest.MonkeyPatch, kind: str, files: dict[str, bytes]) -> None:
    """Make torchvision take the sums of our files for the published ones."""
    chosen = getattr(vision.module().datasets, kind)
    for attribute in ("train_list", "test_list"):
        entries = [[name, md5(files[name])] for name, _ in getattr(chosen, attribute)]
        monkeypatch.setattr(chosen, attribute, entries)
    meta = chosen.meta | {"md5": md5(files[chosen.meta["filename"]])}
    monkeypatch.setattr(chosen, "meta", meta)


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book that knows torchvision's sets at the size of our files; returns its data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "_toc.yml").write_text("", encoding="utf-8")
    names = {"MNIST": 10, "FashionMNIST": 10, "CIFAR10": 10, "CIFAR100": 10, "SVHN": 10}
    table = [
        f'[{kind.lower()}]\ntitle = "t"\nurl = "u"\nlicence = "l"\nclasses = {classes}\n'
        f'splits = {{ train = 20, test = 10 }}\ntorchvision = "{kind}"\n'
        for kind, classes in names.items()
    ]
    (folder / "sources.toml").write_text("\n".join(table), encoding="utf-8")
    monkeypatch.setenv("INTRIGUING_ROOT", str(tmp_path))
    for variable in ("INTRIGUING_DATA", "INTRIGUING_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    for kind in ("MNIST", "FashionMNIST"):  # nothing is there unless a test puts it there
        monkeypatch.setattr(getattr(vision.module().datasets, kind), "mirrors", [nowhere(tmp_path)])
    return folder


def nowhere(folder: Path) -> str:
    return (folder / "nowhere").as_uri() + "/"


@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST"])
def test_idx_files(book: Path, kind: str) -> None:
    put(book / kind / "raw", idx_files())
    for split, n in SIZES.items():
        found = data.load(kind.lower(), split)
        assert found.x.shape == (n, 1, 28, 28) and found.y.tolist() == labels(split).tolist()
        expected = torch.from_numpy(pixels(split, (n, 28, 28))).float() / 255
        assert torch.equal(found.x[:, 0], expected)
    names = data.load(kind.lower(), "train").classes
    assert len(names) == 10 and ("Trouser" in names) == (kind == "FashionMNIST")
    assert data.fetch(kind.lower()) == book
    assert data.status()[0 if kind == "MNIST" else 1]["here"] == str(book)


def test_cut_idx_files(book: Path) -> None:
    files = idx_files()
    files["train-images-idx3-ubyte"] = files["train-images-idx3-ubyte"][:-100]
    put(book / "MNIST" / "raw", files)
    with pytest.raises(UserError, match="torchvision's MNIST in .* incomplete, damaged") as caught:
        data.load("mnist", "train")
    assert str(book) in str(caught.value)


def test_the_same_pixels_have_the_same_hash_in_npz_and_idx(book: Path, tmp_path: Path) -> None:
    put(book / "MNIST" / "raw", idx_files())
    own = {f"x_{split}": pixels(split, (n, 28, 28)) for split, n in SIZES.items()}
    np.savez(tmp_path / "own.npz", **own, **{f"y_{split}": labels(split) for split in SIZES})
    for split in SIZES:
        assert data.load("mnist", split).sha256 == data.load(tmp_path / "own.npz", split).sha256


def test_cifar10_batches(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = cifar_files(10)
    publish_cifar(monkeypatch, "CIFAR10", files)
    put(book / "cifar-10-batches-py", files)
    for split, n in SIZES.items():
        found = data.load("cifar10", split)
        expected = torch.from_numpy(pixels(split, (n, 3072)).reshape(n, 3, 32, 32)).float() / 255
        assert torch.equal(found.x, expected) and found.y.tolist() == labels(split).tolist()
        assert found.classes[3] == "class 3"


def test_cifar100_files(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = cifar_files(100)
    publish_cifar(monkeypatch, "CIFAR100", files)
    put(book / "cifar-100-python", files)
    x, y, names = vision.read("CIFAR100", book, "test")
    assert x.shape == (10, 3, 32, 32) and x.dtype == np.uint8 and len(names) == 100
    assert y.tolist() == labels("test", 100).tolist() and y.dtype == np.int64
    assert np.array_equal(x.reshape(10, -1), pixels("test", (10, 3072)))
    with pytest.raises(UserError, match="has no images of class"):
        data.load("cifar100", "test")  # ten images cannot fill a hundred classes


def test_a_cifar_batch_with_another_checksum_is_never_unpickled(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (book / "unpickled",))

    files = cifar_files(10)
    publish_cifar(monkeypatch, "CIFAR10", files)
    put(book / "cifar-10-batches-py", files | {"test_batch": pickle.dumps(Bomb())})
    with pytest.raises(UserError, match="wrong checksum"):
        data.load("cifar10", "test")
    assert not (book / "unpickled").exists()


def test_svhn_files(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = vision.module().datasets.SVHN
    for split, n in SIZES.items():
        x = pixels(split, (n, 3, 32, 32))
        y = labels(split)
        stored = {"X": x.transpose(2, 3, 1, 0), "y": np.where(y == 0, 10, y)[:, None]}
        scipy.io.savemat(book / f"{split}_32x32.mat", stored)  # digit 0 is labelled 10
    sums = {
        split: ["", f"{split}_32x32.mat", md5((book / f"{split}_32x32.mat").read_bytes())]
        for split in SIZES
    }
    monkeypatch.setattr(chosen, "split_list", sums)
    for split, n in SIZES.items():
        found = data.load("svhn", split)
        expected = torch.from_numpy(pixels(split, (n, 3, 32, 32))).float() / 255
        assert torch.equal(found.x, expected) and found.y.tolist() == labels(split).tolist()
        assert found.classes == tuple("0123456789")
    (book / "test_32x32.mat").write_bytes(b"another file")
    with pytest.raises(UserError, match="SVHN in .* wrong checksum"):
        data.load("svhn", "test")


def test_image_folder_lists_what_torchvision_lists(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/2.jpg", "cat/10.jpg", "cat/notes.txt", "cat/.x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    classes, listing = vision.image_folder(tmp_path)
    assert classes == ("cat", "dog")
    found = [(file.relative_to(tmp_path).as_posix(), label) for file, label in listing]
    assert found == [("cat/10.jpg", 0), ("cat/2.jpg", 0), ("dog/1.png", 1)]
    (tmp_path / "emu").mkdir()
    with pytest.raises(UserError, match="a class without images .*emu"):
        vision.image_folder(tmp_path)


# Downloads: torchvision's own code, from a server on this machine


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which it is served."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def serve_mnist(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish gzipped IDX files on a server that torchvision takes for a mirror of MNIST."""
    packed = {f"{name}.gz": gzip.compress(content) for name, content in idx_files().items()}
    put(server[0], packed)
    chosen = vision.module().datasets.MNIST
    monkeypatch.setattr(chosen, "mirrors", [server[1]])
    sums = [(name, md5(packed[name])) for name, _ in chosen.resources]
    monkeypatch.setattr(chosen, "resources", sums)


def test_download_where_there_is_a_network(
    book: Path,
    tmp_path: Path,
    server: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    serve_mnist(server, monkeypatch)
    pack = tmp_path / "pack"  # somebody else's folder: nothing lands there
    pack.mkdir()
    monkeypatch.setenv("INTRIGUING_DATA", str(pack))
    assert data.status()[0]["missing"] == "can be fetched"
    assert len(data.load("mnist", "train")) == 20
    assert (book / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file()
    assert not list(pack.iterdir()) and data.status()[0]["here"] == str(book)
    assert capfd.readouterr().err == "", "no progress bar in a log"
    assert set(data.verify("mnist")) == {"train", "test"}


def test_download_of_an_archive(
    book: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = cifar_files(10)
    publish_cifar(monkeypatch, "CIFAR10", files)
    chosen = vision.module().datasets.CIFAR10
    with tarfile.open(server[0] / chosen.filename, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{chosen.base_folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(chosen, "url", server[1] + chosen.filename)
    monkeypatch.setattr(chosen, "tgz_md5", md5((server[0] / chosen.filename).read_bytes()))
    assert data.fetch("cifar10") == book
    assert data.load("cifar10", "test").y.tolist() == labels("test").tolist()


def test_a_download_with_a_wrong_checksum_is_not_used(
    book: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_mnist(server, monkeypatch)
    (server[0] / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"another file"))
    with pytest.raises(UserError, match="failed: .*corrupted"):
        data.load("mnist", "train")


def test_a_download_that_breaks_off_is_explained_and_made_up_for(
    book: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_mnist(server, monkeypatch)
    file = server[0] / "t10k-images-idx3-ubyte.gz"
    content = file.read_bytes()
    file.write_bytes(content[:50])
    with pytest.raises(UserError, match="the download by torchvision failed"):
        data.load("mnist", "train")
    file.write_bytes(content)
    assert len(data.load("mnist", "train")) == 20


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_without_a_network_the_error_says_what_to_do(book: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        data.load(name, "train")
    text = str(caught.value)
    for part in ("torchvision's files of", str(book), "failed", 'dataset = "mnist-5k"'):
        assert part in text
    assert "\n" not in text
    with pytest.raises(UserError):
        data.fetch(name)
    with pytest.raises(UserError, match="was not found in"):
        data.verify(name)


# The networks


@pytest.fixture(scope="module")
def squeeze() -> torch.nn.Sequential:
    return vision.network("squeezenet1_1", seed=3, classes=5)


def test_network_takes_pixels_and_normalises_them_first(squeeze: torch.nn.Sequential) -> None:
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert not any(part.training for part in squeeze.modules())
    mean, std = squeeze.normalize.mean, squeeze.normalize.std
    published = vision.module().models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    assert mean.flatten().tolist() == pytest.approx(published.mean)
    assert std.flatten().tolist() == pytest.approx(published.std)
    with torch.no_grad():
        assert squeeze(x).shape == (3, 5)
        assert torch.equal(squeeze(x), squeeze.net((x - mean) / std))


def test_random_networks_follow_their_seed_and_leave_the_global_generator_alone(
    squeeze: torch.nn.Sequential,
) -> None:
    before = torch.random.get_rng_state()
    again, other = (vision.network("squeezenet1_1", seed=s, classes=5) for s in (3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [
        [torch.equal(a, b) for a, b in zip(squeeze.parameters(), net.parameters(), strict=True)]
        for net in (again, other)
    ]
    assert all(same[0]) and not all(same[1])
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(3)
        plain = vision.module().models.squeezenet1_1(num_classes=5)
    assert torch.equal(plain.features[0].weight, squeeze.net.features[0].weight)


@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_saved_state_dict_is_loaded(
    tmp_path: Path, squeeze: torch.nn.Sequential, ending: str, bare: bool
) -> None:
    file = tmp_path / f"weights{ending}"
    tensors = (squeeze.net if bare else squeeze).state_dict()
    if ending == ".pth":
        torch.save(tensors, file)
    else:
        safetensors.torch.save_file(tensors, file)
    loaded = vision.network("squeezenet1_1", file, seed=9, classes=5)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(x), squeeze(x))
    assert vision.network("squeezenet1_1", str(file), classes=5) is not loaded


def test_a_state_dict_that_does_not_fit_is_explained(
    tmp_path: Path, squeeze: torch.nn.Sequential
) -> None:
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(squeeze.net.state_dict(), file)
    with pytest.raises(UserError, match=r"2 of another shape \(classifier.1.bias \(5,\) for"):
        vision.network("squeezenet1_1", file)
    with pytest.raises(UserError, match="missing .* unexpected"):
        vision.network("alexnet", file, classes=5)
    file.write_bytes(b"rubbish")
    with pytest.raises(UserError, match="cannot be read as a state dict"):
        vision.network("squeezenet1_1", file)
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="no state dict of tensors"):
        vision.network("squeezenet1_1", tmp_path / "other.pth")


def test_code_in_a_torch_file_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "unpickled",))

    torch.save({"weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(UserError, match="cannot be read as a state dict"):
        vision.network("alexnet", tmp_path / "bomb.pth")
    assert not (tmp_path / "unpickled").exists()


def test_bad_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no classifier 'alexnt': did you mean alexnet"):
        vision.network("alexnt")
    for wrong in ("DEFAULT", "IMAGENET1K_V9", "no/such/file.pth"):
        with pytest.raises(ValueError, match=rf"{wrong}.*neither a file .*\(IMAGENET1K_V1\)"):
            vision.network("alexnet", wrong)
    with pytest.raises(ValueError, match="leave classes=10 out"):
        vision.network("alexnet", "IMAGENET1K_V1", classes=10)
    with pytest.raises(ValueError, match="IMAGENET1K_FEATURES of vgg16 has no classifier"):
        vision.network("vgg16", "IMAGENET1K_FEATURES")


def test_published_weights_without_a_network_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(UserError, match="IMAGENET1K_V1 of alexnet could not be had from") as caught:
        vision.network("alexnet", "IMAGENET1K_V1")
    assert "\n" not in str(caught.value) and "weights=None" in str(caught.value)


def test_published_weights_come_from_torchs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    made = vision.network("squeezenet1_1", seed=5)
    member = vision.module().models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(made.net.state_dict(), folder / Path(member.url).name)
    before = torch.random.get_rng_state()
    found = vision.network("squeezenet1_1", "IMAGENET1K_V1")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(found.net.features[0].weight, made.net.features[0].weight)
