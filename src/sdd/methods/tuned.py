"""A fine-tuned diffusion model as an editor: pictures are encoded, and decoded by the network that was tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.pictures.shape import resize
from sdd.io.progress import Report, silent
from sdd.methods import mixing
from sdd.methods.ddim import decode
from sdd.methods.directional import Directed, Features
from sdd.methods.pixel_diffusion import PixelDiffusion
from sdd.methods.protocol import Fitted, Knob
from sdd.nets.clip_direction import text_direction
from sdd.nets.clip_views import nada_view

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.clip import Clip

Encode = Callable[[PixelDiffusion, Tensor, int], Tensor]  # original network, pictures of its size, seed → x_t0
BATCH = 8
SOURCE = "a person"  # what pictures are taken to show where the user does not say it
RATIO = Knob(
    "ratio",
    1.0,
    (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
    "share of the tuned network's noise; the rest is the original's",
)


def fitting(images: Tensor, size: int) -> Tensor:
    """Pictures as the network takes them: (B, 3, size, size).

    Raises:
        SddError: no pictures of that shape.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        shape = f"{tuple(images.shape)} of {images.dtype}"
        raise SddError(f"images must be a float tensor (B, 3, H, W) in [-1, 1], not {shape}")
    return resize(images, size)


def laid(edited: Tensor, small: Tensor, images: Tensor) -> Tensor:
    """The edit at the size of the user's pictures: where those are of another size, its change is what is resized.

    Args:
        edited, small: pictures of the network's size after and before. images: those given.
    """
    if edited.shape == images.shape:
        return edited.clamp(-1, 1)
    return (images + resize(edited - small, (images.shape[-2], images.shape[-1]))).clamp(-1, 1)


def share_of(knob: float | None) -> float:
    """The ratio of a knob.

    Raises:
        SddError: it is no number from 0 to 3.
    """
    share = RATIO.default if knob is None else float(knob)
    if not 0 <= share <= 3:
        raise SddError(f"the ratio must be a number from 0 (nothing edited) to 3, not {knob}")
    return share


def directed(clip: Clip, prompt: str, source: str) -> Directed:
    """The text's direction in a CLIP, averaged over templates, and how pictures are shown to it.

    Raises:
        SddError: the two texts are the same to this CLIP.
    """
    from sdd.methods.templates import template_features

    before, after = template_features(clip, source), template_features(clip, prompt)
    if torch.allclose(before, after):
        raise SddError(f"to this CLIP {prompt!r} and {source!r} are the same; give another prompt or source prompt")
    return Directed(text_direction(before, after), lambda images: clip.see(nada_view(images, clip.size)))


def recogniser(domain: Domain) -> Features | None:
    """Features of unit length of the domain's people, for the identity loss; None where it tells none apart."""
    if domain.identity is None:
        return None
    from sdd.nets.arcface import identity_features

    net = domain.identity
    return lambda images: identity_features(net, images)


class Tuned(Fitted):
    """Edits by encoding with the original network and decoding with a mixture of it and the tuned one.

    Args:
        original, tuned: the network before and after. encode: how pictures become x_t0. chain: timesteps of decoding.
    """

    def __init__(self, original: PixelDiffusion, tuned: PixelDiffusion, encode: Encode, chain: Sequence[int]) -> None:
        self.original, self.tuned, self.encode, self.chain = original, tuned, encode, list(chain)

    @torch.no_grad()
    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        share = share_of(knob)
        small = fitting(images, self.original.size).to(self.original.device)
        predict = mixing.ratio(self.tuned, self.original, share)
        done = [small[:0]]
        for part in small.split(BATCH):
            latent = self.encode(self.original, part, seed)
            done.append(decode(predict, latent, self.original.abar, self.chain))
            report("editing", sum(map(len, done)), len(small))
        return laid(torch.cat(done), small, images.to(small)).to(images)

    def unedited(self, images: Tensor) -> Tensor:
        return self.edit(images, 0.0)

    def learned(self) -> dict[str, Tensor]:
        return self.tuned.tensors()
