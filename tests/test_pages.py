"""A headless browser opens every built page: wide and narrow, light and dark, without a network.

What a reader would see as broken is what these tests look for: a script error, an equation that
stays TeX, an image that does not load, a table of no size, a page that scrolls sideways on a phone,
a request to any other machine.
"""

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import bookbuild
import pytest

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
VIEWS = {  # name: (width, height, colour scheme)
    "desktop-light": (1280, 900, "light"),
    "desktop-dark": (1280, 900, "dark"),
    "phone-light": (390, 844, "light"),
    "phone-dark": (390, 844, "dark"),
}
BUILDS = {"smoke": "smoke", "published": None}
PAGES = [*bookbuild.toc_files(), "genindex", "py-modindex", "search"]

# Opens what is folded, waits for the typesetting, then describes what a reader would see.
INSPECT = r"""
const done = arguments[arguments.length - 1];
(async () => {
  document.querySelectorAll("details").forEach((e) => { e.open = true; });
  document.querySelectorAll(".toggle-hidden").forEach((e) => e.classList.remove("toggle-hidden"));
  if (window.MathJax && MathJax.startup) { await MathJax.startup.promise; }
  await new Promise((frame) => requestAnimationFrame(() => requestAnimationFrame(frame)));
  await document.fonts.ready;
  const article = document.querySelector("article") || document.body;
  const images = [...document.querySelectorAll("img")];
  images.forEach((e) => { e.loading = "eager"; });
  await Promise.all(images.map((e) => e.decode().catch(() => null)));
  const shown = (e) => {
    const box = e.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && getComputedStyle(e).visibility === "visible";
  };
  const opaque = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/^(transparent|rgba\(.*, 0\))$/.test(colour)) { return colour; }
    }
    return "none";
  };
  const figures = [...article.querySelectorAll(".cell_output img, figure img")];
  const prose = article.cloneNode(true);
  prose.querySelectorAll("mjx-container, pre, code, script, style").forEach((e) => e.remove());
  const maths = [...article.querySelectorAll(".math")];
  done({
    theme: document.documentElement.dataset.theme,
    title: document.title,
    headings: article.querySelectorAll("h1").length,
    text: prose.textContent,
    maths: maths.length,
    untypeset: maths.filter((e) => !e.querySelector("mjx-container")).map((e) => e.textContent),
    mathErrors: [...article.querySelectorAll("mjx-merror, [data-mjx-error]")]
      .map((e) => e.getAttribute("data-mjx-error") || e.textContent),
    mathInvisible: [...article.querySelectorAll("mjx-container")].filter((e) => !shown(e)).length,
    mathFonts: [...document.fonts]
      .filter((f) => /^"?MJXTEX/.test(f.family) && f.status === "loaded").length,
    iconFonts: [...document.fonts]
      .filter((f) => /Font Awesome/.test(f.family) && f.status === "loaded").length,
    broken: images.filter((e) => e.getAttribute("src") && e.naturalWidth === 0).map((e) => e.src),
    hidden: [...figures, ...article.querySelectorAll("table")].filter((e) => !shown(e))
      .map((e) => e.outerHTML.slice(0, 160)),
    unnamed: figures.filter((e) => !(e.alt || "").trim()).map((e) => e.src),
    faces: figures.map(opaque),
    tables: document.querySelectorAll("article table").length,
    colab: [...document.querySelectorAll('a[href*="colab.research"]')].map((a) => a.href),
    width: document.documentElement.scrollWidth,
    wide: [...article.querySelectorAll("*")].filter((e) =>
      e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
      && !e.closest("pre, table, mjx-container, .cell_output .output, .output_area"))
      .slice(0, 5).map((e) => e.outerHTML.slice(0, 160)),
  });
})().catch((error) => done({ failed: String(error) }));
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, format: str, *args: object) -> None:
        """Drop the line."""


def open_browser(folders: pytest.TempPathFactory) -> Iterator:
    """Yield a headless Chromium that can resolve no host name but this machine's."""
    binary = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs chromium and chromedriver (apt install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={folders.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver)
    )
    chrome.set_page_load_timeout(60)
    chrome.set_script_timeout(60)
    yield chrome
    chrome.quit()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """The one browser of all tests."""
    yield from open_browser(tmp_path_factory)


@pytest.fixture(scope="session")
def sites() -> Iterator[dict[str, str]]:
    """Serve each built book on this machine; give its address by the name of the build."""
    servers = {}
    for name, profile in BUILDS.items():
        done = bookbuild.build(profile)
        assert done.returncode == 0, done.stdout + done.stderr
        handler = functools.partial(Quiet, directory=str(bookbuild.html_dir(profile)))
        servers[name] = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=servers[name].serve_forever, daemon=True).start()
    yield {name: f"http://127.0.0.1:{server.server_port}" for name, server in servers.items()}
    for server in servers.values():
        server.shutdown()
        server.server_close()


Sight = tuple[dict, list[str], list[str]]
sights: dict[tuple[str, str], Sight] = {}  # what was seen already, by address and view


def visit(browser, address: str, view: str) -> Sight:
    """Open a page; return what a reader sees, the console's errors and the addresses asked for.

    What was seen is not opened again.
    """
    if (address, view) not in sights:
        sights[address, view] = _visit(browser, address, view)
    return sights[address, view]


def _visit(browser, address: str, view: str) -> Sight:
    width, height, scheme = VIEWS[view]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for log in ("browser", "performance"):
        browser.get_log(log)  # what an earlier page left
    browser.get(address)
    seen = browser.execute_async_script(INSPECT)
    assert "failed" not in seen, seen["failed"]
    errors = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    return seen, errors, asked


def outside(asked: list[str]) -> list[str]:
    """Return the addresses that are on another machine."""
    hosts = {url: urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    return [url for url, host in hosts.items() if host not in ("127.0.0.1", "", None)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("build", BUILDS)
def test_page(browser, sites: dict[str, str], build: str, page: str, view: str) -> None:
    width, _, scheme = VIEWS[view]
    seen, errors, asked = visit(browser, f"{sites[build]}/{page}.html", view)
    assert errors == []
    assert outside(asked) == [], "the page asks another machine for something"
    assert seen["theme"] == scheme
    assert seen["headings"] == 1 or page not in bookbuild.toc_files()
    assert seen["broken"] == []
    assert seen["hidden"] == [], "figures or tables that have no size"
    assert seen["width"] <= width, f"the page scrolls sideways; too wide: {seen['wide']}"
    # Typesetting: every formula became glyphs of MathJax's own fonts, and none stayed TeX.
    assert seen["untypeset"] == []
    assert seen["mathErrors"] == []
    assert seen["mathInvisible"] == 0
    assert seen["mathFonts"] > 0 or seen["maths"] == 0
    for raw in ("$$", "\\(", "\\[", "\\frac", "\\mathbb", "\\norm", "\\arg", "\\lVert", "\\text{"):
        assert raw not in seen["text"], f"raw TeX on the page: {raw}"


@pytest.mark.parametrize("name", bookbuild.published_names())
@pytest.mark.parametrize("build", BUILDS)
def test_chapter_shows_results(browser, sites: dict[str, str], build: str, name: str) -> None:
    seen, _, _ = visit(browser, f"{sites[build]}/book/chapters/{name}.html", "desktop-dark")
    assert seen["maths"] > 0, "a chapter gives its method as an equation"
    assert seen["faces"], "a chapter has a figure"
    assert seen["unnamed"] == [], "figures without a text for those who cannot see them"
    assert set(seen["faces"]) == {"rgb(255, 255, 255)"}, "figures keep a white face in dark mode"
    assert seen["tables"] > 0, "a chapter has a table"


@pytest.mark.parametrize("name", bookbuild.published_names())
def test_colab_opens_the_source_notebook(browser, sites: dict[str, str], name: str) -> None:
    links = visit(
        browser, f"{sites['published']}/book/chapters/{name}.html", "desktop-light")[0]["colab"]
    assert links, "the chapter has no Colab button"
    assert all(link.endswith(f"/blob/main/notebooks/{name}.ipynb") for link in links), links


@pytest.mark.parametrize("build", BUILDS)
def test_pages_work_as_plain_files(browser, sites: dict[str, str], build: str) -> None:
    """Whoever opens the file that `make book` prints gets the same page, without a server."""
    html: Path = bookbuild.html_dir(BUILDS[build])
    for page in PAGES[:3]:
        seen, errors, asked = visit(browser, (html / f"{page}.html").as_uri(), "desktop-light")
        # The theme asks for its icon fonts a first time in a way that no browser allows a file.
        assert [line for line in errors if "/fontawesome/" not in line] == []
        assert seen["iconFonts"] > 0, "the second time they load"
        assert seen["untypeset"] == [] and seen["broken"] == []
        assert seen["mathFonts"] > 0 or seen["maths"] == 0
        assert outside(asked) == []
