"""The gates of the book: each is one function that looks at the house and yields problems.

Jupyter Book renders a chapter that failed, was never run, or shows old numbers, without a word.
These gates say it.  They read files and execute nothing; torch and Jupyter are not imported.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from intriguing import paths, records
from intriguing.book import chapters, claims, fingerprint, links, prose
from intriguing.book.fingerprint import INJECTED, PARAMETERS, source_of, tags_of
from intriguing.book.house import LEVELS, SCORECARD, House, Problem, code, load, page, source, texts
from intriguing.errors import UserError, nearest

REQUIRED_PROFILES = chapters.SCALES
MOST_CELLS = 45  # about 40, says the design
_TRACEBACK = "Traceback (most recent call last)"
_RESULT = re.compile(r"(?<![\w.-])(?:\.\.?/|/)*(?:book/)?results/([\w.-]+)/([\w.*-]*[\w*])")
_WRITES = re.compile(r"\brun\.(table|figure)\(\s*[\"']([\w.-]+)[\"']")
_BARE_PICTURE = re.compile(r"!\[\s*\]\(|<img\b(?![^>]*\balt=\"[^\"]+\")")

# ---------------------------------------------------------------- source notebooks


def readable(house: House) -> Iterator[Problem]:
    """Every file that a gate needs can be read."""
    yield from house.unreadable


def sources_without_outputs(house: House) -> Iterator[Problem]:
    """Source notebooks hold no outputs, no execution counts, no memory of a run."""
    for name, nb in house.sources.items():
        for number, cell in enumerate(nb["cells"], start=1):
            if cell.get("outputs") or cell.get("execution_count") is not None:
                yield Problem("error", source(name, number), "has outputs; clear them")
            if INJECTED in tags_of(cell):
                yield Problem("error", source(name, number), "papermill injected it; remove it")
        for key in ("papermill", "intriguing"):
            if key in nb.get("metadata", {}):
                yield Problem("error", source(name), f"has metadata {key!r}; remove it")


def profiles_fit(house: House) -> Iterator[Problem]:
    """The four profiles exist, know every chapter, and set its parameters by name and type."""
    for profile in REQUIRED_PROFILES:
        if profile not in house.profiles:
            if not any(profile in problem.where for problem in house.unreadable):
                yield Problem("error", f"notebooks/profiles/{profile}.yml", "is not there")
            continue
        content, where = house.profiles[profile], f"notebooks/profiles/{profile}.yml"
        for name in house.sources:
            if name not in content:
                yield Problem("error", where, f"says nothing about {name}")
        for name, values in content.items():
            if name not in house.sources:
                hint = nearest(name, house.sources)
                yield Problem("error", where, f"no chapter is called {name!r}: {hint}")
            elif name in house.chapters:
                yield from _values_fit(house.chapters[name], values, where)


def _values_fit(chapter: chapters.Chapter, values: Mapping[str, Any], where: str):
    for key, value in values.items():
        if key == "profile":
            yield Problem("error", where, f"{chapter.name}: the profile is not a parameter to set")
            continue
        try:
            chapters.check(chapter, key, value)
        except UserError as error:
            yield Problem("error", where, str(error))


def same_bootstrap(house: House) -> Iterator[Problem]:
    """The first code cell, which finds the library, is the same text in every source notebook."""
    first: dict[str, tuple[int, str]] = {}
    for name, nb in house.sources.items():
        number, cell = next(code(nb), (0, {}))
        if not cell or PARAMETERS in tags_of(cell):
            yield Problem("error", source(name), "has no bootstrap cell before its parameters")
            continue
        first[name] = number, source_of(cell)
    texts = [text for _, text in first.values()]
    usual = max(texts, key=texts.count, default="")
    model = next((name for name, (_, text) in first.items() if text == usual), "")
    for name, (number, text) in first.items():
        if text != usual:
            yield Problem("error", source(name, number), f"the bootstrap differs from {model}'s")


def template_followed(house: House) -> Iterator[Problem]:
    """A chapter has run card, What to notice, exercises with solutions, provenance at the end."""
    for name, nb in house.sources.items():
        cells = [source_of(cell) for _, cell in code(nb)]
        words = "\n".join(source_of(c) for c in nb["cells"] if c.get("cell_type") == "markdown")
        if not any(".card()" in cell for cell in cells):
            yield Problem("error", source(name), "shows no run card: call run.card()")
        if not cells or ".provenance()" not in cells[-1]:
            yield Problem("error", source(name), "does not end with run.provenance()")
        if not re.search(r"^#+\s.*what to notice", words, flags=re.IGNORECASE | re.MULTILINE):
            yield Problem("error", source(name), "has no heading 'What to notice'")
        exercises, solutions = (
            re.findall(rf"\{{{kind}(?:-start)?\}}", words) for kind in ("exercise", "solution"))
        if not 3 <= len(exercises) <= 5 or len(solutions) != len(exercises):
            yield Problem("error", source(name), f"has {len(exercises)} exercises and "
                          f"{len(solutions)} solutions: 3 to 5, each with its solution")
        if len(nb["cells"]) > MOST_CELLS:
            yield Problem("note", source(name), f"has {len(nb['cells'])} cells: split it?")


# ---------------------------------------------------------------- published pages


def executed_in_order(house: House) -> Iterator[Problem]:
    """Every published chapter ran from the first cell to the last, without error, not at smoke."""
    for name, nb in house.published.items():
        metadata = nb.get("metadata", {})
        made = metadata.get("intriguing", {})
        if not made:
            yield Problem("error", page(name), "remembers no run: publish writes it, not a hand")
        elif made.get("profile") == "smoke":
            yield Problem("error", page(name), "is a smoke run; publish another profile")
        if metadata.get("papermill", {}).get("exception"):
            yield Problem("error", page(name), "papermill says that a cell raised")
        for count, (number, cell) in enumerate(code(nb), start=1):
            outputs = cell.get("outputs", [])
            if cell.get("execution_count") != count:
                yield Problem("error", page(name, number), "was not executed, or not in order")
            raised = any(output.get("output_type") == "error" for output in outputs)
            if raised or _TRACEBACK in _shown(outputs):
                yield Problem("error", page(name, number), "shows an error")


def _shown(outputs: list[Mapping[str, Any]]) -> str:
    """Return all text of a cell's outputs."""
    parts = []
    for output in outputs:
        texts = [output.get("text", ""), *(
            value for kind, value in output.get("data", {}).items() if kind.startswith("text/"))]
        parts += ["".join(text) for text in texts]
    return "\n".join(parts)


def fresh(house: House) -> Iterator[Problem]:
    """Published pages show what their source, parameters and library would give now."""
    for name, nb in house.published.items():
        made = nb.get("metadata", {}).get("intriguing", {})
        if name not in house.sources:
            yield Problem("error", page(name), "has no source notebook")
            continue
        values = house.profiles.get(made.get("profile"), {}).get(name)
        if name not in house.chapters or values is None:
            yield Problem("warning", page(name), f"stale: no profile {made.get('profile')} for it")
            continue
        try:
            now = chapters.resolve(house.chapters[name], made["profile"]).parameters
        except UserError:  # profiles_fit says why
            continue
        state = fingerprint.state(nb, house.sources[name], now)
        again = f"`intriguing publish {name} --profile {made['profile']}`"
        what = " and ".join(w for w, yes in (("code", state.code), ("parameters", state.parameters))
                            if yes)
        if state.stale:
            yield Problem("warning", page(name), f"stale: its {what} changed; {again}")
        if state.modules:
            listed = ", ".join(state.modules)
            yield Problem("note", page(name), f"the library changed since it was run: {listed}")
        if state.prose and not state.stale:
            yield Problem("note", page(name), f"its prose changed; {again}")


def figures_described(house: House) -> Iterator[Problem]:
    """Every figure of a published chapter has a caption and alt text, every picture alt text."""
    for name, nb in house.published.items():
        now = house.sources.get(name)
        if now and fingerprint.code_hash(nb) == fingerprint.code_hash(now):
            nb = fingerprint.carry_prose(nb, now)  # captions are prose: the source's count
        for number, cell in enumerate(nb["cells"], start=1):
            kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
            if not any(kind.startswith("image/") for kind in kinds):
                continue
            shown = cell.get("metadata", {}).get("mystnb", {})
            for part, key in (("figure", "caption"), ("image", "alt")):
                if not str((shown.get(part) or {}).get(key) or "").strip():
                    yield Problem("error", page(name, number),
                                  f"a figure without mystnb.{part}.{key} in the cell's metadata")
    for where, text, _ in texts(house):
        yield from (Problem("error", where, what) for what in _undescribed(text))


def _undescribed(text: str) -> Iterator[str]:
    """Yield what is wrong with the pictures of a Markdown text."""
    for match in _BARE_PICTURE.finditer(prose.without_code(text)):
        yield f"a picture without alt text: {match[0]}"
    for match in re.finditer(r"^\s*(`{3,}|:{3,})\{(figure|image)\}(.*)\n((?:\s*:.*\n)*)", text,
                             flags=re.MULTILINE):
        if not re.search(r"^\s*:alt:\s*\S", match[4], flags=re.MULTILINE):
            yield f"{{{match[2]}}}{match[3]} has no :alt:"


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
            shown = cell.get("metadata", {}).get("mystnb", {})
            captions = [str((shown.get(part) or {}).get(key) or "")
                        for part, key in (("figure", "caption"), ("image", "alt"))]
            for text in (*prose.templates(source_of(cell)), *captions):
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
    """Every claim belongs to a chapter, cites a known source, and its record exists and fits."""
    bibliography = paths.book_dir() / "references.bib"
    text = bibliography.read_text(encoding="utf-8") if bibliography.is_file() else ""
    cited = set(re.findall(r"^\s*@\w+\{\s*([^,\s]+)", text, flags=re.MULTILINE))
    for claim in house.claims:
        where = f"book/claims.yml, {claim.id}"
        if claim.chapter not in house.sources:
            hint = nearest(claim.chapter, house.sources)
            yield Problem("error", where, f"no chapter is called {claim.chapter!r}: {hint}")
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
    if None not in (record.paper, claim.paper) and record.paper != claim.paper:
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
            yield from _referred(page(name, number), _shown(cell.get("outputs", [])))
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
        listed = set(_files(yaml.safe_load(file.read_text(encoding="utf-8"))))
    except (OSError, yaml.YAMLError) as error:
        yield Problem("error", paths.MARKER, f"cannot be read: {' '.join(str(error).split())}")
        return
    generated = {"book/scorecard"} if (paths.book_dir() / "claims.yml").is_file() else set()
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
    readable, sources_without_outputs, profiles_fit, same_bootstrap, template_followed,
    executed_in_order, fresh, figures_described, numbers_from_records, claims_measured,
    results_present, scorecard_current, contents_match,
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
    found = [problem for gate in GATES for problem in gate(house)]
    if strict:
        found = [replace(p, level="error") if p.level == "warning" else p for p in found]
    return sorted(found, key=lambda problem: LEVELS.index(problem.level))


def html_links(html_dir: Path) -> list[Problem]:
    """Return dead links, missing files and loads from other hosts in the built pages."""
    return [Problem("error", f"{file}, line {line}", what)
            for file, line, what in links.dead(Path(html_dir))]
