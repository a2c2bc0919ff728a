#!/usr/bin/env bash
# Captum's FGSM and PGD make a net that ends in log_softmax more accurate, without a word.
#
# One expects:    an attack takes the outputs that PyTorch's losses take, logits or log-probabilities; if
#                 it cannot use them, it raises.
# What happens:   without a loss of one's own, the attack climbs -log(output of the label). That is a
#                 loss only for probabilities. For a negative output the logarithm is nan, but its slope
#                 1/output is a finite number, of the wrong sign: the attack walks towards the label. With
#                 log_softmax every output is negative. With logits the sign changes from row to row, and
#                 adding one constant to all logits, which changes no prediction, turns the attack around.
# Why it matters: a robust accuracy above the clean one is at least a warning. With logits there is none:
#                 the net merely looks sturdier than it is, and a targeted attack weaker.
# What we do:     hand every attack a loss written out, and check that loss rises along the attack's path.
# Seen with:      captum 0.9.0, torch 2.13.0 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 captum==0.9.0

OMP_NUM_THREADS=1 "$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import torch
import torch.nn.functional as F
from captum.robust import FGSM

print("captum", version("captum"), "| torch", torch.__version__)
torch.manual_seed(0)
x = torch.rand(500, 64)
y = ((x - 0.5) @ torch.randn(64, 10) + 1.5 * torch.randn(500, 10)).argmax(1)
net = torch.nn.Linear(64, 10)
adam = torch.optim.Adam(net.parameters(), 0.01)
for _ in range(300):
    adam.zero_grad()
    F.cross_entropy(net(x), y).backward()
    adam.step()

outputs = {  # one net, one set of decisions, four ways to write its last line
    "softmax": lambda x: net(x).softmax(1),
    "logits": net,
    "log_softmax": lambda x: net(x).log_softmax(1),
    "logits - 20": lambda x: net(x) - 20,
}


def accuracy(images):
    return (net(images).argmax(1) == y).float().mean().item()


print(f"accuracy, clean: {accuracy(x):.3f}")
seen = {}
for name, forward in outputs.items():
    seen[name] = accuracy(FGSM(forward, lower_bound=0, upper_bound=1).perturb(x, 0.03, y))
    print(f"accuracy, FGSM at eps 0.03, net ends in {name:<12} {seen[name]:.3f}")
told = FGSM(net, lambda out, y: F.cross_entropy(out, y, reduction="none"), 0, 1).perturb(x, 0.03, y)
print(f"accuracy, FGSM at eps 0.03, cross-entropy given on logits {accuracy(told):.3f}")

if not (seen["log_softmax"] > accuracy(x) and seen["logits - 20"] > accuracy(x) > seen["logits"]
        > seen["softmax"]):
    raise SystemExit("Changed: captum's FGSM no longer raises the accuracy of a net that ends in log_softmax.")
print("As described: the attack raises the accuracy where the outputs are negative.")
PY
