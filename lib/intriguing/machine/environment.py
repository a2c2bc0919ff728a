"""Environment variables, changed for a while."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

OFFLINE = "INTRIGUING_OFFLINE"  # set to anything: no data set is downloaded


@contextmanager
def changed(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set (or for None, unset) variables of this process; they come back at the end."""
    before = {name: os.environ.get(name) for name in values}

    def put(values: Mapping[str, str | None]) -> None:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    put(values)
    try:
        yield
    finally:
        put(before)
