"""Formulas in YAML files: numbers, names of parameters, + - * / and a few functions."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from intriguing.errors import nearest

OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def compute(
    formula: str, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]
) -> Any:
    """Return the value of a formula of constants, `names`, + - * / and `functions`.

    Raises
    ------
    SyntaxError, TypeError, ValueError, ZeroDivisionError : anything else in it.
    """
    return _value(ast.parse(formula.strip(), mode="eval").body, names, functions)


def names_in(formula: str) -> set[str]:
    """Return the names of parameters and functions in a formula.

    Raises
    ------
    SyntaxError : it is none.
    """
    tree = ast.parse(formula.strip(), mode="eval")
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _value(node: ast.expr, names: Mapping[str, Any], functions: Mapping[str, Callable]) -> Any:
    """Evaluate one node of a formula."""
    match node:
        case ast.Constant(value=int() | float() | str() as constant):  # text: a name of something
            return constant
        case ast.Name(id=name):
            if name not in names:
                raise ValueError(f"no parameter {name!r}, {nearest(name, names)}")
            return names[name]
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            both = (_value(part, names, functions) for part in (left, right))
            return OPERATORS[type(sign)](*both)
        case ast.Call(func=ast.Name(id=name), args=inputs, keywords=[]) if name in functions:
            return functions[name](*(_value(entry, names, functions) for entry in inputs))
    raise ValueError(f"`{ast.unparse(node)}` is no part of such a formula")
