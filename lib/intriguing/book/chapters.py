"""Chapters and their parameters: what exists, at which profile, and whether a value is allowed.

Papermill accepts an unknown parameter with a shrug and never looks at a type, so everything is
checked here, from the syntax tree of the `parameters` cell, before anything runs.
"""

import ast
import difflib
import json
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from intriguing import paths
from intriguing.errors import UserError, nearest

SCALES = ("smoke", "cpu", "gpu", "paper")  # the order in which profiles are listed

_NUMBERS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
            ast.Div: operator.truediv}
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


@dataclass(frozen=True)
class Chapter:
    """One source notebook."""

    name: str
    source: Path
    title: str
    parameters: dict[str, Parameter]

    @property
    def defaults(self) -> dict[str, Any]:
        """The values of the parameters cell as it stands."""
        return {name: parameter.default for name, parameter in self.parameters.items()}


@dataclass(frozen=True)
class Settings:
    """What one run of one chapter is given.

    `parameters` is every name with its final value, `injected` the part that papermill writes into
    the notebook (the profile's numbers and the overrides), `overrides` what the user changed.
    """

    chapter: Chapter
    profile: str
    parameters: dict[str, Any]
    injected: dict[str, Any]
    overrides: dict[str, Any]


# ---------------------------------------------------------------- chapters


def names() -> list[str]:
    """Return the chapters of the book, in order, without reading them."""
    return sorted(path.stem for path in paths.notebooks_dir().glob("*.ipynb"))


def find(name: str) -> Chapter:
    """Return the chapter called `name`: its full name, its number alone, or its path.

    Raises
    ------
    UserError : no chapter, or more than one, answers to that name.
    """
    wanted, known = Path(name).name.removesuffix(".ipynb"), names()
    matches = [wanted] if wanted in known else []
    if not matches and wanted.isdigit():
        matches = [chapter for chapter in known if chapter.startswith(f"{int(wanted):02d}-")]
    if len(matches) != 1:
        raise UserError(f"no chapter is called {name!r}: {nearest(wanted, known)}")
    return read(paths.notebooks_dir() / f"{matches[0]}.ipynb")


def read(source: Path) -> Chapter:
    """Read the title and the parameters of one source notebook.

    Raises
    ------
    UserError : not a notebook, or its parameters cell is missing, double or not made of literals.
    """
    try:
        cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{source.name} cannot be read as a notebook: {error}") from error
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise UserError(
            f"{source.name} has {len(tagged)} cells tagged 'parameters': a chapter needs one"
        )
    parameters = parse_parameters(_text(tagged[0]), where=source.name)
    if not isinstance(parameters.get("profile", Parameter("", None, "", ())).default, str):
        raise UserError(f'{source.name} needs `profile = "smoke"` in its parameters cell')
    markdown = "\n".join(_text(cell) for cell in cells if cell.get("cell_type") == "markdown")
    heading = re.search(r"^# +(.+?)\s*$", markdown, flags=re.MULTILINE)
    return Chapter(source.stem, source, heading[1] if heading else source.stem, parameters)


def _text(cell: Mapping[str, Any]) -> str:
    """Return the source of a raw JSON cell, which may be a string or a list of lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def parse_parameters(source: str, where: str) -> dict[str, Parameter]:
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


def literal(node: ast.AST) -> Any:
    """Return the value of a literal; arithmetic of numbers such as `8/255` counts as one.

    Raises
    ------
    ValueError : anything with a name or a call in it, or a division by zero.
    """
    if isinstance(node, ast.BinOp) and type(node.op) in _NUMBERS:
        left, right = literal(node.left), literal(node.right)
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in (left, right)):
            try:
                return _NUMBERS[type(node.op)](left, right)
            except (ZeroDivisionError, OverflowError) as error:
                raise ValueError(str(error)) from error
        raise ValueError("arithmetic of something that is not a number")
    if isinstance(node, ast.List | ast.Tuple):
        values = [literal(item) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    return ast.literal_eval(node)  # constants, signs, dicts; raises ValueError for the rest


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


# ---------------------------------------------------------------- profiles


class _Strict(yaml.SafeLoader):
    """A YAML reader that refuses a key given twice, which plain YAML lets pass in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def profiles() -> list[str]:
    """Return the profiles that have a parameter file, smallest scale first."""
    found = {path.stem for path in paths.profiles_dir().glob("*.yml")}
    return [name for name in SCALES if name in found] + sorted(found - set(SCALES))


def load_profile(profile: str) -> dict[str, dict[str, Any]]:
    """Return {chapter: {parameter: value}} of one profile file.

    Raises
    ------
    UserError : no such profile, or a file that is not such a mapping.
    """
    if profile not in profiles():
        raise UserError(f"no profile is called {profile!r}: {nearest(profile, profiles())}")
    path = paths.profiles_dir() / f"{profile}.yml"
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict) or {}
    except (yaml.YAMLError, TypeError) as error:
        raise UserError(f"profiles/{path.name} is not valid YAML: {' '.join(str(error).split())}") \
            from error
    if not isinstance(content, dict):
        raise UserError(f"profiles/{path.name} must map chapter names to parameters")
    for chapter, values in content.items():
        if not isinstance(values, dict | None):
            raise UserError(f"profiles/{path.name}: {chapter} must map parameter names to values")
    return {str(chapter): dict(values or {}) for chapter, values in content.items()}


def resolve(
    chapter: Chapter, profile: str, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Return the checked settings of one run: defaults, then the profile, then the overrides.

    Raises
    ------
    UserError : unknown profile, chapter missing in it, unknown name, or a value of a wrong type.
    """
    scales = load_profile(profile)
    if chapter.name not in scales:
        raise UserError(
            f"profile {profile} says nothing about {chapter.name}: add it to "
            f"notebooks/profiles/{profile}.yml ({nearest(chapter.name, scales)})"
        )
    overrides = dict(overrides or {})
    given = {}
    for origin, values in ((f" (notebooks/profiles/{profile}.yml)", scales[chapter.name]),
                           ("", overrides)):
        for name, value in values.items():
            if name == "profile":
                raise UserError("the profile is not set as a parameter: use --profile")
            given[name] = check(chapter, name, value, origin)
    overrides = {name: given[name] for name in overrides}
    injected = {"profile": profile, **given}
    return Settings(chapter, profile, {**chapter.defaults, **injected}, injected, overrides)


# ---------------------------------------------------------------- values


def check(chapter: Chapter, name: str, value: Any, origin: str = "") -> Any:
    """Return `value` as the parameter `name` of `chapter` takes it (a float for an int, say).

    Raises
    ------
    UserError : the chapter has no such parameter, or the value has another type.
    """
    if name not in chapter.parameters:
        # short names resemble one another too much for a list of three to be right: show all
        close = difflib.get_close_matches(name, chapter.parameters, n=1)
        hint = nearest(name, chapter.parameters if close else [])
        valid = ", ".join(key for key in chapter.parameters if key != "profile")
        raise UserError(f"{chapter.name} has no parameter {name!r}{origin}: "
                        + (hint if close else f"it has {valid}"))
    parameter = chapter.parameters[name]
    for kind in parameter.types:
        fits, converted = _fit(value, kind, parameter.default)
        if fits:
            return converted
    if not parameter.types:
        return value
    raise UserError(
        f"{name} of {chapter.name}{origin} takes {parameter.expects()} (default "
        f"{parameter.default!r}), not {value!r} ({type(value).__name__})"
    )


def _fit(value: Any, kind: type, default: Any) -> tuple[bool, Any]:
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
    kinds = {type(item) for item in default} if isinstance(default, list | tuple) else set()
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) != 1:
        return True, kind(value)
    fitted = [_fit(item, next(iter(kinds)), next(iter(default))) for item in value]
    return all(fits for fits, _ in fitted), kind(item for _, item in fitted)


def parse_value(chapter: Chapter, name: str, text: str) -> Any:
    """Return the value that the text of `-p NAME TEXT` stands for, checked.

    Text for a parameter that takes text is taken as it is (and a relative path of an existing file
    becomes absolute, since the kernel works in another folder); all else is read as a Python
    literal, then as YAML.
    """
    parameter = chapter.parameters.get(name)
    if parameter is not None and parameter.types == (str,):
        is_path = ("/" in text or "\\" in text or Path(text).suffix) and Path(text).exists()
        return check(chapter, name, str(Path(text).absolute()) if is_path else text)
    try:
        value = literal(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, SyntaxError, RecursionError):
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
    return check(chapter, name, value)
