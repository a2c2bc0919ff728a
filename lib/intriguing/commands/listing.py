"""The command `list`: chapters, the parameters of one, methods."""

import argparse
import contextlib
import re
from typing import Any

from intriguing.commands.common import RIGHT, say, table, working
from intriguing.errors import UserError


def name_strays() -> None:
    """Warn of notebooks that lie among the chapters and are none."""
    from intriguing import chapters

    for name, what in chapters.strays().items():
        say(f"notebooks/{name}.ipynb {what}")


def overview(options: argparse.Namespace) -> int:
    """Print the chapters with what is published and built, or the parameters of one."""
    from intriguing import chapters

    if options.methods:
        if options.chapter:
            raise UserError("--methods lists all methods: leave the chapter out")
        return _list_methods()
    if options.chapter:
        return _list_parameters(chapters.find(options.chapter))
    from intriguing.book import pages
    from intriguing.chapters import shelves

    rows = []
    name_strays()
    for name in chapters.names():
        shown = [_shown(pages.status(name, shelves.published()))]
        for profile in chapters.profiles():
            state = pages.status(name, shelves.built(profile), profile)
            if state.page is not None:
                shown.append(_shown(state))
        rows.append((name, shown[0] or "no", ", ".join(shown[1:]) or "-",
                     _title(name)))
    table(("chapter", "published", "in _build", "title"), rows)
    print(f"\nprofiles: {', '.join(chapters.profiles())}")
    return RIGHT


def _title(name: str) -> str:
    """Return the title of a chapter, or why there is none: the others are listed in any case."""
    from intriguing import chapters

    try:
        return chapters.find(name).title
    except UserError as error:
        return f"({error})"


def _shown(state: Any) -> str:
    """Return "cpu 2026-11-21", with the reason if it is stale; "" where there is no page."""
    if state.page is None:
        return ""
    text = f"{state.made.get('profile', '?')} {str(state.made.get('started', ''))[:10]}".strip()
    return f"{text} (stale: {state.reason()})" if state.stale else text


def _list_methods() -> int:
    from intriguing import chapters
    from intriguing.chapters import networks
    from intriguing.methods import method

    used: dict[str, set[str]] = {name: set() for name in method.names()}
    with working():
        for one in chapters.settings("cpu"):
            for spec in networks.with_bases(networks.declared(one, resolved=False)):
                name = spec.options.method.__name__.rpartition(".")[2]
                used[name].add(one.chapter.name.partition("-")[0])
    rows = []
    for name, numbers in used.items():
        here = method.find(name)
        known = dict.fromkeys(network for ours in here.OURS.values() for network in ours)
        rows.append((name, _paper(here.cite), " ".join(sorted(numbers)) or "-", ", ".join(known)))
    table(("method", "paper", "chapters", "networks"), rows)
    return RIGHT


def _paper(key: str) -> str:
    """Return "Madry et al. 2018" for an entry of book/references.bib, "-" without one."""
    from intriguing import paths, textfiles

    text = textfiles.read(paths.book_dir() / "references.bib")
    entry = text.partition(f"{{{key},")[2].partition("\n}")[0] if key else ""
    fields = dict(re.findall(r"^\s*(author|year)\s*=\s*\{(.*)\}", entry, flags=re.MULTILINE))
    if len(fields) < 2:
        return "-"
    first, *others = fields["author"].split(" and ")
    return f"{first.partition(',')[0]}{' et al.' if others else ''} {fields['year']}"


def _list_parameters(chapter: Any) -> int:
    from intriguing import chapters
    from intriguing.records import limits

    scales, ranges = {}, limits.load().get(chapter.name, {})
    for profile in chapters.profiles():
        with contextlib.suppress(UserError):
            scales[profile] = chapters.resolve(chapter, profile).parameters
    print(f"{chapter.name}: {chapter.title}\n")
    rows = [(name, parameter.expects(), ranges[name].words() if name in ranges else "",
             repr(parameter.default),
             *(("" if values[name] == parameter.default else repr(values[name]))
               for values in scales.values()), parameter.comment)
            for name, parameter in chapter.parameters.items() if name != "profile"]
    table(("parameter", "type", "range", "default", *scales, "comment"), rows)
    return RIGHT
