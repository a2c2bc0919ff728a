"""Shapley interactions of perturbed images beside shapiq: cost when exact, error at a budget.

    python benchmarks/interactions.py --net cnn --images 8 --rounds 3 --json interactions.json

One thread; times are CPU seconds of this process.  Every round runs all contestants one after the
other on the same image and seed, so that a busy machine slows them alike.  See README.md for what
the columns mean.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intriguing import data, interactions, runtime, zoo

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import shapiq

NETWORKS = {"fc": "FC100-100-10", "cnn": "CNN"}
GRID = (3, 4)  # 12 players, 4,096 coalitions
EPS, STEPS = 0.15, 10  # of the perturbations, pixel units


def perturbations(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Sign steps up the loss within EPS and the box: perturbations that fool the network."""
    delta = torch.zeros_like(x)
    for _ in range(STEPS):
        delta.requires_grad_()
        loss = F.cross_entropy(model(x + delta), y, reduction="sum")
        (slope,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() + 2 * EPS / STEPS * slope.sign()).clamp(-EPS, EPS)
        delta = (x + delta).clamp(0, 1) - x
    return delta


class Clock:
    """A game that counts its evaluations and its CPU seconds, for torch and for shapiq."""

    def __init__(self, game: Callable[[Tensor], Tensor]):
        self.game, self.seconds, self.evaluations = game, 0.0, 0

    def __call__(self, masks: Tensor) -> Tensor:
        start = time.process_time()
        values = self.game(masks)
        self.seconds += time.process_time() - start
        self.evaluations += len(masks)
        return values

    def numpy(self, coalitions: np.ndarray) -> np.ndarray:
        """As shapiq asks."""
        return self(torch.from_numpy(np.asarray(coalitions, dtype=bool)))[0].double().numpy()


class Game(shapiq.Game):
    """The game of one image as shapiq wants it."""

    def __init__(self, clock: Clock, n: int):
        super().__init__(n_players=n, normalize=False)
        self.clock = clock

    def value_function(self, coalitions):
        return self.clock.numpy(coalitions)


def matrix(found, n: int) -> Tensor:
    """The pairs of shapiq's answer, (n, n)."""
    pairs = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(i + 1, n):
            pairs[i, j] = pairs[j, i] = float(found[(i, j)])
    return pairs


def timed(call: Callable, game) -> dict:
    """Run call(clock) and return its result, CPU seconds, and those of the game in it."""
    clock = Clock(game)
    start = time.process_time()
    result = call(clock)
    return {"result": result, "seconds": time.process_time() - start,
            "game seconds": clock.seconds, "evaluations": clock.evaluations}  # fmt: skip


def bare_seconds(game: interactions.PerturbationGame) -> float:
    """CPU seconds of the model alone on all masked images of one image, ready-made."""
    spent = 0.0
    for part in interactions.all_coalitions(game.players).split(game.batch):
        pixels = game.masked(part)[0]
        start = time.process_time()
        with torch.no_grad():
            game.model(pixels)
        spent += time.process_time() - start
    return spent


def exact(games: interactions.PerturbationGame, rounds: int) -> dict:
    """All coalitions of one image: ours and shapiq's computer, and a batch of images at once."""
    n, table = games.players, defaultdict(lambda: defaultdict(list))
    for r in range(-1, rounds):
        one = _one(games, r)
        before = bare_seconds(one)
        ours = timed(lambda c: interactions.exact_sii(c, n), one)
        bare = (before + bare_seconds(one)) / 2  # around ours: the machine is not alone
        theirs = timed(lambda c: matrix(shapiq.ExactComputer(
            game=Game(c, n), n_players=n)(index="SII", order=2), n), one)  # fmt: skip
        if r < 0:
            continue  # warms up
        batch = timed(lambda c: interactions.exact_sii(c, n), games)
        for name, run, images in (("ours", ours, 1), ("ours, all images", batch, len(games)),
                                  ("shapiq ExactComputer", theirs, 1)):  # fmt: skip
            table[name]["seconds an image"].append(run["seconds"] / images)
            table[name]["over its game"].append(run["seconds"] / run["game seconds"])
            table[name]["over bare passes"].append(run["seconds"] / images / bare)
        apart = (ours["result"][0] - theirs["result"]).norm() / theirs["result"].norm()
        table["ours"]["relative difference to shapiq"].append(float(apart))
    return spread(table)


def _one(games: interactions.PerturbationGame, r: int) -> interactions.PerturbationGame:
    """The game of one image, another in every round."""
    i = max(r, 0) % len(games)
    return games[i : i + 1]


def contestants(n: int, budget: int, seed: int) -> dict[str, Callable]:
    """The ways to spend a budget: each takes a clock and returns (n, n)."""

    def peer(c: Clock, pairing: bool) -> Tensor:
        kernel = shapiq.KernelSHAPIQ(n=n, max_order=2, index="SII", pairing_trick=pairing,
                                     random_state=seed)  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return matrix(kernel.approximate(budget, c.numpy), n)

    return {
        "ours": lambda c: interactions.sampled_sii(c, n, budget, seed=seed)[0],
        "KernelSHAPIQ": lambda c: peer(c, False),
        "KernelSHAPIQ, paired": lambda c: peer(c, True),
    }


def sampled(games: interactions.PerturbationGame, index: Tensor, budgets, rounds: int) -> dict:
    """Errors and times of each budget, over all images and `rounds` seeds."""
    n, report = games.players, {}
    for budget in budgets:
        table = defaultdict(lambda: defaultdict(list))
        for seed in range(rounds):
            for i in range(len(games)):
                error = {}
                for name, call in contestants(n, budget, seed).items():
                    run = timed(call, games[i : i + 1])
                    error[name] = float((run["result"] - index[i]).norm() / index[i].norm())
                    table[name]["relative error"].append(error[name])
                    table[name]["over its game"].append(run["seconds"] / run["game seconds"])
                    table[name]["evaluations"].append(run["evaluations"])
                for name in list(error)[1:]:
                    table["ours"][f"error over {name}"].append(error["ours"] / error[name])
        report[budget] = spread(table)
        print(f"budget {budget} done", flush=True)
    return report


def spread(table) -> dict:
    """Mean, least and most of every list."""
    return {name: {key: {"mean": float(np.mean(v)), "least": float(min(v)), "most": float(max(v))}
                   for key, v in columns.items()} for name, columns in table.items()}  # fmt: skip


def show(report: dict) -> None:
    """Print the tables."""
    print(f"\n{report['network']}, {report['images']} images, {report['rounds']} rounds, "
          f"{report['players']} players; {report['machine']}")  # fmt: skip
    for budget, rows in (("all", report["exact"]), *report["sampled"].items()):
        for name, columns in rows.items():
            text = " | ".join(f"{key} {c['mean']:.4g} ({c['least']:.4g} to {c['most']:.4g})"
                              for key, c in columns.items())  # fmt: skip
            print(f"{budget:>5} {name:21} {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", choices=NETWORKS, default="cnn")
    parser.add_argument("--dataset", default="mnist", help="mnist, or mnist-5k without a network")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="seeds, and images of the exact race")
    parser.add_argument("--budgets", type=int, nargs="*", default=[256, 1024, 2048])
    parser.add_argument("--json", type=Path, help="write all numbers here")
    given = parser.parse_args()
    torch.set_num_threads(1)

    model = zoo.get(zoo.szegedy(NETWORKS[given.net], given.dataset), device="cpu", log=print)
    for weight in model.parameters():
        weight.requires_grad_(False)
    test = data.load(given.dataset, "test")
    x, y = test.x[: given.images], test.y[: given.images]
    games = interactions.perturbation_game(model, x, y, perturbations(model, x, y), grid=GRID)
    index = interactions.exact_sii(games, games.players)
    shown = runtime.describe("cpu")
    report = {
        "network": f"{NETWORKS[given.net]} on {given.dataset}", "images": given.images,
        "rounds": given.rounds, "players": games.players,
        "machine": f"{shown['processor']}, torch {torch.__version__}, shapiq {version('shapiq')}",
        "exact": exact(games, given.rounds),
        "sampled": sampled(games, index, given.budgets, given.rounds),
    }  # fmt: skip
    show(report)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
