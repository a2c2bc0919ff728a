#!/usr/bin/env bash
# The Carlini-Wagner attack of torchattacks leaves every pixel that is exactly black or white as it is.
#
# One expects:    the attack may move each pixel within [0, 1]; on black-and-white images it has the most room.
# What happens:   it works on w with x = (tanh w + 1) / 2. For a pixel at 0 or 1 that w is infinite, the slope
#                 of tanh there is zero, and the pixel never moves. No nan appears. On binary images the
#                 attack returns its input; with the pixels one thousandth away from the ends it finds all.
# Why it matters: most pixels of handwritten digits are exactly 0. A net looks robust there because the
#                 attack was confined to the grey rims of the strokes.
# What we do:     move images in by a margin that is stated, before a change of variables; and count the
#                 pixels at the ends that an attack moved.
# Seen with:      torchattacks 3.5.1, torch 2.13.0 on 2026-11-30. It pins an old requests; hence --no-deps.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 requests==2.34.2 tqdm==4.70.1
"$work/venv/bin/pip" install --quiet --no-deps torchattacks==3.5.1

OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
import torchattacks

print("torchattacks", version("torchattacks"), "| torch", torch.__version__)
torch.manual_seed(0)
prototypes = (torch.rand(10, 1, 8, 8) > 0.5).float()
y = torch.randint(0, 10, (600,))
x = (prototypes[y] - (torch.rand(600, 1, 8, 8) < 0.2).float()).abs()  # a fifth of the pixels turned over
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
adam = torch.optim.Adam(net.parameters(), 0.01)
for _ in range(200):
    adam.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    adam.step()
net.eval()
right = net(x).argmax(1) == y
x, y = x[right][:200], y[right][:200]

attack = torchattacks.CW(net, c=10, steps=200, lr=0.05)
print(f"{len(x)} binary images, all classified rightly; CW with c=10, 200 steps")
success, moved = {}, {}
for margin in (0.0, 0.001, 0.01, 0.1):
    start = x.clamp(margin, 1 - margin)
    adversarial = attack(start, y)
    success[margin] = (net(adversarial).argmax(1) != y).float().mean().item()
    moved[margin] = (adversarial != start).float().mean().item()
    print(f"margin {margin:<5}: success {success[margin]:6.1%}, pixels moved {moved[margin]:6.1%}")

if not (success[0.0] == moved[0.0] == 0 and success[0.001] > 0.5):
    raise SystemExit("Changed: the Carlini-Wagner attack of torchattacks now moves pixels at exactly 0 or 1.")
print("As described: from exactly 0 and 1 the attack does not move.")
PY
