"""IR-SE: ArcFace's residual network (arXiv 1801.07698) with squeeze-and-excitation, named as in `model_ir_se50.pth`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CROPS = ("ffhq", "none")


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class _Subsample(nn.Module):
    """Every `stride`th pixel."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride]


class _Block(nn.Module):
    """Batch norm before the convolutions, squeeze-and-excitation after; the second convolution has the stride."""

    def __init__(self, cin: int, cout: int, stride: int, squeeze: int) -> None:
        super().__init__()
        if cin == cout:
            self.shortcut_layer: nn.Module = _Subsample(stride)
        else:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(cin),
            nn.Conv2d(cin, cout, 3, 1, 1, bias=False),
            nn.PReLU(cout),
            nn.Conv2d(cout, cout, 3, stride, 1, bias=False),
            nn.BatchNorm2d(cout),
            *([_SqueezeExcite(cout, squeeze)] if squeeze else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)


class IRTrunk(nn.Module):
    """The convolutional part: (B, input_channels, H, W) → the features after each unit, each half as large.

    Args:
        units: blocks of each unit.
        channels: channels of each unit.
        stem: channels of the first convolution.
        squeeze: reduction of squeeze-and-excitation; 0 for none (IR instead of IR-SE).
    """

    def __init__(
        self, units: Sequence[int] = (3, 4, 14, 3), channels: Sequence[int] = (64, 128, 256, 512), stem: int = 64,
        input_channels: int = 3, squeeze: int = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        self.units, self.channels = tuple(units), tuple(channels)
        self.input_layer = nn.Sequential(
            nn.Conv2d(input_channels, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem)
        )
        blocks, width = [], stem
        for count, c in zip(units, channels, strict=True):
            for i in range(count):
                blocks.append(_Block(width, c, 1 if i else 2, squeeze))
                width = c
        self.body = nn.Sequential(*blocks)

    def features(self, x: Tensor) -> list[Tensor]:
        """What each unit gives, (B, channels[u], H / 2^(u+1), W / 2^(u+1))."""
        x = self.input_layer(x)
        found, at = [], 0
        for count in self.units:
            x = self.body[at : at + count](x)
            at += count
            found.append(x)
        return found


class IRSE(IRTrunk):
    """Face → identity: (B, 3, input_size, input_size) RGB in [-1, 1] → (B, embedding) of unit length.

    The defaults are IR-SE50 (43.8 M parameters).

    Args:
        units, channels, stem, squeeze: as in `IRTrunk`.
        embedding: length of the features.
        input_size: side of the input, a multiple of 2^len(units).
        crop: how `identity_features` makes the input of a picture: "ffhq", the published crop of an FFHQ-aligned face,
            or "none", the whole picture.
    """

    def __init__(
        self, units: Sequence[int] = (3, 4, 14, 3), channels: Sequence[int] = (64, 128, 256, 512), embedding: int = 512,
        input_size: int = 112, stem: int = 64, squeeze: int = 16, crop: str = "ffhq",
    ) -> None:  # fmt: skip
        super().__init__(units, channels, stem, squeeze=squeeze)
        if crop not in CROPS:
            raise ValueError(f"crop must be one of {', '.join(CROPS)}, not {crop!r}")
        self.embedding, self.input_size, self.stem, self.squeeze, self.crop = embedding, input_size, stem, squeeze, crop
        side = input_size >> len(self.units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(self.channels[-1]),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(self.channels[-1] * side**2, embedding),
            nn.BatchNorm1d(embedding),
        )

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this network, as JSON can hold them."""
        return {
            "units": list(self.units), "channels": list(self.channels), "embedding": self.embedding,
            "input_size": self.input_size, "stem": self.stem, "squeeze": self.squeeze, "crop": self.crop,
        }  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Features of unit length; what the face's crop must look like is in `identity_features`."""
        return F.normalize(self.output_layer(self.features(x)[-1]), dim=1)


def identity_crop(net: IRSE, images: Tensor) -> Tensor:
    """The network's input (B, 3, s, s), made of pictures (B, 3, H, W) in [-1, 1].

    With crop "ffhq" that is the published preprocessing of SDD and StyleCLIP: average-pooled to 256×256 unless the
    height is that (smaller pictures are enlarged by it), rows 35:223 and columns 32:220, average-pooled to the input
    size.
    """
    if net.crop == "ffhq":
        if images.shape[2] != 256:
            images = F.adaptive_avg_pool2d(images, 256)
        images = images[:, :, 35:223, 32:220]
    return F.adaptive_avg_pool2d(images, net.input_size)


def identity_features(net: IRSE, images: Tensor) -> Tensor:
    """Unit-length features (B, embedding) of pictures (B, 3, H, W) in [-1, 1]; their scalar product is the likeness."""
    return net(identity_crop(net, images))
