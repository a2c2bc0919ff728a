"""Data: every container, the cache, the choice of images, one clear error for each bad input."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intriguing import data, paths, vision
from intriguing.data import arrays, cache, catalog
from intriguing.errors import UserError, nearest

BOOK = Path(__file__).resolve().parents[1]
PACK = Path(os.environ.get("INTRIGUING_DATA", "/nonexistent"))
CLASSES = ("cat", "dog", "emu")


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty book: its root, with a data folder and no data set known."""
    root = tmp_path / "book"
    (root / "data").mkdir(parents=True)
    (root / "_toc.yml").write_text("format: jb-book\nroot: index\n", encoding="utf-8")
    (root / "data" / "sources.toml").write_text("", encoding="utf-8")
    monkeypatch.setenv("INTRIGUING_ROOT", str(root))
    for variable in ("INTRIGUING_DATA", "INTRIGUING_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    return root


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels (H, W) or (H, W, 3) without loss."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def picture(seed: int, shape: tuple[int, ...] = (6, 6, 3)) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, shape, dtype=np.uint8)


def tree(per_class: int = 4) -> dict[str, bytes]:
    """Members of a well-formed archive: two splits, three classes."""
    return {
        f"{split}/{label}/{i}.png": png(picture(100 * s + 10 * c + i))
        for s, split in enumerate(("test", "train"))
        for c, label in enumerate(CLASSES)
        for i in range(per_class)
    }


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    mode = {".tar": "w", ".tgz": "w:gz", ".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}[
        path.suffix.lower()
    ]
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_folder(path: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "pets.zip": write_zip,
    "pets.tar": write_tar,
    "pets.tgz": write_tar,
    "pets.tar.gz": write_tar,
    "pets.tar.xz": write_tar,
    "pets.tar.bz2": write_tar,
    "PETS.TAR.GZ": write_tar,
    "pets": write_folder,
}


def write_npz(path: Path, **changed: np.ndarray) -> Path:
    content = {
        "x_train": picture(0, (12, 5, 5)),
        "y_train": np.arange(12, dtype=np.uint8) % 3,
        "x_test": picture(1, (6, 5, 5)),
        "y_test": np.arange(6, dtype=np.uint8) % 3,
    } | changed
    np.savez_compressed(path, **{k: v for k, v in content.items() if v is not None})
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def know(book: Path, name: str, **entry: object) -> None:
    """Write a table of one data set."""
    known = {"title": "t", "url": "https://example.org", "licence": "l", "classes": 3} | entry
    lines = [f"[{name}]"]
    for key, value in known.items():
        if isinstance(value, dict):
            lines += [f"{key}.{inner} = {json.dumps(v)}" for inner, v in value.items()]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    (book / "data" / "sources.toml").write_text("\n".join(lines), encoding="utf-8")


def know_npz(book: Path, folder: Path, **changed: object) -> Path:
    """Put a small known set `tiny` into a folder."""
    file = write_npz(folder / "tiny.npz")
    entry = {"splits": {"train": 12, "test": 6}, "file": "tiny.npz", "sha256": sha256(file)}
    know(book, "tiny", **(entry | changed))
    return file


# The default set


def test_the_embedded_digits_are_what_the_table_says() -> None:
    train, test = data.load("mnist-5k", "train"), data.load("mnist-5k", "test")
    assert train.x.shape == (4000, 1, 28, 28) and test.x.shape == (1000, 1, 28, 28)
    assert train.x.dtype == torch.float32 and train.y.dtype == torch.int64
    assert train.x.min() == 0 and train.x.max() == 1
    assert train.y.bincount().tolist() == [400] * 10 and test.y.bincount().tolist() == [100] * 10
    assert train.y[:20].unique().numel() > 5, "the digits are shuffled"
    assert train.classes == tuple("0123456789") and (train.name, train.split) == (
        "mnist-5k",
        "train",
    )
    content = data.sources()["mnist-5k"].content
    assert {"train": train.sha256, "test": test.sha256} == content
    rows = torch.cat([train.x, test.x]).flatten(1)
    assert rows.unique(dim=0).shape[0] == 5000, "no digit is in both splits"


def test_the_committed_table_is_sound() -> None:
    known = data.sources()
    assert {
        "mnist-5k",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar10-jpeg",
        "cifar10-exact-4k",
    } < set(known)
    for source in known.values():
        assert source.title and source.url and source.licence and source.splits
        assert bool(source.file) == (len(source.sha256) == 64)
    assert [row["name"] for row in data.status()] == list(known)
    assert data.status()[0]["here"] and not data.status()[0]["missing"]
    for source in known.values():
        places = [folder / source.file for folder in (BOOK / "data", PACK) if source.file]
        sizes = {path.stat().st_size for path in places if path.is_file()}
        assert source.bytes > 0 and sizes <= {source.bytes}


@pytest.mark.skipif(not (PACK / "mnist.npz").is_file(), reason="INTRIGUING_DATA has no mnist.npz")
def test_the_embedded_digits_are_training_images_of_mnist() -> None:
    whole = data.load("mnist", "train").x.flatten(1)
    own = torch.cat([data.load("mnist-5k", split).x for split in ("train", "test")]).flatten(1)
    found = {row.tobytes() for row in (whole * 255).round().byte().numpy()}
    assert all(row.tobytes() in found for row in (own * 255).round().byte().numpy())


@pytest.mark.skipif(not (PACK / "mnist.npz").is_file(), reason="INTRIGUING_DATA has no mnist.npz")
def test_full_mnist_keeps_its_order() -> None:
    test = data.load("mnist", "test")
    assert test.x.shape == (10000, 1, 28, 28) and test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert set(data.verify("mnist")) == {"train", "test"}


# Containers


@pytest.mark.parametrize("name", WRITERS)
def test_every_container_gives_the_same_pixels(book: Path, tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / name, tree())
    before = set(tmp_path.rglob("*"))
    found = data.load(path, "train")
    expected = write_zip(tmp_path / "reference.zip", tree())
    assert found.sha256 == data.load(expected, "train").sha256
    assert found.classes == CLASSES and found.name == name and found.x.shape == (12, 3, 6, 6)
    new = {p for p in set(tmp_path.rglob("*")) - before if not p.is_relative_to(book)}
    assert new == {expected}, "nothing was unpacked"
    pixels = (found.x * 255).byte().permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
    rows = {png(row): label for row, label in zip(pixels, found.y.tolist(), strict=True)}
    for member, content in tree().items():
        if member.startswith("train/"):
            assert rows[content] == CLASSES.index(member.split("/")[1])


def test_archives_are_shuffled_by_the_seed(book: Path, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "pets.zip", tree(20))
    first, again, other = (data.load(path, "train", seed=seed) for seed in (0, 0, 1))
    assert first.y.tolist() != sorted(first.y.tolist())
    assert first.sha256 == again.sha256 != other.sha256
    assert first.y.bincount().tolist() == other.y.bincount().tolist() == [20] * 3


def test_one_folder_around_everything_and_litter_are_allowed(book: Path, tmp_path: Path) -> None:
    members = {f"my pets/{name}": content for name, content in tree().items()}
    litter = {
        "my pets/README.txt": b"hello",
        "__MACOSX/my pets/train/cat/._0.png": b"x",
        "my pets/train/cat/.DS_Store": b"x",
        "my pets/train/dog/Thumbs.db": b"x",
    }
    wrapped = data.load(write_zip(tmp_path / "a.zip", members | litter), "train")
    plain = data.load(write_zip(tmp_path / "b.zip", tree()), "train")
    assert wrapped.sha256 == plain.sha256
    windows = {name.replace("/", "\\"): content for name, content in tree().items()}
    assert data.load(write_tar(tmp_path / "c.tar", windows), "train").sha256 == plain.sha256


def test_hidden_folders_are_no_classes(book: Path, tmp_path: Path) -> None:
    path = write_folder(tmp_path / "pets", tree() | {"train/cat/._0.png": b"x"})
    (path / "train" / ".ipynb_checkpoints").mkdir()
    assert data.load(path, "train").classes == CLASSES


def test_grey_images_have_one_channel_unless_others_have_three(book: Path, tmp_path: Path) -> None:
    grey = {f"train/{c}/0.png": png(picture(i, (6, 6))) for i, c in enumerate(CLASSES)}
    assert data.load(write_zip(tmp_path / "g.zip", grey), "train").x.shape == (3, 1, 6, 6)
    mixed = data.load(
        write_zip(tmp_path / "m.zip", grey | {"train/cat/1.png": png(picture(9))}), "train"
    )
    assert mixed.x.shape == (4, 3, 6, 6)
    dog = mixed.x[mixed.y == 1][0]
    assert torch.equal(dog[0], dog[1]) and torch.equal(dog[0], dog[2])


def test_size_crops_and_resizes(book: Path, tmp_path: Path) -> None:
    members = {f"train/{c}/0.png": png(picture(i, (6 + i, 9, 3))) for i, c in enumerate(CLASSES)}
    found = data.load(write_zip(tmp_path / "p.zip", members), "train", size=4)
    assert found.x.shape == (3, 3, 4, 4)
    with pytest.raises(ValueError, match="size= is for archives"):
        data.load(write_npz(tmp_path / "own.npz"), "train", size=4)


def test_phone_pictures_are_turned_as_their_exif_says(book: Path, tmp_path: Path) -> None:
    pixels = np.zeros((4, 8), dtype=np.uint8)
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    Image.fromarray(pixels).save(stream, format="PNG", exif=exif)
    found = data.load(
        write_zip(tmp_path / "p.zip", {"train/cat/0.png": stream.getvalue()}), "train"
    )
    assert found.x.shape == (1, 1, 8, 4)


def test_npz_of_a_user(book: Path, tmp_path: Path) -> None:
    names = np.array(CLASSES)
    path = write_npz(tmp_path / "own.npz", classes=names, y_train=np.arange(12)[:, None] % 3)
    found = data.load(str(path), "train")
    assert found.x.shape == (12, 1, 5, 5) and found.y.tolist() == [0, 1, 2] * 4
    assert found.classes == CLASSES
    assert torch.equal(found.x[:, 0] * 255, torch.from_numpy(picture(0, (12, 5, 5))).float())
    colour = write_npz(tmp_path / "rgb.npz", x_train=picture(0, (12, 4, 5, 3)))
    assert data.load(colour, "train").x.shape == (12, 3, 4, 5)


# Choosing images


def test_n_is_stratified_random_and_repeatable(book: Path, tmp_path: Path) -> None:
    y = np.repeat([0, 1, 2], [60, 30, 10])
    path = write_npz(tmp_path / "own.npz", x_train=picture(0, (100, 5, 5)), y_train=y)
    part = data.load(path, "train", n=50)
    assert part.y.bincount().tolist() == [30, 15, 5] and len(part) == 50
    assert part.sha256 == data.load(path, "train", n=50).sha256
    assert part.sha256 != data.load(path, "train", n=50, seed=1).sha256
    assert data.load(path, "train", n=7).y.bincount().tolist() == [4, 2, 1]
    everything = data.load(path, "train", n=100)
    assert sorted(everything.y.tolist()) == y.tolist() and everything.y.tolist() != y.tolist()
    assert len(part.x.flatten(1).unique(dim=0)) == 50, "drawn without replacement"
    firsts = {int(data.load(path, "train", n=1, classes=[0, 1], seed=s).y) for s in range(20)}
    assert firsts == {0}, "the larger class has the larger remainder"


def test_ties_between_classes_are_broken_by_the_seed(book: Path, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz")
    assert {int(data.load(path, "train", n=1, seed=seed).y) for seed in range(30)} == {0, 1, 2}


def test_the_choice_never_changes() -> None:
    """A seed means the same digits in every release: results would move under the reader."""
    part = data.load("mnist-5k", "test", n=12, seed=3)
    assert part.y.tolist() == [0, 5, 6, 4, 5, 2, 1, 8, 7, 9, 4, 3]
    assert part.sha256 == "9ced0f986b6f55ff801ea9697751323033e755152257360e638581023a36faad"


def test_parts_of_a_split_are_disjoint_and_complete() -> None:
    whole = data.load("mnist-5k", "train")
    first, second = (data.load("mnist-5k", f"train[{part}]@0") for part in (":50%", "50%:"))
    assert len(first) == len(second) == len(whole) // 2
    assert first.split == "train[:50%]@0" and first.sha256 != second.sha256
    both = torch.cat([first.x, second.x]).flatten(1).sum(1).sort().values
    assert torch.equal(both, whole.x.flatten(1).sum(1).sort().values)
    assert torch.equal(torch.cat([first.y, second.y]).bincount(), whole.y.bincount())
    assert not torch.equal(data.load("mnist-5k", "train[:50%]@1").x, first.x)
    assert torch.equal(data.load("mnist-5k", "train[:2000]@0").x, first.x)
    assert len(data.load("mnist-5k", "train[500:75%]@0", n=100)) == 100


def test_images_are_counted_without_reading_them() -> None:
    for split in ("test", "train[:50%]@0", "train[3900:]@1", "train[:17]@0"):
        assert data.count("mnist-5k", split) == len(data.load("mnist-5k", split))
    assert data.count("mnist-5k", "train", n=12) == 12
    assert data.count("svhn", "train[25%:]@3") == 73257 - round(73257 / 4)
    with pytest.raises(UserError, match="no data set 'minst'.*did you mean"):
        data.count("minst", "train")
    with pytest.raises(ValueError, match="no split 'trian'"):
        data.count("mnist-5k", "trian[:50%]@0")


@pytest.mark.parametrize("split, message", [
    ("train[:50%]", "no part of a split"), ("train@0", "no part of a split"),
    ("train[:101%]@0", "percent go from 0 to 100"), ("train[:%]@0", "percent go from"),
    ("train[2000:2000]@0", "no image"), ("train[:4001]@0", "more than the 4000"),
    ("trian[:50%]@0", "no split 'trian'")])
def test_a_part_that_is_none_is_refused(split: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.load("mnist-5k", split)


def test_classes_are_kept_and_relabelled_in_the_order_given(book: Path, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz", classes=np.array(CLASSES))
    whole = data.load(path, "train")
    part = data.load(path, "train", classes=["emu", "cat"])
    assert part.classes == ("emu", "cat")
    assert torch.equal(part.x[part.y == 0], whole.x[whole.y == 2])
    assert part.sha256 == data.load(path, "train", classes=[2, 0]).sha256
    assert part.y.tolist() == [1, 0] * 4, "the order of the split is kept"
    assert data.load(path, "train", classes=CLASSES).sha256 == whole.sha256
    with pytest.raises(ValueError, match=r"n = 9 is larger than own.npz \(train\), which has 8"):
        data.load(path, "train", n=9, classes=["emu", "cat"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 13}, "n = 13 is larger than own.npz .train., which has 12"),
        ({"n": 0}, "n must be a whole number of at least 1, not 0"),
        ({"n": 2.5}, "n must be a whole number"),
        ({"n": True}, "n must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"size": 0}, "size must be"),
        ({"classes": []}, "classes must be a list"),
        ({"classes": "cat"}, "classes must be a list"),
        ({"classes": ["cta"]}, "no class 'cta': did you mean cat"),
        ({"classes": [3]}, "no class 3: labels are 0 to 2"),
        ({"classes": [1.5]}, "no class 1.5: labels are 0 to 2"),
        ({"classes": ["cat", 0]}, "names a class twice"),
        ({"split": "tran"}, "no split 'tran': did you mean train"),
    ],
)
def test_wrong_arguments(book: Path, tmp_path: Path, arguments: dict, message: str) -> None:
    path = write_npz(tmp_path / "own.npz", classes=np.array(CLASSES))
    with pytest.raises(ValueError, match=message):
        data.load(path, **({"split": "train"} | arguments))


# Known sets: where they are looked for, checksums


def test_intriguing_data_comes_before_data(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = know_npz(book, book / "data")
    assert data.load("tiny", "train").x.shape == (12, 1, 5, 5)
    extra = tmp_path / "pack"
    extra.mkdir()
    monkeypatch.setenv("INTRIGUING_DATA", str(extra))
    assert data.status()[0]["here"] == str(own)
    own.rename(extra / "tiny.npz")
    assert data.status()[0]["here"] == str(extra / "tiny.npz")
    assert data.load("tiny", "test").x.shape == (6, 1, 5, 5)
    assert data.fetch("tiny") == extra / "tiny.npz"


def test_a_missing_set_says_what_where_and_what_instead(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_npz(book, book / "data").unlink()
    monkeypatch.setenv("INTRIGUING_DATA", str(tmp_path / "pack"))
    with pytest.raises(UserError) as caught:
        data.load("tiny", "train")
    text = str(caught.value)
    for part in (
        "'tiny'",
        "tiny.npz",
        str(tmp_path / "pack"),
        str(book / "data"),
        "INTRIGUING_DATA",
        "no automatic download",
        "https://example.org",
        'dataset = "mnist-5k"',
    ):
        assert part in text
    assert "\n" not in text
    assert data.status()[0]["here"] == "" and data.status()[0]["missing"] == "get it by hand"
    for ask in (data.fetch, data.verify):
        with pytest.raises(UserError, match="tiny"):
            ask("tiny")


def test_a_wrong_checksum_is_an_error_even_if_another_copy_is_right(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_npz(book, book / "data")
    pack = tmp_path / "pack"
    pack.mkdir()
    bad = write_npz(pack / "tiny.npz", x_train=picture(5, (12, 5, 5)))
    monkeypatch.setenv("INTRIGUING_DATA", str(pack))
    for ask in (lambda: data.load("tiny", "train"), lambda: data.verify("tiny")):
        with pytest.raises(UserError, match="has sha256 .* where data/sources.toml says") as caught:
            ask()
        assert str(bad) in str(caught.value)


def test_a_checksum_is_computed_once_and_again_when_the_file_changes(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = know_npz(book, book / "data")
    calls = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: calls.append(1) or real(*a))
    data.load("tiny", "train")
    data.load("tiny", "test")
    assert len(calls) == 1
    data.verify("tiny")
    assert len(calls) > 1, "verify trusts no memory"
    write_npz(file, x_train=picture(7, (12, 5, 5)))
    with pytest.raises(UserError, match="has sha256"):
        data.load("tiny", "train")
    (paths.cache_dir() / "checksums.json").write_text("{broken", encoding="utf-8")
    with pytest.raises(UserError, match="has sha256"):
        data.load("tiny", "train")


def test_what_the_table_says_is_held_against_the_content(book: Path) -> None:
    know_npz(book, book / "data", splits={"train": 13, "test": 6})
    with pytest.raises(UserError, match="has 12 images where data/sources.toml says 13"):
        data.load("tiny", "train")
    know_npz(book, book / "data", classes=4)
    with pytest.raises(UserError, match="has 3 classes where data/sources.toml says 4"):
        data.load("tiny", "train")
    know_npz(book, book / "data", content={"train": "0" * 64})
    with pytest.raises(UserError, match="decodes to other pixels or labels"):
        data.load("tiny", "train")
    know_npz(book, book / "data", class_names=list(CLASSES))
    assert data.load("tiny", "train").classes == CLASSES
    with pytest.raises(ValueError, match="'tiny' has no split 'tset': did you mean test"):
        data.load("tiny", "tset")


def test_unknown_names_and_paths(book: Path, tmp_path: Path) -> None:
    know_npz(book, book / "data")
    with pytest.raises(UserError, match="no data set 'tinny' .did you mean tiny"):
        data.load("tinny", "train")
    with pytest.raises(UserError, match="no file or folder .*pets.zip"):
        data.load(tmp_path / "pets.zip", "train")
    (tmp_path / "pets.rar").write_bytes(b"x")
    with pytest.raises(UserError, match="pets.rar is not a container of images"):
        data.load(tmp_path / "pets.rar", "train")
    for ask in (data.fetch, data.verify):
        with pytest.raises(UserError, match="did you mean tiny"):
            ask("tinny")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a", "not valid TOML"),
        ("[a]\ntitel = 1", "table 'a'.*titel"),
        ('[a]\ntitle="t"\nurl="u"\nlicence="l"\nclasses=1\nsplits={train=1}', "needs a file or"),
        (
            '[a]\ntitle="t"\nurl="u"\nlicence="l"\nclasses=3\ntorchvision="MNST"\nsplits={train=1}',
            "torchvision has no 'MNST', did you mean MNIST",
        ),
        (
            '[a]\ntitle="t"\nurl="u"\nlicence="l"\nclasses=3\nclass_names=["x"]\nsplits={}',
            "1 class_n",
        ),
    ],
)
def test_a_broken_table(book: Path, text: str, message: str) -> None:
    (book / "data" / "sources.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        data.sources()


# Bad archives


def bad_members() -> dict[str, tuple[dict[str, bytes], str]]:
    good = tree()
    return {
        "unreadable": (
            good | {"train/dog/7.png": b"no image"},
            "train/dog/7.png is not a readable",
        ),
        "cut image": (
            good | {"train/dog/7.png": png(picture(1, (64, 64, 3)))[:2000]},
            "train/dog/7.png is not a readable",
        ),
        "class without images": (
            {k: v for k, v in good.items() if not k.startswith("train/emu")},
            "class 'emu' has no images in split 'train'",
        ),
        "parent": (
            good | {"../train/cat/9.png": good["train/cat/0.png"]},
            "leads out of the archive",
        ),
        "parent inside": (good | {"train/../../9.png": b""}, "leads out of the archive"),
        "absolute": (good | {"/train/cat/9.png": good["train/cat/0.png"]}, "is absolute"),
        "drive": (good | {"C:\\train\\cat\\9.png": b""}, "is absolute"),
        "sizes": (
            good | {"train/dog/7.png": png(picture(1, (5, 7, 3)))},
            "dog/7.png is 7x5.*is 6x6",
        ),
        "depth": (good | {"train/cat/deep/7.png": b""}, "train/cat/deep/7.png .* different depths"),
        "no split": ({"cat/0.png": b""}, "cat/0.png does not lie in split/class/file"),
        "nothing": ({"README.txt": b"hello"}, "holds no image that lies in split/class/file"),
        "16 bits": (
            good | {"train/dog/7.png": png(picture(1, (6, 6)).astype(np.uint16))},
            "train/dog/7.png has more than 8 bits",
        ),
    }


@pytest.mark.parametrize("kind", ["bad.zip", "bad.tar.gz"])
@pytest.mark.parametrize("case", bad_members())
def test_bad_archives(book: Path, tmp_path: Path, kind: str, case: str) -> None:
    members, message = bad_members()[case]
    path = WRITERS[kind.replace("bad", "pets")](tmp_path / kind, members)
    with pytest.raises(UserError, match=message) as caught:
        data.load(path, "train")
    assert kind in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "train").exists() and not (tmp_path.parent / "train").exists()
    assert not list((book / "_build").rglob("*.safetensors")), "nothing bad is cached"


def test_a_stored_folder_without_images_is_an_empty_class(book: Path, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "pets.zip", tree() | {"train/fox/": b""})
    with pytest.raises(UserError, match="class 'fox' has no images in split 'train'"):
        data.load(path, "train")
    folder = write_folder(tmp_path / "pets", tree())
    (folder / "train" / "fox").mkdir()
    with pytest.raises(UserError, match="fox"):
        data.load(folder, "train")
    (folder / "train" / "fox").rmdir()
    (folder / "test" / "fox").mkdir()
    with pytest.raises(
        UserError, match="class 'fox' has no images in split 'train', but split 'test'"
    ):
        data.load(folder, "train")


def test_a_split_that_is_not_there(book: Path, tmp_path: Path) -> None:
    for name in ("pets.zip", "pets.tar", "pets"):
        with pytest.raises(ValueError, match="no split 'tests': did you mean test"):
            data.load(WRITERS[name](tmp_path / name, tree()), "tests")


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "pets"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.95])
def test_truncated_archives(book: Path, tmp_path: Path, name: str, kept: float) -> None:
    path = WRITERS[name](tmp_path / name, tree())
    content = path.read_bytes()
    if name == "pets.tar":  # up to 10 KiB of padding follow the end mark: cut real content
        content = content.rstrip(b"\0")
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError, match="truncated or damaged"):
        data.load(path, "train")


def test_a_tar_cut_between_two_members_is_truncated(book: Path, tmp_path: Path) -> None:
    """Python's tarfile takes this for a shorter archive."""
    path = write_tar(tmp_path / "pets.tar", tree())
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[:last])
    with pytest.raises(UserError, match="truncated or damaged"):
        data.load(path, "train")


def test_a_flipped_byte_in_a_compressed_archive(book: Path, tmp_path: Path) -> None:
    for name in ("pets.zip", "pets.tar.gz", "pets.tar.xz"):
        path = WRITERS[name](tmp_path / name, {k: v for k, v in tree(30).items()})
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 0x10
        path.write_bytes(content)
        with pytest.raises(UserError, match=name):
            for split in ("train", "test"):  # a zip is checked member by member
                data.load(path, split)


def test_a_zip_packed_in_an_unknown_way(book: Path, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "pets.zip", {"train/cat/0.png": png(picture(0))})
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.index(mark) + offset] = 9  # Deflate64, which Windows writes above 2 GB
    path.write_bytes(content)
    with pytest.raises(UserError, match="pets.zip is packed in a way Python cannot read"):
        data.load(path, "train")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_without_permission(book: Path, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz")
    path.chmod(0)
    with pytest.raises(UserError, match="own.npz cannot be read: Permission denied"):
        data.load(path, "train")


def test_a_folder_of_links(book: Path, tmp_path: Path) -> None:
    real = write_folder(tmp_path / "real", tree())
    linked = tmp_path / "linked" / "train"
    linked.mkdir(parents=True)
    for label in CLASSES:
        (linked / label).symlink_to(real / "train" / label)
    assert data.load(linked.parent, "train").sha256 == data.load(real, "train").sha256
    write_folder(real, {"train/cat/9.png": png(picture(9))})
    assert len(data.load(linked.parent, "train")) == 13
    (real / "train/cat/8.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match="8.png cannot be read: No such file"):
        data.load(linked.parent, "train")


def test_links_doubles_and_passwords(book: Path, tmp_path: Path) -> None:
    path = tmp_path / "link.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("train/cat/0.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(UserError, match="train/cat/0.png is a link"):
        data.load(path, "train")
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive,
    ):
        for _ in range(2):
            archive.writestr("train/cat/0.png", png(picture(0)))
    with pytest.raises(UserError, match="train/cat/0.png is stored twice"):
        data.load(tmp_path / "twice.zip", "train")
    secret = write_zip(tmp_path / "secret.zip", {"train/cat/0.png": b"x"})
    content = bytearray(secret.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    secret.write_bytes(content)
    with pytest.raises(UserError, match="train/cat/0.png is encrypted"):
        data.load(secret, "train")


# Bad .npz


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": None}, "no array 'y_train'"),
        ({"x_train": picture(0, (12, 5, 5)) / 255.0}, "type float64 .* expected uint8"),
        ({"x_train": picture(0, (12, 5))}, "expected uint8"),
        ({"x_train": picture(0, (12, 5, 5, 4))}, "1 or 3 channels"),
        ({"y_train": np.arange(11) % 3}, "for 12 images"),
        ({"y_train": np.arange(12) / 3}, "one whole number"),
        ({"y_train": np.arange(12) % 3 - 1}, "label -1"),
        ({"y_train": np.arange(12) % 2 * 2}, "no images of class '1'"),
        ({"y_train": np.arange(12) % 3, "classes": np.array(["a", "b"])}, "has the label 2"),
        ({"x_train": picture(0, (0, 5, 5)), "y_train": np.arange(0)}, "holds no images"),
        ({"y_train": np.array([0, "a"] * 6, dtype=object)}, "Python objects"),
    ],
)
def test_bad_npz(book: Path, tmp_path: Path, changed: dict, message: str) -> None:
    path = write_npz(tmp_path / "own.npz", **changed)
    with pytest.raises(UserError, match=message) as caught:
        data.load(path, "train")
    assert "own.npz" in str(caught.value)


def test_truncated_npz(book: Path, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="truncated or damaged"):
        data.load(path, "train")
    path.write_bytes(b"")
    with pytest.raises(UserError, match="truncated or damaged"):
        data.load(path, "train")


# The cache


def cached_file() -> Path:
    (file,) = (paths.cache_dir() / "arrays").glob("*.safetensors")
    return file


def test_arrays_are_cached_as_bytes_and_read_from_there(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "pets.zip", tree())
    first = data.load(path, "train")
    assert cached_file().stat().st_size < 12 * 3 * 6 * 6 + 12 * 8 + 1000, "uint8, not float32"

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("intriguing.data.archives.read_archive", never)
    again = data.load(path, "train")
    assert torch.equal(first.x, again.x) and first.sha256 == again.sha256
    again.x.zero_()
    assert data.load(path, "train").sha256 == first.sha256, "a caller's array is its own"
    assert data.load(path, "train").x.sum() > 0
    with pytest.raises(AssertionError, match="decoded again"):
        data.load(path, "train", size=3)
    assert {file.suffix for file in (paths.cache_dir() / "arrays").iterdir()} == {
        ".safetensors",
        ".lock",
    }, "no temporary file is left"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header"])
def test_a_damaged_cache_is_reported_and_made_again(
    book: Path, tmp_path: Path, damage: str
) -> None:
    path = write_npz(tmp_path / "own.npz")
    first = data.load(path, "train")
    file = cached_file()
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-200] ^= 1
    elif damage == "header":
        content = content.replace(b'"sha256"', b'"sha255"')
    else:
        content = content[: len(content) // 2 if damage == "cut" else 0]
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        again = data.load(path, "train")
    assert again.sha256 == first.sha256 and torch.equal(first.x, again.x)
    assert data.load(path, "train").sha256 == first.sha256


def test_a_changed_archive_is_decoded_again(book: Path, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "pets.zip", tree())
    first = data.load(path, "train")
    write_zip(path, tree(5))
    assert len(data.load(path, "train")) == 15 and len(first) == 12
    folder = write_folder(tmp_path / "pets", tree())
    assert len(data.load(folder, "train")) == 12
    write_folder(folder, tree(5))
    assert len(data.load(folder, "train")) == 15
    (folder / "train" / "fox").mkdir()
    with pytest.raises(UserError, match="fox"):
        data.load(folder, "train")


def test_processes_that_ask_together_decode_once(book: Path, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "pets.zip", tree())
    log = tmp_path / "log"
    program = f"""
import time
from intriguing import data
from intriguing.data import archives
real = archives.read_archive
def slow(*arguments):
    with open({str(log)!r}, "a") as stream:
        stream.write("decoded\\n")
    time.sleep(1.0)
    return real(*arguments)
archives.read_archive = slow
print(data.load({str(path)!r}, "train").sha256)
"""
    environment = os.environ | {"PYTHONPATH": str(BOOK / "lib"), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
        for _ in range(3)
    ]
    hashes = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0] and len(hashes) == 1
    assert log.read_text() == "decoded\n"


def test_a_cache_that_cannot_be_written_is_done_without(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npz(tmp_path / "own.npz")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("INTRIGUING_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="is not cached"):
        assert len(data.load(path, "train")) == 12


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        cache.replace(file, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and file.read_bytes() == b"old"


# Small things


def test_the_hash_is_of_pixels_labels_and_shape() -> None:
    x, y = picture(0, (4, 1, 3, 6)), np.arange(4)
    same = arrays.content_sha256(np.asfortranarray(x), y.astype(np.int32))
    assert same == arrays.content_sha256(x, y)
    for other in ((x.reshape(4, 1, 6, 3), y), (255 - x, y), (x, y + 1), (x[::-1], y)):
        assert arrays.content_sha256(*other) != same


def test_nearest() -> None:
    assert nearest("mnist5k", ["mnist-5k", "svhn"]) == "did you mean mnist-5k?"
    assert nearest("02", ["02-box", "03-x"]) == "did you mean 02-box?"
    assert nearest("CIFAR10", ["cifar10", "x"]) == "did you mean cifar10?"
    assert nearest("zzz", ["b", "a"]) == "valid names: a, b"
    assert nearest("zzz", []) == "there are none"


def test_nearest_lists_few_of_many() -> None:
    many = [f"name{k:03d}" for k in range(200)]
    assert nearest("zzz", many).endswith("name019 and 180 more")


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ROOT", "DATA", "CACHE", "ZOO", "RESULTS"):
        monkeypatch.delenv(f"INTRIGUING_{variable}", raising=False)
    assert paths.root() == BOOK and paths.data_dirs() == [BOOK / "data"]
    by_hand = BOOK / "_build" / "cpu" / "by-hand"
    assert paths.results_dir("02-x", "cpu") == by_hand / "02-x"
    for session, place in (("02-x-Copy1.ipynb", "02-x-Copy1"), ("a/02-x.ipynb", "a/02-x"),
                           ("/../a b.ipynb", "a b"), ("console-1-0f3a", "02-x")):
        monkeypatch.setenv("JPY_SESSION_NAME", session)
        assert paths.results_dir("02-x", "cpu") == by_hand / place
    monkeypatch.setenv("INTRIGUING_ROOT", str(tmp_path))
    assert paths.cache_dir() == tmp_path / "_build" / "cache"
    assert paths.zoo_dir() == tmp_path / "_build" / "zoo"
    assert paths.profiles_dir() == tmp_path / "notebooks" / "profiles"
    assert paths.chapters_dir() == tmp_path / "book" / "chapters"
    assert paths.published_results_dir() == tmp_path / "book" / "results"
    monkeypatch.setenv("INTRIGUING_DATA", str(tmp_path / "pack"))
    assert paths.data_dirs() == [tmp_path / "pack", tmp_path / "data"]
    monkeypatch.setenv("INTRIGUING_RESULTS", str(tmp_path / "r"))
    assert paths.results_dir("02-x", "cpu") == tmp_path / "r"
    assert not list(tmp_path.iterdir()), "looking creates nothing"
    monkeypatch.setenv("INTRIGUING_ROOT", str(tmp_path / "gone"))
    with pytest.raises(UserError, match="INTRIGUING_ROOT is .*gone, which is not a folder"):
        paths.root()


def test_every_gzip_of_a_tar_is_read_to_its_checksum(book: Path, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "pets.tar.gz", tree())
    plain = gzip.decompress(path.read_bytes())
    content = bytearray(gzip.compress(plain))
    content[-6] ^= 1  # the CRC in gzip's trailer, which a reader that stops early never sees
    path.write_bytes(content)
    with pytest.raises(UserError, match="truncated or damaged"):
        data.load(path, "train")


def test_nothing_is_downloaded_where_that_is_forbidden(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = catalog.Source("colours", "", "https://example.org", "", 10, {"train": 5},
                            torchvision="CIFAR10")
    monkeypatch.setattr(vision, "download", lambda *_: pytest.fail("it was downloaded"))
    monkeypatch.setenv("INTRIGUING_OFFLINE", "1")
    with pytest.raises(UserError, match="INTRIGUING_OFFLINE is set"):
        catalog.acquire(source, "train")
