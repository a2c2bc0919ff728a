"""Look at the built HTML as a browser without a network would: do links lead anywhere?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_OUTSIDE = r"""((?:(?:https?|wss?|ftp):)?//[^'"`)\s<>]+)"""
# in a style: what it imports and shows; in a script: what it asks for
_STYLE_LOADS = re.compile(r"(?:@import\s+|\b(?:url|src|image|image-set)\(\s*)(?:url\()?\s*['\"]?"
                          rf"\s*{_OUTSIDE}", re.IGNORECASE)
_SCRIPT_LOADS = re.compile(
    r"\b(?:fetch|import|importScripts|open|sendBeacon|Worker|SharedWorker|WebSocket|EventSource)"
    rf"\s*\(\s*(?:['\"`](?:GET|POST)['\"`]\s*,\s*)?['\"`]{_OUTSIDE}"
    rf"|\b(?:import|from)\s*['\"]{_OUTSIDE}|\.(?:src|href)\s*=\s*['\"`]{_OUTSIDE}")
_REFRESH = re.compile(r"^\s*[\d.]*\s*[;,]?\s*(?:url\s*=)?\s*['\"]?\s*([^'\"]*)", re.IGNORECASE)
# by tag the attributes that a browser loads
_LOADED = {
    "script": ("src", "href", "xlink:href"), "img": ("src", "srcset"), "iframe": ("src",),
    "frame": ("src",), "source": ("src", "srcset"), "object": ("data", "codebase", "classid"),
    "embed": ("src",), "video": ("src", "poster"), "audio": ("src",), "track": ("src",),
    "input": ("src",), "image": ("href", "xlink:href", "src"), "use": ("href", "xlink:href"),
    "feimage": ("href", "xlink:href"), "body": ("background",), "table": ("background",),
    "td": ("background",), "th": ("background",), "applet": ("code", "codebase", "archive"),
}
_LOADED_LINKS = {"stylesheet", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch",
                 "icon", "apple-touch-icon", "manifest", "prerender"}


@dataclass
class Page(HTMLParser):
    """What one HTML page defines, links to and loads: (line, address) pairs."""

    anchors: set[str] = field(default_factory=set)
    links: list[tuple[int, str]] = field(default_factory=list)
    loaded: list[tuple[int, str]] = field(default_factory=list)
    outside: list[tuple[int, str]] = field(default_factory=list)  # by a style or a script
    refreshed: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what one tag defines and refers to."""
        found = {key: value or "" for key, value in attrs}
        line = self.getpos()[0]
        self._inside = tag if tag in ("style", "script") else ""
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag in ("a", "area") and "href" in found:
            self.links.append((line, found["href"]))
        for key in _LOADED.get(tag, ()):
            value = found.get(key, "")
            several = _of_srcset(value) if key == "srcset" else [value]
            self.loaded += [(line, address) for address in several if address]
        if tag == "link" and _LOADED_LINKS & set(found.get("rel", "").lower().split()):
            self.loaded.append((line, found.get("href", "")))
            self.loaded += [(line, one) for one in _of_srcset(found.get("imagesrcset", ""))]
        if tag == "meta" and found.get("http-equiv", "").strip().lower() == "refresh":
            self.refreshed.append((line, _REFRESH.match(found.get("content", ""))[1]))
        if found.get("srcdoc"):
            inner = Page()
            inner.feed(found["srcdoc"])
            for part in ("links", "loaded", "outside", "refreshed"):
                getattr(self, part).extend((line, one) for _, one in getattr(inner, part))
        self._look(_STYLE_LOADS, found.get("style", ""), line)
        for key, value in found.items():
            if key.startswith("on"):
                self._look(_SCRIPT_LOADS, value, line)

    def handle_endtag(self, tag: str) -> None:
        """Leave a style or a script."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Look into the text of styles and scripts."""
        if self._inside:
            self._look(_STYLE_LOADS if self._inside == "style" else _SCRIPT_LOADS, data,
                       self.getpos()[0])

    def _look(self, pattern: re.Pattern, text: str, line: int) -> None:
        for match in pattern.finditer(text):
            self.outside.append((line + text.count("\n", 0, match.start()),
                                 next(filter(None, match.groups()))))


def _of_srcset(value: str) -> list[str]:
    """Return the addresses of a list of pictures, "a.png 1x, b.png 2x"."""
    return [] if value.strip().startswith("data:") else [
        part.split()[0] for part in value.split(",") if part.strip()]


def read(file: Path) -> Page:
    """Parse one HTML file."""
    page = Page()
    page.feed(file.read_text(encoding="utf-8", errors="replace"))
    page.close()
    return page


def dead(html_dir: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (page, line, what is wrong) for the HTML pages below a folder.

    Internal links and anchors that lead nowhere, files that a page loads and that are not there,
    scripts, styles, pictures and all else that comes from another host (pages must render offline),
    and pages that leave the book by themselves.
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
        for line, address in page.outside:
            yield name, line, f"loads {address} from another host"
        for line, address in page.refreshed:  # the first page of all leads so to that of the book
            if not address or urlsplit(address).netloc:
                yield name, line, f"leaves by itself for {address or 'its own address'}"
            elif why := _missing(address, file, html_dir, pages):
                yield name, line, why
        for line, address in page.links:
            if why := _missing(address, file, html_dir, pages):
                yield name, line, why
    for file in sorted(html_dir.rglob("*.css")):
        for match in _STYLE_LOADS.finditer(file.read_text(encoding="utf-8", errors="replace")):
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
