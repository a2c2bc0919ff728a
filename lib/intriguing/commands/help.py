"""The help of the `intriguing` command as a whole: a text, so that it needs no parser."""

SUMMARIES = {
    "list": "chapters, profiles, what is published",
    "run": "execute chapters with papermill",
    "build": "render the book as HTML",
    "publish": "execute chapters into the book",
    "check": "the gates: sources, profiles, published pages, claims",
    "wheelhouse": "collect what a machine without a network needs to run the book",
    "zoo": "trained networks: list, train, verify, remove",
    "data": "data sets: list, fetch, verify",
}
ACTIONS = {"zoo": ("list", "train", "verify", "remove"), "data": ("list", "fetch", "verify")}

_HEAD = """\
usage: intriguing [-h] [--version] COMMAND ...

Run, check and render the executable book.

options:
  -h, --help  show this help message and exit
  --version   show program's version number and exit

commands:
"""
_EPILOG = """\
examples:
  intriguing list                             what there is, and what is published
  intriguing list 02                          the parameters of chapter 02 at every profile
  intriguing run 02 --profile cpu             run a chapter, keep the page in _build/cpu
  intriguing run 02 -p n_images 200           ... with one parameter changed
  intriguing build                            render what is published; executes no chapter
  intriguing build --profile smoke            run what is missing or stale, then render
  intriguing publish 02 --profile cpu         run a chapter into the book

A chapter is named in full, by its number, or by its path; `all` means every chapter.
Profiles: smoke (seconds, numbers not comparable), cpu (a laptop), gpu, paper (days, many GPUs).

exit status: 0 right, 1 something failed, 2 misuse (nothing was run), 130 interrupted
"""


def text() -> str:
    """Return the help of the whole command."""
    lines = [f"  {name:<10}  {summary}" for name, summary in SUMMARIES.items()]
    return _HEAD + "\n".join(lines) + "\n\n" + _EPILOG
