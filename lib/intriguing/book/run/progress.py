"""How far a run has come: one line that rewrites itself on a terminal, plain lines in a log."""

import threading
import time
from typing import TextIO

CLEAR = "\r\033[K"
LOG_EVERY = 60.0  # seconds between the lines of a log


def clock(seconds: float) -> str:
    """Return 8 s, 3:07 or 1:02:03."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{whole} s"


class Progress:
    """Tell where a chapter is: `with Progress(name, code_cells, stream) as progress: ...`.

    Parameters
    ----------
    label : what is running.
    total : how many steps (code cells) it has.
    stream : where to write; a terminal gets one living line, anything else a line a minute.
    """

    def __init__(self, label: str, total: int, stream: TextIO) -> None:
        self.label, self.total, self.stream = label, total, stream
        self.step = 0
        self.started = time.monotonic()
        self.live = bool(getattr(stream, "isatty", lambda: False)())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def __enter__(self) -> "Progress":
        if not self.live:
            self.say(f"{self.label}: started, {self.total} code cells")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self.live:
            self._write(CLEAR)

    def advance(self) -> None:
        """Count one more step."""
        self.step += 1
        if self.live:
            self._write(self._line())

    def say(self, text: str) -> None:
        """Write one line of its own."""
        self._write(f"{CLEAR if self.live else ''}{text}\n")

    def _line(self) -> str:
        where = f"cell {self.step} of {self.total}" if self.step else "starting the kernel"
        return f"{CLEAR if self.live else ''}{self.label}: {where}, {clock(self.seconds)}"

    def _tick(self) -> None:
        while not self._ended.wait(1.0 if self.live else LOG_EVERY):
            self._write(self._line() + ("" if self.live else "\n"))

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
