"""DeepFool: one step on a plane, the nearest of many boundaries, and the peer's distances."""

import attacknets
import foolbox
import planes
import pytest
import torch

from intriguing.attacks import deepfool

F64 = torch.float64


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_one_step_on_a_plane(norm):
    """Away from the box the very distance, but for the guard of 1e-4 of a logit; or 1.02 of it."""
    model, x, y = planes.plane(8, depth=0.5, low=0.4, high=0.6)
    truth, gap = planes.of_plane(norm, model, x), -model(x).detach()[:, 1]
    for overshoot in (0.0, 0.02):
        result = deepfool(model, x, y, norm=norm, overshoot=overshoot)
        expected = truth * (1 + 1e-4 / gap) * (1 + overshoot)
        torch.testing.assert_close(getattr(result, norm), expected, rtol=1e-9, atol=0)
        assert (result.gradients == 1).all() and (result.iterations == 1).all()
    refined = getattr(deepfool(model, x, y, norm=norm, refine=True), norm)
    assert ((refined >= truth) & (refined < 1.0005 * truth)).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_nearest_of_ten_boundaries(norm):
    """A linear network on images grey enough that the box does not bind: one step, whatever y."""
    model = attacknets.linear(F64)
    x, y, _ = attacknets.problems(model, 30)
    x = 0.5 + 0.2 * (x - 0.5)
    y = model(x).argmax(1)
    result = deepfool(model, x, y, norm=norm, overshoot=0.0)
    truth = planes.of_linear(norm, model.layers[-1], x, y)
    assert (result.iterations == 1).all() and (result.gradients == 9).all()
    ratio = getattr(result, norm) / truth
    assert ratio.min() >= 1 and ratio.max() < 1.01
    # two candidates are y and the class ranked next, which need not be the nearest
    near = deepfool(model, x, y, norm=norm, candidates=2, overshoot=0.0)
    assert (near.gradients[near.success] == near.iterations[near.success]).all()
    assert (getattr(near, norm) > 1.05 * truth).any()


@pytest.mark.parametrize("net", ["fc", "smooth_cnn"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_like_foolbox(net, norm):
    model = getattr(attacknets, net)()
    x, y, _ = attacknets.problems(model, 30)
    peer = {"l2": foolbox.attacks.L2DeepFoolAttack, "linf": foolbox.attacks.LinfDeepFoolAttack}
    _, found, success = peer[norm]()(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y,
                                     epsilons=None)  # fmt: skip
    change = (found - x).flatten(1)
    theirs = change.norm(dim=1) if norm == "l2" else change.abs().amax(1)
    ours, refined = (deepfool(model, x, y, norm=norm, refine=r) for r in (False, True))
    assert ours.success.all() and success.all()
    ratio = getattr(ours, norm) / theirs
    assert ratio.mean() < 1.001 and ((ratio - 1).abs() < 0.01).sum() >= 29
    assert (getattr(refined, norm) <= getattr(ours, norm)).all() and refined.success.all()
