"""What a GPU is assumed to do, and what recorded runs say of a CPU.

No number about a GPU here was measured by us.  Each stands with its source, and comes as a pair:
a GPU used well and one used badly.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from intriguing.book.cost.work import Work

START_UP = 10.0  # seconds of a recorded run that no profile lengthens: imports, a kernel, pictures
CPU_PASSES = 14e9  # operations a second in convolutional networks, one CPU thread; measured


@dataclass(frozen=True)
class Gpu:
    """Assumptions about one GPU.

    throughput : floating-point operations per second that large networks sustain in float32.
    bfloat16 : the same in bfloat16, in which the networks of colour images are trained.
    launch : seconds to launch a kernel, which is the least that it takes.
    gain : how many times faster than the recorded CPU a GPU does what moves to it.
    start : seconds before a job computes: Python, torch, the device.
    """

    throughput: float
    bfloat16: float
    launch: float
    gain: float
    start: float

    def training(self, work: Work) -> float:
        """Return the seconds of one training: bound by arithmetic, or by launches."""
        throughput = self.bfloat16 if work.bfloat16 else self.throughput
        return self.start + max(work.flops / throughput, work.kernels * self.launch)

    def run(self, seconds: float, share: float, flops: float = 0.0) -> float:
        """Return the seconds of a run; see the function `run`."""
        return seconds * ((1 - share) + share / self.gain) + flops / self.throughput


WELL = Gpu(throughput=17e12, bfloat16=200e12, launch=4e-6, gain=24, start=4)
BADLY = Gpu(throughput=8e12, bfloat16=60e12, launch=8e-6, gain=10, start=13)
ASSUMED = (  # what, used badly, used well, why
    ("float32 throughput", "8 TFLOP/s", "17 TFLOP/s",
     "12 and 25 % of the 67 at which an H100 peaks: networks as they come, without TF32"),
    ("bfloat16 throughput", "60 TFLOP/s", "200 TFLOP/s",
     "6 and 20 % of an H100's 989: networks of colour images train in it, without compilation"),
    ("launch of a kernel", "8 microseconds", "4 microseconds",
     "usual for PyTorch without compilation; a small network "
     "is bound by it"),
    ("gain over the recorded CPU in what moves to the GPU", "10 times", "24 times",
     "arithmetic for the L-BFGS attack: 3,000 to 7,000 images a second by kernel launches, where "
     "one CPU thread made 290"),
    ("start of a training job", "13 s", "4 s", "Python, PyTorch and the device"),
)


@dataclass(frozen=True)
class Span:
    """Seconds between a GPU used well and one used badly."""

    well: float
    badly: float

    def __add__(self, other: "Span") -> "Span":
        return Span(self.well + other.well, self.badly + other.badly)


def training(work: Work) -> Span:
    """Return the seconds of a training on a GPU."""
    return Span(WELL.training(work), BADLY.training(work))


def run(seconds: float, share: float, flops: float = 0.0) -> Span:
    """Return the seconds on a GPU of a run that takes `seconds` on the CPU.

    share : of these, what moves to the GPU and gains by it.  flops : operations of large networks
    beside them.
    """
    return Span(WELL.run(seconds, share, flops), BADLY.run(seconds, share, flops))


def scaled(seconds: float, ratio: float) -> float:
    """Return the seconds of a run of `ratio` times the work of a recorded one."""
    fixed = min(seconds, START_UP)
    return fixed + (seconds - fixed) * ratio


def rate(measured: Iterable[tuple[float, float]]) -> float | None:
    """Return the operations per second of trainings, from (operations, seconds) of each chapter."""
    pairs = [(flops, seconds) for flops, seconds in measured if seconds > 0]
    total = sum(seconds for _, seconds in pairs)
    return sum(flops for flops, _ in pairs) / total if total else None
