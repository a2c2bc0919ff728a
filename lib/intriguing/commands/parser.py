"""The parser of the `intriguing` command: which words and options there are.

Only the command that is called gets its options, and only its module is imported.
"""

import argparse
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from intriguing import __version__
from intriguing.commands import help
from intriguing.commands.common import MISUSE
from intriguing.errors import UserError, nearest


class _Parser(argparse.ArgumentParser):
    """argparse, but misuse is one sentence and exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see `{self.prog} --help`)")


class _Whole(_Parser):
    """The parser of the whole command, whose help is a text."""

    def format_help(self) -> str:
        return help.text()


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line; misspelt commands and options get the nearest valid name.

    Raises
    ------
    UserError : misuse.
    """
    words = [word for word in arguments if not word.startswith("-")]
    if words and words[0] not in help.SUMMARIES:
        raise UserError(f"no command is called {words[0]!r}: {nearest(words[0], help.SUMMARIES)}")
    below = help.ACTIONS.get(words[0], ()) if words else ()
    if below and len(words) > 1 and words[1] not in below:
        raise UserError(f"`{words[0]}` has no {words[1]!r}: {nearest(words[1], below)}")
    parser, commands = _parser(words[:1])
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


def _parser(called: list[str]) -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser, and those of the command that is called by name ("zoo train")."""
    parser = _Whole(prog="intriguing", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"intriguing {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    made: dict[str, _Parser] = {}
    for name in called:
        if name in help.ACTIONS:
            made[name] = commands.add_parser(name, allow_abbrev=False)
            below = made[name].add_subparsers(metavar="ACTION", title="actions", required=True)
            _ADD[name](below, made)
        else:
            _ADD[name](commands, made)
    return parser, made


def _command(
    under: Any, made: dict[str, _Parser], name: str, function: Callable, summary: str = "",
    more: str = "",
) -> _Parser:
    """Add one command; `summary` is its line in a list, with `more` the head of its own help."""
    summary = summary or help.SUMMARIES[name]
    made[name] = under.add_parser(
        name.split()[-1], help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {more}".strip(), allow_abbrev=False)
    made[name].set_defaults(command=function)
    return made[name]


def _list(under: Any, made: dict[str, _Parser]) -> None:
    from intriguing.commands import listing

    one = _command(under, made, "list", listing.overview,
                   more="With a chapter: its parameters, and their values at every profile.")
    one.add_argument("chapter", nargs="?", help="a chapter, to see its parameters")
    one.add_argument("--methods", action="store_true",
                     help="the training methods: paper, networks, and the chapters at cpu")


def _run(under: Any, made: dict[str, _Parser]) -> None:
    from intriguing.commands import book

    one = _command(under, made, "run", book.run, more=(
        "The page lands in _build/PROFILE/book/chapters, tables and figures in "
        "_build/PROFILE/book/results; a failed run changes neither."))
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


def _build(under: Any, made: dict[str, _Parser]) -> None:
    from intriguing.commands import book

    one = _command(under, made, "build", book.build, more=(
        "Without --profile, renders what is published and executes no chapter. With it, "
        "first trains the networks and executes the chapters that are missing or stale "
        "at that profile, several at a time; call it again after whatever stopped it. Either way "
        "the cells that declare a chapter's networks are executed, to know what it needs."))
    _profile(one, default=None)
    one.add_argument("-j", "--jobs", type=_positive, metavar="N",
                     help="jobs at a time (default: two a GPU, 2 on CPUs, on a cluster what its "
                          "profile says)")
    one.add_argument("--gpus", type=_positive, metavar="N",
                     help="share out this many GPUs among the jobs; with --cluster, one for each")
    one.add_argument("--cluster", metavar="NAME", type=_named,
                     help="hand the jobs to a cluster: slurm, or another of workflow/profiles")
    one.add_argument("--dry-run", action="store_true",
                     help="say what would run, and what it costs, and train and run none of it")
    one.add_argument("--pages-only", action="store_true",
                     help="render what has been run at the profile, and run no chapter")
    _device(one)


def _publish(under: Any, made: dict[str, _Parser]) -> None:
    from intriguing.commands import book

    one = _command(under, made, "publish", book.publish, more=(
        "Costs no more than needed: a page whose code and parameters did not change "
        "only gets new prose; a clean run in _build/PROFILE is taken as it is."))
    _chapters(one)
    _profile(one, default=None, required=True)
    one.add_argument("--force", action="store_true", help="execute even what is up to date")
    one.add_argument("--dirty", action="store_true",
                     help="publish with uncommitted changes, or outside git")
    one.add_argument("--attest", action="store_true",
                     help="run no chapter at the profile: show at smoke that today's library "
                          "gives the numbers of the one that made the page, and note it there")
    one.add_argument("--force-smoke", action="store_true",
                     help="publish a smoke run, whose numbers are not comparable")
    _device(one)


def _check(under: Any, made: dict[str, _Parser]) -> None:
    from intriguing.commands import book

    one = _command(under, made, "check", book.check)
    one.add_argument("--strict", action="store_true", help="a stale page is a failure too")


def _wheelhouse(under: Any, made: dict[str, _Parser]) -> None:
    from intriguing.commands import offline

    one = _command(under, made, "wheelhouse", offline.wheelhouse, more=(
        "Into one folder: wheels, the sources that git knows, the data of a profile, "
        "and run.sh, which checks, installs and runs it there."))
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


def _zoo(under: Any, made: dict[str, _Parser]) -> None:
    from intriguing.commands import stores
    from intriguing.machine.slots import TRAINING_MB

    _command(under, made, "zoo list", stores.zoo_list, "the networks in the store")
    _command(under, made, "zoo verify", stores.zoo_verify,
             "check every stored file against its checksum")
    one = _command(under, made, "zoo remove", stores.zoo_remove, "delete networks from the store")
    one.add_argument("key", nargs="+", help="a key, or enough of its beginning (`zoo list`)")
    one = _command(under, made, "zoo train", stores.zoo_train,
                   "train networks that the chapters use, where missing",
                   "What is there is not trained again; an interrupted training resumes.")
    one.add_argument("name", nargs="*", metavar="[METHOD] NETWORK",
                     help="a method (`intriguing list --methods`; default szegedy), then networks "
                          "such as 'FC10(1e-4)' or CNN; default all that it has settings for")
    one.add_argument("--dataset", type=_named, help="default: mnist-5k")
    one.add_argument("--n", type=int, help="train on a subset of this many images")
    one.add_argument("--seeds", type=int, nargs="+", metavar="SEED",
                     help="training seeds (default: 0)")
    one.add_argument("--decay", choices=("calibrated", "literal"),
                     help="reading of szegedy's weight decay (default: calibrated)")
    one.add_argument("--chapter", type=_named,
                     help="the networks that a chapter declares, instead of names")
    _profile(one, default=None)
    one.add_argument("--key", type=_named, help="of a chapter's networks, the one with this key")
    _device(one)
    _gpu_memory(one, default=TRAINING_MB)


def _data(under: Any, made: dict[str, _Parser]) -> None:
    from intriguing.commands import stores

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
    parser.add_argument("--profile", default=default, required=required, type=_named,
                        help="scale of the run: smoke, cpu, gpu, paper"
                             + (f" (default: {default})" if default else ""))


def _named(text: str) -> str:
    """Read a name from the command line: an empty one, of an unset variable say, is none."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a name was expected, not an empty text")
    return text


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


# what adds a command, or the actions of a group, to the parser
_ADD: dict[str, Callable[[Any, dict[str, _Parser]], None]] = {
    "list": _list, "run": _run, "build": _build, "publish": _publish, "check": _check,
    "wheelhouse": _wheelhouse, "zoo": _zoo, "data": _data,
}
