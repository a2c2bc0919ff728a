"""The commands about what is kept: trained networks and data sets."""

import argparse
import functools
import os
from collections.abc import Iterable

from intriguing.commands.common import (
    FAILED,
    RIGHT,
    check_device,
    complain,
    refuse_unread,
    say,
    table,
    working,
)
from intriguing.errors import UserError, nearest


def zoo_list(options: argparse.Namespace) -> int:
    """Print the networks of the store."""
    from intriguing import paths, zoo

    with working():
        found = zoo.list()
    if not found:
        print(f"no networks in {paths.zoo_dir()}")
        return RIGHT
    sound = [row for row in found if not row["damage"]]
    if sound:
        table(("key", "network", "train error", "test error", "training", "size"), [
            (row["key"][:12], row["label"], _percent(row["train_error"]),
             _percent(row["test_error"]), f"{row['seconds']:.0f} s",
             f"{row['bytes'] / 1000:,.0f} kB") for row in sound])
    for row in found[len(sound):]:
        print(f"damaged: {row['damage']}")
    return RIGHT


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.2%}"


def zoo_verify(options: argparse.Namespace) -> int:
    """Check the files of the store; damage is a failure."""
    from intriguing import zoo

    with working():
        rows = zoo.verify()
    damaged = sum(row["state"] == "damaged" for row in rows)
    table(("key", "state", "network"), [
        (row["key"][:12], row["state"], "; ".join(filter(None, (row["label"], row["detail"]))))
        for row in rows])
    print(f"{len(rows)} networks, {damaged} damaged"
          + (" (trained again when next asked for)" if damaged else ""))
    return FAILED if damaged else RIGHT


def zoo_remove(options: argparse.Namespace) -> int:
    """Delete networks from the store."""
    from intriguing import zoo

    for key in options.key:
        print(f"removed {zoo.remove(key)[:12]}")
    return RIGHT


def zoo_train(options: argparse.Namespace) -> int:
    """Train the named networks, where they are missing."""
    from intriguing.machine import slots

    with slots.job(options.gpu_memory, device=options.device, say=say):  # before torch is there
        return _train(options)


def _train(options: argparse.Namespace) -> int:
    check_device(options.device)
    from intriguing import zoo

    specs = _of_chapter(options) if options.chapter else _by_name(options)
    try:
        with working():
            zoo.ensure(specs, device=options.device, log=say)
    except ValueError as error:
        raise UserError(str(error)) from error
    print(f"{len(specs)} networks are in the store")
    return RIGHT


def _of_chapter(options: argparse.Namespace) -> list:
    """Return the specs that a chapter declares at a profile, or those of one key."""
    from intriguing import chapters
    from intriguing.chapters import networks

    if options.name:
        raise UserError("name networks or a chapter, not both")
    refuse_unread(options, ("dataset", "n", "seeds", "decay"), "goes with names of networks: those "
                  "of a chapter are as its parameters have them")
    profile = options.profile or "smoke"
    settings = chapters.resolve(chapters.find(options.chapter), profile)
    specs = networks.with_bases(networks.declared(settings))
    chosen = [spec for spec in specs if not options.key or spec.key.startswith(options.key)]
    if specs and not chosen:
        raise UserError(f"{settings.chapter.name} declares no network whose key begins with "
                        f"{options.key[:12]!r} at {profile}; if its notebook changed since "
                        "the workflow was planned, build again")
    return chosen


def _by_name(options: argparse.Namespace) -> list:
    """Return the specs that the command line names."""
    from intriguing import data, specs, zoo
    from intriguing.methods import method

    refuse_unread(options, ("key", "profile"), "goes with --chapter")
    dataset, seeds = options.dataset or "mnist-5k", options.seeds or [0]
    known, names = method.names(), list(options.name)
    chosen = names.pop(0) if names and names[0] in known else "szegedy"
    how = {"decay": options.decay} if options.decay else {}
    if chosen == "szegedy":  # with it goes a network that it has no setting for
        make, here = zoo.szegedy, method.find(chosen).NETWORKS
    else:
        make = functools.partial(zoo.spec, chosen)
        here = method.find(chosen).OURS.get(specs.images(dataset), {})
    for name in names:
        if name not in here:
            raise UserError(f"no network is called {name!r}: {nearest(name, [*here, *known])}")
    _known_data([dataset], data.sources(), paths_allowed=True)
    try:
        return [make(name, dataset, seed=seed, n=options.n, **how)
                for seed in seeds for name in names or here]
    except ValueError as error:
        raise UserError(str(error)) from error


def _known_data(names: Iterable[str], known: Iterable[str], paths_allowed: bool = False) -> None:
    """Refuse data sets without a name in data/sources.toml, and paths of nothing.

    Raises
    ------
    UserError : there is one.
    """
    for name in names:
        if name not in known and not (paths_allowed and os.path.exists(name)):
            raise UserError(f"no data set is called {name!r}: {nearest(name, known)}")


def data_list(options: argparse.Namespace) -> int:
    """Print the data sets that have a name."""
    from intriguing import data

    with working():
        rows = data.status()
    table(tuple(rows[0]), [tuple(row.values()) for row in rows]) if rows else print("none")
    return RIGHT


def data_fetch(options: argparse.Namespace) -> int:
    """Download data sets."""
    from intriguing import data

    _known_data(options.name, data.sources())
    with working():
        for name in options.name:
            say(f"{name}: fetching")
            print(f"{name}: {data.fetch(name)}", flush=True)
    return RIGHT


def data_verify(options: argparse.Namespace) -> int:
    """Check data sets against their checksums."""
    from intriguing import data

    _known_data(options.name, data.sources())
    failed = False
    here = options.name or [row["name"] for row in data.status() if row["here"]]
    for name in here:
        try:
            data.verify(name)
            print(f"{name}: right")
        except (UserError, OSError) as error:
            failed = True
            complain(f"{name}: {error}", FAILED)
    return FAILED if failed else RIGHT
