"""GPUs are shared out among real processes: never two on one, and none lost with its holder."""

import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

import intriguing
from intriguing import paths
from intriguing.cli import main
from intriguing.errors import UserError
from intriguing.machine import gpus, slots

LIB = str(Path(intriguing.__file__).resolve().parents[1])
JOB = """
import sys
from pathlib import Path
from intriguing.machine import slots

def say(line):
    print(line, flush=True)

folder, ids, memory = sys.argv[1:]
need = int(memory) or None
with slots.take(ids.split(","), memory_mb=need, folder=Path(folder), say=say) as gpu:
    say(f"took {gpu}")
    sys.stdin.readline()
say("left")
"""


class Job:
    """A process that takes a GPU, and gives it back when it gets a line."""

    def __init__(self, folder, ids, memory):
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(folder), ids, str(memory)],
            env={**os.environ, "PYTHONPATH": LIB, gpus.MEMORY: "16000"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def said(self):
        return self.process.stdout.readline().strip()

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture
def start(tmp_path):
    """Start jobs on GPUs of this test; what is left of them at the end is killed."""
    jobs = []

    def begin(ids, memory=0):
        jobs.append(Job(tmp_path / "slots", ids, memory))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.process.kill()
        job.process.communicate()


def test_four_jobs_take_turns_on_two_gpus(start):
    first = [start("0,1"), start("0,1")]
    assert sorted(job.said() for job in first) == ["took 0", "took 1"]
    second = [start("0,1"), start("0,1")]
    # the first of them looks for a free GPU, the other waits behind it
    assert [job.said() for job in second] == ["waiting for a GPU: no room on 0, 1"] * 2
    first[0].go_on()
    assert first[0].said() == "left"
    first[1].go_on()
    assert first[1].said() == "left"
    assert sorted(job.said() for job in second) == ["took 0", "took 1"]


def test_no_gpu_is_ever_held_twice(tmp_path):
    """Each holder writes a file that must not be there, and takes it away again.

    All begin together: started one after the other they may never meet, and all take the first.
    """
    program = """
import os, sys, time
from pathlib import Path
from intriguing.machine import slots
slots.POLL = 0.01
folder = Path(sys.argv[1])
(folder / f"ready-{os.getpid()}").touch()
while len(list(folder.glob("ready-*"))) < 4:
    time.sleep(0.001)
for _ in range(15):
    with slots.take(["0", "1"], folder=folder) as gpu:
        mark = os.open(folder / f"held-{gpu}", os.O_CREAT | os.O_EXCL)
        os.close(mark)
        time.sleep(0.02)
        os.unlink(folder / f"held-{gpu}")
    print(gpu)
"""
    jobs = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], text=True,
                             env={**os.environ, "PYTHONPATH": LIB}, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE) for _ in range(4)]
    ends = [job.communicate() for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 4, ends
    taken = "".join(out for out, _ in ends).split()
    assert len(taken) == 60 and set(taken) == {"0", "1"}


def test_a_killed_holder_frees_its_gpu(start):
    holder = start("0")
    assert holder.said() == "took 0"
    waiting = start("0")
    assert waiting.said().startswith("waiting")
    holder.process.kill()
    assert waiting.said() == "took 0"


def test_a_killed_waiter_holds_nobody_up(start):
    holder = start("0")
    assert holder.said() == "took 0"
    killed = start("0")
    assert killed.said().startswith("waiting")
    killed.process.kill()
    patient = start("0")
    assert patient.said().startswith("waiting")
    holder.go_on()
    assert patient.said() == "took 0"


def test_small_jobs_share_a_gpu_and_a_whole_one_waits_for_both(start):
    small = [start("0", memory=8000), start("0", memory=7000)]
    assert [job.said() for job in small] == ["took 0"] * 2
    whole = start("0")
    assert whole.said() == "waiting for a GPU: no room on 0"
    late = start("0", memory=1000)  # there would be room, but it is not its turn
    assert late.said() == "waiting for 1000 MB of a GPU: no room on 0"
    for job in small:
        job.go_on()
        assert job.said() == "left"
    assert whole.said() == "took 0"
    whole.go_on()
    assert late.said() == "took 0"


def test_jobs_of_other_gpus_are_not_held_up(start):
    first, second = start("0"), start("1")
    assert (first.said(), second.said()) == ("took 0", "took 1")
    assert start("0").said().startswith("waiting")
    second.go_on()
    assert start("1").said() == "took 1"


def test_the_emptiest_gpu_is_taken(start):
    assert [start("0,1", memory=4000).said() for _ in range(4)] == [
        "took 0", "took 1", "took 0", "took 1"]


def taken(tmp_path, ids, memory):
    with slots.take(ids, memory_mb=memory, folder=tmp_path) as gpu:
        locks = [slots._lock(tmp_path, gpu, str(share)) for share in range(slots.SHARES)]
        held = sum(not slots._locked(lock) for lock in locks)
        for lock in locks:
            lock.release()
    return gpu, held


@pytest.mark.parametrize(("memory", "gpu", "shares"), [
    (None, "0", 16), (1, "0", 1), (1000, "0", 1), (1001, "0", 2), (16000, "0", 16),
    (16001, "1", 7), (40000, "1", 16), (90000, "0", 16)])
def test_shares_cover_the_memory(tmp_path, monkeypatch, memory, gpu, shares):
    monkeypatch.delenv(gpus.MEMORY, raising=False)
    listed = [("0", "GPU-aa", 16000), ("1", "GPU-bb", 40000)]
    monkeypatch.setattr(gpus, "_listed", lambda: listed)
    assert taken(tmp_path, ["0", "1"], memory) == (gpu, shares)
    assert taken(tmp_path, ["GPU-aa", "GPU-b"], memory)[1] == shares


def test_a_gpu_of_unknown_memory_is_taken_whole(tmp_path, monkeypatch):
    monkeypatch.delenv(gpus.MEMORY, raising=False)
    monkeypatch.setattr(gpus, "_listed", lambda: [])
    assert taken(tmp_path, ["MIG-1/2"], 100) == ("MIG-1/2", slots.SHARES)
    monkeypatch.setenv(gpus.MEMORY, "1600")
    assert taken(tmp_path, ["MIG-1/2"], 100) == ("MIG-1/2", 1)


def test_bad_requests_are_named(tmp_path):
    with pytest.raises(ValueError, match="no GPU to take"), slots.take([], folder=tmp_path):
        pass
    with (pytest.raises(ValueError, match="at least 1, not 0"),
          slots.take([0], memory_mb=0, folder=tmp_path)):
        pass


# ---------------------------------------------------------------- a job of a build


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with two GPUs, as far as nvidia-smi can tell."""
    fake = tmp_path / "bin" / "nvidia-smi"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho '0, GPU-aa11, 16000'\necho '1, GPU-bb22, [N/A]'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("CUDA_VISIBLE_DEVICES", "INTRIGUING_DEVICE", gpus.GPUS, gpus.MEMORY):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INTRIGUING_SLOTS", str(tmp_path / "slots"))
    return monkeypatch


def test_a_job_sees_its_gpu_and_what_it_starts_takes_no_other(machine):
    machine.setenv(gpus.GPUS, "3, 5")
    said = []
    with slots.job(say=said.append) as gpu:
        assert gpu == "3" and os.environ["CUDA_VISIBLE_DEVICES"] == "3"
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        with slots.job() as second:
            assert second is None and os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert said == ["on GPU 3"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ and os.environ[gpus.GPUS] == "3, 5"


@pytest.mark.parametrize(("given", "device", "own"), [
    ("", None, ""), ("0", "cpu", ""), ("0", None, "cpu"), ("0", "auto", "mps")])
def test_nothing_happens_without_gpus_or_for_a_job_on_the_cpu(machine, given, device, own):
    machine.setenv(gpus.GPUS, given)
    machine.setenv("INTRIGUING_DEVICE", own)
    before = dict(os.environ)
    with slots.job(device=device) as gpu:
        assert gpu is None and dict(os.environ) == before
    assert not paths.slots_dir().exists()


def test_a_gpu_is_not_chosen_twice(machine):
    machine.setenv(gpus.GPUS, "0,1")
    with pytest.raises(UserError, match="cuda:1 asked for"), slots.job(device="cuda:1"):
        pass
    with slots.job(device="cuda:0") as gpu:
        assert gpu == "0"


@pytest.mark.parametrize("text", ["0,", "0;1", "cuda:0", "0 1", "-1"])
def test_a_list_that_is_none_is_named(machine, text):
    machine.setenv(gpus.GPUS, text)
    with pytest.raises(UserError, match="use ids as in 0,1,3"):
        slots.given()


# ---------------------------------------------------------------- what there is


def test_the_gpus_of_the_machine(machine):
    assert slots.visible(1) == ("0",) and slots.visible(2) == ("0", "1")
    assert slots.memory(["1", "GPU-aa", "0"]) == {"1": None, "GPU-aa": 16000, "0": 16000}
    machine.setenv(gpus.MEMORY, "80000")
    assert slots.memory(["1", "7"]) == {"1": 80000, "7": 80000}
    machine.setenv(gpus.MEMORY, "80 GB")
    with pytest.raises(UserError, match="as in 24000"):
        slots.memory(["1"])


@pytest.mark.parametrize(("text", "expected"), [
    ("1,0", ("1", "0")), ("1", ("1",)), ("GPU-bb22, 0", ("GPU-bb22", "0")), ("0,0", ("0",)),
    ("0,-1,1", ("0",)), ("1,7,0", ("1",)), ("MIG-GPU-aa/1/2", ("MIG-GPU-aa/1/2",))])
def test_cuda_visible_devices_is_honoured(machine, text, expected):
    machine.setenv("CUDA_VISIBLE_DEVICES", text)
    assert slots.visible(len(expected)) == expected
    with pytest.raises(UserError, match=f"leaves {len(expected)} "):
        slots.visible(len(expected) + 1)


def test_too_many_gpus_are_one_clear_sentence(machine):
    with pytest.raises(UserError) as error:
        slots.visible(3)
    assert str(error.value) == (
        "3 GPUs asked for, but this machine has 2 (0, 1): ask for at most 2")
    machine.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="leaves none: leave them out to use the CPU"):
        slots.visible(1)
    with pytest.raises(UserError, match="0 GPUs asked for"):
        slots.visible(0)


def test_a_machine_without_nvidia_smi_has_no_gpu(machine, tmp_path):
    machine.setattr(gpus.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    machine.setattr(gpus, "DRIVER", tmp_path / "driver")
    with pytest.raises(UserError, match="this machine has none"):
        slots.visible(1)
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "driver" / name).mkdir(parents=True)
    assert slots.visible(2) == ("0", "1")


def test_torch_is_not_imported():
    program = "import sys, intriguing.machine.slots; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": LIB})
    assert done.stdout.strip() == "False", done.stderr


# ---------------------------------------------------------------- the commands


@pytest.fixture
def commands(machine, tiny_book):
    """The commands `run` and `zoo train`, which only say which GPU they see; and their GPUs."""
    seen = []

    def look(*_, seat=nullcontext, **__):  # a chapter waits for its turn before it takes its GPU
        with seat():
            seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        return 0

    tiny_book.add("01-first", "x = n_images")
    machine.setattr("intriguing.book.run.runner.run", look)
    machine.setattr("intriguing.commands.stores._train", look)
    return lambda *words: (main([*words]), seen.pop() if seen else None)


@pytest.mark.parametrize("words", [["run", "01-first"], ["zoo", "train"]])
def test_the_commands_take_a_gpu_where_gpus_are_shared_out(machine, commands, words, capsys):
    assert commands(*words) == (0, None)
    machine.setenv(gpus.GPUS, "0,1")
    assert commands(*words) == (0, "0")
    with slots.take(["0"]):
        assert commands(*words) == (0, "1")
    assert "on GPU 1" in capsys.readouterr().err
    assert commands(*words, "--device", "cpu") == (0, None)
    machine.setenv(gpus.MEMORY, "16000")
    with slots.take(["0", "1"], memory_mb=1000):
        assert commands(*words, "--gpu-memory", "8000") == (0, "1"), "the emptier one"


def test_a_chapter_takes_a_whole_gpu_and_a_training_a_part(machine, commands):
    asked = []

    @contextmanager
    def job(memory_mb, **_):
        asked.append(memory_mb)
        yield None

    machine.setattr(slots, "job", job)
    for words in (["run", "01-first"], ["zoo", "train"], ["run", "01-first", "--gpu-memory", "7"]):
        assert commands(*words)[0] == 0
    assert asked == [None, slots.TRAINING_MB, 7]


def test_publishing_takes_a_gpu_too(machine, commands):
    machine.setattr("intriguing.book.run.publish.refuse", lambda *_, **__: None)
    machine.setenv(gpus.GPUS, "0,1")
    with slots.take(["0"]):
        assert commands("publish", "01-first", "--profile", "cpu") == (0, "1")


def test_no_memory_is_misuse(commands, capsys):
    assert commands("run", "01-first", "--gpu-memory", "0") == (2, None)
    assert "--gpu-memory" in capsys.readouterr().err
