"""Chapters, profiles and the strict check of parameters."""

import math

import pytest

from intriguing import chapters
from intriguing.errors import UserError
from intriguing.records import parameters


@pytest.fixture
def chapter(tiny_book):
    tiny_book.add("01-first", cpu={"n_images": 100, "eps": "1/4"})
    tiny_book.add("02-second", title="The second")
    return chapters.find("01-first")


def test_a_chapter_is_found_by_name_number_and_path(chapter):
    assert chapters.names() == ["01-first", "02-second"]
    for name in ("02-second", "02", "2", "notebooks/02-second.ipynb"):
        found = chapters.find(name)
        assert (found.name, found.title) == ("02-second", "The second")


@pytest.mark.parametrize("name, hint", [
    ("02-secnd", "did you mean 02-second?"), ("second", "02-second"), ("9", "01-first"),
    ("", "01-first"), ("0", "01-first")])
def test_a_misspelt_chapter_gets_the_nearest_names(chapter, name, hint):
    with pytest.raises(UserError, match="no chapter is called") as error:
        chapters.find(name)
    assert hint in str(error.value)


def test_parameters_are_read_with_their_types_and_comments(chapter):
    found = chapter.parameters
    assert list(found) == ["profile", "n_images", "eps", "networks", "subset", "squared"]
    assert math.isclose(found["eps"].default, 8 / 255)
    assert found["eps"].comment == "float, L_inf budget in pixel units"
    assert found["subset"].expects() == "int or None"
    assert found["squared"].types == (bool,)


@pytest.mark.parametrize("line, types", [
    ("x = 1", (int,)), ("x = 1  # float, a rate", (float,)), ("x = -1e-3", (float,)),
    ("x: int | None = 1", (int, type(None))), ("x = (1, 2)", (tuple,)), ("x = None", ()),
    ("x = 'a'  # str, not a float", (str,)), ("x = {'a': 1}", (dict,))])
def test_types_come_from_default_annotation_and_comment(line, types):
    assert parameters.parse(line, "here")["x"].types == types


@pytest.mark.parametrize("source, wrong", [
    ("x = range(3)", "x = range(3)"), ("import os", "import os"), ("x, y = 1, 2", "x, y"),
    ("x = y = 1", "x = y"), ("x = 1 / 0", "1 / 0"), ("x = 'a' + 'b'", "'a' + 'b'"),
    ("x: int", "x: int"), ("x += 1", "x += 1"), ("x =", "not Python"), ("x = 1\nx = 2", "twice"),
    ("x = [i for i in '1']", "x =")])
def test_a_parameters_cell_holds_literals_only(source, wrong):
    with pytest.raises(UserError) as error:
        parameters.parse(source, "01-first.ipynb")
    assert wrong in str(error.value) and "01-first.ipynb" in str(error.value)


@pytest.mark.parametrize("name, text, value", [
    ("n_images", "200", 200), ("n_images", "-3", -3), ("eps", "1", 1.0), ("eps", "1e-3", 0.001),
    ("eps", "4/255", 4 / 255), ("networks", "['x']", ["x"]), ("networks", "[x, y]", ["x", "y"]),
    ("networks", "[]", []), ("subset", "7", 7), ("subset", "None", None), ("subset", "null", None),
    ("squared", "false", False), ("squared", "True", True)])
def test_values_are_read_and_take_the_type_of_the_default(chapter, name, text, value):
    read = chapters.parse_value(chapter, name, text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("name, text, wrong", [
    ("n_images", "many", "takes int (default 3), not 'many'"), ("n_images", "2.5", "int"),
    ("n_images", "True", "int"), ("n_images", "None", "int"), ("eps", "small", "float"),
    ("eps", "True", "float"), ("eps", "__import__('os')", "float"), ("networks", "a", "list"),
    ("networks", "[1, 2]", "list"), ("subset", "2.5", "int or None"), ("squared", "1", "bool"),
    ("n_image", "5", "did you mean n_images?"), ("zzz", "5", "it has n_images, eps"),
    ("profile", "cpu", "use --profile"), ("n_images", "", "int"), ("n_images", "[", "int")])
def test_a_wrong_value_or_name_is_refused(chapter, name, text, wrong):
    with pytest.raises(UserError) as error:
        chapters.resolve(chapter, "smoke", {name: chapters.parse_value(chapter, name, text)})
    assert wrong in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name, text, message", [
    ("n_images", "012", "012 is 10 to YAML, in eights: write 10 or 12"),
    ("n_images", "-0_20", "-0_20 is -16 to YAML, in eights: write -16 or -20"),
    ("n_images", "1:30", "1:30 is 90 to YAML, in sixties: write 90, or '1:30' in quotes"),
    ("eps", "1:30.5", "1:30.5 is 90.5 to YAML"), ("subset", "010", "010 is 8 to YAML"),
    ("networks", "[no, b]", "no is false to YAML: write false, or 'no' in quotes for the word"),
    ("networks", "[a, On]", "On is true to YAML"), ("networks", "[2020-01-02]", "a date to YAML")])
def test_what_yaml_and_people_read_differently_is_refused(chapter, name, text, message):
    with pytest.raises(UserError) as error:
        chapters.parse_value(chapter, name, text)
    assert str(error.value).startswith(f"{name} of 01-first: ") and message in str(error.value)


@pytest.mark.parametrize("name, text, value", [
    ("squared", "yes", True), ("squared", "Off", False), ("n_images", "0o12", 10),
    ("n_images", "0x1f", 31), ("n_images", "1_000", 1000), ("networks", "['no', \"1:30\"]",
    ["no", "1:30"]), ("eps", "0.25", 0.25), ("n_images", "0", 0)])
def test_what_is_clear_is_taken(chapter, name, text, value):
    assert chapters.parse_value(chapter, name, text) == value


@pytest.mark.parametrize("text, message", [
    ("020", "is 16 to YAML, in eights: write 16 or 20"), ("1:30", "is 90 to YAML, in sixties"),
    ("no", "no is false to YAML"), ("2020-01-02", "is a date to YAML")])
def test_a_profile_with_such_a_value_names_its_line(chapter, tiny_book, text, message):
    path = tiny_book.root / "notebooks" / "profiles" / "cpu.yml"
    path.write_text(f"01-first:\n  networks: [a]\n  n_images: {text}\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"^profiles/cpu.yml, line 3: {text}.*") as error:
        chapters.load_profile("cpu")
    assert message in str(error.value)
    path.write_text("01-first:\n  squared: true\n  networks: ['no', '012']\n", encoding="utf-8")
    assert chapters.resolve(chapter, "cpu").parameters["networks"] == ["no", "012"]
    path.write_bytes("01-first: {}  # caf\xe9".encode("cp1252"))
    with pytest.raises(UserError, match=r"profiles/cpu.yml, line 1: the byte 0xe9"):
        chapters.load_profile("cpu")


def test_a_list_names_the_item_that_does_not_fit():
    seeds = parameters.parse("seeds = [0]  # list of int", "here")["seeds"]
    takes = r"takes a list of int \(default \[0\]"
    for value, message in ((["0 1"], rf"{takes}, commas between the items\): '0 1' in it is str"),
                           ([0, 1.5], rf"{takes}\): 1.5 in it is float")):
        with pytest.raises(ValueError, match=message):
            seeds.take(value)
    assert seeds.take((3, 4)) == [3, 4]


def test_text_stays_text_and_a_path_becomes_absolute(tiny_book, tmp_path, monkeypatch):
    tiny_book.add("01-text", parameters='profile = "smoke"\ndataset = "mnist"  # str\n')
    chapter = chapters.find("1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cats.zip").touch()
    (tmp_path / "mnist").touch()
    for text, value in (("2024", "2024"), ("mnist", "mnist"), ("dogs.zip", "dogs.zip"),
                        ("cats.zip", str(tmp_path / "cats.zip"))):
        assert chapters.parse_value(chapter, "dataset", text) == value


def test_defaults_then_profile_then_overrides(chapter):
    settings = chapters.resolve(chapter, "cpu", {"n_images": 7})
    assert settings.parameters == {
        "profile": "cpu", "n_images": 7, "eps": 0.25, "networks": ["a", "b"], "subset": None,
        "squared": True}
    assert settings.injected == {"profile": "cpu", "n_images": 7, "eps": 0.25}
    assert settings.overrides == {"n_images": 7}
    assert chapters.resolve(chapter, "smoke").injected == {"profile": "smoke"}


def test_profiles_are_checked_too(chapter, tiny_book):
    assert chapters.profiles() == ["smoke", "cpu"]
    with pytest.raises(UserError, match=r"no profile is called 'cpus': did you mean cpu\?"):
        chapters.resolve(chapter, "cpus")
    path = tiny_book.root / "notebooks" / "profiles" / "cpu.yml"
    for text, wrong in (("01-first: {n_image: 3}", "cpu.yml"),
                        ("01-first: {n_images: x}", "cpu.yml"),
                        ("01-frst: {}", "says nothing about 01-first"), ("- 1", "must map"),
                        ("01-first: 3", "01-first must map"), ("a: [", "not valid YAML"),
                        ("01-first: {}\n01-first: {}", "given twice"),
                        ("01-first: {profile: gpu}", "--profile")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError) as error:
            chapters.resolve(chapter, "cpu")
        assert wrong in str(error.value) and "\n" not in str(error.value), text


def test_broken_sources_are_named(tiny_book):
    path = tiny_book.add("01-first", parameters="n = 1")
    with pytest.raises(UserError, match="01-first.ipynb needs `profile"):
        chapters.find("1")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="01-first.ipynb cannot be read"):
        chapters.find("1")
    path.write_text('{"cells": []}', encoding="utf-8")
    with pytest.raises(UserError, match="0 cells tagged 'parameters'"):
        chapters.find("1")
