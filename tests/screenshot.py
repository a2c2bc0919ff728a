"""Take the README's picture of the book from built pages:  python tests/screenshot.py

Shows a part of a chapter of `_build/published` (or of the build named as first argument), from the
element with the id of the second argument on.
"""

import base64
import sys
import tempfile
from pathlib import Path

import bookbuild
import test_pages


class Folders:
    """Stands in for pytest's factory of temporary folders."""

    def mktemp(self, name: str) -> Path:
        """Return a new folder."""
        return Path(tempfile.mkdtemp(prefix=name))


def main(build: str = "published", anchor: str = "table-02-distortion") -> None:
    """Write book/_static/screenshot.png."""
    (name, *_) = bookbuild.chapter_names()
    html = bookbuild.html_dir(None if build == "published" else build)
    page = html / "book" / "chapters" / f"{name}.html"
    steps = test_pages.open_browser(Folders())
    browser = next(steps)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(page.as_uri())
    browser.execute_async_script(
        "const done = arguments[1];"
        "const at = document.getElementById(arguments[0]);"
        "const go = () => window.scrollTo("
        "  0, at ? at.getBoundingClientRect().top + scrollY - 60 : 0);"
        "MathJax.startup.promise.then(() => {"
        "  setTimeout(go, 1000); setTimeout(done, 2000);"  # pictures and equations move the page
        "})",
        anchor,
    )
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    (bookbuild.ROOT / "book" / "_static" / "screenshot.png").write_bytes(base64.b64decode(picture))
    steps.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
