"""Where and how code runs: the device, seeded generators, deterministic and evaluation mode."""

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

# The libraries whose version can change a number; absent ones are left out of `describe`.
_REPORTED = ("torch", "numpy", "safetensors", "scipy", "pandas", "matplotlib", "torchvision")


def device(name: str = "auto") -> torch.device:
    """Return the device to compute on.

    Choosing a GPU prepares it for this process, in two ways.  Products and convolutions keep the
    precision of float32: in TF32, torch's default for convolutions there, the nearest adversarial
    images of `attacks.lbfgs` are off the mark (on three networks of mnist-5k, with TF32 imitated
    on the CPU, 2 to 9 % of them were not adversarial in float32).  And CUBLAS_WORKSPACE_CONFIG is
    set unless it is: without it no product is deterministic, and it counts only before the first.

    Parameters
    ----------
    name : "auto" (CUDA if there is one, else the CPU; the environment variable INTRIGUING_DEVICE
        overrides it), or a torch device name such as "cpu", "cuda", "cuda:1", "mps".

    Raises
    ------
    ValueError : not a device name, or a device that this machine does not have.
    """
    asked = str(name)
    if asked == "auto":
        asked = os.environ.get("INTRIGUING_DEVICE", "").strip() or "auto"
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(asked)
    except RuntimeError as error:
        raise ValueError(f"{asked!r} is not a device: use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {asked!r} asked for, but torch sees {torch.cuda.device_count()} CUDA devices: "
            "use cpu, or install a CUDA build of torch"
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device {asked!r} asked for, and this machine or this build of torch has "
                         "none: use cpu")
    if chosen.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return chosen


def describe(on: torch.device | str = "auto") -> dict:
    """Return what the numbers of this process depend on, without host, user or folder names.

    Returns
    -------
    dict : "device" ("cpu", "cuda"), "processor" (its model name), "threads", "system", "python"
        and "versions" (a dict of the installed libraries that compute).
    """
    chosen = device(on) if isinstance(on, str) else on
    versions = {}
    for package in _REPORTED:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "device": chosen.type,
        "processor": _processor(chosen),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor(chosen: torch.device) -> str:
    """Return the model name of the GPU or CPU."""
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    try:  # Linux; platform.processor() is empty there
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def stream_seed(seed: int, stream: str) -> int:
    """Return the 63-bit seed of one named stream: the head of sha256("<stream>:<seed>")."""
    digest = hashlib.sha256(f"{stream}:{int(seed)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator for one use of randomness.

    Streams ("init", "order", "attack", ...) of one seed are independent, so that asking for one
    number more at initialisation does not change the order of the data.

    Parameters
    ----------
    seed : the seed that a chapter or a spec states.
    stream : what the numbers are for; any text.
    device : where the numbers are drawn.  The CPU and a GPU draw different numbers.
    """
    return torch.Generator(device=device).manual_seed(stream_seed(seed, stream))


@contextmanager
def deterministic() -> Iterator[None]:
    """Make torch use deterministic kernels, full float32 precision and no autotuning inside.

    The former settings come back at the end.  Bits are equal only on one kind of device with one
    number of threads; a GPU also needs what `device` sets before its first product.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a launch for each new tensor
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]
        torch.backends.cudnn.allow_tf32 = before[3]
        torch.backends.cuda.matmul.allow_tf32 = before[4]
        torch.utils.deterministic.fill_uninitialized_memory = before[5]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put `model` in eval mode, and give every module its own mode back, also when the body raises.

    Gradients reach the weights as before: see `eval_mode` for the measurements that need none.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put `model` in eval mode with frozen parameters, and restore both at the end.

    Every module gets its own mode back and every parameter its own `requires_grad`, also when
    the body raises.  Gradients with respect to the pixels still flow.
    """
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        with evaluating(model):
            yield model
    finally:
        for parameter, needs in wanted:
            parameter.requires_grad_(needs)
