"""Adversarial training: its images against a loop written out here, and what it is good for."""

import pytest
import torch
import torch.nn.functional as F
from attacknets import cnn, digits

from intriguing import data, models, runtime, zoo
from intriguing.attacks.draws import Draws
from intriguing.methods import method
from intriguing.methods.madry import Adversarial


def training(eps=0.1, step=0.04, steps=3, **options):
    return Adversarial(eps, step, steps, runtime.generator(0, "start"), **options)


def batch(n=8, dtype=torch.float32):
    test = digits()
    return test.x[:n].to(dtype), test.y[:n]


def by_hand(model, x, y, eps, step, steps):
    """The ascent of Madry et al. in the plainest words, from the first start of the stream."""
    generator = runtime.generator(0, "start")
    keys = torch.randint(-(2**63), 2**63 - 1, (len(x),), generator=generator)
    noise = Draws.keyed(keys, x.dtype).uniform(*x.shape[1:]) * 2 - 1
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    at = torch.min(torch.max(x + eps * noise, low), high)
    for _ in range(steps):
        at.requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(model(at), y), at)
        at = torch.min(torch.max(at.detach() + step * g.sign(), low), high)
    return at


@pytest.mark.parametrize(("step", "steps"), [(0.04, 3), (0.125, 1)], ids=["pgd", "fgsm-rs"])
def test_the_images_are_those_of_the_written_out_loop(step, steps):
    model, (x, y) = cnn(torch.float64), batch(dtype=torch.float64)
    x_adv = training(0.1, step, steps).images(model, x, y)
    assert torch.allclose(x_adv, by_hand(model, x, y, 0.1, step, steps), atol=1e-12)


def test_the_images_stay_in_ball_and_box_and_raise_the_loss():
    model, (x, y) = cnn(), batch(64)
    made = training(0.1, 0.04, 5)
    x_adv, again = made.images(model, x, y), made.images(model, x, y)
    assert (x_adv.double() - x.double()).abs().max() <= 0.1
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert not torch.equal(x_adv, again)  # another start each time
    with torch.no_grad():
        before, after = (F.cross_entropy(model(at), y, reduction="none") for at in (x, x_adv))
    assert (after > before).float().mean() > 0.95 and after.mean() > 3 * before.mean()


def test_the_radius_grows_over_the_first_minibatches():
    model, (x, y) = cnn().train(), batch()
    made, seen = training(growth=4), []
    made.plain = lambda model, at, y: seen.append(float((at - x).abs().max()))
    for _ in range(6):
        made(model, x, y)
    assert seen == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1], abs=1e-6)


def test_the_attack_leaves_the_network_as_it_was():
    model = models.build("vgg7-mnist").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training().images(model, *batch())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_in_eval_mode_the_loss_is_that_of_the_clean_images():
    model, (x, y) = cnn(), batch()
    assert torch.equal(training(smoothing=0.1)(model, x, y), F.cross_entropy(model(x), y))


@pytest.mark.parametrize(("eps", "step", "steps"), [(0, 0.1, 1), (0.1, 0, 1), (0.1, 0.1, 0)])
def test_impossible_attacks_are_refused(eps, step, steps):
    with pytest.raises(ValueError, match="adversarial training needs"):
        training(eps, step, steps)


def attacked(model, x, y, eps):
    """The share that is still right after 20 plain gradient steps from x, which share no code."""
    at = x.clone()
    for _ in range(20):
        at.requires_grad_()
        logits = model(at)
        other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
        (g,) = torch.autograd.grad((other - logits.gather(1, y[:, None])[:, 0]).sum(), at)
        at = (at.detach() + eps / 8 * g.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    return float((model(at).argmax(1) == y).float().mean())


@pytest.mark.slow
def test_a_network_trained_so_withstands_an_attack_that_breaks_another():
    train, test = data.load("mnist-5k", "train"), digits()
    x, y = test.x[:200], test.y[:200]
    for objective in ("pgd", "fgsm-rs"):
        spec = zoo.convnet("CNN", "mnist-5k", objective=objective)
        robust, _ = method.train(spec, train.x[:2500], train.y[:2500])
        assert attacked(cnn(), x, y, 0.15) < 0.15
        assert attacked(robust.eval(), x, y, 0.15) > 0.4
        assert attacked(robust, x, y, 0) > 0.9


def test_the_spec_tells_the_attack():
    plain = zoo.convnet("CNN", "mnist")
    pgd = zoo.convnet("CNN", "mnist", objective="pgd")
    fast = zoo.convnet("CNN", "mnist", objective="fgsm-rs", eps=0.1)
    assert pgd.label == "cnn-mnist pgd eps=0.2 mnist seed 0"
    assert fast.label == "cnn-mnist fgsm-rs eps=0.1 mnist seed 0"
    assert {"eps", "step", "steps"} <= dict(pgd.numbers).keys()
    assert "steps" not in dict(fast.numbers)
    assert len({plain.key, pgd.key, fast.key}) == 3
    with pytest.raises(ValueError, match="fgsm-rs"):
        zoo.convnet("CNN", "mnist", objective="fgsm")
    with pytest.raises(ValueError, match="no option 'eps'"):
        zoo.convnet("CNN", "mnist", eps=0.1)
