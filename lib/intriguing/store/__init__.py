"""Files that are whole or absent: the zoo's checkpoints, the states of unfinished trainings."""

from intriguing.store.checkpoints import delete, known, locked, path, read, sweep, write
from intriguing.store.state import DamagedError

__all__ = ["DamagedError", "delete", "known", "locked", "path", "read", "sweep", "write"]
