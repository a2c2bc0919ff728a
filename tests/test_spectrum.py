"""Operator norms against brute force: every unit vector is sent through a layer."""

import collections
import itertools
import math

import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intriguing import attacks, models, spectrum, vision
from intriguing.models.normalize import Normalize
from intriguing.spectrum import convolution, singular


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def matrix_of(layer, shape: tuple[int, ...]) -> Tensor:
    """Return the matrix (inputs, outputs) of a linear map of images."""
    n = math.prod(shape)
    with torch.no_grad():
        basis = torch.eye(n, dtype=torch.float64).view(n, *shape)
        return (layer(basis) - layer(torch.zeros_like(basis[:1]))).flatten(1)


def norm_of(layer, shape: tuple[int, ...]) -> float:
    return float(torch.linalg.matrix_norm(matrix_of(layer, shape), 2))


def jacobian_norm(layer, x: Tensor) -> float:
    """Return the norm of the derivative at one input x, without a batch axis."""
    slope = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0], x)
    return float(torch.linalg.matrix_norm(slope.reshape(-1, x.numel()), 2))


# Matrices


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 40), (40, 3), (60, 50)])
def test_linear_bound_is_the_largest_singular_value(shape: tuple[int, int]) -> None:
    weight = draw(*shape)
    exact = float(torch.linalg.matrix_norm(weight, 2))
    assert exact <= spectrum.linear_bound(weight) <= exact * (1 + 1e-5)
    assert spectrum.linear_bound(weight.T) == pytest.approx(exact, rel=1e-5)
    assert spectrum.linear_bound(weight.float()) == pytest.approx(exact, rel=1.1e-5)


def test_linear_bound_of_a_larger_matrix_agrees_with_scipy() -> None:
    weight = draw(600, 900)
    top = scipy.sparse.linalg.svds(weight.numpy(), k=1, return_singular_vectors=False)[0]
    assert top <= spectrum.linear_bound(weight) * (1 + 1e-12) <= top * (1 + 1e-5)


@pytest.mark.parametrize(
    "values",
    [[1.0] * 30, [3.0, 3.0, 1.0], [1.0, 1 - 1e-7, 0.5], [0.0, 2.0, 0.0], [1e-9, 1e-12], [1e6, 1.0]],
)
def test_linear_bound_with_awkward_spectra(values: list[float]) -> None:
    n = len(values)
    left, right = (torch.linalg.qr(draw(n, n, seed=s))[0] for s in (1, 2))
    found = spectrum.linear_bound(left * torch.tensor(values, dtype=torch.float64) @ right)
    assert max(values) * (1 - 1e-9) <= found <= max(values) * (1 + 1.1e-5)


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e160, 1e300])
def test_matrices_of_any_scale_are_bounded(scale: float) -> None:
    weight = scale * torch.diag(torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64))
    assert 3 * scale <= spectrum.linear_bound(weight) <= 3 * scale * (1 + 1e-5)
    both = torch.stack([torch.eye(3, dtype=torch.float64), weight])
    top = max(1.0, 3 * scale)
    assert top * (1 - 1e-12) <= singular.raised(0.0, both) <= top * (1 + 1e-5)
    assert singular.raised(2 * top, both) == 2 * top


def test_a_bound_that_holds_is_kept_and_one_that_does_not_is_raised() -> None:
    many = torch.complex(draw(20, 4, 6), draw(20, 4, 6, seed=1))
    exact = float(torch.linalg.matrix_norm(many, 2).max())
    assert singular.raised(2 * exact, many) == 2 * exact
    assert exact <= singular.raised(0.1 * exact, many) <= exact * (1 + 1e-5)
    assert singular.raised(0.0, torch.zeros(3, 4, 5).double()) == 0
    assert singular.raised(0.0, many, tol=1e-9) == pytest.approx(exact, rel=1e-9)


def test_matrices_that_cannot_be_bounded_are_refused() -> None:
    with pytest.raises(ValueError, match="two axes"):
        spectrum.linear_bound(draw(3))
    with pytest.raises(ValueError, match="NaN"):
        spectrum.linear_bound(torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match="tol must lie"):
        spectrum.linear_bound(draw(3, 3), tol=1e-14)


# Convolutions


def circular(weight: Tensor, stride: int, groups: int = 1):
    """A convolution on the torus, by padding with the opposite edge."""
    k = weight.shape[-1]

    def layer(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, k - 1, 0, k - 1), mode="circular"), weight, stride=stride,
                        groups=groups)  # fmt: skip

    return layer


@pytest.mark.parametrize(("stride", "n", "k"), [
    (1, 6, 3), (1, 7, 4), (2, 6, 3), (2, 8, 5), (3, 6, 2), (4, 8, 3), (4, 8, 1), (2, 4, 4),
])  # fmt: skip
@pytest.mark.parametrize("groups", [1, 2])
def test_circular_norm_is_exact(stride: int, n: int, k: int, groups: int) -> None:
    weight = draw(4, 2 // groups, k, k, seed=k)
    exact = norm_of(circular(weight, stride, groups), (2, n, n))
    padding, mode = ((k - 1) // 2, "circular") if k % 2 else (0, "circular")
    if k % 2:
        found = spectrum.conv_bound(
            weight, n, stride=stride, padding=padding, groups=groups, mode=mode)
        assert exact * (1 - 1e-9) <= found <= exact * (1 + 1e-5)
    else:  # no padding of torch gives an even kernel the whole torus: ask for its frequencies
        nu = torch.arange(n // stride, dtype=torch.float64) / n
        found = spectrum.symbol_norm(weight, (nu, nu), stride, groups=groups)
        assert exact * (1 - 1e-9) <= found <= exact * (1 + 1e-5)


@pytest.mark.parametrize(("k", "stride", "padding"), [
    (3, 1, 1), (5, 4, 1), (5, 4, 2), (4, 2, 1), (2, 1, "same"), (4, 1, "same"), (2, 2, 0),
    (3, 2, 1), (7, 2, 3), (9, 2, 4), (1, 1, 0),
])  # fmt: skip
def test_circular_padding_is_exact_where_the_outputs_tile_the_torus(k, stride, padding) -> None:
    layer = nn.Conv2d(2, 3, k, stride, padding, padding_mode="circular", bias=False).double()
    layer.weight.data.copy_(draw(3, 2, k, k, seed=k))
    exact = norm_of(layer, (2, 8, 8))
    assert layer(torch.zeros(1, 2, 8, 8).double()).shape[-1] == 8 // stride
    assert exact * (1 - 1e-9) <= spectrum.layer_bound(layer, (2, 8, 8)) <= exact * (1 + 1e-5)


def test_oblong_strides_and_grids_are_exact_on_the_torus() -> None:
    weight = draw(3, 2, 3, 5)
    layer = nn.Conv2d(2, 3, (3, 5), (2, 3), (1, 2), padding_mode="circular", bias=False).double()
    layer.weight.data.copy_(weight)
    exact = norm_of(layer, (2, 6, 9))
    assert exact * (1 - 1e-9) <= spectrum.layer_bound(layer, (2, 6, 9)) <= exact * (1 + 1e-5)


OPTIONS = [
    dict(zip(("stride", "padding", "dilation", "groups", "padding_mode"), values, strict=True))
    for values in itertools.product(
        (1, 2, 3), (0, 1, 2), (1, 2), (1, 2), ("zeros", "circular", "reflect", "replicate")
    )
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_no_convolution_exceeds_its_bound(options: dict) -> None:
    layer = nn.Conv2d(2, 4, (3, 2), bias=False, **options).double()
    layer.weight.data.copy_(draw(*layer.weight.shape, seed=3))
    for size in ((7, 6), (5, 8)):
        exact, found = norm_of(layer, (2, *size)), spectrum.layer_bound(layer, (2, *size))
        assert exact <= found * (1 + 1e-9)
        if options["padding_mode"] == "zeros":
            dense = spectrum.conv_bound(
                layer.weight, 200, **{k: v for k, v in options.items() if k != "padding_mode"})
            assert found <= 1.01 * dense, "the frequencies of a small grid are some of all"


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name(padding: str) -> None:
    layer = nn.Conv2d(2, 3, 3, dilation=2, padding=padding, bias=False).double()
    layer.weight.data.copy_(draw(3, 2, 3, 3))
    exact, found = norm_of(layer, (2, 7, 7)), spectrum.layer_bound(layer, (2, 7, 7))
    assert exact <= found < 2 * exact


def test_padding_with_zeros_lies_between_its_norm_and_that_of_every_frequency() -> None:
    weight = draw(6, 3, 3, 3, seed=5)
    exact = norm_of(lambda x: F.conv2d(x, weight, padding=1), (3, 12, 12))
    found = spectrum.conv_bound(weight, 12, padding=1)
    dense = spectrum.conv_bound(weight, 500, padding=1, mode="circular")
    assert exact < found <= dense * (1 + 1e-4)


def test_bound_agrees_with_power_iteration_through_autograd() -> None:
    weight = draw(8, 4, 5, 5)
    x = draw(1, 4, 48, 48)

    def layer(v: Tensor) -> Tensor:
        return F.conv2d(v, weight, stride=2, padding=2)

    for _ in range(300):
        _, back = torch.autograd.functional.vjp(layer, x, layer(x))
        x = back / back.norm()
    reached = float(layer(x).norm() / x.norm())
    found = spectrum.conv_bound(weight, 48, stride=2, padding=2)
    assert reached < found < 1.02 * reached, "in a large image the padding hardly matters"


def test_the_bound_ignores_what_the_norm_ignores() -> None:
    weight = draw(5, 4, 3, 3)
    found = spectrum.conv_bound(weight, 9, stride=2, padding=1)
    same = {
        "outputs permuted": weight[[3, 1, 0, 4, 2]],
        "inputs permuted": weight[:, [2, 0, 3, 1]],
        "mirrored": weight.flip(2, 3),
        "a sign": -weight,
        "outputs rotated": torch.einsum("ed,dcuv->ecuv", torch.linalg.qr(draw(5, 5))[0], weight),
    }
    for what, kernel in same.items():
        other = spectrum.conv_bound(kernel, 9, stride=2, padding=1)
        assert other == pytest.approx(found, rel=2e-5), what
    assert spectrum.conv_bound(3 * weight, 9, stride=2, padding=1) == pytest.approx(
        3 * found, rel=2e-5)


def test_slices_of_frequencies_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = draw(5, 4, 3, 3)
    whole = spectrum.conv_bound(weight, 12, padding=1)
    monkeypatch.setattr(convolution, "_CHUNK", 1)
    assert spectrum.conv_bound(weight, 12, padding=1) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_printed_factor_is_low_by_the_stride(stride: int) -> None:
    """A kernel as large as the image: the paper's frequencies are then the right ones."""
    weight = draw(4, 3, 6, 6, seed=stride)
    exact = norm_of(circular(weight, stride), (3, 6, 6))
    assert spectrum.printed_bound(weight, stride=stride) == pytest.approx(exact / stride, rel=1e-5)


def test_a_transform_of_the_kernels_size_can_miss_the_norm() -> None:
    """The kernel (1, 0, -1) lets a quarter of the sampling frequency through, not a third."""
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, 1] = torch.tensor([1.0, 0.0, -1.0])
    exact = norm_of(circular(weight, 1), (1, 12, 12))
    assert exact == pytest.approx(2)
    assert spectrum.printed_bound(weight) == pytest.approx(math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize(("change", "words"), [
    ({"weight": draw(3, 3, 3)}, "a kernel is"),
    ({"groups": 3}, "groups divide"),
    ({"mode": "mirror"}, "mode must be one of zeros"),
    ({"size": 1, "padding": 0}, "does not fit"),
    ({"stride": 0}, "below 1"),
    ({"padding": -1}, "padded by -1"),
    ({"padding": 9, "mode": "circular"}, "circular padding by 9 .* 8 pixels"),
    ({"padding": 8, "mode": "reflect"}, "reflect padding by 8 .* 8 pixels"),
])  # fmt: skip
def test_impossible_convolutions_are_refused(change: dict, words: str) -> None:
    arguments = {"weight": draw(4, 2, 3, 3), "size": 8, "padding": 1} | change
    with pytest.raises(ValueError, match=words):
        spectrum.conv_bound(arguments.pop("weight"), arguments.pop("size"), **arguments)


@pytest.mark.parametrize(("mode", "padding"), [("circular", 6), ("reflect", 5)])
def test_as_much_padding_as_torch_allows(mode: str, padding: int) -> None:
    layer = nn.Conv2d(1, 2, 3, padding=padding, padding_mode=mode, bias=False).double()
    layer.weight.data.copy_(draw(2, 1, 3, 3))
    assert norm_of(layer, (1, 6, 6)) <= spectrum.layer_bound(layer, (1, 6, 6))


def test_the_printed_formula_wants_square_kernels() -> None:
    with pytest.raises(ValueError, match="square"):
        spectrum.printed_bound(draw(2, 2, 3, 5))


# Other layers


@pytest.mark.parametrize(("layer", "shape", "expected"), [
    (nn.MaxPool2d(2), (1, 6, 6), 1),
    (nn.MaxPool2d(2, ceil_mode=True), (1, 7, 7), 1),
    (nn.MaxPool2d(3, 2), (1, 7, 7), 2),
    (nn.MaxPool2d(3, 2), (1, 3, 3), 1),  # one window only
    (nn.MaxPool2d(3, 1, 1), (1, 6, 6), 3),
    (nn.MaxPool2d(5, 2), (1, 9, 9), 3),
    (nn.MaxPool2d((3, 2), (1, 2)), (2, 7, 6), math.sqrt(3)),
    (nn.MaxPool2d(2, 1, dilation=2), (1, 6, 6), 2),
])  # fmt: skip
def test_max_pooling_expands_by_the_root_of_the_overlap(layer, shape, expected: float) -> None:
    bound = spectrum.layer_bound(layer, shape)
    assert bound == pytest.approx(expected)
    rows = matrix_of(layer, shape)  # zeros with one lit pixel: the pixel wins all its windows
    assert float(rows.norm(dim=1).max()) == pytest.approx(bound)
    for seed in range(20):
        x, move = draw(1, *shape, seed=seed), draw(1, *shape, seed=99 + seed)
        move = 10.0 ** (seed % 4 - 2) * move
        assert (layer(x + move) - layer(x)).norm() <= bound * move.norm() * (1 + 1e-12)


@pytest.mark.parametrize("layer", [
    nn.AvgPool2d(2), nn.AvgPool2d(3, 2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d((3, 2), 1),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d((None, 2)),
    nn.AdaptiveAvgPool2d(9), nn.Identity(), nn.Flatten(), nn.Dropout(0.5).eval(),
    Normalize((0.5, 0.2), (0.25, 0.5)).double(),
], ids=str)  # fmt: skip
def test_linear_layers_are_exact(layer: nn.Module) -> None:
    bound = spectrum.layer_bound(layer, (2, 6, 7))
    assert bound == pytest.approx(norm_of(layer, (2, 6, 7)), rel=1e-9)


def test_batch_norm_is_exact() -> None:
    layer = nn.BatchNorm2d(3).double().eval()
    layer.running_var.copy_(torch.tensor([0.5, 2.0, 1.0]))
    layer.weight.data.copy_(torch.tensor([0.1, -3.0, 1.0]))
    assert spectrum.layer_bound(layer, (3, 4, 4)) == pytest.approx(norm_of(layer, (3, 4, 4)))
    plain = nn.BatchNorm2d(3, affine=False).double().eval()
    plain.running_var.copy_(torch.tensor([0.5, 2.0, 0.25]))
    assert spectrum.layer_bound(plain, (3, 4, 4)) == pytest.approx(norm_of(plain, (3, 4, 4)))
    with pytest.raises(ValueError, match="whole batch"):
        spectrum.layer_bound(nn.BatchNorm2d(3, track_running_stats=False), (3, 4, 4))


@pytest.mark.parametrize("layer", [
    nn.ReLU(), nn.ReLU6(), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU(0.1), nn.LeakyReLU(-3.0),
], ids=str)  # fmt: skip
def test_activations_have_the_largest_slope(layer: nn.Module) -> None:
    x = torch.linspace(-8, 8, 16001, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(layer(x).sum(), x)
    assert spectrum.layer_bound(layer, (16001,)) == pytest.approx(float(slope.abs().max()))


@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_no_slope_of_local_response_normalisation_exceeds_its_bound(size: int, beta: float) -> None:
    layer = nn.LocalResponseNorm(size, alpha=2.0, beta=beta, k=1.5)
    bound = spectrum.layer_bound(layer, (6, 1, 1))
    slopes = [
        jacobian_norm(layer, 10.0 ** (seed % 5 / 2 - 1) * draw(6, 1, 1, seed=seed))
        for seed in range(60)
    ]
    least = 1.5**-beta  # the slope at zero
    assert max(slopes) <= bound and least <= bound < 4 * least
    with pytest.raises(ValueError, match="needs k > 0"):
        spectrum.layer_bound(nn.LocalResponseNorm(3, k=0.0), (6, 1, 1))


def test_contrast_normalisation_has_the_slope_of_the_paper() -> None:
    """x / (eps + ||x||^2)^gamma, 1/2 <= gamma <= 1: at most eps^-gamma, attained at zero."""
    for gamma in (0.5, 0.75, 1.0):
        slopes = [
            jacobian_norm(lambda x, g=gamma: x / (0.3 + x.square().sum()) ** g, scale * draw(7))
            for scale in (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
        ]
        assert max(slopes) == slopes[0] == pytest.approx(0.3**-gamma)


def test_unknown_layers_are_named() -> None:
    with pytest.raises(ValueError, match="the layer GELU: add one"):
        spectrum.layer_bound(nn.GELU(), (3,))
    with pytest.raises(ValueError, match="another divisor"):
        spectrum.layer_bound(nn.AvgPool2d(2, divisor_override=3), (1, 4, 4))
    with pytest.raises(ValueError, match="wholly in the padding"):
        spectrum.layer_bound(nn.MaxPool2d(2, 1, 1, dilation=2), (1, 1, 1))


def test_a_layer_can_be_registered() -> None:
    class Double(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    with pytest.raises(ValueError, match="the function mul"):
        spectrum.network_bound(Double().eval(), (3,))
    spectrum.register_layer(Double, lambda layer, shape: 2.0)
    assert spectrum.layer_bound(Double(), (3,)) == 2
    assert spectrum.network_bound(nn.Sequential(Double(), Double()).eval(), (3,)).total == 4

    class Sevenfold(Double):
        def forward(self, x: Tensor) -> Tensor:
            return 3.5 * super().forward(x)

    with pytest.raises(ValueError, match="the function mul"):  # what it inherits is not its own
        spectrum.network_bound(nn.Sequential(Sevenfold()).eval(), (3,))


# Networks


def build(name: str) -> nn.Module:
    return models.build(name).double().eval()


@pytest.mark.parametrize("name", ["fc10", "fc100-100-10", "cnn-mnist", "allcnn-mnist",
                                  "resnet8-mnist"])  # fmt: skip
def test_no_network_exceeds_its_bound(name: str) -> None:
    net = build(name)
    bound = spectrum.network_bound(net, (1, 28, 28))
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for scale in (1e-3, 1.0):
        move = scale * draw(4, 1, 28, 28)
        with torch.no_grad():
            change = (net(x + move) - net(x)).norm(dim=1)
        assert (change <= bound.total * move.flatten(1).norm(dim=1)).all()
    slopes = [jacobian_norm(net, image) for image in x]
    assert max(slopes) <= bound.total
    if name == "fc10":
        assert max(slopes) == pytest.approx(bound.total, rel=1e-5)


def test_the_rows_multiply_up() -> None:
    bound = spectrum.network_bound(build("fc100-100-10"), (1, 28, 28))
    kinds = [layer.kind for layer in bound.layers]
    assert kinds == ["Flatten", "Linear", "Sigmoid", "Linear", "Sigmoid", "Linear"]
    assert [layer.name for layer in bound.weighted] == ["layers.0", "layers.1", "layers.2"]
    assert bound.total == pytest.approx(math.prod(layer.bound for layer in bound.layers))
    net = build("fc100-100-10")
    values = net.state_dict().values()
    weights = [float(torch.linalg.matrix_norm(v, 2)) for v in values if v.ndim == 2]
    assert bound.total == pytest.approx(math.prod(weights) / 16, rel=4e-5)


class Joined(nn.Module):
    """Sums, doubled sums, constants and concatenations, all linear."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)
        self.shift = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        a, b = self.a(h), self.b(h)
        return torch.cat([a + b, a + a, a + self.shift, a + 1], 1)


def test_sums_add_and_concatenations_add_squares() -> None:
    net = Joined().double().eval()
    a, b = (float(torch.linalg.matrix_norm(part.weight.detach(), 2)) for part in (net.a, net.b))
    expected = math.sqrt((a + b) ** 2 + (2 * a) ** 2 + 2 * a**2)
    found = spectrum.network_bound(net, (3, 1, 1)).total
    assert found == pytest.approx(expected, rel=2e-5)
    assert found >= norm_of(net, (3, 1, 1))


def times(scale: float) -> nn.Conv2d:
    """x -> scale * x, a layer whose norm every input attains."""
    layer = nn.Conv2d(1, 1, 1, bias=False).double()
    nn.init.constant_(layer.weight, scale)
    return layer


class Graph(nn.Module):
    """A path through three scaled identities; every norm is attained, nothing has any slack."""

    def __init__(self, path) -> None:
        super().__init__()
        self.path = path
        self.two, self.three, self.five = times(2.0), times(3.0), times(5.0)
        self.shift = nn.Parameter(torch.ones(1, 1, 1, dtype=torch.float64))
        self.kept, self.flat = nn.Identity(), nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        return self.path(self, x)


def returned_before_another(net: Graph, x: Tensor) -> Tensor:
    y = net.five(x)
    net.two(x)
    return y


def residual(net: Graph, x: Tensor) -> Tensor:
    out = net.three(net.two(x))
    out += x
    return net.two(out)


def summed_in_place(net: Graph, x: Tensor) -> Tensor:
    a = net.two(x)
    a = a.add_(net.three(x))
    return a + net.five(a)


@pytest.mark.parametrize(("path", "expected"), [
    (lambda net, x: x, 1),
    (lambda net, x: net.two(net.three(x)), 6),
    (lambda net, x: net.two(net.two(net.two(x))), 8),
    (lambda net, x: net.two(x) + net.three(x), 5),
    (lambda net, x: torch.add(x, net.three(x)), 4),
    (lambda net, x: torch.relu(net.two(x)) + 1 + net.shift, 2),
    (lambda net, x: 1 + net.two(x), 2),
    (lambda net, x: torch.cat([net.three(x), net.two(net.two(x))], 1), 5),
    (lambda net, x: torch.cat([net.three(x), net.two(net.two(x))], dim=1), 5),
    (returned_before_another, 5),
    (residual, 14),
    (summed_in_place, 30),
    (lambda net, x: net.two(x).add_(net.two(x)), 4),
    (lambda net, x: net.shift, 0),
])  # fmt: skip
def test_norms_that_are_attained_are_found(path, expected: float) -> None:
    net = Graph(path).eval()
    before = net.shift.detach().clone()
    assert spectrum.network_bound(net, (1, 3, 3)).total == pytest.approx(expected, rel=1e-4)
    move = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        change = (net(move.clone()) - net(0 * move)).norm()
    assert change == pytest.approx(expected * move.norm())
    assert torch.equal(net.shift, before)


def test_modules_may_be_named_like_functions() -> None:
    parts = {"add": times(2.0), "add_": times(3.0), "mean": times(5.0)}
    net = nn.Sequential(collections.OrderedDict(parts)).eval()
    assert spectrum.network_bound(net, (1, 3, 3)).total == pytest.approx(30, rel=1e-4)


def summed_and_read(net: Graph, x: Tensor) -> Tensor:
    a = net.two(x)
    a.add_(net.three(x))
    return net.five(a)


def by_a_view(net: Graph, x: Tensor) -> Tensor:
    a = net.two(x)
    net.kept(a).add_(net.three(x))
    return net.five(a)


def by_a_flat_view(net: Graph, x: Tensor) -> Tensor:
    a = net.two(x)
    b = net.flat(a)
    b += net.flat(net.three(x))
    return net.five(a)


def through_the_pixels(net: Graph, x: Tensor) -> Tensor:
    return net.kept(x).add_(net.two(x))


def part_by_part(net: Graph, x: Tensor) -> Tensor:
    y = net.two(x)
    y[:, 0] = 0
    return y


def through_a_weight(net: Graph, x: Tensor) -> Tensor:
    h = net.kept(net.shift)
    h += net.two(x).flatten(1)
    return h


@pytest.mark.filterwarnings("ignore:This overload of add is deprecated")
@pytest.mark.parametrize(("path", "words"), [
    (lambda net, x: torch.add(x, other=net.two(x)), "add with other operands than two"),
    (lambda net, x: torch.add(input=x, other=net.two(x)), "add with other operands than two"),
    (lambda net, x: torch.add(x, 5, net.two(x)), "add with other operands than two"),
    (lambda net, x: torch.add(x, x, alpha=5), "add with other operands than two"),
    (lambda net, x: torch.cat(tensors=[x, net.two(x)]), "cat with other operands than a list"),
    (summed_and_read, "add_ in place of a value that is used again"),
    (by_a_view, "add_ in place of a value that is used again"),
    (by_a_flat_view, "iadd in place of a value that is used again"),
    (through_the_pixels, "add_ in place of a value that is used again"),
    (through_a_weight, "iadd in place of a value that is used again"),
    (part_by_part, "path depends on its input"),
    (lambda net, x: net.two(input=x), "two is called without its input"),
    (lambda net, x: torch.relu(input=x), "relu is called without its input"),
    (lambda net, x: torch.sigmoid(x, out=x), "sigmoid cannot be bounded as a layer"),
    (lambda net, x: 2 * x, "known for the function mul"),
    (lambda net, x: (x, net.two(x)), "returns something else than one tensor"),
    (lambda net, x: {"logits": x}, "returns something else than one tensor"),
    (lambda net, x: nn.functional.leaky_relu(x), "known for the function leaky_relu"),
])  # fmt: skip
def test_graphs_without_a_sure_bound_are_refused_in_a_sentence(path, words: str) -> None:
    net = Graph(path).eval()
    before = net.shift.detach().clone()
    with pytest.raises(ValueError, match=words) as caught:
        spectrum.network_bound(net, (1, 1, 1))
    assert "\n" not in str(caught.value)
    assert torch.equal(net.shift, before)


def test_a_layer_that_steepens_in_place_is_refused() -> None:
    class Net(nn.Module):
        def __init__(self, slope: float) -> None:
            super().__init__()
            self.first, self.then = times(2.0), nn.LeakyReLU(slope, inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            a = self.first(x)
            self.then(a)
            return a

    with pytest.raises(ValueError, match="LeakyReLU in place"):
        spectrum.network_bound(Net(-3.0).eval(), (1, 2, 2))
    assert spectrum.network_bound(Net(0.1).eval(), (1, 2, 2)).total == pytest.approx(2, rel=1e-4)


def test_residual_networks_of_torchvision_are_bounded() -> None:
    net = vision.network("resnet18", classes=3)
    bound = spectrum.network_bound(net, (3, 32, 32))
    assert [layer.kind for layer in bound.layers].count("iadd") == 8
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (net(x[:1]) - net(x[1:])).norm() <= bound.total * (x[0] - x[1]).norm()


def test_pixels_of_torchvisions_networks_are_normalised_first() -> None:
    net = vision.network("squeezenet1_1", classes=3)
    bound = spectrum.network_bound(net, (3, 64, 64))
    assert bound.layers[0].bound == pytest.approx(1 / 0.224)
    pools = [layer.bound for layer in bound.layers if layer.kind == "MaxPool2d"]
    assert pools == [2.0, 2.0, 2.0]
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (net(x[:1]) - net(x[1:])).norm() <= bound.total * (x[0] - x[1]).norm()


class Strange(nn.Module):
    def __init__(self, step) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x)


@pytest.mark.parametrize(("step", "words"), [
    (lambda x: x * x, "known for the function mul"),
    (lambda x: x.mean(1), "a mean over the axes"),
    (lambda x: x + x.mean((2, 3), keepdim=True), "add with a broadcast part"),
    (lambda x: x if x.sum() > 0 else -x, "path depends on its input"),
    (nn.GELU(), "the layer GELU"),
])  # fmt: skip
def test_networks_without_a_known_bound_are_refused(step, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        spectrum.network_bound(Strange(step).eval(), (1, 4, 4))
    assert "\n" not in str(caught.value)


def test_an_input_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no input of shape \(1, 20, 20\)"):
        spectrum.network_bound(build("fc10"), (1, 20, 20))


def test_a_network_in_train_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="train mode"):
        spectrum.network_bound(models.build("fc10"), (1, 28, 28))


def test_the_network_is_left_as_it_was() -> None:
    net = build("cnn-mnist")
    net.conv1.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    spectrum.network_bound(net, (1, 28, 28))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not net.conv1.weight.requires_grad and net.conv2.weight.requires_grad


# Certificates


def test_for_a_linear_network_the_pairwise_radius_is_the_distance_to_the_boundary() -> None:
    net = build("fc10")
    x = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = net.layers[0].weight.detach()
    logits = net(x).detach()
    y = logits.argmax(1)
    radius = spectrum.pairwise_radius(logits, y, weight, 1.0)
    gaps, steps = spectrum.margins(logits, y), weight[None] - weight[y][:, None]  # (N, K, 784)
    nearest = (gaps / steps.norm(dim=2)).argmin(1)
    step = steps[torch.arange(6), nearest]
    unit = (step / step.norm(dim=1, keepdim=True)).view_as(x)
    away = radius.view(-1, 1, 1, 1) * unit
    assert (net(x + 0.999 * away).argmax(1) == y).all()
    assert (net(x + 1.001 * away).argmax(1) == nearest).all()
    for seed in range(20):  # nothing inside
        turned = F.normalize(draw(6, 784, seed=seed) + 5 * seed * unit.flatten(1)).view_as(x)
        assert (net(x + 0.999 * radius.view(-1, 1, 1, 1) * turned).argmax(1) == y).all()


def test_the_product_certifies_less_than_the_pairs() -> None:
    net = build("fc100-100-10")
    x = torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bound = spectrum.network_bound(net, (1, 28, 28))
    logits, y = net(x).detach(), torch.arange(50) % 10
    plain = spectrum.certified_radius(logits, y, bound.total)
    pairs = spectrum.pairwise_radius(logits, y, net.layers[-1].weight, bound.layers[-2].product)
    wrong = logits.argmax(1) != y
    assert wrong.any() and not wrong.all()
    assert (plain[wrong] == 0).all() and (pairs[wrong] == 0).all()
    assert (plain[~wrong] > 0).all() and (pairs >= plain * (1 - 1e-4)).all()


def test_no_attack_ends_inside_the_certified_radius() -> None:
    for name in ("fc10", "fc100-100-10", "cnn-mnist"):
        net = models.build(name).eval()
        x = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            logits = net(x)
        y = logits.argmax(1)
        bound = spectrum.network_bound(net, (1, 28, 28))
        radius = spectrum.certified_radius(logits, y, bound.total)
        pairs = spectrum.pairwise_radius(logits, y, list(net.parameters())[-2],
                                         bound.layers[-2].product)  # fmt: skip
        found = attacks.lbfgs(net, x, y, target=attacks.targets(net, x, y, mode="nearest"))
        assert found.success.all()
        assert (found.l2 >= radius).all() and (found.l2 >= pairs * (1 - 1e-6)).all()


def test_a_network_that_need_not_compute_what_its_layers_do_is_refused() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))).eval()
    before = spectrum.network_bound(net, (4,)).total
    for module, words in (
        (net[0], r"module '0' \(Linear\)"), (net[1], r"module '1' \(Sequential\)"),
        (net[1][1], r"module '1.1'"), (net, r"the network itself \(Sequential\)"),
    ):  # fmt: skip
        for hook in (
            module.register_forward_hook(lambda module, inputs, output: 10 * output),
            module.register_forward_pre_hook(lambda module, inputs: (10 * inputs[0],)),
        ):
            with pytest.raises(ValueError, match=f"{words}.* has a forward hook"):
                spectrum.network_bound(net, (4,))
            hook.remove()
        plain = module.forward
        module.forward = lambda x, plain=plain: 10 * plain(x)
        with pytest.raises(ValueError, match=f"{words}.* has a forward of its own"):
            spectrum.network_bound(net, (4,))
        del module.forward
    assert spectrum.network_bound(net, (4,)).total == before


def test_impossible_certificates_are_refused() -> None:
    logits, y = torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64)
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive and finite"):
            spectrum.certified_radius(logits, y, bad)
    with pytest.raises(ValueError, match=r"int64 of shape \(3,\)"):
        spectrum.certified_radius(logits, y[:2], 1.0)
    with pytest.raises(ValueError, match="4 classes cannot have weights"):
        spectrum.pairwise_radius(logits, y, torch.zeros(3, 5), 1.0)
    assert spectrum.margins(logits, y)[:, 0].isinf().all()
