"""What is done to the sources of an attack: several as one, and less gradient through branches."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

# torchvision is imported in one place of this library, which is not here: its blocks go by the full
# names of their classes, all others by what they declare.
_TORCHVISION = {
    "torchvision.models.resnet.BasicBlock": "bn2",
    "torchvision.models.resnet.Bottleneck": "bn3",
}


class Ensemble(nn.Module):
    """Several networks as one source: the mean of their logits (Dong et al. 2018).

    Raises ValueError for no network at all.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        if not models:
            raise ValueError("an ensemble needs at least one network")
        self.models = nn.ModuleList(models)
        if not any(model.training for model in models):  # a fresh module is in train mode
            self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean logits (N, classes) for pixels (N, C, H, W)."""
        return torch.stack([model(x) for model in self.models]).mean(0)


def residual_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of `model` whose branch can be told from the skip connection.

    They are those that declare it, by an attribute `branch_end` with the name of the last module of
    the branch, as `models.resnet.Block` does; and torchvision's.  What a class is called says
    nothing.

    Raises
    ------
    ValueError : a block declares what it does not have.
    """
    return [module for module in model.modules() if branch_end(module) is not None]


def branch_end(module: nn.Module) -> nn.Module | None:
    """Return the last module of the residual branch of a block, None where it is no known block.

    Raises as `residual_blocks`.
    """
    kind = type(module)
    name = getattr(module, "branch_end", None)
    name = name or _TORCHVISION.get(f"{kind.__module__}.{kind.__qualname__}")
    if name is None:
        return None
    end = dict(module.named_modules()).get(name) if isinstance(name, str) else None
    if end is None or end is module:
        raise ValueError(f"{kind.__name__} declares branch_end = {name!r}: no module of it is that")
    return end


@contextmanager
def decayed(model: nn.Module, gamma: float) -> Iterator[nn.Module]:
    """Let `gamma` times the gradient through each residual branch: SGM, Wu et al. 2020.

    Where a block is x + f(x), its derivative 1 + f'(x) becomes 1 + gamma f'(x); the logits stay
    what they are, to the last bit.  The model is as before at the end.

    Every block decays, as in the equation.  The code of Wang et al. 2021 leaves out the first block
    of each stage, divides the gradient of each block by its standard deviation over the batch,
    and, where a block uses one ReLU twice, scales the skip connection too.

    Parameters
    ----------
    gamma : 0 to 1; 1 changes nothing.  Wang et al. 2021: 0.2 for ResNet-34.

    Raises
    ------
    ValueError : a gamma outside [0, 1], or below 1 for a model without known residual blocks
        (see `residual_blocks`).
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must lie in [0, 1], not {gamma}")
    blocks = residual_blocks(model) if gamma < 1 else []
    if gamma < 1 and not blocks:
        raise ValueError(
            f"gamma = {gamma} weighs residual branches, and {type(model).__name__} has no block "
            "that declares its branch_end"
        )

    def weigh(module: nn.Module, inputs: tuple[Tensor, ...], z: Tensor) -> Tensor:
        return torch.lerp(z.detach(), z, gamma)  # of value z, of derivative gamma

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(branch_end(block).register_forward_hook(weigh).remove)
        yield model
