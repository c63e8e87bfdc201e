"""S, the timesteps to train at: {t : HQS_t > ξ} (arXiv 2307.08448, Section 4), and what its ablation compares with."""

from __future__ import annotations

import torch

from sdd.errors import SddError
from sdd.paper.hqs import HQS

STRATEGIES = ("largest", "above:0.5", "random", "list:700,750")


def searches(strategy: str) -> bool:
    """Whether the strategy looks at the hybrid quality score."""
    return strategy.partition(":")[0] in ("largest", "above")


def timestep_set(hqs: HQS | None, strategy: str, count: int = 1000) -> list[int]:
    """The timesteps to train at, for a schedule of `count`.

    `above:ξ`: all with HQS > ξ, which is S of the paper. `largest`: the one with the largest HQS. `random`: every
    timestep of [20, 980] (of 1000), whatever the HQS says (the paper's ablation). `list:700,750`: just those.

    Raises:
        SddError: an unknown strategy, one that selects nothing, or scores that are flat or not finite.
    """
    kind, _, rest = strategy.partition(":")
    if kind == "list":
        return _listed(strategy, rest, count)
    if kind == "random" and not rest:
        return list(range(count // 50, count - count // 50 + 1)) if count >= 50 else list(range(count))
    if kind not in ("largest", "above") or (kind == "largest" and rest):
        raise SddError(f"unknown strategy {strategy!r}; strategies are {', '.join(STRATEGIES)}")
    if hqs is None:
        raise SddError(f"the strategy {strategy!r} needs a search first")
    _check_says_something(hqs)
    if kind == "largest":
        return [hqs.timesteps[int(hqs.score.argmax())]]
    try:
        threshold = float(rest)
    except ValueError:
        raise SddError(f"{strategy!r} should hold a number, as in above:0.5") from None
    chosen = [t for t, score in zip(hqs.timesteps, hqs.score.tolist(), strict=True) if score > threshold]
    if not chosen:
        most = float(hqs.score.max())
        raise SddError(f"no timestep has an HQS above {threshold:g}; the largest is {most:.2f}: take 'largest'")
    return chosen


def _listed(strategy: str, rest: str, count: int) -> list[int]:
    try:
        steps = [int(part) for part in rest.split(",")]
    except ValueError:
        raise SddError(f"{strategy!r} should list whole numbers, as in list:700,750") from None
    if any(not 0 <= t < count for t in steps):
        raise SddError(f"{strategy!r} holds a timestep outside 0…{count - 1}")
    return steps


def _check_says_something(hqs: HQS) -> None:
    """Raise SddError if the scores cannot choose between timesteps."""
    score = hqs.score
    if not bool(torch.isfinite(hqs.norm + hqs.deficit).all()):
        raise SddError(
            f"the hybrid quality score of {hqs.prompt!r} is not a number at some timesteps, as broken weights or half "
            f"precision make it; search again in float32, or give timesteps yourself, as in list:700"
        )
    if len(score) > 1 and float(score.max()) == float(score.min()):
        raise SddError(
            f"the hybrid quality score of {hqs.prompt!r} is the same at every timestep, as when the teacher cannot see "
            f"the pictures or the prompt; use words that it knows, or give timesteps yourself, as in list:700"
        )
