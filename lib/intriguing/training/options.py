"""What the options of all methods have in common: checks, other values, canonical form."""

import math
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class MethodOptions:
    """The options of a method: each method's file derives its own, a frozen dataclass.

    Fields have real types: a flag is a bool, a choice is a `Literal`, several numbers are a tuple,
    and settings that several methods share are a dataclass of their own.

    Raises
    ------
    ValueError : a number that is not finite, or a choice that does not exist.
    """

    def __post_init__(self) -> None:
        _check(self)

    @property
    def method(self) -> ModuleType:
        """The module of the method."""
        return sys.modules[type(self).__module__]

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, Any]]:
        """Return (objective, numbers, options) as the canonical JSON of a spec holds them.

        The objective is the method's name, and an option is left out while it stands at its
        default.  Methods from before 2026-11-30 keep the names that keys had then.
        """
        return self.method.__name__.rpartition(".")[2], {}, plain(self)


def _check(settings: Any) -> None:
    """Refuse choices that do not exist and numbers that are not finite, in settings inside too."""
    hints = typing.get_type_hints(type(settings))
    for name, value in _entries(settings):
        if is_dataclass(value):
            _check(value)
        choices = typing.get_args(hints[name])
        if typing.get_origin(hints[name]) is typing.Literal and value not in choices:
            valid = ", ".join(map(str, choices))
            raise ValueError(f"{name} is one of {valid}, not {value!r}")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"a spec holds finite numbers only, got {name} = {number}")


def _entries(settings: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of the fields of a dataclass."""
    yield from ((one.name, getattr(settings, one.name)) for one in fields(settings))


def plain(value: Any) -> Any:
    """Return options as JSON knows them, without those that stand at their defaults."""
    if is_dataclass(value):
        found = {}
        for one in fields(value):
            mine = getattr(value, one.name)
            default = one.default if one.default_factory is MISSING else one.default_factory()
            if mine != default:
                found[one.name] = plain(mine)
        return found
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def names(options: Any) -> list[str]:
    """Return the names that `changed` takes."""
    found = []
    for name, value in _entries(options):
        found += names(value) if is_dataclass(value) else [name]
    return list(dict.fromkeys(found))


def changed(options: Any, values: Mapping[str, Any]) -> Any:
    """Return the options with other values, those of settings inside them by their own names.

    An int is taken for a float, 0 or 1 for a flag, and a list for a tuple.

    Raises
    ------
    ValueError : a value of another type.
    """
    mine = {}
    for name, value in _entries(options):
        if is_dataclass(value):
            mine[name] = changed(value, values)
        elif name in values:
            mine[name] = _as(type(value), values[name], name)
    return replace(options, **mine)


def _as(kind: type, value: Any, name: str) -> Any:
    """Return a value as another of the same option, which is of this kind."""
    if kind not in (bool, int, float, tuple):
        return value
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        converted = None
    if converted is None or (kind is not tuple and converted != value and value == value):
        raise ValueError(f"{name} takes {kind.__name__}, not {value!r}")
    return converted
