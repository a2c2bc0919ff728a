"""Text that somebody wrote into a file of the book, as MyST shows it: word for word, or nearly."""

import html
import re

_MARKUP = re.compile(r"[<>&{}`]|\]\(|\]\[|!\[|\]:")


def escaped(text: object) -> str:
    """Return a text for the midst of a line: no tag, directive, role, link or picture is in it.

    Emphasis and formulas stay what they are: claims use them.
    """
    line = " ".join(str(text).split())
    return _MARKUP.sub(lambda match: "".join(_entity(sign) for sign in match[0]), line)


def _entity(sign: str) -> str:
    """Return a sign as Markdown shows it and does not read it."""
    return html.escape(sign) if sign in "<>&" else f"&#{ord(sign)};"


def code_span(text: object) -> str:
    """Return a text in backticks, more of them than it has, so that nothing in it is read."""
    line = " ".join(str(text).split())
    longest = max(map(len, re.findall("`+", line)), default=0)
    if not longest:
        return f"`{line}`"
    ticks = "`" * (longest + 1)
    return f"{ticks} {line} {ticks}"
