"""Look at the built HTML as a browser without a network would: do links lead anywhere?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_IMPORT = re.compile(r"@import\s+(?:url\()?\s*['\"]?\s*((?:https?:)?//[^'\")\s]+)")
_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
_LOADED_LINKS = {"stylesheet", "preload", "modulepreload"}


@dataclass
class Page(HTMLParser):
    """What one HTML page defines, links to and loads: (line, address) pairs."""

    anchors: set[str] = field(default_factory=set)
    links: list[tuple[int, str]] = field(default_factory=list)
    loaded: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what one tag defines and refers to."""
        found = {key: value or "" for key, value in attrs}
        line = self.getpos()[0]
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag in ("a", "area") and "href" in found:
            self.links.append((line, found["href"]))
        if tag in _LOADED and found.get(_LOADED[tag]):
            self.loaded.append((line, found[_LOADED[tag]]))
        if tag == "link" and _LOADED_LINKS & set(found.get("rel", "").lower().split()):
            self.loaded.append((line, found.get("href", "")))


def read(file: Path) -> Page:
    """Parse one HTML file."""
    page = Page()
    page.feed(file.read_text(encoding="utf-8", errors="replace"))
    page.close()
    return page


def dead(html_dir: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (page, line, what is wrong) for the HTML pages below a folder.

    Internal links and anchors that lead nowhere, files that a page loads and that are not there,
    and scripts, styles and pictures that come from another host (pages must render offline).
    """
    html_dir = html_dir.resolve()
    pages = {file: read(file) for file in sorted(html_dir.rglob("*.html"))
             if "_static" not in file.relative_to(html_dir).parts}
    for file, page in pages.items():
        name = file.relative_to(html_dir).as_posix()
        for line, address in page.loaded:
            if urlsplit(address).netloc:
                yield name, line, f"loads {address} from another host"
            elif why := _missing(address, file, html_dir, pages):
                yield name, line, why
        for line, address in page.links:
            if why := _missing(address, file, html_dir, pages):
                yield name, line, why
    for file in sorted(html_dir.rglob("*.css")):
        for match in _IMPORT.finditer(file.read_text(encoding="utf-8", errors="replace")):
            yield file.relative_to(html_dir).as_posix(), 1, f"loads {match[1]} from another host"


def _missing(address: str, file: Path, html_dir: Path, pages: dict[Path, Page]) -> str:
    """Return why an address leads nowhere; "" if it leads somewhere or out of the book."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"has the malformed address {address}"
    if parts.scheme or parts.netloc:
        return ""
    if parts.path.startswith("/"):
        return f"links to {address}: an address from the root of the host breaks on most hosts"
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target /= "index.html"
    if not target.is_file() or not target.is_relative_to(html_dir):
        return f"links to {address}, which is not there"
    anchor = unquote(parts.fragment)
    if anchor and anchor != "top" and target in pages and anchor not in pages[target].anchors:
        return f"links to {address}, an anchor that is not there"
    return ""
