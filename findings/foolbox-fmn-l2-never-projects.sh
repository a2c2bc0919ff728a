#!/usr/bin/env bash
# The L2 minimum-norm attack FMN of foolbox never projects: its answers are far from the nearest, whatever the steps.
#
# One expects:    FMN shrinks a ball around the image while the point inside is adversarial, and projects onto it;
#                 on a linear network it ends at the boundary, as DDN does.
# What happens:   its projection in L2 scales the change by min(1, norm / norm), which is 1. The ball has no effect:
#                 the attack takes plain steps along the gradient and keeps the nearest adversarial one it passes.
#                 On a linear network that is 2.4 to 2.7 times the exact distance, with 100 steps and with 1,000.
#                 Nothing is reported, and every answer is adversarial. Its Linf version does project.
# Why it matters: a network looks two to three times as robust as it is, and FMN looks like a weak attack.
# What we do:     our FMN is tested against exact distances; DDN of foolbox, not FMN, is our yardstick in L2.
# Seen with:      foolbox 3.3.4, eagerpy 0.30.0, torch 2.13.0 on 2026-12-01.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 eagerpy==0.30.0 foolbox==3.3.4

OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import foolbox
import torch
from foolbox.attacks import DDNAttack, L2FMNAttack, LInfFMNAttack

print("foolbox", version("foolbox"), "| eagerpy", version("eagerpy"), "| torch", torch.__version__)
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(100, 2)).eval()
x = 0.5 + 0.1 * torch.rand(8, 1, 10, 10)  # far from the walls of the box
with torch.no_grad():
    logits = net(x)
    w = net[1].weight[0] - net[1].weight[1]
y = logits.argmax(1)
gap = (logits[:, 0] - logits[:, 1]).abs()
exact = {"L2": gap / w.norm(), "Linf": gap / w.abs().sum()}
model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
ratio = {}
for name, norm, attack in (
    ("DDN, 100 steps", "L2", DDNAttack(steps=100)),
    ("FMN, 100 steps", "L2", L2FMNAttack(steps=100)),
    ("FMN, 1000 steps", "L2", L2FMNAttack(steps=1000)),
    ("FMN Linf, 1000 steps", "Linf", LInfFMNAttack(steps=1000)),
):
    _, adversarial, found = attack(model, x, y, epsilons=None)
    change = (adversarial - x).flatten(1)
    size = change.norm(dim=1) if norm == "L2" else change.abs().amax(1)
    ratio[name] = size / exact[norm]
    print(f"{name:21}: {found.sum().item()} of {len(x)} adversarial, distance over the exact one "
          f"{ratio[name].min():.3f} to {ratio[name].max():.3f}")

same = torch.equal(ratio["FMN, 100 steps"], ratio["FMN, 1000 steps"])
if not (ratio["DDN, 100 steps"].max() < 1.01 and ratio["FMN, 1000 steps"].min() > 2 and same):
    raise SystemExit("Changed: the L2 FMN attack of foolbox now comes near the exact distance.")
print("As described: FMN in L2 stays far from the boundary, and more steps change nothing.")
PY
