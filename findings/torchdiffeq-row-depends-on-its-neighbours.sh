#!/usr/bin/env bash
# An adaptive solver of torchdiffeq gives an image another answer in another batch, far beyond its tolerance.
#
# One expects:    rows of a batch are solved side by side; with tolerances of 1e-3, the row of one image is
#                 within about that of the exact solution, whatever else is in the batch.
# What happens:   one step size serves the whole batch, and it is chosen by the root mean square of the
#                 error over all its numbers. Quiet neighbours dilute the error of a lively row: beside
#                 resting rows it is ten times as large as alone. Fixed steps have no such effect.
# Why it matters: predictions of a neural ODE change with the batch size, so an adversarial image found in
#                 one batch may fail in the next, and robust accuracy depends on the data loader.
# What we do:     evaluate in batches that stay the same, check found images again alone, or use fixed steps.
# Seen with:      torchdiffeq 0.2.5, torch 2.13.0 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 torchdiffeq==0.2.5

OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
from torchdiffeq import odeint

print("torchdiffeq", version("torchdiffeq"), "| torch", torch.__version__)
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
weight = torch.randn(3, 3)
row, times = torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([0.0, 5.0])


def dynamics(t, state):
    return torch.sin(state @ weight.T) - 0.1 * state


def end(batch, tolerance=1e-3, **options):
    return odeint(dynamics, batch, times, rtol=tolerance, atol=tolerance, **options)[-1][:1]


exact = end(row, tolerance=1e-12)
batches = {
    "alone": row,
    "with 63 copies of itself": row.repeat(64, 1),
    "with 63 resting rows": torch.cat([row, torch.zeros(63, 3)]),
    "with 1 hectic row": torch.cat([row, torch.tensor([[200.0, -300.0, 100.0]])]),
}
error = {}
for name, batch in batches.items():
    error[name] = (end(batch, method="dopri5") - exact).abs().max().item()
    print(f"dopri5, tolerance 1e-3: error of the row {name:<25} {error[name]:.5f}")
fixed = [end(batch, method="rk4", options=dict(step_size=0.1)) for batch in batches.values()]
spread = max((f - fixed[0]).abs().max().item() for f in fixed)
print(f"rk4, steps of 0.1: largest difference between these batches {spread:.1e}")

resting, hectic = error["with 63 resting rows"], error["with 1 hectic row"]
if not (resting > 5 * error["alone"] and hectic < 0.5 * error["alone"] and spread < 1e-12):
    raise SystemExit("Changed: the error of a row no longer depends on the rows that are solved beside it.")
print("As described: the neighbours decide how exactly a row is solved.")
PY
