"""Records: contents, byte stability, atomic files, strict reading, text for pages."""

import ast
import json
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from intriguing import attacks, chapters, paths, records, stats
from intriguing.errors import UserError
from intriguing.records import provenance

CHAPTER = "02-some-chapter"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty book with one profile, and no environment of a runner."""
    for name in ("INTRIGUING_RESULTS", "INTRIGUING_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INTRIGUING_ROOT", str(tmp_path))
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "notebooks/profiles").mkdir(parents=True)
    (tmp_path / "notebooks/profiles/cpu.yml").write_text(
        f"{CHAPTER}: {{n_images: 1000, eps: 8/255, seeds: [0, 1]}}\n"
    )
    return tmp_path


PARAMETERS = {"profile": "cpu", "n_images": 1000, "eps": 8 / 255, "seeds": (0, 1)}


def begin(**changed):
    return records.start(CHAPTER, profile="cpu", parameters={**PARAMETERS, **changed},
                         seeds=[0, 1], device="cpu")


def write_source(root, *lines):
    """Write the chapter's source with these lines in its parameters cell."""
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "outputs": [],
            "source": "\n".join(lines).splitlines(keepends=True)}
    (root / f"notebooks/{CHAPTER}.ipynb").write_text(json.dumps({"cells": [cell]}))


INFO = {"key": "ab" * 32, "sha256": "cd" * 32, "seconds": 12.5, "label": "fc10 mnist seed 3",
        "base": None}


def test_names_are_imported_when_asked_for_and_all_are_listed():
    program = ("import sys, json\nfrom intriguing import records\nimport intriguing.chapters\n"
               "light = [m for m in ('numpy', 'scipy', 'pandas', 'torch') if m in sys.modules]\n"
               "seen = dir(records)\nfound = [getattr(records, name) for name in records.__all__]\n"
               "print(json.dumps([light, sorted(set(records.__all__) - set(seen))]))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stderr, done.stdout) == ("", "[[], []]\n")
    text = Path(records.__file__).read_text()
    for node in ast.walk(ast.parse(text)):  # what editors are told is what there is
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(records.__name__):
            home = node.module.rpartition(".")[2]
            assert records._HOMES[home] == tuple(alias.name for alias in node.names)
    assert sorted(records.__all__) == sorted(n for names in records._HOMES.values() for n in names)
    with pytest.raises(AttributeError, match="has no attribute 'begin'"):
        _ = records.begin
    with pytest.raises(ImportError, match="begin"):
        exec("from intriguing.records import begin")


def test_a_finished_run_reads_back(root):
    run = begin()
    interval = stats.mean_interval([0.061, 0.063, 0.062])
    run.add("distortion/FC10(1e-4)", interval, unit="RMS distortion", checkpoints=[INFO],
            paper=records.paper(0.062, "Table 1", "S+M"), parameters={"target": "random"})
    run.add("error", np.float32(0.5), unit="fraction", seeds=[7], note="one network",
            paper=records.paper(0.4, "Table 9", "M"))
    returned = run.finish()
    folder = root / "_build/cpu/by-hand" / CHAPTER
    head, rows = records.load(folder)
    assert head == returned == records.load(folder / "record.json")[0]
    assert rows == run.records
    assert head["modified"] is False and head["profile"] == "cpu" and head["seeds"] == [0, 1]
    assert head["commit"] is None and head["dirty"] is None
    assert head["training_seconds"] == 12.5
    assert head["checkpoints"] == {"fc10 mnist seed 3 (abababababab)": "cd" * 32}
    assert "torch" in head["versions"] and head["device"].startswith("cpu (")
    first, second = rows
    assert (first.value, first.low, first.high, first.n) == (
        pytest.approx(0.062), interval.low, interval.high, 3)
    assert first.seeds == (0, 1) and first.paper == 0.062 and first.known
    assert second.seeds == (7,) and second.low is None and not second.known
    assert second.paper is None and second.paper_tag == "M", "a remembered number is not stored"
    assert [p.name for p in folder.iterdir()] == ["record.json"], "no temporary file is left"


CELL = ('profile = "smoke"  # str, the scale', "n_images = 5  # int, images", "eps = 8/255",
        "seeds = [0]  # list of int, training seeds", "subset = None  # int or None",
        'name = "a"  # str', "free = None")


def opened(root, *, lines=CELL, drop=(), **changed):
    """The run that the short form opens, and the namespace that it was given."""
    write_source(root, *lines)
    namespace = {"unrelated": object()}
    exec("\n".join(lines), namespace)
    namespace |= changed
    for name in drop:
        del namespace[name]
    return records.start(CHAPTER, namespace), namespace


def test_the_short_form_takes_everything_from_the_namespace(root):
    run, _ = opened(root, profile="cpu", n_images=1000, seeds=[0, 1], device="cpu")
    long = records.start(
        CHAPTER, profile="cpu", seeds=[0, 1], device="cpu",
        parameters={"profile": "cpu", "n_images": 1000, "eps": 8 / 255, "seeds": [0, 1],
                    "subset": None, "name": "a", "free": None})
    assert run.folder == long.folder
    both = [{k: v for k, v in r.head.items() if k != "started"} for r in (run, long)]
    assert both[0] == both[1] and both[0]["modified"] is False
    assert run.head["device"].startswith("cpu ")


def test_what_the_short_form_can_do_without(root):
    run, namespace = opened(root, lines=CELL[:3], n_images=np.int64(7), eps=1)
    assert run.head["seeds"] == [] and run.head["parameters"]["n_images"] == 7
    assert namespace["eps"] == 1 and namespace["eps"] is not True, "numbers stay as they are"
    assert records.start(CHAPTER, namespace, seeds=(3, 4), device="cpu").head["seeds"] == [3, 4]


def test_text_is_read_as_the_command_line_reads_it_and_written_back(root):
    run, namespace = opened(root, n_images=" 200", eps="4/255", seeds="[1, 2]", subset="null",
                            name="7", free="[1]")
    read = {"n_images": 200, "eps": 4 / 255, "seeds": [1, 2], "subset": None, "name": "7",
            "free": "[1]"}
    assert {name: namespace[name] for name in read} == read, "text where text is allowed stays"
    assert run.head["parameters"] == {"profile": "smoke", **read} and run.head["seeds"] == [1, 2]
    chapter = chapters.find(CHAPTER)
    for name, text in (("eps", "1e-3"), ("seeds", "[5]"), ("n_images", "3")):
        assert opened(root, **{name: text})[1][name] == chapters.parse_value(chapter, name, text)


@pytest.mark.parametrize(("changed", "message"), [
    ({"seeds": "many"}, "seeds of .* takes list .*not 'many' .* -y 'seeds: .*`intriguing run -p s"),
    ({"seeds": 1}, "seeds of .* takes list"), ({"eps": "[1]"}, "eps of .* takes float"),
    ({"n_images": True}, "n_images of .* takes int"), ({"name": 3}, "name of .* takes str"),
    ({"free": object()}, "free of .* plain literals")])
def test_a_value_that_does_not_fit_is_named_and_nothing_is_written(root, changed, message):
    write_source(root, *CELL)
    namespace = {}
    exec("\n".join(CELL), namespace)
    namespace |= {"n_images": "200", **changed}
    before = dict(namespace)
    with pytest.raises(UserError, match=message) as caught:
        records.start(CHAPTER, namespace)
    assert "\n" not in str(caught.value) and namespace == before


def test_the_short_form_without_what_it_needs(root):
    with pytest.raises(ValueError, match="no eps, seeds: run the parameters cell of 02-some"):
        opened(root, drop=("eps", "seeds"))
    with pytest.raises(UserError, match="no notebooks/03-gone.ipynb .* the long form, records.sta"):
        records.start("03-gone", {"profile": "cpu"})
    with pytest.raises(UserError, match=r"`eps = f\(\)`; a parameter is"):
        write_source(root, "eps = f()")
        records.start(CHAPTER, {"profile": "cpu", "eps": 1})
    with pytest.raises(ValueError, match="or give these two"):
        records.start(CHAPTER, {}, profile="cpu")
    with pytest.raises(ValueError, match=r"needs the notebook's globals\(\), or profile="):
        records.start(CHAPTER, profile="cpu")
    with pytest.raises(ValueError, match="cannot be a folder name"):
        records.start("../elsewhere", {})


@pytest.mark.parametrize("name", chapters.names())
def test_the_short_form_suits_every_chapter(name, monkeypatch):
    monkeypatch.delenv("INTRIGUING_RESULTS", raising=False)
    chapter, namespace = chapters.find(name), {"device": "cpu"}
    settings = chapters.resolve(chapter, "cpu")
    namespace |= settings.parameters
    head = records.start(name, namespace).head
    assert head["parameters"] == provenance.plain(settings.parameters)
    assert head["modified"] is False and head["seeds"] == settings.parameters["seeds"]
    assert namespace == {"device": "cpu", **settings.parameters}


def test_the_runner_chooses_the_folder_and_a_repeated_name_is_then_an_error(root, monkeypatch):
    monkeypatch.setenv("INTRIGUING_RESULTS", str(root / "elsewhere"))
    run = begin()
    run.add("a", 1.0, unit="u")
    with pytest.raises(ValueError, match="exists already"):
        run.add("a", 2.0, unit="u")
    run.finish()
    assert records.load(root / "elsewhere")[1][0].value == 1.0


def test_by_hand_a_cell_may_run_twice(root):
    run = begin()
    run.add("a", 1.0, unit="u")
    run.add("a", 2.0, unit="u")
    assert [r.value for r in run.records] == [2.0]


@pytest.mark.parametrize("changed", [{"n_images": 10}, {"eps": 0.1}, {"seeds": [0]}])
def test_parameters_that_differ_from_the_profile_are_noticed(root, changed):
    assert begin(**changed).head["modified"] is True
    assert begin().head["modified"] is False


def test_parameters_that_differ_from_the_default_are_noticed(root):
    write_source(root, 'profile = "smoke"', "n_images = 5", "tol: float = 1/3", "k = (1, 2)")
    assert begin(tol=1 / 3, k=(1, 2)).head["modified"] is False
    assert begin(tol=0.5, k=(1, 2)).head["modified"] is True
    assert begin(tol=1 / 3, k=(1, 3)).head["modified"] is True


def test_lists_in_a_profile_are_compared_as_the_chapter_takes_them(root):
    (root / "notebooks/profiles/cpu.yml").write_text(f"{CHAPTER}: {{radii: [1e-3, 8/255, 1]}}\n")
    for cell in ("radii = [0.5]  # list of float, radii", 'other = 1  # int, not in the profile'):
        write_source(root, 'profile = "smoke"  # str, the scale', cell)
        assert begin(radii=[0.001, 8 / 255, 1.0]).head["modified"] is False
        assert begin(radii=[0.001, 8 / 255, 2.0]).head["modified"] is True


def test_a_source_that_cannot_be_read_vouches_for_nothing(root):
    write_source(root, "profile = range(3)")
    assert begin().head["modified"] is True
    (root / f"notebooks/{CHAPTER}.ipynb").write_text("{")
    assert begin().head["modified"] is True


def test_no_published_run_counts_as_modified():
    for file in paths.published_results_dir().glob("*/record.json"):
        head, _ = records.load(file)
        assert not provenance.modified(head["chapter"], head["profile"], head["parameters"])


def test_an_unknown_profile_vouches_for_nothing(root):
    run = records.start(CHAPTER, profile="mine", parameters={}, seeds=[], device="cpu")
    assert run.head["modified"] is True


def test_commit_and_dirty_come_from_git(root):
    def git(*words):
        subprocess.run(["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.c",
                        *words], check=True, capture_output=True)

    git("init", "-q")
    (root / "lib").mkdir()
    (root / "lib/a.py").write_text("a = 1\n")
    git("add", "lib")
    git("add", "notebooks")
    git("commit", "-q", "-m", "first")
    head = begin().head
    assert len(head["commit"]) == 40 and head["dirty"] is False
    (root / "book").mkdir()
    (root / "book/page.md").write_text("pages do not change results\n")
    assert begin().head["dirty"] is False
    (root / "lib/a.py").write_text("a = 2\n")
    assert begin().head["dirty"] is True


def test_tables_are_byte_stable(root):
    run = begin()
    frame = pd.DataFrame({"model": ["a", "b"], "x": [0.1 + 0.2, np.nan], "n": [1, 2],
                          "mixed": [1 / 3, "none"]})
    frame["single"] = np.array([1 / 3, 2], dtype=np.float32)
    assert run.table("one", frame) is frame
    written = (run.folder / "one.csv").read_bytes()
    assert written == (b"model,x,n,mixed,single\na,0.3,1,0.33333333,0.33333334\n"
                       b"b,,2,none,2\n")
    run.table("two", frame.set_index("model"))
    assert (run.folder / "two.csv").read_text().startswith("model,x,n")


def test_figures_are_byte_stable_and_white(root):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def draw(run):
        fig, ax = plt.subplots(figsize=(2, 2))
        ax.plot([0, 1], [1, 0], "o-", clip_on=True)
        shown = run.figure("f", fig)
        plt.close(fig)
        assert shown._repr_png_() == (run.folder / "f.png").read_bytes()
        assert "0x" not in repr(shown)
        return [(run.folder / f"f{s}").read_bytes() for s in (".svg", ".png")]

    first, second = draw(begin()), draw(begin())
    assert first == second
    assert b"<dc:date>" not in first[0] and b"#ffffff" in first[0]
    assert first[1].startswith(b"\x89PNG")


def test_prose_is_filled_from_records(root):
    run = begin()
    run.add("rate/a.b(1e-4)", stats.wilson(90, 100), unit="fraction",
            paper=records.paper(0.95, "Table 2", "S"))
    run.add("secret", 0.5, unit="u", paper=records.paper(0.123, "Table 3", "from memory"))
    text = run.markdown(
        "{rate/a.b(1e-4):.1%} {rate/a.b(1e-4).interval:.2f} {rate/a.b(1e-4).n} "
        "{rate/a.b(1e-4)} paper {rate/a.b(1e-4).paper} {rate/a.b(1e-4).unit}; "
        "$\\frac{{1}}{{2}}$ {secret.paper:.3f} {secret.low}"
        " {rate/a.b(1e-4):+.1p} {rate/a.b(1e-4).interval:+.0p} points"
    )
    assert text == ("90.0% [0.83, 0.94] 100 0.900 paper 0.95 fraction; "
                    "$\\frac{1}{2}$ not available to us unknown +90.0 [+83, +94] points")
    assert text._repr_markdown_() == text
    assert "0.123" not in json.dumps([r.show("paper") for r in run.records])
    with pytest.raises(ValueError, match="did you mean secret"):
        run.markdown("{secrets}")
    with pytest.raises(ValueError, match="double the braces"):
        run.markdown("$x_{$")


def test_a_remembered_paper_value_never_prints():
    value = records.paper(0.123, "Table 3", "M")
    assert f"{value} {value:.3f}" == "not available to us not available to us"
    assert f"{records.paper(0.062, 'Table 1', 'S+M'):.2f}" == "0.06"


def test_the_shown_card_learns_the_time(root, monkeypatch):
    import IPython.display

    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/markdown"])

    def display(data, raw, display_id):
        shown.append(data["text/markdown"])
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    run = begin()
    run.card()._ipython_display_()
    run.finish()
    assert ["**time**" in text for text in shown] == [False, True]


def test_training_time_counts_each_network_once(root):
    run = begin()
    base = {"base": "ef" * 32, "base_seconds": 100.0}
    run.uses(INFO, INFO, {**INFO, **base}, {**INFO, **base, "key": "12" * 32, "seconds": 1.0})
    assert run.finish()["training_seconds"] == 12.5 + 100 + 1


def test_card_and_provenance_say_what_ran(root):
    run = begin(n_images=5)
    run.uses(INFO)
    run.table("t", pd.DataFrame({"x": [1]}))
    assert "**time**" not in run.card()
    run.finish()
    assert "**Profile** cpu" in run.card() and "**seeds** 0, 1" in run.card()
    assert "Parameters differ" in run.card()
    page = run.provenance()
    for part in ("cpu, modified", "`n_images = 5`", "no commit known", "12 s", "UTC", "torch",
                 f"[CSV](../results/{CHAPTER}/t.csv)", f"../results/{CHAPTER}/record.json"):
        assert part in page
    smoke = provenance.card({**run.head, "profile": "smoke"})
    assert "not comparable" in smoke


class Crowded(nn.Module):
    """A network whose device has room for `room` images at once."""

    def __init__(self, room):
        super().__init__()
        self.room, self.layer = room, nn.Linear(4, 3)

    def forward(self, x):
        if len(x) > self.room:
            raise torch.OutOfMemoryError(f"{len(x)} images")
        return self.layer(x.flatten(1))


def test_the_record_says_which_batches_were_halved(root):
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as a notebook may: the record hears of it all the same
        warnings.showwarning = lambda message, *_, **__: shown.append(str(message))
        former = warnings.showwarning
        run = begin()
        for room, batch in ((6, 10), (6, 10), (2, 4), (9, 4)):
            attacks.predict(Crowded(room).eval(), torch.zeros(20, 1, 2, 2), batch=batch)
        warnings.warn("something else", stacklevel=1)
        run.finish()
        assert warnings.showwarning is former
        attacks.predict(Crowded(1).eval(), torch.zeros(20, 1, 2, 2))  # another's business
    head, _ = records.load(run.folder)
    assert head["halved"] == [
        {"what": "images", "before": 10, "after": 5, "times": 2},
        {"what": "images", "before": 4, "after": 2, "times": 1}]
    assert "| Halved, for want of memory | 10 to 5 images (twice), 4 to 2 images |" \
        in run.provenance()
    assert shown[:3] == ["no memory for 10 images at once: going on with 5"] * 2 + [
        "no memory for 4 images at once: going on with 2"]


def test_nothing_halved_is_not_worth_a_line(root):
    run = begin()
    assert run.finish()["halved"] == []
    assert "Halved" not in run.provenance()


def test_records_from_before_halving_are_read(root):
    run = begin()
    run.finish()
    file = run.folder / "record.json"
    old = json.loads(file.read_text())
    del old["halved"]
    file.write_text(json.dumps(old))
    assert records.load(file)[0]["halved"] == []


@pytest.mark.parametrize(("seconds", "text"), [(None, "unknown"), (1.25, "1.2 s"), (42.4, "42 s"),
                                               (185, "3 min 05 s"), (7805, "2 h 10 min")])
def test_durations(seconds, text):
    assert provenance.duration(seconds) == text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.add("a{b}", 1.0, unit="u"), "cannot name a record"),
        (lambda run: run.add("a", 1.0, unit=""), "needs a unit"),
        (lambda run: run.add("a", float("nan"), unit="u"), "has the value nan"),
        (lambda run: run.add("a", 1.0, unit="u", checkpoints=[object()]), "zoo.get"),
        (lambda run: run.table("../t", pd.DataFrame()), "file name"),
        (lambda run: run["missing"], "no record"),
        (lambda run: records.paper(0.1, "Table 1", "Q"), "source tag"),
        (lambda run: records.paper(0.1, "", "S"), "place"),
        (lambda run: begin(x=object()), "plain literals"),
        (lambda run: begin(x=float("inf")), "finite"),
    ],
)
def test_misuse_is_named(root, call, message):
    with pytest.raises(ValueError, match=message):
        call(begin())


def damage(content, how):
    if how == "not json":
        return "{"
    if how == "schema":
        return json.dumps({**content, "schema": 2})
    if how == "field":
        return json.dumps({**content, "extra": 1})
    record = dict(content["records"][0])
    if how == "record":
        del record["unit"]
    if "=" in how:  # a field of the record, or of the head
        key, _, value = how.partition("=")
        where = record if key in record else content
        where[key] = json.loads(value)
    twice = [record, record] if how == "twice" else [record]
    return json.dumps({"records": twice} | content if how == "records={}" else
                      {**content, "records": twice})


@pytest.mark.parametrize(("how", "message"), [
    ("not json", "damaged"), ("schema", "schema 1"), ("field", "extra"),
    ("record", "missing or unknown"), ("twice", "comes twice"),
    ('value="0.5"', "value of the record 'a' cannot be '0.5'"),
    ("seeds=null", "seeds of the record 'a' cannot be None"), ("value=null", "cannot be None"),
    ("checkpoints=null", "cannot be None"), ("unit=3", "unit of the record 'a'"),
    ("name=[]", "cannot be"), ("name=3", "name of the record 3"), ("low=true", "cannot be True"),
    ("parameters=[]", "cannot be"), ("chapter=null", "chapter cannot be None"),
    ("profile=[]", "profile cannot be"), ("modified=1", "modified cannot be 1"),
    ("versions=[]", "versions cannot be"), ("records={}", "records cannot be")])
def test_a_damaged_record_file_is_refused(root, how, message):
    run = begin()
    run.add("a", 1.0, unit="u")
    run.finish()
    file = run.folder / "record.json"
    before = json.loads(file.read_text())
    records.load(file)
    file.write_text(damage(before, how))
    with pytest.raises(UserError, match=message):
        records.load(file)
    with pytest.raises(UserError, match="is not there"):
        records.load(root / "nowhere" / "record.json")
