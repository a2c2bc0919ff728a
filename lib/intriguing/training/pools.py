"""Where chapter 05 looks for the pools of `methods.szegedy_pools`."""

from intriguing.methods.szegedy_pools import LOOSE, Pool, PoolTraining, outputs

__all__ = ["LOOSE", "Pool", "PoolTraining", "outputs"]
