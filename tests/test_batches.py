"""Batches that do not fit are halved, aloud, and the results are those of whole batches."""

import warnings

import pytest
import torch

from intriguing import batches
from intriguing.batches import Batch, BatchHalved
from intriguing.errors import UserError


class Room:
    """A row-wise function that runs out of memory beyond `limit` rows, and counts its rows."""

    def __init__(self, limit):
        self.limit, self.seen, self.failed = limit, [], 0

    def __call__(self, x, y=0.0):
        if len(x) > self.limit:
            self.failed += 1
            raise torch.OutOfMemoryError(f"{len(x)} rows")
        self.seen += x.flatten().tolist()
        return 2 * x + y


def halvings(call):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        result = call()
    assert all(issubclass(one.category, BatchHalved) for one in told)
    return result, [(one.message.before, one.message.after) for one in told]


@pytest.mark.parametrize(("limit", "expected"), [
    (100, []), (10, []), (9, [(10, 5)]), (3, [(10, 5), (5, 2)]), (1, [(10, 5), (5, 2), (2, 1)])])
def test_halves_give_what_whole_batches_give(limit, expected):
    x, y, room = torch.arange(23.0), torch.rand(23), Room(limit)
    result, told = halvings(lambda: batches.apply(room, x, y, batch=10))
    assert torch.equal(result, 2 * x + y)
    assert told == expected and room.failed == len(expected)
    assert room.seen == x.tolist(), "each row once, in order"


@pytest.mark.parametrize("words", [
    "GET was unable to find an engine to execute this computation",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"])
def test_libraries_of_the_gpu_have_their_own_words_for_it(words):
    def crowded(rows):
        if rows.stop - rows.start > 3:
            raise RuntimeError(words)
        return torch.arange(rows.start, rows.stop)

    parts, told = halvings(lambda: Batch(12).over(crowded, 12))
    assert torch.equal(torch.cat(parts), torch.arange(12)) and told == [(12, 6), (6, 3)]
    with pytest.raises(UserError, match="no memory left"), batches.whole("a training"):
        crowded(slice(0, 9))


def test_other_errors_are_no_want_of_memory():
    def broken(rows):
        raise RuntimeError("size mismatch")

    for call in (lambda: Batch(4).over(broken, 4), lambda: Batch(4).fit(broken, 4)):
        with pytest.raises(RuntimeError, match="size mismatch"), batches.whole("a training"):
            call()


def test_it_goes_on_from_where_it_was():
    x, asked = torch.arange(12.0), []

    def crowded_later(rows):
        asked.append((rows.start, rows.stop))
        if rows.start >= 4 and rows.stop - rows.start > 2:
            raise torch.OutOfMemoryError("later")
        return x[rows]

    parts, told = halvings(lambda: Batch(4).over(crowded_later, 12))
    assert torch.equal(torch.cat(parts), x) and told == [(4, 2)]
    assert asked == [(0, 4), (4, 8), (4, 6), (6, 8), (8, 10), (10, 12)]


def test_a_last_part_that_does_not_fit_is_halved_from_its_own_size():
    def crowded(rows):
        if rows.start >= 8 and rows.stop - rows.start > 1:
            raise torch.OutOfMemoryError("the end")
        return torch.zeros(rows.stop - rows.start)

    _, told = halvings(lambda: Batch(8).over(crowded, 11))
    assert told == [(3, 1)]


def test_equal_halvings_are_all_told():
    for _ in range(2):
        _, told = halvings(lambda: [batches.apply(Room(2), torch.zeros(4), batch=4)
                                    for _ in range(3)])
        assert told == [(4, 2)] * 3


def test_a_batch_stays_halved():
    size = Batch(8, "masks")
    _, told = halvings(lambda: [batches.apply(Room(2), torch.zeros(8), batch=size)
                                for _ in range(3)])
    assert told == [(8, 4), (4, 2)] and repr(size) == "Batch(2, 'masks')"


def test_each_of_few_may_stand_for_many():
    counts = []

    def crowded(part):
        counts.append(part.stop - part.start)
        if 10 * counts[-1] > 25:
            raise torch.OutOfMemoryError("images")

    size = Batch(64)
    _, told = halvings(lambda: size.over(crowded, 7, each=10))
    assert counts == [6, 3, 1, 1, 1, 1, 1, 1, 1] and told == [(60, 30), (30, 10)]
    _, told = halvings(lambda: size.over(lambda part: counts.append(0), 2, each=1000))
    assert counts[-2:] == [0, 0] and told == [], "one at a time is the least"


def test_without_room_for_one_the_error_is_the_original():
    with pytest.warns(BatchHalved), pytest.raises(torch.OutOfMemoryError, match="^1 rows$"):
        batches.apply(Room(0), torch.zeros(2), batch=2)
    room = Room(1)
    with pytest.raises(torch.OutOfMemoryError, match="^2 rows$"):
        Batch(2).over(lambda part: room(torch.zeros(2)[part]), 2, halve=False)
    assert room.failed == 1


def test_other_errors_pass():
    def broken(x):
        raise RuntimeError("no memory of that")

    with pytest.raises(RuntimeError, match="of that"):
        batches.apply(broken, torch.zeros(2), batch=2)
    with pytest.raises(ValueError, match="batch must be at least 1, not 0"):
        batches.apply(broken, torch.zeros(2), batch=0)


def test_no_rows_are_one_empty_batch():
    assert batches.apply(Room(1), torch.zeros(0, 3), batch=5).shape == (0, 3)


def test_the_tensors_of_a_failed_batch_are_gone_before_the_next():
    """An error keeps the frames it went through alive, and so the tensors in them."""
    alive = []

    class Large:
        def __init__(self):
            alive.append(self)

        def __del__(self):
            gone.append(True)

    gone = []

    def function(rows):
        if rows.stop - rows.start > 1:
            large = Large()
            alive.clear()
            raise torch.OutOfMemoryError(str(large))
        assert gone, "the failed batch still holds its memory"

    with pytest.warns(BatchHalved):
        Batch(2).over(function, 2)


def test_a_training_is_not_halved():
    for call in (lambda: batches.apply(Room(1), torch.zeros(2), batch=2),
                 lambda: Room(1)(torch.zeros(2))):
        with (pytest.raises(UserError, match="^CNN seed 0: .*--gpu-memory.*--device cpu"),
              batches.whole("CNN seed 0")):
            call()
    with batches.whole("CNN seed 0"):
        assert len(batches.apply(Room(2), torch.zeros(4), batch=2)) == 4


def test_what_stays_in_memory_is_made_as_large_as_fits():
    def state(count):
        if count > 5:
            raise torch.OutOfMemoryError(f"{count} rows")
        return count

    size = Batch(100)
    assert halvings(lambda: size.fit(state, 30)) == (3, [(30, 15), (15, 7), (7, 3)])
    assert halvings(lambda: size.fit(state, 30)) == (3, []) and size.fit(state, 2) == 2
    with pytest.warns(BatchHalved), pytest.raises(torch.OutOfMemoryError, match="never"):
        Batch(2).fit(lambda count: (_ for _ in ()).throw(torch.OutOfMemoryError("never")), 9)
