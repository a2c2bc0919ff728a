"""The Square attack: random windows, kept where they help, by the network's answers alone.

Andriushchenko et al. 2020 (ECCV, arXiv 1912.00049).  A query changes a square window of the best
point so far and is accepted where the margin falls; windows shrink with the number of the query.
It uses no gradient, so that it finds what networks hide that have none to follow.

As in the authors' code each image has its own windows and signs, and in Linf each query changes
something; other than there, windows reach the last row and column.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from intriguing.attacks import options, pool
from intriguing.attacks.balls import BALLS
from intriguing.attacks.climb import Climb, Look, fools
from intriguing.attacks.common import AttackResult, check_inputs
from intriguing.attacks.draws import Draws
from intriguing.attacks.pool import State
from intriguing.attacks.windows import L2Windows, LinfWindows

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries; then the share halves
WINDOWS = {"linf": LinfWindows, "l2": L2Windows}
AHEAD = {"cpu": 32, "cuda": 1024}  # images in a pass up to which a row asks several queries at once
PATIENCE = 20  # and one more at once each so many queries: the first ones are often accepted


def share(query: int, first: float = 0.8) -> float:
    """Return the share of the pixels that the window of a query, from 0, covers."""
    return first / 2 ** sum(query > bound for bound in HALVED_AFTER)


def sides(queries: int, first: float, norm: str, height: int, width: int) -> Tensor:
    """Return the sides (Q,) of the windows, int64: the root of the share of the pixels.

    At least 1, and at most the smaller side of the image; in L2 odd and at least 3, if it has room.
    """
    smaller = min(height, width)
    odd = smaller - 1 + smaller % 2

    def side(query: int) -> int:
        length = round((share(query, first) * height * width) ** 0.5)
        if norm == "linf":
            return min(max(length, 1), smaller)
        return min(max(length, 3) // 2 * 2 + 1, odd)

    return torch.tensor([side(query) for query in range(queries)])


def square(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 5000,
    first: float = 0.8,
    target: Tensor | None = None,
    seed: int = 0,
    batch: int | None = None,
    observe: Callable[[Look], None] | None = None,
) -> AttackResult:
    """Change random windows of each image until the network is fooled or the queries are spent.

    Parameters
    ----------
    model : pixels to logits, in eval mode; no gradient is asked for.
    x, y, eps, norm, target, batch : as for `pgd.pgd`.
    queries : windows tried at most, after the start.  As in the standard suite, 5,000.
    first : share of the pixels in the first window; .8 in the standard suite.
    seed : each image has its own numbers for each query.
    observe : called after each pass with the best points so far, see `climb.Look`; its `number`
        counts the windows tried, its `loss` is the margin of the other classes.

    Returns
    -------
    AttackResult.  x_adv is the first point that fools, or else that of the best margin.  A tie of
    two logits fools where argmax takes the other class.  `forwards` counts the start and the
    windows tried one after the other.  Where few rows stand, several windows of a row go through
    the network at once; those after the first that is accepted are thrown away, and not counted.

    Raises ValueError for bad input (see `check_inputs`) and impossible options.
    """
    check_inputs(model, x, y, target)
    options.positive(eps=eps)
    options.counts(queries=queries)
    options.choice(norm=(norm, BALLS))
    if not 0 < first <= 1:
        raise ValueError(f"first must be a share of the pixels in (0, 1], not {first}")
    climb = Climb(
        model, x, y, target, options.objective("margin", target is not None), stop=True, eot=1,
        batch=options.rows_at_once(batch, x), observe=observe,
    )  # fmt: skip
    table = sides(queries, first, norm, *x.shape[2:]).to(x.device)
    search = Search(climb, norm, eps, WINDOWS[norm](table, x.shape[1:]), queries, seed)
    climb.run(search.admit, search.advance)
    return climb.result("queries")


class Search:
    """The queries of all rows, for `pool.work`."""

    def __init__(
        self, climb: Climb, norm: str, eps: float, windows: LinfWindows | L2Windows, queries: int,
        seed: int,
    ) -> None:  # fmt: skip
        self.climb, self.ball, self.eps = climb, BALLS[norm], eps
        self.windows, self.queries = windows, queries
        self.draws = Draws(seed, climb.x)
        self.ahead = min(climb.batch.size, AHEAD.get(climb.x.device.type, 8))

    def admit(self, rows: Tensor) -> State:
        x = self.climb.x[rows]
        ball = self.ball(x, self.eps)
        at = self.windows.start(ball, self.draws.numbered(rows, torch.full_like(rows, -1)))
        gain, fooled, _ = self.asked(at, rows)
        self.climb.forwards[rows] += 1
        return {
            "rows": rows, "ball": ball, "at": at, "gain": gain, "fooled": fooled,
            "t": torch.zeros_like(rows),
        }  # fmt: skip

    def advance(self, state: State) -> State | None:
        """Ask the next queries of each row, and return the rows that still stand."""
        state = self.leave(state)
        if state is None:
            return None
        count, t = len(state["rows"]), state["t"]
        ahead, each = self.ahead // count, state
        if ahead > 1:
            ahead = min(ahead, 1 + int(t.min()) // PATIENCE)
            place = torch.arange(count, device=t.device).repeat_interleave(ahead)  # (S * ahead,)
            each = {name: part[place] for name, part in state.items()}
            t = each["t"] + torch.arange(ahead, device=t.device).repeat(count)
        number = t.clamp_max(self.queries - 1)
        draws = self.draws.numbered(each["rows"], number)
        points = self.windows.propose(each["ball"], each["at"], number, draws)
        gain, fooled, rounding = self.asked(points, each["rows"])
        accepted = ((gain > each["gain"] + rounding) | fooled) & (t < self.queries)
        return self.taken(state, points, gain, fooled, accepted.view(count, -1))

    def taken(
        self, state: State, points: Tensor, gain: Tensor, fooled: Tensor, accepted: Tensor
    ) -> State:
        """Return the state after the first accepted (S, ahead) of each row's points."""
        count, ahead = accepted.shape
        found, first = accepted.any(1), accepted.int().argmax(1)
        tried = torch.where(found, first + 1, ahead).minimum(self.queries - state["t"])
        taken = found.nonzero().squeeze(1)
        chosen = taken * ahead + first[taken]
        state = state | {"t": state["t"] + tried}
        for name, new in (("at", points), ("gain", gain), ("fooled", fooled)):
            state[name] = state[name].index_copy(0, taken, new[chosen])
        self.climb.forwards[state["rows"]] += tried
        self.climb.iterations[state["rows"]] += found
        if self.climb.observe is not None:
            self.climb.observe(
                Look(*(state[name].clone() for name in ("rows", "t", "at", "gain", "fooled")))
            )
        return state

    def leave(self, state: State) -> State | None:
        """Return the rows that have queries to ask, and keep the points of the others."""
        done = state["fooled"] | (state["t"] == self.queries)
        if done.any():
            self.climb.offer(*(state[name][done] for name in ("rows", "at", "gain", "fooled")))
        return pool.kept(state, ~done)

    def asked(self, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the margins (M,) of points of these rows, whether they fool, and the rounding.

        A window where the network sees nothing changes the margin by no more than the rounding,
        which depends on the size of the batch: that is no rise.
        """
        climb = self.climb

        def answer(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            logits = climb.model(points[part].clone())  # networks may write into their input
            y = climb.y[rows[part]]
            aim = None if climb.target is None else climb.target[rows[part]]
            labels = [y] if aim is None else [y, aim]
            rounding = logits.abs().amax(1) * (16 * torch.finfo(logits.dtype).eps)
            return climb.loss(logits, *labels), fools(logits, y, aim), rounding

        parts = climb.batch.over(answer, len(rows))
        return parts[0] if len(parts) == 1 else tuple(map(torch.cat, zip(*parts, strict=True)))
