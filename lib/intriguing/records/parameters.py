"""The parameters of a chapter: what its cell assigns, and whether a value is of the right type.

The one reader of that cell: profiles, the command line, records and notebooks ask here.  Light to
import, since `intriguing --help` does.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intriguing import paths
from intriguing.errors import UserError
from intriguing.records import known
from intriguing.records.values import WORDS, from_text, literal

TAG = "parameters"  # of the cell, as papermill wants it
_TYPES = {"bool": bool, "int": int, "float": float, "str": str, "list": list, "tuple": tuple,
          "dict": dict, "none": type(None)}


@dataclass(frozen=True)
class Parameter:
    """One assignment of a parameters cell: its name, default, comment and the types it takes."""

    name: str
    default: Any
    comment: str
    types: tuple[type, ...]  # empty: anything goes

    def expects(self) -> str:
        """Return the allowed types as words, such as "int or None"."""
        names = ("None" if kind is type(None) else kind.__name__ for kind in self.types)
        return " or ".join(names) or "anything"

    def take(self, value: Any) -> Any:
        """Return `value` as this parameter takes it (a float for an int, say).

        Raises
        ------
        ValueError : another type; the message goes on from the parameter's name.
        """
        for kind in self.types:
            fits, converted = fit(value, kind, self.default)
            if fits:
                return converted
        if not self.types:
            return value
        if isinstance(value, list | tuple) and (item_kind := _item_kind(self.default)):
            wrong = next(item for item in value if not fit(item, item_kind, self.default[0])[0])
            hint = ", commas between the items" if " " in str(wrong).strip() else ""
            raise ValueError(f"takes a list of {item_kind.__name__} (default {self.default!r}"
                             f"{hint}): {wrong!r} in it is {type(wrong).__name__}")
        raise ValueError(f"takes {self.expects()} (default {self.default!r}), not {value!r} "
                         f"({type(value).__name__})")

    def read(self, text: str) -> Any:
        """Return what `text` from a command line stands for, not yet checked: see `take`.

        Text for a parameter that takes text is taken as it is (and a relative path of an existing
        file becomes absolute, since the kernel works in another folder).  Where the default is a
        known data set and the text is none, a bare name is a path, too, if there is such a folder.

        Raises
        ------
        ValueError : a value that YAML and people read differently, such as 012.
        """
        if bool in self.types and text.strip().lower() in WORDS:
            return WORDS[text.strip().lower()]
        if self.types != (str,):
            return from_text(text)
        is_path = "/" in text or "\\" in text or bool(Path(text).suffix)
        if text and not is_path and Path(text).exists():
            is_path = self.default in (sets := known.names()) and text not in sets
        return str(Path(text).absolute()) if is_path and Path(text).exists() else text


def of_chapter(name: str, file: Path | None = None) -> dict[str, Parameter] | None:
    """Return the parameters of the chapter's source in this book, None where there is no source.

    `file` is another notebook to read instead: the copy of the chapter that is running.

    Raises
    ------
    UserError : as `of_notebook`, or a file that is no notebook.
    """
    file = paths.notebooks_dir() / f"{name}.ipynb" if file is None else file
    if not file.is_file():
        return None
    try:
        nb = json.loads(file.read_text(encoding="utf-8"))
        return of_notebook(nb, where=file.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file.name} is not a notebook: {error}") from error


def of_notebook(nb: Mapping[str, Any], where: str) -> dict[str, Parameter]:
    """Return the parameters of a notebook (the JSON of its file); `where` names it in messages.

    Raises
    ------
    UserError : its parameters cell is missing, double or not made of literals.
    """
    tagged = [cell for cell in nb["cells"] if TAG in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise UserError(f"{where} has {len(tagged)} cells tagged {TAG!r}: a chapter needs one")
    return parse("".join(tagged[0]["source"]), where)


def parse(source: str, where: str) -> dict[str, Parameter]:
    """Return the parameters that the code of a parameters cell assigns, in order.

    The types of a parameter are those of its default, of its annotation and of the first words of
    its comment (`# int or None, images`).

    Raises
    ------
    UserError : a line that is not `name = literal`, or a name assigned twice.
    """
    lines, found = source.splitlines(), {}
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise UserError(f"{where}: line {error.lineno} of the parameters cell is not Python") \
            from error
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else \
            getattr(node, "target", None)
        line = lines[node.lineno - 1].strip()
        try:
            if not isinstance(target, ast.Name) or isinstance(node, ast.AugAssign):
                raise ValueError("not an assignment to a name")
            default = literal(node.value)
        except ValueError as error:
            raise UserError(
                f"{where}: the parameters cell holds `{line}`; a parameter is `name = literal`"
            ) from error
        if target.id in found:
            raise UserError(f"{where}: the parameters cell assigns {target.id!r} twice")
        comment = lines[node.end_lineno - 1].encode()[node.end_col_offset:].decode()
        comment = comment.strip().removeprefix("#").strip()
        said = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
        types = _types(default, f"{said} {comment.split(',')[0]}")
        found[target.id] = Parameter(target.id, default, comment, types)
    return found


def _types(default: Any, words: str) -> tuple[type, ...]:
    """Return the types a parameter takes: its default's, and those that its line names."""
    said = [_TYPES[word] for word in re.findall(r"[a-z]+", re.sub(r"\[.*?\]", "", words.lower()))
            if word in _TYPES]
    nothing = type(None)
    if default is None:
        return (*dict.fromkeys(kind for kind in said if kind is not nothing), nothing) \
            if said else ()
    own = float if type(default) is int and float in said else type(default)  # `1  # float, ...`
    return tuple(dict.fromkeys([own, *(said if nothing in said else [])]))


def fit(value: Any, kind: type, default: Any) -> tuple[bool, Any]:
    """Say whether `value` is a `kind`, and return it as one."""
    if isinstance(value, bool) and kind is not bool:
        return False, value  # bool is an int to Python, and never meant as one
    if kind is float and isinstance(value, int):
        return True, float(value)
    if kind is float and isinstance(value, str):  # YAML reads 1e-3 and 8/255 as text
        try:
            number = literal(ast.parse(value, mode="eval").body)
        except (ValueError, SyntaxError):
            return False, value
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        return is_number, float(number) if is_number else value
    if kind in (list, tuple) and isinstance(value, list | tuple):
        return _fit_items(value, kind, default)
    return isinstance(value, kind), value


def _fit_items(value: Sequence, kind: type, default: Any) -> tuple[bool, Any]:
    """Check the items of a list against those of the default, where these agree on one type."""
    item_kind = _item_kind(default)
    if item_kind is None:
        return True, kind(value)
    fitted = [fit(item, item_kind, next(iter(default))) for item in value]
    return all(fits for fits, _ in fitted), kind(item for _, item in fitted)


def _item_kind(default: Any) -> type | None:
    """Return the one type of the items of a default, None where it is no list or has none."""
    kinds = {type(item) for item in default} if isinstance(default, list | tuple) else set()
    if kinds == {int, float}:
        return float
    return next(iter(kinds)) if len(kinds) == 1 else None
