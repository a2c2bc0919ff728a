#!/usr/bin/env bash
# When a kernel dies, the notebook that papermill leaves says "completed" of every cell and of no exception.
#
# One expects:    the metadata that papermill writes into the output tells a run that ended well from one that
#                 did not; its cells have a status for that.
# What happens:   execute_notebook raises DeadKernelError and the command has a non-zero exit status. But the
#                 file on disk has status "completed" in each cell, also in those that never ran, exception
#                 None for the notebook, start and end times and a duration. No output holds an error.
# Why it matters: kernels die where memory runs out, which is in the longest attacks. A later step that
#                 gathers "completed" notebooks from a cluster publishes a chapter whose second half is empty.
# What we do:     believe the exit status only; keep the output under another name until it is 0; and treat a
#                 code cell without an execution count as not run.
# Seen with:      papermill 2.7.0, nbclient 0.11.0, ipykernel 7.4.0 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet papermill==2.7.0 nbclient==0.11.0 ipykernel==7.4.0

cd "$work"
export PATH="$work/venv/bin:$PATH" PYDEVD_DISABLE_FILE_VALIDATION=1
python - <<'PY'
import nbformat
from nbformat import v4 as nb

cells = [
    "print('attack begins')",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)  # as the kernel of the system does, out of memory",
    "print('results')",
]
book = nb.new_notebook(cells=[nb.new_code_cell(source) for source in cells])
book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(book, "chapter.ipynb")
PY

code=0
papermill chapter.ipynb run.ipynb --no-progress-bar >log 2>&1 || code=$?
echo "papermill: exit status $code, last words: $(tail -n 1 log)"

python - "$code" <<'PY'
import json
import sys
from importlib.metadata import version

print("papermill", version("papermill"), "| nbclient", version("nbclient"))
run = json.load(open("run.ipynb"))
whole = run["metadata"]["papermill"]
cells = [(cell["metadata"]["papermill"]["status"], cell["metadata"]["papermill"]["exception"],
          cell["execution_count"], len(cell["outputs"])) for cell in run["cells"]]
print(f"notebook: exception {whole['exception']}, ended {whole['end_time'] is not None}")
for number, (status, exception, count, outputs) in enumerate(cells):
    print(f"cell {number}: status {status}, exception {exception}, execution count {count}, outputs {outputs}")

if not (sys.argv[1] != "0" and whole["exception"] is None and all(cell[0] == "completed" for cell in cells)
        and cells[2][2] is None):
    raise SystemExit("Changed: papermill's metadata now tells a killed kernel from a completed run.")
print("As described: the exit status knows, the notebook does not.")
PY
