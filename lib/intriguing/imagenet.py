"""The ImageNet networks of Wang et al. 2021, as far as torchvision has them.

The paper takes its networks from the collection `pretrainedmodels`; torchvision's weights of the
same architectures are others, so that its numbers are neighbours of the paper's, not repetitions.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from intriguing import vision
from intriguing.errors import nearest

NETWORKS = {  # name in the book -> (name in torchvision, pixels along a side)
    "AlexNet": ("alexnet", 224),
    "VGG-16": ("vgg16", 224),
    "ResNet-34": ("resnet34", 224),
    "ResNet-152": ("resnet152", 224),
    "DenseNet-121": ("densenet121", 224),
    "DenseNet-201": ("densenet201", 224),
    "Inception-v3": ("inception_v3", 299),
}
LACKING = ("SENet-154", "Inception-v4", "Inception-ResNet-v2")


class Resized(nn.Module):
    """A network that is shown every image at the size of its own training, bilinearly.

    size : pixels along a side.  The authors' code resizes images to the input of each target too.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, 3, H, W)."""
        return self.network(
            F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        )


def network(name: str, weights: str = "IMAGENET1K_V1", *, size: int = 224) -> nn.Module:
    """Return one of NETWORKS in eval mode on the CPU: pixels (N, 3, size, size) to 1000 logits.

    Parameters
    ----------
    name : as in NETWORKS.
    weights : as `vision.network` takes them; "" for random ones.
    size : of the images that it will be shown; a network of another size gets them `Resized`.

    Raises
    ------
    ValueError : another name; for those that torchvision lacks the message says so.
    UserError : the weights cannot be had, see `vision.network`.
    """
    if name in LACKING:
        raise ValueError(f"torchvision has no {name}: take one of {', '.join(NETWORKS)}")
    if name not in NETWORKS:
        raise ValueError(f"no ImageNet network {name!r}: {nearest(name, NETWORKS)}")
    known, own_size = NETWORKS[name]
    model = vision.network(known, weights or None)
    return model if own_size == size else Resized(model, own_size).eval()
