"""Whether the JSON of a notebook is built as notebooks are: whoever reads it relies on it.

nbformat only logs what its schema finds wrong, and turns a notebook of format 3 into another one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

KINDS = ("code", "markdown", "raw")


def check(nb: Any) -> None:
    """Hold the JSON of a notebook's file against what is read of it.

    Raises
    ------
    ValueError : it is no notebook of format 4; the message names the cell and what is wrong.
    """
    if not isinstance(nb, Mapping):
        raise ValueError("it holds no JSON object")
    version = nb.get("nbformat", 4)
    if version != 4:
        raise ValueError(f"it has the notebook format {version!r}, not 4: open it in JupyterLab "
                         "and save it")
    if not isinstance(nb.get("cells"), list):
        raise ValueError("it has no list of cells")
    if not isinstance(nb.get("metadata") or {}, Mapping):
        raise ValueError("its metadata are no JSON object")
    for number, cell in enumerate(nb["cells"], start=1):
        for what in _wrong(cell):
            raise ValueError(f"cell {number} {what}")


def _wrong(cell: Any) -> Iterator[str]:
    """Yield what is wrong with a cell."""
    if not isinstance(cell, Mapping):
        yield f"is {_named(cell)} in place of a JSON object"
        return
    kind = cell.get("cell_type")
    if kind not in KINDS:
        yield f"has the cell_type {kind!r}: there are {', '.join(KINDS)}"
    if not _is_text(cell.get("source", "")):
        yield f"has {_named(cell['source'])} for a source, in place of text"
    metadata = cell.get("metadata", {})
    if not isinstance(metadata, Mapping):
        yield f"has {_named(metadata)} for its metadata, in place of a JSON object"
        return
    if not _is_texts(metadata.get("tags", [])):
        yield f"has the tags {metadata['tags']!r}, in place of a list of texts"
    described = metadata.get("mystnb") or {}
    if not isinstance(described, Mapping) or not all(
            isinstance(described.get(part), Mapping | None) for part in ("figure", "image")):
        yield "has metadata 'mystnb' that are no JSON object, or their figure or image is none"
    count = cell.get("execution_count")
    if not isinstance(count, int | None):
        yield f"has {_named(count)} for an execution_count"
    outputs = cell.get("outputs", [])
    if not isinstance(outputs, list):
        yield f"has {_named(outputs)} for its outputs, in place of a list"
        return
    for output in outputs:
        yield from (f"has an output that {what}" for what in _wrong_output(output))


def _wrong_output(output: Any) -> Iterator[str]:
    """Yield what is wrong with an output."""
    if not isinstance(output, Mapping):
        yield f"is {_named(output)} in place of a JSON object"
        return
    if not isinstance(output.get("output_type"), str):
        yield "has no output_type"
    if not _is_text(output.get("text", "")):
        yield f"has {_named(output['text'])} for a text"
    data = output.get("data", {})
    if not isinstance(data, Mapping):
        yield f"has {_named(data)} for its data, in place of a JSON object"
        return
    for kind, content in data.items():
        if not _is_text(content) and not kind.endswith("json"):
            yield f"has {_named(content)} for {kind}, in place of text"


def _is_text(content: Any) -> bool:
    """Say whether JSON holds text: as one, or as a list of lines."""
    return isinstance(content, str) or _is_texts(content)


def _is_texts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(line, str) for line in content)


def _named(content: Any) -> str:
    """Return a JSON value in a few words."""
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return kinds.get(type(content), repr(content)[:40])
