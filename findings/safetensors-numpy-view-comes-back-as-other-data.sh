#!/usr/bin/env bash
# safetensors 0.8.0 saves a transposed numpy array without an error, and loads it as other data.
#
# One expects:    load(save(array)) equals array, or save raises, as it does for such a torch tensor.
# What happens:   0.7.0 keeps its word. 0.8.0 writes the memory that lies under a view in the order in which it
#                 lies there, with the view's shape: a transposed array, an image turned from HWC to CHW, a
#                 Fortran-ordered matrix come back with their numbers in other places. Shape, dtype, sum and
#                 maximum still agree, so a quick look or a checksum of totals passes.
# Why it matters: perturbations are stored from transposed views all the time. Read back, such a perturbation
#                 has the same norm in any p, and is noise: the attack seems not to transfer.
# What we do:     np.ascontiguousarray before saving, and compare after loading.
# Seen with:      safetensors 0.8.0 (0.7.0 is right), numpy 2.4.6 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6
for version in 0.7.0 0.8.0; do
    "$work/venv/bin/pip" install --quiet --no-deps --target "$work/$version" safetensors==$version
done

cat > "$work/check.py" <<'PY'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

print("safetensors", safetensors.__version__, "| numpy", np.__version__)
delta = np.random.default_rng(0).normal(size=(8, 8, 3)).astype(np.float32)
arrays = {
    "as it was made, HWC": delta,
    "view in CHW order": delta.transpose(2, 0, 1),
    "Fortran-ordered matrix": np.asfortranarray(delta[..., 0]),
    "CHW, made contiguous": np.ascontiguousarray(delta.transpose(2, 0, 1)),
}
right = {}
for name, array in arrays.items():
    back = load(save({"delta": array}))["delta"]
    right[name] = np.array_equal(back, array)
    norms = f"L2 norm {np.linalg.norm(array):.4f} -> {np.linalg.norm(back):.4f}"
    print(f"    {name:<24} {'equal' if right[name] else 'OTHER DATA':<10} shape {back.shape}, {norms}")
sys.exit(0 if all(right.values()) else 3 if right["CHW, made contiguous"] else 1)
PY

status=()
for version in 0.7.0 0.8.0; do
    code=0
    PYTHONPATH="$work/$version" "$work/venv/bin/python" "$work/check.py" || code=$?
    status+=("$code")
done
if [ "${status[*]}" != "0 3" ]; then
    echo "Changed: safetensors 0.7.0 and 0.8.0 no longer differ on arrays that are not contiguous." >&2
    exit 1
fi
echo "As described: 0.7.0 returns what was saved, 0.8.0 other data for views."
