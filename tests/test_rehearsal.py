"""On a device that is not the CPU nothing is left behind, and the numbers stay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import bookbuild
import pytest
import rehearsal
from torch.utils import backend_registration

if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this torch makes no devices in Python", allow_module_level=True)

CASES = Path(__file__).with_name("on_another_device.py")

QUICK = ("01", "06")  # the others launch up to a million kernels, and each is Python here


def test_the_library_computes_there():
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", CASES],
                          cwd=bookbuild.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", bookbuild.chapter_names())
def test_a_chapter_gives_the_same_numbers(name, tmp_path):
    if name[:2] not in QUICK and not os.environ.get("INTRIGUING_TEST_DEVICE"):
        pytest.skip("minutes: set INTRIGUING_TEST_DEVICE, or call make test-device")
    done, _ = bookbuild.run_chapter(name)  # on the CPU, and it fills the zoo
    assert done.returncode == 0, done.stdout + done.stderr
    rehearsed = subprocess.run(
        [sys.executable, rehearsal.__file__, name], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"INTRIGUING_ROOT": str(bookbuild.ROOT), "MPLBACKEND": "Agg",
                          "INTRIGUING_RESULTS": str(tmp_path / "results")})
    assert rehearsed.returncode == 0, rehearsed.stdout + rehearsed.stderr
    built = bookbuild.ROOT / "_build" / "smoke" / "book" / "results" / name / "record.json"
    wanted, found = (
        {(one["name"], what): one[what]
         for one in json.loads(path.read_text(encoding="utf-8"))["records"]
         for what in ("value", "low", "high") if one[what] is not None}
        for path in (built, *(tmp_path / "results").rglob("record.json")))
    assert wanted and set(found) == set(wanted)
    for key, value in wanted.items():  # memory lies elsewhere: a float32 loss shows it
        off = 2e-8 if "cross-entropy" in key[0] else 1e-12
        assert found[key] == pytest.approx(value, rel=off), key
