"""The judge against closed forms, attacks made for the test, and networks whose slope is hidden."""

import json
from dataclasses import replace

import attacknets
import numpy as np
import pytest
import torch
from torch import nn

from intriguing import attacks, robustness
from intriguing.attacks.common import measure
from intriguing.errors import UserError
from intriguing.robustness import flags, planted, verified
from intriguing.robustness.distances import least_radius


def linear(classes=5, pixels=16, seed=0):
    """A linear network, points far from the walls of the box, their labels and exact radii."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))
    with torch.no_grad():
        model[1].weight.normal_(generator=generator)
        model[1].bias.zero_()
    x = 0.5 + 0.1 * torch.rand(12, 1, 4, pixels // 4, generator=generator)
    with torch.no_grad():
        z, w = model.eval()(x), model[1].weight
    y = z.argmax(1)
    margins = z.gather(1, y[:, None]) - z  # (N, K)
    radius = margins / (w.detach()[y][:, None] - w.detach()).abs().sum(2)
    return model, x, y, radius.scatter(1, y[:, None], torch.inf).amin(1)


def digits(n):
    """Some test digits and their labels."""
    test = attacknets.digits()
    return test.x[:n], test.y[:n]


def breaks(rows):
    """An attack on `Answers` that breaks the images whose numbers are in `rows`."""

    def run(model, x, y, *, eps, norm, seed, eot, batch):
        moved = x.clone()
        hit = torch.isin((x[:, 0, 0, 0] * 100).round().long(), torch.tensor(rows))
        moved[hit, 0, 0, 1] = 0.01
        return measure(model, x, y, moved, None, gradients=torch.ones_like(y))

    return run


class Answers(nn.Module):
    """Class 0 by a margin of 3, and class 1 where the second pixel is not zero."""

    def forward(self, x):
        """Return logits (N, 2)."""
        return torch.stack([torch.full((len(x),), 3.0), 6.0 * (x[:, 0, 0, 1] > 0)], 1)


def numbered(n):
    """Images that carry their number in the first pixel."""
    x = torch.zeros(n, 1, 2, 2)
    x[:, 0, 0, 0] = torch.arange(n) / 100
    return x, torch.zeros(n, dtype=torch.int64)


def test_the_verdict_on_a_linear_network_is_its_closed_form():
    model, x, y, radius = linear()
    judged = robustness.judge(model, x, y, eps=0.05, look=0)
    assert torch.equal(judged.robust, radius > 0.05)
    assert 0 < judged.robust.sum() < len(y)


def test_the_worst_of_all_attacks_counts_and_who_broke_what_is_told():
    x, y = numbered(20)
    suite = [robustness.Attack("a", breaks([1, 2])), robustness.Attack("b", breaks([2, 3, 4]))]
    judged = robustness.judge(Answers().eval(), x, y, eps=0.1, suite=suite, look=0)
    assert [i for i, who in enumerate(judged.broken_by) if who == "a"] == [1, 2]
    assert [i for i, who in enumerate(judged.broken_by) if who == "b"] == [3, 4]
    assert judged.robust.tolist() == [who == "" for who in judged.broken_by]
    assert [(s.name, s.standing, s.fell) for s in judged.stages] == [("a", 20, 2), ("b", 18, 2)]
    assert judged.table()["accuracy after"].tolist() == [0.9, 0.8]
    assert judged.standing_after("a").sum() == 18
    assert judged.passes.tolist() == [3 if i in (1, 2) else 5 for i in range(20)]
    adaptive = robustness.judge(Answers().eval(), x, y, eps=0.1, suite=suite[:1], look=0,
                                adaptive=[robustness.Attack("mine", breaks([7]))])
    assert adaptive.broken_by[7] == "mine"
    with pytest.raises(ValueError, match="no attack 'c' was run, but a, b"):
        judged.standing_after("c")


def test_long_attacks_reach_all_once_one_of_the_sample_fell():
    x, y = numbered(40)  # all far: nothing moves their margin
    spared = robustness.judge(Answers().eval(), x, y, eps=0.1, look=0,
                              suite=[robustness.Attack("long", breaks([]), long=True)])
    assert spared.stages[0].standing == 4 and spared.robust.all()  # the sample alone
    reached = robustness.judge(Answers().eval(), x, y, eps=0.1, look=0, suite=[
        robustness.Attack("long", breaks(list(range(40))), long=True)])
    assert [stage.standing for stage in reached.stages] == [4, 36]
    assert not reached.robust.any()
    thorough = robustness.judge(Answers().eval(), x, y, eps=0.1, look=0, thorough=True, suite=[
        robustness.Attack("long", breaks([5]), long=True)])
    assert thorough.stages[0].standing == 40 and thorough.robust.sum() == 39


def test_sparing_far_images_changes_no_verdict_here():
    x, y = digits(16)
    model = attacknets.fc()
    short, full = (robustness.judge(model, x, y, eps=0.03, look=0, thorough=thorough)
                   for thorough in (False, True))
    assert torch.equal(short.robust, full.robust)
    assert 0 < short.robust.sum() < short.clean.sum()
    assert short.passes.sum() < full.passes.sum()


def test_what_it_returns_lies_in_ball_and_box_and_fools():
    x, y = digits(16)
    model = attacknets.fc()
    judged = robustness.judge(model, x, y, eps=0.05, suite="pgd", look=0)
    broken = ~judged.robust & judged.clean
    assert broken.any()
    assert (judged.x_adv - x).abs().max() <= 0.05 * (1 + 1e-6)
    assert judged.x_adv.min() >= 0 and judged.x_adv.max() <= 1
    assert (model(judged.x_adv[broken]).argmax(1) != y[broken]).all()
    assert torch.equal(judged.x_adv[judged.robust], x[judged.robust])


def test_a_row_does_not_depend_on_its_neighbours_and_eps_is_monotone():
    x, y = digits(8)
    model = attacknets.fc()
    whole = robustness.judge(model, x, y, eps=0.03, suite="pgd", look=0).robust
    for row in range(len(x)):
        alone = robustness.judge(model, x[[row]], y[[row]], eps=0.03, suite="pgd", look=0).robust
        assert alone[0] == whole[row]
    more = robustness.judge(model, x, y, eps=0.06, suite="pgd", look=0).robust
    assert not (more & ~whole).any()
    none = robustness.judge(model, x, y, eps=0.0)
    assert torch.equal(none.robust, model(x).argmax(1) == y) and not none.stages


def test_a_network_that_draws_numbers_is_broken_where_half_its_answers_are_wrong():
    class Coin(nn.Module):
        def __init__(self, share):
            super().__init__()
            self.share, self.generator = share, torch.Generator().manual_seed(0)

        def forward(self, x):
            wrong = torch.rand(len(x), generator=self.generator) < self.share
            return torch.stack([torch.ones(len(x)), 2.0 * wrong], 1)

    x, y = numbered(30)
    for share, right in ((0.2, 30), (0.8, 0)):
        judged = robustness.judge(Coin(share).eval(), x, y, eps=0.1, eot=25, look=0,
                                  suite=[robustness.Attack("none", breaks([]))])
        assert judged.clean.sum() == right


@pytest.mark.parametrize("network", ["cnn", "fc"])
def test_an_ordinary_network_raises_no_flag(network):
    model = getattr(attacknets, network)()
    x, y = digits(40)
    right = model(x).argmax(1) == y
    assert flags.look_for(model, x[right], y[right], eps=0.1) == ()


@pytest.mark.parametrize(("name", "expected"), [
    ("rounded pixels", {"zero gradient", "wrong gradient"}),
    ("detached mask", {"wrong gradient"}),
    ("random resizing", {"random output"}),
    ("saturated logits", {"zero gradient"}),
    ("rippled pixels", {"wrong gradient"}),
])
def test_a_hidden_slope_is_flagged(name, expected):
    model = planted.PLANTED[name](attacknets.cnn()).eval()
    x, y = digits(24)
    right = model(x).argmax(1) == y
    found = {flag.name for flag in flags.look_for(model, x[right], y[right], eps=0.1)}
    assert expected <= found


def test_attacks_that_see_less_and_do_more_are_flagged():
    stage = robustness.Stage("square", True, 100, 5, 0, 100, 1.0)
    before = replace(stage, name="pgd", black_box=False, fell=0)
    assert [flag.name for flag in flags.look_for(
        Answers().eval(), *numbered(0), eps=0.1, stages=[before, stage])] == ["black box"]
    assert flags.look_for(Answers().eval(), *numbered(0), eps=0.1,
                          stages=[before, replace(stage, fell=1)]) == ()
    one, other = torch.arange(100) < 40, torch.arange(100) < 20
    assert flags._beats("single step", "", one, other).value == pytest.approx(0.2)
    assert flags._beats("single step", "", other, one) is None
    assert flags._beats("single step", "", other, torch.arange(100) < 18) is None  # chance


def test_bad_input_gets_a_sentence():
    model, x, y, _ = linear()

    class Softmax(nn.Module):
        def forward(self, x):
            return model(x).softmax(1)

    cases = [
        (Softmax().eval(), {"eps": 0.1}, "probabilities"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 5)).train(), {"eps": 0.1}, "train mode"),
        (model, {"eps": 0.1, "suite": "autoattack"}, "suite must be one of fgsm, pgd, auto"),
        (model, {"eps": 0.1, "norm": "l0"}, "norm must be one of"),
        (model, {"eps": -1.0}, "eps must be"),
    ]
    for network, how, words in cases:
        with pytest.raises(ValueError, match=words):
            robustness.judge(network, x, y, **how)

    def leaves(model, x, y, *, eps, norm, seed, eot, batch):
        return measure(model, x, y, (x + 2 * eps).clamp(0, 1), None)

    with pytest.raises(ValueError, match="'far' left the linf ball"):
        robustness.judge(model, x, y, eps=0.1, suite=[robustness.Attack("far", leaves)])


def test_two_classes_are_judged_without_targets():
    model, x, y, radius = linear(classes=2)
    judged = robustness.judge(model, x, y, eps=0.1, look=0)
    assert torch.equal(judged.robust, radius > 0.1)
    assert not any("apgd-t" in stage.name for stage in judged.stages)


def test_the_least_radius_of_a_linear_network_is_exact():
    model, x, y, radius = linear()
    found, images = least_radius(attacks.fgsm, model, x, y, largest=0.3, halvings=12,
                                 loss="margin")
    inside = radius < 0.15  # beyond, the box may matter
    assert inside.sum() >= 3
    assert (found[inside] >= radius[inside] * (1 - 1e-5)).all()
    np.testing.assert_allclose(found[inside], radius[inside], rtol=0.3)  # one step: not the nearest
    fell = found.isfinite()
    assert (model(images[fell]).argmax(1) != y[fell]).all()


def test_instances_of_verifiers_are_read_as_their_file_has_them(tmp_path, monkeypatch):
    if not verified.available():
        pytest.skip("exact-oracle.npz is not in INTRIGUING_DATA")
    cases = verified.instances()
    assert sum(len(case) for case in cases) == 110
    for case in cases:  # verifiers speak of images that the networks get right
        assert (case.network(case.x).argmax(1) == case.y).all()


def test_a_file_of_verdicts_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(verified.paths, "data_dirs", lambda: [tmp_path])
    with pytest.raises(UserError, match="exact-oracle.npz is not in"):
        verified.instances()


def test_a_small_file_of_verdicts_is_read(tmp_path, monkeypatch):
    plan = {"cifar_tiny": {"input": [3, 32, 32],
                           "scale": "(pixels/255 - [0.485,0.456,0.406]) / 0.225",
                           "layers": ["conv 3->2 k4 s2 p1 relu", "fc 512->3"]}}
    draws = np.random.default_rng(0)
    np.savez(
        tmp_path / verified.FILE, arch_json=np.frombuffer(json.dumps(plan).encode(), np.uint8),
        **{"cifar_tiny.conv0.weight": draws.normal(size=(2, 3, 4, 4)).astype("f4"),
           "cifar_tiny.conv0.bias": np.zeros(2, "f4"),
           "cifar_tiny.fc0.weight": draws.normal(size=(3, 512)).astype("f4"),
           "cifar_tiny.fc0.bias": np.zeros(3, "f4")},
        inst_net=np.array(["cifar_tiny"] * 2), inst_index=np.array([4, 7], "i4"),
        inst_label=np.array([1, 2], "i1"), inst_eps=np.array([0.01, 0.01]),
        inst_verdict=np.array(["holds", "violated"]), cifar_test_index=np.array([7, 4], "i4"),
        cifar_test_image=draws.integers(0, 256, (2, 32, 32, 3), np.uint8),
        cifar_test_label=np.array([2, 1], "i1"),
    )  # fmt: skip
    monkeypatch.setattr(verified.paths, "data_dirs", lambda: [tmp_path])
    (case,) = verified.instances()
    with np.load(tmp_path / verified.FILE) as archive:
        pictures = archive["cifar_test_image"]
    assert torch.equal(case.x[0], torch.from_numpy(pictures[1]).permute(2, 0, 1) / 255)
    assert case.verdict.tolist() == ["holds", "violated"] and case.eps == 0.01
    conv, fc = case.network[1], case.network[-1]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    h = torch.relu(nn.functional.conv2d((case.x - mean) / 0.225, conv.weight, stride=2, padding=1))
    torch.testing.assert_close(case.network(case.x), h.flatten(1) @ fc.weight.T)
