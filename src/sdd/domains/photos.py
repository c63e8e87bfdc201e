"""Pictures of a domain: the photos of a folder, cropped, or what a generator draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdd.domains.domain import Domain
from sdd.domains.parts import licences, resolved_teacher
from sdd.errors import SddError
from sdd.manipulators.codes import code_statistics, sample_codes

if TYPE_CHECKING:
    from sdd.nets.stylegan2 import Generator


_DRAWN = 512  # codes that a domain without images or latents offers for training
_TRUNCATION = 0.7  # of those codes, as published samples have it
_HELD_OUT = 10  # every tenth picture is for tests
_FOLDER_SIZE = 128  # px, as the embedded domain: what a processor without an accelerator learns on


class Photos:
    """Draws pictures from a folder of photos.

    Args:
        folder: searched through, subfolders included.
        cut: what a photo of the folder becomes, (3, S, S) in [-1, 1].

    Raises:
        SddError: there is no such folder, or no picture in it.
    """

    def __init__(self, folder: str | Path, cut: Callable[[Path], Tensor]) -> None:
        self.folder, self.cut = folder, cut
        self.files = _files(folder)

    def __len__(self) -> int:
        return len(self.files)

    def __call__(self, n: int, seed: int, split: str) -> Tensor:
        """At most `n` photos (n, 3, S, S) of a split, each at most once.

        One that cannot be used is passed over: a photo without a face must not stop a training on a thousand.

        Raises:
            SddError: none can be used.
        """
        crops: list[Tensor] = []
        trouble: SddError | None = None
        for index in shuffled(len(self.files), seed, split):
            if len(crops) == n:
                break
            try:
                crops.append(self.cut(self.files[index]))
            except SddError as error:
                trouble = error
        if not crops and trouble is not None:
            raise SddError(f"none of the photos in {self.folder} can be used: {trouble}") from trouble
        return torch.stack(crops)


class Drawn:
    """Draws pictures of W+ codes (N, L, D)."""

    def __init__(self, generator: Generator, codes: Tensor) -> None:
        self.generator, self.codes = generator, codes

    def __len__(self) -> int:
        return len(self.codes)

    @torch.no_grad()
    def __call__(self, n: int, seed: int, split: str) -> Tensor:
        """At most `n` pictures (n, 3, S, S) of a split, each at most once."""
        device = next(self.generator.parameters()).device
        chosen = shuffled(len(self.codes), seed, split)[:n]
        parts = [self.generator.synthesis(self.codes[i : i + 1].to(device)).clamp(-1, 1).cpu() for i in chosen]
        return torch.cat(parts) if parts else torch.zeros(0, 3, self.generator.size, self.generator.size)


@torch.no_grad()
def drawn_codes(generator: Generator) -> Tensor:
    """Codes of a generator to train on where nothing else is given: (N, L, D)."""
    w, mean = sample_codes(generator, _DRAWN), code_statistics(generator)[0]
    return (mean + _TRUNCATION * (w - mean))[:, None].expand(-1, generator.n_latent, -1).contiguous()


def shuffled(total: int, seed: int, split: str) -> list[int]:
    """The indices of a split among `total`, in the order of a seed: `test` is every tenth, the rest is `train`.

    Of fewer than ten none are held out: both splits are all of them.
    """
    pool: Sequence[int] = range(total)
    if total >= _HELD_OUT:
        pool = [i for i in pool if (i % _HELD_OUT == _HELD_OUT - 1) == (split == "test")]
    return [pool[i] for i in torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).tolist()]


def photo_crop(path: Path, rule: str, size: int) -> Tensor:
    """The part of a photo that a generator of `size` knows: (3, size, size) in [-1, 1].

    Raises:
        SddError: the photo cannot be read, or has no face where one is looked for.
    """
    from sdd.io.pictures.crop import crop, quads
    from sdd.io.pictures.read import open_image

    photo = open_image(path)
    return crop(photo, quads(photo, rule)[0], rule, size)


def folder_domain(images: str | Path, teacher: str, size: int = _FOLDER_SIZE, crop: str = "centre") -> Domain:
    """A domain that is a folder of pictures: no generator, no encoder, nothing but the pictures and who knows them.

    Args:
        images: the folder; the domain has its name.
        teacher: diffusers folder, hub id or zoo name of a diffusion model that knows such pictures.
        size: side of the domain's pictures, pixels.
        crop: which part of each picture is taken; "centre" is the largest square in its middle.

    Raises:
        SddError: there is no such folder, or no picture in it.
    """
    draw = Photos(images, partial(photo_crop, rule=crop, size=size))
    name = Path(images).expanduser().absolute().name or "pictures"
    return Domain(
        name=name, image_size=size, teacher=resolved_teacher(teacher), draw=draw, crop=crop,
        notes=tuple(licences(teacher=teacher)), whole=len(draw),
    )  # fmt: skip


def with_photos(domain: Domain, images: str | Path) -> Domain:
    """The same domain with the pictures of a folder to learn on, each taken whole, on its own background.

    Raises:
        SddError: there is no such folder, or no picture in it.
    """
    from sdd.io.pictures.read import read_fitted

    draw = Photos(images, lambda path: read_fitted(path, domain.image_size, "pad"))
    return replace(domain, draw=draw, latents=None, whole=len(draw))


def _files(folder: str | Path) -> list[Path]:
    from sdd.io.pictures.folder import find

    # Ordered by a hash of the name, so that the split neither follows the camera's numbering nor moves when the
    # folder does.
    sources = find([Path(folder).expanduser()])
    return [
        s.path for s in sorted(sources, key=lambda s: hashlib.sha256(str(s.name).encode(errors="replace")).digest())
    ]
