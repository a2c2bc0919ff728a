"""Methods of robust training against closed forms, finite differences and the plainest loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from attacknets import cnn, digits, smooth_cnn
from torch import nn

from intriguing import models, runtime, zoo
from intriguing.attacks.draws import Draws
from intriguing.methods import fgsm, free, grad_align, madry, method, n_fgsm, trades
from intriguing.training.objectives import divergence
from intriguing.training.threat import under_attack


def batch(n=8, dtype=torch.float64):
    test = digits()
    return test.x[:n].to(dtype), test.y[:n]


def made(kind, *, eps=0.1, step=0.1, steps=1, **more):
    return kind(eps, step, steps, runtime.generator(0, "start"), **more)


def draws(x):
    """The numbers that a loss made by `made` draws for its first minibatch."""
    generator = runtime.generator(0, "start")
    keys = torch.randint(-(2**63), 2**63 - 1, (len(x),), generator=generator)
    return Draws.keyed(keys, x.dtype)


def slope(model, at, y):
    at = at.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(at), y, reduction="sum"), at)[0]


def line(classes=2, dtype=torch.float64):
    """A linear network of 2 x 2 pixels."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, classes)).to(dtype)
    with torch.no_grad():
        for weight in net.parameters():
            weight.normal_(generator=runtime.generator(1, "init"))
    return net.eval()


def pixels(*shape):
    return torch.rand(*shape, generator=runtime.generator(0, "pixels"), dtype=torch.float64)


def differences(function, weight, places, h=1e-6):
    """Central differences of a function of no arguments along some numbers of a weight."""
    found = []
    for place in places:
        numbers = weight.data.view(-1)
        before, ends = float(numbers[place]), []
        for side in (1, -1):
            numbers[place] = before + side * h
            ends.append(function().item())
        numbers[place] = before
        found.append((ends[0] - ends[1]) / (2 * h))
    return torch.tensor(found, dtype=weight.dtype)


def assert_gradient(function, model, rel=1e-5):
    """Hold the gradient of a function of the weights against central differences."""
    for weight in model.parameters():
        (g,) = torch.autograd.grad(function(), weight)
        places = g.abs().flatten().topk(min(3, g.numel())).indices
        found = differences(function, weight, places)
        assert torch.allclose(found, g.flatten()[places], rtol=rel, atol=1e-8)


def test_the_divergence_is_that_of_kullback_and_leibler():
    first, second = torch.randn(2, 50, 10, generator=runtime.generator(0, "z"), dtype=torch.float64)
    p, q = first.softmax(1), second.softmax(1)
    assert torch.allclose(divergence(first, second), (p * (p / q).log()).sum(1), rtol=1e-12)
    assert torch.autograd.gradcheck(divergence, (first[:3].requires_grad_(), second[:3]))
    assert torch.autograd.gradcheck(divergence, (first[:3].detach(), second[:3].requires_grad_()))


def test_the_divergence_keeps_its_digits_in_float32():
    z = torch.randn(200, 10, generator=runtime.generator(0, "z"))
    assert (divergence(z, z) == 0).all()
    shift = torch.randn(200, 10, generator=runtime.generator(0, "d"))
    for size in (1e-5, 1e-4, 1e-3, 0.1, 3.0, 30.0):
        near = z + size * shift
        found, true = divergence(z, near), divergence(z.double(), near.double())
        assert (found >= 0).all()
        if size >= 1e-3:  # below, the logits themselves are rounded
            assert torch.allclose(found.double(), true, rtol=2e-3)
    far = torch.tensor([[400.0, 0, -400], [0, 400, 3]])
    ends = far.clone().requires_grad_()
    divergence(far.flip(1), ends).sum().backward()
    assert divergence(far, far.flip(1)).isfinite().all() and ends.grad.isfinite().all()
    assert torch.allclose(ends.grad, far.softmax(1) - far.flip(1).softmax(1))


def test_trades_raises_the_divergence_by_the_authors_loop():
    model, (x, y) = cnn(torch.float64), batch()
    loss = made(trades.Trades, step=0.03, steps=4)
    low, high = (x - 0.1).clamp(min=0), (x + 0.1).clamp(max=1)
    at = (x + 0.001 * draws(x).normal(*x.shape[1:])).clamp(0, 1)
    for _ in range(4):
        at.requires_grad_()
        kl = F.kl_div(model(at).log_softmax(1), model(x).softmax(1), reduction="sum")
        (g,) = torch.autograd.grad(kl, at)
        at = torch.min(torch.max(at.detach() + 0.03 * g.sign(), low), high)
    assert torch.allclose(loss.images(model, x, y), at, atol=1e-12)
    with torch.no_grad():
        first, last = made(trades.Trades).start(loss.ball(x, 0.1), x), at
        assert (divergence(model(x), model(last)) > divergence(model(x), model(first))).all()


def test_the_loss_of_trades_and_its_gradient():
    model, (x, y) = smooth_cnn(torch.float64).train(), batch(4)
    loss = made(trades.Trades, steps=2, beta=3.0, smoothing=0.1)
    x_adv = loss.images(model, x, y)
    loss.images = lambda *arguments: x_adv
    p, q = model(x).softmax(1), model(x_adv).softmax(1)
    kl = (p * (p / q).log()).sum(1).mean()
    clean = F.cross_entropy(model(x), y, label_smoothing=0.1)
    assert torch.allclose(loss(model, x, y), clean + 3 * kl)
    assert_gradient(lambda: loss(model, x, y), model)
    loss.images = lambda *arguments: x
    assert torch.equal(loss(model, x, y), clean)  # delta is 0


def train(name, n=60, **how):
    """A network trained by a method on some digits."""
    few = {"epochs": 2, "batch": 20, "lr": 3e-3, "warmup": 0.2, "channels_last": True}
    spec = zoo.spec(name, "CNN", "mnist-5k", n=n, **{**few, **how})
    with runtime.deterministic():
        return method.train(spec, digits().x[:n], digits().y[:n])[0].state_dict()


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))


def test_trades_without_beta_is_plain_training():
    plain = train("plain")
    assert equal(plain, train("trades", beta=0.0, steps=1))
    assert not equal(plain, train("trades", beta=1.0, steps=1))


def test_fgsm_takes_its_step_from_the_image():
    model, (x, y) = cnn(torch.float64), batch()
    x_adv = made(fgsm.Fgsm).images(model, x, y)
    assert torch.allclose(x_adv, (x + 0.1 * slope(model, x, y).sign()).clamp(0, 1), atol=1e-12)


def test_n_fgsm_takes_its_step_from_a_noisy_image_and_is_not_clipped():
    model, (x, y) = cnn(torch.float64), batch(32)
    noisy = (x + 0.2 * (2 * draws(x).uniform(*x.shape[1:]) - 1)).clamp(0, 1)
    by_hand = (noisy + 0.1 * slope(model, noisy, y).sign()).clamp(0, 1)
    x_adv = made(n_fgsm.NoisyStep).images(model, x, y)
    assert torch.allclose(x_adv, by_hand, atol=1e-12)
    assert x_adv.min() >= 0 and x_adv.max() <= 1 and (x_adv - x).abs().max() > 0.25


def test_without_noise_it_is_fgsm():
    model, (x, y) = cnn(), batch(dtype=torch.float32)
    bare = made(n_fgsm.NoisyStep, noise=0.0).images(model, x, y)
    assert torch.allclose(bare, made(fgsm.Fgsm).images(model, x, y), atol=1e-7)
    one, other = train("n_fgsm", noise=0.0), train("fgsm")
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)


def test_two_classes_and_a_line_have_nothing_to_align():
    net, (x, at) = line(), pixels(2, 6, 1, 2, 2)
    y = torch.tensor([0, 1, 0, 1, 1, 0])
    cosine = grad_align.alignment(net, slope(net, x, y), at, y)
    assert cosine.item() == pytest.approx(1, abs=1e-12)
    loss = made(grad_align.Aligned, weight=5.0)
    bare = made(fgsm.Fgsm)
    assert loss(net.train(), x, y).item() == pytest.approx(bare(net, x, y).item(), abs=1e-12)


def test_the_penalty_is_one_less_the_mean_cosine_and_its_gradient_is_right():
    model, (x, y) = smooth_cnn(torch.float64), batch(5)
    at = (x + 0.1 * torch.randn(x.shape, generator=runtime.generator(0, "at"))).clamp(0, 1)
    here, there = slope(model, x, y), slope(model, at, y)
    by_hand = F.cosine_similarity(here.flatten(1), there.flatten(1)).mean()
    assert torch.allclose(grad_align.alignment(model, here, at, y), by_hand)
    assert_gradient(lambda: grad_align.alignment(model, here, at, y), model, rel=1e-4)


def test_images_without_a_gradient_count_for_nothing():
    model, (x, y) = smooth_cnn(torch.float64), batch(4)
    here = slope(model, x, y)
    few = grad_align.alignment(model, here[:3], x[:3], y[:3])
    here[3] = 0
    assert torch.allclose(grad_align.alignment(model, here, x, y), few)
    assert grad_align.alignment(model, 0 * here, x, y).item() == 1
    tiny = grad_align.alignment(model.float(), (here * 1e-30).float(), x.float(), y)
    assert tiny.item() == pytest.approx(1, abs=1e-5)


def test_grad_align_without_weight_is_fgsm():
    one, other = train("grad_align", weight=0.0), train("fgsm")
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    assert not equal(one, train("grad_align", weight=5.0))


def test_free_training_is_the_written_out_loop():
    x, y, lr, replays = digits().x[:50], digits().y[:50], 0.05, 3
    how = {"batch": 20, "epochs": 2, "lr": lr, "optimiser": "sgd", "warmup": 0.0, "eps": 0.1}
    found = train("free", n=50, replays=replays, **how)
    net = models.build("cnn-mnist", generator=runtime.generator(0, "init"))
    stepper = torch.optim.SGD(net.parameters(), lr, momentum=0.9)
    order, delta, done = runtime.generator(0, "order"), torch.zeros(20, 1, 28, 28), 0
    for _ in range(2):
        for rows in torch.randperm(50, generator=order).split(20):
            for _ in range(replays):
                stepper.param_groups[0]["lr"] = lr * (1 - done / 18)
                noise = delta[: len(rows)].clone().requires_grad_()
                stepper.zero_grad()
                F.cross_entropy(net((x[rows] + noise).clamp(0, 1)), y[rows]).backward()
                stepper.step()
                delta[: len(rows)] += 0.1 * noise.grad.sign()
                delta.clamp_(-0.1, 0.1)
                done += 1
    assert all(torch.allclose(found[name], net.state_dict()[name], atol=1e-5) for name in found)


def test_free_training_begins_as_plain_training_and_m_1_goes_one_step_up_an_update():
    once = {"batch": 60, "epochs": 1}
    assert equal(train("plain", **once), train("free", replays=1, **once))
    model, (x, y) = cnn().train(), batch(dtype=torch.float32)
    loss = free.Free(0.1)
    for _ in range(2):  # the weights stay, so the second is the one step of FGSM
        value = loss(model, x, y)
        value.backward()
    x_adv = made(fgsm.Fgsm).images(model, x, y)
    assert torch.allclose(value, F.cross_entropy(model(x_adv), y), rtol=1e-5)


def test_madry_in_the_l2_ball():
    model, (x, y) = cnn(), batch(64, torch.float32)
    spec = zoo.spec("madry", "CNN", "mnist-5k", norm="l2", eps=1.5, step=0.5, steps=4, growth=0.0)
    assert spec.label.startswith("cnn-mnist pgd eps=1.5 l2 ")
    request = method.Request(model, 0, x, y)
    x_adv = madry.objective(request, spec.options).images(model, x, y)
    length = (x_adv.double() - x.double()).flatten(1).norm(dim=1)
    assert length.max() <= 1.5 and length.median() > 1.4
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    with torch.no_grad():
        before, after = (F.cross_entropy(model(at), y, reduction="none") for at in (x, x_adv))
    assert (after > before).float().mean() > 0.95
    assert spec.key != zoo.spec("madry", "CNN", "mnist-5k", eps=1.5, step=0.5, steps=4,
                                growth=0.0).key  # fmt: skip


def test_the_mask_hides_the_stated_share_in_all_channels():
    x = torch.full((200, 3, 16, 16), 0.5)
    loss = made(fgsm.Fgsm, mask=0.3)
    seen, again = loss.masked(x), loss.masked(x)
    hidden = seen == 0
    share, sd = float(hidden.float().mean()), math.sqrt(0.3 * 0.7 / (200 * 256))
    assert abs(share - 0.3) < 5 * sd
    assert torch.equal(hidden[:, 0], hidden[:, 1]) and torch.equal(hidden[:, 0], hidden[:, 2])
    assert (seen[~hidden] == 0.5).all() and not torch.equal(seen, again)
    assert made(fgsm.Fgsm).masked(x) is x
    model, (x, y) = cnn().train(), batch(dtype=torch.float32)
    loss, other = made(fgsm.Fgsm, mask=0.3), made(fgsm.Fgsm, mask=0.3)
    assert torch.equal(loss(model, x, y), made(fgsm.Fgsm)(model, other.masked(x), y))


def test_the_penalty_on_the_stem_reaches_the_first_convolution_alone():
    model, (x, y) = cnn(torch.float64).train(), batch()
    g = [torch.autograd.grad(made(fgsm.Fgsm, stem_decay=c)(model, x, y), list(model.parameters()))
         for c in (0.0, 0.7)]  # fmt: skip
    stem, *others = zip(*g, strict=True)
    assert torch.allclose(stem[1] - stem[0], 2 * 0.7 * model.conv1.weight, atol=1e-12)
    assert all(torch.equal(*pair) for pair in others)
    with pytest.raises(ValueError, match="network with convolutions, not MLP"):
        made(fgsm.Fgsm, stem_decay=0.1)(models.build("fc10").train(), x.float(), y)


@pytest.mark.parametrize("options", [{"activation": "softplus"}, {"activation": "gelu"},
                                     {"stem_stride": 2}])  # fmt: skip
def test_a_smooth_network_with_a_large_stem(options):
    net = models.build("cnn-mnist", **options).double()
    x, _ = batch()
    logits, levels = net(x), net.hidden(x)
    for level, h in enumerate(levels, 1):
        assert torch.allclose(net.above(level)(h), logits)
    if "stem_stride" in options:
        assert [tuple(h.shape[1:]) for h in levels] == [(16, 7, 7), (32, 3, 3), (64,)]
    else:  # the initial weights are those of ReLU, and no corner is left
        same = models.build("cnn-mnist").double()
        assert equal(net.state_dict(), same.state_dict())
        h = torch.linspace(-3, 3, 601, dtype=torch.float64)
        bent = models.cnn.ACTIVATIONS[options["activation"]](h)
        assert (bent.diff().diff().abs() < 2e-3).all() and (bent - h.relu()).abs().max() < 0.2


@pytest.mark.parametrize(("options", "said"), [
    ({"activation": "rellu"}, "no activation 'rellu': did you mean relu"),
    ({"stem_stride": 10}, "leaves 4 x 4 of 28 x 28 pixels, not 10"),
])
def test_impossible_networks_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        models.build("cnn-mnist", **options)


@pytest.mark.parametrize(("kind", "more", "said"), [
    (trades.Trades, {"beta": -1.0}, "not negative: -1"),
    (n_fgsm.NoisyStep, {"noise": -0.5}, "not negative: -0.5"),
    (grad_align.Aligned, {"weight": -2.0}, "not negative: -2"),
    (fgsm.Fgsm, {"mask": 1.0}, "got 1.0 and 0.0"),
    (fgsm.Fgsm, {"eps": 0.0}, "adversarial training needs eps > 0"),
])
def test_impossible_trainings_are_refused(kind, more, said):
    with pytest.raises(ValueError, match=said):
        made(kind, **more)
    with pytest.raises(ValueError, match="needs eps > 0, got 0"):
        free.Free(0.0)


def test_what_attacks_leave_of_a_line_is_known():
    net = line()
    x = 0.4 + 0.2 * pixels(80, 1, 2, 2)
    w, logits = net[1].weight.detach().diff(dim=0), net(x).detach()
    y = logits.argmax(1)
    lead = (logits[:, 1] - logits[:, 0]).abs()
    for norm, reach in (("linf", w.abs().sum()), ("l2", w.norm())):
        eps = (lead.median() / reach).item()
        assert eps < 0.3  # no pixel meets the box
        seen = under_attack(net, x, y, norm=norm, eps=eps)
        holds, near = lead > eps * reach, (lead - eps * reach).abs() < 1e-3
        assert torch.equal(seen["fgsm"][~near], holds[~near])
        if norm == "linf":
            assert torch.equal(seen["pgd"][~near], holds[~near])
        assert torch.allclose(seen["cosine"], torch.ones_like(lead))
