"""The parts of one step that change what the source sees and what becomes of its gradient.

Each published method is a part; `parts` gives them by name, and joins them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from intriguing.attacks.draws import Draws
from intriguing.attacks.transfer.interaction import Interaction
from intriguing.errors import nearest

View = Callable[[Tensor, Draws], Tensor]  # pixels (N, C, H, W) to what the source sees of them


@dataclass(frozen=True)
class Noise:
    """A view: pixels + N(0, std^2).  With several copies it is VR, Wu et al. 2018.

    std : pixel units.  The code of Wang et al. 2021: 15 of 255.
    """

    std: float = 15 / 255

    def __post_init__(self) -> None:
        if not 0 <= self.std < float("inf"):
            raise ValueError(f"a standard deviation is a number of at least 0, not {self.std}")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        return x + self.std * draws.normal(*x.shape[1:])


@dataclass(frozen=True)
class Diverse:
    """A view: now and then the image smaller, anywhere on a black ground.  DI, Xie et al. 2019.

    The side is drawn evenly from the whole numbers from `low` times the full one up to the full
    one.  The image is never enlarged, so that networks with fully connected layers take it.  Every
    image of a batch has a size and a place of its own; torchattacks draws one for all.

    low : smallest side over the full side.
    probability : of a change; else the view is the image.
    """

    low: float = 0.9
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.low <= 1:
            raise ValueError(f"low must lie in (0, 1], not {self.low}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a probability lies in [0, 1], not {self.probability}")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        share, chance, *places = draws.uniform(4).unbind(1)  # (N,) each
        ways = []
        for full, place in zip(x.shape[2:], places, strict=True):
            least = math.ceil(self.low * full)
            side = least + (share * (full - least + 1)).long()
            side = torch.where(chance < self.probability, side, full)
            offset = (place * (full - side + 1)).long()
            ways.append(shrinking(full, side, offset).to(x)[:, None])
        return ways[0] @ x @ ways[1].mT  # (N, 1, H, H) (N, C, H, W) (N, 1, W, W)


@dataclass(frozen=True)
class VarianceTuning:
    """Add how the neighbours' gradient differed in the step before.  Wang and He 2021.

    The gradient of step t becomes g_t + v_{t-1}, with v_t the mean of the gradient at `copies`
    points drawn evenly within `radius` times eps of each pixel, less g_t.

    copies, radius : the paper's N and beta, at the defaults of torchattacks.
    """

    copies: int = 5
    radius: float = 1.5

    def __post_init__(self) -> None:
        if self.copies < 1 or not 0 <= self.radius < float("inf"):
            raise ValueError(f"copies must be at least 1 and radius at least 0, not {self}")

    def __call__(self, gradient: Callable, at: Tensor, here: Tensor, eps: float, draws: Draws):
        """Return v_t (N, C, H, W): the neighbours' mean gradient, less the one `here`."""
        total = torch.zeros_like(at)
        for _ in range(self.copies):
            total += gradient(at + eps * self.radius * (2 * draws.uniform(*at.shape[1:]) - 1))
        return total / self.copies - here


def smoothing(size: int, length: int, *, sigmas: float = 3.0) -> Tensor:
    """Return the matrix (size, size) that smooths a line of pixels with a Gaussian: TI's kernel.

    The Gaussian is taken at `length` points from -sigmas to sigmas and scaled to sum 1, zeros stand
    beyond the border; rows @ image @ columns.T is the convolution with the square kernel of Dong et
    al. 2019.  The code of Wang et al. 2021: sigmas 3.  Length 1 is the identity.
    """
    if length < 1 or length % 2 == 0:
        raise ValueError(f"the length of a kernel must be an odd number, not {length}")
    points = torch.linspace(-sigmas, sigmas, length, dtype=torch.float64) if length > 1 else (
        torch.zeros(1, dtype=torch.float64))  # fmt: skip
    weights = (-(points**2) / 2).softmax(0)
    apart = torch.arange(size) - torch.arange(size)[:, None] + length // 2
    inside = (apart >= 0) & (apart < length)
    return torch.where(inside, weights[apart.clamp(0, length - 1)], 0.0)


def shrinking(full: int, side: Tensor, offset: Tensor) -> Tensor:
    """Return the matrices (N, full, full) that shrink a line to `side` pixels from `offset` on.

    Bilinear, as torch.nn.functional.interpolate does without aligned corners; zeros elsewhere.
    """
    places = torch.arange(full, device=side.device)
    place = places - offset[:, None]  # (N, full): in the small image
    source = (place + 0.5) * full / side[:, None] - 0.5
    source = source.clamp(0, full - 1)
    weights = (1 - (source[:, :, None] - places).abs()).clamp_min(0)  # (N, full, full)
    return weights * ((place >= 0) & (place < side[:, None]))[:, :, None]


COMBINED = {"VMI": "MI+VT", "HybridIR": "MI+VR+SGM+IR"}


def parts(name: str) -> dict:
    """Return the arguments of `pgd` for a method or several: "MI", "VR+IR", "HybridIR" ...

    Settings for ImageNet, of the authors' code and of torchattacks where these give them; others
    are merged in: parts("TI+IR") | {"kernel": 5}.
    Raises ValueError for an unknown name, or a method named twice.
    """
    known = _published()
    names = "+".join(COMBINED.get(word, word) for word in name.split("+")).split("+")
    found: dict = {}
    for word in names:
        if word not in known:
            raise ValueError(f"no method {word!r}: {nearest(word, [*known, *COMBINED])}")
        if names.count(word) > 1:
            raise ValueError(f"{name!r} names {word} twice")
        views = found.get("views", ()) + known[word].get("views", ())
        found |= known[word] | ({"views": views} if views else {})
    return found


def _published() -> dict[str, dict]:
    return {
        "PGD": {},
        "MI": {"momentum": 1.0},
        "VR": {"views": (Noise(),), "copies": 20},
        "SGM": {"gamma": 0.2},
        "TI": {"kernel": 15},
        "DI": {"views": (Diverse(),)},
        "VT": {"variance": VarianceTuning()},
        "IR": {"interaction": Interaction()},
    }
