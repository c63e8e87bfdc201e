"""The paper's manipulator (arXiv 2307.08448, Section 5.1): encoder → mapper → StyleGAN2; only the mapper learns.

A picture is its W+ code; a change is one of the code (B, L, D), or one of the style vectors that a code becomes
[(B, C_0), (B, C_1), …], as the mapper has it. Which of the two is this file's own business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.checkpoints.hash import generator_hash
from sdd.manipulators.backbone import Backbone
from sdd.manipulators.inversion import batch_size, encode, refine_codes
from sdd.manipulators.protocol import Change, Manipulator, Prepared
from sdd.nets.levels import LEVELS, level_of, style_layer
from sdd.nets.mapper import Mapper, StyleMapper, WPlusMapper


class StyleGAN(Manipulator):
    """Encoder, mapper and generator.

    Args:
        backbone: encoder and generator.
        mapper: what learns.
        spread: standard deviation of each part of a change: its units. None for 1, the code's own units.
    """

    kind = "stylegan"

    def __init__(self, backbone: Backbone, mapper: Mapper, spread: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.backbone, self.learned, self.spread = backbone, mapper, spread
        self.image_size = backbone.image_size

    @property
    def mapper(self) -> Mapper:
        """The learned part, as what it is."""
        assert isinstance(self.learned, Mapper), "made so"
        return self.learned

    def prepare(self, images: Tensor) -> Prepared:
        """W+ codes (N, L, D)."""
        return Prepared({"codes": encode(images, self.backbone)})

    def code(self, y: Prepared) -> list[Tensor]:
        """The code in the mapper's space, as the parts of a change have it."""
        codes = y.parts["codes"]
        return [codes] if self.mapper.space == "wplus" else list(self.backbone.generator.styles(codes))

    def change(self, y: Prepared) -> Change:
        """See `Manipulator`."""
        mapper, code = self.mapper, self.code(y)
        delta = mapper(code[0]) if mapper.space == "wplus" else mapper(code)
        parts = [delta] if isinstance(delta, Tensor) else delta
        return Change(tuple(part * mapper.latent_weight for part in parts))

    def draw(self, y: Prepared, *changes: Change) -> Tensor:
        """See `Manipulator`; changes of codes and of style vectors may be mixed."""
        codes = y.parts["codes"]
        generator, styles = self.backbone.generator, list[Change]()
        for change in changes:
            if len(change.parts) == 1 and change.parts[0].ndim == 3:
                codes = codes + change.parts[0]
            else:
                styles.append(change)
        if not styles:
            return generator.synthesis(codes)
        moved = generator.styles(codes)
        for change in styles:
            moved = [a + b for a, b in zip(moved, change.parts, strict=True)]
        return generator.synthesis_from_styles(moved)

    def units(self, change: Change) -> tuple[Tensor, ...]:
        """See `Manipulator`."""
        return super().units(change) if self.spread is None else tuple(self.spread)

    def restrict(self, change: Change, levels: Sequence[str] | None) -> Change:
        """See `Manipulator`; levels are some of coarse, medium, fine."""
        on = set(LEVELS if levels is None else checked(levels))
        if len(change.parts) == 1 and change.parts[0].ndim == 3:
            (delta,) = change.parts
            keep = torch.tensor([level_of(layer) in on for layer in range(delta.shape[1])], device=delta.device)
            return Change((delta * keep[:, None],))
        return Change(tuple(d if level_of(style_layer(i)) in on else 0 * d for i, d in enumerate(change.parts)))

    def config(self) -> dict[str, Any]:
        """See `Manipulator`: the mapper's."""
        return {"kind": self.kind, "mapper": self.mapper.config()}

    def refine(self, images: Tensor, y: Prepared, steps: int) -> Prepared:
        """See `Manipulator`."""
        return Prepared({"codes": refine_codes(images, y.parts["codes"], self.backbone, steps)})

    def frozen_hash(self) -> str:
        """See `Manipulator`."""
        return f"{self.kind} {self.backbone.generator_hash} {generator_hash(self.backbone.encoder)}"

    def batch_size(self) -> int:
        """See `Manipulator`."""
        return batch_size(self.backbone)


def checked(levels: Sequence[str]) -> Sequence[str]:
    """Levels, if they are ones.

    Raises:
        SddError: they are not.
    """
    unknown = [level for level in levels if level not in LEVELS]
    if unknown or isinstance(levels, str):
        raise SddError(f"unknown level {unknown[0] if unknown else levels!r}; levels are some of {', '.join(LEVELS)}")
    return levels


def spread_of(backbone: Backbone, codes: Tensor, space: str) -> list[Tensor]:
    """Standard deviation of each part of a change, over W+ codes (N, L, D): the units of the space."""
    if space == "wplus":
        return [backbone.latent_std.clamp_min(1e-6)]
    return style_units(backbone, codes)[1]


@torch.no_grad()
def style_units(backbone: Backbone, codes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Mean and standard deviation of each style vector over W+ codes (N, L, D): two lists of (C,)."""
    styles = backbone.generator.styles(codes)
    spread = [s.std(0, unbiased=False) for s in styles]
    # A style that hardly varies would be divided by almost nothing.
    return [s.mean(0) for s in styles], [d.clamp_min(0.01 * float(d.mean()) + 1e-6) for d in spread]


def standardise(mapper: Mapper, backbone: Backbone, codes: Tensor) -> None:
    """Give a mapper of ours the units of its space, over W+ codes (N, L, D); a published one has none."""
    if isinstance(mapper, WPlusMapper):
        mapper.standardise(backbone.latent_mean, backbone.latent_std)
    elif isinstance(mapper, StyleMapper):
        mapper.standardise(*style_units(backbone, codes))


def space_of(kind: str) -> str:
    """The space in which a mapper of that kind works: "wplus" or "style"."""
    return "style" if "stylespace" in kind.lower() else "wplus"


def mapper_config(
    kind: str, backbone: Backbone, levels: Sequence[str], hidden: int, depth: int, latent_weight: float
) -> dict[str, Any]:
    """The configuration of a mapper of that kind that fits the generator."""
    n_latent, style_dim = backbone.latent_mean.shape
    published: dict[str, Any] = {"kind": kind, "latent_weight": latent_weight}
    ours: dict[str, Any] = {"kind": kind, "hidden": hidden, "depth": depth}
    match kind:
        case "levels":
            return {**ours, "n_latent": n_latent, "style_dim": style_dim, "levels": list(levels)}
        case "single":
            return {**ours, "n_latent": n_latent, "style_dim": style_dim}
        case "LevelsMapper":
            return {**published, "style_dim": style_dim, "levels": list(levels)}
        case "SingleMapper":
            return {**published, "style_dim": style_dim}
    with torch.no_grad():
        dims = [style.shape[1] for style in backbone.generator.styles(backbone.latent_mean[None])]
    if kind.startswith("stylespace"):
        return {**ours, "dims": dims, "levels": list(levels)}
    return {**published, "dims": dims}


def levels_with_signal(power: Sequence[Tensor], share: float) -> tuple[str, ...]:
    """The levels that carry at least `share` of a signal's power (`sdd.beyond.scale.signal`); all if none does.

    Args:
        power: of a W+ change, [(L, D)], or of style vectors, [(C,), …].
    """
    layers = list(power[0].sum(-1)) if len(power) == 1 else [p.sum() for p in power]
    of = (lambda i: i) if len(power) == 1 else style_layer
    sums = {level: sum(float(p) for i, p in enumerate(layers) if level_of(of(i)) == level) for level in LEVELS}
    whole = sum(max(0.0, p) for p in sums.values())
    return tuple(level for level in LEVELS if sums[level] > 0 and sums[level] >= share * whole) or LEVELS


def signal_in(power: Sequence[Tensor], levels: Sequence[str]) -> list[Tensor]:
    """The part of a signal's power that belongs to some levels."""
    if len(power) == 1:
        on = [layer for layer in range(len(power[0])) if level_of(layer) in levels]
        return [power[0][on]]
    return [p for i, p in enumerate(power) if level_of(style_layer(i)) in levels]
