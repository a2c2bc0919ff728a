"""The gates of the book: each is one function that looks at the house and yields problems.

Jupyter Book renders a chapter that failed, was never run, or shows old numbers, without a word.
These gates say it.  They read files and execute nothing; torch and Jupyter are not imported.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from intriguing import paths, records, textfiles
from intriguing.book import claims
from intriguing.book.gates import guard, links, prose
from intriguing.book.gates.house import (
    LEVELS,
    SCORECARD,
    House,
    Problem,
    code,
    load,
    page,
    shown,
    source,
    texts,
)
from intriguing.book.gates.names import no_strays, plain_names
from intriguing.book.gates.notebooks import (
    directives_read,
    executed_in_order,
    figures_described,
    fresh,
    profiles_fit,
    same_bootstrap,
    sources_without_outputs,
    template_followed,
)
from intriguing.book.gates.outputs import outputs_safe, records_in_words
from intriguing.book.gates.results import numbers_of_sense, results_of_the_run
from intriguing.chapters.fingerprint import source_of
from intriguing.errors import UserError, nearest

_RESULT = re.compile(r"(?<![\w.-])(?:\.\.?/|/)*(?:book/)?results/([\w.-]+)/([\w.*-]*[\w*])")
_WRITES = re.compile(r"\brun\.(table|figure)\(\s*[\"']([\w.-]+)[\"']")


def readable(house: House) -> Iterator[Problem]:
    """Every file that a gate needs can be read."""
    yield from house.unreadable


# ---------------------------------------------------------------- numbers


def numbers_from_records(house: House) -> Iterator[Problem]:
    """A decimal or percentage in prose is a paper's value or a parameter; others come by record."""
    papers = [c.paper for c in house.claims if c.paper is not None and not c.from_memory]
    known = {name: [*papers, *_parameter_values(house, name)] for name in house.sources}
    everything = [value for allowed in known.values() for value in allowed] + papers
    remedy = "is typed: print what is measured from a record, write the rest as maths ($...$)"
    for where, text, name in texts(house):
        for line, number in prose.typed(text, everything if name is None else known[name]):
            yield Problem("error", f"{where}, line {line}", f"the number {number!r} {remedy}")
    for name, nb in house.sources.items():
        for cell_number, cell in code(nb):
            described = cell.get("metadata", {}).get("mystnb", {})
            captions = [str((described.get(part) or {}).get(key) or "")
                        for part, key in (("figure", "caption"), ("image", "alt"))]
            text = source_of(cell)
            templates = prose.templates(text) if "markdown" in text else ()
            for text in (*templates, *captions):
                for _, number in prose.typed(text, known[name]):
                    what = f"the number {number!r} {remedy}"
                    yield Problem("error", source(name, cell_number), what)


def _parameter_values(house: House, name: str) -> Iterator[float]:
    """Yield all numbers that the parameters of a chapter take, at any profile."""
    if name in house.chapters:
        yield from prose.values(house.chapters[name].defaults)
    for content in house.profiles.values():
        yield from prose.values(content.get(name, {}))


# ---------------------------------------------------------------- claims, records, contents


def claims_measured(house: House) -> Iterator[Problem]:
    """Every claim cites a known source, and its record exists and fits."""
    bibliography = paths.book_dir() / "references.bib"
    try:
        text = textfiles.read(bibliography) if bibliography.is_file() else ""
    except UserError as error:
        yield Problem("error", "book/references.bib", str(error))
        return
    cited = set(re.findall(r"^\s*@\w+\{\s*([^,\s]+)", text, flags=re.MULTILINE))
    for claim in house.claims:
        where = f"book/claims/{claim.chapter}.yml, {claim.id}"
        if claim.cite not in cited:
            hint = nearest(claim.cite, cited)
            yield Problem("error", where, f"references.bib has no {claim.cite!r}: {hint}")
        head, found = house.runs.get(claim.chapter, ({}, {}))
        if head.get("profile") in claim.profiles:
            for what in _record_fits(claim, found):
                yield Problem("error", where, what)


def _record_fits(claim: claims.Claim, found: Mapping[str, records.Record]) -> Iterator[str]:
    """Yield why a claim cannot rest on the record that it names."""
    record = found.get(claim.record)
    if record is None:
        yield f"{claim.chapter} has no record {claim.record!r}: {nearest(claim.record, found)}"
        return
    if not record.known:
        yield f"its record {record.name!r} has no interval, so it decides nothing"
    if record.unit != claim.unit:
        yield f"its unit is {claim.unit!r}, that of the record {record.name!r} is {record.unit!r}"
    both = None not in (record.paper, claim.paper)
    if both and not math.isclose(record.paper, claim.paper, rel_tol=1e-9):  # 2.7 / 100 is 0.027
        yield f"the paper's value is {claim.paper:g} here and {record.paper:g} in the record"


def results_present(house: House) -> Iterator[Problem]:
    """Published results belong to their pages, and every table and figure referred to exists."""
    for name, nb in house.published.items():
        made = nb.get("metadata", {}).get("intriguing", {})
        folder = paths.published_results_dir() / name
        if name not in house.runs:
            if not (folder / records.FILE).is_file():
                yield Problem("error", page(name), f"has no book/results/{name}/{records.FILE}")
        else:
            head = house.runs[name][0]
            told = {"chapter": name, "profile": made.get("profile"), "modified": False}
            for key, value in told.items():
                if head[key] != value:
                    yield Problem("error", f"book/results/{name}/{records.FILE}",
                                  f"{key} is {head[key]!r}, for this page it must be {value!r}")
        for number, cell in code(nb):
            for kind, stem in _WRITES.findall(source_of(cell)):
                suffix = "csv" if kind == "table" else "svg"
                if not (folder / f"{stem}.{suffix}").is_file():
                    yield Problem("error", page(name, number), f"{stem}.{suffix} is not there")
            yield from _referred(page(name, number), shown(cell.get("outputs", [])))
    for name in house.runs.keys() - house.published.keys():
        yield Problem("error", f"book/results/{name}", "results without a published page")
    for where, text, name in texts(house):
        if name is None or name in house.published:
            yield from _referred(where, text)


def _referred(where: str, text: str) -> Iterator[Problem]:
    """Yield results files that a text names and that are not there."""
    for match in sorted({match[0] for match in _RESULT.finditer(text)}):
        chapter, file = _RESULT.fullmatch(match).groups()
        if not any((paths.published_results_dir() / chapter).glob(file)):
            yield Problem("error", where, f"refers to {match}, which is not there")


def scorecard_current(house: House) -> Iterator[Problem]:
    """A scorecard page that is kept in the book is what claims and records give now."""
    if SCORECARD not in house.pages or house.unreadable:
        return
    if house.pages[SCORECARD] != claims.scorecard_markdown(
        house.claims, paths.published_results_dir()
    ):
        yield Problem("error", f"book/{SCORECARD}",
                      "differs from what claims and records give: delete it, builds make it")


def contents_match(house: House) -> Iterator[Problem]:
    """Every page of the table of contents exists, every published chapter and page is in it."""
    file = paths.root() / paths.MARKER
    try:
        listed = set(_files(yaml.safe_load(textfiles.read(file, paths.MARKER))))
    except (UserError, yaml.YAMLError, RecursionError) as error:
        yield Problem("error", paths.MARKER, f"cannot be read: {' '.join(str(error).split())}")
        return
    generated = {"book/scorecard"} if paths.claims_dir().is_dir() else set()
    for entry in sorted(listed - generated):
        stem = re.sub(r"\.(md|ipynb)$", "", entry)
        if any((paths.root() / f"{stem}{end}").is_file() for end in (".md", ".ipynb")):
            continue
        name = stem.removeprefix("book/chapters/")
        if name in house.sources:  # builds of a profile show it, the published book leaves it out
            yield Problem("warning", paths.MARKER, f"lists {name}, which is not published")
        else:
            yield Problem("error", paths.MARKER, f"lists {entry}, which is not there")
    stems = {re.sub(r"\.(md|ipynb)$", "", entry) for entry in listed}
    here = [f"book/chapters/{name}" for name in house.published]
    here += [f"book/{name.removesuffix('.md')}" for name in house.pages]
    for entry in here:
        if entry not in stems:
            yield Problem("error", paths.MARKER, f"does not list {entry}")
    for name in house.sources.keys() - house.published.keys():
        if f"book/chapters/{name}" not in stems:
            yield Problem("note", source(name), "is not published yet")


def _files(node: Any) -> Iterator[str]:
    """Yield the pages that a table of contents names."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("file", "root") and isinstance(value, str):
                yield value
            else:
                yield from _files(value)
    elif isinstance(node, list):
        for item in node:
            yield from _files(item)


# ---------------------------------------------------------------- all of them

GATES: tuple[Callable[[House], Iterator[Problem]], ...] = (
    readable, no_strays, plain_names, sources_without_outputs, profiles_fit, same_bootstrap,
    template_followed, executed_in_order, fresh, figures_described, outputs_safe, records_in_words,
    directives_read, numbers_from_records, claims_measured, results_present, results_of_the_run,
    numbers_of_sense, scorecard_current, contents_match,
)


def run_checks(root: Path | None = None, strict: bool = False) -> list[Problem]:
    """Pass all gates; return what they found, errors first.

    Parameters
    ----------
    root : the book, which must be `paths.root()` (INTRIGUING_ROOT names another one).
    strict : warnings count as errors.

    Raises
    ------
    ValueError : `root` is another folder than `paths.root()`.
    """
    if root is not None and Path(root).resolve() != paths.root().resolve():
        raise ValueError(f"gates look at {paths.root()}: set INTRIGUING_ROOT to check {root}")
    house = load()
    found = [problem for gate in GATES for problem in guard.passed(gate, house)]
    if strict:
        found = [replace(p, level="error") if p.level == "warning" else p for p in found]
    return sorted(found, key=lambda problem: LEVELS.index(problem.level))


def html_links(html_dir: Path) -> list[Problem]:
    """Return dead links, missing files and loads from other hosts in the built pages."""
    return [Problem("error", f"{file}, line {line}", what)
            for file, line, what in links.dead(Path(html_dir))]
