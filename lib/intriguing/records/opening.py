"""How a chapter opens its records: with its notebook's namespace, or with everything by name."""

import time
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

from intriguing import paths
from intriguing.errors import UserError
from intriguing.records import limits
from intriguing.records import parameters as cell
from intriguing.records.files import SCHEMA
from intriguing.records.provenance import commit, modified, plain
from intriguing.records.run import FILE_NAME, Run


def start(
    chapter: str,
    namespace: MutableMapping[str, Any] | None = None,
    *,
    profile: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    device: Any = None,
) -> Run:
    """Open the records of one run of `chapter`.

    Short, in a notebook: `records.start("02-box-constrained-lbfgs", globals())`.  The names of the
    parameters come from the chapter's source, their values from the namespace.  Long, where there
    is no source: `records.start(name, profile=..., parameters={...}, seeds=...)`.

    **The short form may change variables of the notebook.**  Papermill's `-p seeds "[1]"` leaves
    text in the variable; text for a parameter that takes no text is read as `intriguing run -p`
    reads it, and what was read is written back into `namespace`, so that the cells below see it.

    The folder is `paths.results_dir(chapter, profile)`: the runner's, or one of its own for a
    notebook that is run by hand.

    Parameters
    ----------
    chapter : the notebook's name without ".ipynb".
    namespace : the notebook's `globals()`, or None for the long form.
    profile : the scale the parameters belong to; not with a namespace, which has it.
    parameters : every parameter of the chapter, by name; not with a namespace.
    seeds : the training seeds; None with a namespace: its parameter `seeds`, if there is one.
    device : what the chapter computes on, for the record; None: the namespace's `device`, else
        "auto".

    Raises
    ------
    ValueError : a chapter or profile that cannot be a folder name, a parameter that is no number,
        text, list or dict, one that the namespace lacks, a seed twice, or the two forms mixed.
    UserError : short form: no source, or a value that does not fit its parameter or lies outside
        its range.
    """
    _check_name("chapter", chapter)
    if namespace is not None:
        if profile is not None or parameters is not None:
            raise ValueError("a namespace has profile and parameters: give it, or give these two")
        parameters = _values(chapter, namespace)
        profile = parameters["profile"]
        seeds = parameters.get("seeds", ()) if seeds is None else seeds
        device = namespace.get("device") if device is None else device
    if profile is None or parameters is None or seeds is None:
        raise ValueError("records.start needs the notebook's globals(), or profile=, parameters= "
                         "and seeds=")
    _check_name("profile", profile)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds {list(seeds)} has a seed twice, and intervals take seeds for "
                         "independent")
    head = _head(chapter, profile, plain(dict(parameters)), seeds,
                 "auto" if device is None else device)
    run = Run(head, paths.results_dir(chapter, profile), time.perf_counter)
    run.halvings.listen()
    return run


def _check_name(what: str, name: str) -> None:
    """Raise ValueError unless `name` can be that of a folder."""
    if not FILE_NAME.fullmatch(name):
        raise ValueError(f"{what} {name!r} cannot be a folder name")


def _values(chapter: str, namespace: MutableMapping[str, Any]) -> dict[str, Any]:
    """Return the chapter's parameters as the namespace has them; text is read and written back."""
    declared = cell.of_chapter(chapter, paths.running_notebook())
    if declared is None:
        raise UserError(
            f"there is no notebooks/{chapter}.ipynb to take the names of the parameters from: use "
            f"the long form, records.start({chapter!r}, profile=..., parameters={{...}}, seeds=...)"
        )
    missing = [name for name in dict.fromkeys(("profile", *declared)) if name not in namespace]
    if missing:
        raise ValueError(f"the notebook has no {', '.join(missing)}: run the parameters cell of "
                         f"{chapter} before records.start")
    values, texts = {"profile": namespace["profile"]}, {}
    for name, parameter in declared.items():
        value = namespace[name]
        is_text = isinstance(value, str) and parameter.types and str not in parameter.types
        try:
            values[name] = parameter.take(plain(cell.from_text(value) if is_text else value))
        except ValueError as error:
            raise UserError(
                f"{name} of {chapter} {error}: give papermill its value with -y '{name}: ...', or "
                f"use `intriguing run -p {name} ...`") from error
        if is_text:
            texts[name] = values[name]
    limits.check(chapter, values)
    namespace.update(texts)
    return values


def _head(
    chapter: str, profile: str, values: dict[str, Any], seeds: Sequence[int], device: Any
) -> dict[str, Any]:
    """Return what a record file says of its run, as far as it is known at the beginning."""
    from intriguing import runtime  # needs torch, which readers of records do not

    about = runtime.describe(device)
    threads = f"{about['threads']} thread" + ("s" if about["threads"] != 1 else "")
    place = [about["processor"], threads, about["system"]]
    revision, dirty = commit()
    return {
        "schema": SCHEMA,
        "chapter": chapter,
        "profile": profile,
        "modified": modified(chapter, profile, values),
        "parameters": values,
        "seeds": [int(seed) for seed in seeds],
        "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": None,
        "training_seconds": None,
        "device": f"{about['device']} ({', '.join(place)})",
        "versions": {"python": about["python"], **about["versions"]},
        "commit": revision,
        "dirty": dirty,
        "checkpoints": {},
        "halved": [],
    }
