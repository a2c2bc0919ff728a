"""Images as tensors: `load("mnist-5k", "train")`, by name or by the path of your own archive.

`sources`, `status`, `fetch` and `verify` serve the command `intriguing data`.
"""

from intriguing.data.catalog import Source, sources
from intriguing.data.labels import mislabelled
from intriguing.data.loading import Dataset, count, load
from intriguing.data.upkeep import fetch, status, verify

__all__ = [
    "Dataset", "Source", "count", "fetch", "load", "mislabelled", "sources", "status", "verify",
]  # fmt: skip
