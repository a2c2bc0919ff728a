#!/bin/sh
# Runs the book from a folder that `intriguing wheelhouse` made, on a machine without a network.
#
#   ./run.sh                          runs the profile that was collected, and renders the pages
#   ./run.sh run 02 --profile smoke   any other command of `intriguing`
#   PYTHON=/path/to/python3.12 ./run.sh
#
# The first call compares every file with its checksum and installs into ./venv; later calls do
# neither, until the folder is moved or collected again.  Nothing is written outside this folder.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
venv=$here/venv

fail() {
  echo "run.sh: $*" >&2
  exit 1
}

[ -f "$here/MANIFEST.sha256" ] || fail "there is no MANIFEST.sha256 in $here: collecting or" \
  "copying was interrupted; call \`intriguing wheelhouse\` again, or copy the folder again"
if command -v sha256sum >/dev/null; then sums=sha256sum; else sums="shasum -a 256"; fi
# it is a script to this one: not a line of it is read before it is what was collected
(cd "$here" && grep '  settings$' MANIFEST.sha256 | $sums -c -) >/dev/null 2>&1 ||
  fail "the file settings is not the one that was collected: copy the folder again"
python='' profile='' torch=''  # set by the next line
# shellcheck source=/dev/null
. "$here/settings"
stamp="$here $($sums <"$here/MANIFEST.sha256")"

ready() { [ "$(cat "$venv/.ready" 2>/dev/null)" = "$stamp" ]; }

check() {
  said=$(cd "$here" && $sums -c MANIFEST.sha256 2>&1) || {
    echo "$said" | grep -v ': OK$' >&2
    fail "the files above are not those that were collected: copy the folder again"
  }
}

choose_python() {
  if [ -z "${PYTHON:-}" ]; then
    PYTHON=python$python
    command -v "$PYTHON" >/dev/null || PYTHON=python3
  fi
  found=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || found=none
  [ "$found" = "$python" ] || fail "the wheels are for Python $python, and $PYTHON is $found:" \
    "name the right one, as in PYTHON=/path/to/python$python ./run.sh"
}

# The folders in which this Python finds packages, its own modules left out.
node_packages='
import importlib.metadata, os, sys, sysconfig
for name in ("torch", "torchvision"):
    importlib.metadata.version(name)
own = sysconfig.get_path("stdlib")
print(*[p for p in sys.path if os.path.isdir(p) and p not in (own, own + "/lib-dynload")], sep="\n")
'

install() {
  check
  choose_python
  if [ "$torch" = node ]; then
    packages=$("$PYTHON" -c "$node_packages") ||
      fail "the torch and torchvision of this machine were to be used, and $PYTHON has not both:" \
        "load the module that has them, name another PYTHON, or collect without --torch-from-node"
  fi
  echo "run.sh: installing into $venv (once)" >&2
  rm -rf "$venv"
  "$PYTHON" -m venv "$venv" || fail "$PYTHON cannot make environments (Debian: python3-venv)"
  if [ "$torch" = node ]; then
    echo "$packages" >"$venv/lib/python$python/site-packages/node.pth"
  fi
  unset PYTHONPATH PYTHONHOME
  # the set is complete and was checked: nothing is left to resolve, and no index to look into
  set -- --disable-pip-version-check --quiet --no-index --find-links "$here/wheels" --no-deps
  "$venv/bin/python" -m pip install "$@" --no-compile --ignore-installed -r "$here/wheels.txt"
  "$venv/bin/python" -m pip install "$@" --editable "$here/book"
  echo "$stamp" >"$venv/.ready"
}

if ! ready; then
  for name in $(env | sed -n 's/^\(PIP_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
  export PIP_CONFIG_FILE=/dev/null  # no index of this account's either
  exec 9>"$here/.lock"
  if command -v flock >/dev/null; then flock 9 || :; fi  # several jobs may start at once
  ready || install
  exec 9>&-
  unset PIP_CONFIG_FILE
fi

unset PYTHONPATH PYTHONHOME
export PATH="$venv/bin:$PATH"
if [ -d "$here/torch" ]; then export TORCH_HOME="$here/torch"; fi
[ $# -gt 0 ] || set -- build --profile "$profile"
exec "$venv/bin/python" -m intriguing "$@"
