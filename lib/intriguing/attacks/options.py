"""What is asked of the arguments of an attack: one sentence for each that cannot be meant."""

from collections.abc import Callable, Collection

from torch import Tensor

from intriguing.attacks.losses import LOSSES, TARGETED

BATCH = {"cpu": 128, "cuda": 1024}  # images that the network sees at once


def choice(**choices: tuple[object, Collection[str]]) -> None:
    """Refuse a word that is none of the known ones: name=(value, known)."""
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def positive(**numbers: float) -> None:
    """Refuse lengths that are not positive and finite."""
    for name, value in numbers.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive, not {value}")


def counts(**numbers: int) -> None:
    """Refuse counts that are no whole numbers of at least 1."""
    for name, value in numbers.items():
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value}")


def objective(loss: str | Callable[..., Tensor], targeted: bool) -> Callable[..., Tensor]:
    """Return what is to grow, a function of (logits, y), or of (logits, y, target) if targeted.

    Parameters
    ----------
    loss : a name of `losses.LOSSES`, or a function of these arguments that returns (N,) numbers.

    Raises ValueError for an unknown name.
    """
    if callable(loss):
        return loss
    choice(loss=(loss, LOSSES))
    return TARGETED[loss] if targeted else LOSSES[loss]


def rows_at_once(batch: int | None, x: Tensor) -> int:
    """Return how many images go through the network at once: `batch`, or by the device of x."""
    if batch is None:
        return BATCH.get(x.device.type, 128)
    counts(batch=batch)
    return batch
