"""FAB: its first steps on a plane, the verdict within eps, and the peer's norms and verdicts."""

import attacknets
import planes
import pytest
import torch

from intriguing.attacks import fab

F64 = torch.float64


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_first_steps_on_a_plane(norm, dtype):
    """Away from the box: 1.05 times the distance after one step, 1.0052 after two."""
    model, x, y = planes.plane(8, depth=0.2, low=0.3, high=0.7, dtype=dtype)
    truth = planes.of_plane(norm, model, x)
    # x + 0.945 d, then (1 - a) (0.945 + 1.05 * 0.055) + a * 1.05 with a = 0.055 / 1.055
    second = (1 - 0.055 / 1.055) * (0.945 + 1.05 * 0.055) + 0.055 / 1.055 * 1.05
    for steps, ratio in ((1, 1.05), (2, second)):
        result = fab(model, x, y, norm=norm, steps=steps)
        torch.testing.assert_close(getattr(result, norm) / truth, torch.full_like(truth, ratio),
                                   rtol=1e-4, atol=0)  # fmt: skip
        assert (result.gradients == steps).all() and (result.forwards == 1 + steps).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_plane_where_the_box_binds(norm):
    model, x, y = planes.plane(20, depth=2.0)
    truth = planes.of_plane(norm, model, x)
    ratio = getattr(fab(model, x, y, norm=norm), norm) / truth
    assert ratio.min() >= 1 and ratio.max() < 1.02


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_network_of_digits(norm):
    """Ten classes and pixels at the walls; the untargeted version looks at all at once."""
    model = attacknets.linear(F64)
    x, y, _ = attacknets.problems(model, 15)
    truth = planes.of_linear(norm, model.layers[-1], x, y)
    nine, one, free = (getattr(fab(model, x, y, norm=norm, targets=n, steps=20), norm)
                       for n in (9, 1, None))  # fmt: skip
    for found in (nine, free):
        assert (found >= truth).all() and (found < 1.01 * truth).all()
    assert (one >= nine).all()  # the class ranked next need not be the nearest


@pytest.mark.parametrize("norm, eps", [("linf", 0.08), ("l2", 0.9)])
@pytest.mark.parametrize("targets", [9, 1, None])
def test_the_verdict_within_eps_is_that_of_the_whole_search(norm, eps, targets):
    model = attacknets.fc(F64)
    x, y, _ = attacknets.problems(model, 30)
    options = {"norm": norm, "targets": targets, "steps": 20}
    whole = fab(model, x, y, **options)
    quick = fab(model, x, y, eps=eps, **options)
    expected = whole.success & (getattr(whole, norm) <= eps)
    assert torch.equal(quick.success, expected) and 0 < expected.sum() < 30
    assert getattr(quick, norm).max() <= eps
    assert (quick.x_adv[~expected] == x[~expected]).all()
    assert {quick.stop_reason[i] for i in expected.nonzero().flatten()} == {"within eps"}
    assert (quick.gradients <= whole.gradients).all()
    assert torch.equal(quick.gradients[~expected], whole.gradients[~expected])
    if targets != 9:  # with 9 the first point within eps may be another class's
        assert quick.gradients.sum() < 0.8 * whole.gradients.sum()


def test_no_rounding_lets_a_point_out_of_the_ball():
    """In float32, with eps the very norm of an answer, and one float below it."""
    model = attacknets.fc()
    x, y, _ = attacknets.problems(model, 12)
    whole = fab(model, x, y, steps=10)
    for row in range(12):
        eps = (whole.x_adv[row].double() - x[row].double()).abs().max().item()
        one = fab(model, x[row : row + 1], y[row : row + 1], eps=eps, steps=10)
        if one.success:
            assert (one.x_adv[0].double() - x[row].double()).abs().max().item() <= eps
    assert whole.success.all()


def test_restarts_only_help_and_follow_the_seed():
    model = attacknets.smooth_cnn()
    x, y, _ = attacknets.problems(model, 8)
    options = {"norm": "l2", "targets": 1, "steps": 10}
    one, two, same, other = (fab(model, x, y, restarts=n, seed=s, **options)
                             for n, s in ((1, 0), (3, 0), (3, 0), (3, 1)))
    assert (two.l2 <= one.l2).all() and (two.l2 < one.l2).any()
    assert torch.equal(two.x_adv, same.x_adv) and not torch.equal(two.x_adv, other.x_adv)
    assert torch.equal(two.gradients, 3 * one.gradients)


# -- the peer -------------------------------------------------------------------------------------


def their(model, norm, **options):
    torchattacks = pytest.importorskip("torchattacks", reason="a peer, not installed")
    return torchattacks.FAB(model, norm={"linf": "Linf", "l2": "L2"}[norm], n_classes=10, **options)


def norms(norm, change):
    flat = change.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


@pytest.mark.parametrize("net", ["fc", "smooth_cnn"])
@pytest.mark.parametrize("norm, eps", [("linf", 0.07), ("l2", 0.9)])
def test_like_torchattacks(net, norm, eps):
    """Per image and target; its `forward` keeps the first target within eps, so the runs are."""
    model = getattr(attacknets, net)()
    x, y, _ = attacknets.problems(model, 30)
    peer = their(model, norm, eps=eps, steps=20, multi_targeted=True)
    best = torch.full((30,), torch.inf)
    with torch.no_grad():
        for rank in (2, 3, 4):
            peer.target_class = rank
            found = peer.attack_single_run_targeted(x, y)
            size = torch.where(model(found).argmax(1) != y, norms(norm, found - x), torch.inf)
            best = torch.minimum(best, size)
        free = norms(norm, peer.attack_single_run(x, y) - x)
    ours = fab(model, x, y, norm=norm, targets=3, steps=20)
    size = getattr(ours, norm)
    assert ours.success.all() and size.mean() < 1.02 * best.mean()
    assert ((size / best - 1).abs() < 1e-3).sum() >= 28
    untargeted = getattr(fab(model, x, y, norm=norm, targets=None, steps=20), norm)
    assert ((untargeted / free - 1).abs() < 1e-3).sum() >= 28
    within = fab(model, x, y, norm=norm, eps=eps, targets=3, steps=20).success.sum()
    assert abs(within - (best <= eps).sum()) <= 1
