"""The bounds of AlexNet's eight layers beside decompositions, power iteration and brute force.

    python benchmarks/spectrum.py --threads 2 --json results/spectrum.json

torchvision's AlexNet at 224 x 224 pixels with seeded random weights (published ones change no
cost).  Wall and CPU seconds; the contestants of a layer run one after the other, so that a busy
machine slows them alike.  See README.md for what they are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from intriguing import runtime, spectrum, vision
from intriguing.spectrum import convolution

SIZES = {"Conv1": 224, "Conv2": 27, "Conv3": 13, "Conv4": 13, "Conv5": 13}
LAYERS = (*SIZES, "FC1", "FC2", "FC3")


def timed(function: Callable[[], float]) -> dict[str, float]:
    """Value, wall seconds and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = function()
    return {"value": value, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def every_value(layer: nn.Module, size: int | None) -> float:
    """The textbook way: all singular values of the matrix, or of the matrix of each frequency."""
    if size is None:
        return float(torch.linalg.svdvals(layer.weight)[0])
    best, raised = 0.0, convolution.raised

    def decompose(bound: float, matrices: Tensor, tol: float) -> float:
        nonlocal best
        best = max(best, float(torch.linalg.svdvals(matrices).max()))
        return best

    convolution.raised = decompose  # same frequencies, same slices, another way to their norm
    try:
        return spectrum.layer_bound(layer, (0, size, size))
    finally:
        convolution.raised = raised


def power_iteration(layer: nn.Module, size: int | None, tol: float = 1e-4) -> float:
    """A* A through autograd until ten steps gain less than `tol`: a lower bound, no guarantee."""
    channels = layer.weight.shape[1]
    shape = (channels,) if size is None else (channels, size, size)
    x = torch.randn(1, *shape, generator=runtime.generator(0, "power"))
    offset = layer.bias if size is None else layer.bias[:, None, None]
    best = 0.0
    while True:
        for _ in range(10):
            x = (x / x.norm()).requires_grad_()
            y = layer(x) - offset
            (x,) = torch.autograd.grad(y, x, y.detach())
        reached = float(y.detach().norm())
        if reached <= best * (1 + tol):
            return reached
        best = reached


def brute_force(layer: nn.Conv2d, size: int) -> float:
    """The largest singular value of the whole matrix, row by row from unit vectors."""
    shape = (layer.weight.shape[1], size, size)
    with torch.no_grad():
        basis = torch.eye(shape[0] * size * size).view(-1, *shape)
        matrix = (layer(basis) - layer(torch.zeros(1, *shape))).flatten(1)
        return float(torch.linalg.svdvals(matrix)[0])


def small() -> dict[str, dict[str, float]]:
    """A convolution of 16 to 32 channels on 14 x 14 pixels, small enough for brute force."""
    layer = nn.utils.skip_init(nn.Conv2d, 16, 32, 3, padding=1)
    with torch.no_grad():
        layer.weight.normal_(0, 0.1, generator=runtime.generator(0, "small"))
        layer.bias.zero_()
    return {
        "ours": timed(lambda: spectrum.layer_bound(layer, (16, 14, 14))),
        "every singular value": timed(lambda: every_value(layer, 14)),
        "power iteration": timed(lambda: power_iteration(layer, 14)),
        "brute force": timed(lambda: brute_force(layer, 14)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--layers", nargs="+", default=LAYERS, choices=LAYERS)
    parser.add_argument("--only-ours", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    net = vision.network("alexnet").net
    modules = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    ways = {"every singular value": every_value, "power iteration": power_iteration}
    small()  # the first call is slower
    found = {"16 to 32 channels, 14 x 14": small()}
    for name, layer in zip(LAYERS, modules, strict=True):
        if name not in args.layers:
            continue
        size = SIZES.get(name)
        shape = layer.weight.shape[1:2] if size is None else (layer.weight.shape[1], size, size)
        found[name] = {"ours": timed(lambda m=layer, s=shape: spectrum.layer_bound(m, s))}
        for what, way in {} if args.only_ours else ways.items():
            found[name][what] = timed(lambda w=way, m=layer, n=size: w(m, n))
        for what, row in found[name].items():
            print(f"{name:6} {what:21} {row['value']:.5f} {row['wall']:7.2f} s "
                  f"{row['cpu']:7.2f} CPU s", flush=True)  # fmt: skip
    described = runtime.describe("cpu")
    result = {
        "machine": f"{described['processor']}, torch {described['versions']['torch']}",
        "threads": args.threads,
        "layers": found,
    }
    wall, cpu = (sum(found[n]["ours"][k] for n in args.layers) for k in ("wall", "cpu"))
    print(f"ours, all of these: {wall:.1f} s, {cpu:.1f} CPU s")
    if args.json:
        rounded = json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 5))
        args.json.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
