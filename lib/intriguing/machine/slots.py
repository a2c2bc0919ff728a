"""Which GPU a job computes on, settled before torch is imported.

A build on a machine with several GPUs names them in INTRIGUING_GPUS ("0,1,3"), and each of its jobs
takes one.  A GPU is SHARES lock files, and a job locks as many of one GPU as its memory needs, or
all.  The operating system drops the locks when their holder dies, even by kill -9.

A job locks all it needs or nothing, so none waits for another that waits for it.  The job
whose turn it is waits until there is room, and the others behind it: small jobs cannot keep a large
one waiting for ever.
Memory is declared, not enforced.  It is counted in MiB, as nvidia-smi does.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import ceil
from pathlib import Path

from filelock import FileLock, Timeout

from intriguing import paths
from intriguing.errors import UserError
from intriguing.machine import environment
from intriguing.machine.gpus import GPUS, given, memory, visible

__all__ = ["SHARES", "TRAINING_MB", "given", "job", "memory", "take", "visible"]

SHARES = 16  # of one GPU: jobs that fit on it together, at most
TRAINING_MB = 12000  # what `zoo train` asks for unless told: DenseNet keeps 8.9 GB for gradients
POLL = 0.5  # s between two looks at GPUs that are taken

Say = Callable[[str], None]


@contextmanager
def job(
    memory_mb: int | None = None, *, device: str | None = None, say: Say | None = None
) -> Iterator[str | None]:
    """Let this process and its children see one GPU of INTRIGUING_GPUS; yield its id.

    Nothing happens, and None is yielded, where INTRIGUING_GPUS is unset or the job is for another
    device.  Inside, CUDA_VISIBLE_DEVICES is the GPU and INTRIGUING_GPUS is unset, so that what the
    job starts does not wait for a GPU of its own.

    Parameters
    ----------
    memory_mb : what the job needs; None means a whole GPU.
    device : as in `runtime.device`; None means INTRIGUING_DEVICE, else a GPU.
    say : receives a line when the job waits, and when it has its GPU.

    Raises
    ------
    UserError : a `device` such as cuda:1, which would choose a GPU twice.
    """
    gpus = given()
    asked = device if device not in (None, "auto") else os.environ.get("INTRIGUING_DEVICE", "")
    if not gpus or asked.strip().startswith(("cpu", "mps")):
        yield None
        return
    if ":" in asked and asked.strip() != "cuda:0":
        raise UserError(
            f"device {asked} asked for while {GPUS} gives each job a GPU of its own: use cuda"
        )
    with take(gpus, memory_mb=memory_mb, say=say) as gpu:
        if say is not None:
            say(f"on GPU {gpu}")
        # numbers are those of nvidia-smi; CUDA's own order would put the fastest first
        order = os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        with environment.changed(
            {"CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": order, GPUS: None}
        ):
            yield gpu


@contextmanager
def take(
    gpus: Sequence[str | int],
    *,
    memory_mb: int | None = None,
    folder: Path | None = None,
    say: Say | None = None,
) -> Iterator[str]:
    """Hold a GPU, or a part of one, and yield its id; wait while all are taken.

    The caller sets CUDA_VISIBLE_DEVICES before torch is imported; `job` does.  Among GPUs with room
    the one with most of its shares free is taken, in the order given.

    Parameters
    ----------
    gpus : ids, numbers of nvidia-smi or UUIDs.
    memory_mb : None, or more than any of them has, takes a whole GPU.  So does a GPU whose memory
        nobody knows.
    folder : of the lock files, on a disk of this machine; None means `paths.slots_dir()`.  Only
        jobs with the same folder know of each other.
    say : receives one line when the job has to wait.

    Raises
    ------
    ValueError : no GPU, or memory below 1.
    """
    ids = tuple(dict.fromkeys(str(gpu) for gpu in gpus))
    if not ids:
        raise ValueError("there is no GPU to take: name at least one")
    if memory_mb is not None and memory_mb < 1:
        raise ValueError(f"memory_mb must be at least 1, not {memory_mb}")
    folder = paths.slots_dir() if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    needed = _shares(ids, memory_mb)
    what = "a GPU" if memory_mb is None else f"{memory_mb} MB of a GPU"
    told = _once(say, f"waiting for {what}: no room on {', '.join(ids)}")
    with ExitStack() as held:
        with ExitStack() as turn:
            for gpu in sorted(ids):  # in one order everywhere: nobody waits in a circle
                turn.enter_context(_held(_lock(folder, gpu, "turn"), told))
            while (found := _attempt(needed, folder)) is None:
                told()
                time.sleep(POLL)
            for lock in found[1]:
                held.callback(lock.release)
        yield found[0]


def _shares(ids: Sequence[str], memory_mb: int | None) -> dict[str, int]:
    """Return how many shares of which GPU the job needs; small GPUs are out if others are not."""
    if memory_mb is None:
        return dict.fromkeys(ids, SHARES)
    sizes = memory(ids)
    large = [gpu for gpu in ids if (sizes[gpu] or memory_mb) >= memory_mb]
    return {gpu: min(SHARES, ceil(SHARES * memory_mb / (sizes[gpu] or 1))) for gpu in large or ids}


def _attempt(needed: Mapping[str, int], folder: Path) -> tuple[str, list[FileLock]] | None:
    """Lock what is needed of the GPU with most shares free, or nothing; the caller has its turn."""
    free: dict[str, list[FileLock]] = {}
    for gpu in needed:
        locks = [_lock(folder, gpu, str(share)) for share in range(SHARES)]
        free[gpu] = [lock for lock in locks if _locked(lock)]
    best = max(needed, key=lambda gpu: (len(free[gpu]) >= needed[gpu], len(free[gpu])))
    fits = len(free[best]) >= needed[best]
    for gpu, locks in free.items():
        for lock in locks[needed[gpu] if fits and gpu == best else 0 :]:
            lock.release()
    return (best, free[best][: needed[best]]) if fits else None


def _lock(folder: Path, gpu: str, part: str) -> FileLock:
    return FileLock(folder / f"{re.sub('[^0-9A-Za-z-]', '_', gpu)}.{part}.lock")


def _locked(lock: FileLock, timeout: float = 0) -> bool:
    """Try to lock for `timeout` seconds; return whether it worked."""
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    return True


@contextmanager
def _held(lock: FileLock, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock; `waiting` is called when it takes more than the moment of a look around."""
    if not _locked(lock, timeout=2 * POLL):
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _once(say: Say | None, line: str) -> Callable[[], None]:
    """Return a function that says the line the first time it is called."""
    left = [line] if say is not None else []
    return lambda: say(left.pop()) if left else None
