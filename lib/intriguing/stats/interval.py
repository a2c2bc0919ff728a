"""An estimate with its confidence interval, how it is written, and the checks of its input."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    `low` and `high` are NaN where no interval exists (a single replicate). `n` counts the values
    that entered; `method` says in words how the interval was made.
    """

    value: float
    low: float
    high: float
    n: int
    method: str = ""
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.low > self.high:  # false for NaN: a missing interval is allowed
            raise ValueError(f"interval has low {self.low} above high {self.high}")

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return format_interval(self.value, self.low, self.high)

    def scaled(self, factor: float) -> "Interval":
        """Return the interval in other units, e.g. ``scaled(100)`` for percent."""
        low, high = sorted((self.low * factor, self.high * factor))
        return replace(self, value=self.value * factor, low=low, high=high)

    def exp(self) -> "Interval":
        """Return what an interval of logarithms says of their numbers: a geometric mean's."""
        value, low, high = (math.exp(end) for end in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high,
                       method=f"{self.method}, of logarithms")  # fmt: skip


def decimals(low: float, high: float) -> int:
    """Return how many decimals show two significant digits of the half width of [low, high]."""
    half = (high - low) / 2
    if not math.isfinite(half) or half <= 0:
        return 3
    return min(8, max(0, 1 - math.floor(math.log10(half))))


def format_interval(value: float, low: float | None, high: float | None) -> str:
    """Return "0.0621 [0.0603, 0.0639]", rounded to what the interval supports."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:.3g} (no interval)"
    if low == high:
        return f"{value:.4g} [{low:.4g}, {high:.4g}]"
    places = decimals(low, high)
    return f"{value:.{places}f} [{low:.{places}f}, {high:.{places}f}]"


def vector_of(values: ArrayLike, name: str = "values") -> np.ndarray:
    """Return a float64 vector (N,), N >= 1, or raise ValueError."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name} must be a non-empty vector, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        bad = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise ValueError(f"{name}[{bad}] is {vector[bad]}; leave such rows out and say how many")
    return vector


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
