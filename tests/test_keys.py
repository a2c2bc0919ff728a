"""Keys of networks, and first losses of trainings, do not move: see `pins`."""

import json
from dataclasses import replace

import pins
import pytest

from intriguing import chapters
from intriguing.chapters import networks

PINNED = json.loads(pins.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("profile", sorted(PINNED["declared"]))
def test_no_key_of_a_declared_network_moves(profile):
    now, then = pins.declared()[profile], PINNED["declared"][profile]
    moved = sorted(label for key, label in then.items() if key not in now)
    assert not moved, f"{len(moved)} keys moved: raise the method's version, then run pins.py"
    assert now == then  # also in number, and in what people read


def test_published_networks_have_the_keys_that_their_records_name():
    named = set()
    for chapter, head in pins.published():
        settings = chapters.resolve(chapters.find(chapter), head["profile"])
        specs = networks.declared(settings, resolved=False)
        for name in head["checkpoints"]:
            images = PINNED["published"][name]
            assert name in {f"{s.label} ({replace(s, data_sha256=images).key[:12]})" for s in specs}
            named.add(name)
    assert named == set(PINNED["published"])


@pytest.mark.parametrize("name", sorted(PINNED["traces"]))
def test_a_training_begins_with_the_same_losses(name):
    assert pins.trace(name) == pytest.approx(PINNED["traces"][name], rel=2e-4)
