"""The ImageNet networks of the paper profile, offline: random weights, real architectures."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intriguing import imagenet, vision
from intriguing.attacks import transfer
from intriguing.attacks.transfer import Interaction
from intriguing.models import folding


def test_a_network_of_the_size_of_its_images_is_vision_s():
    net, same = imagenet.network("ResNet-34", ""), vision.network("resnet34")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert not net.training and torch.equal(net(x), same(x))


def test_a_network_of_another_size_sees_the_image_enlarged():
    class Corner(nn.Module):
        def forward(self, x):
            return x[:, :, :2, :2].flatten(1)

    x = torch.rand(3, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    shown = F.interpolate(x, (9, 9), mode="bilinear", align_corners=False)
    wrapped = imagenet.Resized(Corner().eval(), 9)
    assert not wrapped.training
    assert torch.equal(wrapped(x), shown[:, :, :2, :2].flatten(1))


def test_what_torchvision_lacks_is_named():
    for name in imagenet.LACKING:
        with pytest.raises(ValueError, match="torchvision has no"):
            imagenet.network(name)
    with pytest.raises(ValueError, match="did you mean ResNet-34"):
        imagenet.network("ResNet-43")


def test_every_architecture_exists_in_torchvision():
    names = vision.module().models.list_models(module=vision.module().models)
    assert {known for known, _ in imagenet.NETWORKS.values()} <= set(names)


def test_the_attack_of_the_paper_profile_runs_on_a_torchvision_network():
    """Residual blocks are found behind the folding, and the interaction term is taken in pieces."""
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    y = torch.tensor([3, 4])
    net = folding.folded(imagenet.network("ResNet-34", ""), x)
    options = transfer.parts("HybridIR") | {
        "copies": 2, "interaction": Interaction(1.0, grid=4, samples=2)}  # fmt: skip
    found = transfer.pgd(net, x, y, eps=16 / 255, steps=2, batch=2, **options)
    assert (found.x_adv - x).abs().max() <= 16 / 255
    assert found.gradients.tolist() == [2 * (2 + 5)] * 2
