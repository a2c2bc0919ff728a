"""Networks and images whose verdict complete verifiers know: the file `exact-oracle.npz`.

Fully connected and convolutional ReLU networks from VNN-COMP 2021 and MIPVerify, and for each of
110 (network, test image, eps) whether the Linf ball holds an adversarial image: "holds" (none),
"violated", "unknown".  No attack may break a "holds" instance, and a strong one finds every
"violated".
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from intriguing import data, paths
from intriguing.errors import UserError
from intriguing.models.normalize import Normalize

FILE = "exact-oracle.npz"


@dataclass(frozen=True, eq=False)
class Instances:
    """The instances of one network, which have one radius.

    network : pixels to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1] and (N,) labels.
    eps : radius of the Linf ball, pixel units.
    verdict : N words, "holds", "violated" or "unknown".
    index : (N,) places in the official test set.
    """

    name: str
    network: nn.Module
    x: Tensor
    y: Tensor
    eps: float
    verdict: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


def available() -> bool:
    """Say whether the file is in one of the folders of `paths.data_dirs()`."""
    return _find() is not None


def instances() -> list[Instances]:
    """Return the instances by network and radius.

    Raises
    ------
    UserError : the file, or the MNIST test set that it refers to, is not here.
    """
    path = _find()
    if path is None:
        folders = " or ".join(str(folder) for folder in paths.data_dirs())
        raise UserError(
            f"{FILE} is not in {folders}: it holds networks with verdicts of complete verifiers, "
            "made of VNN-COMP 2021 and MIPVerify; set INTRIGUING_DATA to the folder that has it."
        )
    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    plans = json.loads(bytes(arrays["arch_json"]).decode())
    place = {int(i): row for row, i in enumerate(arrays["cifar_test_index"])}
    found = []
    for name in plans:
        here = arrays["inst_net"] == name
        for eps in np.unique(arrays["inst_eps"][here]):
            rows = here & (arrays["inst_eps"] == eps)
            index = arrays["inst_index"][rows]
            if name.startswith("cifar"):
                pictures = arrays["cifar_test_image"][[place[int(i)] for i in index]]
                x = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous() / 255
            else:
                x = data.load("mnist", "test").x[torch.from_numpy(index.astype(np.int64))]
            y = torch.from_numpy(arrays["inst_label"][rows].astype(np.int64))
            found.append(Instances(name, _network(name, plans[name], arrays), x, y, float(eps),
                                   arrays["inst_verdict"][rows], index))  # fmt: skip
    return found


def _find() -> Path | None:
    places = (folder / FILE for folder in paths.data_dirs())
    return next((path for path in places if path.is_file()), None)


def _network(name: str, plan: dict, arrays: dict[str, np.ndarray]) -> nn.Sequential:
    """Return the network that a plan describes, such as "conv 1->16 k4 s2 p1 relu"."""
    parts: list[nn.Module] = []
    if "-" in plan["scale"]:  # "(pixels/255 - [0.485,0.456,0.406]) / 0.225"
        *mean, deviation = (float(number) for number in re.findall(r"\d\.\d+", plan["scale"]))
        parts.append(Normalize(mean, [deviation] * 3))
    count = {"conv": 0, "fc": 0}
    for words in plan["layers"]:
        kind, *numbers = re.findall(r"[a-z]+|\d+", words)
        if kind not in count:  # "flatten" is put before the first dense layer
            continue
        sizes = [int(number) for number in numbers if number.isdigit()]
        if kind == "conv":
            inputs, outputs, kernel, stride, padding = sizes
            layer = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        else:
            parts += [nn.Flatten()] if count["fc"] == 0 else []
            layer = nn.Linear(*sizes)
        stem = f"{name}.{kind}{count[kind]}"
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(arrays[f"{stem}.weight"]))
            layer.bias.copy_(torch.from_numpy(arrays[f"{stem}.bias"]))
        count[kind] += 1
        parts += [layer, nn.ReLU()] if "relu" in words else [layer]
    return nn.Sequential(*parts).requires_grad_(False).eval()
