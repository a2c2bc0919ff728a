"""The arms of the experiment on adversarial pools: how each network of chapter 05 is trained.

PLACEHOLDER
"""

from intriguing.training.recipes import Recipe

_EPOCHS = {"epochs": 20, "batch": 256, "lr": 1e-2}
_LAM = (1e-4, 1e-4, 1e-4)
_POOLS = {"fresh": 1000, "share": 0.1, "likeliest": 0, "gaussian": 0}
_FEW = {"epochs": 2, "batch": 32}  # on a few thousand images
_SMALL_POOLS = _FEW | {"fresh": 60}


def _pools(*levels: int, lam: tuple[float, ...] = _LAM, **numbers: float) -> tuple[str, Recipe]:
    """Return objective and recipe of an arm with the pools of these layers."""
    sizes = {f"size{level}": 5000 if level in levels else 0 for level in range(3)}
    small = {name: min(size, 300) for name, size in sizes.items()}
    recipe = Recipe("fc100-100-10", lam, _EPOCHS | _POOLS | sizes | numbers, _SMALL_POOLS | small)
    return "pools", recipe


ARMS: dict[str, tuple[str, Recipe]] = {
    "decay": ("decay-minibatch", Recipe("fc100-100-10", _LAM, _EPOCHS, _FEW)),
    "longer": (
        "decay-minibatch",
        Recipe("fc100-100-10", _LAM, _EPOCHS | {"epochs": 30}, _FEW | {"epochs": 3}),
    ),
    "dropout": (
        "dropout",
        Recipe("fc100-100-10", _LAM, _EPOCHS | {"drop0": 0.1, "drop1": 0.1, "drop2": 0.1}, _FEW),
    ),
    "input": _pools(0),
    "first": _pools(1),
    "top": _pools(2),
    "hidden": _pools(1, 2),
    "all": _pools(0, 1, 2),
    "gaussian": _pools(0, 1, 2, gaussian=1),
}
