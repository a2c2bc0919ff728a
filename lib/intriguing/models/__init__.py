"""Networks by name.  Each maps pixels (N, C, H, W) in [0, 1] to logits (N, classes).

One file per family, with a table ARCHITECTURES of its names; there is no list of families to edit,
and a family is imported when one of its names is asked for.  A name fixes the layer sizes and,
given a generator, every initial weight.
"""

import functools
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from intriguing.errors import nearest
from intriguing.models.architecture import Architecture
from intriguing.models.normalize import Normalize

__all__ = ["Architecture", "architectures", "build", "family", "input_shape"]


def architectures() -> list[str]:
    """Return the names that `build` knows."""
    return sorted(_families())


def family(architecture: str) -> ModuleType:
    """Return the module of the family that a network belongs to.

    Raises
    ------
    ValueError : no such architecture.
    """
    known = _families()
    if architecture not in known:
        raise ValueError(f"no architecture {architecture!r}: {nearest(architecture, known)}")
    return importlib.import_module(f"{__name__}.{known[architecture]}")


def input_shape(architecture: str) -> tuple[int, int, int]:
    """Return (channels, height, width) of the pixels that a network takes.

    Raises
    ------
    ValueError : no such architecture.
    """
    return family(architecture).ARCHITECTURES[architecture].shape


def build(
    architecture: str,
    *,
    classes: int = 10,
    generator: torch.Generator | None = None,
    **options,
) -> nn.Module:
    """Return a freshly initialised network on the CPU, in train mode.

    Parameters
    ----------
    architecture : one of `architectures()`.
    classes : logits.
    generator : draws the initial weights; None means ``runtime.generator(0, "init")``, so that a
        network is never initialised from torch's global state.
    **options : of the family, such as `gain` of the fully connected networks, in place of those
        that belong to the name.

    Raises
    ------
    ValueError : no such architecture, or its family has no such option.
    """
    named = family(architecture).ARCHITECTURES[architecture]
    valid = inspect.signature(named.make).parameters
    for option in options:
        if option not in valid:
            raise ValueError(f"{architecture} has no option {option!r}: {nearest(option, valid)}")
    given = {**named.options, **options}
    if named.pixels is not None:
        given.setdefault("pixels", Normalize(*named.pixels))
    return named.make(classes=classes, generator=generator, **given)


@functools.cache
def _families() -> dict[str, str]:
    """Return {architecture: name of the file of its family}."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        module = importlib.import_module(f"{__name__}.{file.stem}") if file.stem[0] != "_" else None
        for name in getattr(module, "ARCHITECTURES", ()):
            found[name] = file.stem
    return found
