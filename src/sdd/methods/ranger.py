"""Ranger: RAdam (arXiv 1908.03265) with lookahead (arXiv 1907.08610) and gradient centralisation (arXiv 2004.01461), as
StyleCLIP trains its mapper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Ranger(torch.optim.Optimizer):
    """The optimiser of StyleCLIP's mapper (arXiv 2103.17249).

    Gradients of matrices (and larger) are centred over all but their first axis. In the first steps, whose variance is
    not to be trusted yet, a step is momentum alone. Every `k` steps the weights go back to `alpha` of the way they went
    since the last time.

    Args:
        k, alpha: of lookahead.
        betas, eps: of Adam.
        threshold: length of the average from which its variance is trusted.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.5,
        alpha: float = 0.5,
        k: int = 6,
        threshold: float = 5,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
    ) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "k": k, "threshold": threshold, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return loss

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
        gradient, state = weight.grad, self.state[weight]
        assert gradient is not None, "asked before"
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
            state["slow"] = weight.detach().clone()
        if gradient.ndim > 1:
            gradient = gradient - gradient.mean(tuple(range(1, gradient.ndim)), keepdim=True)
        beta1, beta2 = group["betas"]
        mean, square = state["mean"], state["square"]
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        mean.mul_(beta1).add_(gradient, alpha=1 - beta1)
        state["step"] += 1
        size, trusted = rectified(state["step"], beta1, beta2, group["threshold"])
        direction = mean / (square.sqrt() + group["eps"]) if trusted else mean
        weight.add_(direction, alpha=-size * group["lr"])
        if state["step"] % group["k"] == 0:
            state["slow"].add_(weight - state["slow"], alpha=group["alpha"])
            weight.copy_(state["slow"])


def rectified(step: int, beta1: float, beta2: float, threshold: float = 5) -> tuple[float, bool]:
    """RAdam's factor of the rate at a step (from 1), and whether the variance is trusted yet (equations 4 and 5)."""
    decayed = beta2**step
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * decayed / (1 - decayed)
    if length <= threshold:
        return 1 / (1 - beta1**step), False
    ratio = (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
    return math.sqrt((1 - decayed) * ratio) / (1 - beta1**step), True
