"""The `intriguing` command: list, run, build, publish, check, wheelhouse, zoo, data.

Exit status: 0 right, 1 something failed, 2 misuse (nothing was run), 130 interrupted.
Nothing is imported before it is needed: the parser when there is something to parse, a command when
it is called, and what is slow (torch, papermill, Jupyter) by the commands that need it.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments in ([], ["-h"], ["--help"]):
        _help(asked_for=bool(arguments))
    from intriguing.commands.common import (
        FAILED,
        INTERRUPTED,
        MISUSE,
        RIGHT,
        Failed,
        complain,
        tell,
    )
    from intriguing.commands.parser import parse
    from intriguing.errors import UserError

    with _terminable():
        try:
            options = parse(arguments)
            return options.command(options)
        except KeyboardInterrupt:
            return complain("interrupted; finished pages are as they were", INTERRUPTED)
        except Failed as error:
            return complain(str(error), FAILED)
        except UserError as error:
            return complain(str(error), MISUSE)
        except BrokenPipeError:  # `intriguing list | head`
            import os

            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return RIGHT
        except OSError as error:  # a checkout that takes no files, a full disk
            return complain(tell(error), FAILED)


def _help(asked_for: bool) -> None:
    """Print the help of the whole command and leave; unasked, because nothing was said, it is 2."""
    from intriguing.commands import help

    print(help.text(), end="")
    raise SystemExit(0 if asked_for else 2)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM (a scheduler's time limit) unwind like Ctrl-C, so that kernels end with us.

    So does SIGHUP (a terminal that was closed), unless it is ignored, as `nohup` wants it.
    """
    import signal
    import threading

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
