"""What must not move: the keys of the book's networks, and the first losses of its trainings.

`keys.json` holds them as literals.  A key that moves makes every stored network of its kind
unknown; a loss that moves means that a key now stands for other weights.  Either is right only
together with a higher `version` of the method, and then this writes the file anew::

    INTRIGUING_DATA=... python tests/pins.py        (Fashion-MNIST is needed, for its parts' hashes)
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from intriguing import chapters, paths, zoo
from intriguing.chapters import networks, shelves

FILE = Path(__file__).with_name("keys.json")
FEW = {"dataset": "mnist-5k", "n": 48}  # one minibatch an epoch, two epochs
TWICE = {"epochs": 2, "batch": 48}
POOLS = TWICE | {"fresh": 8, "share": 0.25}
TRACED = {  # one training for each way in which networks of the book are trained
    "FC10(1), calibrated": lambda: zoo.szegedy("FC10(1)", **FEW, iterations=2),
    "FC10(1), literal": lambda: zoo.szegedy("FC10(1)", **FEW, decay="literal", iterations=2),
    "FC100-100-10": lambda: zoo.szegedy("FC100-100-10", **FEW, iterations=2),
    "AE400-10": lambda: zoo.szegedy("AE400-10", **FEW, **TWICE, iterations=2),
    "decay": lambda: zoo.pools("decay", **FEW, **TWICE),
    "dropout of an MLP": lambda: zoo.pools("dropout", **FEW, **TWICE),
    "all pools": lambda: zoo.pools("all", **FEW, **POOLS),
    "top pool": lambda: zoo.pools("top", **FEW, **POOLS),
    "Gaussian pools": lambda: zoo.pools("gaussian", **FEW, **POOLS),
    "CNN": lambda: zoo.convnet("CNN", **FEW, **TWICE),
    "VGG, warmed up": lambda: zoo.convnet("VGG", **FEW, **TWICE),
    "adversarial, pgd": lambda: zoo.convnet("CNN", objective="pgd", **FEW, **TWICE),
    "adversarial, fgsm-rs": lambda: zoo.convnet("CNN", objective="fgsm-rs", **FEW, **TWICE),
    "plain, Nesterov": lambda: zoo.dropout("plain", **FEW, **TWICE),
    "dropout of units": lambda: zoo.dropout("dropout", **FEW, **TWICE),
    "interaction loss": lambda: zoo.dropout("interaction", **FEW, **TWICE),
    "wrong labels": lambda: zoo.dropout("mislabelled", **FEW, **TWICE, wrong=0.5),
}


def declared() -> dict[str, dict[str, str]]:
    """Return {profile: {key: label}} of all that chapters declare, without hashes of images."""
    found: dict[str, dict[str, str]] = {}
    for profile in chapters.profiles():
        for settings in chapters.settings(profile):
            for spec in networks.with_bases(networks.declared(settings, resolved=False)):
                found.setdefault(profile, {})[spec.key] = spec.label
    return found


def published() -> Iterator[tuple[str, dict]]:
    """Yield (chapter, head of its record) of every published chapter."""
    for path in sorted(shelves.published().results.glob("*/record.json")):
        yield path.parent.name, json.loads(path.read_text(encoding="utf-8"))


def trace(name: str) -> list[float]:
    """Return the losses after each round of a training, then those measured at the end.

    The store is a fresh one, so that the training takes place.
    """
    lines: list[str] = []
    before = os.environ.get("INTRIGUING_ZOO")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INTRIGUING_ZOO"] = folder
        try:
            info = zoo.get(TRACED[name](), device="cpu", log=lines.append).zoo_info
        finally:
            os.environ.pop("INTRIGUING_ZOO")
            if before is not None:
                os.environ["INTRIGUING_ZOO"] = before
    losses = [float(found[1]) for line in lines if (found := re.search(r"loss (\S+),", line))]
    return [*losses, info["loss"], info["grad_max"]]


def images() -> dict[str, str]:
    """Return {label (key12): sha256 of the training images} of all that published records name."""
    found = {}
    for chapter, head in published():
        settings = chapters.resolve(chapters.find(chapter), head["profile"])
        here = {f"{spec.label} ({spec.key[:12]})": spec.data_sha256
                for spec in networks.declared(settings)}
        found |= {name: here[name] for name in head["checkpoints"]}
    return found


def main() -> None:
    """Write the file anew."""
    os.environ.setdefault("INTRIGUING_ROOT", str(paths.root()))
    content = {
        "declared": declared(),
        "published": images(),
        "traces": {name: [float(f"{value:.6g}") for value in trace(name)] for name in TRACED},
    }
    FILE.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
