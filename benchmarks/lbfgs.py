"""The batched L-BFGS attack beside SciPy's solver and DDN, on the same images and targets.

    python benchmarks/lbfgs.py --net fc --images 512 --rounds 5 --out results --json fc.json

One thread; all times are CPU seconds of this process, and every round runs all contestants one
after the other, so that a busy machine slows them alike. See README.md for what the columns mean.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor, nn

from intriguing import attacks, data, runtime, zoo
from intriguing.attacks.boxlbfgs import BoxLBFGS
from intriguing.attacks.bracket import Brackets
from intriguing.attacks.penalties import PENALTIES
from intriguing.attacks.search import Search

NETWORKS = {"fc": "FC100-100-10", "cnn": "CNN"}
FIRST_IMAGE = 5000  # the defaults of the attack were chosen on earlier test images
FTOL, C_TOL = 2e-3, 0.02  # the attack's defaults
LOOSE = 2e-2  # a tolerance for ours at which SciPy's distortion at FTOL is about equal on the CNN
SCIPY_DEFAULT = 2.2e-9


# -- the contestants ------------------------------------------------------------------------------


class OneImage:
    """The objective of one image as SciPy wants it, with the best point of all evaluated."""

    def __init__(self, model: nn.Module, x: Tensor, target: Tensor):
        self.model, self.target, self.shape, self.dtype = model, target[None], x.shape, x.dtype
        self.origin = x.flatten().double().numpy()
        self.evaluations, self.best = 0, math.inf

    def loss(self, v: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient at pixels v (D,); remembers the margin and the best success."""
        self.evaluations += 1
        self.last = v.copy()
        pixels = torch.from_numpy(v).to(self.dtype).view(1, *self.shape).requires_grad_()
        logits = self.model(pixels)
        loss = F.cross_entropy(logits, self.target)
        (g,) = torch.autograd.grad(loss, pixels)
        z = logits.detach()[0].clone()
        wanted = z[self.target].item()
        z[self.target] = -math.inf
        self.margin = wanted - z.max().item()
        if self.margin > 0:
            self.best = min(self.best, float(np.linalg.norm(v - self.origin)))
        return loss.item(), g.flatten().double().numpy()

    def minimise(self, w: float, start: np.ndarray, ftol: float) -> np.ndarray:
        """Minimise ||r||^2 + w loss from `start`; the margin of the end is in `margin`."""

        def objective(v):
            loss, g = self.loss(v)
            r = v - self.origin
            return r @ r + w * loss, 2 * r + w * g

        options = {"maxcor": 10, "ftol": ftol, "maxiter": 1000}
        if ftol != SCIPY_DEFAULT:
            options["gtol"] = 0.0
        end = minimize(objective, start, jac=True, method="L-BFGS-B",
                       bounds=[(0.0, 1.0)] * len(start), options=options).x  # fmt: skip
        if not np.array_equal(end, self.last):
            self.loss(end)
        return end


def scipy_bracket(model, x, target, *, ftol: float, rounds: int = 25) -> tuple[float, int]:
    """One image by SciPy, with the very search of c that the batched attack has: first guess of a
    linear model, brackets closed by the margin, warm starts, best of all evaluated points."""
    one = OneImage(model, x, target)
    _, g = one.loss(one.origin)
    log_w = torch.tensor([4 * -one.margin / float(g @ g)], dtype=torch.float64).log()
    row, point = torch.tensor([0]), one.origin
    brackets = Brackets(1, log_w, C_TOL)
    brackets.reset(row)
    brackets.guess[0] = log_w
    for _ in range(rounds):
        point = one.minimise(log_w.exp().item(), point, ftol)
        brackets.update(row, log_w, torch.tensor([one.margin], dtype=torch.float64))
        if brackets.closed(row) or brackets.give_up(row, log_w):
            break
        log_w = brackets.propose(row)
    return one.best, one.evaluations


def scipy_nine(model, x, target, *, ftol: float, steps: int = 9) -> tuple[float, int]:
    """One image by SciPy as it is usually written: each of nine weights starts again at r = 0,
    ten times heavier until the first success, then the middle of the bracket."""
    one = OneImage(model, x, target)
    _, g = one.loss(one.origin)
    log_w, low, high = math.log(4 * -one.margin / float(g @ g)), -math.inf, math.inf
    for _ in range(steps):
        one.minimise(math.exp(log_w), one.origin, ftol)
        low, high = (low, log_w) if one.margin > 0 else (log_w, high)
        if math.isinf(high):
            log_w = low + math.log(10)
        else:
            log_w = high - math.log(10) if math.isinf(low) else (low + high) / 2
    return one.best, one.evaluations


def one_by_one(attack: Callable, model, x, target, **options) -> tuple[np.ndarray, np.ndarray]:
    """L2 norms and gradient counts of an attack that takes one image."""
    found = [attack(model, image, wanted, **options)
             for image, wanted in zip(x, target, strict=True)]  # fmt: skip
    return tuple(np.array(column, dtype=float) for column in zip(*found, strict=True))


def ddn(model, x, target, steps: int) -> np.ndarray:
    """L2 norms of foolbox's targeted DDN with its default start and step; inf for a failure."""
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.DDNAttack(steps=steps)
    _, found, success = attack(wrapped, x, foolbox.criteria.TargetedMisclassification(target),
                               epsilons=None)  # fmt: skip
    l2 = (found - x).flatten(1).norm(dim=1)
    return torch.where(success, l2, torch.inf).double().numpy()


# -- measurements ---------------------------------------------------------------------------------


def problem(model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The images the model gets right, with random targets."""
    right = attacks.predict(model, x) == y
    x, y = x[right], y[right]
    return x, y, attacks.targets(model, x, y, seed=0)


def seconds(call: Callable) -> tuple[float, object]:
    """CPU seconds and result of a call."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def pass_seconds(model, x: Tensor, target: Tensor, repeats: int = 5) -> float:
    """CPU seconds an image of one batched forward and backward pass to the pixels."""

    def once():
        pixels = x.clone().requires_grad_()
        loss = F.cross_entropy(model(pixels), target, reduction="sum")
        torch.autograd.grad(loss, pixels)

    return min(seconds(once)[0] for _ in range(repeats)) / len(x)


def race(model, x, y, target, rounds: int, few: int) -> dict:
    """Ours on all images and SciPy on `few` others in each round, interleaved."""
    peers = {
        "scipy, same search": lambda a, t: one_by_one(scipy_bracket, model, a, t, ftol=FTOL),
        "scipy, nine steps": lambda a, t: one_by_one(scipy_nine, model, a, t, ftol=FTOL),
        "scipy, default ftol": lambda a, t: one_by_one(scipy_bracket, model, a, t,
                                                       ftol=SCIPY_DEFAULT),
    }  # fmt: skip
    table = defaultdict(lambda: defaultdict(list))
    attacks.lbfgs(model, x[:64], y[:64], target=target[:64])  # warms up
    for r in range(rounds):
        unit = pass_seconds(model, x[:512], target[:512])
        spent, ours = seconds(lambda: attacks.lbfgs(model, x, y, target=target, ftol=FTOL,
                                                    c_tol=C_TOL))  # fmt: skip
        loosely, loose = seconds(lambda: attacks.lbfgs(model, x, y, target=target, ftol=LOOSE,
                                                       c_tol=C_TOL))  # fmt: skip
        also = table[f"ours, ftol {LOOSE:g}"]
        also["seconds an image"].append(loosely / len(x))
        also["gradients"].append(loose.gradients.double().mean().item())
        also["L2 over ours"].append((loose.l2 / ours.l2).double().mean().item())
        also["success"].append(loose.success.double().mean().item())
        mine = table["ours"]
        mine["seconds an image"].append(spent / len(x))
        mine["gradients"].append(ours.gradients.double().mean().item())
        mine["over floor"].append(spent / (unit * ours.gradients.sum().item()))
        mine["success"].append(ours.success.double().mean().item())
        rows = torch.arange(r * few, (r + 1) * few) % len(x)
        for name, attack in peers.items():
            taken, (l2, count) = seconds(lambda a=attack, i=rows: a(x[i], target[i]))
            peer = table[name]
            peer["seconds an image"].append(taken / few)
            peer["gradients"].append(count.mean())
            peer["over floor"].append(taken / (unit * count.sum()))
            peer["success"].append(np.isfinite(l2).mean())
            peer["ours times as fast"].append(taken / few / (spent / len(x)))
            peer["ours, loose, times as fast"].append(taken / few / (loosely / len(x)))
            peer["L2 ours/peer"].append(np.mean(ours.l2[rows].double().numpy() / l2))
            peer["L2 ours, loose/peer"].append(np.mean(loose.l2[rows].double().numpy() / l2))
            same = ours.gradients[rows].double().mean().item()
            peer["gradients of ours, same images"].append(same)
        print(f"round {r + 1} of {rounds} done", flush=True)
    return {name: {k: spread(v) for k, v in columns.items()} for name, columns in table.items()}


def spread(values) -> dict:
    return {"mean": float(np.mean(values)), "least": float(min(values)), "most": float(max(values))}


def beside_ddn(model, x, y, target, budgets) -> list[dict]:
    """Distortion against DDN: equal gradients and more; on images where DDN succeeds too."""
    ours = attacks.lbfgs(model, x, y, target=target)
    rows = []
    for steps in (round(ours.gradients.double().mean().item()), *budgets):
        spent, l2 = seconds(lambda s=steps: ddn(model, x, target, s))
        both = np.isfinite(l2)
        ratio = ours.l2.double().numpy()[both] / l2[both]
        rows.append({"gradients": steps, "success": float(both.mean()), "images/s": len(x) / spent,
                     "mean L2 ours/DDN": float(ratio.mean()),
                     "median L2 ours/DDN": float(np.median(ratio)),
                     "share where ours is smaller": float((ratio < 1).mean())})  # fmt: skip
    return rows


@contextmanager
def stopwatch():
    """Time the attack's parts; yields {part: CPU seconds}, each without the parts it calls."""
    parts = {
        "network": (Search, "_evaluate"),
        "penalty": (PENALTIES["l2_squared"], "__call__"),
        "keep the best": (Search, "_keep_best"),
        "line search": (BoxLBFGS, "tell"),
        "direction": (BoxLBFGS, "_direction"),
        "weights of the pairs": (BoxLBFGS, "_weights"),
        "projection": (BoxLBFGS, "ask"),
        "trial point": (BoxLBFGS, "_propose"),
        "new c": (Search, "_end_of_weight"),
        "rows come and go": (Search, "_replace_dead"),
        "bookkeeping": (Search, "_tick"),
    }
    spent, inside, original = defaultdict(float), [0.0], {}

    def timed(part, method):
        def run(*args, **kw):
            inside.append(0.0)
            start = time.process_time()
            result = method(*args, **kw)
            whole = time.process_time() - start
            spent[part] += whole - inside.pop()
            inside[-1] += whole
            return result

        return run

    for part, (owner, name) in parts.items():
        original[owner, name] = getattr(owner, name)
        setattr(owner, name, timed(part, original[owner, name]))
    try:
        yield spent
    finally:
        for (owner, name), method in original.items():
            setattr(owner, name, method)


def breakdown(model, x, y, target) -> dict:
    """Share of each part of the attack, most first; "pass" is the bare batched pass."""
    unit = pass_seconds(model, x[:512], target[:512])
    with stopwatch() as spent:
        whole, result = seconds(lambda: attacks.lbfgs(model, x, y, target=target))
    shares = {part: s / whole for part, s in sorted(spent.items(), key=lambda item: -item[1])}
    return {"bare passes": unit * result.gradients.sum().item() / whole,
            **shares, "rest": 1 - sum(shares.values())}  # fmt: skip


def scaling(model, x, y, target, sizes, repeats: int = 2) -> dict:
    """CPU seconds against images, least of `repeats`, and a line through the full batches."""
    taken = {n: min(seconds(lambda n=n: attacks.lbfgs(model, x[:n], y[:n], target=target[:n]))[0]
                    for _ in range(repeats)) for n in sizes if n <= len(x)}  # fmt: skip
    full = [n for n in taken if n >= 512]
    if len(full) < 2:
        return {"seconds": taken}
    slope, offset = np.polyfit(full, [taken[n] for n in full], 1)
    miss = max(abs(slope * n + offset - taken[n]) / taken[n] for n in full)
    return {"seconds": taken, "milliseconds an image": 1000 * slope, "offset, s": offset,
            "largest relative miss": miss}  # fmt: skip


def plot(result: dict, name: str, path: Path) -> None:
    """Draw `scaling`'s times and line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sizes = np.array(list(result["seconds"]))
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.loglog(sizes, list(result["seconds"].values()), "o", label="measured")
    if "offset, s" in result:
        line = np.geomspace(sizes.min(), sizes.max())
        axes.loglog(line, result["milliseconds an image"] / 1000 * line + result["offset, s"],
                    label="line through n >= 512")  # fmt: skip
    axes.set(xlabel="images", ylabel="CPU seconds", title=f"L-BFGS attack on {name}")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


# -- the report -----------------------------------------------------------------------------------


def show(report: dict) -> None:
    """Print the tables."""
    print(f"\n{report['network']}, {report['images']} images, {report['rounds']} rounds; "
          f"{report['machine']}")  # fmt: skip
    for name, columns in report["race"].items():
        rate = 1 / columns["seconds an image"]["mean"]
        text = f"{name:20} {rate:8.1f} img/s"
        for key, c in columns.items():
            if key != "seconds an image":
                text += f" | {key} {c['mean']:.4g} ({c['least']:.4g} to {c['most']:.4g})"
        print(text)
    for row in report["ddn"]:
        print("DDN   " + "  ".join(f"{k} {v:.4g}" for k, v in row.items()))
    print("time  " + "  ".join(f"{k} {100 * v:.1f} %" for k, v in report["breakdown"].items()))
    print("cost  " + "  ".join(f"{k}: {v:.4g}" if isinstance(v, float) else f"{k}: {v}"
                               for k, v in report["scaling"].items()))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", choices=NETWORKS, default="fc")
    parser.add_argument("--dataset", default="mnist", help="mnist, or mnist-5k without a network")
    parser.add_argument("--images", type=int, default=512, help="images that ours attacks a round")
    parser.add_argument("--few", type=int, help="images that SciPy attacks a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", help="image counts of the scaling plot")
    parser.add_argument("--repeats", type=int, default=2, help="least of so many times in the plot")
    parser.add_argument("--budgets", type=int, nargs="*", default=[100, 300, 1000],
                        help="steps of DDN beside an equal budget")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("--out", type=Path, help="folder for the scaling plot")
    given = parser.parse_args()
    torch.set_num_threads(1)

    model = zoo.get(zoo.szegedy(NETWORKS[given.net], given.dataset), device="cpu", log=print)
    for weight in model.parameters():
        weight.requires_grad_(False)
    test = data.load(given.dataset, "test")
    first = FIRST_IMAGE if len(test.x) > FIRST_IMAGE else 0
    everything = problem(model, test.x[first:], test.y[first:])
    few = given.few or (32 if given.net == "fc" else 6)
    sizes = given.sizes or ([64, 128, 256, 512, 1024, 2048, 4096] if given.net == "fc" else
                            [64, 256, 512, 1024])  # fmt: skip
    chosen = tuple(part[: given.images] for part in everything)
    shown = runtime.describe()
    report = {
        "network": f"{NETWORKS[given.net]} on {given.dataset}", "images": len(chosen[0]),
        "rounds": given.rounds, "ftol": FTOL, "c_tol": C_TOL,
        "machine": f"{shown.get('cpu', shown.get('processor', ''))}, torch {torch.__version__}",
        "race": race(model, *chosen, given.rounds, few),
        "breakdown": breakdown(model, *chosen),
        "scaling": scaling(model, *everything, sizes, given.repeats),
        "ddn": beside_ddn(model, *(part[: min(200, given.images)] for part in chosen),
                          given.budgets),
    }  # fmt: skip
    show(report)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        plot(report["scaling"], report["network"], given.out / f"lbfgs-{given.net}.png")


if __name__ == "__main__":
    main()
