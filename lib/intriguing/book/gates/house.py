"""The files of the book as the gates see them: read once, as plain JSON, YAML and text."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intriguing import chapters, paths, records, textfiles
from intriguing.book import claims
from intriguing.book.claims import Claim
from intriguing.chapters import Chapter, shelves
from intriguing.chapters.fingerprint import source_of
from intriguing.errors import UserError

LEVELS = ("error", "warning", "note")
SCORECARD = "scorecard.md"

Notebook = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """What a gate found.  `level`: "error" fails the check, "warning" does with --strict."""

    level: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.what}"


@dataclass
class House:
    """The files of the book, read once.  What cannot be read is in `unreadable` and nowhere else.

    `profiles` maps profile -> chapter -> parameters, `runs` chapter -> (head, records by name) of
    what is published, `pages` the file name of a prose page -> its text.
    """

    sources: dict[str, Notebook] = field(default_factory=dict)
    published: dict[str, Notebook] = field(default_factory=dict)
    chapters: dict[str, Chapter] = field(default_factory=dict)
    profiles: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    runs: dict[str, tuple[dict[str, Any], dict[str, records.Record]]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    unreadable: list[Problem] = field(default_factory=list)

    def attempt(self, where: str, read: Callable[[], Any]) -> Any:
        """Return what `read` returns, or None and remember the problem."""
        try:
            return read()
        except (UserError, OSError, ValueError) as error:
            self.unreadable.append(Problem("error", where, str(error)))
            return None


def load() -> House:
    """Read the book at `paths.root()`."""
    house, strays = House(), chapters.strays()
    for kind, folder in (("sources", paths.notebooks_dir()), ("published", paths.chapters_dir())):
        for file in sorted(folder.glob("*.ipynb")):
            if kind == "sources" and file.stem in strays:
                continue
            nb = house.attempt(place(file), lambda file=file: shelves.load(file))
            if nb is not None:
                getattr(house, kind)[file.stem] = nb
    for name in house.sources:
        file = paths.notebooks_dir() / f"{name}.ipynb"
        chapter = house.attempt(place(file), lambda file=file: chapters.read(file))
        if chapter is not None:
            house.chapters[name] = chapter
    for profile in chapters.profiles():
        where = f"notebooks/profiles/{profile}.yml"
        content = house.attempt(where, lambda profile=profile: chapters.load_profile(profile))
        if content is not None:
            house.profiles[profile] = content
    for file in claims.files(paths.claims_dir()):
        found = house.attempt(place(file), lambda file=file: claims.read(file, house.claims))
        house.claims += found or []
    for file in sorted(paths.published_results_dir().glob(f"*/{records.FILE}")):
        found = house.attempt(place(file), lambda file=file: records.load(file))
        if found is not None:
            house.runs[file.parent.name] = found[0], {r.name: r for r in found[1]}
    for file in sorted(paths.book_dir().glob("*.md")):
        text = house.attempt(place(file), lambda file=file: textfiles.read(file))
        if text is not None:
            house.pages[file.name] = text
    return house


def place(file: Path) -> str:
    return file.relative_to(paths.root()).as_posix()


def source(name: str, cell: int | None = None) -> str:
    return f"notebooks/{name}.ipynb" + ("" if cell is None else f", cell {cell}")


def page(name: str, cell: int | None = None) -> str:
    return f"book/chapters/{name}.ipynb" + ("" if cell is None else f", cell {cell}")


def code(nb: Notebook) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (number from 1, cell) for code cells with code in them."""
    for number, cell in enumerate(nb["cells"], start=1):
        if cell.get("cell_type") == "code" and source_of(cell).strip():
            yield number, cell


def texts(house: House) -> Iterator[tuple[str, str, str | None]]:
    """Yield (where, Markdown text, chapter or None) of all prose: source notebooks and pages."""
    for name, nb in house.sources.items():
        for number, cell in enumerate(nb["cells"], start=1):
            if cell.get("cell_type") == "markdown":
                yield source(name, number), source_of(cell), name
    for name, text in house.pages.items():
        if name != SCORECARD:
            yield f"book/{name}", text, None


def shown(outputs: list[Mapping[str, Any]]) -> str:
    """Return all text of a cell's outputs."""
    parts = []
    for output in outputs:
        found = [output.get("text", ""), *(
            value for kind, value in output.get("data", {}).items() if kind.startswith("text/"))]
        parts += ["".join(text) for text in found]
    return "\n".join(parts)
