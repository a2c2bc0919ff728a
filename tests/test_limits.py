"""Ranges of parameters: what `notebooks/limits.yml` declares, and chapters and profiles by it."""

import io
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from intriguing import chapters, data, records
from intriguing.book.gates import house, notebooks
from intriguing.errors import UserError
from intriguing.records import formulas, known, limits

ROOT = Path(__file__).resolve().parents[1]


def refused(number: str, changed: dict, *, profile: str = "smoke") -> str:
    """Return the one sentence that refuses these parameters of a chapter."""
    with pytest.raises(UserError) as caught:
        chapters.resolve(chapters.find(number), profile, changed)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_parameter_named_is_one_and_every_number_has_a_range():
    declared = limits.load()
    assert list(declared) == chapters.names()
    for name, lines in declared.items():
        found = chapters.find(name).parameters
        assert lines.keys() <= found.keys(), name
        others = {"imagenet_network", "imagenet_networks", "train_split", "held_split",
                  "secured_network"}
        for parameter in found.values():
            if isinstance(parameter.default, int | float | list) \
                    and not isinstance(parameter.default, bool) and parameter.name not in others:
                assert parameter.name in lines, f"{parameter.name} of {name}"
        for limit in lines.values():
            bounds = [limit.least, limit.most, limit.above, *limit.has]
            for bound in (one for one in bounds if isinstance(one, str)):
                assert formulas.names_in(bound) <= {*found, "len", "max", "min", "images"}, bound
            for other in (limit.of, limit.beyond, limit.unless):
                assert not isinstance(other, str) or not other or other in found


@pytest.mark.parametrize("profile", chapters.SCALES)
def test_every_profile_lies_in_the_ranges(profile):
    assert len(chapters.settings(profile)) == len(chapters.names())


@pytest.mark.parametrize("number, changed, message", [
    ("02", {"n_images": 5}, "n_images of 02-box-constrained-lbfgs is 5, and must be at least 10"),
    ("02", {"n_images": -5}, "is -5, and must be at least 10"),
    ("02", {"n_readings": 50}, "n_readings of 02-.* is 50, and must be at most 20, min.n_images"),
    ("02", {"n_images": 12, "n_readings": 10, "n_reading_seeds": 2}, "at most 1, len.seeds"),
    ("02", {"n_images": 10**6}, "must be at most 4000, images.dataset, \"train\""),
    ("02", {"seeds": [0, 0]}, "must not have 0 twice: intervals take seeds for independent"),
    ("04", {"alexnet_seeds": [3, 1, 3]}, "alexnet_seeds of 04-.*must not have 3 twice"),
    ("02", {"seeds": []}, "must have at least one item"),
    ("02", {"seeds": [-1]}, "must have no seed below 0"),
    ("02", {"dataset": "cifar10"}, "has 10 classes of 3 x 32 x 32 pixels, where .* of 1 x 28 x 28"),
    ("05", {"dataset": "cifar100"}, "has 100 classes of 3 x 32 x 32 pixels, where .*10 classes"),
    ("06", {"dataset": "mnits"}, "there is no data set 'mnits': did you mean mnist"),
    ("03", {"conv_networks": ["CNN"]}, "must have at least 2 items"),
    ("03", {"conv_networks": ["CNN", "VGG", "CNN"]}, "must not have 'CNN' twice"),
    ("04", {"n_images": 1}, "n_images of 04-spectral-bounds is 1, and must be at least 2"),
    ("04", {"n_all": 30}, "must be at most 20, n_images"),
    ("04", {"alexnet_size": 32}, "must be at least 63"),
    ("06", {"networks": ["CNN"]}, "map_networks of 06-.*must be among networks = .'CNN'., which "
     "lacks 'FC100-100-10': set both"),
    ("06", {"networks": ["FC100-100-10"]}, "must have an item that does not start with FC"),
    ("06", {"strengths": [0.5]}, "must have 1.0 among its items"),
    ("06", {"eps": 8.0}, "must be at most 1"),
    ("06", {"eps": 0.0}, "must be above 0"), ("06", {"grid": 1}, "at least 2"),
    ("07", {"sources": ["CNN"]}, "must have an item that starts with ResNet"),
    ("07", {"targets": ["CNN"]}, "at least 2 items"), ("07", {"near": [6.0]}, "at least 3 items"),
    ("07", {"n_methods": 5}, "n_images of 07-.* is 6, and must be at most 5, n_methods"),
    ("08", {"targets": ["CNN"]}, "must have an item that ensemble = .* lacks"),
    ("08", {"factorial_source": "CNN"}, "must start with ResNet"),
    ("08", {"secured": ["trades"]}, "must be among pgd, fgsm-rs, not 'trades'"),
    ("08", {"kernel": 4}, "must be odd"), ("09", {"rates": [0.3]}, "must have 0.5 among"),
    ("09", {"n_exact": 7}, "at most 6, n_images"),
    ("10", {"weights": [10.0, 1.0]}, "must have its smallest item first"),
])
def test_what_used_to_end_late_is_refused_at_once(number, changed, message):
    assert re.search(message, refused(number, changed))


@pytest.mark.parametrize("number, changed", [
    ("02", {"n_images": 10}), ("02", {"n_images": 50, "n_readings": 50}), ("03", {"n_images": 5}),
    ("03", {"conv_dataset": "cifar10-jpeg"}), ("04", {"n_images": 2}), ("06", {"n_maps": 1}),
    ("06", {"networks": ["CNN"], "map_networks": ["CNN"]}), ("06", {"strengths": [1.0]}),
    ("07", {"far": []}), ("07", {"targets": ["FC100-100-10", "CNN"]}), ("08", {"secured": []}),
    ("08", {"kernel": 1}), ("02", {"seeds": [5]})])
def test_what_works_is_not_refused(number, changed):
    chapters.resolve(chapters.find(number), "smoke", changed)


def own(path: Path, classes: int) -> Path:
    """Write ten digits or fewer as an `.npz` of one's own, 28 x 28."""
    y = np.arange(30) % classes
    arrays = {f"{axis}_{split}": value for split in ("train", "test")
              for axis, value in (("x", np.zeros((30, 28, 28), np.uint8)), ("y", y))}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(f"{name}.npy", stream.getvalue())
    return path


def test_a_set_of_ones_own_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_CACHE", str(tmp_path / "cache"))
    three = own(tmp_path / "three.npz", 3)
    assert "has 3 classes of 1 x 28 x 28 pixels, where" in refused("02", {"dataset": str(three)})
    assert known.form(str(own(tmp_path / "ten.npz", 10))) == (10, (1, 28, 28))
    chapters.resolve(chapters.find("02"), "smoke", {"dataset": str(tmp_path / "ten.npz")})
    (tmp_path / "cut.npz").write_bytes(b"PK")
    assert "cannot be read as .npz" in refused("02", {"dataset": str(tmp_path / "cut.npz")})
    for source in data.sources().values():
        assert known.form(source.name) == (source.classes, source.shape) and source.shape


def test_a_folder_in_the_working_directory_is_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mydata", "mnist"):
        (tmp_path / name).mkdir()
    chapter = chapters.find("02")
    for text, value in (("mydata", str(tmp_path / "mydata")), ("mnist", "mnist"), ("no", "no"),
                        ("./mnist", str(tmp_path / "mnist")), ("", "")):
        assert chapters.parse_value(chapter, "dataset", text) == value
    (tmp_path / "V1").mkdir()
    assert chapters.parse_value(chapters.find("04"), "alexnet_weights", "V1") == "V1"


def test_it_is_misuse_on_the_command_line_and_takes_no_torch():
    program = ("import sys; from intriguing import cli\n"
               "status = cli.main(['run', '02', '-p', 'n_images', '5'])\n"
               "sys.exit(90 if 'torch' in sys.modules else status)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=os.environ | {"INTRIGUING_ROOT": str(ROOT)}, timeout=60)
    assert done.returncode == 2 and "must be at least 10" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_notebook_run_by_hand_is_told_too():
    namespace = dict(chapters.resolve(chapters.find("02"), "smoke").parameters)
    namespace |= {"n_images": "5", "device": "cpu"}
    before = dict(namespace)
    with pytest.raises(UserError, match="n_images of 02-.* is 5, and must be at least 10"):
        records.start("02-box-constrained-lbfgs", namespace)
    assert namespace == before
    with pytest.raises(ValueError, match=r"seeds \[1, 2, 1\] has a seed twice"):
        records.start("02-x", profile="cpu", parameters={}, seeds=[1, 2, 1], device="cpu")


# ---------------------------------------------------------------- the file itself


def ranges(tiny_book, text: str):
    """Give the small book a chapter and a file of ranges."""
    tiny_book.add("01-first")
    (tiny_book.root / "notebooks" / limits.FILE).write_text(text, encoding="utf-8")
    return chapters.find("01")


@pytest.mark.parametrize("text, message", [
    ("01-first: {n_images: {leest: 2}}", "n_images of 01-first has 'leest': did you mean least?"),
    ("01-first: 3", "cannot be read"), ("01-first: {n_images: [1]}", "cannot be read"),
    ("a: [", "cannot be read"),
    ("01-first: {n_images: {least: n_imges}}", "n_images of 01-first: no parameter 'n_imges', did"),
    ("01-first: {n_images: {least: 'open()'}}", "is no part of such a formula"),
    ("01-first: {n_images: {least: 010}}", "010 is 8 to YAML")])
def test_a_wrong_line_is_named(tiny_book, text, message):
    with pytest.raises(UserError, match=message) as caught:
        chapters.resolve(ranges(tiny_book, text), "smoke")
    assert f"notebooks/{limits.FILE}" in str(caught.value)


def test_a_book_without_the_file_and_a_chapter_without_lines(tiny_book):
    chapter = ranges(tiny_book, "02-other: {n: {least: 1}}")
    chapters.resolve(chapter, "smoke", {"n_images": -3})
    (tiny_book.root / "notebooks" / limits.FILE).unlink()
    chapters.resolve(chapter, "smoke", {"n_images": -3, "networks": []})
    assert limits.load() == {}


def test_the_gate_names_a_profile_outside_its_range(tiny_book):
    tiny_book.add("01-first", cpu={"n_images": 100})
    (tiny_book.root / "notebooks" / limits.FILE).write_text(
        "01-first: {n_images: {most: 50}}", encoding="utf-8")
    found = [problem for problem in notebooks.profiles_fit(house.load())
             if "01-first is 100" in problem.what]
    assert [problem.where for problem in found] == ["notebooks/profiles/cpu.yml"]
    assert "must be at most 50" in found[0].what


def test_the_words_of_a_range():
    assert limits.Limit(least=2, most="n").words() == "at least 2, at most n"
    assert limits.Limit(of="sources", length=2).words() == "of sources, 2 or more"
    assert limits.Limit(above=0, has=(1.0,)).words() == "above 0, with 1.0"
    for one in fields(limits.Limit):
        assert one.name in limits.__doc__, f"{one.name} is explained"
