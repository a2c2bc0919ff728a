"""The gates of names: strays among the chapters, and names that are safe in every place."""

import re
from collections.abc import Iterator

from intriguing import chapters
from intriguing.book.gates.house import House, Problem, source

GOOD = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")  # in files, links, shells, job names


def no_strays(house: House) -> Iterator[Problem]:
    """Every notebook beside the sources is a chapter; one that is none is left out of the book."""
    for name, what in chapters.strays().items():
        yield Problem("warning", f"notebooks/{name}.ipynb", what)


def plain_names(house: House) -> Iterator[Problem]:
    """The names of chapters are letters, digits and hyphens: they reach shells and links."""
    for name in house.sources:
        if not GOOD.fullmatch(name):
            yield Problem("error", source(name), "a chapter's name is letters and digits (a-z, "
                          "A-Z, 0-9), in words with hyphens between: rename it")
