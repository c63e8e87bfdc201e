"""Domains made of the user's own parts: a generator, an encoder, an identity network, images or latents, a teacher.

A saved domain is a small TOML file in `$SDD_HOME/domains`. Every assembled domain also leaves a note of its parts under
the hash of its generator, in `$SDD_HOME/parts`, so that an editor finds what it was made for.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sdd.domains.domain import Domain
from sdd.domains.parts import Parts, absolute, licences, note_path, resolved_teacher, write_parts
from sdd.domains.photos import Drawn, Photos, drawn_codes, folder_domain, photo_crop
from sdd.errors import SddError
from sdd.io import zoo
from sdd.io.checkpoints.hash import generator_hash
from sdd.manipulators.backbone import Backbone
from sdd.manipulators.codes import code_statistics
from sdd.manipulators.inversion import Inverter, MeanCode

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.nets.stylegan2 import Generator

__all__ = ["assemble", "folder_domain"]


def assemble(parts: Parts, name: str | None = None) -> Domain:
    """A domain of these parts, on the CPU; its note is kept so that `by_generator` finds it again.

    Raises:
        SddError: a part is missing, is something else than it is given for, or does not fit the others.
    """
    generator = _net(parts.generator, "generator")
    layers, width = generator.n_latent, generator.style_dim
    hashed = generator_hash(generator)
    w_mean, w_std = code_statistics(generator)
    latents = _latents(parts, layers, width)
    mean = w_mean.expand(layers, width).clone() if latents is None else latents.mean(0)
    std = w_std.expand(layers, width).clone() if latents is None or len(latents) < 2 else latents.std(0)
    encoder = MeanCode(mean) if parts.encoder is None else Inverter(_net(parts.encoder, "encoder"), parts.crop == "car")
    identity = None if parts.identity is None else _net(parts.identity, "identity")
    for net in (generator, encoder, identity):
        if net is not None:
            net.eval().requires_grad_(False)
    _fits(encoder, generator, parts)
    if latents is None and parts.images is None:
        latents = drawn_codes(generator)
    draw: Photos | Drawn
    if parts.images is not None:
        draw = Photos(parts.images, partial(photo_crop, rule=parts.crop, size=generator.size))
    else:
        assert latents is not None, "given, or drawn above"
        draw = Drawn(generator, latents)
    domain = Domain(
        name=name or Path(parts.generator).stem,
        image_size=generator.size,
        teacher=resolved_teacher(parts.teacher),
        draw=draw,
        backbone=Backbone(generator, encoder, mean, std, hashed),
        identity=identity,
        expected_psnr=parts.expected_psnr,
        latents=latents,
        crop=parts.crop,
        notes=tuple(licences(parts)),
        whole=len(draw),
    )
    with suppress(SddError):  # a note is a convenience; a read-only home must not stop anyone from working
        write_parts(note_path(hashed), absolute(parts).model_copy(update={"generator_hash": hashed}))
    return domain


def _net(source: str, what: str) -> Any:
    """The network of a part, in eval mode on the CPU; warns of what had to be assumed.

    Raises:
        SddError: it is not here, or it is something else than it was given for.
    """
    from sdd.io import load
    from sdd.nets.arcface import IRSE
    from sdd.nets.encoder import StyleEncoder
    from sdd.nets.stylegan2 import Generator

    path = zoo.resolve(source)
    loaded = load(path)
    if what == "generator" and loaded.kind in ("e4e", "psp", "styleclip-mapper"):  # their decoder is a generator
        loaded = load(path, kind="stylegan2")
    net = loaded.module
    if not isinstance(net, {"generator": Generator, "encoder": StyleEncoder, "identity": IRSE}[what]):
        raise SddError(f"{source} was given as the {what}, but is {loaded.kind}; `sdd inspect` says what it holds")
    if isinstance(net, StyleEncoder) and net.input_channels != 3:
        raise SddError(f"the encoder {source} takes pictures of {net.input_channels} channels; give one for photos")
    for text in loaded.warnings:
        warnings.warn(f"{source}: {text}", stacklevel=2)
    return net


def _latents(parts: Parts, layers: int, width: int) -> Tensor | None:
    """The W+ codes (N, L, D) of the latents file, if there is one; W codes stand for the same code in every layer."""
    if parts.latents is None:
        return None
    from sdd.io import load

    codes = load(Path(parts.latents).expanduser(), kind="latents").module
    if isinstance(codes, Tensor) and codes.ndim == 2:
        codes = codes[:, None].expand(-1, layers, -1).contiguous()
    if not isinstance(codes, Tensor) or codes.shape[1:] != (layers, width) or len(codes) == 0:
        found = "x".join(map(str, codes.shape)) if isinstance(codes, Tensor) else "style vectors"
        raise SddError(
            f"{parts.latents} holds {found}, but the generator takes W+ codes Nx{layers}x{width}; give latents that "
            "were made for this generator"
        )
    return codes


def _fits(encoder: nn.Module, generator: Generator, parts: Parts) -> None:
    with torch.no_grad():
        shape = tuple(encoder(torch.zeros(1, 3, generator.size, generator.size)).shape[1:])
    expected = (generator.n_latent, generator.style_dim)
    if shape != expected:
        raise SddError(
            f"the encoder {parts.encoder} gives codes of shape {shape}, but the generator {parts.generator}, which "
            f"draws {generator.size} px, takes {expected}; give the encoder that was trained for this generator"
        )
