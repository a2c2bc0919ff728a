"""Is a piece of HTML or SVG safe to put on a page, whoever wrote it?

HTML is held against a strict grammar, in which every browser sees what is seen here: tags and
attributes of a list, values in quotes or plain, no "<" but that of a tag, no comment.  SVG is XML:
expat reads it.  Nothing may run a script or load anything; a picture stands in the text itself.
"""

import html
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit
from xml.parsers import expat


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TAGS = words(
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure"
    " h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s small span strong style sub summary"
    " sup table tbody td tfoot th thead tr u ul var wbr")
ATTRIBUTES = words(
    "align alt aria-describedby aria-hidden aria-label border cellpadding cellspacing class colspan"
    " dir headers height href id lang open reversed role rowspan scope scoped span src start style"
    " title type valign width")
SVG_TAGS = words(
    "circle clipPath cc:Agent cc:Work dc:creator dc:date dc:description dc:format dc:language"
    " dc:publisher dc:rights dc:source dc:subject dc:title dc:type defs desc ellipse g image line"
    " linearGradient marker mask metadata path pattern polygon polyline radialGradient rdf:RDF"
    " rdf:Bag rdf:li rect stop style svg symbol text textPath title tspan use")
_SCHEMES = ("http", "https", "mailto")
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
_ATTRIBUTE = re.compile(
    r"""\s+([A-Za-z][\w:-]*)(?:\s*=\s*("[^"<>]*"|'[^'<>]*'|[^\s"'=<>`]+))?""")
_TAG = re.compile(rf"<(/?)([A-Za-z][A-Za-z0-9]*)((?:{_ATTRIBUTE.pattern})*)\s*/?>")
_STYLE = re.compile(r"<style\b[^<>]*>([^<]*)", re.IGNORECASE)
_CSS = re.compile(r"@(?:import|font-face|charset|namespace)|\b(?:url|src|image|image-set|expression"
                  r"|-moz-binding|behavior)\s*\(|javascript:|\\", re.IGNORECASE)


def in_html(text: str) -> Iterator[str]:
    """Yield what in a piece of HTML may not be on a page."""
    for match in re.finditer("<", text):
        tag = _TAG.match(text, match.start())
        if tag is None:
            yield f"`{text[match.start():match.start() + 40]}`: no plain HTML tag"
        elif tag[2].lower() not in TAGS:
            yield f"a <{tag[2].lower()}> tag"
        else:
            for name, value in _ATTRIBUTE.findall(tag[3]):
                yield from _in_attribute(tag[2].lower(), name.lower(), _value(value))
    for style in _STYLE.findall(text):
        yield from in_style(style)


def _value(written: str) -> str:
    """Return the value of an attribute as the browser reads it."""
    return html.unescape(written[1:-1] if written[:1] in ("'", '"') else written)


def _in_attribute(tag: str, name: str, value: str) -> Iterator[str]:
    if name not in ATTRIBUTES:
        yield f"the attribute {name} of <{tag}>"
    elif name == "style":
        yield from in_style(value)
    elif name == "src" and not _PICTURE.fullmatch(value):
        yield f"a picture that is loaded from {value[:60]!r}: it must stand in the text (data:)"
    elif name == "href":
        yield from in_address(value)


def in_style(css: str) -> Iterator[str]:
    """Yield what in a style may not be on a page: it loads, or hides what it does."""
    for match in _CSS.finditer(css):
        yield f"a style with {match[0]!r}"


def in_address(address: str, base: str = "book/chapters") -> Iterator[str]:
    """Yield why an address leads where no page may: out of the book, by a path or by a script.

    Parameters
    ----------
    address : of a link.
    base : the folder of the page.
    """
    bare = re.sub(r"[\x00-\x20\x7f-\xa0]", "", address)  # browsers leave these out
    try:
        parts = urlsplit(bare)
    except ValueError:
        yield f"the malformed address {address[:60]!r}"
        return
    path = unquote(parts.path)
    if parts.scheme:
        if parts.scheme.lower() not in _SCHEMES:
            yield f"an address that begins with {parts.scheme}:"
    elif parts.netloc or path.startswith("/") or "\\" in path or ":" in path:
        yield f"the address {address[:60]!r}, which is neither in the book nor whole"
    elif path and not _stays(path, base):
        yield f"the address {address[:60]!r}, which leads out of the book"


def _stays(path: str, base: str) -> bool:
    """Say whether a relative path from `base` stays below the first folder of `base`."""
    depth = base.count("/")  # steps up that are left
    for part in path.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return False
    return True


def in_svg(text: str) -> Iterator[str]:
    """Yield what in an SVG picture may not be on a page."""
    found: list[str] = []
    inside: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        inside.append(tag)
        if tag not in SVG_TAGS:
            found.append(f"a <{tag}> tag")
        for name, value in attributes.items():
            found.extend(_in_svg_attribute(tag, name, value))

    def end(tag: str) -> None:
        inside.pop()

    def data(content: str) -> None:
        if inside[-1:] == ["style"]:
            styles.append(content)

    def doctype(name: str, system: str, public: str, internal: int) -> None:
        if internal:
            found.append("a document type of its own")

    def instruction(target: str, content: str) -> None:
        found.append(f"an instruction <?{target}")

    styles: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = data, doctype
    parser.ProcessingInstructionHandler = instruction
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, ValueError) as error:
        found.append(f"no SVG that can be read ({error})")
    yield from found
    yield from in_style(_inner("".join(styles)))


def _in_svg_attribute(tag: str, name: str, value: str) -> Iterator[str]:
    local = name.rpartition(":")[2].lower()
    if local.startswith("on") or name == "xml:base":
        yield f"the attribute {name} of <{tag}>"
    elif local in ("href", "src"):
        if not value.startswith("#") and not _PICTURE.fullmatch(value):
            yield f"a <{tag}> that loads {value[:60]!r}"
    else:
        yield from in_style(_inner(value))


def _inner(css: str) -> str:
    """Return a style without what it takes from its own picture: url(#name)."""
    return re.sub(r"url\(\s*['\"]?#[\w.-]+['\"]?\s*\)", "none", css)
