"""What the strongest of several attacks leaves of a network, and whether to believe it."""

from intriguing.robustness.flags import Flag, look_for
from intriguing.robustness.judge import judge
from intriguing.robustness.judgement import Judgement, Stage
from intriguing.robustness.suites import SUITES, Attack, transferred

__all__ = [
    "SUITES", "Attack", "Flag", "Judgement", "Stage", "judge", "look_for", "transferred",
]  # fmt: skip
