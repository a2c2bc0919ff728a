"""Specs by the names that chapters use: each is one method, or a few that belong together."""

from typing import Any

from intriguing.errors import nearest
from intriguing.methods import method
from intriguing.specs import Spec

OBJECTIVES = {"cross-entropy": "plain", "pgd": "madry", "fgsm-rs": "fgsm_rs"}
ARMS = {  # of the experiment on dropout: method, network, options
    "plain": ("plain", "CNN by heart", {}),
    "dropout": ("unit_dropout", "CNN", {}),
    "interaction": ("interaction_loss", "CNN", {}),
    "mislabelled": ("plain", "CNN by heart", {"wrong": 0.05}),
}


def szegedy(name: str, dataset: str = "mnist", **how: Any) -> Spec:
    """Return the spec of a network of Szegedy et al. 2014, see `methods.szegedy.spec`."""
    return method.find("szegedy").spec(name, dataset, **how)


def pools(arm: str, dataset: str = "mnist", **how: Any) -> Spec:
    """Return the spec of an arm of the pools' experiment, see `methods.szegedy_pools.spec`."""
    return method.find("szegedy_pools").spec(arm, dataset, **how)


def convnet(name: str, dataset: str, *, objective: str = "cross-entropy", **how: Any) -> Spec:
    """Return the spec of a convolutional network, small for grey digits, larger for colour images.

    Parameters
    ----------
    name : "CNN", "AllCNN", "ResNet", "VGG", "DenseNet", "MobileNet" or "ConvMixer"; for colour
        images also "ResNet-18" and "ResNet-34".
    dataset, how : as `specs.make`; MNIST and its like, or CIFAR-10 and its like.
    objective : "cross-entropy", or adversarial training: "pgd" (method `madry`) or "fgsm-rs".

    Raises
    ------
    ValueError : an unknown name, objective or option, or a network of colour images for grey ones.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"no objective {objective!r}: {nearest(objective, OBJECTIVES)}")
    return method.spec(OBJECTIVES[objective], name, dataset, **how)


def dropout(arm: str, dataset: str, **how: Any) -> Spec:
    """Return the spec of a small convolutional network of the experiment on dropout.

    Parameters
    ----------
    arm : "plain", "dropout", "interaction" or "mislabelled".  Arms of one seed share their initial
        weights and the order of the images.
    dataset, how : as `specs.make`; "dropout" has the options `rate` and `level`, "interaction"
        `weight`, `contexts`, `share` and `level`, "mislabelled" `wrong`.

    Raises
    ------
    ValueError : an unknown arm or option.
    """
    if arm not in ARMS:
        raise ValueError(f"no arm {arm!r}: {nearest(arm, ARMS)}")
    name, network, options = ARMS[arm]
    return method.spec(name, network, dataset, **{**options, **how})
