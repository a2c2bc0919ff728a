"""Papermill with a kernel of our own: this very interpreter, whatever kernels the user installed.

Our kernel manager is told of one kernel and asks for no other, and IPython's own folder is a
temporary one, so neither a user's `python3` kernel nor the start-up files in the home folder can
interfere, and nothing is left behind.
"""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

ENGINE = "intriguing"
START_TIMEOUT = 180  # s; a cold network file system takes its time
OUTPUT_TIMEOUT = 60  # s to wait for the rest of a cell's output; the default 4 s fails under load

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")
            if hasattr(signal, name)]  # Windows has no SIGHUP


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP while a few files change places, until they have.

    A mask of signals would not do: it holds for one thread, and another one would take them.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main one
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number))
              for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


@contextlib.contextmanager
def own_kernel(folder: Path) -> Iterator[Any]:
    """Yield a kernel manager for this interpreter; at the end no process of it is left.

    Parameters
    ----------
    folder : where the kernel finds how to reach us.
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class OneKernel(KernelSpecManager):
        """Knows this interpreter, by whatever name, and looks for no other kernel."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(display_name=kernel_name, language="python", argv=[
                sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
                "--log-level=50",  # else words about TCP and about being shut down
                "--HistoryManager.hist_file=:memory:"])

    manager = AsyncKernelManager(
        kernel_name=ENGINE, kernel_spec_manager=OneKernel(),
        connection_file=str(folder / "connection.json"))
    try:
        yield manager
    except KeyboardInterrupt:
        # the cut-off tasks of the notebook client would be reported as this process ends
        logging.getLogger("asyncio").disabled = True
        raise
    finally:
        with uninterrupted():
            _end(manager)


def _end(manager: Any) -> None:
    """Kill what is left of the kernel, with its children (it leads a process group of its own)."""
    process = getattr(getattr(manager, "provisioner", None), "process", None)
    if process is None:
        return
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


def execute(
    notebook: "NotebookNode",
    parameters: Mapping[str, Any],
    *,
    output: Path,
    folder: Path,
    environment: Mapping[str, str],
    on_cell: Callable[[], None] | None = None,
) -> "NotebookNode":
    """Run a notebook through papermill in a kernel of our own and return the executed copy.

    Parameters
    ----------
    notebook : the source; it is not changed.
    parameters : values written into a cell behind the one tagged `parameters`.
    output : where papermill keeps the copy, written after each cell.
    folder : working directory of the kernel.
    environment : variables set for the kernel.
    on_cell : called as each code cell starts.

    Raises
    ------
    papermill.exceptions.PapermillExecutionError : a cell raised.
    nbclient.exceptions.DeadKernelError : the kernel died; the message goes on from "died".
    """
    from nbclient.exceptions import DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.execute import execute_notebook

    quiet = logging.Logger("intriguing.kernel")  # what it would say is in the error that follows
    quiet.addHandler(logging.NullHandler())

    processes = []  # the manager forgets its process as soon as that is gone

    def started(cell: "NotebookNode", **_: Any) -> None:  # called for Markdown, too
        processes.append(manager.provisioner.process)
        if on_cell is not None and cell.cell_type == "code" and cell.source.strip():
            on_cell()

    with (
        tempfile.TemporaryDirectory(prefix="intriguing-", ignore_cleanup_errors=True) as tmp,
        own_kernel(Path(tmp)) as manager,
    ):
        # not as part of a kernel's specification, in which jupyter replaces $NAME
        variables = {**os.environ, **environment, "IPYTHONDIR": str(Path(tmp, "ipython"))}

        class Engine(NBClientEngine):
            """Papermill's own engine, given our kernel manager."""

            @classmethod
            def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **_: Any) -> None:
                PapermillNotebookClient(
                    nb_man,
                    km=manager,
                    kernel_name=kernel_name,
                    timeout=None,
                    startup_timeout=START_TIMEOUT,
                    iopub_timeout=OUTPUT_TIMEOUT,
                    resources={"metadata": {"path": str(folder)}},
                    coalesce_streams=True,  # else the number of outputs depends on timing
                    on_cell_start=started,
                    log=quiet,
                ).execute(cleanup_kc=True, env=variables)

        papermill_engines.register(ENGINE, Engine)
        try:
            return execute_notebook(
                notebook,
                str(output).replace("{", "{{").replace("}", "}}"),  # papermill formats the path
                # papermill writes a tuple as its repr in quotes
                {key: list(value) if isinstance(value, tuple) else value
                 for key, value in parameters.items()},
                engine_name=ENGINE,
                kernel_name=manager.kernel_name,
                language="python",
                progress_bar=False,
            )
        except DeadKernelError as error:
            status = processes[-1].poll() if processes and processes[-1] else None
            raise DeadKernelError(how_it_ended(status)) from error


def how_it_ended(status: int | None) -> str:
    """Say how a kernel died, from the exit status of its process: "" where there is none.

    Memory is named only for the signal that a system short of it sends, and for C++'s way of
    ending a program whose request for memory nobody answered.
    """
    if status is None:
        return ""
    if status >= 0:
        return f" with exit status {status}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-status).name
        short = {"SIGKILL": ", which the system sends where memory runs out (or somebody did)",
                 "SIGABRT": " (memory that could not be had, perhaps)"}
        return f" of {name}{short.get(name, '')}"
    return f" of signal {-status}"
