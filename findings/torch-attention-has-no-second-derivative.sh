#!/usr/bin/env bash
# On a CPU, PyTorch's fused attention can be differentiated once and not twice, in ready-made layers too.
#
# One expects:    what softmax and two matrix products can do, scaled_dot_product_attention can do as well.
# What happens:   one backward pass works, so training and PGD run. A second derivative raises a RuntimeError
#                 that names an internal operator; forward-mode derivatives raise too. TransformerEncoderLayer
#                 is affected in train and in eval mode. The same formula written out has all derivatives, and
#                 so has the fused call when it is told to use its "math" backend.
# Why it matters: gradient penalties, input-Jacobian regularisers, curvature measures and second-order
#                 attacks work on a convolutional net and fail on the first vision transformer.
# What we do:     write attention out in small models; elsewhere select the math backend around the forward
#                 pass, and test second derivatives on a tiny model before a long run.
# Seen with:      torch 2.13.0, on a CPU, on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6

OMP_NUM_THREADS=1 "$work/venv/bin/python" -W ignore - <<'PY'
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

print("torch", torch.__version__)
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)


def fused(x):
    return F.scaled_dot_product_attention(x, x, x)


def written_out(x):
    return (x @ x.mT / x.shape[-1] ** 0.5).softmax(-1) @ x


def fused_with_math_backend(x):
    with sdpa_kernel(SDPBackend.MATH):
        return fused(x)


def encoder_layer(x):
    return layer(x[0])


def penalty(f):
    """The gradient of a squared gradient norm, as in a gradient penalty."""
    x = torch.randn(1, 2, 4, 8, requires_grad=True)
    first, = torch.autograd.grad(f(x).square().sum(), x, create_graph=True)
    torch.autograd.grad(first.square().sum(), x)


def tangent(f):
    x = torch.randn(1, 2, 4, 8)
    torch.func.jvp(f, (x,), (torch.ones_like(x),))


def outcome(test, f):
    try:
        test(f)
        return "works"
    except (RuntimeError, NotImplementedError) as error:
        print(f"    {f.__name__}: {str(error).splitlines()[0][:110]}")
        return "raises"


x = torch.randn(1, 2, 4, 8)
print("largest difference, fused and written out:", (fused(x) - written_out(x)).abs().max().item())
seen = {f.__name__: (outcome(penalty, f), outcome(tangent, f))
        for f in (fused, encoder_layer, written_out, fused_with_math_backend)}
for name, (second, forward) in seen.items():
    print(f"{name:<25} second derivative {second:<7} forward mode {forward}")

if not (seen["fused"] == ("raises", "raises") and seen["encoder_layer"][0] == "raises"
        and seen["written_out"] == seen["fused_with_math_backend"] == ("works", "works")):
    raise SystemExit("Changed: PyTorch's fused attention on a CPU is no longer limited to one derivative.")
print("As described: fused attention stops at the first derivative.")
PY
