"""What a build on Slurm needs beside Snakemake's executor: an answer of Slurm, no survivors.

A head that was killed leaves its jobs running, and Snakemake does not find them again.  They are
waited for before a build goes on, so that nothing is computed twice.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from intriguing.errors import UserError

POLL = 5.0  # seconds between two looks at the queue


def arguments(profile: str) -> list[str]:
    """Return what Snakemake is told, so that a later build knows the jobs of this one."""
    return ["--slurm-jobname-prefix", _prefix(profile)]


def _prefix(profile: str) -> str:
    return f"intriguing-{profile}"


def require() -> None:
    """Make sure that jobs can be handed to Slurm from here.

    Raises
    ------
    UserError : its commands or the executor plugin are missing, or it does not answer.
    """
    import importlib.util

    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise UserError(f"--cluster slurm needs {', '.join(missing)} on this machine: call it on a "
                        "login node of the cluster")
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        raise UserError("--cluster slurm needs Snakemake's plugin: pip install "
                        "snakemake-executor-plugin-slurm")
    _queue()


def _queue() -> list[list[str]]:
    """Return [job, state, name, folder] of our jobs.

    Raises
    ------
    UserError : Slurm does not answer.
    """
    command = ["squeue", "--noheader", "--me", "--format=%i|%T|%j|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired as error:
        raise UserError("Slurm does not answer: squeue took two minutes") from error
    if done.returncode != 0:
        raise UserError(f"Slurm does not answer: {done.stderr.strip() or 'squeue failed'}")
    return [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 3]


def wait_for_survivors(profile: str, folder: Path, say: Callable[[str], None]) -> None:
    """Cancel what an earlier build of this profile left waiting, and wait for what still runs."""
    told: set[str] = set()
    while True:
        ours = [(job, state) for job, state, name, where in _queue()
                if name.startswith(f"{_prefix(profile)}_")
                and os.path.realpath(where) == os.path.realpath(folder)]
        waiting = [job for job, state in ours if state == "PENDING"]
        if waiting:
            subprocess.run(["scancel", *waiting], check=False)
        running = [job for job, state in ours if state != "PENDING"]
        if not running:
            return
        for job in set(running) - told:
            say(f"job {job} of an earlier build still runs: waiting for it (scancel {job} gives "
                "it up)")
        told |= set(running)
        time.sleep(POLL)
