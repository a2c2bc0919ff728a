"""Files that are whole or absent: the zoo's checkpoints, the states of unfinished trainings."""

from intriguing.store.checkpoints import delete, known, locked, path, read, seal, sweep, write
from intriguing.store.sidecar import DamagedError

__all__ = ["DamagedError", "delete", "known", "locked", "path", "read", "seal", "sweep", "write"]
