"""The machine: which GPU a job computes on, and the variables of its process."""
