"""Bring a whole profile up to date: the plan, Snakemake, Slurm."""
