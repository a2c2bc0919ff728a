#!/usr/bin/env bash
# Where a foolbox attack fails, its image is black, clean, nan or the last try: it depends on the attack.
#
# One expects:    rows without success hold one agreed thing, such as the clean image or nan, so that distances
#                 of several attacks can be averaged or compared over all rows.
# What happens:   Carlini-Wagner and EAD return an all-black image, DDN and FMN the clean one (distance 0),
#                 NewtonFool nan, DeepFool wherever it stood at the end. The flag is right in each case; the
#                 images are not meant to be read where it is False.
# Why it matters: a mean over all rows charges one attack the whole norm of the image for a failure and gives
#                 another the best possible distance. The ranking of attacks turns around.
# What we do:     take distances only where the flag is True, count failures as infinite, report medians.
# Seen with:      foolbox 3.3.4, eagerpy 0.30.0, torch 2.13.0 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 eagerpy==0.30.0 foolbox==3.3.4

OMP_NUM_THREADS=1 "$work/venv/bin/python" -W ignore - <<'PY'
import foolbox as fb
import torch

print("foolbox", fb.__version__, "| torch", torch.__version__)
torch.manual_seed(0)


class Guarded(torch.nn.Module):
    """A linear net; images with a bright top row go to class 0, by a margin that no attack crosses."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(64, 2)

    def forward(self, x):
        x = x.flatten(1)
        bright = (x[:, :8].mean(1, keepdim=True) > 0.5).float()
        return self.linear(x) + bright * torch.tensor([[100.0, 0.0]])


net = Guarded().eval()
x = torch.rand(40, 1, 8, 8) * 0.8 + 0.1
x[:20, 0, 0], x[20:, 0, 0] = 0.9, 0.1  # the first half is guarded
y = net(x).argmax(1)
model = fb.PyTorchModel(net, bounds=(0, 1))
attacks = {
    "Carlini-Wagner": fb.attacks.L2CarliniWagnerAttack(binary_search_steps=6, steps=200),
    "EAD": fb.attacks.EADAttack(binary_search_steps=6, steps=200),
    "DDN": fb.attacks.DDNAttack(steps=20),
    "FMN": fb.attacks.L2FMNAttack(steps=50),
    "NewtonFool": fb.attacks.NewtonFoolAttack(),
    "DeepFool": fb.attacks.L2DeepFoolAttack(),
}


def meaning(rows, clean):
    if rows.isnan().all():
        return "nan"
    if (rows == 0).all():
        return "black"
    return "clean" if torch.allclose(rows, clean, atol=1e-6) else "moved"


print(f"{'attack':<15} fails  failed rows  mean L2, all rows  mean L2, successes")
seen, everyone = {}, {}
for name, attack in attacks.items():
    images, _, success = attack(model, x, y, epsilons=None)
    distance = (images - x).flatten(1).norm(dim=1)
    seen[name] = meaning(images[~success].detach(), x[~success])
    everyone[name] = distance.mean().item()
    print(f"{name:<15} {(~success).sum():>5}  {seen[name]:<11}  {everyone[name]:>17.3f}"
          f"  {distance[success].mean():>18.3f}")

if seen != {"Carlini-Wagner": "black", "EAD": "black", "DDN": "clean", "FMN": "clean", "NewtonFool": "nan",
            "DeepFool": "moved"} or everyone["Carlini-Wagner"] < 2 * everyone["DDN"]:
    raise SystemExit("Changed: foolbox's attacks fill their failed rows with something else than before.")
print("As described: four meanings of a failed row in one library.")
PY
