"""Is a Markdown text safe to render, whoever wrote it?

MyST has directives and roles that read files, take HTML as it stands, or run code.  A text that
came out of a program may use those of a short list; the prose of a chapter some more.
"""

import functools
import re
from collections.abc import Iterator

from markdown_it.token import Token

from intriguing.book.gates import markup, prose
from intriguing.book.gates.markup import words

_BOXES = words("admonition attention caution danger error hint important list-table math note"
               " seealso table tip warning")
_CHAPTER = _BOXES | words("code code-block csv-table exercise exercise-end exercise-start figure"
                          " glossary image solution solution-end solution-start")
_ROLES = words("abbr cite cite:p cite:t citep citet code doc download emphasis eq kbd math numref"
               " ref strong sub sup term")
_LITERAL = frozenset(("math", "code", "code-block"))
_FILES = frozenset(("figure", "image"))  # their argument is a file
_INFO = re.compile(r"\{([^{}]*)\}(.*)")
_OPTION = re.compile(r"^\s*:?(file|url|target)\s*:(.*)$", re.MULTILINE | re.IGNORECASE)
_TITLED = re.compile(r".*<([^<>]*)>\s*", re.DOTALL)
_TEX = re.compile(r"\\(?:href|style|require|includegraphics|data|class|cssId)\b")
_COMMENT = re.compile(r"<!--[^<>]*-->")


@functools.lru_cache(maxsize=1024)  # a page has the prose of its source
def wrong(text: str, *, chapter: bool = False) -> tuple[str, ...]:
    """Return what in a Markdown text may not be on a page.

    Parameters
    ----------
    chapter : the text is prose of a chapter; else it came out of a program.
    """
    return tuple(_tokens(prose.parser().parse(text, {}), chapter))


def _tokens(tokens: list[Token], chapter: bool) -> Iterator[str]:
    """Yield what is wrong with a row of tokens, and with those inside them."""
    seen = "".join(token.content for token in tokens if token.type == "text")
    if "{{" in seen or "{%" in seen:
        yield "a substitution {{...}}"
    for token in tokens:
        if token.type in ("html_block", "html_inline"):
            yield from markup.in_html(_COMMENT.sub("", token.content) if chapter else token.content)
        elif token.type in ("fence", "colon_fence"):
            yield from _fence(token, chapter)
        elif token.type == "front_matter" and not chapter:
            yield "settings of a page between lines of ---"
        elif token.type == "myst_role":
            yield from _role(token)
        elif token.type == "link_open":
            yield from markup.in_address(str(token.attrs.get("href", "")))
        elif token.type == "image":
            yield from _picture(str(token.attrs.get("src", "")))
        elif "math" in token.type:
            yield from _maths(token.content)
        yield from _tokens(token.children or [], chapter)


def _fence(token: Token, chapter: bool) -> Iterator[str]:
    """Yield what is wrong with a fence: its directive, the files it names, what is inside."""
    found = _INFO.match(token.info.strip())
    if found is None:
        if token.type == "colon_fence":  # a plain box of text
            yield from wrong(token.content, chapter=chapter)
        return
    name, argument = found[1].strip(), found[2].strip()
    if name not in (_CHAPTER if chapter else _BOXES):
        yield f"the directive {{{name}}}"
        return
    for option, value in _OPTION.findall(token.content):
        if option.lower() == "url":
            yield f"the directive {{{name}}} with :url:"
        else:
            yield from markup.in_address(value.strip().strip("\"'"))
    if name in _FILES:
        yield from _picture(argument)
    elif name not in _LITERAL:
        yield from wrong(argument, chapter=chapter)
    if name == "math":
        yield from _maths(f"{argument}\n{token.content}")
    elif name not in _LITERAL:
        yield from wrong(token.content, chapter=chapter)


def _role(token: Token) -> Iterator[str]:
    """Yield what is wrong with a role."""
    name = str(token.meta["name"])
    if name not in _ROLES:
        yield f"the role {{{name}}}"
    elif name == "math":
        yield from _maths(token.content)
    elif name == "download":
        titled = _TITLED.fullmatch(token.content)
        yield from markup.in_address(titled[1] if titled else token.content)


def _picture(address: str) -> Iterator[str]:
    """Yield what is wrong with the address of a picture: it comes with the book."""
    if re.match(r"\s*(?:\w+:|//)", address) and not address.startswith("data:image/"):
        yield f"a picture that is loaded from {address[:60]!r}"
    elif not address.startswith("data:image/"):
        yield from markup.in_address(address)


def _maths(content: str) -> Iterator[str]:
    """Yield the commands of TeX that MathJax turns into links, styles and loads."""
    for match in _TEX.finditer(content):
        yield f"the command {match[0]} in a formula"
