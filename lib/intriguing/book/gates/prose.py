"""Find the numbers that a page states in words: decimals and percentages outside maths and code.

A measured number must come from a record (`run.markdown`, a table file), so a number typed into
prose is allowed only if it is a paper's value or a parameter.  A number that is neither, such as a
definition, is written as mathematics, or declared in a comment::

    <!-- not measured: 0.5, 2.8 (definitions) -->
"""

import ast
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# directives whose body is not prose, and those whose argument is a file
_NO_PROSE = {"math", "code", "code-block", "code-cell", "literalinclude", "eval-rst",
             "bibliography", "include", "toctree", "mermaid", "raw"}
_FILES = {"figure", "image", "include", "literalinclude", "video"}
_FENCE = re.compile(r"^\s*(`{3,}|~{3,}|:{3,})\s*(?:\{([\w:.-]+)\})?(.*)$")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SPAN = re.compile(r"(?:\{[\w:.-]+\})?(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)  # code spans and roles
_NOT_PROSE = (
    re.compile(r"^\s*%.*$", re.MULTILINE),  # a MyST comment
    re.compile(r"^\s*\[[^\]]+\]:\s.*$", re.MULTILINE),  # the target of a reference link
    re.compile(r"\$\$.*?\$\$", re.DOTALL),
    re.compile(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL),
    re.compile(r"\\\[.*?\\\]|\\\(.*?\\\)", re.DOTALL),
    re.compile(r"(?<![\\$])\$(?!\s)[^$\n]*(?:\n[^$\n]+)*?(?<![\s\\])\$"),
    re.compile(r"\]\([^)\s]*(?:\s+\"[^\"]*\")?\)"),  # the target of a link or picture
    re.compile(r"<[a-zA-Z/][^>]*>"),  # HTML tags and <https://...>
    re.compile(r"\b(?:https?|ftp)://\S+|\bwww\.\S+"),
    re.compile(r"\b(?:arXiv|doi)[:\s]\s*\S+", re.IGNORECASE),
    re.compile(r"\[@[^\]]*\]"),
    re.compile(r"\b(?:python|pytorch|torch|torchvision|cuda|jupyter book|sphinx|numpy|scipy|version"
               r"|by|by-sa|apache|gpl)\s*(?:[<>=~]=?|-|or)?\s*v?\d+\.\d+", re.IGNORECASE),
    re.compile(r"(?:\b(?:sections?|secs?\.?|tables?|tab\.|figures?|figs?\.?|eqs?\.?|equations?"
               r"|chapters?|appendix|theorem|lemma|algorithm)|\u00a7)[\s~(]*\d+(?:\.\d+)+",
               re.IGNORECASE),
)
_DECLARED = re.compile(r"<!--\s*not measured:(.*?)-->", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])(\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\.?\d)"
                     r"(\s?(?:%|per\s?cent\b))?")
_LEVEL = 0.95  # of every interval in the book
_FIELD = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


def _blank(match: re.Match) -> str:
    """Return spaces of the same length, with the line breaks kept."""
    return re.sub(r"[^\n]", " ", match[0])


def without_code(text: str) -> str:
    """Return `text` with comments, code and the options of directives blanked, line by line."""
    lines, stack, options, block = [], [], False, False
    for line in text.split("\n"):
        if block or (options and line.strip() == "---"):  # options as a block of YAML
            block = line.strip() != "---" if block else True
            lines.append("")
            continue
        fence = _FENCE.match(line)
        inside = stack[-1] if stack else None  # (fence, whether its body is prose)
        if fence and inside and not fence[2] and not fence[3].strip() and (
            fence[1][0] == inside[0][0] and len(fence[1]) >= len(inside[0])
        ):
            stack.pop()
            lines.append("")
        elif inside and not inside[1]:
            lines.append("")
        elif fence:
            name = fence[2]
            prose = bool(name and name not in _NO_PROSE) or (not name and fence[1][0] == ":")
            stack.append((fence[1], prose))
            options = True
            keep = prose and name not in _FILES
            lines.append(fence[3] if keep else "")
            continue
        elif options and re.match(r"^\s*:[\w-]+:", line):
            lines.append("")
            continue
        else:
            lines.append(line)
        options = False
    return _SPAN.sub(_blank, _COMMENT.sub(_blank, "\n".join(lines)))


def prose_of(text: str) -> str:
    """Return `text` with everything that is not prose blanked; lines keep their numbers."""
    result = without_code(text)
    for pattern in _NOT_PROSE:
        result = pattern.sub(_blank, result)
    return result


def numbers(text: str) -> Iterator[tuple[int, str, float, bool]]:
    """Yield (line, as written, value, whether a percentage) for each number stated in prose."""
    for count, line in enumerate(prose_of(text).split("\n"), start=1):
        for match in _NUMBER.finditer(line):
            digits, percent = match[1].rstrip(","), bool(match[2])
            if percent or "." in digits:
                yield count, match[0], float(digits.replace(",", "")), percent


def declared(text: str) -> set[float]:
    """Return the numbers that a text declares as not measured."""
    return {
        float(number[1].rstrip(",").replace(",", ""))
        for comment in _DECLARED.finditer(text)
        for number in _NUMBER.finditer(comment[1])
    }


def typed(text: str, allowed: Iterable[float]) -> list[tuple[int, str]]:
    """Return (line, number as written) for each number in prose that is not in `allowed`.

    A percentage fits its value as a fraction too: "6.7 %" fits 6.7 and 0.067.
    """
    known = [*allowed, *declared(text)]

    def fits(value: float) -> bool:
        return any(math.isclose(value, abs(other), rel_tol=1e-9) for other in known)

    return [
        (line, written) for line, written, value, percent in numbers(text)
        if not (fits(value) or percent and (fits(value / 100) or value / 100 == _LEVEL))
    ]


def values(item: Any) -> Iterator[float]:
    """Yield every number in nested parameters; bools are none."""
    if isinstance(item, Mapping):
        for part in item.values():
            yield from values(part)
    elif isinstance(item, list | tuple):
        for part in item:
            yield from values(part)
    elif isinstance(item, int | float) and not isinstance(item, bool):
        yield float(item)


def templates(code: str) -> Iterator[str]:
    """Yield the literal text that code passes to `.markdown(...)`, its fields blanked."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) \
                and call.func.attr == "markdown":
            for node in (n for argument in call.args for n in ast.walk(argument)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield _FIELD.sub(" ", node.value)
