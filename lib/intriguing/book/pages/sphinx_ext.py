"""A Sphinx extension for what the book's theme has no setting for.

The theme's Colab button opens the page's own file: for a chapter that is the executed copy under
`book/chapters/`, whose parameters are those of the published run and ask for full data sets.  A
reader who presses the button wants the source in `notebooks/`, whose defaults run at once.

Jupyter Book also puts thebe (live cells, through a server of others) on every page, declared twice,
which is a script error in every browser.  The book has no live cells: those scripts are left out.

And the library's docstrings say in one line what an argument is (`x : what it is`), where numpydoc
would put its type; the types are in the signatures.
"""

import re
from typing import Any

from sphinx.application import Sphinx

EXECUTED, SOURCE = "/book/chapters/", "/notebooks/"
UNDERLINE = re.compile(r"^\s*-{3,}\s*$")
ENTRY = re.compile(r"^(\s*)([\w.*]+(?:, [\w.*]+)*) : (.+)$")


def _is_thebe(script: Any) -> bool:
    """Whether an entry of the page's script list configures or loads thebe."""
    body = getattr(script, "attributes", {}).get("body") or ""
    return "thebe" in str(getattr(script, "filename", script) or "") or "THEBE_JS_URL" in body


def adapt_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Point the page's Colab button at the chapter's source notebook; drop the thebe scripts."""
    groups = [item for item in context.get("header_buttons", []) if item.get("type") == "group"]
    for button in (button for group in groups for button in group["buttons"]):
        if button.get("text") == "Colab":
            button["url"] = button["url"].replace(EXECUTED, SOURCE)
    scripts = context.get("script_files", [])
    context["script_files"] = [script for script in scripts if not _is_thebe(script)]


def describe_arguments(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Rewrite `x : what it is` so that Sphinx takes the words for a description, not for a type.

    In a numpydoc section: a name, and its description below it.  Elsewhere (an indented block may
    follow): a field.
    """
    in_section, in_field, rewritten = False, False, []
    for line in lines:
        in_section = in_section or bool(UNDERLINE.match(line))
        entry = ENTRY.match(line)
        if entry and in_section:
            rewritten += [entry[1] + entry[2], f"{entry[1]}    {entry[3]}"]
        elif entry and not entry[1]:
            rewritten += [] if in_field else [""]
            rewritten.append(f":param {entry[2]}: {entry[3]}")
            in_field = True
        else:
            if in_field and line[:1].strip():  # back at the margin
                rewritten.append("")
                in_field = False
            rewritten.append(line)
    lines[:] = rewritten


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx: after the theme (501) has made its buttons, before napoleon."""
    app.connect("html-page-context", adapt_page, priority=900)
    app.connect("autodoc-process-docstring", describe_arguments, priority=400)  # napoleon: 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
