"""Interactions of players in cooperative games; perturbed images and networks as such games.

`exact_sii` enumerates, `mean_interaction` is exact at any number of players, `pairwise` samples
chosen pairs without bias, `sampled_sii` estimates all pairs.  `perturbation_game` and
`ablation_game` make the games.
"""

from intriguing.interactions.ablation import AblationGame, ablation_game, layer_game
from intriguing.interactions.coalitions import Game, all_coalitions, table_game
from intriguing.interactions.exact import (
    Moments,
    dividends,
    dropped_orders,
    exact_orders,
    exact_sii,
    moments,
    shapley_values,
    sub_orders,
)
from intriguing.interactions.games import PerturbationGame, perturbation_game
from intriguing.interactions.mean import (
    Quadrature,
    mean_interaction,
    mean_quadrature,
    order_weights,
    row_sums,
)
from intriguing.interactions.pairwise import Estimate, pairwise, random_pairs
from intriguing.interactions.readings import Readings, readings
from intriguing.interactions.surrogate import sampled_sii

__all__ = [
    "AblationGame",
    "Estimate",
    "Game",
    "Moments",
    "PerturbationGame",
    "Quadrature",
    "Readings",
    "ablation_game",
    "all_coalitions",
    "dividends",
    "dropped_orders",
    "exact_orders",
    "exact_sii",
    "layer_game",
    "mean_interaction",
    "mean_quadrature",
    "moments",
    "order_weights",
    "pairwise",
    "perturbation_game",
    "random_pairs",
    "readings",
    "row_sums",
    "sampled_sii",
    "shapley_values",
    "sub_orders",
    "table_game",
]
