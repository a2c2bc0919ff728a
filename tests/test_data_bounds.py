"""What is read of pictures and containers, and what is refused before memory is asked for."""

import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intriguing import data
from intriguing.data import bounds, cache, catalog, images
from intriguing.errors import UserError

GREYS = np.array([[0, 60, 255], [200, 90, 30]], np.uint8)
COLOURS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14


@pytest.fixture(autouse=True)
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


def encoded(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **{"format": "PNG", **options})
    return stream.getvalue()


def palette(pixels: np.ndarray) -> Image.Image:
    """Return an image of few colours with a palette of its own."""
    image = Image.fromarray(pixels).convert("RGB")
    return image.quantize(len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) or 1)


# ---------------------------------------------------------------- transparent and grey pictures


def test_opaque_transparency_changes_no_pixel():
    alpha = np.full((2, 3, 1), 255, np.uint8)
    coloured = images.decode(encoded(Image.fromarray(np.dstack([COLOURS, alpha]))), "a.png")
    grey = images.decode(encoded(Image.fromarray(np.dstack([GREYS, alpha]), "LA")), "a.png")
    assert np.array_equal(coloured, COLOURS.transpose(2, 0, 1))
    assert np.array_equal(grey, GREYS[None]), "grey with an alpha channel has one channel"


def test_what_is_transparent_shows_the_ground():
    """Over white a pixel of colour c and opacity a is a c + (1 - a) 255."""
    alpha = np.array([[0, 255, 128], [64, 200, 255]], np.uint8)[..., None]
    share = alpha / 255
    for pixels, mode in ((COLOURS, "RGBA"), (GREYS[..., None], "LA")):
        content = encoded(Image.fromarray(np.concatenate([pixels, alpha], 2), mode))
        found = images.decode(content, "a.png").transpose(1, 2, 0)
        assert found.shape == pixels.shape
        assert np.abs(found - (share * pixels + (1 - share) * 255)).max() <= 1
    black = np.zeros((2, 3, 4), np.uint8)
    black[0, 0, 3] = 255  # a black dot, and black that nobody sees: all of it was black before
    found = images.decode(encoded(Image.fromarray(black)), "a.png")
    assert (found == 0).sum() == 3 and (found == 255).sum() == 15


def test_transparency_by_one_colour():
    """PNG can name one grey, colour or palette entry as the transparent one."""
    grey = encoded(Image.fromarray(GREYS), transparency=60)
    assert np.array_equal(images.decode(grey, "a.png")[0], np.where(GREYS == 60, 255, GREYS))
    coloured = encoded(Image.fromarray(COLOURS), transparency=tuple(map(int, COLOURS[0, 1])))
    expected = COLOURS.copy()
    expected[0, 1] = 255
    assert np.array_equal(images.decode(coloured, "a.png"), expected.transpose(2, 0, 1))
    few = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    few.putpalette([10, 10, 10, 20, 30, 40, 50, 50, 50])
    for form in ("PNG", "GIF"):
        found = images.decode(encoded(few, transparency=1, format=form), "a")
        assert found.tolist() == [[[10, 255, 50]]], "without the colour it is a picture of greys"


def test_a_palette_of_greys_is_grey():
    for form in ("PNG", "GIF", "BMP"):
        content = encoded(palette(np.repeat(GREYS[..., None], 3, 2)), format=form)
        assert np.array_equal(images.decode(content, "a"), GREYS[None]), form
    assert images.decode(encoded(palette(COLOURS)), "a").shape == (3, 2, 3)
    coloured = images.decode(encoded(Image.fromarray(np.repeat(GREYS[..., None], 3, 2))), "a")
    assert coloured.shape == (3, 2, 3), "what is stored in three channels keeps them"


def test_white_on_nothing_is_refused():
    drawing = np.full((2, 3, 4), 255, np.uint8)
    drawing[0, :, 3] = 0
    with pytest.raises(UserError, match=r"a.png is transparent and shows nothing on white.*ground"):
        images.decode(encoded(Image.fromarray(drawing)), "a.png")


# ---------------------------------------------------------------- pictures


def claims(width: int, height: int) -> bytes:
    """Return a PNG of 60 bytes or so whose header claims any size."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (struct.pack(">I", len(content)) + kind + content
                + struct.pack(">I", zlib.crc32(kind + content)))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0"))
            + chunk(b"IEND", b""))


@pytest.mark.parametrize("side", [9460, 13_378, 60_000])  # 9460: Pillow is silent up to 89 million
def test_a_picture_of_too_many_pixels(side, monkeypatch):
    with pytest.raises(UserError, match="b.png is larger than the 89,478,485 pixels"):
        images.decode(claims(side, side), "b.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a caller who wants no warning
    with pytest.raises(UserError, match="b.png is larger than the 89,478,485 pixels"):
        images.decode(claims(side, side), "b.png")


def test_only_the_stated_formats_are_opened():
    grey = Image.fromarray(GREYS)
    for form in ("PNG", "BMP", "TIFF", "PPM", "GIF"):
        assert np.array_equal(images.decode(encoded(grey, format=form), "a")[0], GREYS), form
    for form in ("JPEG", "WEBP"):
        assert images.decode(encoded(grey, format=form, quality=100), "a").shape[1:] == (2, 3)
    for form in ("EPS", "PCX", "TGA"):  # Pillow starts Ghostscript for the first
        with pytest.raises(UserError, match="a is not a readable image .PNG, JPEG, BMP"):
            images.decode(encoded(grey, format=form), "a")


def test_a_size_to_resize_to_is_bounded(tmp_path):
    with pytest.raises(ValueError, match="size must be at most 8192, not 8193"):
        data.load(tmp_path / "pets.zip", "train", size=8193)


# ---------------------------------------------------------------- archives


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def refused(path: Path, message: str) -> None:
    """Loading is refused in one sentence, before much memory is asked for."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message) as caught:
            data.load(path, "train")
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_a_sparse_tar(tmp_path):
    """A member of 8 TiB of nothing takes a kilobyte in GNU's sparse form."""
    path = tmp_path / "sparse.tar"
    info = tarfile.TarInfo("train/cat/0.png")
    info.pax_headers = {"GNU.sparse.size": str(2**43), "GNU.sparse.numblocks": "1",
                        "GNU.sparse.offset": "0", "GNU.sparse.numbytes": "1"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    content = path.read_bytes()
    assert len(content) < 20_000
    refused(path, r"train/cat/0.png has 8 TiB, and at most 512 MiB are read of a picture")


def test_a_tar_whose_header_claims_a_name_of_a_gibibyte(tmp_path):
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        for first in (False, True):
            path = tmp_path / f"long{ord(kind)}{first}.tar"
            with tarfile.open(path, "w") as archive:
                if not first:
                    add(archive, "train/cat/0.png", encoded(Image.fromarray(GREYS)))
            info = tarfile.TarInfo("x")
            info.type, info.size = kind, 2**30
            whole = path.read_bytes().rstrip(b"\0")
            whole += bytes(-len(whole) % tarfile.BLOCKSIZE)
            path.write_bytes(whole + info.tobuf(format=tarfile.GNU_FORMAT) + bytes(1024))
            refused(path, "a header claims 1 GiB, and at most 1 MiB are read")


def test_small_archives_that_unpack_huge(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "MEMBER_BYTES", 2**20)
    zeros = bytes(2**20 + 1)
    packed = tmp_path / "bomb.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/0.png", zeros)
    refused(packed, "bomb.zip: train/cat/0.png has 1 MiB, and at most 1 MiB are read")
    packed = tmp_path / "bomb.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:  # of a split that nobody asked for: see the code
        add(archive, "test/cat/0.png", zeros)
    refused(packed, "bomb.tar.gz: test/cat/0.png has 1 MiB")
    monkeypatch.setattr(bounds, "PADDING_BYTES", 2**20)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        add(archive, "train/cat/0.png", encoded(Image.fromarray(GREYS)))
    (endless := tmp_path / "endless.tar.gz").write_bytes(
        gzip.compress(stream.getvalue() + bytes(2**22)))
    refused(endless, "goes on for more than 1 MiB behind its end mark")


def test_members_and_decoded_images_are_counted(tmp_path, monkeypatch):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(4):
            archive.writestr(f"train/cat/{number}.png", encoded(Image.fromarray(COLOURS)))
    assert len(data.load(path, "train")) == 4
    path.write_bytes(path.read_bytes() + b"")
    monkeypatch.setattr(bounds, "MEMBERS", 3)
    monkeypatch.setattr(cache, "RECIPE", "other")  # else the images come from the cache
    refused(path, "more than the 3 members that are read")
    monkeypatch.undo()
    monkeypatch.setenv("INTRIGUING_ROOT", str(tmp_path / "book"))
    monkeypatch.setattr(cache, "RECIPE", "other")
    monkeypatch.setattr(bounds, "memory", lambda: 100)
    refused(path, "holds 54 bytes of decoded images, and at most 50 bytes are read, half of this")


def test_the_memory_of_this_machine_is_a_number_of_bytes():
    assert 2**28 < bounds.memory() < 2**50


def test_a_folder_with_a_pipe_or_a_loop_ends(tmp_path):
    folder = tmp_path / "pets"
    (folder / "train" / "cat").mkdir(parents=True)
    (folder / "train" / "cat" / "0.png").write_bytes(encoded(Image.fromarray(GREYS)))
    assert len(data.load(folder, "train")) == 1
    loop = folder / "train" / "cat" / "up"
    loop.symlink_to(folder / "train")
    refused(folder, "up is a link to a folder that it lies in")
    loop.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "train" / "cat" / "1.png")
        refused(folder, "1.png is no file")
        os.mkfifo(tmp_path / "own.npz")
        refused(tmp_path / "own.npz", "neither a file nor a folder")


def test_two_folders_that_link_to_each_other_end(tmp_path):
    folder = tmp_path / "pets"
    for label, other in (("cat", "dog"), ("dog", "cat")):
        (folder / "train" / label).mkdir(parents=True)
        (folder / "train" / label / "0.png").write_bytes(encoded(Image.fromarray(GREYS)))
        (folder / "train" / label / "other").symlink_to(folder / "train" / other)
    refused(folder, "is a link to a folder that it lies in")


# ---------------------------------------------------------------- names of classes


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_one_name_in_two_forms_of_unicode_is_one_class(tmp_path, kind):
    """macOS packs an accent as a character of its own, Linux and Windows one for both."""
    composed, split = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != split
    members = {f"train/{split}/0.png": GREYS, f"train/{composed}/1.png": 255 - GREYS,
               "train/tea/0.png": GREYS // 2, f"test/{composed}/0.png": GREYS,
               "test/tea/0.png": GREYS}
    contents = {name: encoded(Image.fromarray(pixels)) for name, pixels in members.items()}
    path = tmp_path / f"pets.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    elif kind == "tar":
        with tarfile.open(path, "w") as archive:
            for name, content in contents.items():
                add(archive, name, content)
    else:
        for name, content in contents.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    for split_name, counts in (("train", [2, 1]), ("test", [1, 1])):
        found = data.load(path, split_name)
        assert found.classes == (composed, "tea") and found.y.bincount().tolist() == counts
    assert len(data.load(path, "train", classes=[split])) == 2


# ---------------------------------------------------------------- .npz


def npz(path: Path, arrays: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an array of uint8, without the array."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_an_npz_that_claims_what_it_does_not_hold(tmp_path):
    labels = npy(np.array([0, 1], np.uint8))
    for shape, size in (((10**6, 1000, 1000), "931.3 GiB"), ((2**40, 2**40, 2**40), "EiB")):
        path = npz(tmp_path / "claims.npz", {"x_train": header(shape), "y_train": labels})
        refused(path, f"x_train.npy claims .*{size} and holds 1.* bytes")
    long = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{"
    refused(npz(tmp_path / "long.npz", {"x_train": long, "y_train": labels}),
            "the header of x_train.npy has 2147483648 bytes, at most 10000 are read")
    for content in (b"", b"text", b"\x93NUMPY\x09\x00"):
        refused(npz(tmp_path / "text.npz", {"x_train": content, "y_train": labels}),
                "x_train.npy is no array of numbers")


def test_an_npz_of_more_than_half_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "memory", lambda: 2**21)
    path = npz(tmp_path / "large.npz", {"x_train": npy(np.zeros((2, 1024, 600), np.uint8)),
                                        "y_train": npy(np.array([0, 1]))})
    refused(path, "large.npz holds 1.172 MiB of decoded images, and at most 1 MiB are read")


@pytest.mark.parametrize("label", [2**40, 2**63 + 5, 100_000])
def test_a_label_does_not_name_all_the_classes_below(tmp_path, label):
    arrays = {"x_train": npy(np.zeros((2, 4, 4), np.uint8)),
              "y_train": npy(np.array([0, label], np.uint64))}
    refused(npz(tmp_path / "far.npz", arrays),
            f"has the label {label}: labels count classes from 0, and at most 100,000 classes")
    names = {"classes": npy(np.array(["a", "b"]))}
    refused(npz(tmp_path / "named.npz", arrays | names), f"label {label}: .* there are 2 names")


def test_labels_that_are_exchanged_are_bounded_too():
    for y, message in ((torch.tensor([0, 2**40]), "100,000 classes, got the label 1099511627776"),
                       (torch.tensor([0, -1]), "from 0, got .-1."), (torch.tensor([]), "none")):
        with pytest.raises(ValueError, match=message):
            data.mislabelled(y, 0.5, 0)


# ---------------------------------------------------------------- a file that is good again


def test_a_restored_file_is_hashed_again_before_it_is_refused(book, monkeypatch):
    """A restored copy may have the size and the time of the damaged one."""
    good = npz(book / "data" / "tiny.npz", {
        "x_train": npy(np.arange(32, dtype=np.uint8).reshape(2, 4, 4)),
        "y_train": npy(np.array([0, 1]))})
    content, stat = good.read_bytes(), good.stat()
    (book / "data" / "sources.toml").write_text(
        '[tiny]\ntitle = "t"\nurl = "u"\nlicence = "l"\nclasses = 2\nsplits = { train = 2 }\n'
        f'file = "tiny.npz"\nsha256 = "{cache.file_sha256(good)}"\n', encoding="utf-8")
    damaged = content[:-3] + b"\1" + content[-2:]
    for written, right in ((content, True), (damaged, False), (content, True), (damaged, None)):
        good.write_bytes(written)
        os.utime(good, ns=(stat.st_atime_ns, stat.st_mtime_ns if right is not None else 0))
        if right:
            assert len(data.load("tiny", "train")) == 2
        elif right is None:
            with pytest.raises(UserError, match="damaged or another one"):
                data.load("tiny", "train")
        else:
            with pytest.raises(UserError, match="damaged or another one"):
                catalog.check_file(data.sources()["tiny"], good, again=True)


def test_a_table_of_another_encoding_is_one_sentence(book):
    (book / "data" / "sources.toml").write_bytes('[a]\ntitle = "café"'.encode("cp1252"))
    with pytest.raises(UserError, match="sources.toml, line .*: the byte 0x"):
        data.sources()
