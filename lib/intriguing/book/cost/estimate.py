"""The plan of a profile: per chapter the networks, the run and the disk, and the jobs between them.

Only sources, profiles and recorded runs are read; nothing is trained, and no image is opened.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from intriguing import chapters, data, records, specs, zoo
from intriguing.book.cost import machine, rules, work
from intriguing.book.cost.machine import Span
from intriguing.book.cost.schedule import Job
from intriguing.chapters import networks, shelves
from intriguing.errors import UserError, nearest
from intriguing.zoo import Spec

IMAGENET = {  # what chapters with a parameter `imagenet` read: validation images, and as decoded
    "ImageNet, validation": 6_744_924_160 + 50_000 * 3 * 224 * 224}
RENDERING = 60.0  # seconds, on a CPU whatever the profile: half a minute for a few chapters


@dataclass(frozen=True)
class Recorded:
    """A run that a page tells of; `work` is the milliseconds that its rule gives for it."""

    profile: str
    device: str
    seconds: float
    started: str
    work: float


@dataclass(frozen=True)
class Row:
    """What one chapter costs at a profile.

    networks, flops : of the trainings that no chapter before it needs.  cpu : seconds of the run on
    the CPU, gpu : on a GPU; None where it is not known.  basis : the recorded run that they are
    scaled from, and `ratio` the work of this profile over its.  missing : why there is none.
    data : names and bytes of its data sets.  disk : bytes of new networks, results and the rest.
    """

    chapter: str
    networks: int
    flops: float
    training: Span
    cpu: float | None
    gpu: Span | None
    basis: Recorded | None
    ratio: float | None
    missing: str
    data: dict[str, int]
    disk: float


@dataclass(frozen=True)
class Plan:
    """The cost of a profile: a row for each chapter, jobs for a GPU used well and one used badly.

    rate : operations per second of recorded trainings on a CPU, None if there are none.
    """

    profile: str
    rows: tuple[Row, ...]
    rate: float | None
    well: tuple[Job, ...] = field(repr=False)
    badly: tuple[Job, ...] = field(repr=False)

    @property
    def gpu(self) -> Span:
        """Seconds of all that is known, on one GPU."""
        return Span(*(sum(job.seconds for job in jobs) for jobs in (self.well, self.badly)))

    @property
    def disk(self) -> float:
        """Bytes of everything, each data set once."""
        shared = {name: size for row in self.rows for name, size in row.data.items()}
        return sum(shared.values()) + sum(row.disk for row in self.rows)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The chapters whose run is in no total."""
        return tuple(row.chapter for row in self.rows if row.gpu is None)


def plan(profile: str, *, local: bool = True) -> Plan:
    """Return what it costs to build the book at a profile, from an empty zoo.

    Parameters
    ----------
    local : also take runs in `_build` for recorded, not only what is published.

    Raises
    ------
    UserError : unknown profile, or a rule or a chapter that cannot be read.
    """
    chapters.load_profile(profile)  # an unknown one is refused before anything is read
    known, seen, rows = rules.load(), {}, []
    count = functools.cache(work.training)  # seeds cost alike
    jobs: list[tuple[str, Span, tuple[str, ...]]] = []
    for name in known.keys() - set(chapters.names()):
        raise UserError(f"notebooks/{rules.FILE} has a rule for {name!r}, which is no chapter: "
                        f"{nearest(name, chapters.names())}")
    listed = [chapters.resolve(chapters.find(name), profile) for name in chapters.names()]
    for settings in listed:
        name = settings.chapter.name
        needed = networks.with_bases(networks.declared(settings, resolved=False))
        fresh = {spec: count(replace(spec, seed=0)) for spec in needed if spec not in seen}
        for spec, counted in fresh.items():
            seen[spec] = f"train {spec.label} {spec.key[:8]}"
            below = tuple(seen[parent] for parent in zoo.parents(spec).values())
            jobs.append((seen[spec], machine.training(counted), below))
        rows.append(_row(settings, list(fresh.values()), known.get(name), local))
        if rows[-1].gpu is not None:
            jobs.append((name, rows[-1].gpu, tuple(seen[spec] for spec in needed)))
    last = tuple(row.chapter for row in rows if row.gpu is not None)
    jobs.append(("the pages", Span(RENDERING, RENDERING), last))
    return Plan(profile, tuple(rows), machine.rate(_trainings(known, count)),
                *(tuple(Job(name, getattr(span, which), after) for name, span, after in jobs)
                  for which in ("well", "badly")))


def _row(
    settings: chapters.Settings, fresh: list[work.Work], rule: rules.Rule | None, local: bool
) -> Row:
    """Return the row of one chapter, given the networks that it is the first to need."""
    name, basis, ratio, cpu, gpu, disk = settings.chapter.name, None, None, None, None, 0.0
    missing = "" if rule else f"no rule in notebooks/{rules.FILE}"
    if rule:
        disk = rules.evaluate(rule.disk, settings.parameters, name)
        total, flops = _count(rule, settings.parameters, name)
        basis = _basis(name, rule, local)
        if basis:
            ratio = total / basis.work
            cpu = machine.scaled(basis.seconds, ratio)
        else:
            missing, cpu = "none, by formula", machine.START_UP + total / 1000
        small = cpu * (1 - flops / machine.CPU_PASSES * 1000 / total)
        gpu = machine.run(small, rule.device, flops)
        if basis and not basis.device.startswith("cpu"):
            cpu, gpu = None, Span(cpu, cpu)
    training = sum((machine.training(one) for one in fresh), Span(0, 0))
    results = shelves.published().results / name
    disk += sum(path.stat().st_size for path in results.rglob("*") if path.is_file())
    return Row(name, len(fresh), sum(one.flops for one in fresh), training, cpu, gpu, basis, ratio,
               missing, _data(settings.parameters), disk + sum(one.bytes for one in fresh))


def _count(rule: rules.Rule, parameters: dict[str, Any], name: str) -> tuple[float, float]:
    """Return the milliseconds of a run on one CPU thread, and the operations of its passes."""
    flops = 1e6 * rules.evaluate(rule.passes, parameters, name)
    total = rules.evaluate(rule.work, parameters, name) + flops / machine.CPU_PASSES * 1000
    return total, flops


def _data(parameters: dict[str, Any]) -> dict[str, int]:
    """Return the bytes of the known data sets that parameters name."""
    known = data.sources()
    named = {value: known[value].bytes for value in parameters.values()
             if isinstance(value, str) and value in known}
    return named | (IMAGENET if parameters.get("imagenet") else {})


def _basis(name: str, rule: rules.Rule, local: bool) -> Recorded | None:
    """Return the run to scale: on a GPU if there is one, of the most work, the fastest of these."""
    found = [run for page in _pages(name, local) if (run := _recorded(page, name, rule))]
    return max(found, default=None, key=lambda run: (
        not run.device.startswith("cpu"), run.work, -run.seconds))


def _pages(name: str, local: bool) -> Iterator[Path]:
    """Yield the executed pages of a chapter."""
    held = [shelves.published()]
    held += [shelves.built(profile) for profile in chapters.profiles()] if local else []
    for shelf in held:
        if shelf.page(name).is_file():
            yield shelf.page(name)


def _recorded(path: Path, name: str, rule: rules.Rule) -> Recorded | None:
    """Return the run that a page tells of; None for a page without one, or of older parameters.

    At smoke most of the time goes into what does not grow: such a run says nothing of others.
    """
    made = shelves.load(path)["metadata"].get("intriguing") or {}
    try:
        counted, _ = _count(rule, made["parameters"], name)
        run = Recorded(made["profile"], str(made["device"]), float(made["seconds"]),
                       datetime.fromisoformat(made["started"]).date().isoformat(), counted)
    except (KeyError, TypeError, ValueError, UserError):
        return None
    return run if counted > 0 and run.profile != "smoke" else None


def _trainings(
    known: dict[str, rules.Rule], count: Callable[[Spec], work.Work]
) -> Iterator[tuple[float, float]]:
    """Yield (operations, seconds) of the trainings that each published record tells of."""
    for name in known:
        path = shelves.published().results / name / records.FILE
        if name not in chapters.names() or not path.is_file():
            continue
        head, _ = records.load(path)
        settings = chapters.resolve(chapters.find(name), head["profile"])
        told = head["checkpoints"]
        found = [spec for spec in networks.declared(settings, resolved=False)
                 if _named(spec, told)]
        if found and len(found) == len(told) and head["device"].startswith("cpu"):
            flops = sum(count(replace(spec, seed=0)).flops for spec in networks.with_bases(found))
            yield flops, float(head["training_seconds"])


def _named(spec: Spec, checkpoints: Iterable[str]) -> bool:
    """Say whether a network is among those that a record names, as "label (beginning of its key)".

    The key of one trained on a part of a set is not known without its images: there the label does.
    """
    images = specs.listed(spec)
    if images is None:
        return any(name.startswith(f"{spec.label} (") for name in checkpoints)
    return f"{spec.label} ({replace(spec, data_sha256=images).key[:12]})" in checkpoints
