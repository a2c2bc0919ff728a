"""Ordinary training: minibatches that lower the mean cross entropy.

Here stand the settings of all convolutional networks, which other methods begin with.  How they
were chosen, on held-out training images: `tuning/plain.csv`, run again by `tuning/run.py`.

Grey images: Adam, a step size that falls linearly to zero; weights in `channels_last` order save a
third to a half of the time on a CPU.  Colour: SGD with Nesterov's momentum, a step size that rises
and falls once, label smoothing, bfloat16 products, all images on the device: what fast trainings of
CIFAR-10 have in common, such as cifar10-airbench.  ConvMixer has AdamW, as its authors' code.
**No GPU was at hand: neither the errors nor the seconds of the colour networks are measured.**

"CNN by heart" is trained on few images until it knows them all, for chapters 09 and 10: SGD with
Nesterov's momentum, weight decay 5e-4, minibatches of 128, 40 epochs.  The code of Zhang et al.
2021 has 300 epochs on a tenth of CIFAR-10.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from intriguing.data.labels import mislabelled
from intriguing.specs import Setting
from intriguing.training import objectives
from intriguing.training.fit import Fit
from intriguing.training.loop import Outcome
from intriguing.training.objectives import Objective
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = ""  # no paper: what all methods are compared with
version = 1
PAPER = None


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of ordinary training.

    Parameters
    ----------
    fit : the training by minibatches.
    smoothing : share of each label that goes to all classes alike.
    wrong : share of the images of each class that get a wrong label, see `data.mislabelled`.
    """

    fit: Fit
    smoothing: float = 0.0
    wrong: float = 0.0

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, float]]:
        """Return them as the keys of 2026-11-29 do."""
        shares = {"smoothing": self.smoothing, "wrong": self.wrong}
        found = {name: share for name, share in shares.items() if share}
        return "cross-entropy", self.fit.written() | found, {}


def objective(request: Request, options: Options) -> Objective:
    """Return the mean cross entropy."""
    return objectives.cross_entropy(smoothing=options.smoothing)


def train(request: Request, options: Options) -> Outcome:
    """Train on the labels given, but for those that are to be wrong."""
    if options.wrong:
        wrong, _ = mislabelled(request.y, options.wrong, request.seed)
        request = replace(request, y=wrong)
    return options.fit.run(request, objective(request, options))


def label(options: Options) -> str:
    """Return "cross-entropy", with the share of wrong labels."""
    return "cross-entropy" + (f" wrong={options.wrong:g}" if options.wrong else "")


def passes(options: Options) -> Passes:
    """A forward and a backward pass."""
    return Passes()


_NORMED = Fit(2, 128, 1e-2)  # batch normalisation allows larger steps
_SWIFT = replace(_NORMED, warmup=0.2, channels_last=True)
_COLOUR = Fit(30, 128, 2e-3, channels_last=True, bfloat16=True, augment=True)
_SGD = replace(_COLOUR, batch=512, lr=0.4, optimiser="nesterov", weight_decay=5e-4, warmup=0.2)
_MIXER = replace(_SGD, lr=1e-2, optimiser="adamw", weight_decay=1e-2, warmup=0.4)
_HEART = Fit(40, 128, 0.1, optimiser="nesterov", weight_decay=5e-4)
HEART = {"grey": _HEART, "colour": replace(_HEART, lr=0.02)}  # chapters 09 and 10
HEART_FEW = {"epochs": 2, "batch": 64}
_FEW, _FEW_COLOURS = {"batch": 32}, {"epochs": 10, "batch": 64}


def _grey(architecture: str, fit: Fit = _SWIFT, epochs: int = 2) -> Setting:
    return Setting(architecture, Options(replace(fit, epochs=epochs)), _FEW)


def _smoothed(architecture: str, fit: Fit = _SGD, **changes: float) -> Setting:
    return Setting(architecture, Options(replace(fit, **changes), smoothing=0.1), _FEW_COLOURS)


OURS = {
    "grey": {
        "CNN": Setting("cnn-mnist", Options(Fit(4, 128, 1e-3))),
        "AllCNN": _grey("allcnn-mnist", _NORMED),
        "ResNet": _grey("resnet8-mnist", _NORMED),
        "VGG": _grey("vgg7-mnist"),
        "DenseNet": _grey("densenet16-mnist", epochs=3),
        "MobileNet": _grey("mobilenet-mnist", epochs=4),
        "ConvMixer": _grey("convmixer-mnist", epochs=4),
        "ReLU MLP": Setting("relu-mnist", Options(Fit(4, 128, 1e-3))),
        "CNN by heart": Setting("cnn-mnist", Options(HEART["grey"]), HEART_FEW),
    },
    "colour": {
        "CNN": Setting("cnn-cifar", Options(_COLOUR)),
        "AllCNN": Setting("allcnn-cifar", Options(_COLOUR)),
        "ResNet": Setting("resnet20-cifar", Options(_COLOUR)),
        "VGG": _smoothed("vgg16-cifar", lr=0.2),
        "DenseNet": _smoothed("densenet100-cifar", epochs=20),
        "MobileNet": _smoothed("mobilenet-cifar"),
        "ConvMixer": _smoothed("convmixer-cifar", _MIXER),
        "ResNet-18": _smoothed("resnet18-cifar", epochs=40),
        "ResNet-34": _smoothed("resnet34-cifar", epochs=20),
        "CNN by heart": Setting("cnn-cifar", Options(HEART["colour"]), HEART_FEW),
    },
}
