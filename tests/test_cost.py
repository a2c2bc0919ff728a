"""The cost of a profile: counted operations, scaling rules, schedules, and what is told of them."""

import dataclasses
import itertools
import json
import random
from pathlib import Path

import nbformat
import pytest
import yaml
from torch import nn

from intriguing import chapters, models, paths, zoo
from intriguing.book import cost
from intriguing.book.cost import estimate, machine, rules, tables, work
from intriguing.book.cost.machine import Span
from intriguing.book.cost.schedule import Job, critical_path, makespan
from intriguing.chapters import networks, shelves
from intriguing.errors import UserError
from intriguing.methods import fgsm_rs, madry, plain
from intriguing.training import Fit

# ---------------------------------------------------------------- operations


def test_operations_of_a_dense_layer():
    counted = work.count(nn.Linear(30, 7), (30,))
    assert (counted.flops, counted.kernels, counted.parameters) == (2 * 30 * 7, 1, 30 * 7 + 7)


@pytest.mark.parametrize("stride", [1, 2])
def test_operations_of_a_convolution(stride):
    counted = work.count(nn.Conv2d(3, 5, 3, stride=stride, padding=1), (3, 8, 10))
    places = (8 // stride) * (10 // stride)
    assert counted.flops == 2 * places * 5 * 3 * 9
    assert (counted.kernels, counted.parameters) == (1, 5 * 3 * 9 + 5)


def test_a_view_launches_nothing():
    assert work.count(nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.ReLU()), (3, 4)).kernels == 2


def test_the_resnet_of_the_literature():
    counted = work.forward("resnet18-cifar")  # 0.56 G multiply-adds and 11.17 M weights, He et al.
    assert counted.flops == pytest.approx(1.11e9, rel=0.01)
    assert counted.parameters == pytest.approx(11.17e6, rel=0.001)


def test_work_of_full_batch_and_minibatch_trainings():
    once = 2 * (784 * 100 + 100 * 100 + 100 * 10)
    full = work.training(zoo.szegedy("FC100-100-10", "mnist", iterations=50))
    assert full.flops == pytest.approx(3 * once * 60_000 * 50 * work.EVALUATIONS)
    assert full.bytes == 4 * (785 * 100 + 101 * 100 + 101 * 10)
    half = work.training(zoo.szegedy("FC100-100-10", "mnist", iterations=50,
                                     split="train[:50%]@3", seed=7))
    assert half.flops == pytest.approx(full.flops / 2)
    batches = work.training(zoo.pools("decay", "mnist", epochs=2, batch=250))
    assert batches.flops == 3 * once * 60_000 * 2
    assert batches.kernels == 2 * 240 * (3 * 5 + work.OPTIMISER), "3 products, 2 sigmoids"


def test_a_softmax_on_a_code_costs_its_own_layer_only():
    spec = zoo.szegedy("AE400-10", "mnist", iterations=10)
    last = 3 * 2 * 400 * 10 * 60_000 * 10 * work.EVALUATIONS
    assert work.training(spec).flops == pytest.approx(last)
    below = work.training(zoo.parents(spec)["encoder"])
    assert below.flops == 3 * 2 * 2 * 784 * 400 * 60_000 * spec.options.encoder.fit.epochs


def test_pools_add_attacks_after_the_first_epoch():
    plain = work.training(zoo.pools("decay", "mnist", epochs=5, batch=256))
    pooled = work.training(zoo.pools("all", "mnist", epochs=5, batch=256))
    once = work.forward("fc100-100-10").flops
    assert pooled.flops - plain.flops == pytest.approx(3 * 4 * 500 * work.GRADIENTS * 2 * once)
    assert pooled.kernels > plain.kernels


FIT = Fit(2, 100, 0.1)


@pytest.mark.parametrize(("options", "passes"), [
    (plain.Options(FIT), 3), (fgsm_rs.Options(FIT, 0.1, 0.1), 5),
    (madry.Options(FIT, 0.1, 0.1, 7), 17), (madry.Options(FIT, 0.1, 0.1, 10), 23)])
def test_adversarial_training_takes_two_passes_a_step(options, passes):
    spec = zoo.Spec("fc10", "mnist-5k", options)
    assert work.training(spec).flops == passes * 2 * 7840 * 4000 * 2


def test_the_interaction_loss_adds_masked_passes_of_the_part_above_the_layer():
    budget = {"epochs": 2, "batch": 128, "split": "train[:6000]@0"}
    plain = work.training(zoo.dropout("plain", "mnist", **budget))
    dropout = work.training(zoo.dropout("dropout", "mnist", **budget))
    penalised = work.training(zoo.dropout("interaction", "mnist", contexts=3, **budget))
    above = 2 * (32 * 49 * 64 + 64 * 10)
    assert plain.flops == dropout.flops == 3 * 6000 * 2 * work.forward("cnn-mnist").flops
    assert penalised.flops - plain.flops == 3 * 4 * 3 * 6000 * 2 * above
    assert penalised.kernels > plain.kernels


def test_operations_by_name():
    own = work.forward("cnn-mnist").flops + work.forward("fc100-100-10").flops
    assert work.mflop(["CNN", "FC100-100-10"], "mnist") == pytest.approx(own / 1e6)
    assert work.mflop("ResNet-34", "mnist", "a folder") == pytest.approx(2 * 3664)  # He et al.: 3.6
    assert work.mflop("resnet34", "", True) == work.mflop("ResNet-34", "", True)
    with pytest.raises(ValueError, match="no classifier 'resnet35'.*did you mean"):
        work.mflop("resnet35", "", True)


def test_what_is_trained_in_bfloat16_is_known():
    for name in ("ResNet-18", "ResNet"):
        assert work.training(zoo.convnet(name, "cifar10-jpeg")).bfloat16
    assert not work.training(zoo.convnet("ResNet", "mnist")).bfloat16


def test_every_architecture_can_be_counted():
    for name in models.architectures():
        counted = work.forward(name)
        assert counted.flops >= counted.parameters / 2 > 0 and counted.kernels > 0, name


# ---------------------------------------------------------------- formulas


def test_formulas():
    parameters = {"n": 20, "seeds": [0, 1, 2], "second": "", "nets": ["CNN", "ResNet"]}
    for formula, value in {
        "3 * n * len(seeds) + 2": 182, "(n - 5) / 2.5": 6, "bool(second) * 9": 0,
        "max(n, len(seeds))": 20, "0": 0,
        "mflop(nets, data)": work.mflop(["CNN", "ResNet"], "mnist"),
        "2 * mflop('CNN', data)": 2 * work.mflop("CNN", "mnist"),
    }.items():
        assert rules.evaluate(formula, parameters | {"data": "mnist"}) == pytest.approx(value)


@pytest.mark.parametrize(("formula", "why"), [
    ("m * 2", "no parameter 'm'"), ("n ** 2", "no part of such a formula"),
    ("__import__('os')", "no part of such a formula"), ("n.real", "no part of such a formula"),
    ("n *", "cannot be computed"), ("n - 30", "a count is not negative"), ("n / 0", "by zero"),
    ("len(n)", "has no len"),
])
def test_formulas_that_are_refused(formula, why):
    with pytest.raises(UserError, match=f"(?s)01-first.*{why}") as caught:
        rules.evaluate(formula, {"n": 20}, "01-first")
    assert "\n" not in str(caught.value)


def test_rules_that_cannot_be_read(tiny_book):
    assert rules.load() == {}
    for text in ("01: [1]", "01: {work: 1}", "01: {work: 1, device: much}",
                 "01: {work: 1, device: 2}", "01: {work: 1, device: 1, hours: 3}", "a: {b"):
        (tiny_book.root / "notebooks" / rules.FILE).write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="notebooks/costs.yml") as caught:
            rules.load()
        assert "\n" not in str(caught.value)


def test_a_recorded_run_is_scaled_but_for_its_start():
    assert machine.scaled(70.0, 1) == 70
    assert machine.scaled(70.0, 5) == machine.START_UP + 5 * (70 - machine.START_UP)
    assert machine.scaled(4.0, 5) == 4
    well, badly = machine.WELL, machine.BADLY
    assert machine.run(100.0, 0.0) == Span(100, 100)
    gained = machine.run(100.0, 1.0)
    assert machine.run(0.0, 0.5, 1e15).badly == 1e15 / badly.throughput
    assert gained.well == pytest.approx(100 / well.gain) and gained.badly == 100 / badly.gain
    assert machine.run(240.0, 0.5).well == pytest.approx(120 + 120 / well.gain)


def test_a_training_is_bound_by_arithmetic_or_by_launches():
    arithmetic, launches = work.Work(1e15, 10, 0), work.Work(1e6, 1e6, 0)
    rounded = work.Work(1e15, 10, 0, bfloat16=True)
    for one in (machine.WELL, machine.BADLY):
        assert one.training(arithmetic) == one.start + 1e15 / one.throughput
        assert one.training(rounded) == one.start + 1e15 / one.bfloat16 < one.training(arithmetic)
        assert one.training(launches) == one.start + 1e6 * one.launch
    assert machine.rate([(4e9, 2.0), (8e9, 1.0), (1e9, 0.0)]) == 4e9
    assert machine.rate([]) is None


# ---------------------------------------------------------------- schedules

FORK = (Job("a", 3), Job("b", 2), Job("c", 4, ("a",)), Job("d", 1, ("b",)),
        Job("e", 2, ("c", "d")))


def test_schedules_by_hand():
    assert [makespan(FORK, n) for n in (1, 2, 3, 9)] == [12, 9, 9, 9]
    assert [job.name for job in critical_path(FORK)] == ["a", "c", "e"]
    apart = [Job(str(i), seconds) for i, seconds in enumerate((7, 5, 4, 4))]
    assert [makespan(apart, n) for n in (1, 2, 3, 4)] == [20, 11, 8, 7]
    assert makespan([], 3) == 0 and critical_path([]) == ()
    assert tables.stops(FORK) == 2 and tables.stops(apart) == 4


def shortest(jobs, devices):
    """The best makespan of any order in which a free device takes the next job."""
    best = float("inf")
    for order in itertools.permutations(jobs):
        ends, free = {}, [0.0] * devices
        for job in order:
            if any(name not in ends for name in job.after):
                break
            device = free.index(min(free))
            start = max([free[device], *(ends[name] for name in job.after)])
            ends[job.name] = free[device] = start + job.seconds
        else:
            best = min(best, max(free))
    return best


def test_schedules_of_random_plans():
    draw = random.Random(0)
    for _ in range(60):
        count = draw.randint(1, 6)
        jobs = [Job(str(i), draw.randint(1, 9),
                    tuple(str(j) for j in range(i) if draw.random() < 0.3)) for i in range(count)]
        total, chain = (sum(job.seconds for job in some) for some in (jobs, critical_path(jobs)))
        times = [makespan(jobs, n) for n in range(1, count + 2)]
        assert times[0] == total and times[-1] == chain
        assert times == sorted(times, reverse=True), "more devices are never slower"
        for n, seconds in enumerate(times, start=1):
            assert max(chain, total / n) <= seconds <= total / n + chain * (n - 1) / n + 1e-9
        assert times[1] <= 4 / 3 * shortest(jobs, 2) + 1e-9 or count < 3


@pytest.mark.parametrize(("jobs", "devices", "why"), [
    ((Job("a", 1), Job("a", 2)), 1, "two jobs are called 'a'"),
    ((Job("a", 1, ("b",)),), 1, "waits for 'b'"),
    ((Job("a", 1, ("b",)), Job("b", 1, ("a",))), 1, "in a circle"),
    ((Job("a", -1),), 1, "takes -1 seconds"), ((Job("a", 1),), 0, "at least 1 device"),
])
def test_plans_that_are_refused(jobs, devices, why):
    with pytest.raises(ValueError, match=why):
        makespan(jobs, devices)


# ---------------------------------------------------------------- plans

NETWORKS = """
specs = [zoo.szegedy("FC10(1)", "mnist-5k", iterations=n_images, seed=s) for s in (0, 1)]
"""


@pytest.fixture
def book(tiny_book):
    """Two chapters that share a network; the first has a rule and a recorded run."""
    (tiny_book.root / "data").mkdir()
    known = (Path(__file__).resolve().parents[1] / "data" / "sources.toml").read_text()
    (tiny_book.root / "data" / "sources.toml").write_text(known, encoding="utf-8")
    for name in ("01-first", "02-second"):
        path = tiny_book.add(name, NETWORKS, cpu={"n_images": 40})
        page = nbformat.read(path, as_version=4)
        page.cells[-1].metadata["tags"] = [networks.TAG]
        nbformat.write(page, path)
    rule = {"01-first": {"work": "n_images * 5", "device": 0.5, "disk": 1000}}
    (tiny_book.root / "notebooks" / rules.FILE).write_text(yaml.safe_dump(rule), encoding="utf-8")
    record(shelves.published(), 110.0, 20)
    return tiny_book


def record(shelf, seconds, n_images, name="01-first", device="cpu (a test)", profile="cpu"):
    """Put the page of a run on a shelf."""
    page = nbformat.v4.new_notebook()
    page.metadata["intriguing"] = {
        "profile": profile, "parameters": {"n_images": n_images}, "seconds": seconds,
        "device": device, "started": "2026-01-02T03:04:05+00:00"}
    shelf.pages.mkdir(parents=True, exist_ok=True)
    shelves.write_notebook(page, shelf.page(name))


def test_a_plan(book):
    found = cost.plan("cpu")
    first, second = found.rows
    assert (first.networks, second.networks) == (2, 0), "a shared network counts once"
    spec = zoo.szegedy("FC10(1)", "mnist-5k", iterations=40)
    assert first.flops == 2 * work.training(spec).flops and second.flops == 0
    assert first.ratio == 2 and first.cpu == machine.scaled(110, 2)
    assert first.gpu == machine.run(first.cpu, 0.5)
    assert first.disk == 1000 + 2 * 4 * 7850
    assert second.gpu is None and second.missing == "no rule in notebooks/costs.yml"
    assert found.unknown == ("02-second",)
    assert found.rate is None, "no record tells of a training here"
    assert len(found.well) == 2 + 1 + 1, "two trainings, a run, the pages"
    assert found.gpu.well == pytest.approx(makespan(found.well, 1))
    assert cost.plan("smoke").rows[0].ratio == 3 / 20, "the parameters cell holds 3 images"


def test_the_page_says_which_chapter_has_no_rule(book):
    places = [f"<!-- cost: {name} -->" for name in ("chapters", "devices", "remarks",
                                                    "assumptions")]
    page = cost.fill("\n\n".join(places), cost.plan("cpu"))
    assert "**Left out**: the runs of 02-second (no rule in notebooks/costs.yml)" in page
    assert "| all but 1 |" in page and "| no rule in notebooks/costs.yml |" in page


def test_a_rule_for_no_chapter_is_refused(book):
    file = book.root / "notebooks/costs.yml"
    file.write_text(file.read_text() + "\n02-secnod: {work: '1', device: 0}\n")
    with pytest.raises(UserError, match="a rule for '02-secnod', which is no chapter: did you"):
        cost.plan("cpu")


def test_a_data_set_counts_once_in_the_total(book):
    parameters = {"dataset": "mnist", "imagenet": "data/imagenet", "eps": 0.1, "names": ["mnist"]}
    named = estimate._data(parameters)
    assert named == {"mnist": 11490519, **estimate.IMAGENET}
    assert estimate._data({"dataset": "mnist-5k", "imagenet": ""}) == {"mnist-5k": 834514}
    found = cost.plan("cpu")
    rows = [dataclasses.replace(row, data=named, disk=5.0) for row in found.rows]
    assert dataclasses.replace(found, rows=tuple(rows)).disk == 10 + sum(named.values())


def test_a_chapter_without_a_recorded_run_is_taken_by_its_formula(book):
    rule = {"02-second": {"work": "n_images * 500", "passes": "n_images * 7e6", "device": 0}}
    (book.root / "notebooks" / rules.FILE).write_text(yaml.safe_dump(rule), encoding="utf-8")
    row = cost.plan("cpu").rows[1]
    flops = 40 * 7e12
    assert row.basis is None and row.missing == "none, by formula"
    assert row.cpu == pytest.approx(machine.START_UP + 20 + flops / machine.CPU_PASSES)
    small = row.cpu * 20 / (20 + flops / machine.CPU_PASSES)
    assert row.gpu.well == pytest.approx(small + flops / machine.WELL.throughput)


def test_the_run_to_scale_is_the_largest_then_the_fastest_and_a_gpu_before_all(book):
    record(shelves.built("cpu"), 60.0, 20)
    assert cost.plan("cpu").rows[0].basis.seconds == 60
    assert cost.plan("cpu", local=False).rows[0].basis.seconds == 110
    record(shelves.built("cpu"), 400.0, 80)
    assert cost.plan("cpu").rows[0].ratio == 0.5
    record(shelves.built("smoke"), 9.0, 4, device="cuda (a test)")
    row = cost.plan("cpu").rows[0]
    assert row.basis.seconds == 9 and row.cpu is None
    assert row.gpu == Span(machine.scaled(9, 10), machine.scaled(9, 10)), "measured, no gain"
    record(shelves.built("smoke"), 9.0, None, device="cuda (a test)")
    assert cost.plan("cpu").rows[0].ratio == 0.5, "a page of other parameters tells nothing"
    record(shelves.built("smoke"), 9.0, 4, device="cuda (a test)", profile="smoke")
    assert cost.plan("cpu").rows[0].ratio == 0.5, "nor does a run of seconds"


def test_the_speed_of_recorded_trainings(book):
    settings = chapters.resolve(chapters.find("01-first"), "cpu")
    specs = networks.declared(settings, resolved=False)
    head = dict.fromkeys(("commit", "dirty", "seconds")) | {
        "schema": 1, "chapter": "01-first", "profile": "cpu", "modified": False, "parameters": {},
        "seeds": [0], "started": "2026-01-01T00:00:00Z", "training_seconds": 4.0,
        "device": "cpu (a test)", "versions": {}, "records": [],
        "checkpoints": {f"{s.label} ({zoo.resolve(s).key[:12]})": "sha" for s in specs}}
    folder = shelves.published().results / "01-first"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(head), encoding="utf-8")
    # seeds tell the labels apart, so both networks are known by them
    assert cost.plan("cpu").rate == 2 * work.training(specs[0]).flops / 4.0


def test_the_report_names_every_chapter_and_what_is_left_out(book):
    text = cost.tell("cpu")
    for name in chapters.names():
        assert name in text
    assert "**Left out**: the runs of 02-second (no rule in notebooks/costs.yml) are in" in text
    assert "all but 1 " in text and "not measured" in text
    for devices in tables.DEVICES:
        assert f"\n{devices} " in text


def test_the_page_is_filled(book):
    names = ("chapters", "devices", "remarks", "assumptions")
    page = "\n\n".join(f"<!-- cost: {name} -->" for name in names)
    text = cost.fill(page, cost.plan("cpu"))
    assert "<!--" not in text and "| 01 | 2 |" in text and "| 64 |" in text
    assert machine.ASSUMED[0][3] in text
    with pytest.raises(UserError, match="cost: devices --> once, and has it 0 times"):
        cost.fill(page.replace("<!-- cost: devices -->", ""), cost.plan("cpu"))


def test_an_unknown_profile_is_one_sentence(book):
    with pytest.raises(UserError, match="no profile is called 'papre'") as caught:
        cost.tell("papre")
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- the book's own


def test_the_page_of_this_book_has_its_places():
    page = paths.book_dir() / "cost.md"
    text = page.read_text(encoding="utf-8")
    assert all(text.count(f"<!-- cost: {name} -->") == 1
               for name in ("chapters", "devices", "remarks", "assumptions"))


def test_every_rule_of_this_book_fits_its_chapter_at_every_profile():
    known = rules.load()
    assert set(known) <= set(chapters.names())
    for name, rule in known.items():
        work_of = {}
        for profile in chapters.profiles():
            settings = chapters.resolve(chapters.find(name), profile)
            work_of[profile] = sum(rules.evaluate(formula, settings.parameters, name)
                                   for formula in (rule.work, rule.passes))
            assert rules.evaluate(rule.disk, settings.parameters, name) >= 0
        assert 0 < work_of["smoke"] < work_of["cpu"] < work_of["paper"], name
