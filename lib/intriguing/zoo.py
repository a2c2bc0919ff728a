"""The zoo: from a spec to its trained network, out of the store or trained now.

One process trains a network while others wait for it; a file that does not match its checksum is
reported and rebuilt; a training that was killed resumes where it last saved.  The files
themselves are `store`'s business, the trainings those of `methods`.
"""

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from intriguing import batches, data, models, runtime, store
from intriguing.errors import UserError
from intriguing.methods import method
from intriguing.methods.method import parents, spec
from intriguing.shorthands import convnet, dropout, pools, szegedy
from intriguing.specs import Spec, resolve
from intriguing.store import inventory, state
from intriguing.store.inventory import remove, verify
from intriguing.training.loop import Log, Outcome

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Spec", "convnet", "dropout", "ensure", "get", "info", "list", "parents", "pools", "remove",
    "resolve", "spec", "szegedy", "trace", "verify",
]  # fmt: skip


def get(
    spec: Spec,
    parents: Mapping[str, nn.Module] | None = None,
    *,
    device: torch.device | str | None = None,
    log: Log | None = None,
    save_every: float = 20.0,
) -> nn.Module:
    """Return the trained network in eval mode, from the store or trained now.

    Parameters
    ----------
    spec : which network; `spec` makes one of any method, `szegedy` and its like the usual ones.
    parents : networks of the zoo that it is built on and that are at hand, by role; the others
        come from the store, or are trained before it.
    device : where it is trained, if need be, and returned; None means ``runtime.device("auto")``.
    log : receives lines of progress.
    save_every : seconds between two saved states of a training: what a kill can cost at most.
        It never changes the result.

    Returns
    -------
    nn.Module : with the attribute `zoo_info`, the sidecar: key, sha256, spec, train_error and
        test_error (fractions), iterations, evaluations, loss, grad_max, seconds, stop_reason, ...

    Raises
    ------
    UserError : a chapter that runs at smoke asks for a network that it does not declare.
    ValueError : a parent is another network than the spec's.

    Warns
    -----
    UserWarning : the stored file was damaged and the network was trained again.
    """
    spec = resolve(spec)
    _hold_to_declaration(spec)
    chosen = _device(device)
    record, tensors = _obtain(spec, chosen, log, save_every, parents)
    model = method.initial(spec)
    model.load_state_dict(tensors)
    model.zoo_info = record
    return model.eval().to(chosen)


def ensure(
    specs: Iterable[Spec],
    *,
    device: torch.device | str | None = None,
    log: Log | None = None,
    save_every: float = 20.0,
) -> tuple[dict, ...]:
    """Train what is missing or damaged, in the order given, and return the sidecars."""
    chosen = _device(device)
    wanted = [resolve(spec) for spec in specs]
    records = []
    for number, one in enumerate(wanted, 1):
        _hold_to_declaration(one)
        said = None if log is None else _prefixed(log, f"[{number}/{len(wanted)}] {one.label}: ")
        records.append(_obtain(one, chosen, said, save_every)[0])
    return tuple(records)


def info(spec: Spec) -> dict | None:
    """Return the sidecar of a trained network, or None when the store has no sound copy."""
    try:
        found = store.read(resolve(spec).key)
    except (store.DamagedError, UserError):
        return None
    return None if found is None else found[0]


def trace(spec: Spec) -> "pd.DataFrame":
    """Return what was measured of a network while it was trained, which takes place now if need be.

    Returns
    -------
    pandas.DataFrame : a row a measurement on the images held out, with "update", "epoch" (from 1),
        "seconds" of training until then, "loss" (mean over the updates since the last row),
        "clean", "fgsm" and "pgd" accuracy as fractions, and "cosine" of gradients, see
        `training.threat`; numbers that the method does not define are NaN.

    Raises
    ------
    ValueError : the spec measures nothing on the way.
    """
    import pandas as pd  # not for whoever only trains

    rows = ensure([spec])[0].get("trace")
    if not rows:
        raise ValueError(f"{spec.label} was not watched: give it held_out and watch")
    columns = ["update", "epoch", "seconds", "loss", "clean", "fgsm", "pgd", "cosine"]
    return pd.DataFrame(rows, columns=columns, dtype=float).astype({"update": int, "epoch": int})


def _hold_to_declaration(spec: Spec) -> None:
    """Complain of a network that the running chapter does not declare.

    INTRIGUING_NETWORKS, set by the runner, names a file with the chapter, its keys, and whether a
    network beside them is an error or a warning.
    """
    listed = os.environ.get("INTRIGUING_NETWORKS")
    if not listed:
        return
    allowed = json.loads(Path(listed).read_text(encoding="utf-8"))
    if spec.key in allowed["keys"]:
        return
    text = (
        f"{allowed['chapter']} asks the zoo for {spec.label}, which its cells tagged 'networks' "
        "do not declare: add the spec there, so that the workflow can train it beforehand"
    )
    if allowed["strict"]:
        raise UserError(text)
    warnings.warn(text, stacklevel=3)


def _device(device: torch.device | str | None) -> torch.device:
    return device if isinstance(device, torch.device) else runtime.device(device or "auto")


def _prefixed(log: Log, prefix: str) -> Log:
    return lambda line: log(prefix + line)


def _obtain(
    spec: Spec,
    device: torch.device,
    log: Log | None,
    save_every: float,
    at_hand: Mapping[str, nn.Module] | None = None,
) -> tuple[dict, dict[str, Tensor]]:
    """Return (sidecar, tensors), training under the lock if the store has no sound copy."""
    try:
        found = store.read(spec.key)
    except store.DamagedError:
        found = None  # looked at again, and reported, by whoever holds the lock
    if found is not None:
        return found
    say = log or (lambda line: None)
    with store.locked(spec.key, waiting=lambda: say("another process is training it: waiting")):
        rebuilt = None
        try:
            found = store.read(spec.key)  # another process may have finished it meanwhile
        except store.DamagedError as error:
            rebuilt = str(error)
            text = f"zoo: {rebuilt} ({spec.label}); training it again"
            warnings.warn(text, stacklevel=3)
            say(text)
        if found is not None:
            return found
        return _train(spec, device, say, save_every, rebuilt, at_hand or {})


def _train(
    spec: Spec,
    device: torch.device,
    say: Log,
    save_every: float,
    rebuilt: str | None,
    at_hand: Mapping[str, nn.Module],
) -> tuple[dict, dict[str, Tensor]]:
    """Train, measure and store one network; the caller holds the lock."""
    built_on = {
        role: _parent(role, below, at_hand, device)
        if role in at_hand
        else get(below, device=device, log=say, save_every=save_every)
        for role, below in method.parents(spec).items()
    }
    images = data.load(spec.dataset, spec.split, n=spec.n)
    _check_images(spec, images)
    store.sweep(spec.key)
    x, y, resume = images.x.to(device), images.y.to(device), _resumable(spec.key, say)
    with runtime.deterministic(), batches.whole(spec.label):
        model, outcome = method.train(
            spec, x, y, parents=built_on, resume=resume, save=_saver(spec.key, save_every), log=say
        )
    record = {
        "label": spec.label,
        "spec": spec.canonical(),
        "parents": {
            role: {name: parent.zoo_info[name] for name in ("key", "seconds")}
            for role, parent in built_on.items()
        },
        "rebuilt": rebuilt,
        "resumed": resume is not None,
        "environment": runtime.describe(device),
        **asdict(outcome),
        **_errors(model, spec, *method.split(spec, x, y)[:2]),
    }
    record = store.write(spec.key, model.state_dict(), record)
    say(_summary(record, outcome))
    return store.read(spec.key)


def _check_images(spec: Spec, images: data.Dataset) -> None:
    """Refuse other images than the spec's, and those of another shape than the network takes."""
    shape, classes = tuple(images.x.shape[1:]), int(images.y.max()) + 1
    if images.sha256 != spec.data_sha256:
        raise ValueError(
            f"the spec names images with sha256 {spec.data_sha256[:12]}..., but {spec.dataset!r} "
            f"({spec.split}) has {images.sha256[:12]}...: leave data_sha256 out to use these"
        )
    takes = models.input_shape(spec.architecture)
    if shape != takes or classes > spec.classes:
        raise ValueError(
            f"{spec.architecture} takes {spec.classes} classes of {' x '.join(map(str, takes))} "
            f"pixels, but {spec.dataset!r} has {classes} classes of {' x '.join(map(str, shape))}"
        )


def _parent(
    role: str, below: Spec, at_hand: Mapping[str, nn.Module], device: torch.device
) -> nn.Module:
    """Return a parent that is at hand.

    Raises
    ------
    ValueError : it is another network, or none of the zoo.
    """
    model, wanted = at_hand[role], resolve(below)
    if getattr(model, "zoo_info", {}).get("key") != wanted.key:
        raise ValueError(f"the {role} must be {wanted.label} ({wanted.key[:12]}) of the zoo")
    return model.to(device)


def _resumable(key: str, say: Log) -> dict | None:
    """Return the saved state of an interrupted training; a damaged one counts as none."""
    partial = store.path(key, ".partial")
    if not partial.exists():
        return None
    try:
        tree = state.load(partial)
    except store.DamagedError as error:
        say(f"starting anew: {error}")
        return None
    say(f"resuming after {tree['outcome']['iterations']} iterations")
    return tree


def _saver(key: str, every: float) -> Callable[[dict], None]:
    """Return a function that writes a training's state, at most once in `every` seconds."""
    partial, last = store.path(key, ".partial"), time.monotonic()

    def save(tree: dict) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            state.save(partial, tree)
            last = time.monotonic()

    return save


def _errors(model: nn.Module, spec: Spec, x: Tensor, y: Tensor) -> dict[str, float | None]:
    """Return train and test error as fractions; None for a network that does not classify."""
    if not method.classifies(spec):
        return {"train_error": None, "test_error": None}
    test = data.load(spec.dataset, "test")
    return {
        "train_error": _error(model, x, y),
        "test_error": _error(model, test.x.to(x.device), test.y.to(x.device)),
    }


@torch.no_grad()
def _error(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the fraction of images that are misclassified."""
    with runtime.eval_mode(model):
        seen = batches.apply(lambda images: model(images).argmax(1), x, batch=500)
    return int((seen != y).sum()) / len(y)


def _summary(record: dict, outcome: Outcome) -> str:
    """Return one line about a finished training."""
    errors = ""
    if record["test_error"] is not None:
        errors = f"train {record['train_error']:.2%}, test {record['test_error']:.2%}, "
    return f"done: {errors}{outcome.iterations} iterations, {outcome.seconds:.0f} s"


list = inventory.listed  # at the end: the module itself uses the built-in of that name
