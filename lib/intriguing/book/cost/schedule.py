"""How long a plan takes on so many devices: greedy scheduling of jobs that wait for one another.

Whenever a device is free, it takes the waiting job with the longest way to the end of the plan
(Graham 1966; the length of that way as priority: Hu 1961).  The result lies between the longest
chain of jobs, which no number of devices beats, and Graham's bound: the work of one device plus
(N - 1) times that chain, over N.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """One job: its name, seconds on one device, and the names of the jobs that must end before."""

    name: str
    seconds: float
    after: tuple[str, ...] = ()


def ways(jobs: Iterable[Job]) -> dict[str, float]:
    """Return for each job the seconds of the longest chain that begins with it.

    Raises
    ------
    ValueError : a name given twice, a job that waits for an unknown one, or a cycle.
    """
    known = _by_name(jobs)
    later: dict[str, list[str]] = {name: [] for name in known}
    for job in known.values():
        for name in job.after:
            later[name].append(job.name)
    found: dict[str, float] = {}
    for name in reversed(_order(known)):
        longest = max((found[after] for after in later[name]), default=0.0)
        found[name] = known[name].seconds + longest
    return found


def critical_path(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Return the longest chain of jobs, first job first; () for no jobs."""
    known = _by_name(jobs)
    length, chain = ways(known.values()), []
    ready = [name for name, job in known.items() if not job.after]
    while ready:
        name = max(ready, key=length.__getitem__)
        chain.append(known[name])
        ready = [job.name for job in known.values() if name in job.after]
    return tuple(chain)


def makespan(jobs: Iterable[Job], devices: int) -> float:
    """Return the seconds from the start of the first job to the end of the last one.

    A greedy schedule can get longer with more devices (Graham's anomaly).  As devices may stand
    idle, the shortest schedule of 1, 2, ... `devices` counts.

    Raises
    ------
    ValueError : no device, or jobs that `ways` refuses.
    """
    if devices < 1:
        raise ValueError(f"a plan needs at least 1 device, got {devices}")
    known = _by_name(jobs)
    priority = ways(known.values())
    return min(_greedy(known, priority, n) for n in range(1, min(devices, max(len(known), 1)) + 1))


def _greedy(known: Mapping[str, Job], priority: Mapping[str, float], devices: int) -> float:
    """Return the makespan of the greedy schedule on exactly `devices` devices."""
    missing = {name: len(set(job.after)) for name, job in known.items()}
    ready = [(-priority[name], name) for name, count in missing.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    later: dict[str, list[str]] = {name: [] for name in known}
    for job in known.values():
        for name in set(job.after):
            later[name].append(job.name)
    now = 0.0
    while ready or running:
        while ready and len(running) < devices:
            name = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + known[name].seconds, name))
        now, done = heapq.heappop(running)
        for name in later[done]:
            missing[name] -= 1
            if not missing[name]:
                heapq.heappush(ready, (-priority[name], name))
    return now


def _by_name(jobs: Iterable[Job]) -> dict[str, Job]:
    """Return the jobs by name, after a look at whether they fit together."""
    listed = list(jobs)
    known = {job.name: job for job in listed}
    if len(known) < len(listed):
        names = [job.name for job in listed]
        raise ValueError(f"two jobs are called {next(n for n in names if names.count(n) > 1)!r}")
    for job in listed:
        unknown = [name for name in job.after if name not in known]
        if unknown:
            raise ValueError(f"{job.name!r} waits for {unknown[0]!r}, which is no job of the plan")
        if not job.seconds >= 0:
            raise ValueError(f"{job.name!r} takes {job.seconds} seconds")
    return known


def _order(known: Mapping[str, Job]) -> list[str]:
    """Return the names so that each stands after what it waits for."""
    placed: dict[str, None] = {}
    while len(placed) < len(known):
        found = [name for name, job in known.items()
                 if name not in placed and all(after in placed for after in job.after)]
        if not found:
            raise ValueError("the jobs wait for one another in a circle")
        placed.update(dict.fromkeys(found))
    return list(placed)
