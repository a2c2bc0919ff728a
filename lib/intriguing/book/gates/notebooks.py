"""The gates of notebooks: sources as they are kept, published pages as they were run.

Each is a function that looks at the house and yields problems; `checks` passes them all.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from intriguing import chapters
from intriguing.book.gates import prose
from intriguing.book.gates.house import House, Problem, code, page, shown, source, texts
from intriguing.chapters import fingerprint
from intriguing.chapters.fingerprint import INJECTED, PARAMETERS, source_of, tags_of
from intriguing.errors import UserError, nearest

REQUIRED_PROFILES = chapters.SCALES
MOST_CELLS = 45  # about 40, says the design
_TRACEBACK = "Traceback (most recent call last)"
_FIGURE = re.compile(r"\brun\.figure\(")
_BARE_PICTURE = re.compile(r"!\[\s*\]\(|<img\b(?![^>]*\balt=\"[^\"]+\")")


# ---------------------------------------------------------------- source notebooks


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
                wrong = list(_values_fit(house.chapters[name], values, where))
                yield from wrong or _ranges_fit(house.chapters[name], content, profile, where)


def _values_fit(chapter: chapters.Chapter, values: Mapping[str, Any], where: str):
    for key, value in values.items():
        if key == "profile":
            yield Problem("error", where, f"{chapter.name}: the profile is not a parameter to set")
            continue
        try:
            chapters.check(chapter, key, value)
        except UserError as error:
            yield Problem("error", where, str(error))


def _ranges_fit(chapter: chapters.Chapter, content: Mapping[str, Any], profile: str, where: str):
    try:
        chapters.resolve(chapter, profile, scales=content)
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
            if raised or _TRACEBACK in shown(outputs):
                yield Problem("error", page(name, number), "shows an error")


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
            now = chapters.resolve(house.chapters[name], made["profile"],
                                   scales=house.profiles[made["profile"]]).parameters
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
    """Every figure of a chapter has a caption and alt text, every picture alt text."""
    for name, nb in house.sources.items():  # before a long run, not after it
        for number, cell in code(nb):
            if _FIGURE.search(source_of(cell)):
                yield from _bare(cell, source(name, number))
    for name, nb in house.published.items():
        now = house.sources.get(name)
        if now and fingerprint.code_hash(nb) == fingerprint.code_hash(now):
            nb = fingerprint.carry_prose(nb, now)  # captions are prose: the source's count
        for number, cell in enumerate(nb["cells"], start=1):
            kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
            if any(kind.startswith("image/") for kind in kinds):
                yield from _bare(cell, page(name, number))
    for where, text, _ in texts(house):
        yield from (Problem("error", where, what) for what in _undescribed(text))


def _bare(cell: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Yield what the metadata of a cell with a figure lack."""
    described = cell.get("metadata", {}).get("mystnb", {})
    for part, key in (("figure", "caption"), ("image", "alt")):
        if not str((described.get(part) or {}).get(key) or "").strip():
            yield Problem("error", where,
                          f"a figure without mystnb.{part}.{key} in the cell's metadata")


def directives_read(house: House) -> Iterator[Problem]:
    """Every directive is one to Markdown, too: one that is not appears on the page as it stands."""
    for where, text, _ in texts(house):
        for line, words in prose.unread(text):
            yield Problem("error", f"{where}, line {line}", "no directive to Markdown, perhaps for "
                          f"backticks in its first line: {words[:60]}")


def _undescribed(text: str) -> Iterator[str]:
    """Yield what is wrong with the pictures of a Markdown text."""
    if _BARE_PICTURE.search(text):
        for match in _BARE_PICTURE.finditer(prose.without_code(text)):
            yield f"a picture without alt text: {match[0]}"
    for match in re.finditer(r"^\s*(`{3,}|:{3,})\{(figure|image)\}(.*)\n((?:\s*:.*\n)*)", text,
                             flags=re.MULTILINE):
        if not re.search(r"^\s*:alt:\s*\S", match[4], flags=re.MULTILINE):
            yield f"{{{match[2]}}}{match[3]} has no :alt:"
