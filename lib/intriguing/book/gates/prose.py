"""Find the numbers that a page states in words: decimals and percentages outside maths and code.

A measured number must come from a record (`run.markdown`, a table file), so a number typed into
prose is allowed only if it is a paper's value or a parameter.  A number that is neither, such as a
definition, is written as mathematics, or declared in a comment::

    <!-- not measured: 0.5, 2.8 (definitions) -->
"""

import ast
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.attrs import attrs_plugin
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

# directives whose body is not prose, and those whose argument is a file
_NO_PROSE = {"math", "code", "code-block", "code-cell", "literalinclude", "eval-rst",
             "bibliography", "include", "toctree", "mermaid", "raw"}
_FILES = {"figure", "image", "include", "literalinclude", "video"}
_FENCE = re.compile(r"^\s*(?:`{3,}|~{3,}|:{3,})\{", re.MULTILINE)
_DIRECTIVE = re.compile(r"\{([^{}\s]+)\}(.*)")
_CODE = {"code_inline", "myst_role", "comment"}
_WORDS = {"text", "softbreak", "hardbreak", "link_open", "span_open"}  # stand as they are
_LABELLED = {"link_close", "span_close", "image"}
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"<[a-zA-Z/][^>]*>")
_NOT_PROSE = (
    re.compile(r"\b(?:https?|ftp)://\S+|\bwww\.\S+"),
    re.compile(r"\b(?:arXiv|doi)[:\s]\s*\S+", re.IGNORECASE),
    re.compile(r"\b(?:python|pytorch|torch|torchvision|cuda|jupyter book|sphinx|numpy|scipy|version"
               r"|by|by-sa|apache|gpl)\s*(?:[<>=~]=?|-|or)?\s*v?\d+\.\d+", re.IGNORECASE),
    re.compile(r"(?:\b(?:sections?|secs?\.?|tables?|tab\.|figures?|figs?\.?|eqs?\.?|equations?"
               r"|chapters?|appendix|theorem|lemma|algorithm)|\u00a7)[\s~(]*\d+(?:\.\d+)+",
               re.IGNORECASE),
)
_DECLARED = re.compile(r"<!--\s*not measured:(.*?)-->", re.DOTALL)
_MARKS = r"[*_~]*"  # of emphasis, which may end before the unit: **12** %
_NUMBER = re.compile(r"(?:(?<![\w.])|(?<=(?<!\w)_)|(?<=(?<!\w)__)|(?<=(?<!\w)___))"
                     r"(\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\.?\d)"
                     rf"({_MARKS}\s*{_MARKS}(?:%|per\s?cent\b))?")
_EMPHASIS = re.compile(_MARKS)
_CANDIDATE = re.compile(r"\d\\?\.\d|[%&]|per\s?cent")  # a number may be there
_LEVEL = 0.95  # of every interval in the book
_FIELD = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


# ---------------------------------------------------------------- what is prose


@functools.cache
def parser() -> MarkdownIt:
    """Return a parser of MyST as `_config.yml` sets it up, whose tokens know where they stand."""
    md = MarkdownIt("commonmark").enable("table").use(front_matter_plugin).use(myst_block_plugin)
    md.use(myst_role_plugin).use(footnote_plugin).disable(["footnote_inline", "footnote_tail"])
    md.use(dollarmath_plugin, double_inline=True).use(colon_fence_plugin).use(amsmath_plugin)
    md.use(deflist_plugin).use(attrs_plugin, spans=True, span_after="footnote_ref",
                               after=("image", "code_inline", "link_close", "span_close"))
    md.disable(["emphasis", "text_join"])  # which split and join what is text
    rules = md.inline.ruler
    for name, rule in zip(rules.get_active_rules(), rules.getRules(""), strict=True):
        rules.at(name, _placed(rule))
    return md


def _placed(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """Return a rule of inline Markdown that notes in its last token where in the text it applied.

    With a link or picture the place begins at the end of what readers see of it.
    """
    def placed(state: StateInline, silent: bool) -> bool:
        start, before = state.pos, len(state.tokens)
        found = rule(state, silent)
        if found and not silent and not state.pending:  # what is pending is plain text
            token = state.tokens[-1]
            if len(state.tokens) == before:  # the attributes of the token before
                start = token.meta["place"][0]
            elif token.type in _LABELLED and token.markup != "autolink":
                start += token.type == "image"
                start = state.md.helpers.parseLinkLabel(state, start)
            token.meta = {**token.meta, "place": (start, state.pos)}
        return found

    return placed


def _visible(text: str, tokens: Sequence[Token], hidden: Set[str] | None) -> str:
    """Return inline Markdown as readers see it, without tokens of the `hidden` types (None: all).

    Line breaks stay, so that numbers of lines stay right.
    """
    parts, at = [], 0
    for token in tokens:
        comment = token.type == "html_inline" and token.content.startswith("<!--")
        kind = "comment" if comment else token.type
        if kind in _WORDS or not (hidden is None or kind in hidden):
            continue
        start, end = token.meta["place"]
        if kind == "image":  # its text has a count of its own
            parts += [text[at:start - len(token.content)],
                      _visible(token.content, token.children or [], hidden)]
        else:
            parts.append(text[at:start])
        seen = token.content if kind == "text_special" else " "
        parts.append(seen + "\n" * text.count("\n", start, end))
        at = end
    return "".join([*parts, text[at:]])


def _directive(token: Token) -> Iterator[tuple[int, str]]:
    """Yield (line within a fence, text) for the prose of a directive: its argument, its body."""
    found = _DIRECTIVE.match(token.info.strip())
    name, argument = found.groups() if found else ("", token.info)
    if name in _NO_PROSE or (not name and token.type == "fence"):
        return
    if name not in _FILES:
        yield 0, argument
    body, first = token.content.split("\n"), 0
    if body[0].startswith("---"):  # options as a block of YAML
        first = next((n for n, line in enumerate(body[1:], 2) if line.startswith("---")), len(body))
    else:
        while first < len(body) and re.match(r"\s*:(?!::)", body[first]):
            first += 1
    yield 1 + first, "\n".join(body[first:])


def _read(text: str, hidden: Set[str] | None, env: dict[str, Any]) -> str:
    """Return a text without code, maths blocks and `hidden` tokens; lines keep their numbers."""
    text = re.sub(r"\r\n?", "\n", text)
    lines = [""] * (text.count("\n") + 1)

    def put(first: int, words: str) -> None:
        for number, line in enumerate(words.split("\n"), start=first):
            if line.strip():  # cells of a table share theirs
                lines[number] = f"{lines[number]} | {line}" if lines[number] else line

    for token in parser().parse(text, env):
        first = token.map[0] if token.map else 0
        if token.type == "inline":
            put(first, _visible(token.content, token.children or [], hidden))
        elif token.type == "html_block":
            words = _COMMENT.sub(_blank, token.content)
            put(first, _TAG.sub(_blank, words) if hidden is None else words)
        elif token.type in ("fence", "colon_fence"):
            for below, part in _directive(token):
                put(first + below, _read(part, hidden, env))
    return "\n".join(lines)


def _blank(match: re.Match) -> str:
    """Return spaces of the same length, with the line breaks kept."""
    return re.sub(r"[^\n]", " ", match[0])


def without_code(text: str) -> str:
    """Return `text` without comments, code and the options of directives, line by line."""
    return _read(text, _CODE, {})


@functools.lru_cache(maxsize=1024)  # several gates ask
def prose_of(text: str) -> str:
    """Return what of `text` is prose, as readers see it; lines keep their numbers."""
    result = _read(text, None, {})
    for pattern in _NOT_PROSE:
        result = pattern.sub(_blank, result)
    return result


# ---------------------------------------------------------------- the numbers in it


def numbers(text: str) -> Iterator[tuple[int, str, float, bool]]:
    """Yield (line, as written, value, whether a percentage) for each number stated in prose."""
    if not _CANDIDATE.search(text):  # most texts: reading Markdown takes its time
        return
    for count, line in enumerate(prose_of(text).split("\n"), start=1):
        for match in _NUMBER.finditer(line):
            digits, percent = match[1].rstrip(","), bool(match[2])
            if percent or "." in digits:
                yield count, _EMPHASIS.sub("", match[0]), float(digits.replace(",", "")), percent


def unread(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each directive that Markdown takes for words, and readers see as such.

    Backticks in the first line of a fence of backticks do that, and hide what follows as code.
    """
    if _FENCE.search(text):
        for count, line in enumerate(prose_of(text).split("\n"), start=1):
            if _FENCE.match(line):
                yield count, line.strip()


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
