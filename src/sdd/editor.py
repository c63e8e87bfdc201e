"""An editor: a trained mapper with what it needs to be used again, in one file that never executes anything.

The file is safetensors: the mapper's tensors, and one metadata entry `sdd` that holds an `EditorInfo` as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sdd.errors import SddError
from sdd.io.files import write_bytes
from sdd.manipulators.inversion import Inversion, batch_size, encode, invert
from sdd.nets.levels import LEVELS, level_of, style_layer
from sdd.nets.mapper import Mapper
from sdd.nets.mapper_kinds import build_mapper

if TYPE_CHECKING:
    from sdd.domains.domain import Domain


FORMAT = 1
FOREIGN = 11.0  # dB below what a domain's pictures invert at, under which a picture is not of it; odd framings cost 10


class EditorInfo(BaseModel):
    """What an editor file says about itself.

    Attributes:
        format: version of the file format.
        prompt: the target text; empty for an imported mapper whose text is not known.
        domain: name of the domain it edits.
        generator: SHA-256 of the tensors of the generator it was made for.
        mapper: `kind` and arguments of the mapper (`sdd.nets.mapper.build_mapper`).
        strength: the mapper's change is multiplied by this at strength 1.
        teacher: the diffusion model that taught it.
        timesteps: the timesteps it was taught at.
        hqs: the hybrid quality score of each timestep (`sdd.hqs.HQS`), if it was searched.
        config: the training configuration (`sdd.distillation.DistillConfig`), if it was trained here.
        seed: of the training.
        figures: measured numbers, by name.
        versions: of the software that made it.
        notes: licences and origins, one sentence each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT
    prompt: str
    domain: str
    generator: str
    mapper: dict[str, Any]
    strength: float = 1.0
    teacher: str = ""
    timesteps: list[int] = Field(default_factory=list)
    hqs: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    seed: int | None = None
    figures: dict[str, float] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Edit:
    """Edited images (B, 3, S, S) in [-1, 1], and how well their sources inverted."""

    images: Tensor
    inversion: Inversion


class Editor:
    """Edits images of one domain in one forward pass: encoder, mapper, generator.

        editor = Editor.load("white-hair.safetensors")
        edited = editor(images, strength=0.8)

    Strength 0 draws the inversion of each image, whatever the mapper says; 1 is the edit as trained; more exaggerates
    it, less than 0 reverses it.

    Args:
        mapper: the trained mapper.
        info: what the file says.
        domain: the domain it works in; found by its name at first use if not given.
    """

    def __init__(self, mapper: Mapper, info: EditorInfo, domain: Domain | None = None) -> None:
        self.mapper = mapper.eval().requires_grad_(False)
        self.info = info
        self._domain: Domain | None = None
        if domain is not None:
            self._attach(domain)

    @property
    def prompt(self) -> str:
        """The target text."""
        return self.info.prompt

    @property
    def domain(self) -> Domain:
        """The domain this editor works in.

        Raises:
            SddError: there is no such domain here, or its generator is another one.
        """
        if self._domain is None:
            from sdd.domains import library

            self._attach(library.matching(self.info.domain, self.info.generator))
        assert self._domain is not None, "attached above"
        return self._domain

    def _attach(self, domain: Domain) -> None:
        if domain.generator_hash != self.info.generator:
            raise SddError(
                f"the editor {self.info.prompt!r} was made for generator {self.info.generator[:12]} of domain "
                f"{self.info.domain!r}, but the generator of domain {domain.name!r} is {domain.generator_hash[:12]}; "
                f"use the domain it was made for, or train it again on this one"
            )
        self.mapper.to(domain.latent_mean.device)
        self._domain = domain

    def to(self, device: torch.device | str) -> Editor:
        """Move the editor and its domain to `device` (in place) and return it."""
        self.domain.to(device)
        self.mapper.to(device)
        return self

    def __call__(
        self, images: Tensor, strength: float = 1.0, levels: Sequence[str] | None = None, batch: int | None = None
    ) -> Tensor:
        """Edited images, (B, 3, S, S) in [-1, 1] at the domain's size S.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            strength: 0 draws the inversion, 1 the edit, anything else goes further or the other way.
            levels: which of coarse, medium, fine to change; None for all that were trained.
            batch: images at a time; None for what fits a few hundred megabytes.

        Raises:
            SddError: unknown level, strength that is not finite, or images of another shape.
        """
        return Composition([self])(images, [strength], levels, batch)

    def edit(
        self,
        images: Tensor,
        strength: float = 1.0,
        levels: Sequence[str] | None = None,
        batch: int | None = None,
        refine: int = 0,
        progress: Callable[[int, int], None] | None = None,
        identity: bool = True,
    ) -> Edit:
        """As calling the editor, with a report on the inversion; costs one more pass through the generator.

        Args:
            refine: steps of optimisation of each code (`sdd.inversion.invert`).
            progress: called with (images done, images in all).
            identity: whether the report is to compare identities too; costs two passes through that network.
        """
        return Composition([self]).edit(images, [strength], levels, batch, refine, progress, identity)

    @staticmethod
    def compose(editors: Sequence[Editor]) -> Composition:
        """Several editors as one: the changes each makes to the source's code are added."""
        return Composition(editors)

    def save(self, path: str | Path) -> None:
        """Write the editor to one file, atomically; equal editors give equal bytes.

        Raises:
            SddError: a weight is not finite, or the file cannot be written.
        """
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.mapper.state_dict().items()}
        _finite(tensors, "the editor")
        info = json.dumps(self.info.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, allow_nan=False)
        # One entry of metadata: the order of several would differ from one process to the next.
        write_bytes(path, save(tensors, {"sdd": info}))

    @classmethod
    def load(cls, path: str | Path, domain: Domain | str | None = None) -> Editor:
        """Read an editor file; everything in it is checked, nothing in it is executed.

        Args:
            path: the file.
            domain: the domain (or its name) to work in; None for the one the file names, or one with its generator,
                found at first use.

        Raises:
            SddError: no such file, truncated, not an editor, made by a newer sdd or for another generator, tensors that
                are missing, of another shape or not finite.
        """
        if isinstance(domain, str):
            from sdd.domains import library

            domain = library.get(domain)
        info, tensors = _read(Path(path))
        return cls(_mapper(Path(path), info, tensors), info, domain)

    def __repr__(self) -> str:
        return f"Editor({self.info.prompt!r}, domain={self.info.domain!r}, mapper={self.info.mapper.get('kind')!r})"


class Composition:
    """Several editors applied together: the changes each makes to the source's code are added."""

    def __init__(self, editors: Sequence[Editor]) -> None:
        if not editors:
            raise SddError("there is no editor to apply; give at least one")
        self.editors = list(editors)
        domain = self.editors[0].domain
        for editor in self.editors[1:]:
            if editor.info.generator != domain.generator_hash:
                raise SddError(
                    f"the editors {self.editors[0].prompt!r} and {editor.prompt!r} were made for different generators "
                    f"({domain.generator_hash[:12]} and {editor.info.generator[:12]}); apply them one after the other"
                )
            editor._attach(domain)
        self.domain = domain

    def __call__(
        self,
        images: Tensor,
        strength: float | Sequence[float] = 1.0,
        levels: Sequence[str] | None = None,
        batch: int | None = None,
    ) -> Tensor:
        """Edited images; as `Editor.__call__`, with one strength for all editors or one for each."""
        self._check(images)
        strengths = self._strengths(strength)
        codes = encode(images, self.domain, batch)
        parts = [self.draw(part, strengths, levels) for part in codes.split(batch or batch_size(self.domain))]
        return torch.cat(parts) if parts else images.new_zeros(0, 3, self.domain.image_size, self.domain.image_size)

    def edit(
        self,
        images: Tensor,
        strength: float | Sequence[float] = 1.0,
        levels: Sequence[str] | None = None,
        batch: int | None = None,
        refine: int = 0,
        progress: Callable[[int, int], None] | None = None,
        identity: bool = True,
    ) -> Edit:
        """Edited images and the report on their inversion; as `Editor.edit`."""
        self._check(images)
        strengths = self._strengths(strength)
        # What the domain has no identity network for, the report leaves out.
        seen = self.domain if identity else replace(self.domain, identity=None)
        inversion = invert(images.to(self.domain.latent_mean.device), seen, refine, batch, progress)
        batch = batch or batch_size(self.domain)
        parts = [self.draw(codes, strengths, levels) for codes in inversion.codes.split(batch)]
        return Edit(torch.cat(parts) if parts else inversion.images.clamp(-1, 1), inversion)

    @torch.no_grad()
    def draw(
        self, codes: Tensor, strength: float | Sequence[float] = 1.0, levels: Sequence[str] | None = None
    ) -> Tensor:
        """Edited images of W+ codes (B, L, D): (B, 3, S, S) in [-1, 1]."""
        generator = self.domain.generator
        on = _levels(levels)
        codes = codes.to(self.domain.latent_mean.device)
        edited, styles = codes.clone(), None
        for editor, s in zip(self.editors, self._strengths(strength), strict=True):
            factor = s * editor.info.strength * editor.mapper.latent_weight
            if factor == 0:
                continue
            if editor.mapper.space == "wplus":
                keep = torch.tensor([level_of(layer) in on for layer in range(codes.shape[1])], device=codes.device)
                edited += factor * editor.mapper(codes) * keep[:, None]
            else:
                changes = editor.mapper(generator.styles(codes))
                kept = [factor * d if level_of(style_layer(i)) in on else 0 * d for i, d in enumerate(changes)]
                styles = kept if styles is None else [a + b for a, b in zip(styles, kept, strict=True)]
        if styles is None:
            return generator.synthesis(edited).clamp(-1, 1)
        moved = [a + b for a, b in zip(generator.styles(edited), styles, strict=True)]
        return generator.synthesis_from_styles(moved).clamp(-1, 1)

    def _strengths(self, strength: float | Sequence[float]) -> list[float]:
        strengths = [float(strength)] * len(self.editors) if isinstance(strength, int | float) else list(strength)
        if len(strengths) != len(self.editors):
            raise SddError(
                f"{len(strengths)} strengths were given for {len(self.editors)} editors; give one, or one each"
            )
        for s in strengths:
            if not -1e6 < s < 1e6:
                raise SddError(f"the strength must be a finite number, not {s}; 1 is the edit as trained")
        return strengths

    @staticmethod
    def _check(images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            shape = f"{tuple(images.shape)} of {images.dtype}"
            raise SddError(f"images must be a float tensor (B, 3, H, W) in [-1, 1], not {shape}")


def domain_warning(psnr: float, domain: Domain) -> str | None:
    """A sentence for a picture that inverts at `psnr` dB, far below what the domain's own do; None if it is fine."""
    expected = domain.expected_psnr
    if expected is None or psnr > expected - FOREIGN:
        return None
    return (
        f"this picture inverts at {psnr:.1f} dB where those of domain {domain.name!r} reach {expected:.0f} dB, so it "
        f"is not of that domain and the edit shows the nearest picture that is; use an editor trained on a domain "
        f"of its own kind (`sdd domain add`)"
    )


def _levels(levels: Sequence[str] | None) -> set[str]:
    if levels is None:
        return set(LEVELS)
    unknown = [level for level in levels if level not in LEVELS]
    if unknown or isinstance(levels, str):
        raise SddError(f"unknown level {unknown[0] if unknown else levels!r}; levels are some of {', '.join(LEVELS)}")
    return set(levels)


def _finite(tensors: dict[str, Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise SddError(f"{what} carries NaN or infinity in {name!r}; its training went wrong, so train it again")


def _read(path: Path) -> tuple[EditorInfo, dict[str, Tensor]]:
    if not path.is_file():
        raise SddError(f"there is no editor file {path}" + ("; it is a folder" if path.is_dir() else ""))
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "sdd" not in metadata:
                raise SddError(
                    f"{path} holds tensors but is not an sdd editor; `sdd inspect` says what it is, and `sdd import` "
                    f"makes an editor of a published mapper"
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise SddError(
            f"{path} is truncated or not an editor file ({error}); copy it again, or see what it is with `sdd inspect`"
        ) from error
    try:
        raw = json.loads(metadata["sdd"])
        version = raw.get("format") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise SddError(
                f"{path} was written by a newer sdd (format {version}; this one reads {FORMAT}); upgrade sdd"
            )
        info = EditorInfo.model_validate(raw, strict=True)
    except (ValidationError, RecursionError, ValueError) as error:
        where = ""
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = f": {'.'.join(map(str, first['loc']))}, {first['msg'].lower()}"
        raise SddError(f"{path} is not a valid editor file; its description is damaged{where}") from error
    return info, tensors


def _mapper(path: Path, info: EditorInfo, tensors: dict[str, Tensor]) -> Mapper:
    """The mapper a file describes, filled with the file's tensors."""
    config = info.mapper
    dims, depth = config.get("dims", []), config.get("depth", 1)
    if not isinstance(dims, list) or len(dims) > 64 or depth not in range(1, 17):
        raise SddError(f"{path} describes a mapper of impossible size; the file is damaged")
    try:
        with torch.device("meta"):  # a description can claim any size; nothing is allocated until the tensors agree
            mapper = build_mapper(config)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SddError(f"{path} describes a mapper that cannot be built: {error}") from error
    wanted = mapper.state_dict()
    for name, like in wanted.items():
        found = tensors.get(name)
        if found is None:
            raise SddError(f"{path} lacks the tensor {name!r} {tuple(like.shape)} of its mapper; the file is damaged")
        if found.shape != like.shape or found.dtype != like.dtype:
            raise SddError(
                f"{path} has tensor {name!r} as {tuple(found.shape)} of {found.dtype}, but its mapper needs "
                f"{tuple(like.shape)} of {like.dtype}; the file is damaged"
            )
    for name in tensors:
        if name not in wanted:
            raise SddError(f"{path} has a tensor {name!r} that its mapper does not know; the file is damaged")
    _finite(tensors, str(path))
    mapper.load_state_dict(tensors, assign=True)
    return mapper
