"""Make an editor of a mapper that was trained elsewhere."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sdd.domains.parts import licences_of
from sdd.editor import Editor, EditorInfo
from sdd.errors import SddError
from sdd.io import load
from sdd.nets.mapper import Mapper

CLIP = "CLIP, by StyleCLIP (arXiv 2103.17249)"  # what taught a mapper of that file format

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.io import Loaded


def read_mapper(path: Path) -> Loaded:
    """The mapper in a file, with what else the file holds.

    Raises:
        SddError: the file cannot be read or holds something else.
    """
    loaded = load(path)
    if not isinstance(loaded.module, Mapper):
        raise SddError(f"{path} holds a {loaded.kind}, not a mapper; `sdd inspect` says what a file is")
    return loaded


def import_mapper(path: Path, loaded: Loaded, domain: Domain, prompt: str | None = None) -> Editor:
    """The editor of a published mapper (SDD, StyleCLIP) with the domain of the generator it was trained for.

    Args:
        path: the mapper's file, for messages and notes.
        loaded: what `read_mapper` found in it.
        prompt: the text it was trained for; None for what the file says, which may be nothing.

    Raises:
        SddError: the mapper does not fit the generator's codes.
    """
    mapper = loaded.module
    info = EditorInfo(
        prompt=prompt or str(loaded.config.get("description") or "")[:1000],
        domain=domain.name,
        generator=domain.stylegan.generator_hash,
        crop=domain.crop,
        manipulator={"kind": "stylegan", "mapper": mapper.config()},
        teacher=CLIP if loaded.kind == "styleclip-mapper" else "",
        versions={name: version(name) for name in ("sdd", "torch")},
        # No teacher of ours had a part in it: only what it is used with has a say in how it may be used.
        notes=[
            f"Imported from {path.name}, trained elsewhere.",
            # Of a StyleCLIP file they are about the decoder that it brings along.
            *(() if loaded.parts else loaded.warnings),
            *licences_of(domain.notes, "generator", "encoder"),
        ],
    )
    editor = Editor(mapper, info, domain)
    codes = domain.stylegan.latent_mean[None]
    try:
        with torch.no_grad():
            mapper(codes if mapper.space == "wplus" else domain.generator.styles(codes))
    except (RuntimeError, ValueError, IndexError) as error:
        size = f"{domain.generator.size} px with {domain.generator.n_latent} codes of {domain.generator.style_dim}"
        raise SddError(
            f"the mapper in {path} does not fit this generator ({size}); give the one it was trained for"
        ) from error
    return editor
