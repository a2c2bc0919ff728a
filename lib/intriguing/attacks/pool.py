"""Rows under attack at once: those that are done leave, and those that wait take their places.

Most images fall in the first few steps, and a few stand to the end.  So a pass costs only the rows
that still need it, and the passes stay full while any row waits.  What the attack keeps for its
rows is a `State`: tensors and balls with one entry a place in the pool, which are cut and joined
together.  No row's numbers depend on its neighbours, so neither does its answer.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from intriguing.attacks.balls import Ball

State = dict[str, Tensor | Ball]  # "rows": (S,) which image of the call a place holds


def work(
    rows: Tensor,
    size: int,
    admit: Callable[[Tensor], State],
    advance: Callable[[State], State | None],
) -> None:
    """Attack all rows, at most `size` at once.

    Parameters
    ----------
    rows : (M,) indices of images.
    admit : returns the state of some of them before their first step.
    advance : makes one step, and returns the state of those that go on; None where none does.
    """
    state: State | None = None
    waiting = rows
    while state is not None or len(waiting):
        free = size - (len(state["rows"]) if state is not None else 0)
        if len(waiting) and 2 * free >= size:  # joining copies the state: not for one free place
            new, waiting = admit(waiting[:free]), waiting[free:]
            state = new if state is None else _joined(state, new)
        state = advance(state)


def kept(state: State, keep: Tensor) -> State | None:
    """Return the state of the places of a mask (S,); the same object where all are kept."""
    if keep.all():
        return state
    places = keep.nonzero().squeeze(1)
    return {name: part[places] for name, part in state.items()} if len(places) else None


def _joined(state: State, new: State) -> State:
    """Return both states; what the new rows have not computed yet is not kept for the old."""

    def both(old, part):
        return torch.cat((old, part)) if isinstance(part, Tensor) else old.joined(part)

    return {name: both(state[name], part) for name, part in new.items()}
