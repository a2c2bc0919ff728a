"""The ranges of a chapter's parameters and what they depend on: `notebooks/limits.yml`.

A chapter's cells say the types.  What a value has to be beyond that is said there, a line for each
parameter, and is checked with the types, before anything is trained:

least, most, above  of a number, or of each number of a list: a number, or a formula of parameters
                    with len, max, min and images(dataset, split), the images of a known set
length              the least number of items of a list, 1 unless given
of                  the items allowed: a list, or the name of the parameter that lists them
has                 items that a list must have, numbers or formulas
starts, some, some_not  how each name starts; how one of a list does; how one of a list does not
beyond              the name of a list that must not hold all items of this one
odd, rising         an odd number; a list whose smallest item comes first
classes, shapes     of a data set: how many classes, and the [channels, height, width] allowed
unless              the name of a parameter: with that set, the line does not count

No list repeats an item.  A chapter or parameter without a line may have any value of its type, but
seeds are at least 0, and none is given twice: an interval over seeds takes them for independent.
"""

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from yaml import YAMLError

from intriguing import paths, textfiles
from intriguing.errors import UserError, nearest
from intriguing.records import formulas, known
from intriguing.records.values import load_yaml

FILE = "limits.yml"
_SEEDS = "seeds"  # how the names of lists of training seeds end
_FUNCTIONS = {"len": len, "max": max, "min": min, "images": known.images}
_BOUNDS = (("least", "at least", operator.ge), ("most", "at most", operator.le),
           ("above", "above", operator.gt))


@dataclass(frozen=True)
class Limit:
    """What one parameter may be; the words are those of the module."""

    least: float | str | None = None
    most: float | str | None = None
    above: float | str | None = None
    length: int = 1
    of: str | Sequence[Any] = ()
    has: Sequence[Any] = ()
    starts: str = ""
    some: str = ""
    some_not: str = ""
    beyond: str = ""
    odd: bool = False
    rising: bool = False
    classes: int = 0
    shapes: Sequence[Sequence[int]] = ()
    unless: str = ""


    def words(self) -> str:
        """Return the range in short, for a table: "at least 10, at most n_images"."""
        of = self.of if isinstance(self.of, str) else " ".join(map(str, self.of))
        return ", ".join([
            *(f"{said} {bound}" for word, said, _ in _BOUNDS
              if (bound := getattr(self, word)) is not None),
            *([f"of {of}"] if of else []), *(["odd"] if self.odd else []),
            *([f"{self.length} or more"] if self.length > 1 else []),
            *(f"with {one}" for one in self.has),
            *([f"{self.classes} classes"] if self.classes else [])])


class _OutsideError(Exception):
    """A value outside its range; the message says what it may be."""


def load() -> dict[str, dict[str, Limit]]:
    """Return {chapter: {parameter: Limit}}; {} for a book without such a file.

    Raises
    ------
    UserError : the file is not such a mapping.
    """
    path = paths.notebooks_dir() / FILE
    if not path.is_file():
        return {}
    try:
        return _parse(textfiles.read(path))
    except (ValueError, YAMLError, TypeError, AttributeError) as error:
        raise UserError(f"notebooks/{FILE} cannot be read: {' '.join(str(error).split())}; it has "
                        "for each chapter lines such as `n_images: {least: 2}`") from error


@functools.lru_cache(maxsize=4)
def _parse(text: str) -> dict[str, dict[str, Limit]]:
    words = [one.name for one in fields(Limit)]
    found: dict[str, dict[str, Limit]] = {}
    for chapter, lines in (load_yaml(text) or {}).items():
        found[str(chapter)] = {}
        for name, entry in lines.items():
            if unknown := sorted(set(entry) - set(words)):
                raise ValueError(f"{name} of {chapter} has {unknown[0]!r}: "
                                 f"{nearest(unknown[0], words)}")
            found[str(chapter)][name] = Limit(**entry)
    return found


def check(chapter: str, values: Mapping[str, Any]) -> None:
    """Check the parameters of a chapter, all of them together.

    Raises
    ------
    UserError : a value outside its range, named with what it may be; or a data set of one's own
        that cannot be read.
    """
    declared = load().get(chapter, {})
    for name, value in values.items():
        limit = declared.get(name)
        if limit is None and isinstance(value, list | tuple) and name.endswith(_SEEDS):
            limit = Limit(length=0)
        if limit is None or (limit.unless and values.get(limit.unless)):
            continue
        try:
            _check_one(name, value, limit, values)
        except _OutsideError as error:
            raise UserError(f"{name} of {chapter} is {_shown(value)}, and {error}") from error
        except (ArithmeticError, SyntaxError, TypeError, ValueError, KeyError) as error:
            raise UserError(f"notebooks/{FILE}, {name} of {chapter}: {error}") from error


def _check_one(name: str, value: Any, limit: Limit, values: Mapping[str, Any]) -> None:
    is_list = isinstance(value, list | tuple)
    items = list(value) if is_list else [value]
    if is_list:
        _check_list(name, items, limit, values)
    for item in items:
        if isinstance(item, int | float) and not isinstance(item, bool):
            _check_number(item, limit, values)
        elif not str(item).startswith(limit.starts):
            raise _OutsideError(f"must start with {limit.starts}")
    if limit.of:
        _check_among(items, limit.of, values)
    if limit.classes:
        _check_data(value, limit)


def _check_list(name: str, items: list, limit: Limit, values: Mapping[str, Any]) -> None:
    if len(items) < limit.length:
        raise _OutsideError("must have at least one item" if limit.length == 1 else
                            f"must have at least {limit.length} items")
    if twice := [item for k, item in enumerate(items) if item in items[:k]]:
        why = ": intervals take seeds for independent" if name.endswith(_SEEDS) else ""
        raise _OutsideError(f"must not have {_shown(twice[0])} twice{why}")
    if name.endswith(_SEEDS) and min(items, default=0) < 0:
        raise _OutsideError("must have no seed below 0")
    for wanted in limit.has:
        if (number := _number(wanted, values)) not in items:
            raise _OutsideError(f"must have {_shown(number)} among its items")
    if limit.some and not any(str(item).startswith(limit.some) for item in items):
        raise _OutsideError(f"must have an item that starts with {limit.some}")
    if limit.some_not and all(str(item).startswith(limit.some_not) for item in items):
        raise _OutsideError(f"must have an item that does not start with {limit.some_not}")
    if limit.beyond and set(items) <= set(values[limit.beyond]):
        raise _OutsideError(f"must have an item that {limit.beyond} = "
                            f"{_shown(values[limit.beyond])} lacks")
    if limit.rising and items != sorted(items):
        raise _OutsideError("must have its smallest item first")


def _check_number(item: float, limit: Limit, values: Mapping[str, Any]) -> None:
    if not math.isfinite(item):
        raise _OutsideError("must be finite")
    for word, said, fits in _BOUNDS:
        bound = getattr(limit, word)
        if bound is not None and not fits(item, number := _number(bound, values)):
            raise _OutsideError(
                f"must be {said} {number:g}" + (f", {bound}" if isinstance(bound, str) else ""))
    if limit.odd and item % 2 != 1:
        raise _OutsideError("must be odd")


def _check_among(items: list, of: str | Sequence[Any], values: Mapping[str, Any]) -> None:
    allowed = values[of] if isinstance(of, str) else of
    for item in items:
        if item not in allowed:
            raise _OutsideError(
                f"must be among {of} = {_shown(allowed)}, which lacks {_shown(item)}: set both"
                if isinstance(of, str) else
                f"must be among {', '.join(map(str, allowed))}, not {_shown(item)}")


def _check_data(value: str, limit: Limit) -> None:
    """Check classes and shape of a data set: by the table of known sets, or by what a path holds.

    Raises
    ------
    UserError : there is none of that name, or the file cannot be read.
    """
    try:
        classes, shape = known.form(value)
    except ValueError as error:
        raise _OutsideError(f"does not suit: {error}") from error
    allowed = [tuple(one) for one in limit.shapes]
    if classes != limit.classes or allowed and shape and shape not in allowed:
        sizes = " or ".join(" x ".join(map(str, one)) for one in allowed)
        own = f" of {' x '.join(map(str, shape))} pixels" if shape else ""
        raise _OutsideError(f"has {classes} classes{own}, where the chapter's networks take "
                            f"{limit.classes} classes" + (f" of {sizes} pixels" if sizes else ""))


def _number(bound: Any, values: Mapping[str, Any]) -> Any:
    """Return a number, or what a formula comes to."""
    return formulas.compute(bound, values, _FUNCTIONS) if isinstance(bound, str) else bound


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
