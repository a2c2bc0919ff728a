"""Networks, games and callbacks of strangers: they get copies, and what they cannot do is told."""

from collections import OrderedDict

import attacknets
import numpy as np
import pytest
import torch
from torch import nn

from intriguing import attacks, directions, interactions
from intriguing.attacks import check_inputs, lbfgs, looks_like_probabilities, predict, targets
from intriguing.attacks.transfer import Noise, VarianceTuning, penalised, penalty_for, pgd
from intriguing.evaluate import ChangedSet, correct, transfer_matrix

EPS = 0.15
ATTACKS = {
    "pgd": lambda net, x, y, t: pgd(net, x, y, eps=EPS, steps=3),
    "pgd l2": lambda net, x, y, t: pgd(net, x, y, eps=2.0, steps=3, norm="l2", momentum=1.0),
    "pgd with parts": lambda net, x, y, t: pgd(
        net, x, y, eps=EPS, steps=2, views=(Noise(),), variance=VarianceTuning(1), copies=2,
        interaction=attacks_interaction()),
    "penalised": lambda net, x, y, t: penalised(net, x, y, c=0.01, steps=3),
    "lbfgs": lambda net, x, y, t: lbfgs(net, x, y, target=t, max_rounds=4),
    "lbfgs l1": lambda net, x, y, t: lbfgs(net, x, y, target=t, penalty="l1", max_rounds=2),
}  # fmt: skip


def attacks_interaction():
    from intriguing.attacks.transfer import Interaction

    return Interaction(grid=4, samples=2, set_size=4)


class Changed(nn.Module):
    """A network between two functions: of the pixels, and of the logits."""

    def __init__(self, model, before=lambda x: x, after=lambda logits: logits):
        super().__init__()
        self.model, self.before, self.after = model, before, after
        self.eval()

    def forward(self, x):
        return self.after(self.model(self.before(x)))


def apart(x):
    return (x - 0.1) / 1.5


def in_place(x):
    return x.sub_(0.1).div_(1.5)


def problem(n=6, dtype=torch.float32):
    model = attacknets.smooth_cnn(dtype)
    x, y, t = attacknets.problems(Changed(model, apart), n)
    return model, x, y, t


# -- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_network_that_normalises_in_place_is_attacked_like_any_other(attack):
    model, x, y, t = problem()
    kept = x.clone()
    found, expected = (ATTACKS[attack](Changed(model, way), x, y, t) for way in (in_place, apart))
    assert torch.equal(x, kept), "the caller's images"
    assert torch.equal(found.x_adv, expected.x_adv) and torch.equal(found.success, expected.success)
    assert not torch.equal(found.x_adv[0], x[0])


def test_what_only_looks_leaves_the_images_alone_too():
    model, x, y, t = problem()
    kept = x.clone()
    whole = 0.1 * torch.ones_like(x)
    asked = [
        lambda net: predict(net, x),
        lambda net: correct(net, x, y, batch=4),
        lambda net: targets(net, x, y, mode="nearest"),
        lambda net: attacks.linearised(net, x, y),
        lambda net: penalty_for(net, x, y, norm=1.0),
        lambda net: directions.activations(net, x),
        lambda net: directions.activations(net, x, "model.0"),
        lambda net: torch.tensor(len(directions.weight_layers(net, x))),
        lambda net: interactions.readings(net, x, y, whole, grid=2).mean_loss,
        lambda net: interactions.perturbation_game(net, x, y, whole, grid=2)(
            torch.tensor([[True, False, True, False]])),
        lambda net: interactions.ablation_game(net, x, y, grid=2).spread(),
        lambda net: interactions.exact_sii(interactions.ablation_game(net, x, y, grid=2), 4),
        lambda net: torch.tensor(transfer_matrix(
            {"a": net}, {"a": net}, {"a": ChangedSet(x, y, x)}).rate("a", "a").value),
    ]  # fmt: skip
    for ask in asked:
        found, expected = (ask(Changed(model, way)) for way in (in_place, apart))
        assert torch.equal(found, expected) and torch.equal(x, kept)


def test_features_are_no_view_of_what_the_next_layer_writes_into():
    rows = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    net = nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(4, 3)).eval()
    x, kept = rows + 0.5, rows + 0.5
    phi = directions.activations(Changed(net, lambda x: x - 0.5), x, "model.1")
    assert torch.allclose(phi, rows.flatten(1)) and (phi < 0).any(), "before the ReLU"
    phi = directions.activations(net, x, "0")
    phi += 1
    assert torch.equal(x, kept)


def test_a_game_may_write_into_its_masks_and_keep_its_answer():
    table = torch.rand(3, 2**4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    honest, kept = interactions.table_game(table), torch.empty(3, 0, dtype=torch.float64)

    def rude(masks):
        nonlocal kept
        values = honest(masks)
        masks.logical_not_()
        kept.fill_(torch.nan)  # the last answer
        kept = values
        return kept

    pairs = torch.tensor([[0, 1], [2, 3]])
    for measure in (
        lambda game: interactions.exact_sii(game, 4),
        lambda game: interactions.dividends(game, 4),
        lambda game: interactions.mean_interaction(game, 4),
        lambda game: interactions.row_sums(game, 4),
        lambda game: interactions.pairwise(game, 4, pairs, 5).value,
        lambda game: interactions.sampled_sii(game, 4, 10),
    ):
        assert torch.equal(measure(rude), measure(honest))


def test_who_observes_an_attack_cannot_change_it():
    model, x, y, _ = problem()
    plain = pgd(model, x, y, eps=0.05, steps=4)
    seen = []

    def meddle(number, rows, x_adv):
        seen.append(x_adv.clone())
        x_adv.fill_(0.5)

    watched = pgd(model, x, y, eps=0.05, steps=4, observe=meddle)
    assert torch.equal(watched.x_adv, plain.x_adv) and torch.equal(seen[-1], plain.x_adv)
    assert watched.linf.max() <= 0.05


# -- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda y: y[:, None], r"int64 of shape \(6,\), not torch.int64 \(6, 1\): y.squeeze\(1\) is"),
    (lambda y: y.tolist(), r"int64 of shape \(6,\), not a list"),
    (lambda y: y.numpy(), "not a ndarray"),
    (lambda y: y.int(), r"not torch.int32 \(6,\): y.long\(\) is"),
    (lambda y: y.float(), r"not torch.float32 \(6,\)"),
    (lambda y: nn.functional.one_hot(y, 10), r"\(6, 10\): y.argmax\(1\) is"),
    (lambda y: y[:5], r"not torch.int64 \(5,\)"),
    (lambda y: y[0], r"not torch.int64 \(\)"),
    (lambda y: y - 10, "y holds -.*class"),
    (lambda y: y + 10, r"the classes are 0\.\.9"),
    (lambda y: y.to("meta"), "y is on meta and the images on cpu"),
])  # fmt: skip
def test_labels_of_another_kind_are_one_sentence_everywhere(spoil, words):
    model, x, y, t = problem()
    bad = spoil(y)
    doors = [
        lambda: check_inputs(model, x, bad),
        lambda: pgd(model, x, bad, eps=EPS, steps=1),
        lambda: penalised(model, x, bad, c=1.0),
        lambda: lbfgs(model, x, bad, target=t),
        lambda: targets(model, x, bad),
        lambda: attacks.linearised(model, x, bad),
        lambda: correct(model, x, bad),
        lambda: transfer_matrix({"a": model}, {"a": model}, {"a": ChangedSet(x, bad, x)}),
        lambda: interactions.perturbation_game(model, x, bad, x, grid=2),
        lambda: interactions.readings(model, x, bad, x, grid=2),
        lambda: interactions.ablation_game(model, x, bad, grid=2),
    ]
    for door in doors:
        with pytest.raises(ValueError, match=words) as told:
            door()
        assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match=words.replace("y is", "target is").replace("y h", "t.* h")
                       .replace("y.", "target.")):  # fmt: skip
        lbfgs(model, x, y, target=bad)


# -- answers that are no logits -------------------------------------------------------------------


@pytest.mark.parametrize(("after", "words"), [
    (lambda z: (z, z), "returns a tuple, not logits"),
    (lambda z: [z], "returns a list, not logits"),
    (lambda z: {"logits": z}, "returns a dict, not logits"),
    (lambda z: OrderedDict(logits=z), "returns a OrderedDict, not logits"),
    (lambda z: z.detach().numpy(), "returns a ndarray, not logits"),
    (lambda z: z[:, 0], r"returns \(\d,\) for \d image"),
    (lambda z: z.squeeze(0), r"returns \(10,\) for 1 image:"),
    (lambda z: z[:, None], r"returns \(\d, 1, 10\) for"),
    (lambda z: z[:, :1], "one number an image: logits are of two classes"),
    (lambda z: z.argmax(1), r"returns \(\d,\) for"),
    (lambda z: nn.functional.one_hot(z.argmax(1), 10), "returns torch.int64: logits are floating"),
])  # fmt: skip
def test_an_answer_that_is_no_logits_is_one_sentence(after, words):
    model, x, y, t = problem(1)
    net = Changed(model, after=after)
    doors = [
        lambda: predict(net, x),
        lambda: check_inputs(net, x, y),
        lambda: correct(net, x, y),
        lambda: targets(net, x, y),
        lambda: interactions.ablation_game(net, x, y, grid=2),
        *(lambda attack=attack: attack(net, x, y, t) for attack in ATTACKS.values()),
    ]
    for door in doors:
        with pytest.raises(ValueError, match=words) as told:
            door()
        assert "\n" not in str(told.value)


def test_a_mean_over_the_batch_is_seen_as_soon_as_there_is_a_batch():
    model, x, y, _ = problem()
    net = Changed(model, after=lambda z: z.mean(0, keepdim=True))
    for door in (lambda: predict(net, x), lambda: pgd(net, x, y, eps=EPS, steps=1)):
        with pytest.raises(ValueError, match=r"returns \(1, 10\) for 6 images"):
            door()


def test_what_the_network_raises_itself_is_its_own():
    model, x, y, _ = problem()

    def refuse(pixels):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    for door in (lambda net: predict(net, x), lambda net: pgd(net, x, y, eps=EPS, steps=1)):
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            door(Changed(model, refuse))


# -- networks without gradients -------------------------------------------------------------------


class Off(nn.Module):
    def __init__(self, model, off):
        super().__init__()
        self.model, self.off = model, off
        self.eval()

    def forward(self, x):
        with self.off():
            return self.model(x)


@pytest.mark.parametrize("kind", ["no_grad", "inference_mode", "detach"])
@pytest.mark.parametrize("attack", [*ATTACKS, "linearised", "penalty_for"])
def test_a_network_without_gradients_is_one_sentence(kind, attack):
    model, x, y, t = problem(2)
    net = Changed(model, lambda x: x.detach()) if kind == "detach" else Off(
        model, getattr(torch, kind))  # fmt: skip
    call = ATTACKS.get(attack) or {
        "linearised": lambda net, x, y, t: attacks.linearised(net, x, y),
        "penalty_for": lambda net, x, y, t: penalty_for(net, x, y, norm=1.0),
    }[attack]
    with pytest.raises(ValueError, match="carry no gradient") as told:
        call(net, x, y, t)
    assert "\n" not in str(told.value)
    assert predict(net, x).tolist() == predict(model, x).tolist(), "looking needs none"


@pytest.mark.parametrize("attack", ATTACKS)
def test_inference_mode_is_refused_around_attacks_and_its_tensors_are_taken(attack):
    model, x, y, t = problem(2)
    with pytest.raises(ValueError, match="inference_mode"), torch.inference_mode():
        ATTACKS[attack](model, x, y, t)
    with torch.inference_mode():
        born = x + 0
    found, expected = (ATTACKS[attack](model, images, y, t).x_adv for images in (born, x))
    assert torch.equal(found, expected)
    assert penalty_for(model, born, y, norm=1.0).tolist() == penalty_for(
        model, x, y, norm=1.0).tolist()  # fmt: skip
    assert torch.equal(attacks.linearised(model, born, y), attacks.linearised(model, x, y))


# -- answers that are not finite ------------------------------------------------------------------


def sick(model, value, where):
    """A network whose logits turn to `value` for some pixels, and their gradient to NaN."""
    def after(z):
        return z + torch.where(where(after.x), value, 0.0)[:, None] * z.abs()

    def before(x):
        after.x = x
        return x

    return Changed(model, before, after)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("attack", ATTACKS)
def test_logits_that_are_not_finite_are_never_success_and_no_pixel_is(attack, value):
    model, x, y, t = problem()
    bright = x.flatten(1).sum(1).max() + 0.5  # beyond it, away from all images
    net = sick(model, value, lambda x: x.flatten(1).sum(1) > bright)
    found = ATTACKS[attack](net, x, y, t)
    assert found.x_adv.isfinite().all() and found.x_adv.min() >= 0 and found.x_adv.max() <= 1
    assert not (found.success & ~net(found.x_adv).isfinite().all(1)).any()
    healthy = ATTACKS[attack](model, x, y, t)
    assert (found.success <= healthy.success).float().mean() > 0.5
    if "pgd" in attack:
        assert {"gradient not finite", "logits not finite"} & set(found.stop_reason)
        assert set(healthy.stop_reason) == {"steps"}


def test_one_sick_row_is_alone_with_it():
    model, x, y, t = problem()
    net = sick(model, float("nan"), lambda x: x[:, 0, 0, 0] == 0.125)
    ill = x.clone()
    ill[3, 0, 0, 0] = 0.125
    for attack in ("pgd", "pgd l2", "penalised"):
        found, healthy = ATTACKS[attack](net, ill, y, t), ATTACKS[attack](model, x, y, t)
        others = torch.arange(len(x)) != 3
        assert torch.equal(found.x_adv[others], healthy.x_adv[others])
        assert found.x_adv.isfinite().all()
    with pytest.raises(ValueError, match="image 3 .* finite"):
        lbfgs(net, ill, y, target=t)
    with pytest.raises(ValueError, match="image 3 are NaN or infinite"):
        correct(net, ill, y, batch=2)
    with pytest.raises(ValueError, match="first image are not finite: nan, nan, nan, nan, ..."):
        check_inputs(net, ill[3:], y[3:])


def test_a_pixel_without_a_slope_stays_and_the_others_go_on():
    """The root of a black pixel has an infinite slope, and 0 times that is NaN."""
    x, y = torch.zeros(1, 1, 2, 2), torch.tensor([0])
    x[..., 1] = 0.5

    class Root(nn.Module):
        def forward(self, x):
            pixels = x.flatten(1)
            first = pixels[:, 1] + pixels[:, 3] + (0 * pixels[:, 0]).sqrt()
            return torch.stack([first, 0.5 * first + 0.2], 1)

    for found in (pgd(Root().eval(), x, y, eps=0.1, steps=2, start="zero"),
                  pgd(Root().eval(), x, y, eps=0.2, steps=2, start="zero", norm="l2"),
                  penalised(Root().eval(), x, y, c=0.0, steps=2, step=0.05)):  # fmt: skip
        change = (found.x_adv - x).flatten()
        assert change.isfinite().all() and change[0] == 0 and (change[[1, 3]] < -0.01).all()
        assert found.stop_reason == ("gradient not finite",)


def test_a_forbidden_class_is_an_answer():
    model, x, y, _ = problem()

    def forbid(z):
        return z.index_fill(1, torch.tensor([(int(y[0]) + 1) % 10]), -torch.inf)

    net = Changed(model, after=forbid)
    assert correct(net, x, y).any() and correct(net, x, y)[0] == correct(model, x, y)[0]
    found = pgd(net, x, y, eps=0.3, steps=5)
    assert found.success.any() and found.x_adv.isfinite().all()


def test_features_that_are_not_finite_have_no_order():
    model, x, _, _ = problem()
    net = nn.Sequential(model, nn.Linear(10, 2)).eval()
    x[2, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="image 2 are NaN"):
        directions.activations(net, x)


# -- probabilities --------------------------------------------------------------------------------


def test_probabilities_look_like_it_and_logits_do_not():
    model, x, _, _ = problem()
    with torch.no_grad():
        logits = model(x)
    for dtype in (torch.float16, torch.float32, torch.float64):
        assert looks_like_probabilities(logits.softmax(1).to(dtype))
        assert not looks_like_probabilities(logits.to(dtype))
    assert not looks_like_probabilities(logits.log_softmax(1))
    assert not looks_like_probabilities(logits.sigmoid())
    mixed = logits.softmax(1)
    mixed[2] = logits[2]
    assert not looks_like_probabilities(mixed)
    assert not looks_like_probabilities(torch.tensor([[1.5, -0.5]])), "sums alone say nothing"
    assert not looks_like_probabilities(torch.full((2, 2), np.nan))
    assert isinstance(looks_like_probabilities(logits), bool)
