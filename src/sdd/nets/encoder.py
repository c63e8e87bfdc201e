"""Encoders of images into W+ codes on an IR-SE50 trunk: e4e (arXiv 2102.02766) and pSp (arXiv 2008.00951).

Parameter names are those of the published files' `encoder.*`. Images go in as they are, in [-1, 1]. Published use is
256×256 (192×256 for cars); smaller ones work too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.nets.arcface import IRTrunk
from sdd.nets.stylegan2 import EqualLinear

COARSE, MIDDLE = 3, 7  # the first layer that sees the second, and the third scale of features


class _StyleBlock(nn.Module):
    """Features → one style vector: convolutions of stride 2 until one pixel is left, and a linear layer."""

    def __init__(self, cin: int, cout: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Conv2d(cout if i else cin, cout, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(cout, cout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs(x)
        if x.shape[2:] != (1, 1):
            raise ValueError("the encoder's input is too large: it takes images of up to 256×256")
        return self.linear(x.flatten(1))


class StyleEncoder(IRTrunk):
    """What the encoders share.

    Args:
        n_styles: layers of the W+ code.
        style_dim: length of a layer's code.
        units, channels, stem, input_channels, squeeze: the trunk, see `IRTrunk`.

    Attributes:
        latent_avg: the code that outputs are relative to, (1 or n_styles, style_dim); not in the state dict.
    """

    latent_avg: Tensor

    def __init__(
        self, n_styles: int, style_dim: int = 512, units: Sequence[int] = (3, 4, 14, 3),
        channels: Sequence[int] = (64, 128, 256, 512), stem: int = 64, input_channels: int = 3, squeeze: int = 16,
    ) -> None:  # fmt: skip
        super().__init__(units, channels, stem, input_channels, squeeze)
        self.n_styles, self.style_dim = n_styles, style_dim
        self.stem, self.input_channels, self.squeeze = stem, input_channels, squeeze
        self.register_buffer("latent_avg", torch.zeros(1, style_dim), persistent=False)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this network with `build_encoder`, as JSON can hold them."""
        return {
            "kind": type(self).__name__, "n_styles": self.n_styles, "style_dim": self.style_dim,
            "units": list(self.units), "channels": list(self.channels), "stem": self.stem,
            "input_channels": self.input_channels, "squeeze": self.squeeze,
        }  # fmt: skip

    def offsets(self, images: Tensor) -> Tensor:
        """Codes (B, n_styles, style_dim) relative to `latent_avg`: the bare network."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, input_channels, H, W) in [-1, 1] → W+ codes (B, n_styles, style_dim)."""
        return self.offsets(images) + self.latent_avg


class _Pyramid(StyleEncoder):
    """Three scales of features, each with the coarser ones added, and a style block for every layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        width, d = self.channels[-1], self.style_dim
        depths = (4 if j < COARSE else 5 if j < MIDDLE else 6 for j in range(self.n_styles))
        self.styles = nn.ModuleList(_StyleBlock(width, d, depth) for depth in depths)
        self.latlayer1 = nn.Conv2d(self.channels[-2], width, 1)
        self.latlayer2 = nn.Conv2d(self.channels[-3], width, 1)

    def layers(self, images: Tensor) -> list[Tensor]:
        """What each style block gives, (B, style_dim)."""
        c1, c2, c3 = self.features(images)[-3:]
        p2 = _up(c3, c2) + self.latlayer1(c2)
        p1 = _up(p2, c1) + self.latlayer2(c1)
        return [block(c3 if j < COARSE else p2 if j < MIDDLE else p1) for j, block in enumerate(self.styles)]


class Encoder4Editing(_Pyramid):
    """e4e: the first style block gives one code for all layers, the others what their layer differs by."""

    def offsets(self, images: Tensor) -> Tensor:
        first, *rest = self.layers(images)
        return torch.stack([first, *(first + delta for delta in rest)], 1)


class GradualStyleEncoder(_Pyramid):
    """pSp: every style block gives its layer's code."""

    def offsets(self, images: Tensor) -> Tensor:
        return torch.stack(self.layers(images), 1)


class BackboneEncoderUsingLastLayerIntoW(StyleEncoder):
    """One w for all layers, from the last features."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.linear = EqualLinear(self.channels[-1], self.style_dim)

    def offsets(self, images: Tensor) -> Tensor:
        w = self.linear(self.features(images)[-1].mean((2, 3)))
        return w[:, None].expand(-1, self.n_styles, -1)


class BackboneEncoderUsingLastLayerIntoWPlus(StyleEncoder):
    """All layers' codes at once, from the last features pooled to 7×7."""

    POOLED = 7

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        width = self.channels[-1]
        self.output_layer_2 = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.AdaptiveAvgPool2d(self.POOLED),
            nn.Flatten(),
            nn.Linear(width * self.POOLED**2, self.style_dim),
        )
        self.linear = EqualLinear(self.style_dim, self.style_dim * self.n_styles)

    def offsets(self, images: Tensor) -> Tensor:
        codes: Tensor = self.linear(self.output_layer_2(self.features(images)[-1]))
        return codes.view(-1, self.n_styles, self.style_dim)


KINDS: dict[str, type[StyleEncoder]] = {
    kind.__name__: kind
    for kind in (
        Encoder4Editing,
        GradualStyleEncoder,
        BackboneEncoderUsingLastLayerIntoW,
        BackboneEncoderUsingLastLayerIntoWPlus,
    )
}


def build_encoder(kind: str, **arguments: Any) -> StyleEncoder:
    """The encoder that `config()` describes.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of encoder {kind!r}; there are {', '.join(KINDS)}")
    return KINDS[kind](**arguments)


def _up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)
