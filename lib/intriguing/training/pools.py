"""Training with pools of adversarial examples at every layer (Szegedy et al. 2014, Section 4.1).

The pool of layer l holds pairs (h', y): h' is the least change of h_l(x), the layer's output for a
training image x of class y, that takes the layers above to another class. Layer 0 is the image
itself. A random part of each pool is replaced before every epoch.

Training takes turns. An update of turn l fits the whole network to clean images and the layers
above l to entries of pool l, all under their true labels; an entry does not move the layers below
it. (The paper may have left the lower layers alone altogether; `arms` tells what that did.)

The paper gives no sizes, no rates and no order of the phases, and does not say whether entries
follow the layers below them. Here they do not: an entry is a point of the layer's space and grows
old until it is replaced.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from intriguing import attacks, runtime
from intriguing.attacks import changes
from intriguing.models import MLP
from intriguing.training import objectives
from intriguing.training.loop import Outcome

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
                return part(h).scatter(1, y[:, None], -torch.inf).argmax(1)
        classes = part.layers[-1].out_features
        shift = torch.randint(1, classes, (len(y),), generator=self.generator)
        return (y + shift.to(y.device)) % classes
