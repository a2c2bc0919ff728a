#!/usr/bin/env bash
# PyTorch's ways to clip to [0, 1] give the same numbers and three different slopes at 0 and at 1.
#
# One expects:    clamp, minimum of maximum, hardtanh and two ReLUs are one function, so that an attack that
#                 differentiates through the clip does not care how it is written.
# What happens:   at an input of exactly 0 or 1 the slope is 1 for clamp, 1/2 for minimum and maximum, 1 again
#                 for fmin and fmax, and 0 for hardtanh, relu6 and hand-made ReLU pairs. Each is a legal
#                 choice at a corner; they just differ.
# Why it matters: in images these two values are the most frequent ones. With a slope of 0, PGD through the
#                 clip can't move a black or white pixel, and a norm of the gradient shrinks; with 1/2 an L2
#                 step is turned. Replacing one clip by another changes robust accuracy.
# What we do:     take the gradient at the clipped image, with the clip outside the graph; test at 0 and 1.
# Seen with:      torch 2.13.0 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6

OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import torch
import torch.nn.functional as F

print("torch", torch.__version__)
zero, one = torch.zeros(()), torch.ones(())
clips = {
    "clamp": lambda x: x.clamp(0, 1),
    "fmin, fmax": lambda x: torch.fmin(torch.fmax(x, zero), one),
    "minimum, maximum": lambda x: torch.minimum(torch.maximum(x, zero), one),
    "hardtanh": lambda x: F.hardtanh(x, 0.0, 1.0),
    "relu6(6x) / 6": lambda x: F.relu6(6 * x) / 6,
    "1 - relu(1 - relu)": lambda x: 1 - F.relu(1 - F.relu(x)),
}
torch.manual_seed(0)
image = (torch.rand(100, 64) > 0.5).float()  # pixels of exactly 0 and 1
net = torch.nn.Linear(64, 10)
label = net(image).argmax(1)


def attacked(clip, steps=10, eps=0.1):
    """Accuracy under PGD that keeps delta free and differentiates through the clip."""
    delta = torch.zeros_like(image, requires_grad=True)
    for _ in range(steps):
        loss = F.cross_entropy(net(clip(image + delta)), label)
        gradient, = torch.autograd.grad(loss, delta)
        with torch.no_grad():
            delta.add_(0.02 * gradient.sign()).clamp_(-eps, eps)
    return (net(clip(image + delta)).argmax(1) == label).float().mean().item()


seen, corners = {}, torch.tensor([0.0, 0.5, 1.0])
for name, clip in clips.items():
    assert torch.equal(clip(torch.tensor([-1.0, 0, 1, 2])), torch.tensor([0.0, 0, 1, 1]))
    x = corners.clone().requires_grad_()
    clip(x).sum().backward()
    seen[name] = [abs(slope) for slope in x.grad.tolist()]
    print(f"{name:<20} slope at 0, 0.5, 1: {seen[name]}   accuracy under PGD: {attacked(clip):.0%}")

expected = {"clamp": 1, "fmin, fmax": 1, "minimum, maximum": 0.5, "hardtanh": 0, "relu6(6x) / 6": 0,
            "1 - relu(1 - relu)": 0}
if any(seen[name] != [slope, 1, slope] for name, slope in expected.items()):
    raise SystemExit("Changed: the slopes of PyTorch's clips at 0 and 1 are no longer 1, 1/2 and 0 as listed.")
print("As described: one function, three slopes.")
PY
