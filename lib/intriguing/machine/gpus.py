"""Which GPUs there are, and how large they are, without torch: a job asks before it imports it."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from intriguing.errors import UserError

GPUS = "INTRIGUING_GPUS"
MEMORY = "INTRIGUING_GPU_MEMORY_MB"
DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU

_GPU = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


def given() -> tuple[str, ...]:
    """Return the GPUs of INTRIGUING_GPUS; none where it is unset or empty.

    Raises
    ------
    UserError : something that is not the id of a GPU.
    """
    text = os.environ.get(GPUS, "").strip()
    found = tuple(word.strip() for word in text.split(",")) if text else ()
    for word in found:
        if not _GPU.fullmatch(word):
            raise UserError(f"{GPUS} is {text!r}, where {word!r} is no GPU: use ids as in 0,1,3")
    return tuple(dict.fromkeys(found))


def visible(n: int) -> tuple[str, ...]:
    """Return the ids of the first n GPUs that this process may use.

    Those that an existing CUDA_VISIBLE_DEVICES names, else those that nvidia-smi lists (or, where
    there is no nvidia-smi, the driver's folder below /proc).

    Raises
    ------
    UserError : n below 1, or more than there are.
    """
    if n < 1:
        raise UserError(f"{n} GPUs asked for: ask for at least 1, or for none at all")
    there, allowed = _present(), os.environ.get("CUDA_VISIBLE_DEVICES")
    found = there if allowed is None else _allowed(allowed, there)
    if n > len(found):
        who = "this machine has" if allowed is None else f"CUDA_VISIBLE_DEVICES={allowed!r} leaves"
        count = f"{len(found)} ({', '.join(found)})" if found else "none"
        raise UserError(
            f"{n} GPUs asked for, but {who} {count}: "
            + (f"ask for at most {len(found)}" if found else "leave them out to use the CPU")
        )
    return tuple(found[:n])


def _allowed(text: str, there: Sequence[str]) -> list[str]:
    """Return what CUDA makes of CUDA_VISIBLE_DEVICES: the ids before the first that is not one."""
    found: list[str] = []
    for word in (word.strip() for word in text.split(",")):
        if not _GPU.fullmatch(word) or (there and word.isdigit() and word not in there):
            break
        found.append(word)
    return list(dict.fromkeys(found))


def _present() -> list[str]:
    """Return the numbers of the GPUs of this machine, without torch."""
    listed = [number for number, _, _ in _listed()]
    if listed:
        return listed
    try:
        return [str(number) for number, _ in enumerate(DRIVER.iterdir())]
    except OSError:
        return []


def _listed() -> list[tuple[str, str, int | None]]:
    """Return (number, UUID, MiB) of each GPU that nvidia-smi lists; nothing where it fails."""
    asked = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[field.strip() for field in line.split(",")] for line in done.stdout.splitlines()]
    return [(number, uuid, int(size) if size.isdigit() else None)
            for number, uuid, size in (row for row in rows if len(row) == 3)]  # fmt: skip


def memory(gpus: Sequence[str]) -> dict[str, int | None]:
    """Return the MiB of each GPU: INTRIGUING_GPU_MEMORY_MB for all, else as nvidia-smi says.

    None where nobody knows, as for a part of a GPU (MIG).

    Raises
    ------
    UserError : INTRIGUING_GPU_MEMORY_MB is no positive whole number.
    """
    text = os.environ.get(MEMORY, "").strip()
    if text:
        if not text.isdigit() or int(text) == 0:
            raise UserError(f"{MEMORY} is {text!r}: give the memory of one GPU in MB, as in 24000")
        return dict.fromkeys(gpus, int(text))
    found: dict[str, int | None] = dict.fromkeys(gpus)
    for number, uuid, size in _listed():
        for gpu in gpus:
            if gpu == number or (not gpu.isdigit() and uuid.startswith(gpu)):
                found[gpu] = size
    return found
