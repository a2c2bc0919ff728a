"""A GPU to rehearse on where there is none: a torch device whose tensors lie in the CPU's memory.

Tensors moved to "rehearsal" are on another device for all that torch and this library can tell.
What mixes them with tensors of the CPU fails, as on a GPU, and so does `numpy()`; all else is
computed by the CPU, with the same bits.  It counts what a GPU would be asked: launches of kernels,
and waits, where the program needs a number back before it can go on; and the seconds that the CPU
computes in the GPU's place, so that the others are known, which no GPU saves.  It knows nothing of
a GPU's own kernels, its memory and its time.

    python tests/rehearsal.py 03-cross-model-transfer --profile smoke -p n_images 10

runs the cells of a chapter there, and says what each of them launched.  Networks that the zoo
lacks are trained first, on the same device, which takes long.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType

import torch
from torch._ops import OpOverload

NAME = "rehearsal"
DEVICE = torch.device("privateuseone", 0)  # torch keeps this place for devices made elsewhere
LAUNCHES, WAITS, SECONDS = "launches", "waits", "seconds"
counts: Counter[str] = Counter()  # these, and the launches of each operation

_CPU = torch.device("cpu")
_GIVE_NUMBERS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "bincount"}
_NOT_OURS = ("sparse", "quantized", "cudnn", "mkldnn", "nested", "_make_dep_token", "from_file")
_libraries: list[torch.library.Library] = []  # what is registered lives as long as these


class Shadow(torch.Tensor):
    """A tensor on the pretended device; `host` is where its numbers are."""

    host: torch.Tensor

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> "Shadow":
        made = torch.Tensor._make_wrapper_subclass(
            cls, host.size(), strides=host.stride(), storage_offset=host.storage_offset(),
            dtype=host.dtype, device=DEVICE,
        )
        made.host = host
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        return _run(op, args, kwargs or {})

    # what torch does in C++ for its own tensors only
    def tolist(self):
        return self.cpu().tolist()

    def untyped_storage(self):
        return self.host.untyped_storage()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def __repr__(self) -> str:
        return f"{NAME}({self.host!r})"


class _Crossing:
    """Brings the arguments of an operation to the CPU, and sees which device they were on."""

    def __init__(self) -> None:
        self.ours = self.others = 0

    def __call__(self, value):
        if isinstance(value, Shadow):
            self.ours += 1
            return value.host
        if isinstance(value, torch.Tensor):
            self.others += value.dim() > 0  # single numbers of the CPU are welcome on a GPU
        elif type(value) in (list, tuple):
            return type(value)(map(self, value))
        return value


@cache
def _known(op: OpOverload) -> tuple[str, bool, bool, str | None]:
    """Return its name, whether it only looks at memory or writes in its first argument, its out."""
    schema = op._schema
    marks = [result.alias_info for result in schema.returns if result.alias_info is not None]
    out = next((argument.name for argument in schema.arguments if argument.is_out), None)
    written = any(mark.is_write for mark in marks)
    return (schema.name.partition("::")[2], bool(marks) and not written,
            written and out is None, out)


def _run(op: OpOverload, args: tuple, kwargs: dict):
    """Do an operation on the CPU, as the pretended device would: refuse, compute, count."""
    start = time.perf_counter()
    name, looks, in_place, out = _known(op)
    cross = _Crossing()
    given = [cross(argument) for argument in args]
    named = {key: cross(value) for key, value in kwargs.items()}
    leaves = name == "copy_" and not isinstance(args[0], Shadow)
    waits = leaves or name in _GIVE_NUMBERS
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        indices = [i for i in given[1] if i is not None]
        waits = any(i.dtype == torch.bool for i in indices)
        if isinstance(args[0], Shadow):  # a GPU takes indices from the CPU
            cross.others = sum(isinstance(v, torch.Tensor) and not isinstance(v, Shadow)
                               and v.dim() > 0 for v in args[2:])
    if cross.ours and cross.others and name not in ("copy_", "_to_copy"):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} was given "
                           f"some on {NAME} and some on the CPU")
    if named.get("device") is not None:
        leaves = torch.device(named["device"]).type != DEVICE.type
        waits |= leaves
        named["device"] = _CPU
        named.pop("pin_memory", None)
    result = op(*given, **named)
    counts[WAITS] += waits
    if not looks:
        counts[LAUNCHES] += 1
        counts[name] += 1
    if in_place:
        result = args[0]
    elif out is not None:
        result = kwargs[out]
    elif not leaves:
        result = _shadowed(result)
    counts[SECONDS] += time.perf_counter() - start
    return result


def _shadowed(value):
    if isinstance(value, torch.Tensor):
        return Shadow(value)
    return type(value)(map(_shadowed, value)) if isinstance(value, list | tuple) else value


def _makers() -> Iterator[tuple[str, OpOverload]]:
    """Yield the operations that make a tensor on a device from no tensor: zeros, arange, ..."""
    for full in torch._C._dispatch_get_all_op_names():
        space, _, rest = full.partition("::")
        if space != "aten" or any(word in full for word in _NOT_OURS):
            continue
        name, _, overload = rest.partition(".")
        op = getattr(getattr(torch.ops.aten, name, None), overload or "default", None)
        if op is None:
            continue
        kinds = {argument.name: str(argument.type) for argument in op._schema.arguments}
        one = len(op._schema.returns) == 1 and "Tensor" in str(op._schema.returns[0].type)
        if one and "device" in kinds and not any("Tensor" in kind for kind in kinds.values()):
            yield rest, op


def _module() -> ModuleType:
    """Return what `torch.cuda` is for CUDA, as far as torch asks for it."""
    module = ModuleType(f"torch.{NAME}")
    module.is_available = module.is_initialized = lambda: True
    module._is_in_bad_fork = lambda: False
    module.device_count, module.current_device = lambda: 1, lambda: 0
    module.manual_seed = module.manual_seed_all = module.set_device = lambda *_: None
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    return module


@cache
def register() -> None:
    """Make the device known to torch, once a process."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME, backend_module=_module())
    ours = torch.library.Library("aten", "IMPL")
    for name, op in _makers():
        ours.impl(name, lambda *args, _op=op, **named: _run(
            _op, args, named | {"device": DEVICE}), "PrivateUse1")
    ours.impl("_copy_from", lambda source, target, non_blocking=False: _run(
        torch.ops.aten.copy_.default, (target, source), {}), "PrivateUse1")
    everything = torch.library.Library("_", "IMPL")  # autocast changes nothing there
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _libraries.extend((ours, everything))


class Generator(torch.Generator):
    """A generator for the device: one of the CPU."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, _CPU if torch.device(device).type == DEVICE.type else device)


@contextlib.contextmanager
def device() -> Iterator[torch.device]:
    """Yield the device; inside, modules and generators can be brought there."""
    register()
    before = torch.Generator, torch.__future__.get_overwrite_module_params_on_conversion()
    torch.Generator = Generator
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        yield DEVICE
    finally:
        torch.Generator = before[0]
        torch.__future__.set_overwrite_module_params_on_conversion(before[1])


def run_chapter(name: str, profile: str, changes: dict[str, str], say: Callable[[str], object]):
    """Run the cells of a chapter on the device, in this process; tell what each of them asked."""
    from IPython.core.interactiveshell import InteractiveShell
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from intriguing import chapters

    chapter = chapters.find(name)
    told = {key: chapters.parse_value(chapter, key, text) for key, text in changes.items()}
    settings = chapters.resolve(chapter, profile, told)
    source = parameterize_notebook(load_notebook_node(str(chapter.source)), settings.injected)
    os.environ["INTRIGUING_DEVICE"] = NAME
    shell = InteractiveShell.instance(colors="NoColor", xmode="Context")
    begun = time.monotonic()
    for number, cell in enumerate(source.cells):
        if cell.cell_type != "code":
            continue
        before, start, printed = counts.copy(), time.monotonic(), io.StringIO()
        with contextlib.redirect_stdout(printed):
            outcome = shell.run_cell(cell.source)
        asked = counts - before
        say(f"cell {number:2d} {_asked(asked, time.monotonic() - start)}   "
            f"{cell.source.partition(chr(10))[0][:40]}")
        if not outcome.success:
            raise SystemExit(printed.getvalue())
    say(f"all     {_asked(counts, time.monotonic() - begun)}   {name} at {profile}")


def _asked(asked: Counter[str], seconds: float) -> str:
    """Return the seconds beside the device, those in its place, launches and waits, in columns."""
    return (f"{seconds - asked[SECONDS]:7.1f} s + {asked[SECONDS]:7.1f} s "
            f"{asked[LAUNCHES]:11,d} launches {asked[WAITS]:9,d} waits")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapter")
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, device():
        os.environ.setdefault("INTRIGUING_RESULTS", folder)  # not those of the book
        run_chapter(asked.chapter, asked.profile, dict(asked.p),
                    lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    main()
