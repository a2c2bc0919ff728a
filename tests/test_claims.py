"""Claims: strict reading, verdicts, and the scorecard page."""

import copy
import json

import pytest
import yaml

from intriguing import chapters
from intriguing.book import claims
from intriguing.errors import UserError
from intriguing.records import Record

ENTRY = {
    "id": "table1-fc10-distortion",
    "source": {"cite": "szegedy2014intriguing", "where": "Table 1", "tag": "S+M"},
    "statement": "The average minimum distortion of FC10(1e-4) is small.",
    "paper": 0.062,
    "unit": "RMS distortion",
    "record": "distortion/FC10(1e-4)",
    "test": {"kind": "equal", "margin": 0.006},
    "profiles": ["cpu", "gpu"],
}


def entry(**changed):
    result = copy.deepcopy(ENTRY)
    for key, value in changed.items():
        if isinstance(value, dict) and key == "source":
            result[key] |= value
        elif value is ...:
            del result[key]
        else:
            result[key] = value
    return result


@pytest.fixture(autouse=True)
def two_chapters(tmp_path, monkeypatch):
    """A book with the sources of two chapters, and the folder of its claims."""
    monkeypatch.setenv("INTRIGUING_ROOT", str(tmp_path))
    for folder in ("notebooks", "book/claims"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("02-lbfgs", "03-later"):
        (tmp_path / f"notebooks/{name}.ipynb").touch()


def write(tmp_path, *entries, chapter="02-lbfgs"):
    text = entries[0] if entries and isinstance(entries[0], str) else yaml.safe_dump(list(entries))
    (tmp_path / f"book/claims/{chapter}.yml").write_text(text)


def load(tmp_path, *entries, **others):
    """The claims of chapter 02, and of another where `others` is later=[...]."""
    write(tmp_path, *entries)
    for chapter, listed in others.items():
        write(tmp_path, *listed, chapter=f"03-{chapter}")
    return claims.load()


def record(low, high, value=None, name="distortion/FC10(1e-4)"):
    value = (low + high) / 2 if value is None else value
    return Record(name, value, low, high, 1000, "RMS distortion", "BCa")


def test_a_list_of_claims_is_read(tmp_path):
    first, second = load(tmp_path, ENTRY, entry(
        id="direction", paper=None, test={"kind": "greater", "than": 0}))
    assert (first.paper, first.margin, first.kind, first.profiles) == (
        0.062, 0.006, "equal", ("cpu", "gpu"))
    assert (second.paper, second.than, second.margin) == (None, 0.0, 0.0)
    assert (first.chapter, second.chapter) == ("02-lbfgs", "02-lbfgs")
    write(tmp_path, "")
    assert claims.load() == claims.load(tmp_path / "book/claims") == []


def test_a_key_given_twice_is_refused(tmp_path):
    write(tmp_path, entry(id="twice"))
    file = tmp_path / "book" / "claims" / "02-lbfgs.yml"
    file.write_text(file.read_text().replace("paper: 0.062", "paper: 0.062\n  paper: 0.1", 1))
    with pytest.raises(UserError, match="02-lbfgs.yml cannot be read: .*'paper' is given twice"):
        claims.load()


def test_claims_come_in_the_order_of_the_book_and_of_their_file(tmp_path):
    (tmp_path / "book/claims/README.md").write_text("not a list of claims")
    write(tmp_path, entry(id="a", record="x"), chapter="03-later")
    listed = load(tmp_path, entry(id="z"), entry(id="b"))
    assert [(c.chapter, c.id) for c in listed] == [
        ("02-lbfgs", "z"), ("02-lbfgs", "b"), ("03-later", "a")]


@pytest.mark.parametrize(("changed", "message"), [
    ({"colour": "red"}, "unknown key 'colour'"),
    ({"papers": 0.1}, "did you mean paper"),
    ({"chapter": "02-lbfgs"}, "unknown key 'chapter'"),
    ({"unit": ...}, "lacks unit"),
    ({"statement": ""}, "statement must be text"),
    ({"paper": "6.2e-2x"}, "paper must be a number"),
    ({"paper": True}, "paper must be a number"),
    ({"paper": None}, "needs the paper's value"),
    ({"test": {"kind": "equl", "margin": 0.1}}, "did you mean equal"),
    ({"test": {"kind": "equal"}}, "needs a margin"),
    ({"test": {"kind": "equal", "margin": -1}}, "negative"),
    ({"test": {"kind": "equal", "margin": "1e-3"}}, "YAML wants"),
    ({"test": {"kind": "equal", "margin": 1, "than": 0}}, "unknown key 'than'"),
    ({"test": {"kind": "greater"}}, "lacks than"),
    ({"test": {"kind": "within", "than": 0.0}}, "needs a margin"),
    ({"test": {"kind": "within", "margin": 0.1}}, "lacks than"),
    ({"test": "equal"}, "kind None"),
    ({"profiles": ["gpus"]}, "did you mean gpu"),
    ({"profiles": []}, "at least one"),
    ({"source": {"tag": "Q"}}, "not a source tag"),
    ({"source": {"tag": "M"}}, "from memory cannot be tested"),
    ({"source": {"page": 3}}, "unknown key 'page'"),
    ({"source": {"tag": "M"}, "test": {"kind": "less", "than": 1},
      "statement": "It is 0.062 here."}, "known from memory only"),
    ({"id": "Big Id"}, "lower-case"),
])
def test_each_mistake_names_the_claim(tmp_path, changed, message):
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, entry(**changed))
    assert "claims/02-lbfgs.yml: claim" in str(caught.value)
    assert changed.get("id", ENTRY["id"]) in str(caught.value)


def test_other_bad_files(tmp_path):
    with pytest.raises(UserError, match=r"^claims/02-lbfgs.yml: claim .*: the id is used twice$"):
        load(tmp_path, ENTRY, ENTRY)
    with pytest.raises(UserError, match=r"claims/03-later.yml: .* is used by chapter 02-lbfgs too"):
        load(tmp_path, ENTRY, later=[ENTRY])
    (tmp_path / "book/claims/03-later.yml").unlink()
    for text, message in (("a: 1", "must be a list"), ("- [", "cannot be read"),
                          ("- 3", "must be a mapping")):
        write(tmp_path, text)
        with pytest.raises(UserError, match=f"claims/02-lbfgs.yml.* {message}"):
            claims.load()
    write(tmp_path, ENTRY)
    write(tmp_path, ENTRY, chapter="02-lbfg")
    with pytest.raises(UserError, match=r"02-lbfg.yml: no chapter .* did you mean 02-lbfgs\?"):
        claims.load()
    with pytest.raises(UserError, match="is not there"):
        claims.load(tmp_path / "none")


def test_the_claims_of_this_book_are_read(monkeypatch):
    monkeypatch.delenv("INTRIGUING_ROOT")
    listed = claims.load()
    assert len({claim.chapter for claim in listed}) == len(chapters.names())
    assert len({claim.id for claim in listed}) == len(listed) > 140


@pytest.mark.parametrize(("test", "low", "high", "expected"), [
    ({"kind": "equal", "margin": 0.006}, 0.056, 0.068, "reproduced"),
    ({"kind": "equal", "margin": 0.006}, 0.060, 0.069, "partly"),
    ({"kind": "equal", "margin": 0.006}, 0.050, 0.080, "partly"),
    ({"kind": "equal", "margin": 0.006}, 0.0681, 0.080, "not reproduced"),
    ({"kind": "equal", "margin": 0.006}, 0.010, 0.0559, "not reproduced"),
    ({"kind": "within", "than": 0.0, "margin": 0.006}, -0.006, 0.006, "reproduced"),
    ({"kind": "within", "than": 0.0, "margin": 0.006}, 0.001, 0.002, "reproduced"),
    ({"kind": "within", "than": 0.0, "margin": 0.006}, -0.007, 0.001, "partly"),
    ({"kind": "within", "than": 0.0, "margin": 0.006}, 0.0061, 0.008, "not reproduced"),
    ({"kind": "within", "than": 0.1, "margin": 0.006}, 0.095, 0.105, "reproduced"),
    ({"kind": "greater", "than": 0.0}, 0.01, 0.02, "reproduced"),
    ({"kind": "greater", "than": 0.0}, -0.01, 0.02, "partly"),
    ({"kind": "greater", "than": 0.0}, -0.01, 0.0, "not reproduced"),
    ({"kind": "greater", "than": 0.0, "margin": 0.05}, 0.01, 0.02, "not reproduced"),
    ({"kind": "less", "than": 0.1}, 0.01, 0.02, "reproduced"),
    ({"kind": "less", "than": 0.1}, 0.05, 0.15, "partly"),
    ({"kind": "less", "than": 0.1}, 0.1, 0.15, "not reproduced"),
    ({"kind": "less", "than": 0.1, "margin": 0.05}, 0.06, 0.09, "not reproduced"),
])
def test_verdicts(tmp_path, test, low, high, expected):
    (claim,) = load(tmp_path, entry(test=test))
    assert claims.verdict(claim, record(low, high), "cpu") == expected
    assert claims.verdict(claim, record(low, high), "smoke") == "not tested at this profile"
    assert claims.verdict(claim, record(low, high), None) == "not tested at this profile"
    assert claims.verdict(claim, None, "cpu") == "not tested at this profile"
    bare = Record("a", 0.062, None, None, None, "u")
    assert claims.verdict(claim, bare, "cpu") == "not tested at this profile"


def write_record(root, *rows, profile="cpu", modified=False):
    (root / "02-lbfgs").mkdir(exist_ok=True)
    head = {"schema": 1, "chapter": "02-lbfgs", "profile": profile, "modified": modified,
            "parameters": {}, "seeds": [0], "started": "2026-01-01T00:00:00Z", "seconds": 1.0,
            "training_seconds": 0.0, "device": "cpu", "versions": {}, "commit": None,
            "dirty": None, "checkpoints": {}}
    head["records"] = [vars(row) for row in rows]
    (root / "02-lbfgs/record.json").write_text(json.dumps(head))


def test_the_scorecard_shows_each_claim_and_counts_verdicts(tmp_path):
    listed = load(
        tmp_path, ENTRY,
        entry(id="b", record="b", test={"kind": "less", "than": 0.1}, statement="B | is small."),
        entry(id="c", record="c", source={"tag": "M"}, paper=0.777, statement="C is large.",
              test={"kind": "greater", "than": 0.5}),
        entry(id="d", record="b", profiles=["paper"]),
        later=[entry(id="e", record="z")])
    write_record(tmp_path, record(0.060, 0.064), record(0.2, 0.3, name="b"),
                 record(0.4, 0.6, name="c"))
    page = claims.scorecard_markdown(listed, tmp_path)
    assert "3 claims tested: **1 reproduced**, **1 partly**, **1 not reproduced**; 2 more" in page
    assert ("| 0.0620 [0.0600, 0.0640] RMS distortion<br><small>n = 1000</small> |" in page
            and page.count("| **reproduced** |") == 1)
    assert "| 0.062 [S+M] |" in page and "{doc}`chapters/02-lbfgs`" in page
    assert "B \\| is small." in page and "less than 0.1" in page
    assert "0.777" not in page and "not available to us" in page
    first, later = page.split("### ")[1:]
    assert "{doc}`chapters/02-lbfgs`, run at the profile cpu." in first
    assert "`03-later`, not run." in later
    assert "| not tested |" in later and "| not measured |" in later
    found = page.split(claims.FINDINGS[0])[1].split(claims.FINDINGS[1])[0]
    assert "**Not reproduced:** B | is small. (paper 0.062, ours 0.250 [0.200, 0.300]" in found
    assert page == claims.scorecard_markdown(listed, tmp_path)
    for part, bars in ((found, 6), (page.replace(found, ""), 5)):  # each as wide as its head
        rows = [line for line in part.splitlines() if line.startswith("|")]
        assert rows and {line.replace("\\|", "").count("|") for line in rows} == {bars}


def test_a_changed_or_smoke_run_gives_no_verdict(tmp_path):
    listed = load(tmp_path, ENTRY)
    write_record(tmp_path, record(0.060, 0.064), modified=True)
    page = claims.scorecard_markdown(listed, tmp_path)
    assert "cpu, with changed parameters" in page and "| not tested |" in page
    assert "tests none" in page
    write_record(tmp_path, record(0.060, 0.064), profile="smoke")
    page = claims.scorecard_markdown(listed, tmp_path)
    assert "profile smoke" in page and "| not tested |" in page


def test_the_findings_fit_on_a_screen_and_hide_no_failure(tmp_path):
    good = [entry(id=f"good{i}", statement=f"G{i} holds.") for i in range(20)]
    bad = [entry(id=f"bad{i}", record="b", statement=f"B{i} fails.") for i in range(5)]
    write_record(tmp_path, record(0.060, 0.064), record(0.2, 0.3, name="b"))
    page = claims.scorecard_markdown(load(tmp_path, *good, *bad), tmp_path)
    found = page.split(claims.FINDINGS[0])[1].split(claims.FINDINGS[1])[0]
    assert found.count("- **Reproduced:** G") == 7 and "13 more claims" in found
    assert all(f"B{i} fails" in found for i in range(5))
    assert "| 20 | 0 | 5 | 0 |" in found


def test_more_failures_than_a_screen_are_counted_by_chapter(tmp_path):
    bad = [entry(id=f"bad{i}", record="b", statement=f"B{i} fails.") for i in range(13)]
    other = [entry(id="other", statement="Not run.")]
    write_record(tmp_path, record(0.060, 0.064), record(0.2, 0.3, name="b"))
    page = claims.scorecard_markdown(load(tmp_path, *bad, later=other), tmp_path)
    found = page.split(claims.FINDINGS[0])[1].split(claims.FINDINGS[1])[0]
    assert "B0 fails" not in found and "**13 not reproduced**" in found
    assert "| 0 | 0 | 13 | 0 |" in found and "| `03-later` | 0 | 0 | 0 | 1 |" in found
    assert page.count("fails.") == 13  # the scorecard's table names them all


def test_a_book_without_claims_has_a_page(tmp_path):
    page = claims.scorecard_markdown([], tmp_path)
    assert page.startswith("# Scorecard\n") and "No claim is listed yet" in page


@pytest.mark.parametrize("ending", [".yaml", ".YML", ".Yaml"])
def test_a_file_of_another_ending_is_refused_and_not_passed_over(tmp_path, ending):
    write(tmp_path, ENTRY)
    (tmp_path / "book/claims/README.md").write_text("words")
    assert len(claims.load()) == 1
    (tmp_path / f"book/claims/03-later{ending}").write_text(yaml.safe_dump([entry(id="b")]))
    with pytest.raises(UserError, match=f"claims/03-later{ending}: call it 03-later.yml"):
        claims.load()
