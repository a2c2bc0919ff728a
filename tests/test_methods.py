"""The contract of a method's file, for every file there is; specs that grow without moving."""

import json
import re
import sys
import types
import typing
from dataclasses import fields, is_dataclass, replace

import attacknets
import pytest
import torch

from intriguing import models, paths, runtime, specs, zoo
from intriguing.methods import method
from intriguing.models import cnn
from intriguing.training import MethodOptions, Passes
from intriguing.training.options import names as option_names

SETTINGS = [
    (name, kind, network, setting)
    for name in method.names()
    for kind, networks in method.find(name).OURS.items()
    for network, setting in networks.items()
]


def test_the_methods_are_the_files():
    first = {"plain", "szegedy", "szegedy_pools", "unit_dropout", "interaction_loss", "madry"}
    assert first <= set(method.names())
    assert "method" not in method.names()
    with pytest.raises(ValueError, match="no method 'mardy': did you mean madry"):
        method.find("mardy")


@pytest.mark.parametrize("name", method.names())
def test_a_file_keeps_the_contract(name):
    here = method.find(name)
    keys = re.findall(r"@\w+\{(.+),", (paths.book_dir() / "references.bib").read_text("utf-8"))
    assert here.cite in ("", *keys) and here.version >= 1
    assert issubclass(here.Options, MethodOptions) and here.Options.__dataclass_params__.frozen
    assert here.PAPER is None or (here.PAPER.where and here.PAPER.tag)
    assert hasattr(here, "train") or (hasattr(here, "objective") and "fit" in names(here.Options))
    assert here.OURS and set(here.OURS) <= {"grey", "colour"}


def names(kind):
    return [field.name for field in fields(kind)]


@pytest.mark.parametrize(("name", "kind", "network", "setting"), SETTINGS)
def test_a_setting_makes_a_spec(name, kind, network, setting):
    assert setting.options.method is method.find(name)
    grey = models.input_shape(setting.architecture)[0] == 1
    assert grey == (kind == "grey")
    spec = zoo.spec(name, network, "mnist" if grey else "cifar10")
    said = method.find(name).label(spec.options)
    assert spec.label == f"{spec.architecture} {said} {spec.dataset} seed 0"
    assert isinstance(method.find(name).passes(spec.options), Passes)
    few = zoo.spec(name, network, spec.dataset, n=100)
    assert all(_value(few.options, option) == value for option, value in setting.few.items())


def _value(options, name):
    """The first option of that name, in settings inside too."""
    if name in names(options):
        return getattr(options, name)
    inside = [getattr(options, field.name) for field in fields(options)]
    return next(_value(one, name) for one in inside
                if is_dataclass(one) and name in option_names(one))  # fmt: skip


OTHER = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v * 0.5 + 0.0037}
IDLE = {"fresh", "share", "target", "gaussian"}  # of an arm that has no pools


def others(options):
    """(name, options) with one other value each, those of settings inside too."""
    hints = typing.get_type_hints(type(options))
    for field in fields(options):
        name, value = field.name, getattr(options, field.name)
        if is_dataclass(value):
            made = list(others(value))
        elif isinstance(value, tuple):
            made = [(name, (*value[:-1], value[-1] * 2 + 1))] if value else []
        elif isinstance(value, str):
            made = [(name, one) for one in typing.get_args(hints[name]) if one != value]
        else:
            made = [(name, OTHER[type(value)](value))] if value is not None else []
        yield from ((inner, replace(options, **{name: other})) for inner, other in made)


@pytest.mark.parametrize(("name", "kind", "network", "setting"), SETTINGS)
def test_every_option_is_in_the_key(name, kind, network, setting):
    spec = specs.make(setting, name, "mnist")
    keys = {spec.key}
    for option, options in others(spec.options):
        before = len(keys)
        keys.add(replace(spec, options=options).key)
        idle = name == "szegedy_pools" and not spec.options.sizes and option in IDLE
        assert len(keys) == before + (not idle), option


def test_later_fields_are_left_out_at_their_defaults_and_move_the_key_elsewhere():
    spec = zoo.convnet("CNN", "mnist")
    nine = ["architecture", "data_sha256", "dataset", "n", "numbers", "objective", "recipe",
            "seed", "split"]  # fmt: skip
    assert sorted(spec.canonical()) == nine
    teacher = zoo.convnet("VGG", "mnist")
    grown = {
        "build": replace(spec, build={"hidden": 32}),
        "classes": replace(spec, classes=3),
        "parents": replace(spec, parents={"teacher": teacher}),
    }
    for name, other in grown.items():
        assert sorted(other.canonical()) == sorted([*nine, name])
        json.dumps(other.canonical())
    assert len({spec.key, *(other.key for other in grown.values())}) == 4
    assert grown["parents"].canonical()["parents"] == {"teacher": teacher.key}
    assert replace(spec, parents={"teacher": replace(teacher, seed=1)}).key != grown["parents"].key


def test_a_raised_version_moves_the_keys_of_its_method_and_no_others(monkeypatch):
    plain, pgd = zoo.convnet("CNN", "mnist"), zoo.convnet("CNN", "mnist", objective="pgd")
    before = plain.key, pgd.key
    monkeypatch.setattr(method.find("madry"), "version", 2)
    assert plain.key == before[0] and pgd.key != before[1]


def test_the_zoo_restores_a_network_with_its_options_and_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path))
    small = zoo.convnet("CNN", "mnist-5k", n=60, epochs=1, build={"hidden": 8}, classes=12)
    assert " hidden=8 " in small.label
    for _ in range(2):  # trained, then from the store
        net = zoo.get(small, device="cpu")
        assert net.fc1.out_features == 8 and net.fc2.out_features == 12
    assert not net.training and net.zoo_info["spec"]["build"] == {"hidden": 8}
    with pytest.raises(ValueError, match="no option 'hiden': did you mean hidden"):
        zoo.get(replace(small, build={"hiden": 8}), device="cpu")
    with pytest.raises(ValueError, match="takes 4 classes"):
        zoo.get(replace(small, classes=4), device="cpu")


def test_a_teacher_is_trained_before_and_may_be_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path))
    few = {"n": 60, "epochs": 1}
    teacher = zoo.convnet("CNN", "mnist-5k", **few)
    plain, seen = method.find("plain"), []
    alone = plain.train

    def train(request, options):
        seen.extend(request.parents.values())
        return alone(request, options)

    monkeypatch.setattr(plain, "train", train)
    pupil = zoo.convnet("CNN", "mnist-5k", seed=1, **few, parents={"teacher": teacher})
    info = zoo.get(pupil, device="cpu").zoo_info
    key = zoo.resolve(teacher).key
    assert info["parents"]["teacher"]["key"] == key == seen[0].zoo_info["key"]
    again = zoo.convnet("CNN", "mnist-5k", seed=2, **few, parents={"teacher": teacher})
    at_hand = zoo.get(teacher, device="cpu")
    zoo.get(again, {"teacher": at_hand}, device="cpu")
    assert seen[1] is at_hand
    third = replace(again, seed=3)
    with pytest.raises(ValueError, match="the teacher must be cnn-mnist cross-entropy"):
        zoo.get(third, {"teacher": zoo.get(again, device="cpu")}, device="cpu")


def test_two_networks_of_one_name_share_no_layer():
    nets = [models.build("vgg7-mnist") for _ in range(2)]
    mine, others = ({id(m) for m in net.modules()} for net in nets)
    assert not mine & others
    wide = models.build("cnn-mnist", hidden=7, generator=runtime.generator(0, "init"))
    assert isinstance(wide, cnn.SmallCNN) and wide(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


def test_the_example_of_the_contributors_page_is_a_method(monkeypatch):
    page = (paths.book_dir() / "contributing.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    squeezed = types.ModuleType("intriguing.methods.squeezed")
    monkeypatch.setitem(sys.modules, squeezed.__name__, squeezed)
    exec(compile(code, "contributing.md", "exec"), squeezed.__dict__)
    setting = squeezed.OURS["grey"]["CNN"]
    x, y = attacknets.digits().x[:60], attacknets.digits().y[:60]

    def weights(spec):
        return method.train(spec, x, y)[0].state_dict()["fc2.weight"]

    few = {"n": 60, "epochs": 1}
    bare = weights(zoo.convnet("CNN", "mnist-5k", **few))
    same, other = (weights(specs.make(setting, "CNN", "mnist-5k", weight=w, **few)) for w in (0, 1))
    assert torch.equal(bare, same) and not torch.equal(bare, other)
    assert specs.make(setting, "CNN", "mnist").label.startswith("cnn-mnist squeezed weight=0.05 ")
