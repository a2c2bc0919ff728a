"""What the file of a method holds, and how it is found: by its name alone.

A method is a file of this folder.  It has

- `cite`, the key of its paper in `book/references.bib`;
- `version`, raised when its meaning changes, so that its networks are trained again;
- `Options`, a frozen dataclass derived from `training.MethodOptions`;
- `PAPER`, the paper's setting, or None where it is not available to us;
- `OURS`, {"grey" or "colour": {network: `specs.Setting`}};
- `objective(request, options)`, the function (model, x, y) -> loss that minibatches lower.  One
  that has `before_round`, `state_dict` and `load_state_dict` is its own companion (`loop`), and one
  that has `robust` says what its networks are to withstand (`training.watch`);
- `label(options)`, its part of a network's name for people;
- `passes(options)`, what it computes (`training.passes`).

And where it needs them

- `train(request, options)`, its own way to the Outcome, in the place of `objective`;
- `initial(options)`, {option of the architecture: value} for the initial weights;
- `parents(spec)`, {role: spec} of networks to be trained before, beside those that a spec names;
- `CLASSIFIES = False`, if its networks give no logits of classes, so that no error is measured.
"""

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from intriguing import models, runtime
from intriguing.errors import nearest
from intriguing.specs import Spec, images, make
from intriguing.training.loop import Log, Outcome, Save
from intriguing.training.request import Request

_OTHERS = ("__init__", "method")


@functools.cache
def names() -> list[str]:
    """Return the methods: the files of this folder."""
    found = (file.stem for file in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in found if name not in _OTHERS)


def find(name: str) -> ModuleType:
    """Return the module of a method.

    Raises
    ------
    ValueError : there is none of that name.
    """
    if name not in names():
        raise ValueError(f"no method {name!r}: {nearest(name, names())}")
    return importlib.import_module(f"intriguing.methods.{name}")


def spec(method: str, network: str, dataset: str, **how: Any) -> Spec:
    """Return the spec of a network trained by a method in our setting.

    Parameters
    ----------
    method : a name of `names()`.
    network : a name of its `OURS`.
    dataset : as `data.load`; it decides between the settings for grey and for colour images.
    **how : seed, split, n and options, see `specs.make`.

    Raises
    ------
    ValueError : an unknown method, network or option, or a network of colour images for grey ones.
    """
    ours, kind = find(method).OURS, images(dataset)
    here = ours.get(kind, {})
    if network not in here:
        elsewhere = [other for other in ours if network in ours[other]]
        hint = f"it is for {'/'.join(elsewhere)} images only; " if elsewhere else ""
        raise ValueError(f"{method} has no network {network!r} for {kind} images: {hint}"
                         f"{nearest(network, here)}")  # fmt: skip
    return make(here[network], network, dataset, **how)


def parents(spec: Spec) -> dict[str, Spec]:
    """Return {role: spec} of the networks that one is built on: named by it, or by its method."""
    own = getattr(spec.options.method, "parents", lambda spec: {})
    return {**dict(spec.parents), **own(spec)}


def initial(spec: Spec) -> nn.Module:
    """Return the freshly initialised network of a spec, drawn on the CPU."""
    extra = getattr(spec.options.method, "initial", lambda options: {})
    return models.build(
        spec.architecture,
        classes=spec.classes,
        generator=runtime.generator(spec.seed, "init"),
        **{**extra(spec.options), **dict(spec.build)},
    )


def train(
    spec: Spec,
    x: Tensor,
    y: Tensor,
    *,
    parents: Mapping[str, nn.Module] | None = None,
    resume: dict | None = None,
    save: Save | None = None,
    log: Log | None = None,
) -> tuple[nn.Module, Outcome]:
    """Train the network of a spec on images x (N, C, H, W) and labels y (N,), on their device.

    Parameters
    ----------
    parents : the trained networks of `parents(spec)`.
    resume, save, log : see `training.loop.drive`.
    """
    method, model = spec.options.method, initial(spec).to(x.device)
    x, y, held = split(spec, x, y)
    request = Request(model, spec.seed, x, y, parents or {}, resume, save, log, held)
    if hasattr(method, "train"):
        return model, method.train(request, spec.options)
    return model, spec.options.fit.run(request, method.objective(request, spec.options))


def split(spec: Spec, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Return the images and labels that a spec trains on, and those it holds out, if any.

    Raises
    ------
    ValueError : see `Fit.split`; or accuracy is to be watched and the network has none.
    """
    fit = getattr(spec.options, "fit", None)
    if fit is None:
        return x, y, None
    if fit.measures and not classifies(spec):
        raise ValueError(f"{spec.label} does not classify: there is no accuracy to watch")
    return fit.split(x, y)


def classifies(spec: Spec) -> bool:
    """Say whether the network gives logits of classes."""
    return getattr(spec.options.method, "CLASSIFIES", True)
