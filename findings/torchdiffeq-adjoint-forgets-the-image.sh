#!/usr/bin/env bash
# odeint_adjoint returns a gradient that lacks every path but the ones through the start and the weights.
#
# One expects:    odeint and odeint_adjoint differ in memory and by the solver's tolerance. If the dynamics
#                 see the image twice, as the start and as a condition, the gradient has both parts.
# What happens:   the adjoint method differentiates with respect to the start, the times and the module's
#                 parameters. An image that the module holds as a plain tensor is none of these. If it is
#                 the condition only, its gradient is None; if it is the start too, the gradient exists,
#                 looks sound, and lacks a part. Nothing is raised or warned of.
# Why it matters: conditioned dynamics are what purification and neural-ODE defences are made of. An
#                 attack with that gradient is weak, and the defence is credited with it.
# What we do:     compare each gradient with a difference quotient along a random direction first; name
#                 the image in adjoint_params, or use plain odeint.
# Seen with:      torchdiffeq 0.2.5, torch 2.13.0 on 2026-11-30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 torchdiffeq==0.2.5

OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
from torchdiffeq import odeint, odeint_adjoint

print("torchdiffeq", version("torchdiffeq"), "| torch", torch.__version__)
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
times, tight = torch.tensor([0.0, 1.0]), dict(rtol=1e-9, atol=1e-9)


class Dynamics(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(16, 16)

    def forward(self, t, state):
        return torch.tanh(self.linear(state) + self.image)


dynamics, image, direction = Dynamics(), torch.randn(4, 16, requires_grad=True), torch.randn(4, 16)


def loss(image, solver, **options):
    dynamics.image = image  # the condition
    return solver(dynamics, image, times, **tight, **options)[-1].square().sum()  # the start, too


def slope(solver, **options):
    gradient, = torch.autograd.grad(loss(image, solver, **options), image)
    return (gradient * direction).sum().item()


with torch.no_grad():
    step = 1e-4 * direction
    truth = ((loss(image + step, odeint) - loss(image - step, odeint)) / 2e-4).item()
plain, adjoint = slope(odeint), slope(odeint_adjoint)
named = slope(odeint_adjoint, adjoint_params=(*dynamics.parameters(), image))
print(f"slope along a direction, by differences           {truth:9.4f}")
print(f"slope along a direction, odeint                   {plain:9.4f}")
print(f"slope along a direction, odeint_adjoint           {adjoint:9.4f}")
print(f"slope along a direction, image in adjoint_params  {named:9.4f}")

dynamics.image = image
end = odeint_adjoint(dynamics, torch.zeros(4, 16), times, **tight)[-1].sum()
alone, = torch.autograd.grad(end, image, allow_unused=True)
print("gradient where the image is the condition only:", alone)

good = abs(plain - truth) < 1e-3 and abs(named - truth) < 1e-3
if not (good and alone is None and abs(adjoint - truth) > 0.05 * abs(truth)):
    raise SystemExit("Changed: odeint_adjoint no longer drops the gradient through a tensor the module holds.")
print("As described: odeint_adjoint leaves out the path through the condition.")
PY
