#!/usr/bin/env bash
# A convolution under PyTorch's spectral_norm can stretch its input almost threefold.
#
# One expects:    the largest singular value of the layer is 1, as it is for a linear layer: products over
#                 layers then bound how far a perturbation can grow.
# What happens:   the kernel is reshaped to a matrix (channels out x the rest) and that matrix is normalised.
#                 A convolution applies it at overlapping places, so its norm as an operator is larger, up to
#                 the square root of the number of kernel positions: 3 for 3x3, 5 for 5x5. Box kernels
#                 come close to that. Random kernels exceed 1 too.
# Why it matters: bounds by products of layer norms are among the oldest statements about adversarial
#                 examples. With this normalisation a net of ten convolutions called 1-Lipschitz may not be
#                 so by a factor of thousands, and the certificate is void.
# What we do:     compute the norm of the operator on the image size at hand, by power iteration or FFT.
# Seen with:      torch 2.13.0 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6

OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import torch
from torch.nn.utils.parametrizations import spectral_norm

print("torch", torch.__version__)
torch.manual_seed(0)


def operator_norm(layer, shape):
    """The largest singular value of the layer's exact Jacobian on inputs of this shape."""
    with torch.no_grad():
        basis = torch.eye(torch.Size(shape).numel()).reshape(-1, *shape)
        return torch.linalg.matrix_norm(layer(basis).flatten(1), 2).item()


def normalised(layer, shape, box=False):
    if box:
        torch.nn.init.ones_(layer.weight)
    layer = spectral_norm(layer)
    with torch.no_grad():
        for _ in range(200):  # each call in training mode is one step of power iteration
            layer(torch.zeros(1, *shape))
    return layer.eval()


layers = {
    "linear 64 -> 64": (torch.nn.Linear(64, 64, bias=False), (64,), False),
    "3x3 conv, box kernel": (torch.nn.Conv2d(1, 1, 3, padding=1, bias=False), (1, 20, 20), True),
    "5x5 conv, box kernel": (torch.nn.Conv2d(1, 1, 5, padding=2, bias=False), (1, 20, 20), True),
    "3x3 conv, 8 channels, random": (torch.nn.Conv2d(8, 8, 3, padding=1, bias=False), (8, 10, 10), False),
}
seen = {}
for name, (layer, shape, box) in layers.items():
    layer = normalised(layer, shape, box)
    matrix = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
    seen[name] = operator_norm(layer, shape)
    print(f"{name:<30} norm of the reshaped kernel {matrix:.3f}, of the layer {seen[name]:.3f}")

linear, box3, box5, random = seen.values()
if not (abs(linear - 1) < 1e-2 and box3 > 2.8 and box5 > 4.4 and random > 1.2):
    raise SystemExit("Changed: spectral_norm now bounds the norm of a convolution as an operator.")
print("As described: 1 for the linear layer, well above 1 for the convolutions.")
PY
