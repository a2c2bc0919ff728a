"""Training with pools of adversarial examples at every layer (Szegedy et al. 2014, Section 4.1).

The pool of layer l holds pairs (h', y): h' is the least change of h_l(x), the layer's output for a
training image x of class y, that takes the layers above to another class. Layer 0 is the image
itself. A random part of each pool is replaced before every epoch.

Training takes turns. An update of turn l fits the whole network to clean images and the layers
above l to entries of pool l, all under their true labels; an entry does not move the layers below
it. (The paper may have left the lower layers alone altogether; `tuning/szegedy_pools.csv` tells
what that did.)

The paper gives no sizes, no rates and no order of the phases, and does not say whether entries
follow the layers below them. Here they do not: an entry is a point of the layer's space and grows
old until it is replaced.

`OURS` holds the arms of chapter 05, which train FC100-100-10 by Adam, minibatches of 256, 20 epochs
with a step size that falls linearly to zero. The paper gives nothing of this; how it was chosen, on
held-out training images: `tuning/szegedy_pools.csv`, run again by `tuning/run.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from intriguing import attacks, runtime
from intriguing.attacks import changes
from intriguing.attacks.losses import without
from intriguing.errors import nearest
from intriguing.methods.szegedy import each_layer, lambdas, numbered
from intriguing.models.mlp import MLP
from intriguing.specs import Setting, Spec, make
from intriguing.training import objectives
from intriguing.training.fit import Fit
from intriguing.training.loop import Outcome
from intriguing.training.objectives import Objective
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "szegedy2014intriguing"
version = 1
PAPER = None  # sizes, rates and phases are not stated


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of training with weight decay, and with pools or dropout beside it.

    Parameters
    ----------
    fit : the training by minibatches.
    lam : lambda of each layer, in the calibrated reading.
    sizes : entries of the pool of each layer, the image first; 0: that layer has none.
    drop : dropout rates of the pixels and of each hidden layer; empty: no dropout.
    fresh, share, target, gaussian : as `PoolTraining` takes them.

    Raises
    ------
    ValueError : pools and dropout together.
    """

    fit: Fit
    lam: tuple[float, ...]
    sizes: tuple[int, ...] = ()
    drop: tuple[float, ...] = ()
    fresh: int = 500
    share: float = 0.05
    target: Literal["random", "likeliest"] = "likeliest"
    gaussian: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sizes and self.drop:
            raise ValueError("pools and dropout together are no arm of the experiment")

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, float]]:
        """Return them as the keys of 2026-11-29 do."""
        found = self.fit.written() | numbered("lam", self.lam)
        if self.drop:
            return "dropout", found | numbered("drop", self.drop), {}
        if not self.sizes:
            return "decay-minibatch", found, {}
        pools = {"fresh": self.fresh, "share": self.share, "gaussian": self.gaussian,
                 "likeliest": self.target == "likeliest"}  # fmt: skip
        return "pools", found | pools | numbered("size", self.sizes), {}


def objective(request: Request, options: Options) -> Objective:
    """Return the cross entropy with weight decay, with dropout or pools as the options say."""
    decay = objectives.coefficients("calibrated", options.lam, request.model)
    if options.drop:
        return objectives.Dropout(decay, options.drop, request.generator("dropout"))
    if not options.sizes:
        return objectives.cross_entropy(decay)
    return PoolTraining(
        request.x,
        request.y,
        sizes={level: size for level, size in enumerate(options.sizes) if size},
        fresh=options.fresh,
        share=options.share,
        target=options.target,
        gaussian=options.gaussian,
        coefficients=decay,
        generator=request.generator("pool"),
    )


def label(options: Options) -> str:
    """Return the kind of arm, lambda, and the layers that have pools."""
    levels = [str(level) for level, size in enumerate(options.sizes) if size]
    return f"{options.written()[0]} {lambdas(options.lam)}" + (
        f" layers={','.join(levels)}" if levels else "")  # fmt: skip


def passes(options: Options) -> Passes:
    """A forward and a backward pass, and the attacks that refresh the pools."""
    pools = sum(size > 0 for size in options.sizes)
    return Passes(attacked=pools * options.fresh, pools=pools)


# Less exact than the attack's defaults: half the cost, and distortions a twentieth larger.
LOOSE = {"ftol": 0.1, "c_tol": 0.2, "max_iterations": 30}


def outputs(model: MLP, x: Tensor, level: int) -> Tensor:
    """Return h_l (N, units, 1, 1) of pixels x (N, C, H, W); level 0 returns the pixels.

    Four axes, so that an attack takes them for images; no gradient flows back.
    """
    if level == 0:
        return x
    with torch.no_grad():
        return model.hidden(x)[level - 1][:, :, None, None]  # (N, units) -> (N, units, 1, 1)


class Pool:
    """Entries of one layer: h (M, ...) in [0, 1], labels y (M,), and the image each came from."""

    def __init__(self, level: int, size: int) -> None:
        if size < 1:
            raise ValueError(f"the pool of layer {level} needs a size of at least 1, got {size}")
        self.level, self.size = level, size
        self.h: Tensor | None = None
        self.y: Tensor | None = None
        self.image: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.h is None else len(self.h)

    def put(self, h: Tensor, y: Tensor, image: Tensor, generator: torch.Generator) -> Tensor:
        """Add entries while there is room, else write over random ones; return their places."""
        kept = min(len(h), self.size)
        new = {"h": h[:kept], "y": y[:kept], "image": image[:kept]}
        before = len(self)
        room = min(self.size - before, kept)
        old = torch.randperm(before, generator=generator)[: kept - room]
        places = torch.cat((torch.arange(before, before + room), old)).to(h.device)
        for name, values in new.items():
            mine = getattr(self, name)
            grown = torch.cat((values[:0] if mine is None else mine, values[:room]))
            grown[places] = values
            setattr(self, name, grown)
        return places

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return n entries (h, y) drawn with replacement."""
        rows = torch.randint(len(self), (n,), generator=generator).to(self.y.device)
        return self.h[rows], self.y[rows]


class PoolTraining:
    """The objective and companion of `fit_minibatch` that train an MLP with adversarial pools.

    Parameters
    ----------
    x, y : the training images (N, C, H, W) and labels (N,).
    sizes : entries of the pool of each layer that has one, such as {0: 5000, 1: 5000, 2: 5000}.
    fresh : entries made for each pool before each epoch but the first, which trains without.
    share : of each minibatch, the part that comes from the pool.
    coefficients : a_l of the penalty a_l * sum(w_l^2) of each linear layer.
    generator : draws images, targets, places and entries; on the CPU.
    target : "random", a wrong class drawn evenly, or "likeliest", the wrong class of largest logit.
    gaussian : replace each adversarial change by Gaussian noise of its norm.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        *,
        sizes: Mapping[int, int],
        fresh: int,
        coefficients: Sequence[float],
        generator: torch.Generator,
        share: float = 0.5,
        target: str = "random",
        gaussian: bool = False,
    ) -> None:
        if not sizes:
            raise ValueError("training with pools needs at least one pool")
        if not 0 < share < 1 or fresh < 1:
            raise ValueError(f"need 0 < share < 1 and fresh >= 1, got {share} and {fresh}")
        if target not in ("random", "likeliest"):
            raise ValueError(f"target must be 'random' or 'likeliest', not {target!r}")
        self.x, self.y, self.target = x, y, target
        self.pools = [Pool(level, size) for level, size in sorted(sizes.items())]
        self.fresh, self.share, self.coefficients = fresh, share, coefficients
        self.generator, self.gaussian, self.updates = generator, gaussian, 0
        self.objective = objectives.cross_entropy(coefficients)

    def __call__(self, model: MLP, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of this update's phase on clean x (B, ...), part of them exchanged.

        In eval mode: the loss of the whole network on clean x alone.
        """
        if not model.training:
            return self.objective(model, x, y)
        pool = self.pools[self.updates % len(self.pools)]
        self.updates += 1
        if not pool:  # still without entries
            return self.objective(model, x, y)
        level = pool.level
        entries = round(self.share * len(x))
        h, labels = pool.draw(entries, self.generator)
        clean = model.hidden(x[entries:])[level - 1] if level else x[entries:].flatten(1)
        logits = model.above(level)(torch.cat((clean, h.flatten(1))))
        loss = functional.cross_entropy(logits, torch.cat((y[entries:], labels)))
        return objectives.add_decay(loss, model, self.coefficients)

    def before_round(self, model: MLP, outcome: Outcome) -> None:
        """Replace a part of each pool by examples made for the network as it is now."""
        if outcome.rounds == 0:
            return
        for pool in self.pools:
            started = time.perf_counter()
            made = self._make(model, pool.level)
            if made is None:  # it gets nothing right yet
                continue
            found, y, image = made
            pool.put(found.x_adv, y, image, self.generator)
            for name, value in {
                "seconds": time.perf_counter() - started,
                "attacks": len(found.success),
                "reached": int(found.success.sum()),
                "gradients": int(found.gradients.sum()),
            }.items():
                key = f"pool{pool.level}_{name}"
                outcome.extra[key] = outcome.extra.get(key, 0) + value

    def state_dict(self) -> dict:
        """Return the pools, the count of updates and the generator."""
        pools = [{"h": pool.h, "y": pool.y, "image": pool.image} for pool in self.pools]
        return {"pools": pools, "updates": self.updates, "generator": self.generator.get_state()}

    def load_state_dict(self, tree: dict) -> None:
        """Go on from what `state_dict` returned."""
        for pool, entries in zip(self.pools, tree["pools"], strict=True):
            for name, value in entries.items():
                setattr(pool, name, value if value is None else value.to(self.x.device))
        self.updates = tree["updates"]
        self.generator.set_state(tree["generator"])

    def _make(self, model: MLP, level: int) -> tuple[attacks.AttackResult, Tensor, Tensor] | None:
        """Attack the part above a layer at images that it gets right, towards wrong classes."""
        candidates = torch.randperm(len(self.x), generator=self.generator)[: 2 * self.fresh]
        candidates = candidates.to(self.x.device)
        with runtime.eval_mode(model.above(level)) as part:
            h, y = outputs(model, self.x[candidates], level), self.y[candidates]
            right = (attacks.predict(part, h) == y).nonzero().squeeze(1)[: self.fresh]
            if not len(right):
                return None
            h, y = h[right], y[right]
            found = attacks.lbfgs(part, h, y, target=self._targets(part, h, y), **LOOSE)
        if self.gaussian:
            noisy = changes.gaussian_in_box(h, found.x_adv, generator=self.generator)
            found = replace(found, x_adv=noisy)
        return found, y, candidates[right]

    def _targets(self, part: MLP, h: Tensor, y: Tensor) -> Tensor:
        """Return a wrong class (N,) for each row: drawn evenly, or the likeliest."""
        if self.target == "likeliest":
            with torch.no_grad():
                return without(part(h), y).argmax(1)
        classes = part.layers[-1].out_features
        shift = torch.randint(1, classes, (len(y),), generator=self.generator)
        return (y + shift.to(y.device)) % classes


_ADAM = Fit(20, 256, 1e-2)
_FEW = {"epochs": 2, "batch": 32}  # on a few thousand images
_SIZE = 2500


def _bare(lam: float, few: Mapping[str, Any] = _FEW, **fit: float) -> Setting:
    """Return the setting of an arm without pools."""
    return Setting("fc100-100-10", Options(replace(_ADAM, **fit), (lam,) * 3), few)


def _pools(*levels: int, gaussian: bool = False) -> Setting:
    """Return the setting of an arm with the pools of these layers; 0 is the image."""
    sizes = tuple(_SIZE if level in levels else 0 for level in range(3))
    options = Options(_ADAM, (1e-4,) * 3, sizes, gaussian=gaussian)
    return Setting("fc100-100-10", options, _FEW | {"fresh": 60})


OURS = {
    "grey": {
        "decay": _bare(1e-4, lr=2e-2),
        "longer": _bare(1e-4, _FEW | {"epochs": 3}, lr=2e-2, epochs=26),
        "dropout": Setting(
            "fc100-100-10", Options(_ADAM, (1e-5,) * 3, drop=(0.0, 0.1, 0.1)), _FEW
        ),
        "input": _pools(0),
        "first": _pools(1),
        "top": _pools(2),
        "hidden": _pools(1, 2),
        "all": _pools(0, 1, 2),
        "gaussian": _pools(0, 1, 2, gaussian=True),
    }
}


def spec(
    arm: str,
    dataset: str = "mnist",
    *,
    lam: float | Iterable[float] | None = None,
    **how: Any,
) -> Spec:
    """Return the spec of an FC100-100-10 of one arm of the experiment on adversarial pools.

    Parameters
    ----------
    arm : a name of `OURS`.  Arms of one seed share their initial weights and the order of images.
    dataset, how : as `specs.make`.
    lam : another lambda, for all layers or one each.

    Raises
    ------
    ValueError : an unknown arm or option.
    """
    arms = OURS["grey"]
    if arm not in arms:
        raise ValueError(f"no arm {arm!r}: {nearest(arm, arms)}")
    lams = each_layer(arm, arms[arm].options.lam, lam)
    return make(arms[arm], arm, dataset, lam=lams, **how)
