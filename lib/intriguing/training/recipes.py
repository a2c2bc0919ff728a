"""How each network of Szegedy et al. 2014 is trained here: its weight decay and its budget."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """Architecture, the paper's weight decay per layer, and the numbers the paper leaves open."""

    architecture: str
    lam: tuple[float, ...]
    numbers: dict[str, float] = field(default_factory=dict)
    small: dict[str, float] = field(default_factory=dict)  # instead, on a few thousand images


_FC_LAM = (1e-5, 1e-5, 1e-6)
_LINEAR = {"iterations": 200, "history": 20, "gain": 0.1}
_FC = {"iterations": 160, "history": 20, "gain": 1.0}
_AE = {"epochs": 20, "batch": 256, "lr": 2e-3, "rho": 0.05, "beta": 1.0, "ae_decay": 0.0}

RECIPES: dict[str, Recipe] = {
    "FC10(1e-4)": Recipe("fc10", (1e-4,), _LINEAR, {"iterations": 100}),
    "FC10(1e-2)": Recipe("fc10", (1e-2,), _LINEAR, {"iterations": 100}),
    "FC10(1)": Recipe("fc10", (1.0,), _LINEAR, {"iterations": 100}),
    "FC100-100-10": Recipe("fc100-100-10", _FC_LAM, _FC | {"iterations": 250}, {"iterations": 100}),
    "FC200-200-10": Recipe("fc200-200-10", _FC_LAM, _FC, {"iterations": 100}),
    "FC123-456-10": Recipe("fc123-456-10", _FC_LAM, _FC, {"iterations": 100}),
    "AE400-10": Recipe(
        "ae400-10",
        (1e-6,),
        {"iterations": 300, "history": 20, "gain": 0.1, **_AE},
        {"iterations": 100},
    ),
    "CNN": Recipe("cnn-mnist", (), {"epochs": 4, "batch": 128, "lr": 1e-3}),
}
