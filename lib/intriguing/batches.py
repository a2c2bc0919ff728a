"""Functions of independent rows, applied a batch at a time; where memory runs out, in halves.

How many rows go through at once is a matter of memory: it must not change a result beyond the
rounding of another order of sums.  So where a GPU has no room for a batch, the batch is halved, a
`BatchHalved` warning says so, and the work goes on from where it was.  `records.start` listens to
these warnings, and the record of a chapter says what was halved.

A training is another matter, since half a minibatch is another step: see `whole`.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from intriguing.errors import UserError

Answer = TypeVar("Answer")


class BatchHalved(UserWarning):
    """Memory ran out with `before` rows at once, and the work goes on with `after`.

    what : what the rows are, in the plural.
    """

    def __init__(self, what: str, before: int, after: int) -> None:
        super().__init__(f"no memory for {before} {what} at once: going on with {after}")
        self.what, self.before, self.after = what, before, after


def ran_out(error: RuntimeError) -> bool:
    """Say whether it was memory that ran out: cuDNN and cuBLAS have words of their own for that."""
    words = "unable to find an engine", "ALLOC_FAILED"
    return isinstance(error, torch.OutOfMemoryError) or any(w in str(error) for w in words)


class Batch:
    """How many rows go through a function at once; once halved, it stays so.

    Parameters
    ----------
    size : rows at once, at least 1.
    what : what the rows are, in the plural.

    Raises ValueError for a size below 1.
    """

    def __init__(self, size: int, what: str = "images") -> None:
        if size < 1:
            raise ValueError(f"batch must be at least 1, not {size}")
        self.size, self.what = size, what

    def __repr__(self) -> str:
        return f"Batch({self.size}, {self.what!r})"

    def over(
        self, function: Callable[[slice], Answer], n: int, *, each: int = 1, halve: bool = True
    ) -> list[Answer]:
        """Return the answers of `function` to slices that cover 0 .. n - 1 in order.

        A slice that did not fit is asked again in parts.  So the answer to a row must not depend
        on its neighbours, nor on a generator: what is random is drawn before, or from a stream of
        the row's own, as in `attacks.transfer.draws`.

        Parameters
        ----------
        function : gets a slice; an empty one where n is 0.
        n : how many there are.
        each : rows that one of the n stands for, such as the images that share a mask.
        halve : False for a function whose memory is not given back when it returns, because it
            keeps a graph for gradients: then halves would not help.

        Raises
        ------
        torch.OutOfMemoryError : there is no room even for one.

        Warns
        -----
        BatchHalved : once for each halving.
        """
        found: list[Answer] = []
        start = 0
        while start < n or not found:
            part = slice(start, min(start + max(1, self.size // each), n))
            count = part.stop - part.start
            try:
                found.append(function(part))
            except RuntimeError as error:
                if not ran_out(error) or count <= 1 or not halve:
                    raise
            else:
                start = part.stop
                continue
            # not in the handler: the error holds the frames of the function, and these its tensors
            torch.cuda.empty_cache()
            self._halve(count * each, count // 2 * each)
        return found

    def fit(self, function: Callable[[int], Answer], n: int) -> Answer:
        """Return function(count) for the largest count that fits: `size`, or n, or less.

        Raises and warns as `over`.
        """
        while True:
            count = min(self.size, n)
            try:
                return function(count)
            except RuntimeError as error:
                if not ran_out(error) or count <= 1:
                    raise
            torch.cuda.empty_cache()
            self._halve(count, count // 2)

    def _halve(self, before: int, after: int) -> None:
        self.size = after
        # with no registry of its own to look into, no halving is taken for one already told
        warnings.warn_explicit(BatchHalved(self.what, before, after), None, __file__, 0)


def apply(
    function: Callable[..., Tensor], *rows: Tensor, batch: int | Batch, what: str = "images"
) -> Tensor:
    """Return `function(*rows)`, computed a batch at a time: (N, ...).

    Parameters
    ----------
    function : of tensors (B, ...) to (B, ...), row by row; see `Batch.over`.
    rows : tensors (N, ...), cut alike.
    batch : rows at once; a `Batch` is halved for its next use, too.
    what : what the rows are, in the plural.

    Raises and warns as `Batch.over`.
    """
    size = batch if isinstance(batch, Batch) else Batch(batch, what)
    parts = size.over(lambda part: function(*(tensor[part] for tensor in rows)), len(rows[0]))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@contextmanager
def whole(what: str) -> Iterator[None]:
    """Refuse to go on in halves inside, where they would change the result.

    Parameters
    ----------
    what : what is computed, for the message.

    Raises
    ------
    UserError : memory ran out inside.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", BatchHalved)
        try:
            yield
        except (RuntimeError, BatchHalved) as error:
            if not isinstance(error, BatchHalved) and not ran_out(error):
                raise
            raise UserError(
                f"{what}: the GPU has no memory left, and a training with smaller batches would "
                "be another one: use a GPU with more memory, or let fewer jobs share it "
                "(--gpu-memory), or train on the CPU (--device cpu)"
            ) from error
