#!/usr/bin/env bash
# pip download for another Python picks that Python's wheels, but its own Python's dependencies.
#
# One expects:    --python-version X collects what an install under X will ask for: files that fit X, and the
#                 requirements whose markers are true under X.
# What happens:   the option chooses among files only. A marker such as python_version < "3.12" is evaluated for
#                 the Python that pip itself runs on. The folder lacks what only the target needs, and holds
#                 what it doesn't. pip reports success; the install fails later, where there is no network.
# Why it matters: executable books are carried to compute nodes without a network as a folder of wheels, and
#                 many of their packages have such markers. --platform and sys_platform behave alike.
# What we do:     fill the folder with pip of the target's own version, and try an install with --no-index
#                 from it before it is carried anywhere.
# Seen with:      pip 26.3 under Python 3.11 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pip==26.3
cd "$work"

# A package without code that needs tomli on the Python that runs this, and six on every other one.
here=$(venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
target=3.10
[ "$here" != "$target" ] || target=3.12
venv/bin/python - "$here" <<'PY'
import sys
import zipfile

info, here = "marked-1.0.dist-info", sys.argv[1]
files = {
    "METADATA": "Metadata-Version: 2.1\nName: marked\nVersion: 1.0\n"
                f'Requires-Dist: tomli==2.2.1; python_version == "{here}"\n'
                f'Requires-Dist: six==1.17.0; python_version != "{here}"\n',
    "WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "".join(f"{info}/{name},,\n" for name in ("METADATA", "WHEEL", "RECORD")),
}
with zipfile.ZipFile("marked-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(f"{info}/{name}", text)
PY

venv/bin/pip --version | cut -d ' ' -f 1-2
echo "pip runs on Python $here, downloads for Python $target, where the package needs six and no tomli"
venv/bin/pip download --quiet --only-binary=:all: --python-version "$target" --dest wheels marked-1.0-py3-none-any.whl
echo "in the folder:"
(cd wheels && printf '    %s\n' *)

if [ -n "$(find wheels -name 'six-*')" ] || [ -z "$(find wheels -name 'tomli-*')" ]; then
    echo "Changed: pip download now evaluates markers for the Python that it downloads for." >&2
    exit 1
fi
echo "As described: the target gets a package that it does not need, and lacks the one that it does."
