"""What Algorithm 1 lowers: Equation 7 bound to a teacher and a prompt, with the L2 and identity losses of Section 5.1.

A guidance answers where the latents should go; a term is a number that should be small (`sdd.paper.step`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sdd.manipulators.protocol import Manipulator
from sdd.paper import guidance
from sdd.paper.step import Step
from sdd.teachers.protocol import Teacher, predict


class ScoreDistillation:
    """The gradient of Equation 7: w(t) (ε̂ − ε), the U-Net's Jacobian skipped.

    Args:
        scale: of the classifier-free guidance; 1 is Equation 7 as printed.
    """

    def __init__(self, teacher: Teacher, prompt: str, scale: float) -> None:
        self.teacher, self.scale = teacher, scale
        self.null, self.text = teacher.encode_text([""]), teacher.encode_text([prompt])

    @torch.no_grad()
    def __call__(self, latents: Tensor, t: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        noisy = self.teacher.add_noise(latents, noise, t)
        null, text = predict(self.teacher, [(noisy, self.null), (noisy, self.text)], t)
        weight = guidance.weight(self.teacher.alphas_cumprod, t).to(latents)
        return guidance.sds(null, text, noise, weight, self.scale)


@dataclass(frozen=True)
class ChangeL2:
    """λ ‖Δ‖²: the mean squared change, in the manipulator's own units."""

    manipulator: Manipulator
    weight: float

    def __call__(self, step: Step) -> Tensor:
        return self.weight * self.manipulator.size(step.change)


@dataclass(frozen=True)
class Identity:
    """λ (1 − ⟨R(x), R(y)⟩): the edited picture shows the same person as the unedited one.

    Attributes:
        features: images (B, 3, S, S) → L2-normalised features (B, E).
        sources: those of the unedited pictures, (N, E).
    """

    features: Callable[[Tensor], Tensor]
    sources: Tensor
    weight: float

    def __call__(self, step: Step) -> Tensor:
        return self.weight * identity_loss(self.features(step.images), self.sources[step.index])


def identity_loss(edited: Tensor, source: Tensor) -> Tensor:
    """1 − ⟨f(edited), f(source)⟩, averaged: 0 for the same person, 1 for unrelated ones.

    The released code hands this loss the source twice, which is always zero; here it compares the edited picture with
    its source, as the paper says.

    Args:
        edited, source: L2-normalised identity features, (B, E); the source gets no gradient.
    """
    return (1 - (edited * source.detach()).sum(1)).mean()
