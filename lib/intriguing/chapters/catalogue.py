"""Chapters and their parameters: what one is, at which profile, and whether a value is allowed.

Papermill accepts an unknown parameter with a shrug and never looks at a type, so everything is
checked here, from the syntax tree of the `parameters` cell, before anything runs.
"""

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from intriguing import paths, textfiles
from intriguing.chapters import shelves
from intriguing.chapters.fingerprint import source_of
from intriguing.errors import UserError, nearest
from intriguing.records import limits, parameters
from intriguing.records.values import AmbiguousError, load_yaml

SCALES = ("smoke", "cpu", "gpu", "paper")  # the order in which profiles are listed


@dataclass(frozen=True)
class Chapter:
    """One source notebook; `foreign` if it is no chapter of this book: coursework, say."""

    name: str
    source: Path
    title: str
    parameters: dict[str, parameters.Parameter]
    foreign: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """The values of the parameters cell as it stands."""
        return {name: parameter.default for name, parameter in self.parameters.items()}

    @property
    def handle(self) -> str:
        """The name of its locks and folders; for what is foreign, one that no other file has."""
        if not self.foreign:
            return self.name
        told = re.sub(r"[^A-Za-z0-9_-]+", "_", self.name)[:60]
        return f"{told}@{hashlib.sha256(str(self.source).encode()).hexdigest()[:8]}"


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


def read(source: Path) -> Chapter:
    """Read the title and the parameters of one source notebook.

    Raises
    ------
    UserError : not a notebook, or its parameters cell is missing, double or not made of literals.
    """
    nb = shelves.load(source)
    found = parameters.of_notebook(nb, where=source.name)
    if "profile" not in found or found["profile"].types != (str,):
        raise UserError(f'{source.name} needs `profile = "smoke"` in its parameters cell')
    cells = (cell for cell in nb["cells"] if cell.get("cell_type") == "markdown")
    markdown = "\n".join(source_of(cell) for cell in cells)
    heading = re.search(r"^# +(.+?)\s*$", markdown, flags=re.MULTILINE)
    return Chapter(source.stem, source, heading[1] if heading else source.stem, found)


# ---------------------------------------------------------------- profiles


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
        content = load_yaml(textfiles.read(path)) or {}
    except AmbiguousError as error:
        raise UserError(f"profiles/{path.name}, line {error.line}: {error}") from error
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
    chapter: Chapter, profile: str, overrides: Mapping[str, Any] | None = None, *,
    scales: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Return the checked settings of one run: defaults, then the profile, then the overrides.

    Coursework gets what the profile says about a chapter of its name, as far as it has such
    parameters; where the profile says nothing, its own values hold.

    Parameters
    ----------
    scales : what `load_profile` returned, for whoever resolves many chapters; None: it is called.

    Raises
    ------
    UserError : unknown profile, chapter missing in it, unknown name, or a value of a wrong type or
        outside its range (`records.limits`).
    """
    scales = load_profile(profile) if scales is None else scales
    ours = scales.get(chapter.name)
    if chapter.foreign:
        ours = {name: value for name, value in (ours or {}).items() if name in chapter.parameters}
    if ours is None:
        raise UserError(
            f"profile {profile} says nothing about {chapter.name}: add it to "
            f"notebooks/profiles/{profile}.yml ({nearest(chapter.name, scales)})"
        )
    overrides = dict(overrides or {})
    given = {}
    for origin, values in ((f" (notebooks/profiles/{profile}.yml)", ours),
                           ("", overrides)):
        for name, value in values.items():
            if name == "profile":
                raise UserError("the profile is not set as a parameter: use --profile")
            given[name] = check(chapter, name, value, origin)
    overrides = {name: given[name] for name in overrides}
    injected = {"profile": profile, **given}
    values = {**chapter.defaults, **injected}
    limits.check(chapter.name, values)
    return Settings(chapter, profile, values, injected, overrides)


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
    try:
        return chapter.parameters[name].take(value)
    except ValueError as error:
        raise UserError(f"{name} of {chapter.name}{origin} {error}") from error


def parse_value(chapter: Chapter, name: str, text: str) -> Any:
    """Return the value that the text of `-p NAME TEXT` stands for, checked (`Parameter.read`)."""
    parameter = chapter.parameters.get(name)
    try:
        return check(chapter, name, text if parameter is None else parameter.read(text))
    except AmbiguousError as error:
        raise UserError(f"{name} of {chapter.name}: {error}") from error
