"""Drive Snakemake through a build, and tell in plain lines what its jobs say and how they end.

Snakemake's own, longer account goes to `_build/<profile>/workflow.log`, what each job says to
`_build/<profile>/logs`.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import yaml

from intriguing import paths, textfiles
from intriguing.book.build import processes, settled, slurm, sources, workflow
from intriguing.book.run import child, receipts
from intriguing.errors import UserError
from intriguing.machine import environment, gpus

_WHICH = {"train": "key", "chapter": "chapter", "pages": ""}  # {rule: wildcard that tells a job}


@dataclass(frozen=True)
class How:
    """How a build is carried out: jobs at a time, GPUs, a cluster's profile, a device's name."""

    jobs: int | None = None
    gpus: int = 0
    cluster: str | None = None
    device: str | None = None
    target: str = "all"  # or "chapters", "zoo": rules of Snakefile

    def at_a_time(self) -> int:
        """Jobs at a time: as asked for, else two a GPU, else two where there are two cores.

        Two a GPU, since small jobs share one; where they do not fit, the second waits.
        """
        return self.jobs or 2 * self.gpus or min(2, os.cpu_count() or 1)


def require() -> None:
    """Make sure that Snakemake and Jupyter Book are installed.

    Raises
    ------
    UserError : one is not; the message says how to get it, and what works without.
    """
    for module, name in (("snakemake", "Snakemake"), ("jupyter_book", "Jupyter Book")):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"building at a profile needs {name}: pip install -r requirements.txt; "
                            "single chapters run without it (intriguing run)")


def clusters() -> list[str]:
    """Return the clusters that have a profile: the folders of workflow/profiles but `default`."""
    folder = paths.root() / "workflow" / "profiles"
    return sorted(path.name for path in folder.glob("*/") if path.name != "default")


def _on_slurm(how: How) -> bool:
    """Say whether the profile of the cluster hands jobs to Slurm, whatever its own name."""
    if not how.cluster:
        return False
    file = paths.root() / "workflow" / "profiles" / how.cluster / "config.yaml"
    try:
        content = yaml.safe_load(textfiles.read(file))
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise UserError(f"{how.cluster}/{file.name} is not valid YAML: {told}") from error
    return isinstance(content, dict) and content.get("executor") == "slurm"


def drive(plan: workflow.Plan, how: How, stream: TextIO) -> list[str]:
    """Bring everything of a plan up to date; return what failed, a sentence each.

    Parameters
    ----------
    plan : see `workflow.plan`.
    how : jobs at a time, GPUs, cluster.
    stream : receives what the jobs say.

    Raises
    ------
    UserError : Snakemake is not installed, or Slurm does not answer.
    """
    def say(line: str) -> None:
        print(line, file=stream, flush=True)

    require()
    lock = workflow.claim(plan, lambda: say(
        f"another build at {plan.profile}, or what a killed one left, is at work: waiting for it"))
    try:
        if _on_slurm(how):
            slurm.require()
            slurm.wait_for_survivors(plan.profile, plan.folder, say)
        _sweep(plan)
        if how.target == "all" and settled.settled(plan):
            return []
        settled.forget(plan)
    finally:
        lock.release()  # Snakemake itself takes it, so that it is held while any of this lives
    began, log, saved = time.time(), plan.folder / "workflow.log", sources.saved()
    logs = plan.folder / "logs"
    before = {path: path.stat().st_size for path in logs.glob("*.log")}
    with log.open("w", encoding="utf-8") as file, processes.telling(logs, before, stream):
        status = processes.run(_command(plan, how), plan.folder, _environment(how), file)
    if status == 0 and _complete(plan, how.target):
        if how.target == "all" and sources.saved() == saved:
            settled.remember(plan)
        return []
    if status < 0:
        say("Snakemake was killed; the jobs that it left were ended")
    changed = ["the book or the library was saved during the build, which no longer fits them"]
    return (changed if sources.saved() != saved else []) + _failures(plan, began, log)


def pending(plan: workflow.Plan, how: How) -> list[tuple[str, str]]:
    """Return what a build would do now: ("train", key), ("chapter", name) and ("pages", "").

    Snakemake's dry run is asked, but not read: how much it prints is a matter of settings.  It
    writes its jobs down (`workflow.Jobs`).  Its `--summary` will not do: that calls what a killed
    build left half made up to date, and a build makes it again.

    Raises
    ------
    UserError : Snakemake is not installed, or cannot plan the build; the message has its words.
    """
    require()
    lock = workflow.claim(plan, wait=False)
    if lock is not None:  # a build at work has swept
        try:
            _sweep(plan)
        finally:
            lock.release()
    with (
        environment.changed({environment.OFFLINE: "1"}),  # a question is no reason to download
        tempfile.TemporaryDirectory() as folder,
    ):
        jobs = Path(folder, "jobs")
        done = subprocess.run(
            [*_command(plan, how, f"jobs={jobs}"), "--dry-run"], env=_environment(how),
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            plan.check()
            raise UserError(f"Snakemake cannot plan the build:\n{done.stdout}{done.stderr}")
        told = [json.loads(line) for line in jobs.read_text(encoding="utf-8").splitlines()]
    if not told and not _complete(plan, how.target):
        raise UserError("Snakemake names nothing to do, and not everything is there")
    return [(rule, wildcards.get(_WHICH[rule], "")) for rule, wildcards in told if rule in _WHICH]


def _command(plan: workflow.Plan, how: How, *config: str) -> list[str]:
    """Return the command line of Snakemake; `config` is more that Snakefile is to know."""
    jobs, threads, root = how.at_a_time(), 1, paths.root()
    profiles = root / "workflow" / "profiles"
    where = ["--profile", "none"]  # a profile of the user's might run nothing, and end well
    if how.cluster:  # its profile says how many jobs, and how many cores each
        where = ["--profile", str(profiles / how.cluster)]
        where += ["--jobs", str(how.jobs)] if how.jobs else []
        where += slurm.arguments(plan.profile) if _on_slurm(how) else []
    else:
        threads = max(1, (os.cpu_count() or 1) // jobs)
        where += ["--cores", str(jobs * threads)]
    return [
        sys.executable, "-m", "snakemake", how.target, "--snakefile", str(root / "Snakefile"),
        "--workflow-profile", str(profiles / "default"), *where,
        "--nolock",  # the workflow has a lock of its own, which no kill leaves behind
        "--config", f"profile={plan.profile}", f"threads={threads}",
        f"gpu={int(how.gpus > 0 and how.cluster is not None)}", *config,
    ]


def _environment(how: How) -> dict[str, str]:
    """Return the environment of Snakemake and its jobs: `python` is this one, with this library.

    Raises
    ------
    UserError : more GPUs asked for than there are.
    """
    shared = {gpus.GPUS: ""} if how.cluster else {}  # there, the scheduler hands them out
    if how.gpus and not how.cluster:
        shared = {gpus.GPUS: ",".join(gpus.visible(how.gpus))}
    told = {
        **os.environ,
        **child.environment(),
        **shared,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        **({"INTRIGUING_DEVICE": how.device} if how.device else {}),
    }
    told.pop("SNAKEMAKE_PROFILE", None)
    return told


def _sweep(plan: workflow.Plan) -> None:
    """Drop what tells of pages that are gone or were exchanged by hand, and logs of former runs."""
    if not (plan.folder / workflow.PAGES).is_file():
        (plan.folder / workflow.RENDERED).unlink(missing_ok=True)
    for one in plan.settings:
        receipts.write(one.chapter.name, plan.profile)
        logs = sorted((plan.folder / "logs").glob(f"{one.chapter.name}.*.log"),
                      key=lambda path: path.stat().st_mtime)
        for log in logs[:-1]:
            log.unlink(missing_ok=True)


def _complete(plan: workflow.Plan, target: str) -> bool:
    """Say whether all that was asked for is there: an exit status of 0 alone shows nothing."""
    if target == "zoo":
        return all((plan.folder / file).is_file() for file in plan.all_networks)
    rendered = [workflow.RENDERED, workflow.PAGES] if target == "all" else []
    return not _not_run(plan) and all((plan.folder / file).is_file() for file in rendered)


def _not_run(plan: workflow.Plan) -> list[str]:
    """Return the receipts that are missing, or tell of another page than the one that is there."""
    return [receipt for one, receipt in zip(plan.settings, plan.receipts, strict=True)
            if not (plan.folder / receipt).is_file()
            or receipt.rpartition(".")[2] != receipts.present(one.chapter.name, plan.profile)]


def _failures(plan: workflow.Plan, began: float, log: Path) -> list[str]:
    """Return a sentence for each thing that is missing at the end of a failed workflow.

    What has no log since it `began` was not tried.
    """
    def tried(name: str) -> bool:
        path = plan.folder / "logs" / f"{name}.log"
        return path.is_file() and path.stat().st_mtime >= began

    shown = Path(os.path.relpath(plan.folder))
    missing = [Path(receipt).name for receipt in _not_run(plan)]
    untrained = [key for key in plan.known if not (plan.folder / plan.network(key)).is_file()]
    told = [f"{plan.label(key)} was not trained (log: {shown}/logs/train-{key}.log)"
            for key in untrained if tried(f"train-{key}")]
    for name in missing:
        where = shown / "logs" / f"{name}.log"
        told.append(f"{name.rpartition('.')[0]} " + (
            f"failed (log: {where})" if tried(name) else "was not run"))
    if not told:
        told.append("the pages were not rendered" + (
            f" (log: {shown}/logs/pages.log)" if tried("pages") else ""))
    return [*told, f"Snakemake's account of it all is in {shown}/{log.name}"]
