"""Five defences that only look like ones: each hides the slope of a network from attacks.

What they change most is whether an attack finds its way, which Athalye, Carlini and Wagner (2018,
arXiv 1802.00420) call obfuscated gradients.  They are for testing attacks and red flags.  Each
takes a trained network in eval mode, pixels to logits, and is one.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Rounded(nn.Module):
    """Rounds each pixel to a few levels: the slope is zero wherever it exists."""

    def __init__(self, network: nn.Module, levels: int = 8) -> None:
        super().__init__()
        self.network, self.levels = network, levels

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of pixels (N, C, H, W)."""
        return self.network(torch.round(x * (self.levels - 1)) / (self.levels - 1))


class Masked(nn.Module):
    """Puts a detached mask in the image's place, and leaves the gradient a faint blur of it.

    The mask is a smooth function of each pixel.  What a change does through it no attack by
    gradients can see, as in released code of a defence by channel masks.
    """

    def __init__(self, network: nn.Module, steep: float = 8.0) -> None:
        super().__init__()
        self.network, self.steep = network, steep

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of pixels (N, C, H, W)."""
        blurred = functional.avg_pool2d(x, 3, stride=1, padding=1)
        mask = torch.sigmoid(self.steep * (x - 0.5)).detach()
        return self.network(mask + 1e-3 * blurred)


class Resized(nn.Module):
    """Shrinks the image by a random amount and pads it at a random place (Xie et al. 2018)."""

    def __init__(self, network: nn.Module, least: float = 0.8, seed: int = 0) -> None:
        super().__init__()
        self.network, self.least = network, least
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of pixels (N, C, H, W); all images of a call are shrunk alike."""
        side = x.shape[-1]
        smallest = round(self.least * side)
        size = int(torch.randint(smallest, side, (), generator=self.generator))
        left, top = (
            int(torch.randint(0, side - size + 1, (), generator=self.generator)) for _ in "xy"
        )
        small = functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
        pad = (left, side - size - left, top, side - size - top)
        return self.network(functional.pad(small, pad))


class Saturated(nn.Module):
    """Multiplies the logits: the cross entropy of a confident answer is zero, and so its slope."""

    def __init__(self, network: nn.Module, factor: float = 1e4) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of pixels (N, C, H, W)."""
        return self.factor * self.network(x)


class Shattered(nn.Module):
    """Adds a fine ripple to each pixel: hardly a change of the image, but most of the slope."""

    def __init__(self, network: nn.Module, height: float = 0.02, waves: float = 500.0) -> None:
        super().__init__()
        self.network, self.height, self.waves = network, height, waves

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of pixels (N, C, H, W)."""
        return self.network(x + self.height * torch.sin(self.waves * x))


PLANTED = {
    "rounded pixels": Rounded,
    "detached mask": Masked,
    "random resizing": Resized,
    "saturated logits": Saturated,
    "rippled pixels": Shattered,
}
