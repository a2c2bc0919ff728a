#!/usr/bin/env bash
# Attack images saved as integers by torchattacks come back outside the ball that they were made in.
#
# One expects:    images are on the 8-bit grid, eps is 8/255: adversarial images saved as integers come back
#                 rounded to the grid, at most 8 levels away.
# What happens:   the conversion multiplies by 255 and cuts off. A pixel that ended a rounding error below
#                 level k is stored as k - 1: some pixels of FGSM are then 9 levels away. All pixels that
#                 moved off the grid darken, by half a level on average.
# Why it matters: the model is judged on images outside the threat model; and of images that only just
#                 succeed, as Carlini and Wagner's do, saving undoes twice as many as rounding would.
# What we do:     round by hand, then check norm and success again on what was read back from the file.
# Seen with:      torchattacks 3.5.1, torch 2.13.0 on 2026-11-30. It pins an old requests; hence --no-deps.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 requests==2.34.2 tqdm==4.70.1
"$work/venv/bin/pip" install --quiet --no-deps torchattacks==3.5.1

cd "$work"
OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
import torchattacks
from torch.utils.data import DataLoader, TensorDataset

print("torchattacks", version("torchattacks"), "| torch", torch.__version__)
torch.manual_seed(0)
x = torch.randint(0, 256, (200, 1, 8, 8)) / 255  # on the grid
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
y = net(x).argmax(1)
level = (x * 255).round()


def report(name, images):
    distance = (images * 255 - level).abs().amax().item()
    shift = (images * 255 - level).mean().item()
    success = (net(images).argmax(1) != y).float().mean().item()
    print(f"{name:<34} largest change {distance:6.3f} levels, mean {shift:+.3f}, success {success:.1%}")
    return distance, success


seen = {}
for attack in (torchattacks.FGSM(net, eps=8 / 255), torchattacks.CW(net, c=10, steps=200, lr=0.05)):
    name = attack.attack
    made = attack(x, y)
    attack.save(DataLoader(TensorDataset(x, y), batch_size=200), f"{name}.pt", verbose=False, save_type="int")
    stored = torch.load(f"{name}.pt")["adv_inputs"].float() / 255
    seen[name] = [report(f"{name}, {how}", images) for how, images in (
        ("as made", made), ("saved as int, read back", stored), ("rounded by hand", (made * 255).round() / 255))]

(made, _), (stored, _), (rounded, _) = seen["FGSM"]
(_, cw_stored), (_, cw_rounded) = seen["CW"][1:]
if not (made < 8.01 and stored > 8.99 and rounded < 8.01 and cw_stored < cw_rounded):
    raise SystemExit("Changed: images that torchattacks saves as integers now stay within eps of the clean ones.")
print("As described: saving as integers takes FGSM's images from 8 to 9 levels away.")
PY
