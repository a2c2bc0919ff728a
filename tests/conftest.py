"""What all tests share: one thread, no window, no network, and a tiny book to run things in."""

import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bookbuild
import nbformat
import pytest
import yaml

# none of the imports above loads torch, numpy or matplotlib: it is early enough for these
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ["MPLBACKEND"] = "Agg"
# a shell that starts tests in the background has them ignore Ctrl-C, and what they start with them
signal.signal(signal.SIGINT, signal.default_int_handler)

PARAMETERS = """\
profile = "smoke"  # str, scale of the run
n_images = 3  # int, images
eps = 8/255  # float, L_inf budget in pixel units
networks = ["a", "b"]  # list[str], networks
subset = None  # int or None, images
squared = True  # bool, penalty on the squared norm
"""


def until(what: Callable[[], object], seconds: float = 120) -> object:
    """Wait until `what` is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return found


def _is_local(address: Any) -> bool:
    """Say whether a socket address stays on this machine."""
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(address[0])
    try:
        return host in ("localhost", "") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def session_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Tell `bookbuild` the folder that all processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    bookbuild.shared = base.parent if hasattr(request.config, "workerinput") else base


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first: shared out among processes, they would end last."""
    items.sort(key=lambda item: "longest" not in item.keywords)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every connection that would leave this machine an error."""

    def guard(name: str) -> None:
        real = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if not _is_local(address):
                raise OSError(f"tests have no network, and something asked for {address}")
            return real(self, address)

        monkeypatch.setattr(socket.socket, name, connect)

    guard("connect")
    guard("connect_ex")
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        if not _is_local((host or "",)):
            raise socket.gaierror(f"tests have no network, and something looked up {host}")
        return resolve(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


class TinyBook:
    """A book in a temporary folder, with chapters that a test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "notebooks" / "profiles").mkdir(parents=True)
        (root / "book").mkdir()
        (root / "_toc.yml").write_text("format: jb-book\nroot: book/index\n", encoding="utf-8")
        self.scales: dict[str, dict[str, dict]] = {"smoke": {}, "cpu": {}}

    def add(
        self, name: str, *code: str, parameters: str = PARAMETERS, title: str = "A tiny chapter",
        **scales: dict[str, Any],
    ) -> Path:
        """Write a chapter of code cells behind a title and a parameters cell; return its path."""
        cells = [nbformat.v4.new_markdown_cell(f"# {title}\n\nOne claim."),
                 nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
                 *(nbformat.v4.new_code_cell(text) for text in code)]
        for number, cell in enumerate(cells):
            cell["id"] = f"c{number}"
        path = self.root / "notebooks" / f"{name}.ipynb"
        path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)), encoding="utf-8")
        for profile in self.scales:
            self.scales[profile][name] = scales.get(profile, {})
        self.write_profiles()
        return path

    def write_profiles(self) -> None:
        """Write the profile files as `scales` stands."""
        for profile, chapters in self.scales.items():
            path = self.root / "notebooks" / "profiles" / f"{profile}.yml"
            path.write_text(yaml.safe_dump(chapters), encoding="utf-8")

    def with_workflow(self) -> "TinyBook":
        """Give the book the workflow of the real one; return it."""
        house = Path(__file__).resolve().parents[1]
        shutil.copy2(house / "Snakefile", self.root)
        shutil.copytree(house / "workflow", self.root / "workflow")
        return self

    def processes(self) -> dict[int, str]:
        """Return {pid: command} of the processes that have this book in their environment."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                text = (path / "environ").read_bytes().split(b"\0")
                if f"INTRIGUING_ROOT={self.root}".encode() in text:
                    found[int(path.name)] = (path / "cmdline").read_bytes().decode()
        return {pid: command for pid, command in found.items() if pid != os.getpid()}

    def kill(self) -> None:
        """Kill all processes that have this book in their environment."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def files(self, *ignored: str) -> set[str]:
        """Return all files below the root, but for those whose path has an ignored part."""
        found = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return {path.as_posix() for path in found if not set(path.parts) & set(ignored)}


@pytest.fixture
def tiny_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyBook:
    """An empty book that `intriguing` takes for its own."""
    book = TinyBook(tmp_path / "a book")
    monkeypatch.setenv("INTRIGUING_ROOT", str(book.root))
    for variable in ("INTRIGUING_RESULTS", "INTRIGUING_DEVICE", "INTRIGUING_DATA"):
        monkeypatch.delenv(variable, raising=False)
    return book
