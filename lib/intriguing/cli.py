"""The `intriguing` command: list, run, build, publish, check, wheelhouse, zoo, data.

Exit status: 0 right, 1 something failed, 2 misuse (nothing was run), 130 interrupted.
Modules that are slow to import (torch, papermill, Jupyter) are imported by the commands that need
them, so that `--help` and every misuse answer at once.
"""

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from intriguing import __version__
from intriguing.commands import book, offline, stores
from intriguing.commands.common import FAILED, INTERRUPTED, MISUSE, RIGHT, Failed, complain
from intriguing.errors import UserError, nearest
from intriguing.machine.slots import TRAINING_MB

_COMMANDS: dict[str, tuple[str, ...]] = {
    "list": (), "run": (), "build": (), "publish": (), "check": (),
    "wheelhouse": (),
    "zoo": ("list", "train", "verify", "remove"),
    "data": ("list", "fetch", "verify"),
}

_EPILOG = """\
examples:
  intriguing list                             what there is, and what is published
  intriguing list 02                          the parameters of chapter 02 at every profile
  intriguing run 02 --profile cpu             run a chapter, keep the page in _build/cpu
  intriguing run 02 -p n_images 200           ... with one parameter changed
  intriguing build                            render what is published; executes nothing
  intriguing build --profile smoke            run what is missing or stale, then render
  intriguing publish 02 --profile cpu         run a chapter into the book

A chapter is named in full, by its number, or by its path; `all` means every chapter.
Profiles: smoke (seconds, numbers not comparable), cpu (a laptop), gpu, paper (days, many GPUs).

exit status: 0 right, 1 something failed, 2 misuse (nothing was run), 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    """argparse, but misuse is one sentence and exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see `{self.prog} --help`)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with _terminable():
        try:
            options = _parse(arguments)
            return options.command(options)
        except KeyboardInterrupt:
            return complain("interrupted; finished pages are as they were", INTERRUPTED)
        except Failed as error:
            return complain(str(error), FAILED)
        except UserError as error:
            return complain(str(error), MISUSE)
        except BrokenPipeError:  # `intriguing list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return RIGHT


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM (a scheduler's time limit) unwind like Ctrl-C, so that kernels end with us."""
    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------- the parser


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line; misspelt commands and options get the nearest valid name.

    Raises
    ------
    UserError : misuse.
    """
    words = [word for word in arguments if not word.startswith("-")]
    if words and words[0] not in _COMMANDS:
        raise UserError(f"no command is called {words[0]!r}: {nearest(words[0], _COMMANDS)}")
    below = _COMMANDS[words[0]] if words else ()
    if below and len(words) > 1 and words[1] not in below:
        raise UserError(f"`{words[0]}` has no {words[1]!r}: {nearest(words[1], below)}")
    parser, commands = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        used = commands[" ".join(words[:2 if below else 1])] if words else parser
        valid = [name for action in used._actions for name in action.option_strings]
        what = "option" if unknown[0].startswith("-") else "argument"
        hint = nearest(unknown[0], valid) if what == "option" else f"see `{used.prog} --help`"
        raise UserError(f"unexpected {what} {unknown[0]!r}: {hint}")
    if not hasattr(options, "command"):
        parser.print_help()
        raise SystemExit(MISUSE)
    return options


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser, and those of its commands by name ("zoo train")."""
    parser = _Parser(
        prog="intriguing", description="Run, check and render the executable book.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"intriguing {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    made: dict[str, _Parser] = {}
    _chapter_commands(commands, made)
    for group, function, words in (("zoo", _zoo_commands, "trained networks"),
                                   ("data", _data_commands, "data sets")):
        made[group] = commands.add_parser(
            group, help=f"{words}: {', '.join(_COMMANDS[group])}", allow_abbrev=False)
        function(made[group].add_subparsers(metavar="ACTION", title="actions", required=True), made)
    return parser, made


def _command(
    under: Any, made: dict[str, _Parser], name: str, function: Callable, help: str, more: str = ""
) -> _Parser:
    """Add one command; `help` is its line in the list, with `more` the head of its own help."""
    made[name] = under.add_parser(
        name.split()[-1], help=help, description=f"{help[0].upper()}{help[1:]}. {more}".strip(),
        allow_abbrev=False)
    made[name].set_defaults(command=function)
    return made[name]


def _chapter_commands(under: Any, made: dict[str, _Parser]) -> None:
    one = _command(under, made, "list", book.overview, "chapters, profiles, what is published",
                   "With a chapter: its parameters, and their values at every profile.")
    one.add_argument("chapter", nargs="?", help="a chapter, to see its parameters")

    one = _command(under, made, "run", book.run, "execute chapters with papermill",
                   "The page lands in _build/PROFILE/book/chapters, tables and figures in "
                   "_build/PROFILE/book/results; a failed run changes neither.")
    _chapters(one)
    _profile(one, default="smoke")
    one.add_argument("-p", "--parameter", nargs=2, action="append", default=[],
                     metavar=("NAME", "VALUE"),
                     help="change one parameter, as in -p n_images 200 or -p eps 8/255; may be "
                          "repeated; `intriguing list CHAPTER` shows names and types")
    one.add_argument("--if-needed", action="store_true",
                     help="leave alone a page that is up to date with all it is made from")
    one._negative_number_matcher = re.compile(r"-[\d.]")  # argparse takes -1e-3 for an option
    _device(one)
    _gpu_memory(one, default=None)

    one = _command(under, made, "build", book.build, "render the book as HTML",
                   "Without --profile, renders what is published and executes nothing. With it, "
                   "first trains the networks and executes the chapters that are missing or stale "
                   "at that profile, several at a time; call it again after whatever stopped it.")
    _profile(one, default=None)
    one.add_argument("-j", "--jobs", type=_positive, metavar="N",
                     help="jobs at a time (default: two a GPU, 2 on CPUs, on a cluster what its "
                          "profile says)")
    one.add_argument("--gpus", type=_positive, metavar="N",
                     help="share out this many GPUs among the jobs; with --cluster, one for each")
    one.add_argument("--cluster", metavar="NAME",
                     help="hand the jobs to a cluster: slurm, or another of workflow/profiles")
    one.add_argument("--dry-run", action="store_true",
                     help="say what would run, and what it costs; run nothing")
    one.add_argument("--pages-only", action="store_true",
                     help="render what has been run at the profile, run nothing")
    _device(one)

    one = _command(under, made, "publish", book.publish, "execute chapters into the book",
                   "Costs no more than needed: a page whose code and parameters did not change "
                   "only gets new prose; a clean run in _build/PROFILE is taken as it is.")
    _chapters(one)
    _profile(one, default=None, required=True)
    one.add_argument("--force", action="store_true", help="execute even what is up to date")
    one.add_argument("--dirty", action="store_true",
                     help="publish with uncommitted changes, or outside git")
    one.add_argument("--attest", action="store_true",
                     help="execute nothing at the profile: show at smoke that today's library "
                          "gives the numbers of the one that made the page, and note it there")
    one.add_argument("--force-smoke", action="store_true",
                     help="publish a smoke run, whose numbers are not comparable")
    _device(one)

    one = _command(under, made, "check", book.check,
                   "the gates: sources, profiles, published pages, claims")
    one.add_argument("--strict", action="store_true", help="a stale page is a failure too")

    one = _command(under, made, "wheelhouse", offline.wheelhouse,
                   "collect what a machine without a network needs to run the book",
                   "Into one folder: wheels, the sources that git knows, the data of a profile, "
                   "and run.sh, which checks, installs and runs it there.")
    one.add_argument("folder", metavar="DIR", help="new, or of a former call, which it completes")
    _profile(one, default="cpu")
    one.add_argument("--python", metavar="VERSION", default="{}.{}".format(*sys.version_info),
                     help="of the Python there (default: %(default)s)")
    one.add_argument("--platform", metavar="TAG", default="manylinux_2_28_x86_64",
                     help="oldest system that will do (default: %(default)s, glibc 2.28)")
    one.add_argument("--torch-from-node", action="store_true",
                     help="leave torch and torchvision out: that machine has them")
    one.add_argument("--networks", action="store_true",
                     help="take along those of the profile's networks that are trained")
    one.add_argument("--no-data", action="store_true",
                     help="leave out all data but the digits that come with the book")


def _zoo_commands(under: Any, made: dict[str, _Parser]) -> None:
    _command(under, made, "zoo list", stores.zoo_list, "the networks in the store")
    _command(under, made, "zoo verify", stores.zoo_verify,
             "check every stored file against its checksum")
    one = _command(under, made, "zoo remove", stores.zoo_remove, "delete networks from the store")
    one.add_argument("key", nargs="+", help="a key, or enough of its beginning (`zoo list`)")
    one = _command(under, made, "zoo train", stores.zoo_train,
                   "train networks that the chapters use, where missing",
                   "What is there is not trained again; an interrupted training resumes.")
    one.add_argument("name", nargs="*", help="networks such as 'FC10(1e-4)' or CNN; default all")
    one.add_argument("--dataset", default="mnist-5k", help="default: %(default)s")
    one.add_argument("--n", type=int, help="train on a subset of this many images")
    one.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED",
                     help="training seeds (default: 0)")
    one.add_argument("--decay", choices=("calibrated", "literal"), default="calibrated",
                     help="reading of the weight decay (default: %(default)s)")
    one.add_argument("--chapter", help="the networks that a chapter declares, instead of names")
    _profile(one, default="smoke")
    one.add_argument("--key", help="of a chapter's networks, the one with this key")
    _device(one)
    _gpu_memory(one, default=TRAINING_MB)


def _data_commands(under: Any, made: dict[str, _Parser]) -> None:
    _command(under, made, "data list", stores.data_list,
             "the data sets that have a name, and which of them are here")
    one = _command(under, made, "data fetch", stores.data_fetch, "download data sets")
    one.add_argument("name", nargs="+", help="a data set")
    one = _command(under, made, "data verify", stores.data_verify,
                   "check data sets against their checksums")
    one.add_argument("name", nargs="*", help="a data set; default all that are here")


def _chapters(parser: _Parser) -> None:
    parser.add_argument("chapter", nargs="+", metavar="CHAPTER",
                        help="a chapter's name, number or path; `all` for every chapter")


def _profile(parser: _Parser, default: str | None, required: bool = False) -> None:
    parser.add_argument("--profile", default=default, required=required,
                        help="scale of the run: smoke, cpu, gpu, paper"
                             + (f" (default: {default})" if default else ""))


def _positive(text: str) -> int:
    """Read a count from the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"a count is 1 or more, not {text}")
    return value


def _gpu_memory(parser: _Parser, default: int | None) -> None:
    parser.add_argument("--gpu-memory", type=_positive, metavar="MB", default=default,
                        help="where INTRIGUING_GPUS shares out GPUs, what this job needs of one "
                             f"(default: {default or 'all of it'})")


def _device(parser: _Parser) -> None:
    parser.add_argument("--device", help="cpu, cuda, cuda:N, mps or auto (default: auto, a GPU "
                                         "where there is one)")
