"""Saved weights from elsewhere: safetensors, or torch files of which only tensors are read."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from intriguing.errors import UserError

_MOST = 3  # names of tensors that a message lists


def read(path: str | Path) -> dict[str, Tensor]:
    """Return a saved state dict: `.safetensors`, or what `torch.save` wrote of tensors alone.

    Raises
    ------
    UserError : no such file, unreadable, or holding anything else than named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the path of a saved state dict.")
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the two readers share no base class of their errors
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} cannot be read as a state dict ({type(error).__name__}: {reason}): save one "
            "with safetensors, or with torch.save(model.state_dict(), path)."
        ) from error
    if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise UserError(f"{path} holds no state dict of tensors: save model.state_dict().")
    return dict(tensors)


def load(model: nn.Module, path: str | Path, *, prefix: str = "") -> nn.Module:
    """Load a saved state dict into `model`, strictly, and return `model`.

    Parameters
    ----------
    model : changed in place.
    path : as `read` takes it.
    prefix : dropped from the names if every one of them begins so ("net.").

    Raises
    ------
    UserError : as `read`; or a tensor is missing, left over or of another shape.
    """
    tensors = read(path)
    if prefix and all(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    own = model.state_dict()
    wrong = {
        "missing": sorted(own.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - own.keys()),
        "of another shape": sorted(
            f"{name} {tuple(tensors[name].shape)} for {tuple(own[name].shape)}"
            for name in own.keys() & tensors.keys()
            if own[name].shape != tensors[name].shape
        ),
    }
    if any(wrong.values()):
        found = "; ".join(
            f"{len(names)} {kind} ({', '.join(names[:_MOST])}{', ...' * (len(names) > _MOST)})"
            for kind, names in wrong.items()
            if names
        )
        raise UserError(f"{path} does not fit the network, tensors {found}: name the one it is of.")
    model.load_state_dict(tensors)
    return model
