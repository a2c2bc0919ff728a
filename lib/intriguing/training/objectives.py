"""Objectives: functions (model, x, y) -> scalar loss, made from their numbers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]

READINGS = ("literal", "calibrated")


def decay_coefficients(reading: str, lam: Sequence[float], units: Sequence[int]) -> list[float]:
    """Return the coefficient a of each layer's penalty a * sum(w^2).

    Szegedy et al. 2014 add lambda * sum(w^2) / k to the loss, k being the number of units in the
    layer; whether the cross entropy is a mean is not said.  Two readings:

    - "literal": a = lambda / k, k the outputs of the layer, added to the mean cross entropy.
    - "calibrated": a = lambda / 2, the usual half-square penalty.  Inferred, not stated: of eight
      coefficients tried on linear models it is the one whose errors fit Table 1.

    Parameters
    ----------
    reading : "literal" or "calibrated".
    lam : the paper's lambda of each layer.
    units : the number of outputs of each layer.

    Raises
    ------
    ValueError : another reading, or lengths that differ.
    """
    if reading not in READINGS:
        raise ValueError(f"no weight-decay reading {reading!r}: valid are {', '.join(READINGS)}")
    if len(lam) != len(units):
        raise ValueError(f"{len(lam)} weight decays for {len(units)} layers")
    if reading == "literal":
        return [value / k for value, k in zip(lam, units, strict=True)]
    return [value / 2 for value in lam]


def linear_layers(model: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of a network, in order of definition."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def coefficients(reading: str, lam: Sequence[float], model: nn.Module) -> list[float]:
    """Return `decay_coefficients` for the linear layers of a network."""
    units = [layer.out_features for layer in linear_layers(model)]
    return decay_coefficients(reading, lam, units)


def cross_entropy(coefficients: Sequence[float] = (), smoothing: float = 0.0) -> Objective:
    """Return mean cross entropy + sum over layers of a_l * sum(w_l^2); biases are not decayed.

    Parameters
    ----------
    coefficients : a_l of each linear layer; empty means no decay.
    smoothing : share of each label that goes to all classes alike (Szegedy et al. 2016); in train
        mode only.

    Raises
    ------
    ValueError : a smoothing outside [0, 1).
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is a share of the label, at least 0 and below 1: {smoothing}")
    values = [float(value) for value in coefficients]

    def objective(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        loss = of_logits(model(x), y, smoothing if model.training else 0.0)
        return add_decay(loss, model, values)

    return objective


def of_logits(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross entropy of logits (N, K) and labels (N,), which may be smoothed."""
    return functional.cross_entropy(_single(logits), y, label_smoothing=smoothing)


def _single(logits: Tensor) -> Tensor:
    """Return logits in float32 at least: autocast need not see to it."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def divergence(first: Tensor, second: Tensor) -> Tensor:
    r"""Return KL(p || q) (N,), p and q the softmax of logits `first` and `second`, both (N, K).

    Each term p log(p / q) is taken together with q - p, whose sum over the classes is zero: with
    r = log q - log p it is p (exp(r) - 1 - r), which is never negative.  So is the sum, also in
    float32, where that of p log(p / q) is rounding alone once p and q agree to three digits.
    Gradients reach both.
    """
    log_p, log_q = _single(first).log_softmax(1), _single(second).log_softmax(1)
    r, p = log_q - log_p, log_p.exp()
    small = r.clamp(max=1)  # exp(r) of a class that p all but excludes would be infinite
    return torch.where(r < 1, p * (small.expm1() - small), log_q.exp() - p * (1 + r)).sum(1)


def cosines(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines (N,) of rows (N, ...), and where neither row is zero, (N,) bool.

    Each row is first divided by its largest number: squares of small gradients are zero in float32.
    """
    units, largest = [], []
    for rows in (first.flatten(1), second.flatten(1)):
        peak = rows.detach().abs().amax(1, keepdim=True)
        even = rows / peak.clamp_min(torch.finfo(rows.dtype).tiny)
        length = even.square().sum(1, keepdim=True).clamp_min(0.5).sqrt()  # 1 at least, or zero
        units.append(even / length)
        largest.append(peak[:, 0] > 0)
    return (units[0] * units[1]).sum(1), largest[0] & largest[1]


def add_decay(loss: Tensor, model: nn.Module, coefficients: Sequence[float]) -> Tensor:
    """Return loss + sum over layers of a_l * sum(w_l^2); no coefficients, no decay."""
    if coefficients:
        for value, layer in zip(coefficients, linear_layers(model), strict=True):
            loss = loss + value * layer.weight.square().sum()
    return loss


class Drawing:
    """What an objective needs to be the companion of its own training: it draws, and resumes.

    Parameters
    ----------
    generator : on the CPU.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def before_round(self, model: nn.Module, outcome: object) -> None:
        """Nothing to prepare."""

    def state_dict(self) -> dict:
        """Return the generator's state."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, tree: dict) -> None:
        """Set the generator's state."""
        self.generator.set_state(tree["generator"])

    def thin(self, h: Tensor, rate: float) -> Tensor:
        """Drop a share of the outputs h (N, ...); what is left grows by 1 / (1 - rate)."""
        if rate == 0:
            return h
        kept = torch.rand(h.shape, generator=self.generator).to(h.device) >= rate
        return h * kept / (1 - rate)


def check_rates(*rates: float) -> None:
    """Refuse dropout rates outside [0, 1) (ValueError)."""
    if not all(0 <= rate < 1 for rate in rates):
        raise ValueError(f"a dropout rate lies in [0, 1), got {rates}")


class Dropout(Drawing):
    """Cross entropy with decay and dropout, for an MLP; the companion of its own training.

    In train mode each output of a layer is dropped with the layer's rate, and what is left grows by
    1 / (1 - rate) (Srivastava et al. 2014).  In eval mode nothing is dropped.

    Parameters
    ----------
    coefficients : a_l of each linear layer, as in `cross_entropy`.
    rates : the share dropped of the pixels and of each hidden layer, in [0, 1).
    generator : draws what is dropped; on the CPU.
    """

    def __init__(
        self, coefficients: Sequence[float], rates: Sequence[float], generator: torch.Generator
    ) -> None:
        super().__init__(generator)
        check_rates(*rates)
        self.plain, self.rates = cross_entropy(coefficients), rates

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of an `MLP` with `len(rates)` linear layers, on x (N, ...)."""
        if not model.training:
            return self.plain(model, x, y)
        return self.plain(_Thinned(model, self), x, y)


class _Thinned(nn.Module):
    """An MLP with dropout, sharing its layers."""

    def __init__(self, model: nn.Module, dropout: Dropout) -> None:
        super().__init__()
        self.layers, self.dropout = model.layers, dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for pixels (N, ...)."""
        h = self.dropout.thin(x.flatten(1), self.dropout.rates[0])
        for layer, rate in zip(self.layers[:-1], self.dropout.rates[1:], strict=True):
            h = self.dropout.thin(torch.sigmoid(layer(h)), rate)
        return self.layers[-1](h)


def sparse_reconstruction(rho: float, beta: float, decay: float = 0.0) -> Objective:
    """Return the loss of a sparse autoencoder; the labels are not used.

    Per image: the binary cross entropy of the reconstruction summed over the pixels, plus
    beta * sum over units j of KL(rho || m_j), m_j the mean activation of unit j in the batch,
    plus decay * sum(w^2) of the encoder.  (The penalty is that of Ng's CS294A notes; the paper
    names none.  Decaying the encoder alone is ours: it turned its filters into strokes.)

    Parameters
    ----------
    rho : target mean activation, in (0, 1).
    beta : weight of the sparsity penalty.
    decay : coefficient of the encoder's squared weights.
    """
    if not 0 < rho < 1:
        raise ValueError(f"rho is a mean activation and lies in (0, 1), got {rho}")

    def objective(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        pixels = x.flatten(1)  # (N, C, H, W) -> (N, pixels)
        logits, code = model(x)
        bce = functional.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
        mean = code.mean(0).clamp(1e-6, 1 - 1e-6)  # (units,)
        kl = rho * torch.log(rho / mean) + (1 - rho) * torch.log((1 - rho) / (1 - mean))
        loss = bce / len(pixels) + beta * kl.sum()
        if decay:
            loss = loss + decay * model.encoder.weight.square().sum()
        return loss

    return objective
