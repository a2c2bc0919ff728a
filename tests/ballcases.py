"""What the tests of the attacks in a ball share: linear networks, exact answers, the attacks."""

import torch
from torch import Tensor, nn

from intriguing.attacks.apgd import apgd, apgd_targeted
from intriguing.attacks.pgd import fgsm, mi_fgsm, pgd
from intriguing.attacks.square import square

F32, F64 = torch.float32, torch.float64
ATTACKS = {
    "fgsm": fgsm,
    "mi": mi_fgsm,
    "pgd": lambda *a, **k: pgd(*a, **{"steps": 8, "restarts": 2} | k),
    "pgd-all": lambda *a, **k: pgd(*a, **{"steps": 6, "stop": False, "loss": "margin"} | k),
    "apgd": lambda *a, **k: apgd(*a, **{"steps": 12, "restarts": 2} | k),
    "apgd-all": lambda *a, **k: apgd(*a, **{"steps": 12, "stop": False, "loss": "dlr"} | k),
    "apgd-t": lambda *a, **k: apgd_targeted(*a, **{"steps": 8, "targets": 2} | k),
    "square": lambda *a, **k: square(*a, **{"queries": 40} | k),
}
RADII = {"linf": 0.1, "l2": 1.2}


def inside(x_adv: Tensor, x: Tensor, norm: str, eps: float) -> bool:
    """Whether all points are in the box and in the ball, without any slack."""
    change = (x_adv.double() - x.double()).flatten(1)
    size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    return bool(((x_adv >= 0) & (x_adv <= 1)).all() and (size <= eps).all())


class Linear(nn.Module):
    """Logits W (x - 1/2) + b of images of C x H x W numbers, float64, with random weights."""

    def __init__(self, classes: int, shape=(1, 4, 5), seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        numbers = shape[0] * shape[1] * shape[2]
        self.shape = shape
        self.w = nn.Parameter(torch.randn(classes, numbers, generator=generator, dtype=F64))
        self.b = nn.Parameter(torch.randn(classes, generator=generator, dtype=F64))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5).flatten(1) @ self.w.T + self.b

    def problem(self, n: int) -> tuple[Tensor, Tensor]:
        """Images near the middle of the box, and what the network says of them."""
        generator = torch.Generator().manual_seed(1)
        x = 0.45 + 0.1 * torch.rand(n, *self.shape, generator=generator, dtype=F64)
        with torch.no_grad():
            return x, self(x).argmax(1)

    @torch.no_grad()
    def distances(self, x: Tensor, y: Tensor, norm: str) -> Tensor:
        """The radii (N,) from which on some point of the ball is of another class, without a box.

        (z_y - z_o) / |w_y - w_o| in the dual norm, for the nearest other class o.
        """
        z = self(x)
        gaps = z.gather(1, y[:, None]) - z  # (N, K)
        weights = self.w[y][:, None] - self.w[None]  # (N, K, numbers)
        dual = weights.abs().sum(2) if norm == "linf" else weights.norm(dim=2)
        return (gaps / dual).scatter(1, y[:, None], torch.inf).amin(1)
