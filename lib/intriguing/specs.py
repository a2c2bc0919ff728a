"""Specs: what decides the weights of a network, and the key that follows from it."""

import hashlib
import json
import math
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from types import ModuleType
from typing import Any

from intriguing import data, models
from intriguing.errors import nearest

GREY = ("mnist", "mnist-5k", "fashion-mnist")  # sets of 1 x 28 x 28 pixels
FEW = 10_000  # up to so many training images, a method's settings for few images apply


def images(dataset: str) -> str:
    """Return "grey" or "colour", the two kinds of images that methods have settings for."""
    return "grey" if dataset in GREY else "colour"


@dataclass(frozen=True)
class Options:
    """The options of a method: each method's file derives its own, a frozen dataclass.

    Fields have real types: a flag is a bool, a choice is a `Literal`, several numbers are a tuple,
    and settings that several methods share are a dataclass of their own.

    Raises
    ------
    ValueError : a number that is not finite, or a choice that does not exist.
    """

    def __post_init__(self) -> None:
        _check(self)

    @property
    def method(self) -> ModuleType:
        """The module of the method."""
        return sys.modules[type(self).__module__]

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, Any]]:
        """Return (objective, numbers, options) as the canonical JSON of a spec holds them.

        The objective is the method's name, and an option is left out while it stands at its
        default.  Methods from before 2026-11-30 keep the names that keys had then.
        """
        return self.method.__name__.rpartition(".")[2], {}, plain(self)


def _check(settings: Any) -> None:
    """Refuse choices that do not exist and numbers that are not finite, in settings inside too."""
    hints = typing.get_type_hints(type(settings))
    for name, value in _entries(settings):
        if is_dataclass(value):
            _check(value)
        choices = typing.get_args(hints[name])
        if typing.get_origin(hints[name]) is typing.Literal and value not in choices:
            valid = ", ".join(map(str, choices))
            raise ValueError(f"{name} is one of {valid}, not {value!r}")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"a spec holds finite numbers only, got {name} = {number}")


def _entries(settings: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of the fields of a dataclass."""
    yield from ((one.name, getattr(settings, one.name)) for one in fields(settings))


def plain(value: Any) -> Any:
    """Return options as JSON knows them, without those that stand at their defaults."""
    if is_dataclass(value):
        found = {}
        for one in fields(value):
            mine = getattr(value, one.name)
            default = one.default if one.default_factory is MISSING else one.default_factory()
            if mine != default:
                found[one.name] = plain(mine)
        return found
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def names(options: Any) -> list[str]:
    """Return the names that `changed` takes."""
    found = []
    for name, value in _entries(options):
        found += names(value) if is_dataclass(value) else [name]
    return list(dict.fromkeys(found))


def changed(options: Any, values: Mapping[str, Any]) -> Any:
    """Return the options with other values, those of settings inside them by their own names.

    An int is taken for a float, 0 or 1 for a flag, and a list for a tuple.

    Raises
    ------
    ValueError : a value of another type.
    """
    mine = {}
    for name, value in _entries(options):
        if is_dataclass(value):
            mine[name] = changed(value, values)
        elif name in values:
            mine[name] = _as(type(value), values[name], name)
    return replace(options, **mine)


def _as(kind: type, value: Any, name: str) -> Any:
    """Return a value as another of the same option, which is of this kind."""
    if kind not in (bool, int, float, tuple):
        return value
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        converted = None
    if converted is None or (kind is not tuple and converted != value and value == value):
        raise ValueError(f"{name} takes {kind.__name__}, not {value!r}")
    return converted


@dataclass(frozen=True)
class Setting:
    """How a method trains a network here: the entries of its `OURS`.

    Parameters
    ----------
    architecture : a name of `models.architectures()`.
    options : of the method.
    few : other values for few training images (`FEW`), as `changed` takes them.
    """

    architecture: str
    options: Options
    few: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Paper:
    """The setting of a method's paper: its values, where they stand, and how we know them."""

    values: Mapping[str, Any]
    where: str
    tag: str


@dataclass(frozen=True)
class Spec:
    """Everything that decides the weights of one network, and nothing else.

    Parameters
    ----------
    architecture : a name of `models.architectures()`.
    dataset, split, n : what it is trained on, as `data.load` takes them.
    options : of the method that trains it, whose module they belong to.
    seed : of the initial weights and of the order of the images, two separate streams.
    data_sha256 : hash of the training images; `resolve` fills it.
    build : options of the architecture, (name, value) pairs or a mapping.
    classes : logits of the network.
    parents : trained networks that the method needs, (role, spec) pairs or a mapping: a teacher.

    Raises
    ------
    ValueError : no such architecture.
    """

    architecture: str
    dataset: str
    options: Options
    split: str = "train"
    n: int | None = None
    seed: int = 0
    data_sha256: str = ""
    build: tuple[tuple[str, Any], ...] = ()
    classes: int = 10
    parents: tuple[tuple[str, "Spec"], ...] = ()

    def __post_init__(self) -> None:
        models.family(self.architecture)
        for name in ("build", "parents"):
            pairs = getattr(self, name)
            pairs = pairs.items() if isinstance(pairs, Mapping) else pairs
            object.__setattr__(self, name, tuple(sorted(pairs, key=lambda pair: pair[0])))

    @property
    def objective(self) -> str:
        """What the method trains by, in the words of the key."""
        return self.options.written()[0]

    @property
    def numbers(self) -> tuple[tuple[str, float], ...]:
        """The method's numbers as the key holds them: (name, value), sorted by name."""
        return tuple(sorted((name, float(v)) for name, v in self.options.written()[1].items()))

    def canonical(self) -> dict[str, Any]:
        """Return what the key is the hash of, as JSON knows it.

        The first nine entries are those of 2026-11-29 and always written; every entry since then is
        left out while it stands at its default, so that it moves no older key.
        """
        later = {
            "options": plain(self.options.written()[2]),
            "build": plain(dict(self.build)),
            "classes": None if self.classes == 10 else self.classes,
            "parents": {role: parent.key for role, parent in self.parents},
        }
        return {
            "architecture": self.architecture,
            "dataset": self.dataset,
            "split": self.split,
            "n": self.n,
            "objective": self.objective,
            "numbers": [list(pair) for pair in self.numbers],
            "seed": self.seed,
            "data_sha256": self.data_sha256,
            "recipe": self.options.method.version,
            **{name: value for name, value in later.items() if value},
        }

    @property
    def key(self) -> str:
        """The sha256 of the spec's canonical JSON (64 hex digits); names the files."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """A short name for people: architecture, what the method says of its options, data, seed.

        Two specs may share it; their keys differ.
        """
        size = "" if self.split == "train" else self.split.removeprefix("train")
        size += "" if self.n is None else f"[{self.n}]"
        built = "".join(f" {name}={value}" for name, value in self.build)
        how = self.options.method.label(self.options)
        return f"{self.architecture}{built} {how} {self.dataset}{size} seed {self.seed}"


def make(
    setting: Setting,
    name: str,
    dataset: str,
    *,
    seed: int = 0,
    split: str = "train",
    n: int | None = None,
    classes: int | None = None,
    build: Mapping[str, Any] | None = None,
    parents: Mapping[str, Spec] | None = None,
    **values: Any,
) -> Spec:
    """Return the spec of a network trained by a method's setting.

    Parameters
    ----------
    name : of the setting, for messages.
    dataset, split, n : as `data.load`.  With "mnist-5k", or n of at most `FEW`, the setting's
        values for few images apply.
    seed : the training seed.
    classes : logits; default those of a known data set, else 10.
    build, parents : as `Spec`.
    **values : other options of the method.

    Raises
    ------
    ValueError : the method has no such option, or not for this network.
    """
    few = setting.few if dataset == "mnist-5k" or (n is not None and n <= FEW) else {}
    valid = names(setting.options)
    for option in values:
        if option not in valid:
            raise ValueError(f"{name} has no option {option!r}: {nearest(option, valid)}")
    options = changed(setting.options, {**few, **values})
    if classes is None:
        known = data.sources().get(dataset)
        classes = known.classes if known else 10
    return Spec(setting.architecture, dataset, options, split, n, seed, build=build or (),
                classes=classes, parents=parents or ())  # fmt: skip


def resolve(spec: Spec) -> Spec:
    """Return the spec with the hashes of its training images filled in, and of its parents'.

    For a whole split of a known set the hash stands in `data/sources.toml`, and `data.load` holds
    the images against it: a network in the store is then found without decoding its images.
    """
    if spec.parents:
        spec = replace(spec, parents={role: resolve(parent) for role, parent in spec.parents})
    if spec.data_sha256:
        return spec
    digest = listed(spec) or data.load(spec.dataset, spec.split, n=spec.n).sha256
    return replace(spec, data_sha256=digest)


def listed(spec: Spec) -> str | None:
    """Return the hash of the training images that `data/sources.toml` lists, None if it does not.

    It lists whole splits only.
    """
    known = data.sources().get(spec.dataset)
    return known.content.get(spec.split) if known is not None and spec.n is None else None
