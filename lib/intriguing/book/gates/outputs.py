"""The gate of what pages show: outputs of a few kinds, which run no script and read no file.

A page may come from anyone: a student's pull request, a notebook from elsewhere.  Its outputs are
rendered as they stand in its file, whatever cell made them.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from intriguing import paths, textfiles
from intriguing.book.gates import markup, myst
from intriguing.book.gates.house import House, Notebook, Problem, code, page, place, source
from intriguing.chapters.fingerprint import source_of
from intriguing.errors import UserError

KINDS = ("text/plain", "text/html", "text/markdown", "image/png", "image/jpeg", "image/svg+xml")
OUTPUTS = ("display_data", "execute_result", "stream", "error")
SETTINGS = ("myst", "mystnb")  # metadata by which a notebook changes how it is rendered, or runs
# pages that show a record as Python writes it, until they are run again
RAW = ("03-cross-model-transfer", "05-adversarial-pools", "07-interaction-and-transferability",
       "08-interaction-reduced-attack", "10-interaction-loss")
_RECORD = re.compile(r"^\W*Record\(name=", re.MULTILINE)


def outputs_safe(house: House) -> Iterator[Problem]:
    """Pages show outputs of a few kinds, no scripts, nothing from elsewhere, no file by its path.
    """
    for name, nb in house.sources.items():
        for number, what in of_notebook(nb):
            yield Problem("error", source(name, number), f"shows {what}: take it out")
    for name, nb in house.published.items():
        for number, what in of_notebook(nb):
            yield Problem("error", page(name, number), f"shows {what}: take it out of what the "
                          "cell shows, and publish the chapter again")
    for file in sorted(paths.published_results_dir().glob("*/*")):
        for what in _in_file(file):
            yield Problem("error", place(file), what)


def records_in_words(house: House) -> Iterator[Problem]:
    """No page shows a record as Python writes it."""
    for name, nb in house.published.items():
        cells = [number for number, cell in code(nb)
                 if any(_RECORD.search(text) for text in _plain(cell.get("outputs", [])))]
        for number in cells:
            yield Problem("note" if name in RAW else "error", page(name, number),
                          "shows a record as Python writes it: end the line of the cell that "
                          "returns it with a semicolon, and run the chapter again")
        if name in RAW and not cells:
            yield Problem("warning", page(name), "shows no raw record any more: take it out of RAW "
                          "in gates/outputs.py")


def of_notebook(nb: Notebook) -> Iterator[tuple[int | None, str]]:
    """Yield (number of the cell or None, what is shown) for all that may not be on a page."""
    for key in SETTINGS:
        if nb.get("metadata", {}).get(key):
            yield None, f"itself in its own way, by the metadata {key!r}"
    for number, cell in enumerate(nb["cells"], start=1):
        for what in dict.fromkeys(_in_cell(cell)):
            yield number, what


def _in_cell(cell: Mapping[str, Any]) -> Iterator[str]:
    metadata = cell.get("metadata", {})
    if cell["cell_type"] == "markdown":
        yield from myst.wrong(source_of(cell), chapter=True)
    elif cell["cell_type"] == "raw" and (metadata.get("format") or metadata.get("raw_mimetype")):
        yield "a raw cell with a format, which is rendered as it stands"
    caption = ((metadata.get("mystnb") or {}).get("figure") or {}).get("caption")
    yield from myst.wrong(str(caption or ""), chapter=True)
    for output in cell.get("outputs", []):
        yield from _in_output(output)


def _in_output(output: Mapping[str, Any]) -> Iterator[str]:
    if output["output_type"] not in OUTPUTS:
        yield f"an output of the kind {output['output_type']!r}"
    for kind, content in output.get("data", {}).items():
        text = "".join(content) if kind in KINDS else ""
        if kind not in KINDS:
            yield f"an output of the kind {kind}: pages show {', '.join(KINDS)}"
        elif kind == "text/html":
            yield from (f"HTML with {what}" for what in markup.in_html(text))
        elif kind == "image/svg+xml":
            yield from (f"an SVG picture with {what}" for what in markup.in_svg(text))
        elif kind == "text/markdown":
            yield from (f"Markdown with {what}" for what in myst.wrong(text))


def _in_file(file: Path) -> Iterator[str]:
    """Yield what is wrong with a file of published results, which readers open by its link."""
    if file.is_symlink():
        yield "is a link to another file: results are files of their own"
    elif file.suffix == ".svg":
        try:
            text = textfiles.read(file)
        except UserError as error:
            yield str(error)
            return
        yield from (f"holds {what}" for what in dict.fromkeys(markup.in_svg(text)))
    elif file.suffix in (".html", ".htm", ".xhtml", ".xml", ".js"):
        yield "is no table, picture or record: a page links to results as they are"


def _plain(outputs: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the texts that outputs show as they stand."""
    for output in outputs:
        yield "".join(output.get("text", ""))
        data = output.get("data", {})
        if set(data) == {"text/plain"}:
            yield "".join(data["text/plain"])
