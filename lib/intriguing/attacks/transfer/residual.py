"""What is done to the sources of an attack: several as one, and less gradient through branches."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from intriguing.models import resnet

# The last module of the residual branch, by the name of the block's class.  torchvision is imported
# in one place of this library, which is not here: its blocks go by their names.
BRANCH_ENDS = {resnet.Block.__name__: "conv2", "BasicBlock": "bn2", "Bottleneck": "bn3"}


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
    """Return the blocks of `model` whose branch can be told from the skip connection."""
    return [module for module in model.modules() if type(module).__name__ in BRANCH_ENDS]


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
    ValueError : a gamma outside [0, 1], or below 1 for a model without known residual blocks.
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must lie in [0, 1], not {gamma}")
    blocks = residual_blocks(model) if gamma < 1 else []
    if gamma < 1 and not blocks:
        raise ValueError(
            f"gamma = {gamma} weighs residual branches, and {type(model).__name__} has no block "
            f"of the kinds {', '.join(BRANCH_ENDS)}"
        )

    def weigh(module: nn.Module, inputs: tuple[Tensor, ...], z: Tensor) -> Tensor:
        return torch.lerp(z.detach(), z, gamma)  # of value z, of derivative gamma

    with ExitStack() as hooks:
        for block in blocks:
            end = getattr(block, BRANCH_ENDS[type(block).__name__])
            hooks.callback(end.register_forward_hook(weigh).remove)
        yield model
