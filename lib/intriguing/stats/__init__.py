"""Intervals and tests for the numbers of the book.

Replicates are images for claims about attacks (an image may contribute several rows: `clusters`)
and training seeds for claims about training.  Every function is deterministic: the bootstrap draws
from its own generator, made from `seed`.  Nothing here needs torch.

Sources: Efron (1987) for BCa; Wilson (1927); Korn and Graubard (1998) for Wilson's interval with an
effective number of trials; McNemar (1947), exact form; Bonett and Wright (2000) for the interval of
Spearman's rho; Holm (1979); Owen (2007) for the crossed ("pigeonhole") bootstrap.
"""

from intriguing.stats.correlation import spearman
from intriguing.stats.crossed import crossed_proportion, crossed_share, seed_image_interval
from intriguing.stats.interval import Interval, decimals, format_interval
from intriguing.stats.means import function_of_means
from intriguing.stats.panels import panel_correlation, rank
from intriguing.stats.proportions import McNemar, holm, mcnemar, wilson
from intriguing.stats.resampling import (
    FEW,
    bootstrap,
    mean_interval,
    paired_difference,
    paired_ratio,
)

__all__ = [
    "FEW", "Interval", "McNemar", "bootstrap", "crossed_proportion", "crossed_share", "decimals",
    "format_interval", "function_of_means", "holm", "mcnemar", "mean_interval",
    "paired_difference", "paired_ratio", "panel_correlation", "rank", "seed_image_interval",
    "spearman", "wilson",
]  # fmt: skip
