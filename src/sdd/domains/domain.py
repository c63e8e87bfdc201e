"""A domain: pictures of one kind, and what is known of how to draw, encode and recognise them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdd.errors import SddError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from sdd.manipulators.backbone import Backbone
    from sdd.nets.arcface import IRSE
    from sdd.nets.stylegan2 import Generator


@dataclass
class Domain:
    """What an editor is trained on and works in.

    Attributes:
        name: what it is called.
        image_size: side S of its pictures, pixels.
        teacher: diffusers folder or hub id of the diffusion model that knows it.
        draw: (n, seed, split) → at most n of its pictures, (n, 3, S, S) in [−1, 1]; split is "train" or "test". Fewer
            of them are the first of more. It may have a method `told` of the same arguments: a short text that changes
            when those pictures do, and is had sooner than they are.
        backbone: generator and encoder; None where there are none, as in a folder of pictures.
        identity: network that tells its people apart; None where there is none.
        expected_psnr: dB, what a picture of the domain inverts with; far below it is "not of the domain".
        latents: W+ codes (N, L, D) to train on in place of pictures.
        crop: which part of a photo its pictures show (`sdd.io.pictures.crop`); None takes a picture whole.
        notes: licences of its parts, one sentence each.
        whole: how many pictures are all of it: those of its folder, or as many as stand for it where they are drawn on
            demand.
    """

    name: str
    image_size: int
    teacher: str
    draw: Callable[[int, int, str], Tensor]
    backbone: Backbone | None = None
    identity: IRSE | None = None
    expected_psnr: float | None = None
    latents: Tensor | None = None
    crop: str | None = None
    notes: tuple[str, ...] = ()
    whole: int = 512

    def images(self, n: int, seed: int = 0, split: str = "train") -> Tensor:
        """At most `n` images of the domain, (n, 3, S, S) in [-1, 1]."""
        return self.draw(n, seed, split)

    def told(self, n: int, seed: int = 0, split: str = "train") -> str | None:
        """What tells `images` of the same arguments apart from others without drawing them; None if nothing does."""
        tells: Callable[[int, int, str], str] | None = getattr(self.draw, "told", None)
        return None if tells is None else tells(n, seed, split)

    @property
    def stylegan(self) -> Backbone:
        """Generator and encoder.

        Raises:
            SddError: this domain has none.
        """
        if self.backbone is None:
            raise SddError(
                f"the domain {self.name!r} has no generator; give one with --generator and --encoder, or train another "
                f"manipulator: --manipulator one-step or image-to-image"
            )
        return self.backbone

    @property
    def generator(self) -> Generator:
        """The generator; see `stylegan`."""
        return self.stylegan.generator

    @property
    def encoder(self) -> nn.Module:
        """The encoder; see `stylegan`."""
        return self.stylegan.encoder

    def to(self, device: torch.device | str) -> Domain:
        """Move networks and statistics to `device` (in place) and return the domain."""
        if self.backbone is not None:
            self.backbone.to(device)
        if self.identity is not None:
            self.identity.to(device)
        return self
