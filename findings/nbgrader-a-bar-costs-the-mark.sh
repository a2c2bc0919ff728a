#!/usr/bin/env bash
# nbgrader gives a test cell that passed 0 points for a progress bar, and 0.93 for ending on an accuracy.
#
# One expects:    a test cell that runs to its end without an error gets all its points.
# What happens:   the mark is read off the outputs, in order. Any text on standard error counts as an error: a
#                 warning of a library or a progress bar makes it 0 points. If the cell ends with an
#                 expression that shows a number, that number is the mark: a passed test of 5 points that
#                 ends on the accuracy, 0.93, earns 0.93 points. A number that is printed is harmless.
# Why it matters: exercises on attacks run loops with progress bars and end on success rates. Students lose
#                 points for right answers, and which ones depends on the versions of other libraries.
# What we do:     end each test cell with its assertions, and silence bars and warnings in tests; grade a
#                 model solution first, and see that it gets full marks.
# Seen with:      nbgrader 0.9.5, nbclient 0.11.0, ipykernel 7.4.0, tqdm 4.70.1 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet nbgrader==0.9.5 nbclient==0.11.0 ipykernel==7.4.0 tqdm==4.70.1

cd "$work"
export PATH="$work/venv/bin:$PATH" PYDEVD_DISABLE_FILE_VALIDATION=1
python - <<'PY'
import subprocess
from importlib.metadata import version

from nbclient import NotebookClient
from nbformat import v4 as nb
from nbgrader.utils import determine_grade

print("nbgrader", version("nbgrader"), "| nbclient", version("nbclient"), "| tqdm", version("tqdm"))
answer = "rate = 0.93\n"
tests = {  # all pass
    "assertion only": answer + "assert rate > 0.9",
    "number printed": answer + "assert rate > 0.9\nprint(rate)",
    "number shown at the end": answer + "assert rate > 0.9\nrate",
    "True shown at the end": answer + "assert rate > 0.9\nrate > 0.9",
    "progress bar": answer + "from tqdm import tqdm\nfor step in tqdm(range(3)): pass\nassert rate > 0.9",
    "deprecation warning": answer + "import warnings\nwarnings.warn('old', FutureWarning)\nassert rate > 0.9",
    "assertion fails": answer + "assert rate > 0.95",
}
mark = {"nbgrader": {"grade": True, "solution": False, "locked": True, "points": 5, "schema_version": 3}}
cells = [nb.new_code_cell(test, metadata={"nbgrader": mark["nbgrader"] | {"grade_id": f"test-{i}"}})
         for i, test in enumerate(tests.values())]
book = nb.new_notebook(cells=cells)
NotebookClient(book, kernel_name="python3", allow_errors=True).execute(stderr=subprocess.DEVNULL)

seen = {}
for name, cell in zip(tests, book.cells):
    seen[name], points = determine_grade(cell)
    failed = any(output.output_type == "error" for output in cell.outputs)
    print(f"{name:<24} {'FAILED' if failed else 'passed'}: {seen[name]} of {points} points")

if list(seen.values()) != [5, 5, 0.93, 5, 0, 0, 0]:
    raise SystemExit("Changed: nbgrader's marks no longer depend on bars, warnings and numbers shown.")
print("As described: of six tests that pass, three cost the student points.")
PY
