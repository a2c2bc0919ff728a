"""The record of how the numbers were chosen: it can be read, run again, and is that of today."""

import csv
import importlib.util
import json
import re
from pathlib import Path

import pytest

from intriguing import specs, zoo
from intriguing.methods import method

FOLDER = Path(__file__).resolve().parents[1] / "tuning"
_place = importlib.util.spec_from_file_location("tuning_run", FOLDER / "run.py")
run = importlib.util.module_from_spec(_place)
_place.loader.exec_module(run)

FIRST = ["row", "network", "dataset", "split", "held_out", "seed", "options", "train_error",
         "held_out_error"]  # fmt: skip
ATTACKED = ["robust_share", "clean_share", "radius"]
LAST = ["seconds", "chosen", "note"]
ROBUST = ("madry", "trades", "fgsm", "fgsm_rs", "n_fgsm", "grad_align", "free")
NUMBER = re.compile(r"(\d+(\.\d+)?( to \d+(\.\d+)?)?)?")
ROWS = [(name, row) for name in run.methods() for row in run.read(name)]
REPEATABLE = [
    pytest.param(name, row, id=f"{name} {row['row']}") for name, row in ROWS if row["options"]
]


@pytest.mark.parametrize("name", run.methods())
def test_a_record_has_its_columns(name):
    rows = run.read(name)
    attacked = ATTACKED if name in ROBUST else []
    assert name in method.names() and rows
    for row in rows:
        assert list(row) == FIRST + attacked + LAST
        numbers = [row[each] for each in (*FIRST[7:], *attacked, "seconds")]
        assert all(map(NUMBER.fullmatch, numbers)), row
        assert row["chosen"] in ("", "yes") and not (row["chosen"] and not row["options"])
        assert row["note"].startswith("not repeatable: ") == (not row["options"])


def test_what_a_method_names_is_there():
    named = {
        file
        for name in method.names()
        for file in re.findall(r"tuning/(\w+\.\w+)", method.find(name).__doc__)
    }
    assert {f"{name}.csv" for name in run.methods()} <= named
    assert all((FOLDER / file).is_file() for file in named)


def flat(options):
    """Options without the settings inside that hold some of them."""
    found = {}
    for name, value in options.items():
        found |= flat(value) if isinstance(value, dict) else {name: value}
    return found


@pytest.mark.parametrize(("name", "row"), REPEATABLE)
def test_a_row_tells_its_options_in_full(name, row):
    told, one = json.loads(row["options"]), run.spec(name, row)
    assert dict(one.build) == told.pop("build", {})
    made = flat(specs.plain(one.options))  # less those at the defaults of the class
    assert made == {option: told.get(option) for option in made}
    if row["chosen"]:
        where = {"split": row["split"], "seed": int(row["seed"])}
        assert one == zoo.spec(name, row["network"], row["dataset"], **where)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one record, of a network that is trained in a moment."""
    options = {"epochs": 1, "batch": 30, "lr": 1e-3, "eps": 0.1, "step": 0.1, "steps": 1}
    row = {"network": "CNN", "dataset": "mnist-5k", "split": "train[:60]@0", "seed": 0,
           "held_out": "train[60:100]@0", "options": json.dumps(options), "radius": "0.1",
           "held_out_error": "55 to 60"}  # fmt: skip
    with (tmp_path / "madry.csv").open("w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIRST[1:] + ATTACKED + LAST, restval="")
        writer.writeheader()
        writer.writerows([row, {"note": "not repeatable: another loss"}])
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path / "zoo"))
    return tmp_path


def test_a_row_is_run_again(folder, capsys):
    before, out = (folder / "madry.csv").read_bytes(), folder / "again" / "madry.csv"
    for _ in range(2):  # trained, then from the zoo
        assert run.main(["madry", "--all", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"held_out_error  recorded 55 to 60     measured [\d.]+\n", shown)
    (found,) = csv.DictReader(out.open(encoding="utf-8"))
    assert found["row"] == "1" and found["held_out"] == "train[60:100]@0"
    assert 0 <= float(found["robust_share"]) <= float(found["clean_share"]) <= 1
    held = 100 * (1 - float(found["clean_share"]))  # all that are held out are attacked here
    assert float(found["held_out_error"]) == pytest.approx(held)
    assert (folder / "madry.csv").read_bytes() == before


def test_without_rows_it_lists_them(folder, capsys):
    assert run.main(["madry"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2 and "held_out_error 55 to 60" in shown[0] and "another" in shown[1]
    assert not (folder / "zoo").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["mardy"], "no record of 'mardy': did you mean madry?"),
    (["madry", "--row", "3"], "madry has rows 1 to 2, not 3"),
    (["madry", "--row", "1", "2"], "row 2 of madry cannot be run again: not repeatable: another"),
    (["madry", "--row", "1", "--out", "HERE/madry.csv"], "would stand among the records"),
])
def test_bad_input_is_one_sentence(folder, capsys, arguments, said):
    assert run.main([one.replace("HERE", str(folder)) for one in arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.err.count("\n") == 1 and not shown.out
    assert not (folder / "zoo").exists()
