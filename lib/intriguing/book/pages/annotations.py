"""What the book adds to an executed chapter before it is rendered, in the staged copy only.

The banner of a stale page, the warning on a smoke run, the settings of the run, one line about a
library that has changed since.  The executed page itself is never touched.
"""

from dataclasses import dataclass
from typing import Any

import nbformat

from intriguing import chapters
from intriguing.book.escape import code_span, escaped
from intriguing.chapters import fingerprint, shelves
from intriguing.errors import UserError

RUN_CARD = "run-card"  # tag of the cell that shows the run card


@dataclass(frozen=True)
class Status:
    """What separates an executed page from its source as it is now.

    `code`, `parameters` and `prose` say whether these changed, `modules` which of the library did.
    `page` is None when there is none.  `problem` says why the comparison is impossible (a profile
    that is gone, a page that no run of ours wrote); such a page counts as stale.
    """

    chapter: str
    page: nbformat.NotebookNode | None = None
    source: nbformat.NotebookNode | None = None
    code: bool = False
    parameters: bool = False
    modules: tuple[str, ...] = ()
    prose: bool = False
    problem: str = ""

    @property
    def stale(self) -> bool:
        """Whether the page shows something that its source would no longer produce."""
        return self.page is None or self.code or self.parameters or bool(self.problem)

    @property
    def made(self) -> dict[str, Any]:
        """What the page remembers of its run."""
        return dict(self.page.metadata.get("intriguing", {})) if self.page else {}

    def reason(self) -> str:
        """Return why the page is stale, in a few words; "" for a fresh one."""
        if self.page is None:
            return "never run"
        changed = [word for word, yes in (("code", self.code), ("parameters", self.parameters))
                   if yes]
        return self.problem or (f"{' and '.join(changed)} changed" if changed else "")


def status(name: str, shelf: shelves.Shelf, profile: str | None = None) -> Status:
    """Compare a chapter's page on a shelf with its source and the parameters of the profile.

    Parameters
    ----------
    profile : the profile to compare with; None takes the one the page was run at.
    """
    path = shelf.page(name)
    if not path.is_file():
        return Status(name)
    page = shelves.read_notebook(path)
    made = page.metadata.get("intriguing")
    if not made:
        return Status(name, page, problem="not written by a run of `intriguing`")
    try:
        chapter = chapters.find(name)
        settings = chapters.resolve(chapter, profile or made["profile"])
    except UserError as error:
        return Status(name, page, problem=str(error))
    source = shelves.prepare(shelves.read_notebook(chapter.source))
    found = fingerprint.state(page, source, settings.parameters)
    return Status(name, page, source, code=found.code, parameters=found.parameters,
                  modules=tuple(found.modules), prose=found.prose)


def carried(state: Status) -> nbformat.NotebookNode:
    """Return the page with the source's prose; a page whose code is stale keeps its own."""
    if state.source is None or state.code:
        return state.page
    return fingerprint.carry_prose(state.page, state.source)


def annotated(state: Status) -> nbformat.NotebookNode:
    """Return the page as it is rendered: prose carried, banners and settings put in."""
    page = nbformat.from_dict(carried(state))
    made = state.made
    cells = list(page.cells)
    _insert(cells, _after(cells, fingerprint.INJECTED), "settings", _settings(state))
    if (state.modules or made.get("attested")) and not state.stale:
        _insert(cells, _after(cells, RUN_CARD) or _after_title(cells), "library", _library(state))
    banners = []
    if state.stale:
        banners.append(_stale(state))
    if made.get("profile") == "smoke":
        banners.append(
            "```{admonition} Smoke run, numbers not comparable\n:class: attention\n"
            "This page comes from a run of seconds on a small data set. It shows that the code "
            "works; its numbers are not comparable with the paper's.\n```")
    if made.get("overrides"):
        changed = ", ".join(
            code_span(f"{name} = {value!r}") for name, value in made["overrides"].items())
        banners.append("```{admonition} Changed parameters\n:class: attention\nThis run differs "
                       f"from the profile {escaped(made['profile'])}: {changed}.\n```")
    if banners:
        _insert(cells, _after_title(cells), "banner", "\n\n".join(banners))
    page.cells = cells
    return page


def _insert(cells: list, place: int, name: str, text: str) -> None:
    """Put a Markdown cell at `place`; no place or no text, no cell."""
    if place and text:
        cell = nbformat.v4.new_markdown_cell(text)
        cell["id"] = f"book-{name}"
        cells.insert(place, cell)


def _after(cells: list, tag: str) -> int:
    """Return the place behind the first cell with a tag; the run card is also known by its call."""
    for place, cell in enumerate(cells, start=1):
        called = tag == RUN_CARD and cell.cell_type == "code" and ".card()" in cell.source
        if called or tag in cell.metadata.get("tags", []):
            return place
    return 0


def _after_title(cells: list) -> int:
    """Return the place behind the cell that holds the title (sections come later)."""
    for place, cell in enumerate(cells, start=1):
        if cell.cell_type == "markdown" and any(
                line.startswith("# ") for line in cell.source.splitlines()):
            return place
    return 0


def _stale(state: Status) -> str:
    when = escaped(str(state.made.get("started", ""))[:10])
    profile = escaped(state.made.get("profile", "cpu"))
    return (
        "```{admonition} This page is stale\n:class: warning stale\n"
        f"Since it was run{' on ' + when if when else ''}: {escaped(state.reason())}. What you see "
        f"is the code and the numbers of that run. `intriguing publish {state.chapter} --profile "
        f"{profile}` runs it again.\n```")


def _library(state: Status) -> str:
    told, shown = [], state.made.get("attested")
    if shown:
        told.append(
            f"The library was rebuilt after this run. On {escaped(shown['on'])} its version of "
            f"commit {code_span(shown['commit'][:12])} gave, at smoke, the same "
            f"{escaped(shown['numbers'])} numbers and the same {escaped(shown['networks'])} "
            "networks as the one of the run, to the last digit.")
    if state.modules:
        names = ", ".join(map(code_span, state.modules))
        told.append(f"Library changed since {'then' if shown else 'this run'}: {names}.")
    return f"<small>{' '.join(told)}</small>"


def _settings(state: Status) -> str:
    """Return the table of the parameters of the run, beside the defaults that the cell shows."""
    made = state.made
    values = made.get("parameters", {})
    try:
        known = chapters.find(state.chapter).parameters
    except UserError:
        known = {}
    if not values:
        return ""
    rows = []
    order = {name: place for place, name in enumerate(known)}  # JSON files come back sorted
    for name, value in sorted(values.items(), key=lambda item: order.get(item[0], len(order))):
        parameter = known.get(name)
        default = "" if parameter is None else code_span(repr(parameter.default))
        comment = "" if parameter is None else escaped(parameter.comment)
        cells = (code_span(name), code_span(repr(value)), default, comment)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([
        "**Settings of this run.** The cell above holds the defaults, which run anywhere; this "
        f"page was made with the values of the profile {escaped(made.get('profile'))}.", "",
        "| parameter | this page | default | meaning |", "|---|---|---|---|", *rows])
