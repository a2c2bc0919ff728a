"""Cost of the attacks for transfer beside the passes of the network that they cannot do without.

    python benchmarks/transfer.py --rounds 9 --json results/transfer.json

One thread; times are CPU seconds of this process.  Every round runs all attacks one after the
other, with bare passes between them: each attack is held against those before and after it.  With
torchattacks installed its attacks run beside ours.  See README.md for what the columns mean.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F

from intriguing import attacks, models, runtime
from intriguing.attacks import transfer
from intriguing.attacks.transfer import Interaction, VarianceTuning, parts
from intriguing.models import folding

EPS = 8 / 255
OURS: dict[str, dict] = {
    "PGD": {},
    "MI": parts("MI"),
    "DI": parts("DI"),
    "TI": parts("TI") | {"kernel": 7},
    "VR": parts("VR") | {"copies": 2},
    "VMI": parts("MI") | {"variance": VarianceTuning(2)},
    "SGM": parts("SGM"),
    "IR": {"interaction": Interaction(grid=8, samples=8), "steps": 3, "batch": 32},
    "IR, 128 at once": {"interaction": Interaction(grid=8, samples=8), "steps": 3},
}


def network() -> torch.nn.Module:
    """ResNet-20 of 32 x 32 colour images with random weights: only its cost matters here."""
    model = models.resnet.ResNet(channels=3, generator=runtime.generator(0, "init")).eval()
    for weight in model.parameters():
        weight.requires_grad_(False)
    return model


def peers(model, steps: int) -> dict[str, Callable]:
    """The same attacks of torchattacks, where it is installed."""
    try:
        import torchattacks
    except ImportError:
        return {}
    shared = {"eps": EPS, "alpha": EPS / 8, "steps": steps}
    return {
        "PGD": torchattacks.PGD(model, **shared),
        "MI": torchattacks.MIFGSM(model, **shared),
        "DI": torchattacks.DIFGSM(model, **shared),
        "TI": torchattacks.TIFGSM(model, **shared, decay=1.0, len_kernel=7, diversity_prob=0.0),
        "VMI": torchattacks.VMIFGSM(model, **shared, N=2),
    }


def seconds(call: Callable) -> tuple[float, object]:
    """CPU seconds and result of a call."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def bare_passes(model, x, y, steps: int) -> None:
    """`steps` forward and backward passes to the pixels, with the loss."""
    for _ in range(steps):
        pixels = x.clone().requires_grad_()
        loss = F.cross_entropy(model(pixels), y, reduction="sum")
        torch.autograd.grad(loss, pixels)


def bare_checks(model, x, times: int) -> None:
    """Forward passes without a gradient: the last thing that our attacks do."""
    with torch.no_grad():
        for _ in range(times):
            model(x)


def race(model, x, y, steps: int, rounds: int) -> dict:
    """Time over that of the passes, by attack and library; bare ones are timed before and after.

    Ours end with a forward pass that measures success; torchattacks leaves that to the caller.
    """
    fast = folding.folded(model, x)
    runs: dict[tuple[str, str], Callable] = {}
    for name, options in OURS.items():
        runs[name, "ours"] = lambda o=options: transfer.pgd(
            model, x, y, **{"eps": EPS, "steps": steps, **o}
        )
    for name in ("MI", "SGM"):
        runs[name, "ours, folded"] = lambda o=OURS[name]: transfer.pgd(
            fast, x, y, eps=EPS, steps=steps, **o
        )
    for name, attack in peers(model, steps).items():
        runs[name, "torchattacks"] = lambda a=attack: a(x, y)
    passes, found = {}, defaultdict(list)
    for (name, library), run in runs.items():  # warms up, and counts
        result = run()
        if library == "ours":
            passes[name] = int(result.gradients[0])
    few = 4
    for number in range(rounds):
        before = seconds(lambda: bare_passes(model, x, y, few))[0] / few
        for (name, library), run in runs.items():
            spent = seconds(run)[0]
            after = seconds(lambda: bare_passes(model, x, y, few))[0] / few
            needed = passes[name] * (before + after) / 2
            if library != "torchattacks":
                needed += seconds(lambda: bare_checks(model, x, few))[0] / few
            found[name, library].append(spent / needed)
            found["pass, ms an image", ""].append(1000 * after / len(x))
            before = after
        print(f"round {number + 1} of {rounds} done", flush=True)
    return {" ".join(filter(None, k)): spread(v) for k, v in found.items()} | {"passes": passes}


def spread(values) -> dict:
    return {
        "median": float(np.median(values)),
        "least": float(min(values)),
        "most": float(max(values)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    given = parser.parse_args()
    torch.set_num_threads(1)

    model = network()
    x = torch.rand(given.images, 3, 32, 32, generator=runtime.generator(0, "images"))
    y = attacks.predict(model, x)
    shown = runtime.describe("cpu")
    report = {
        "network": "ResNet-20, 32 x 32 x 3", "images": given.images, "steps": given.steps,
        "rounds": given.rounds, "machine": f"{shown['processor']}, torch {torch.__version__}",
        "time over that of the passes": race(model, x, y, given.steps, given.rounds),
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
