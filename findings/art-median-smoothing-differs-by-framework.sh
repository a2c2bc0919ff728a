#!/usr/bin/env bash
# ART's median smoothing for PyTorch and its version for numpy are two different filters.
#
# One expects:    SpatialSmoothingPyTorch is SpatialSmoothing with gradients: same window, same images.
# What happens:   of the four values in a 2x2 window, numpy's takes the third, PyTorch's the second; they
#                 place the window one pixel apart, and they continue the image differently beyond its edge
#                 (with or without repeating the last pixel). So even at 3x3 the borders differ; at 2x2,
#                 the size that feature squeezing uses, almost every pixel does.
# Why it matters: the defence that an adaptive attack differentiates through is not the defence that is
#                 reported. An attack on one can fail on the other for no good reason.
# What we do:     use one implementation for attack and for evaluation, and compare both on random images.
# Seen with:      adversarial-robustness-toolbox 1.20.1, kornia 0.9.0, scipy 1.17.1, torch 2.13.0 on
#                 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 packaging==26.4 kornia==0.9.0 \
    adversarial-robustness-toolbox==1.20.1

OMP_NUM_THREADS=1 "$work/venv/bin/python" -W ignore - <<'PY'
import art
import kornia
import numpy as np
import torch
from art.defences.preprocessor import SpatialSmoothing, SpatialSmoothingPyTorch

print("ART", art.__version__, "| kornia", kornia.__version__, "| torch", torch.__version__)
ramp = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
noise = np.random.default_rng(0).uniform(size=(20, 1, 28, 28)).astype(np.float32)


def smooth(kind, window, images):
    return np.asarray(kind(window_size=window, channels_first=True, clip_values=(0, 15))(images)[0])


print("numbers 0 to 15 in a square, window 2: numpy's and PyTorch's")
for left, right in zip(smooth(SpatialSmoothing, 2, ramp)[0, 0], smooth(SpatialSmoothingPyTorch, 2, ramp)[0, 0]):
    print("   ", *(f"{v:3.0f}" for v in left), "   |", *(f"{v:3.0f}" for v in right))

differs, inside = {}, {}
for window in (2, 3, 4, 5):
    gap = np.abs(smooth(SpatialSmoothing, window, noise) - smooth(SpatialSmoothingPyTorch, window, noise))
    differs[window], inside[window] = (gap > 1e-6).mean(), (gap[..., 4:-4, 4:-4] > 1e-6).mean()
    print(f"window {window}: pixels that differ {differs[window]:6.1%}, away from the border {inside[window]:6.1%},"
          f" by up to {gap.max():.2f}")

# The lower middle of each 2x2 window, shifted by one pixel, is what PyTorch's version computes.
numpys, torchs = smooth(SpatialSmoothing, 2, noise), smooth(SpatialSmoothingPyTorch, 2, noise)
blocks = np.sort(np.stack([noise[..., i:27 + i, j:27 + j] for i in (0, 1) for j in (0, 1)]), axis=0)
upper, lower = np.allclose(numpys[..., 1:, 1:], blocks[2]), np.allclose(torchs[..., 1:, 1:], blocks[1])
print(f"2x2: numpy's is the third of four values: {upper}; PyTorch's the second: {lower}")

if not (differs[2] > 0.5 and inside[3] == 0 < differs[3]):
    raise SystemExit("Changed: ART's two median filters now agree at 2x2 or at the borders of 3x3.")
print("As described: one name, two filters.")
PY
