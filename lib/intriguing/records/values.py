"""Values written as text: on a command line in Python's form or YAML's, in a profile in YAML's.

YAML 1.1 reads some plain words as other things than people do: 012 as ten, 1:30 as ninety, `no` as
false.  Here these are refused, with what to write instead.
"""

import ast
import operator
import re
from typing import Any

import yaml

_NUMBERS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
            ast.Div: operator.truediv}
WORDS = {"yes": True, "on": True, "no": False, "off": False}  # and true, false, which are clear
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "timestamp"))


class AmbiguousError(ValueError):
    """A value that YAML and people read differently; the message says how to write it.

    line : of the text, counted from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times faster


class StrictLoader(_Loader):
    """A YAML reader that refuses a key given twice and a value that YAML and people read apart."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_clear(self, node: yaml.ScalarNode) -> Any:
        """Return a number, truth value or date as YAML reads it, if people read it so, too.

        Raises
        ------
        AmbiguousError : they do not.
        """
        read = yaml.SafeLoader.yaml_constructors[node.tag](self, node)
        if (why := _apart(node.value, read)) is None:
            return read
        raise AmbiguousError(why, node.start_mark.line + 1)

    yaml_constructors = {**_Loader.yaml_constructors, **dict.fromkeys(_TAGS, construct_clear)}


def _apart(text: str, read: Any) -> str | None:
    """Say how YAML's reading of a plain word differs from people's; None: it does not."""
    if isinstance(read, bool):
        if text.lower() not in WORDS:
            return None
        return (f"{text} is {str(read).lower()} to YAML: write {str(read).lower()}, or '{text}' in "
                "quotes for the word")
    if not isinstance(read, int | float):
        return f"{text} is a date to YAML: write '{text}' in quotes"
    if ":" in text:
        return f"{text} is {read} to YAML, in sixties: write {read}, or '{text}' in quotes for text"
    if isinstance(read, int) and _OCTAL.fullmatch(text):
        plain = int(text.replace("_", "")) if text.isdecimal() else int(text)
        return f"{text} is {read} to YAML, in eights: write {read} or {plain}"
    return None


def load_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises
    ------
    yaml.YAMLError : not YAML, or a key twice.
    AmbiguousError : a value that YAML and people read differently.
    """
    return yaml.load(text, Loader=StrictLoader)


def from_text(text: str) -> Any:
    """Return what a text stands for: a literal of Python, else a value of YAML, else itself.

    Raises
    ------
    AmbiguousError : a value that YAML and people read differently.
    """
    try:
        return literal(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        try:
            return load_yaml(text)
        except (yaml.YAMLError, RecursionError):
            return text


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
