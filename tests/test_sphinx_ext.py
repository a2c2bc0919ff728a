"""What the book adds to its theme: docstrings, the Colab button, no thebe."""

from types import SimpleNamespace

import pytest

from intriguing.book.pages.sphinx_ext import adapt_page, describe_arguments


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (  # numpydoc would take the words for a type
            ["Do it.", "", "Parameters", "----------", "x, y : two images.", "    More."],
            ["Do it.", "", "Parameters", "----------", "x, y", "    two images.", "    More."],
        ),
        (  # in running text a block may follow, and then the text goes on
            ["Do it.", "", "mode : one of", "    two.", "k : int", "Returns nothing."],
            ["Do it.", "", "", ":param mode: one of", "    two.", ":param k: int", ""]
            + ["Returns nothing."],
        ),
        (["A ratio of 1 : 2."], ["A ratio of 1 : 2."]),
    ],
)
def test_arguments_are_described(before: list[str], after: list[str]) -> None:
    lines = list(before)
    describe_arguments(None, "function", "f", None, None, lines)
    assert lines == after


def test_page_is_adapted() -> None:
    url = "https://colab.research.google.com/github/a/b/blob/main/book/chapters/02-x.ipynb"
    buttons = [{"text": "Colab", "url": url}, {"text": "Other", "url": url}]
    own = SimpleNamespace(filename="_static/custom.js", attributes={})
    declared = SimpleNamespace(filename=None, attributes={"body": "const THEBE_JS_URL = 1"})
    loaded = SimpleNamespace(filename="_static/sphinx-thebe.js", attributes={})
    context = {
        "header_buttons": [{"type": "group", "buttons": buttons}, {"type": "link"}],
        "script_files": [own, declared, loaded],
    }
    adapt_page(None, "02-x", "page.html", context, None)
    assert buttons[0]["url"].endswith("/blob/main/notebooks/02-x.ipynb")
    assert buttons[1]["url"] == url
    assert context["script_files"] == [own]
