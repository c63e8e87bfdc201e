"""Pictures of a domain: the photos of a folder, cropped, or what a generator draws."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdd.domains.parts import Parts
from sdd.errors import SddError
from sdd.manipulators.codes import code_statistics, sample_codes

if TYPE_CHECKING:
    from sdd.nets.stylegan2 import Generator


_DRAWN = 512  # codes that a domain without images or latents offers for training
_TRUNCATION = 0.7  # of those codes, as published samples have it


class Pictures:
    """Draws images of the domain: the user's photos, cropped; else what the generator makes of latents or samples."""

    def __init__(self, parts: Parts, generator: Generator, latents: Tensor | None) -> None:
        self.parts, self.generator = parts, generator
        self.codes = latents
        if latents is None and parts.images is None:
            with torch.no_grad():
                w, mean = sample_codes(generator, _DRAWN), code_statistics(generator)[0]
            self.codes = (mean + _TRUNCATION * (w - mean))[:, None].expand(-1, generator.n_latent, -1).contiguous()
        self.files = _files(parts.images) if parts.images is not None else []

    @torch.no_grad()
    def __call__(self, n: int, seed: int, split: str) -> Tensor:
        """At most `n` images (n, 3, S, S) of a split, each at most once; `test` is every tenth, the rest is `train`."""
        total = len(self.files) if self.files else len(self.codes if self.codes is not None else [])
        held_out = range(9, total, 10) if total >= 10 else range(total)  # too few to hold any out
        held_in = [i for i in range(total) if i % 10 != 9] if total >= 10 else list(range(total))
        pool = list(held_out) if split == "test" else held_in
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).tolist()
        chosen = [pool[i] for i in order]
        if self.files:
            return self._photos(chosen, n)
        assert self.codes is not None, "without photos there are codes"
        device = next(self.generator.parameters()).device
        parts = [self.generator.synthesis(self.codes[i : i + 1].to(device)).clamp(-1, 1).cpu() for i in chosen[:n]]
        return torch.cat(parts) if parts else torch.zeros(0, 3, self.generator.size, self.generator.size)

    def _photos(self, chosen: list[int], n: int) -> Tensor:
        crops: list[Tensor] = []
        trouble: SddError | None = None
        for index in chosen:
            if len(crops) == n:
                break
            try:
                crops.append(photo_crop(self.files[index], self.parts.crop, self.generator.size))
            except SddError as error:  # one photo without a face must not stop a training on a thousand
                trouble = error
        if not crops and trouble is not None:
            raise SddError(f"none of the photos in {self.parts.images} can be used: {trouble}") from trouble
        return torch.stack(crops)


def photo_crop(path: Path, rule: str, size: int) -> Tensor:
    """The part of a photo that a generator of `size` knows: (3, size, size) in [-1, 1].

    Raises:
        SddError: the photo cannot be read, or has no face where one is looked for.
    """
    from sdd.io.pictures.crop import crop, quads
    from sdd.io.pictures.read import open_image

    photo = open_image(path)
    return crop(photo, quads(photo, rule)[0], rule, size)


def _files(folder: str) -> list[Path]:
    from sdd.io.pictures.folder import find

    # Ordered by a hash of the name, so that the split neither follows the camera's numbering nor moves when the
    # folder does.
    sources = find([Path(folder).expanduser()])
    return [s.path for s in sorted(sources, key=lambda s: hashlib.sha256(str(s.name).encode()).digest())]
