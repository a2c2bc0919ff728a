"""Sidecars of networks: a changed digit is seen, old ones stay usable, none stops the list."""

import json
import os
import resource

import pytest

from intriguing import store, zoo
from intriguing.cli import main
from intriguing.errors import UserError
from intriguing.store import inventory, sidecar

SPEC = zoo.szegedy("FC10(1e-2)", "mnist-5k", n=200, iterations=2)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """Every test has an empty store."""
    monkeypatch.setenv("INTRIGUING_ZOO", str(tmp_path / "zoo"))
    return tmp_path / "zoo"


def changed(key, /, **entries):
    """Write other entries into a sidecar by hand; None takes one out."""
    file = store.path(key, ".json")
    record = json.loads(file.read_text(encoding="utf-8")) | entries
    record = {name: value for name, value in record.items() if value != "out"}
    file.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    return record


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The files of one trained network, by name; many tests harm a copy of them."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTRIGUING_ZOO", str(folder))
        key = zoo.get(SPEC, device="cpu").zoo_info["key"]
    return {key + end: (folder / (key + end)).read_bytes() for end in (".safetensors", ".json")}


@pytest.fixture
def key(trained, own_store):
    """The key of a network that is in the store of this test."""
    own_store.mkdir()
    for name, content in trained.items():
        (own_store / name).write_bytes(content)
    return min(trained).partition(".")[0]


def test_a_changed_digit_of_an_error_is_found_before_it_reaches_a_record(key):
    spec, wrong = SPEC, 0.0123
    before = zoo.info(spec)
    changed(key, test_error=wrong)
    (row,) = zoo.verify()
    assert row["state"] == "damaged" and "does not match its checksum" in row["detail"]
    assert zoo.info(spec) is None
    with pytest.warns(UserWarning, match="checksum.*training it again"):
        assert zoo.get(spec, device="cpu").zoo_info["test_error"] == before["test_error"] != wrong


def test_the_key_is_the_hash_of_the_spec_in_the_sidecar(key):
    spec = zoo.resolve(SPEC)
    assert sidecar.digest(spec.canonical()) == spec.key == key


@pytest.mark.parametrize(("entries", "why"), [
    ({"spec": {"architecture": "fc10"}}, "tells of another network"),
    ({"key": "0" * 64}, "tells of another network"),
    ({"test_error": "out"}, "lacks test_error"),
    ({"environment": "out", "label": "out"}, "lacks label, environment"),
    ({"test_error": 1.5}, "wrong test_error: 1.5"),
    ({"test_error": float("nan")}, "not readable"),
    ({"seconds": None}, "wrong seconds: None"),
    ({"bytes": True}, "wrong bytes"),
    ({"environment": []}, "wrong environment"),
    ({"label": {"a": 1}}, "wrong label"),
])  # fmt: skip
@pytest.mark.parametrize("seal", ["as it was", "out", "made anew"])
def test_sidecars_that_are_wrong(key, entries, why, seal):
    """With an old seal the checksum tells, without one or with a new one key and fields do."""
    record = changed(key, **entries)
    if seal == "out":
        changed(key, **{sidecar.SEAL: "out"})
    elif seal == "made anew":
        changed(key, **sidecar.sealed(record))
    (row,) = zoo.verify()
    found = "does not match its checksum" if seal == "as it was" and "readable" not in why else why
    assert row["state"] == "damaged" and found in row["detail"]
    (row,) = zoo.list()
    assert row["key"] == key and found in row["damage"] and "trained again" in row["damage"]


@pytest.mark.parametrize("content", [
    b"", b"[]", b"null", b"3", b'"text"', b"{}", b"{", b"\xff\xfe", b'{"label": "caf\xe9"}',
    b"[" * 100_000, b'{"key": NaN}',
])  # fmt: skip
def test_no_sidecar_makes_the_list_fall(key, own_store, content, capsys):
    other = own_store / "abc.json"
    other.write_bytes(content)
    rows = zoo.list()
    assert [row["key"] for row in rows] == [key, "abc"]
    assert rows[0]["damage"] == "" and rows[0]["test_error"] is not None
    assert "sidecar of abc" in rows[1]["damage"] and rows[1]["test_error"] is None
    assert main(["zoo", "list"]) == 0
    told = capsys.readouterr().out
    assert key[:12] in told and "damaged: the sidecar of abc" in told
    assert main(["zoo", "verify"]) == 1


def test_a_folder_for_a_sidecar(key):
    store.path(key, ".json").unlink()
    store.path(key, ".json").mkdir()
    (row,) = zoo.list()
    assert "Is a directory" in row["damage"]
    with pytest.raises(UserError, match="Is a directory"):
        zoo.get(SPEC, device="cpu")


def test_a_sidecar_without_a_checksum_is_read_told_and_completed(key, capsys):
    """Networks from before the checksum stay usable, and `zoo verify` gives them one, once."""
    file, spec = store.path(key, ".json"), SPEC
    changed(key, **{sidecar.SEAL: "out", "parents": "out", "base": None})  # as in November 2026
    os.utime(file, (1000, 1000))
    weights = zoo.get(spec, device="cpu").zoo_info["sha256"]  # without a warning: warnings raise
    assert main(["zoo", "verify"]) == 0
    assert "its sidecar had no checksum: it has one from today" in capsys.readouterr().out
    assert file.stat().st_mtime == 1000  # else the workflow would run its chapters again
    (row,) = zoo.verify()
    assert row == {"key": key, "label": spec.label, "state": "ok", "detail": ""}
    assert zoo.info(spec)["sha256"] == weights
    changed(key, loss=0.5)
    assert zoo.verify()[0]["state"] == "damaged"


def test_a_sidecar_in_use_gets_its_checksum_another_time(key):
    changed(key, **{sidecar.SEAL: "out"})
    with store.locked(key):
        assert "another process uses it" in inventory.verify()[0]["detail"]
    assert "from today" in inventory.verify()[0]["detail"]


@pytest.mark.parametrize(("size", "file"), [(0, ".partial"), (2000, ".safetensors")])
def test_a_full_disk_is_a_sentence(own_store, size, file):
    """The limit of a file's size is where a disk is full: safetensors has an error of its own."""
    every = 0 if file == ".partial" else 1000
    spec = zoo.resolve(SPEC)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(UserError, match="cannot be written in .*MB are free") as caught:
            zoo.get(spec, device="cpu", save_every=every)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{spec.key}{file}" in str(caught.value)
    assert {path.suffix for path in own_store.iterdir()} == {".lock"}
    assert zoo.get(spec, device="cpu").zoo_info["key"] == spec.key
