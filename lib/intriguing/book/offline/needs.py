"""What the chapters of a profile read: data sets, files of your own, weights, trained networks.

A parameter names what it needs by its value: the name of a data set, a path (with a slash), or a
version of published weights.  Everything is found and checked before anything is copied.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from intriguing import chapters, data, paths, store, vision
from intriguing.chapters import networks
from intriguing.data import catalog
from intriguing.errors import UserError

_PUBLISHED = re.compile(r"[A-Z0-9]+(_[A-Z0-9]+)*_V\d+")  # IMAGENET1K_V1


@dataclass(frozen=True)
class Item:
    """A file to take along, and where it goes below the folder that is taken."""

    source: Path
    place: str


def _named(settings: Iterable[chapters.Settings]) -> Iterator[tuple[str, str, str]]:
    """Yield (chapter, parameter, text) for every text among the parameters, in lists too.

    A parameter that belongs to another one which is empty is off: `imagenet_weights` where
    `imagenet` is "".
    """
    for one in settings:
        for name, value in one.parameters.items():
            if one.parameters.get(name.rpartition("_")[0]) == "":
                continue
            for text in value if isinstance(value, list | tuple) else [value]:
                if isinstance(text, str) and text and name != "profile":
                    yield one.chapter.name, name, text


def data_files(settings: Iterable[chapters.Settings]) -> list[Item]:
    """Return the files of all data sets and paths that the parameters name, checked.

    Raises
    ------
    UserError : some are not here, all of them named with the way to get them; or one is damaged.
    """
    known, found, missing = data.sources(), {}, {}
    for chapter, parameter, text in _named(settings):
        if text in known:
            if text in found or text in missing:
                continue
            items = _of_source(known[text])
            if items is None:
                missing[text] = _how(known[text])
            else:
                found[text] = items
        elif "/" in text:
            items = _of_path(text)
            if not items:
                missing[text] = f"{parameter} of {chapter}: put it into {paths.root()}"
            found[text] = items
    if missing:
        told = "".join(f"\n  {name}: {how}" for name, how in missing.items())
        raise UserError("data that these chapters read is not here; get it, or leave all data out "
                        f"with --no-data:{told}")
    return [item for items in found.values() for item in items]


def _of_source(source: data.Source) -> list[Item] | None:
    """Return the files of a known data set after comparing checksums; None where one is missing."""
    places = [catalog.locate(source, split) for split in source.splits]
    if None in places:
        return None
    if places[0].files:
        data.verify(source.name)
        folder = places[0].path
        files = vision.all_files(source.torchvision, folder)
        return [Item(file, f"data/{file.relative_to(folder).as_posix()}") for file in files]
    catalog.check_file(source, places[0].path)
    return [Item(places[0].path, f"data/{source.file}")]


def _how(source: data.Source) -> str:
    if source.torchvision:
        return f"intriguing data fetch {source.name}"
    return f"get {source.file} ({source.url}) and name its folder by INTRIGUING_DATA"


def _of_path(text: str) -> list[Item]:
    """Return the files at a path below the root of the book; of a folder all that are in it.

    Raises
    ------
    UserError : the path leads out of the book, where the other machine could not find it.
    """
    path = paths.root() / text
    if not path.exists():
        return []
    if not path.absolute().is_relative_to(paths.root().absolute()) or ".." in Path(text).parts:
        raise UserError(f"{text} lies outside of {paths.root()}: move it in, or leave data out "
                        "with --no-data")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [Item(file, file.relative_to(paths.root()).as_posix())
            for file in files if file.is_file()]


def weight_files(settings: Iterable[chapters.Settings]) -> list[Item]:
    """Return torch's files of the published weights that the parameters name, fetched if need be.

    A version belongs to the networks that the same chapter names: by values ("alexnet") or by the
    beginning of the parameter (`alexnet_weights`).

    Raises
    ------
    UserError : they cannot be fetched.
    """
    found = {}
    named = list(_named(settings))
    for chapter, parameter, version in named:
        if not _PUBLISHED.fullmatch(version):
            continue
        candidates = [parameter.rpartition("_")[0],
                      *(text for other, _, text in named if other == chapter)]
        for network in dict.fromkeys(candidates):
            file = vision.weights_file(network, version)
            if file is not None:
                if not file.is_file():
                    vision.network(network, version)
                found[file] = Item(file, f"hub/checkpoints/{file.name}")
    return list(found.values())


def network_files(settings: Iterable[chapters.Settings]) -> tuple[list[Item], list[str]]:
    """Return the files of the declared networks that are trained, and the labels of the others."""
    items, missing = [], []
    specs = [spec for one in settings for spec in networks.declared(one)]
    for spec in networks.with_bases(specs):
        try:
            trained = store.read(spec.key) is not None
        except store.DamagedError:
            trained = False
        if trained:
            files = [store.path(spec.key, ending) for ending in (".safetensors", ".json")]
            items += [Item(file, f"_build/zoo/{file.name}") for file in files]
        else:
            missing.append(spec.label)
    return items, missing
