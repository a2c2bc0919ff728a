#!/usr/bin/env bash
# papermill -p targeted false runs the targeted attack: the notebook gets the text 'false', which is true.
#
# One expects:    a value on the command line is read the way the parameter's own kind or YAML would read it:
#                 false is a bool, [0, 1] a list, null is nothing.
# What happens:   -p knows Python's own True, False and None, ints and floats. Everything else arrives as text:
#                 false and null are non-empty and so count as true, and [0, 1] has six elements, "[", "0",
#                 ",", ... to loop over. Option -y reads the same words as YAML and gets them all right, but
#                 it turns 1e-3, which -p reads as a number, into text: no option is right for both.
# Why it matters: a sweep over targeted=true,false runs the same experiment twice and reports no difference;
#                 nothing fails.
# What we do:     give each parameter its kind in one place, check what arrives in the notebook's first cell.
# Seen with:      papermill 2.7.0, ipykernel 7.4.0 on 2026-11-30.
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

default = nb.new_code_cell("targeted = True", metadata={"tags": ["parameters"]})
use = nb.new_code_cell("print(repr(targeted), 'targeted' if targeted else 'untargeted', sep='|')")
book = nb.new_notebook(cells=[default, use])
book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(book, "attack.ipynb")
PY

run() {  # run OPTION VALUE...: what the notebook printed
    papermill attack.ipynb out.ipynb "$@" --no-progress-bar >log 2>&1
    python -c "import json; print(json.load(open('out.ipynb'))['cells'][-1]['outputs'][0]['text'][0].strip())"
}
pip list 2>/dev/null | grep -E "^(papermill|ipykernel) "
declare -A dash_p dash_y
for value in False false null "[0, 1]" 1e-3; do
    dash_p[$value]=$(run -p targeted "$value")
    dash_y[$value]=$(run -y "targeted: $value")
    printf '%-8s with -p: %-22s with -y: %s\n' "$value" "${dash_p[$value]}" "${dash_y[$value]}"
done

if [[ ${dash_p[False]} != "False|untargeted" || ${dash_p[false]} != "'false'|targeted" ||
    ${dash_y[false]} != "False|untargeted" || ${dash_p["[0, 1]"]} != "'[0, 1]'|targeted" ||
    ${dash_p[1e-3]} != "0.001|targeted" || ${dash_y[1e-3]} != "'1e-3'|targeted" ]]; then
    echo "Changed: papermill's -p or -y now read false, lists or numbers in another way." >&2
    exit 1
fi
echo "As described: false given with -p runs the targeted attack."
