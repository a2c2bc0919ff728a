"""A Sphinx extension for the one thing the book's theme has no setting for.

The theme's Colab button opens the page's own file: for a chapter that is the executed copy under
`book/chapters/`, whose parameters are those of the published run and ask for full data sets.  A
reader who presses the button wants the source in `notebooks/`, whose defaults run at once.
"""

from typing import Any

from sphinx.application import Sphinx

EXECUTED, SOURCE = "/book/chapters/", "/notebooks/"


def open_source_notebook(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Point every Colab button of the page at the chapter's source notebook."""
    groups = [item for item in context.get("header_buttons", []) if item.get("type") == "group"]
    for button in (button for group in groups for button in group["buttons"]):
        if button.get("text") == "Colab":
            button["url"] = button["url"].replace(EXECUTED, SOURCE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx, after the theme (priority 501) has made its buttons."""
    app.connect("html-page-context", open_source_notebook, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
