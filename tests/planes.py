"""Networks that are planes, and their exact minimum distances, which no attack can undercut."""

import torch
from torch import Tensor, nn

from intriguing import runtime


class Plane(nn.Module):
    """Two classes: logits 0 and a.x + b, with a (C, H, W)."""

    def __init__(self, a: Tensor, b: float) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(a), b

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1) @ self.a.flatten() + self.b
        return torch.stack((torch.zeros_like(z), z), 1)


def plane(n: int, *, depth: float, seed: int = 0, dtype=torch.float64, low=0.0, high=1.0):
    """A plane in 1 x 5 x 5 pixels, and n images of class 0, `depth` short of it on average."""
    g = runtime.generator(seed, "plane")
    a = torch.randn(1, 5, 5, generator=g, dtype=torch.float64)
    x = low + (high - low) * torch.rand(n, 1, 5, 5, generator=g, dtype=torch.float64)
    scores = x.flatten(1) @ a.flatten()
    model = Plane(a.to(dtype), float(-scores.max()) - depth).eval()
    return model, x.to(dtype), torch.zeros(n, dtype=torch.int64)


def distance(norm: str, x: Tensor, a: Tensor, gap: Tensor) -> Tensor:
    """Exact min ||r|| with a.r >= gap > 0 and x + r in [0, 1], (N,): bisection of the multiplier.

    x : (N, D); a : (D,) or (N, D); gap : (N,).  Infinite where the box is too small.
    """
    a = a.expand_as(x)
    room = torch.where(a > 0, 1 - x, x)
    if norm == "l0":
        gains = (a.abs() * room).sort(dim=1, descending=True).values.cumsum(1)
        count = (gains < gap[:, None]).sum(1) + 1
        return torch.where(count > x.shape[1], torch.inf, count.to(x.dtype))
    pace = a.abs() if norm == "l2" else (a != 0).to(x.dtype)
    low, high = x.new_zeros(len(x), 1), x.new_full((len(x), 1), 1e6)
    for _ in range(120):
        middle = (low + high) / 2
        short = (torch.minimum(middle * pace, room) * a.abs()).sum(1, keepdim=True) < gap[:, None]
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    r = torch.minimum(high * pace, room)
    size = r.norm(dim=1) if norm == "l2" else r.amax(1)
    return torch.where((room * a.abs()).sum(1) < gap, torch.inf, size)


def of_plane(norm: str, model: Plane, x: Tensor) -> Tensor:
    """Exact distances (N,) of images (N, 1, 5, 5) of class 0 to class 1."""
    return distance(norm, x.flatten(1), model.a.detach().flatten(), -model(x).detach()[:, 1])


def of_linear(norm: str, layer: nn.Linear, x: Tensor, y: Tensor) -> Tensor:
    """Exact distances (N,) from y to any other class of a linear layer on x (N, C, H, W)."""
    weight, bias, flat = layer.weight.detach(), layer.bias.detach(), x.flatten(1)
    logits = flat @ weight.T + bias
    found = []
    for k in range(len(bias)):
        gap = logits.gather(1, y[:, None]).squeeze(1) - logits[:, k]
        near = distance(norm, flat, weight[k] - weight[y], gap)
        found.append(torch.where(y == k, torch.inf, near))
    return torch.stack(found, 1).amin(1)
