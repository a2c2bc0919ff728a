#!/usr/bin/env bash
# A numpy number glued with a format leaves a hole in the sentence of the page, and the build succeeds.
#
# One expects:    glue("rate", value) and {glue:text}`rate:.1%` print the rate, be it Python's or numpy's float;
#                 np.float64 even is a float.
# What happens:   the number travels as the text that it shows itself by. Since numpy 2 that is
#                 np.float64(0.934), which MyST-NB cannot read back as a number. It warns and renders nothing: "The
#                 attack succeeds on of the images." Without a format the page says np.float64(0.934).
# Why it matters: an executable book puts its numbers into its sentences that way, and means over images are
#                 numpy numbers. The build's exit status is 0; a page that worked under numpy 1 loses its results.
# What we do:     glue float(value) or a finished string, and build with warnings as errors.
# Seen with:      myst-nb 1.4.0, Sphinx 9.0.4, numpy 2.4.6, ipykernel 7.4.0 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet myst-nb==1.4.0 sphinx==9.0.4 numpy==2.4.6 ipykernel==7.4.0

cd "$work"
export PATH="$work/venv/bin:$PATH" PYDEVD_DISABLE_FILE_VALIDATION=1
mkdir book
cat > book/conf.py <<'PY'
extensions = ["myst_nb"]
nb_execution_mode = "force"
PY
cat > book/index.md <<'MD'
---
file_format: mystnb
kernelspec: {name: python3}
---
# Result

```{code-cell}
import numpy as np
from myst_nb import glue
rate = np.array([1.0, 0.868]).mean()
glue("numpy", rate)
glue("python", float(rate))
```

numpy, formatted: the attack succeeds on {glue:text}`numpy:.1%` of the images.

numpy, as it is: the attack succeeds on {glue:text}`numpy` of the images.

Python, formatted: the attack succeeds on {glue:text}`python:.1%` of the images.
MD

pip list 2>/dev/null | grep -iE "^(myst-nb|numpy|sphinx) "
code=0
sphinx-build -q -b text book out 2>log || code=$?
echo "sphinx-build: exit status $code"
grep -o "WARNING: Failed.*" log || true
grep "the attack succeeds" out/index.txt

if [ "$code" != 0 ] || ! grep -q "^numpy, formatted: the attack succeeds on *of the images" out/index.txt ||
    ! grep -q "^Python, formatted: the attack succeeds on 93.4% of" out/index.txt; then
    echo "Changed: MyST-NB now renders a glued numpy number with a format." >&2
    exit 1
fi
echo "As described: the formatted numpy number is missing from the page."
