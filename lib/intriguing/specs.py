"""Specs: what decides the weights of a network, and the key that follows from it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from intriguing import data, models
from intriguing.errors import nearest
from intriguing.training.options import MethodOptions, changed, names, plain

GREY = ("mnist", "mnist-5k", "fashion-mnist")  # sets of 1 x 28 x 28 pixels
FEW = 10_000  # up to so many training images, a method's settings for few images apply


def images(dataset: str) -> str:
    """Return "grey" or "colour", the two kinds of images that methods have settings for."""
    return "grey" if dataset in GREY else "colour"


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
    options: MethodOptions
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
    options: MethodOptions
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
