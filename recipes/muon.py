"""Muon: momentum whose matrices are made orthogonal before each step; AdamW for everything that is not a matrix.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with the step's size matched to Adam's
(Liu et al., arXiv 2502.16982). `torch.optim.Muon` takes two-dimensional weights only and multiplies in bfloat16, which
is slow on CPUs without AMX; here a convolution's kernel is one matrix, outputs × the rest, in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration: they pull every singular value into about [0.7, 1.2].
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrix, roughly; Newton–Schulz."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def _rows(weight: Tensor) -> Tensor:
    # StyleGAN2's modulated kernels have a leading axis of one.
    return (weight[0] if weight.ndim == 5 else weight).flatten(1)


class Muon(torch.optim.Optimizer):
    """One optimiser over a network: `part` in a parameter group scales its learning rate.

    Args:
        groups: parameter groups as `groups` makes them; those with "matrix" true are made orthogonal.
        lr: Adam's learning rate; matrices move by about as much.
        betas: Adam's; the first is also Muon's momentum.
        weight_decay: decoupled, on matrices only.
    """

    def __init__(
        self, groups: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "matrix": False})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step along what `.grad` holds."""
        for group in self.param_groups:
            lr, (beta, beta2) = group["lr"], group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"] = torch.zeros(())
                    state["mean"] = torch.zeros_like(p)
                    if not group["matrix"]:
                        state["square"] = torch.zeros_like(p)
                state["step"] += 1
                state["mean"].lerp_(p.grad, 1 - beta)
                if group["matrix"]:
                    rows = _rows(p)
                    ahead = _rows(p.grad).lerp(_rows(state["mean"]), beta)
                    p.mul_(1 - lr * group["weight_decay"])
                    size = 0.2 * max(rows.shape) ** 0.5
                    p.sub_(orthogonal(ahead).view_as(rows).reshape(p.shape), alpha=lr * size)
                else:
                    n = float(state["step"])
                    state["square"].lerp_(p.grad.square(), 1 - beta2)
                    spread = (state["square"] / (1 - beta2**n)).sqrt_().add_(1e-8)
                    p.addcdiv_(state["mean"], spread, value=-lr / (1 - beta**n))


def groups(*nets: tuple[nn.Module, float]) -> list[dict[str, Any]]:
    """Parameter groups of networks, each with the `part` of the learning rate it takes.

    Embeddings are not matrices; matrices of more than 512 rows and columns cost more to make orthogonal than they are
    worth, and take Adam's steps at a tenth of the rate.
    """
    found: list[dict[str, Any]] = []
    for net, part in nets:
        tables = {id(m.weight) for m in net.modules() if isinstance(m, nn.Embedding)}
        kinds: dict[str, list[nn.Parameter]] = {"matrix": [], "large": [], "other": []}
        for p in net.parameters():
            if p.requires_grad:
                side = min(_rows(p).shape) if p.ndim >= 2 and id(p) not in tables else 0
                kinds["other" if side < 8 else "matrix" if side <= 512 else "large"].append(p)
        for kind, rate in (("matrix", 1.0), ("other", 1.0), ("large", 0.1)):
            if kinds[kind]:
                found.append({"params": kinds[kind], "part": part * rate, "matrix": kind == "matrix"})
    return found
