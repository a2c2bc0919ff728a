"""Specs: what decides the weights of a network, and the key that follows from it."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from intriguing import data, models
from intriguing.errors import nearest
from intriguing.training import ARMS, DROPOUT_ARMS, RECIPES, Recipe, network
from intriguing.training.jobs import JOBS

GREY = ("mnist", "mnist-5k", "fashion-mnist")  # sets of 1 x 28 x 28 pixels


@dataclass(frozen=True)
class Spec:
    """Everything that decides the weights of one network, and nothing else.

    Parameters
    ----------
    architecture : a name of `models.architectures()`.
    dataset, split, n : what it is trained on, as `data.load` takes them.
    objective : a name of `training.jobs.JOBS`.
    numbers : the objective's and the optimiser's numbers, (name, value) pairs in any order.
    seed : of the initial weights and of the order of the images, two separate streams.
    data_sha256 : hash of the training images; `resolve` fills it.
    recipe : version of the training code; raised when its meaning changes.
    """

    architecture: str
    dataset: str
    split: str = "train"
    n: int | None = None
    objective: str = "cross-entropy"
    numbers: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    data_sha256: str = ""
    recipe: int = 1

    def __post_init__(self) -> None:
        if self.architecture not in models.architectures():
            raise ValueError(
                f"no architecture {self.architecture!r}: "
                f"{nearest(self.architecture, models.architectures())}"
            )
        if self.objective not in JOBS:
            raise ValueError(f"no objective {self.objective!r}: {nearest(self.objective, JOBS)}")
        pairs = tuple(sorted((str(name), float(value)) for name, value in self.numbers))
        if not all(math.isfinite(value) for _, value in pairs):
            raise ValueError(f"a spec holds finite numbers only, got {dict(pairs)}")
        object.__setattr__(self, "numbers", pairs)

    @property
    def key(self) -> str:
        """The sha256 of the spec's canonical JSON (64 hex digits); names the files."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """A short name for people: architecture, objective, weight decay, data, seed."""
        size = "" if self.split == "train" else self.split.removeprefix("train")
        size += "" if self.n is None else f"[{self.n}]"
        lam = ",".join(f"{value:g}" for name, value in self.numbers if name.startswith("lam"))
        decay = f" lam={lam}" if lam else ""
        decay += "".join(f" eps={value:.3g}" for name, value in self.numbers if name == "eps")
        named = ("rate", "weight", "wrong")
        decay += "".join(f" {name}={value:g}" for name, value in self.numbers if name in named)
        decay += " first layer" if ("level", 1.0) in self.numbers else ""
        sizes = [name[-1] for name, value in self.numbers if name.startswith("size") and value]
        decay += f" layers={','.join(sizes)}" if sizes else ""
        return f"{self.architecture} {self.objective}{decay} {self.dataset}{size} seed {self.seed}"


def szegedy(
    name: str,
    dataset: str = "mnist",
    *,
    decay: str = "calibrated",
    lam: float | Iterable[float] | None = None,
    seed: int = 0,
    split: str = "train",
    n: int | None = None,
    **budget: float,
) -> Spec:
    """Return the spec of a network of Szegedy et al. 2014, Table 1 and section 4.

    Parameters
    ----------
    name : "FC10(1e-4)", "FC10(1e-2)", "FC10(1)", "FC100-100-10", "FC200-200-10", "FC123-456-10",
        "AE400-10" or "CNN" (ours; the paper's convolutional network is not described).
    dataset, split, n : as `data.load`.  With "mnist-5k", or n of at most 10,000, the smaller
        budget of the recipe applies.
    decay : the reading of the weight decay, "calibrated" or "literal"; see
        `training.objectives.decay_coefficients`.  The CNN has none.
    lam : another lambda, for all layers or one each; default the paper's.
    seed : the training seed.
    **budget : other values for numbers of the recipe, such as ``iterations=100``.

    Raises
    ------
    ValueError : an unknown name, reading or number.
    """
    if name not in RECIPES:
        raise ValueError(f"no network {name!r}: {nearest(name, RECIPES)}")
    recipe = RECIPES[name]
    numbers = _numbers(name, recipe, dataset, n, budget)
    objective = "cross-entropy"
    if recipe.lam:
        objective = f"decay-{decay}"
        if objective not in JOBS:
            raise ValueError(f"no weight-decay reading {decay!r}: valid are calibrated, literal")
        numbers |= _lams(name, recipe, lam)
    elif lam is not None:
        raise ValueError(f"{name} has no weight decay, but lam={lam} was given")
    return Spec(recipe.architecture, dataset, split, n, objective, tuple(numbers.items()), seed)


def convnet(
    name: str,
    dataset: str,
    *,
    objective: str = "cross-entropy",
    seed: int = 0,
    split: str = "train",
    n: int | None = None,
    **budget: float,
) -> Spec:
    """Return the spec of a convolutional network, small for grey digits, larger for colour images.

    Parameters
    ----------
    name : "CNN", "AllCNN", "ResNet", "VGG", "DenseNet", "MobileNet" or "ConvMixer"; for colour
        images also "ResNet-18" and "ResNet-34".
    dataset, split, n : as `data.load`; MNIST and its like, or CIFAR-10 and its like.
    objective : "cross-entropy", or adversarial training: "pgd" (Madry et al. 2018) or "fgsm-rs",
        one step from a random start (Wong et al. 2020).  Their attacks' numbers are `eps`, `step`
        and, for "pgd", `steps`; see `training.convnets`.
    seed, budget : as `szegedy`.

    Raises
    ------
    ValueError : an unknown name, objective or number, or a network of colour images for grey ones.
    """
    recipe = network(name, "grey" if dataset in GREY else "colour", objective)
    numbers = _numbers(name, recipe, dataset, n, budget)
    return Spec(recipe.architecture, dataset, split, n, objective, tuple(numbers.items()), seed)


def pools(
    arm: str,
    dataset: str = "mnist",
    *,
    lam: float | Iterable[float] | None = None,
    seed: int = 0,
    split: str = "train",
    n: int | None = None,
    **budget: float,
) -> Spec:
    """Return the spec of an FC100-100-10 of one arm of the experiment on adversarial pools.

    Parameters
    ----------
    arm : "decay", "longer", "dropout", "input", "first", "top", "hidden", "all" or "gaussian"; see
        `training.arms`.
    dataset, split, n, lam, seed, budget : as `szegedy`.  Arms of one seed share their initial
        weights and the order of the images.

    Raises
    ------
    ValueError : an unknown arm or number.
    """
    if arm not in ARMS:
        raise ValueError(f"no arm {arm!r}: {nearest(arm, ARMS)}")
    objective, recipe = ARMS[arm]
    numbers = _numbers(arm, recipe, dataset, n, budget) | _lams(arm, recipe, lam)
    return Spec(recipe.architecture, dataset, split, n, objective, tuple(numbers.items()), seed)


def dropout(
    arm: str,
    dataset: str,
    *,
    seed: int = 0,
    split: str = "train",
    n: int | None = None,
    **budget: float,
) -> Spec:
    """Return the spec of a small convolutional network of the experiment on dropout.

    Parameters
    ----------
    arm : "plain", "dropout", "interaction" or "mislabelled"; see `training.dropout_arms`.
    dataset, split, n, seed, budget : as `szegedy`; "dropout" has the numbers `rate` and `level`,
        "interaction" `weight`, `contexts`, `share` and `level`, "mislabelled" `wrong`.  Arms of one
        seed share their initial weights and the order of the images.

    Raises
    ------
    ValueError : an unknown arm or number.
    """
    if arm not in DROPOUT_ARMS:
        raise ValueError(f"no arm {arm!r}: {nearest(arm, DROPOUT_ARMS)}")
    objective, recipes = DROPOUT_ARMS[arm]
    recipe = recipes["grey" if dataset in GREY else "colour"]
    numbers = _numbers(arm, recipe, dataset, n, budget)
    return Spec(recipe.architecture, dataset, split, n, objective, tuple(numbers.items()), seed)


def _lams(name: str, recipe: Recipe, lam: float | Iterable[float] | None) -> dict[str, float]:
    """Return {"lam0": ..., ...}: one lambda for each decayed layer."""
    given = recipe.lam if lam is None else lam
    lams = (given,) * len(recipe.lam) if isinstance(given, (int, float)) else tuple(given)
    if len(lams) != len(recipe.lam):
        raise ValueError(f"{name} has {len(recipe.lam)} decayed layers, got {len(lams)} lam")
    return {f"lam{i}": value for i, value in enumerate(lams)}


def _numbers(
    name: str, recipe: Recipe, dataset: str, n: int | None, budget: dict[str, float]
) -> dict[str, float]:
    """Return the recipe's numbers, those of few images where there are few, and the budget's."""
    numbers = dict(recipe.numbers)
    if dataset == "mnist-5k" or (n is not None and n <= 10_000):
        numbers |= recipe.small
    for option in budget:
        if option not in numbers:
            raise ValueError(f"{name} has no number {option!r}: {nearest(option, numbers)}")
    return numbers | budget


def resolve(spec: Spec) -> Spec:
    """Return the spec with the hash of its training images filled in.

    For a whole split of a known set the hash stands in `data/sources.toml`, and `data.load` holds
    the images against it: a network in the store is then found without decoding its images.
    """
    if spec.data_sha256:
        return spec
    known = data.sources().get(spec.dataset)
    digest = known.content.get(spec.split) if known is not None and spec.n is None else None
    return replace(spec, data_sha256=digest or data.load(spec.dataset, spec.split, n=spec.n).sha256)


def base(spec: Spec) -> Spec | None:
    """Return the spec of the network that `spec` is built on, or None.

    "ae400-10" is built on an autoencoder.  Both readings of the weight decay share it, since the
    paper states decay for the softmax only.
    """
    if spec.architecture != "ae400-10":
        return None
    names = ("epochs", "batch", "lr", "rho", "beta", "ae_decay")
    numbers = tuple((name, value) for name, value in spec.numbers if name in names)
    return replace(spec, architecture="ae400", objective="sparse-autoencoder", numbers=numbers)
