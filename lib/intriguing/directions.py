"""Which images lie farthest along a direction of feature space.

Section 3 of Szegedy et al. (2014) compares, for the features phi of a hidden layer, the images

    x' = argmax over x in I of <phi(x), v>

of a unit (v = e_i) with those of a random v.  The paper judges by eye; `intriguing.coherence` puts
numbers on a set of images.  Functions take features as tensors (N, F) and know nothing of networks,
but for `activations`, which reads phi off any of them.
"""

import torch
from torch import Tensor, nn

from intriguing import batches
from intriguing.errors import nearest
from intriguing.tensors import ordinary

_CHUNK = 20_000_000  # scores held at once: 160 MB of float64


# ---------------------------------------------------------------- features


@torch.no_grad()
def weight_layers(model: nn.Module, x: Tensor) -> list[str]:
    """Return the names of the linear and convolutional layers in the order the model runs them.

    Parameters
    ----------
    x : (N, C, H, W) pixels; the first image is passed through.
    """
    names = {m: n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    order: list[str] = []
    hooks = [m.register_forward_pre_hook(lambda m, _: order.append(names[m])) for m in names]
    try:
        model(x[:1].clone())
    finally:
        for hook in hooks:
            hook.remove()
    return order


@torch.no_grad()
def activations(
    model: nn.Module, x: Tensor, layer: str | int = -1, *, batch: int = 500
) -> Tensor:
    """Return phi (N, F): what goes into one layer of a network, flattened.

    Parameters
    ----------
    model : in eval mode, on the device of x.
    x : (N, C, H, W) pixels.
    layer : a module's name, or the number of a layer of `weight_layers`; -1, the input of the
        last one, is the last hidden layer after its nonlinearity (and pooling).

    Raises
    ------
    ValueError : a model in train mode, no image, no such layer, a layer that runs twice,
        features that are not finite.
    """
    if any(m.training for m in model.modules()):
        raise ValueError("the model is in train mode: call model.eval() before reading features")
    if len(x) == 0:
        raise ValueError("x is empty: there are no features of no image")
    module = _module(model, x, layer)
    seen: list[Tensor] = []
    hook = module.register_forward_pre_hook(  # a copy: layers may write into their input
        lambda _, inputs: seen.append(inputs[0].flatten(1).clone())
    )

    def features(images: Tensor) -> Tensor:
        seen.clear()  # of a batch that had no room
        model(images.clone())
        if len(seen) != 1:
            raise ValueError(f"layer {layer!r} does not run exactly once for each image")
        return seen.pop()

    try:
        phi = batches.apply(features, x, batch=batch)  # (N, F)
    finally:
        hook.remove()
    if not phi.isfinite().all():
        i = int((~phi.isfinite().all(1)).nonzero()[0])
        raise ValueError(f"the features of image {i} are NaN or infinite: they have no order")
    return phi


def _module(model: nn.Module, x: Tensor, layer: str | int) -> nn.Module:
    """Return the module that `layer` names or counts."""
    if isinstance(layer, str):
        named = dict(model.named_modules())
        if layer not in named:
            raise ValueError(f"no layer {layer!r}: {nearest(layer, filter(None, named))}")
        return named[layer]
    order = weight_layers(model, x)
    if not -len(order) <= layer < len(order):
        raise ValueError(f"no layer {layer}: the network has {len(order)}, {', '.join(order)}")
    return model.get_submodule(order[layer])


# ---------------------------------------------------------------- directions


def random_directions(n: int, dim: int, generator: torch.Generator) -> Tensor:
    """Return n directions (n, dim), uniform on the sphere: N(0, I) over its norm.

    The paper does not say how its v is drawn; the argmax ignores the norm.  float64, on the
    generator's device.
    """
    v = torch.randn(n, dim, generator=generator, device=generator.device, dtype=torch.float64)
    return v / v.norm(dim=1, keepdim=True)  # (n, dim)


def random_basis(dim: int, generator: torch.Generator) -> Tensor:
    """Return an orthonormal basis (dim, dim), a row each, uniform over all of them (Haar).

    QR of a Gaussian matrix, with the signs of R's diagonal put right (Mezzadri 2007).
    """
    g = torch.randn(dim, dim, generator=generator, device=generator.device, dtype=torch.float64)
    q, r = torch.linalg.qr(g)
    return (q * r.diagonal().sign()).T  # (dim, dim)


def principal_directions(phi: Tensor) -> tuple[Tensor, Tensor]:
    """Return the principal directions (F, F) of phi (N, F), a row each, and their variances (F,).

    Largest variance first; the sign of a direction means nothing.
    """
    rows, variance, _, scale = _principal(phi)
    return rows, variance * scale.square()


def whiten(phi: Tensor, floor: float = 1e-4) -> Tensor:
    """Return phi (N, F), centred and multiplied by C^(-1/2): uncorrelated, of unit variance.

    The symmetric root keeps each unit as close to itself as decorrelation allows (ZCA).

    Parameters
    ----------
    floor : variances below this share of the largest are raised to it: what hardly varies is
        noise, and whitening would blow it up.
    """
    directions, variance, centred, _ = _principal(phi)
    least = max(floor * float(variance[0]), torch.finfo(phi.dtype).tiny)  # zero stays zero
    scale = variance.clamp(min=least).rsqrt()  # (F,)
    return centred @ (directions.T * scale) @ directions  # (N, F)


def _principal(phi: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return directions and variances of phi over a scale, the centred phi over it, the scale."""
    (centred,), scale = ordinary((phi - phi.mean(0))[None])
    variance, vectors = torch.linalg.eigh(centred.T @ centred / len(phi))  # (F,), (F, F)
    return vectors.flip(1).T, variance.flip(0).clamp(min=0), centred, scale


# ---------------------------------------------------------------- images of a direction


def top_images(
    phi: Tensor, directions: Tensor, k: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Return, for each direction, the k images with the largest <phi(x), v>, best first: (D, k).

    Ties are broken at random, the same way for all directions: many images leave a rectified unit
    at exactly zero, and the order of a data set must not decide among them.

    Parameters
    ----------
    phi : (N, F) features.  Centring them changes nothing: it moves all scores of a direction alike.
    directions : (D, F), a row each; brought to the type and device of phi.
    generator : breaks ties; None: one with the seed 0.

    Raises
    ------
    ValueError : k outside 1..N, or directions of another dimension.
    """
    order = _shuffle(len(phi), generator).to(phi.device)
    parts = [scores.topk(k, dim=1).indices for scores in _scores(phi[order], directions, k)]
    return order[torch.cat(parts)]  # (D, k)


def tied(phi: Tensor, directions: Tensor, k: int) -> Tensor:
    """Say for which directions chance decides who is among the first k: (D,) bool.

    That is so where the scores number k and k + 1 are equal.
    """
    parts = [scores.topk(k + 1, dim=1).values for scores in _scores(phi, directions, k + 1)]
    values = torch.cat(parts)  # (D, k + 1)
    return values[:, -1] == values[:, -2]


def _scores(phi: Tensor, directions: Tensor, k: int):
    """Yield <phi(x), v> for some directions at a time: (d, N)."""
    if directions.ndim != 2 or phi.ndim != 2 or directions.shape[1] != phi.shape[1]:
        raise ValueError(
            f"features (N, F) and directions (D, F) must share F: got {tuple(phi.shape)} and "
            f"{tuple(directions.shape)}"
        )
    if not 1 <= k <= len(phi):
        raise ValueError(f"k must lie between 1 and the {len(phi)} images, not {k}")
    for part in directions.to(phi).split(max(1, _CHUNK // len(phi))):
        yield part @ phi.T  # (d, N)


def random_sets(n: int, images: int, k: int, generator: torch.Generator) -> Tensor:
    """Return n sets of k different images out of `images`, drawn at random: (n, k)."""
    if not 1 <= k <= images:
        raise ValueError(f"k must lie between 1 and the {images} images, not {k}")
    parts = [
        torch.rand(size, images, generator=generator, device=generator.device).topk(k).indices
        for size in _sizes(n, max(1, _CHUNK // images))
    ]
    return torch.cat(parts)  # (n, k)


def _sizes(n: int, most: int) -> list[int]:
    """Cut n into pieces of at most `most`."""
    return [min(most, n - start) for start in range(0, n, most)]


def _shuffle(n: int, generator: torch.Generator | None) -> Tensor:
    generator = generator or torch.Generator().manual_seed(0)
    return torch.randperm(n, generator=generator, device=generator.device)
