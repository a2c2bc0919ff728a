"""The judge beside the standard suite, and a step of each robust training beside its passes.

    python benchmarks/robustness.py --images 256 --json results/robustness.json
    python benchmarks/robustness.py --only steps

One thread; times are CPU seconds of this process, both sides in one run.  The networks are those
of chapter 11, trained on first use; without Fashion-MNIST, `--dataset mnist-5k`.  The standard
suite is that of pyautoattack 0.2.0, where it is installed (`pip install --no-deps
pyautoattack==0.2.0`); it runs in a process of its own, because it reseeds torch and switches
tracing off.  See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from intriguing import data, robustness, runtime, zoo
from intriguing.methods import method

EPS = 0.1
STEPS = {  # method: options, passes of its attack, passes of the weights
    "madry": ({"eps": EPS, "step": EPS / 4, "steps": 7, "growth": 0.0}, 7, 1),
    "n_fgsm": ({"eps": EPS}, 1, 1),
    "fgsm": ({"eps": EPS}, 1, 1),
    "fgsm_rs": ({"eps": EPS, "step": 1.25 * EPS, "growth": 0.0}, 1, 1),
    "trades": ({"eps": EPS, "step": EPS / 4, "steps": 10, "beta": 6.0}, 10, 2),
    "grad_align": ({"eps": EPS}, 1, 1),
}


def networks(dataset: str) -> dict[str, torch.nn.Module]:
    """A plain network and one of Madry's training, as in chapter 11."""
    few = dataset == "mnist-5k"
    n, held = (1000, 100) if few else (10000, 500)
    kept = {"split": f"train[:{n + held}]@0", "held_out": held, "keep": "best", "epochs": 5}
    trained = {"eps": EPS, "step": EPS / 4, "steps": 7, "growth": 0.0}
    return {"plain": zoo.get(zoo.spec("plain", "CNN", dataset, **kept)),
            "Madry": zoo.get(zoo.spec("madry", "CNN", dataset, **trained, **kept))}


STANDARD = """
import json, sys, time, torch
torch.set_num_threads(1)
from pyautoattack import AutoAttack
from safetensors.torch import load_file
saved = load_file(sys.argv[1])
from intriguing import models
x, y = saved.pop("x"), saved.pop("y")
model = models.build(sys.argv[2]); model.load_state_dict(saved); model.eval()
start = time.process_time()
suite = AutoAttack(model, eps=float(sys.argv[3]), norm="Linf", seed=0, version="standard")
found = suite.run_standard_evaluation(x, y, batch_size=256)
seconds = time.process_time() - start
x_adv = found[0] if isinstance(found, tuple) else found
with torch.no_grad():
    stands = (model(x_adv).argmax(1) == y).tolist()
print(json.dumps({"seconds": seconds, "stands": stands}))
"""


def standard(model, architecture: str, x, y) -> dict | None:
    """CPU seconds of the standard suite and which images stand; None where it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.safetensors"
        save_file({**model.state_dict(), "x": x, "y": y}, path)
        done = subprocess.run([sys.executable, "-c", STANDARD, path, architecture, str(EPS)],
                              capture_output=True, text=True)  # fmt: skip
    if "No module named 'pyautoattack'" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def race(dataset: str, images: int) -> dict:
    """The judge and the standard suite on the same images."""
    test, found = data.load(dataset, "test", n=images, seed=1), {}
    for name, model in networks(dataset).items():
        robustness.judge(model, test.x[:4], test.y[:4], eps=EPS, suite="fgsm", look=0)  # warms up
        start = time.process_time()
        judged = robustness.judge(model, test.x, test.y, eps=EPS, look=0)
        ours = time.process_time() - start
        theirs = standard(model, "cnn-mnist", test.x, test.y)
        print(judged.table().to_string(index=False, float_format="{:.3g}".format), flush=True)
        row = {"ours": {"seconds": ours, "standing": int(judged.robust.sum()),
                        "stages": judged.table().to_dict("records")}}
        if theirs is not None:
            stands = torch.tensor(theirs["stands"])
            row |= {"standard": {"seconds": theirs["seconds"], "standing": int(stands.sum())},
                    "seconds, ours over standard": ours / theirs["seconds"],
                    "stand with ours only": int((judged.robust & ~stands).sum()),
                    "stand with the standard suite only": int((stands & ~judged.robust).sum())}
        print(name, {key: row[key] for key in row if key != "ours"}, flush=True)
        found[name] = row
    return found


def step(name: str, batch: int = 128) -> tuple[Callable, Callable]:
    """An update of a method, and as many bare passes with the same optimiser."""
    options, attack, weights = STEPS[name]
    spec = zoo.spec(name, "CNN", "fashion-mnist", **options)
    made = torch.Generator().manual_seed(0)
    x = torch.rand(batch, 1, 28, 28, generator=made).contiguous(memory_format=torch.channels_last)
    y = torch.randint(10, (batch,), generator=made)
    nets = [method.initial(spec).to(memory_format=torch.channels_last).train() for _ in "ab"]
    adams = [torch.optim.Adam(net.parameters(), 1e-4) for net in nets]
    loss = spec.options.method.objective(method.Request(nets[0], 0, x, y), spec.options)

    def update() -> None:
        adams[0].zero_grad()
        loss(nets[0], x, y).backward()
        adams[0].step()

    def passes() -> None:
        with runtime.eval_mode(nets[1]):
            for _ in range(attack):
                at = x.clone().requires_grad_()
                torch.autograd.grad(F.cross_entropy(nets[1](at), y), at)
        adams[1].zero_grad()
        for _ in range(weights):
            F.cross_entropy(nets[1](x), y).backward()
        adams[1].step()

    return update, passes


def steps(rounds: int) -> dict:
    """Median ratio of an update to its passes, timed in turn."""
    found = {}
    for name in STEPS:
        both = step(name)
        for part in both:
            part()
        ratios = []
        for _ in range(rounds):
            spent = []
            for part in both:
                start = time.process_time()
                part()
                spent.append(time.process_time() - start)
            ratios.append(spent[0] / spent[1])
        found[name] = {"median": statistics.median(ratios), "least": min(ratios),
                       "most": max(ratios)}
        print(name, found[name], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="fashion-mnist")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=25, help="of the training steps")
    parser.add_argument("--only", choices=("suite", "steps"))
    parser.add_argument("--json", type=Path, help="write all numbers here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    shown = runtime.describe("cpu")
    report: dict = {"machine": f"{shown['processor']}, torch {torch.__version__}",
                    "dataset": given.dataset, "images": given.images, "eps": EPS}  # fmt: skip
    if given.only != "suite":
        report["update over its passes"] = steps(given.rounds)
    if given.only != "steps":
        report["suite"] = race(given.dataset, given.images)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
