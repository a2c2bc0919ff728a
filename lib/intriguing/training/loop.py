"""The one training loop: rounds, each a few L-BFGS iterations or one epoch, resumable in between.

Everything that decides the next round (weights, optimiser, generator, counters) is one tree that
`state.save` can write, so a training that is killed and resumed gives the very same weights.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from intriguing.training.objectives import Objective

Save = Callable[[dict], None]  # receives the tree of the training's state after a round
Log = Callable[[str], None]  # receives one line of progress


@dataclass
class Outcome:
    """What a training did: counts, the final loss and gradient, seconds, and why it stopped."""

    rounds: int = 0
    iterations: int = 0  # L-BFGS iterations or minibatch steps
    evaluations: int = 0  # evaluations of loss and gradient, on the whole batch or a minibatch
    loss: float = math.nan  # of the objective, over all images at the end
    grad_max: float = math.nan  # largest absolute entry of its gradient
    seconds: float = 0.0
    stop_reason: str = ""
    extra: dict[str, float] = field(default_factory=dict)  # what a companion counted
    trace: list[dict] = field(default_factory=list)  # what was measured meanwhile, see `watch`


class Companion(Protocol):
    """What goes along with a training and changes with it, such as a pool of examples."""

    def before_round(self, model: nn.Module, outcome: Outcome) -> None:
        """Prepare the next round; may count in `outcome.extra`."""

    def state_dict(self) -> dict:
        """Return the tree that decides what it does next."""

    def load_state_dict(self, tree: dict) -> None:
        """Go on from such a tree."""


def drive(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    one_round: Callable[[Outcome], None],
    *,
    rounds: int,
    generator: torch.Generator | None = None,
    companion: Companion | None = None,
    resume: dict | None = None,
    save: Save | None = None,
    log: Log | None = None,
) -> Outcome:
    """Run `one_round` until it sets a stop reason or `rounds` are done; save after each."""
    outcome = Outcome()
    if resume is not None:
        model.load_state_dict(resume["model"])
        optimiser.load_state_dict(resume["optimiser"])
        if generator is not None:
            generator.set_state(resume["generator"])
        if companion is not None:
            companion.load_state_dict(resume["companion"])
        outcome = Outcome(**resume["outcome"])
    while outcome.rounds < rounds and not outcome.stop_reason:
        started = time.perf_counter()
        if companion is not None:
            companion.before_round(model, outcome)
        one_round(outcome)
        outcome.rounds += 1
        outcome.seconds += time.perf_counter() - started
        if log is not None:
            done, loss = outcome.iterations, outcome.loss
            log(f"{done} iterations, loss {loss:.5g}, {outcome.seconds:.0f} s")
        if save is not None:
            tree = {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "generator": None if generator is None else generator.get_state(),
                "companion": None if companion is None else companion.state_dict(),
                "outcome": asdict(outcome),
            }
            save(tree)
    outcome.stop_reason = outcome.stop_reason or "budget spent"
    return outcome


def fit_full_batch(
    model: nn.Module,
    objective: Objective,
    x: Tensor,
    y: Tensor,
    *,
    iterations: int,
    history: int = 20,
    chunk: int = 10,
    tol_grad: float = 1e-7,
    tol_change: float = 1e-10,
    resume: dict | None = None,
    save: Save | None = None,
    log: Log | None = None,
) -> Outcome:
    """Minimise the objective over all images at once with L-BFGS and a strong Wolfe line search.

    Parameters
    ----------
    model : trained in place; parameters without `requires_grad` stay as they are.
    x, y : all images (N, ...) and labels (N,), on the model's device.
    iterations : the most L-BFGS iterations; a multiple of `chunk` is spent whole.
    history : pairs of steps and gradient differences kept.
    chunk : iterations between two saved states.  It decides where the line search is re-entered
        (one evaluation each time), so it is part of what fixes the result to the bit.
    tol_grad, tol_change : stop when the largest gradient entry, or the change of the loss or of
        every weight, is below.

    Raises
    ------
    ValueError : no iterations, or nothing to train.
    FloatingPointError : the loss is not finite.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=chunk,
        max_eval=1_000_000,  # the line search bounds itself; a cap here would cut a chunk short
        history_size=history,
        tolerance_grad=tol_grad,
        tolerance_change=tol_change,
        line_search_fn="strong_wolfe",
    )
    counted = 0

    def closure() -> Tensor:
        nonlocal counted
        counted += 1
        optimiser.zero_grad()
        loss = objective(model, x, y)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"L-BFGS diverged: the loss is {float(loss.detach())}")
        loss.backward()
        return loss

    def one_round(outcome: Outcome) -> None:
        nonlocal counted
        counted = 0
        optimiser.param_groups[0]["max_iter"] = min(chunk, iterations - outcome.iterations)
        optimiser.step(closure)
        state = optimiser.state[parameters[0]]
        done = state["n_iter"] - outcome.iterations
        outcome.iterations = state["n_iter"]
        outcome.evaluations += counted
        outcome.loss = float(state.get("prev_loss", math.nan))
        if done < optimiser.param_groups[0]["max_iter"]:
            steepest = max(float(p.grad.abs().max()) for p in parameters)
            what = "gradient" if steepest <= tol_grad else "change"  # of the loss or the weights
            outcome.stop_reason = f"{what} below tolerance"

    model.train()
    outcome = drive(
        model,
        optimiser,
        one_round,
        rounds=math.ceil(iterations / chunk),
        resume=resume,
        save=save,
        log=log,
    )
    measure(outcome, model, objective, x, y)
    return outcome


def measure(
    outcome: Outcome,
    model: nn.Module,
    objective: Objective,
    x: Tensor,
    y: Tensor,
    batch: int | None = None,
) -> None:
    """Fill in the loss over all images and the largest entry of its gradient."""
    model.eval()
    model.zero_grad()
    total = 0.0
    for rows in torch.arange(len(x), device=x.device).split(batch or len(x)):
        loss = objective(model, x[rows], y[rows]) * (len(rows) / len(x))
        loss.backward()
        total += float(loss.detach())
    outcome.loss = total
    gradients = [p.grad.abs().max() for p in model.parameters() if p.grad is not None]
    outcome.grad_max = float(torch.stack(gradients).max())
    model.zero_grad()
