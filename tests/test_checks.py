"""Each gate: a small book that passes it, and the smallest change that it must catch."""

import copy
import json
import subprocess
import sys

import pytest
import yaml

from intriguing.book import claims
from intriguing.book.gates import checks, prose
from intriguing.book.gates.house import load
from intriguing.chapters import fingerprint, placing

NAME = "02-lbfgs"
BOOTSTRAP = "import intriguing"
CODE = 'run.card()\nrun.table("errors", df)\nrun.figure("hist", fig)'
RECORD = {
    "name": "distortion", "value": 0.0621, "low": 0.06, "high": 0.064, "n": 1000,
    "unit": "RMS distortion", "method": "BCa", "seeds": [0], "checkpoints": [], "parameters": None,
    "paper": 0.062, "paper_where": "Table 1", "paper_tag": "S", "note": None,
}
HEAD = {
    "schema": 1, "chapter": NAME, "profile": "cpu", "modified": False, "parameters": {},
    "seeds": [0], "started": "2026-01-01T00:00:00Z", "seconds": 1.0, "training_seconds": 0.0,
    "device": "cpu", "versions": {}, "commit": None, "dirty": None, "checkpoints": {},
}
CLAIM = {
    "id": "distortion", "statement": "It is small.", "paper": 0.062,
    "source": {"cite": "szegedy2014intriguing", "where": "Table 1", "tag": "S"},
    "unit": "RMS distortion", "record": "distortion",
    "test": {"kind": "equal", "margin": 0.006}, "profiles": ["cpu"],
}
DESCRIBED = {"mystnb": {"figure": {"caption": "A histogram"}, "image": {"alt": "Bars"}}}


def code(source, **metadata):
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": [],
            "execution_count": None}


def text(source):
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def source_notebook():
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        text("# Title\n\nThe paper reports 0.062."),
        code(BOOTSTRAP),
        code('profile = "smoke"  # str\neps = 0.25  # float, pixel units\nn = 10  # int, images',
             tags=["parameters"]),
        code(CODE, **DESCRIBED),
        text("See [the table](../results/02-lbfgs/errors.csv)."),
        text("## What to notice\n\nMuch."),
        *(text(f"```{{exercise-start}}\n:label: e{i}\n```\n```{{solution-start}} e{i}\n```")
          for i in range(3)),
        code("run.finish()\nrun.provenance()"),
    ]}


def published_notebook(source):
    page = copy.deepcopy(source)
    page["cells"].insert(3, code('profile = "cpu"\nn = 1000', tags=["injected-parameters"]))
    for count, cell in enumerate((c for c in page["cells"] if c["cell_type"] == "code"), start=1):
        cell["execution_count"] = count
    page["cells"][4]["outputs"] = [
        {"output_type": "display_data", "metadata": {},
         "data": {"image/png": "x", "text/plain": ""}}]
    page["metadata"]["intriguing"] = {
        "profile": "cpu", "code": fingerprint.code_hash(source),
        "params": fingerprint.params_hash({"profile": "cpu", "eps": 0.25, "n": 1000}),
        "modules": fingerprint.module_hashes(source)}
    return page


class Book:
    """A book in a temporary folder, with one published chapter; every gate passes it."""

    def __init__(self, root):
        self.root = root
        self.write("_toc.yml", "root: book/index\nchapters:\n- file: book/chapters/02-lbfgs\n"
                               "- file: book/scorecard\n")
        for profile in ("smoke", "cpu", "gpu", "paper"):
            self.write(f"notebooks/profiles/{profile}.yml",
                       f"{NAME}: {{n: {1000 if profile == 'cpu' else 5}}}\n")
        self.source, self.claim = source_notebook(), copy.deepcopy(CLAIM)
        self.page = published_notebook(self.source)
        self.head, self.record = dict(HEAD), dict(RECORD)
        self.sealed = True
        self.write("book/references.bib", "@inproceedings{szegedy2014intriguing,\n}\n")
        self.write("book/index.md", "# Index\n\nThe paper reports 0.062 at eps 0.25.\n")
        for name in ("errors.csv", "hist.svg", "hist.png"):
            self.write(f"book/results/{NAME}/{name}", "<svg/>")
        self.save()

    def write(self, name, content):
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))

    def save(self):
        self.write(f"notebooks/{NAME}.ipynb", self.source)
        self.write(f"book/results/{NAME}/record.json", {**self.head, "records": [self.record]})
        made = self.page["metadata"].get("intriguing")
        if made and self.sealed:  # as a run does it
            made["results"] = placing.digests(self.root / "book" / "results" / NAME)
        self.write(f"book/chapters/{NAME}.ipynb", self.page)
        self.write(f"book/claims/{NAME}.yml", yaml.safe_dump([self.claim]))

    def found(self, gate):
        self.save()
        return [f"{p.level}: {p.where}: {p.what}" for p in gate(load())]


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_ROOT", str(tmp_path))
    monkeypatch.delenv("INTRIGUING_RESULTS", raising=False)
    return Book(tmp_path)


def test_a_sound_book_passes_every_gate(book):
    assert checks.run_checks() == []
    assert checks.run_checks(book.root, strict=True) == []


def test_a_second_root_is_refused(book, tmp_path):
    with pytest.raises(ValueError, match="INTRIGUING_ROOT"):
        checks.run_checks(tmp_path / "other")


def one(problems, *parts):
    """Assert that there is exactly one problem and that it says all of `parts`."""
    assert len(problems) == 1, problems
    for part in parts:
        assert part in problems[0]


@pytest.mark.parametrize("name", [f"notebooks/{NAME}.ipynb", f"book/chapters/{NAME}.ipynb",
                                  "notebooks/profiles/cpu.yml", f"book/claims/{NAME}.yml",
                                  f"book/results/{NAME}/record.json"])
def test_an_unreadable_file_is_an_error_and_no_crash(book, name):
    book.write(name, "{ [")
    problems = checks.run_checks()
    assert [p for p in problems if p.level == "error" and name in p.where]


def test_outputs_in_a_source(book):
    assert book.found(checks.sources_without_outputs) == []
    book.source["cells"][1]["execution_count"] = 1
    one(book.found(checks.sources_without_outputs), "error", f"{NAME}.ipynb, cell 2", "clear")
    book.source["cells"][1] = code(BOOTSTRAP, tags=["injected-parameters"])
    one(book.found(checks.sources_without_outputs), "papermill injected")
    book.source = source_notebook() | {"metadata": {"papermill": {}}}
    one(book.found(checks.sources_without_outputs), "'papermill'")


@pytest.mark.parametrize(("tags", "number"), [([], 0), (["parameters"], 2)])
def test_not_exactly_one_parameters_cell(book, tags, number):
    book.source["cells"][2]["metadata"]["tags"] = tags
    if tags:
        book.source["cells"].append(copy.deepcopy(book.source["cells"][2]))
    one(book.found(checks.readable), "error", f"{number} cells tagged 'parameters'")


@pytest.mark.parametrize(("content", "message"), [
    (f"{NAME}: {{n_images: 5}}", "no parameter 'n_images'"),
    (f"{NAME}: {{n: many}}", "takes int"),
    (f"{NAME}: {{profile: cpu}}", "not a parameter to set"),
    (f"{NAME}: {{n: 5}}\n03-other: {{}}", "no chapter is called '03-other'"),
    ("{}", f"says nothing about {NAME}"),
])
def test_profiles_that_do_not_fit(book, content, message):
    assert book.found(checks.profiles_fit) == []
    book.write("notebooks/profiles/gpu.yml", content)
    one(book.found(checks.profiles_fit), "error", "gpu.yml", message)


def test_a_missing_profile(book):
    (book.root / "notebooks/profiles/paper.yml").unlink()
    one(book.found(checks.profiles_fit), "paper.yml", "is not there")


def test_bootstraps_that_differ(book):
    for name in ("03-b", "04-c"):
        book.write(f"notebooks/{name}.ipynb", source_notebook())
    book.write("notebooks/profiles/smoke.yml", f"{NAME}: {{}}\n03-b: {{}}\n04-c: {{}}\n")
    assert book.found(checks.same_bootstrap) == []
    book.source["cells"][1]["source"] = "import intriguing  # here"
    one(book.found(checks.same_bootstrap), "error", f"{NAME}.ipynb, cell 2", "differs from 03-b")
    del book.source["cells"][1]
    one(book.found(checks.same_bootstrap), "no bootstrap cell")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("run.card()", "run", "run card"), ("run.provenance()", "run", "provenance"),
    ("What to notice", "Results", "What to notice"), ("{exercise-start}", "{note}", "0 exercises"),
    ("{solution-start} e1", "{note}", "3 exercises and 2 solutions")])
def test_a_chapter_that_leaves_the_template(book, old, new, message):
    assert book.found(checks.template_followed) == []
    book.source = json.loads(json.dumps(book.source).replace(old, new))
    one(book.found(checks.template_followed), f"error: notebooks/{NAME}.ipynb", message)


def test_a_long_chapter_is_noted(book):
    book.source["cells"][1:1] = [text("More.")] * 40
    one(book.found(checks.template_followed), "note", "50 cells")


def spoil_count(page):
    page["cells"][4]["execution_count"] = 7


def spoil_unexecuted(page):
    page["cells"][4]["execution_count"] = None


def spoil_error(page):
    page["cells"][4]["outputs"] = [{"output_type": "error", "ename": "E", "evalue": "",
                                    "traceback": []}]


def spoil_traceback(page):
    page["cells"][4]["outputs"] = [{"output_type": "stream", "name": "stdout",
                                    "text": ["Traceback (most recent ", "call last):\n"]}]


def spoil_smoke(page):
    page["metadata"]["intriguing"]["profile"] = "smoke"


def spoil_memory(page):
    del page["metadata"]["intriguing"]


def spoil_papermill(page):
    page["metadata"]["papermill"] = {"exception": True}


@pytest.mark.parametrize(("spoil", "message"), [
    (spoil_count, "not in order"), (spoil_unexecuted, "not executed"), (spoil_error, "error"),
    (spoil_traceback, "error"), (spoil_smoke, "smoke run"), (spoil_memory, "remembers no run"),
    (spoil_papermill, "papermill says")])
def test_a_page_that_did_not_run_well(book, spoil, message):
    assert book.found(checks.executed_in_order) == []
    spoil(book.page)
    one(book.found(checks.executed_in_order), "error: book/chapters", message)


def test_a_stale_page_is_a_warning_and_an_error_when_strict(book):
    assert book.found(checks.fresh) == []
    book.source["cells"][3]["source"] = CODE + "\nmore()"
    one(book.found(checks.fresh), "warning", "stale: its code changed", "publish 02-lbfgs")
    assert {p.level for p in checks.run_checks()} == {"warning"}
    assert {p.level for p in checks.run_checks(strict=True)} == {"error"}


def test_changed_parameters_make_a_page_stale(book):
    book.write("notebooks/profiles/cpu.yml", f"{NAME}: {{n: 999}}")
    one(book.found(checks.fresh), "warning", "its parameters changed")


def test_changed_default_makes_a_page_stale(book):
    book.source["cells"][2]["source"] = book.source["cells"][2]["source"].replace("0.25", "0.5")
    one(book.found(checks.fresh), "warning", "its parameters changed")


def test_changed_library_and_prose_are_notes(book):
    book.page["metadata"]["intriguing"]["modules"]["intriguing.gone"] = "0" * 64
    one(book.found(checks.fresh), "note", "intriguing.gone")
    book.page = published_notebook(book.source)
    book.source["cells"][4]["source"] += " And read it."
    one(book.found(checks.fresh), "note", "prose changed")


def test_a_page_without_source_or_profile(book):
    book.page["metadata"]["intriguing"]["profile"] = "laptop"
    one(book.found(checks.fresh), "warning", "no profile laptop")
    book.write("book/chapters/09-gone.ipynb", published_notebook(book.source))
    assert any("09-gone" in p and "no source" in p for p in book.found(checks.fresh))


def test_figures_need_caption_and_alt_text(book):
    assert book.found(checks.figures_described) == []
    for nb, number in ((book.source, 3), (book.page, 4)):
        nb["cells"][number]["metadata"] = {"mystnb": {"figure": {"caption": "A histogram"}}}
    source, page = book.found(checks.figures_described)  # the source before anything is run
    one([source], "error", f"notebooks/{NAME}.ipynb, cell 4", "image.alt")
    one([page], "error", f"chapters/{NAME}.ipynb, cell 5", "image.alt")
    book.source["cells"][3]["metadata"] = DESCRIBED
    assert book.found(checks.figures_described) == [], "a caption added since counts: it is prose"


@pytest.mark.parametrize(("page", "message"), [
    ("![](a.png)\n", "without alt text"),
    ('<img src="a.png">\n', "without alt text"),
    ("```{figure} a.svg\n:name: f\n\nCaption\n```\n", "has no :alt:"),
    ("![A cat](a.png) `![](b.png)`\n", None),
    ('<img src="a.png" alt="A cat">\n', None),
    ("```{figure} a.svg\n:name: f\n:alt: A cat\n\nCaption\n```\n", None),
])
def test_pictures_of_pages_need_alt_text(book, page, message):
    book.write("book/index.md", page)
    found = book.found(checks.figures_described)
    one(found, "book/index.md", message) if message else None
    assert bool(found) == bool(message)


TYPED = [
    "We measure 0.0715.", "An error of 7.5 %.", "An error of 12%.", "12 per cent fail",
    "**12** % fail", "*12* per cent", "__12__ %", "_0.333_", "~~12~~%", "12 **%**", "**12 %**",
    "12  %", "<b>12</b> %", "[12](a.md) %", "12&nbsp;%", "| **12** % |",
    "It is 2.5x faster", "about 1.5e-3", "-0.5 at most", "| a | 0.333 |", "1,234.5 images",
    "```{note}\nIt is 0.333.\n```", ":::{tip} Of 0.333\n:::",
    "```{note}\n---\nwidth: 0.2\n---\nOf 0.333\n```", "a\n\n---\n\nb 0.333\n\n---\n",
    "a $x$ b 0.333 c $y$", "12\\% fail", "12&nbsp;% fail", "one of\n[ 0.062, 0.333]: all",
    "\\(0.333\\) is no maths", "a[^n]\n\n[^n]: Of 0.333", "\\`0.333\\` is no code",
    "Term\n: Of 0.333", "[of 0.333](a.html)", "![of 0.333](a.png)", "<b>0.333</b>",
    "````{note}\n```{tip}\n0.333\n```\n````", "~~~{exercise} Of `x`\n:label: a\n0.333\n~~~",
]
NOT_TYPED = [
    "The paper: 0.062.", "The paper: 6.2%.", "eps = 0.25", "A 95% interval", "in 1,000 images",
    "$x = 0.333$ and $$y = 0.333$$", "`0.333` and ``a ` 0.333``", "{cite:p}`key0.5`",
    "```python\nx = 0.333\n```", "```{math}\n0.333\n```", "```{figure} f0.5.svg\n:width: 0.5\n```",
    "```{code-cell}\n0.333\n```", "[a](b/0.333.html)", "<https://a.b/0.333>", "https://a.b/0.333",
    "arXiv:1312.6199", "arXiv 1312.6199", "Python 3.11, torch 2.13.0, PyTorch >= 2.6", "CC BY 4.0",
    "Section 4.1, Table 2.1, eq. (3.2)", "% comment 0.333", "<!-- 0.333 -->", "on 2026-11-21",
    "\\begin{align}0.333\\end{align}", "[x]: http://a/0.333", '<img width="0.5">',
    "A norm of 2.8. <!-- not measured: 2.8 (definition) -->", "version 1.0.4", "v1.2",
    "cost\n$$\n0.333\n$$\n", "    x = 0.333", "---\na: 0.333\n---\n", "$ 0.333 $",
    "(a-0.333)=\n# T", "+++ {\"a\": 0.333}", '![A cat](a.png){width="50%"}', '[a]{b="0.333"}',
    "[a][0.333]\n\n[0.333]: b.html", "[a](b.html \"of 0.333\")", "![$0.333$](a.png)",
    "````{note}\n```python\n0.333\n```\n````", "- a\n  ```python\n  0.333\n  ```",
    "```{note}\n---\nwidth: 0.333\n---\nText\n```",
]


@pytest.mark.parametrize("words", TYPED)
def test_a_number_typed_into_prose(words):
    assert len(prose.typed(words, [0.062, 0.25])) == 1


@pytest.mark.parametrize("words", NOT_TYPED)
def test_a_number_that_is_no_result(words):
    assert prose.typed(words, [0.062, 0.25]) == []


@pytest.mark.parametrize("words", [
    "a\n```python\n1.5\n```\n\nb 0.333\n", "a `b\nc` {d}`e\nf` $g\nh$\n\n> 0.333",
    "- a\n- b [c](d\n \"e\") $f\ng$ <b\nc=1>\n  0.333",
    ":::{note} T\n:class: a\n\n- z `a\n  b`\n  0.333",
    "```{note}\n---\na: b\n---\nc\n0.333\n```", "````{a}\n:c: d\n```{b}\n:c: d\n\n0.333\n```\n````",
    "T\n===\n\n| a |\n|---|\n| 0.333 |", "<div>\n<!--\n\n-->\n\n0.333",
])
def test_line_numbers_of_typed_numbers(words):
    assert prose.typed(words, []) == [(6, "0.333")]


def test_a_directive_that_readers_would_see_as_it_stands(book):
    words = "# Index\n\n{mark}{{csv-table}} In units of `strength`\n:file: a.csv\n{mark}\n"
    for mark in (":::", "~~~"):
        book.write("book/index.md", words.format(mark=mark))
        assert book.found(checks.directives_read) == []
    book.write("book/index.md", words.format(mark="```"))
    one(book.found(checks.directives_read), "error: book/index.md, line 3", "{csv-table}")


def test_numbers_in_pages_chapters_templates_and_captions(book):
    assert book.found(checks.numbers_from_records) == []
    book.write("book/index.md", "# Index\n\nWe get 0.0715.\n")
    one(book.found(checks.numbers_from_records), "book/index.md, line 3", "'0.0715'")
    book.write("book/index.md", "# Index\n")
    book.source["cells"][4]["source"] = "We get 7.5 %."
    one(book.found(checks.numbers_from_records), f"{NAME}.ipynb, cell 5, line 1", "'7.5 %'")
    book.source = source_notebook()
    book.source["cells"][3]["source"] = 'run.markdown(f"{{distortion:.3f}} by {eps} and 0.0715")'
    one(book.found(checks.numbers_from_records), f"{NAME}.ipynb, cell 4", "'0.0715'")
    book.source["cells"][3]["source"] = 'run.markdown("{distortion:.3f} beside the paper 0.062")'
    book.source["cells"][3]["metadata"] = {"mystnb": {"figure": {"caption": "Mean 0.0715"}}}
    one(book.found(checks.numbers_from_records), f"{NAME}.ipynb, cell 4", "'0.0715'")


def test_a_remembered_paper_value_is_no_excuse(book):
    book.claim |= {"test": {"kind": "less", "than": 1}, "paper": 0.777}
    book.claim["source"]["tag"] = "M"
    book.write("book/index.md", "The paper reports 0.777.")
    found = book.found(checks.numbers_from_records)
    assert any("index.md" in p and "'0.777'" in p for p in found)


@pytest.mark.parametrize(("change", "message"), [
    ({"record": "distortions"}, "did you mean distortion"),
    ({"unit": "per cent"}, "its unit is"),
    ({"paper": 0.1}, "paper's value is 0.1 here and 0.062"),
    ({"source": {**CLAIM["source"], "cite": "szegedy2013"}}, "references.bib has no"),
])
def test_claims_that_rest_on_nothing(book, change, message):
    assert book.found(checks.claims_measured) == []
    book.claim |= change
    one(book.found(checks.claims_measured), f"error: book/claims/{NAME}.yml, distortion", message)


def test_a_claim_on_a_number_without_interval(book):
    book.record |= {"low": None, "high": None}
    one(book.found(checks.claims_measured), "no interval")
    book.claim["profiles"] = ["paper"]
    assert book.found(checks.claims_measured) == [], "not yet run at a profile that decides"


@pytest.mark.parametrize("missing", ["errors.csv", "hist.svg", "record.json"])
def test_missing_results(book, missing):
    assert book.found(checks.results_present) == []
    book.save()
    (book.root / f"book/results/{NAME}/{missing}").unlink()
    found = [str(p) for p in checks.results_present(load())]
    assert found and all(missing in p for p in found)


def test_results_of_another_run_or_of_no_page(book):
    book.head["profile"] = "gpu"
    one(book.found(checks.results_present), "profile is 'gpu'", "'cpu'")
    book.head = HEAD | {"modified": True}
    one(book.found(checks.results_present), "modified is True")
    book.head = dict(HEAD)
    book.write("book/results/07-gone/record.json", {**HEAD, "records": []})
    one(book.found(checks.results_present), "07-gone", "without a published page")


def test_a_page_that_refers_to_a_missing_file(book):
    book.write("book/index.md", f"![Alt](results/{NAME}/hist.*) and results/{NAME}/gone.csv\n")
    one(book.found(checks.results_present), "book/index.md", "gone.csv")


def test_a_scorecard_that_is_out_of_date(book):
    assert book.found(checks.scorecard_current) == []
    book.write("book/scorecard.md",
               claims.scorecard_markdown(claims.load(), book.root / "book/results"))
    assert checks.run_checks() == []
    book.record["value"] = 0.063
    one(book.found(checks.scorecard_current), "error: book/scorecard.md", "differs")


def test_the_table_of_contents_and_the_pages(book):
    assert book.found(checks.contents_match) == []
    book.write("book/extra.md", "# Extra\n")
    one(book.found(checks.contents_match), "does not list book/extra")
    (book.root / "book/extra.md").rename(book.root / "elsewhere.md")
    book.write("_toc.yml", "root: book/index\nchapters:\n- file: book/gone\n")
    found = book.found(checks.contents_match)
    assert len(found) == 2 and "lists book/gone, which is not there" in found[0]
    assert f"does not list book/chapters/{NAME}" in found[1]
    book.write("_toc.yml", "{ [")
    one(book.found(checks.contents_match), "cannot be read")


def test_a_chapter_that_is_not_published_yet(book):
    (book.root / f"book/chapters/{NAME}.ipynb").unlink()
    one([str(p) for p in checks.contents_match(load())], "warning", "not published")
    book.write("_toc.yml", "root: book/index\n")
    one([str(p) for p in checks.contents_match(load())], "note", "not published yet")


PAGE = ('<html><head><link rel="stylesheet" href="_static/a.css?v=1"><script src="a.js"></script>'
        '<link rel="canonical" href="https://a.b/"></head><body id="top-of-page">'
        '<a href="sub/b.html#here">b</a> <a href="#top-of-page">up</a> <a href="sub/">b</a>'
        '<a href="https://elsewhere.org/x">out</a> <a href="mailto:a@b.c">m</a> <a href="#">t</a>'
        '<img src="data:image/png;base64,AA"><img src="_static/p%20q.png"></body></html>')


@pytest.fixture
def html(tmp_path):
    for name, content in {"index.html": PAGE, "a.js": "", "_static/a.css": "b{}",
                          "_static/p q.png": "", "sub/index.html": "<a href='../'>up</a>",
                          "sub/b.html": "<h2 id='here'>x</h2><a name=there></a>"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_sound_html(html):
    assert checks.html_links(html) == []


@pytest.mark.parametrize(("old", "new", "message"), [
    ("sub/b.html#here", "sub/c.html", "sub/c.html, which is not there"),
    ("sub/b.html#here", "sub/b.html#gone", "an anchor that is not there"),
    ("#top-of-page", "#gone", "an anchor that is not there"),
    ("sub/b.html#here", "../outside.html", "which is not there"),
    ("sub/b.html#here", "/sub/b.html", "from the root of the host"),
    ("p%20q.png", "gone.png", "gone.png, which is not there"),
    ('src="a.js"', 'src="https://cdn.org/a.js"', "https://cdn.org/a.js from another host"),
    ('src="a.js"', 'src="//cdn.org/a.js"', "from another host"),
    ("_static/a.css?v=1", "https://cdn.org/a.css", "from another host"),
])
def test_dead_links_and_outside_files(html, old, new, message):
    (html / "index.html").write_text(PAGE.replace(old, new, 1))
    (problem,) = checks.html_links(html)
    assert problem.level == "error" and problem.where == "index.html, line 1"
    assert message in problem.what


OUTSIDE = "https://cdn.org/x"


@pytest.mark.parametrize("piece", [
    f"<img src='a.js' srcset='a.js 1x, {OUTSIDE} 2x'>", f"<video src='{OUTSIDE}'></video>",
    f"<video poster={OUTSIDE}></video>", f"<audio src='{OUTSIDE}'></audio>",
    f"<video><source src='{OUTSIDE}'><track src='a.js'></video>",
    f"<picture><source srcset='{OUTSIDE}'></picture>", f"<embed src='{OUTSIDE}'>",
    f"<object data='{OUTSIDE}'></object>", f"<iframe src='{OUTSIDE}'></iframe>",
    f"<iframe srcdoc='&lt;img src=&quot;{OUTSIDE}&quot;&gt;'></iframe>",
    f"<svg><image xlink:href='{OUTSIDE}'/></svg>", f"<svg><use href='{OUTSIDE}#a'/></svg>",
    f"<table background='{OUTSIDE}'></table>", f"<input type=image src='{OUTSIDE}'>",
    f"<p style='background: url({OUTSIDE})'>", f"<p style='a: url(&quot;{OUTSIDE}&quot;)'>",
    f"<style>@import '{OUTSIDE}';</style>", f"<style>a {{ b: url( '{OUTSIDE}' ) }}</style>",
    f"<script>fetch('{OUTSIDE}')</script>", f"<script>fetch(`{OUTSIDE}`)</script>",
    f"<script type=module>import a from '{OUTSIDE}'</script>",
    f"<script>import('{OUTSIDE}')</script>", f"<script>r.open('GET', '{OUTSIDE}')</script>",
    f"<script>new WebSocket('{OUTSIDE.replace('https', 'wss')}')</script>",
    f"<script>\nnavigator.sendBeacon('{OUTSIDE}')</script>",
    f"<script>a.src = '{OUTSIDE}'</script>",
    f"<b onclick='fetch(&quot;{OUTSIDE}&quot;)'>x</b>", f"<link rel=icon href='{OUTSIDE}'>",
    f"<link rel=preconnect href='{OUTSIDE}'>", f"<link rel=prefetch href='{OUTSIDE}'>",
])
def test_every_way_to_load_from_another_host(html, piece):
    (html / "index.html").write_text(f"{PAGE}\n{piece}")
    (problem,) = checks.html_links(html)
    assert "cdn.org/x" in problem.what and "from another host" in problem.what
    assert problem.where in ("index.html, line 2", "index.html, line 3")


@pytest.mark.parametrize(("content", "told"), [
    ("0; url=https://cdn.org/", "leaves by itself for https://cdn.org/"),
    ("3", "leaves by itself for its own address"), ("5;URL='gone.html'", "gone.html, which is not"),
    ("0; url=sub/b.html", ""),
])
def test_a_page_that_leaves_by_itself(html, content, told):
    (html / "index.html").write_text(
        PAGE.replace("<head>", f'<head><meta http-equiv="Refresh" content="{content}">'))
    problems = checks.html_links(html)
    assert [told in problem.what for problem in problems] == ([True] if told else [])


def test_scripts_and_styles_that_load_nothing(html):
    (html / "index.html").write_text(
        PAGE + "<script>// see https://a.b/c\nlet url = 'https://a.b'; fetch('a.js')</script>"
        "<style>a { b: url(#c); d: url('data:image/png;base64,//8A') }</style>"
        "<img srcset='data:image/png;base64,AA 1x'><pre>fetch('https://a.b')</pre>")
    assert checks.html_links(html) == []


def test_styles_that_import_from_another_host(html):
    (html / "_static/a.css").write_text("@import url('https://fonts.org/f.css');")
    (problem,) = checks.html_links(html)
    assert "fonts.org" in problem.what
    (html / "_static/a.css").write_text("a { b: url(//fonts.org/f.woff) }")
    (problem,) = checks.html_links(html)
    assert "fonts.org" in problem.what


def test_the_gates_import_neither_torch_nor_jupyter():
    program = ("import sys; from intriguing.book.gates import checks; "
               "print([m for m in ('torch', 'nbformat', 'jupyter_core', 'pandas', 'matplotlib')"
               " if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("change", "what"), [
    (lambda folder: (folder / "errors.csv").write_text("y"), "errors.csv is not what the run"),
    (lambda folder: (folder / "hist.svg").unlink(), "hist.svg is gone"),
    (lambda folder: (folder / "more.csv").touch(), "more.csv is of no run of this page"),
    (lambda folder: (folder / "record.json").write_text(
        (folder / "record.json").read_text().replace("0.0621", "0.0521")),
     "record.json is not what the run wrote"),
    (lambda folder: folder.rename(folder.with_name(f".{NAME}.old-01234567")), "killed command"),
])
def test_results_are_those_of_the_run_that_the_page_shows(book, change, what):
    book.save()
    change(book.root / "book" / "results" / NAME)
    found = [p for p in checks.run_checks() if what in p.what]
    assert found and {p.level for p in found} == {"error"}


def test_a_page_without_checksums_is_an_error(book):
    book.sealed = False
    del book.page["metadata"]["intriguing"]["results"]
    (told,) = book.found(checks.results_of_the_run)
    assert "holds no checksums" in told and f"intriguing publish {NAME} --profile cpu" in told


@pytest.mark.parametrize(("change", "what"), [
    ({"value": float("nan")}, "has the value nan"), ({"high": float("inf")}, "has the high inf"),
    ({"low": 0.07}, "from 0.07 down to 0.064"), ({"n": -3}, "n = -3"), ({"n": 2.5}, "n = 2.5"),
    ({"n": 0}, "n = 0"), ({"high": None}, "one end"), ({"paper": float("nan")}, "the paper nan"),
])
def test_published_numbers_make_sense(book, change, what):
    book.record |= change
    (told,) = book.found(checks.numbers_of_sense)
    assert "'distortion'" in told and what in told


def test_a_stray_notebook_is_a_warning_and_nothing_else(book):
    book.write("notebooks/Untitled.ipynb", {"cells": []})
    book.write(f"notebooks/{NAME}-Copy1.ipynb", "{")
    found = checks.run_checks()
    assert [(p.level, p.where) for p in found] == [
        ("warning", f"notebooks/{NAME}-Copy1.ipynb"), ("warning", "notebooks/Untitled.ipynb")]
    assert all("no profile names it" in p.what for p in found)


@pytest.mark.parametrize("name", ["03 more", "03-l'attaque", "03-a_b", "03-a;b", "03-", "03-a.b"])
def test_names_that_a_shell_or_a_link_would_read_otherwise(book, name):
    book.write(f"notebooks/{name}.ipynb", source_notebook())
    book.write("notebooks/profiles/smoke.yml", yaml.safe_dump({NAME: {}, name: {}}))
    one(book.found(checks.plain_names), "error", f"notebooks/{name}.ipynb", "rename it")
