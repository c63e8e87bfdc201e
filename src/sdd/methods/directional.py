"""What DiffusionCLIP and effdiff fine-tune for: the directional CLIP loss in DiffusionCLIP's form, L1, identity.

    directed = Directed(direction, features)                    # direction: `sdd.nets.clip_direction.text_direction`
    total, directional = objective(edited, source, directed, Weights(clip=3, l1=1))

arXiv 2110.02711, equations 7-9; the -log around the directional loss is in the published code alone. What CLIP sees is
`sdd.nets.clip_views.nada_view`. Plain functions: `directional`, `objective`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.nets.clip_direction import log_direction_loss

Features = Callable[[Tensor], Tensor]  # pictures (B, 3, H, W) in [-1, 1] → (B, D); need not be of unit length
EPSILON = 1e-7  # the published guard of a change of nothing


@dataclass(frozen=True)
class Directed:
    """Which way pictures should go.

    Attributes:
        direction: of the text, (1, D), of unit length. features: CLIP's of pictures.
    """

    direction: Tensor
    features: Features


@dataclass(frozen=True)
class Weights:
    """Of the parts of the objective; the defaults are those of both README files."""

    clip: float = 3.0
    l1: float = 1.0
    identity: float = 0.0


def unit(features: Tensor) -> Tensor:
    """Features (B, D) at unit length."""
    return features / features.norm(dim=-1, keepdim=True)


def directional(edited: Tensor, source: Tensor, directed: Directed) -> Tensor:
    """1 - cos between how the pictures changed and the text's direction, mean over the batch: in [0, 2]."""
    with torch.no_grad():
        before = unit(directed.features(source))
    change = unit(directed.features(edited)) - before
    change = change / (change.norm(dim=-1, keepdim=True) + EPSILON)
    return (1 - F.cosine_similarity(change, directed.direction, dim=-1)).mean()


def objective(
    edited: Tensor,
    source: Tensor,
    directed: Directed,
    weights: Weights,
    identity: Features | None = None,
    recognised: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What is minimised: clip · (-log((2 - directional) / 2)) + identity · (1 - cos) + l1 · mean|edited - source|.

    Args:
        edited, source: (B, 3, H, W) in [-1, 1].
        identity: features of unit length of people; None leaves that part out.
        recognised: the pictures that `identity` sees instead of the edited ones.

    Returns:
        The sum, and the directional loss alone.
    """
    toward = directional(edited, source, directed)
    total = weights.clip * log_direction_loss(toward) + weights.l1 * (edited - source).abs().mean()
    if identity is not None and weights.identity:
        with torch.no_grad():
            who = identity(source)
        shown = edited if recognised is None else recognised
        total = total + weights.identity * (1 - (identity(shown) * who).sum(-1)).mean()
    return total, toward
