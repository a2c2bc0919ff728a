"""What a chapter's time grows with: one sum for each chapter, in `notebooks/costs.yml`.

A rule says how many milliseconds of one CPU thread the parts of a run take that grow with the
chapter's parameters.  Of two runs, one of twice that takes twice the time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from intriguing import paths
from intriguing.book.cost import work
from intriguing.errors import UserError
from intriguing.records import formulas

FILE = "costs.yml"
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": len, "bool": bool, "min": min, "max": max, "mflop": work.mflop,
}


@dataclass(frozen=True)
class Rule:
    """How the cost of one chapter grows.

    work : milliseconds, a formula in the chapter's parameters.
    device : share of it in computations that move to a GPU, in [0, 1].
    passes : millions of operations in passes of large networks, beside `work`: a formula too.  They
        move to a GPU as a whole.
    disk : bytes beside data sets, networks and results, a formula too.
    """

    work: str
    device: float
    passes: str = "0"
    disk: str = "0"


def load() -> dict[str, Rule]:
    """Return the rules by chapter; {} for a book without such a file.

    Raises
    ------
    UserError : the file is not a mapping of chapters to rules.
    """
    path = paths.notebooks_dir() / FILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        rules = {str(name): Rule(**{key: str(value) if key != "device" else float(value)
                                    for key, value in entry.items()})
                 for name, entry in content.items()}
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"notebooks/{FILE} cannot be read: {' '.join(str(error).split())}; each "
                        "chapter needs work and device, and may have passes and disk") from error
    for name, rule in rules.items():
        if not 0 <= rule.device <= 1:
            raise UserError(f"notebooks/{FILE}: device of {name} is a share from 0 to 1, "
                            f"not {rule.device}")
    return rules


def evaluate(formula: str, parameters: Mapping[str, Any], where: str = FILE) -> float:
    """Return the value of a formula of numbers, names, parameters, + - * / and a few functions.

    The functions are len, bool, min, max, and `mflop(names, dataset)`: millions of operations of an
    image through convolutional networks, whose names are parameters or stand in quotes.

    Raises
    ------
    UserError : anything else in it, an unknown name, or a negative or missing value.
    """
    try:
        value = float(formulas.compute(formula, parameters, _FUNCTIONS))
    except (SyntaxError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{where}: {formula!r} cannot be computed: {error}") from error
    if not value >= 0:
        raise UserError(f"{where}: {formula!r} is {value}: a count is not negative")
    return value
