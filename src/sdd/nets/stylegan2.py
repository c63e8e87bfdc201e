"""StyleGAN2's generator (Karras et al., CVPR 2020, arXiv 1912.04958), in the names most published weights have.

Modulation scales the input channels of an ordinary convolution and demodulation its output channels; that equals
convolving with a modulated kernel for every sample, and needs no grouped convolution, which is what makes it quick on
a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SQRT2 = math.sqrt(2)
EPS = 1e-8
Noise = str | Sequence[Tensor]


class PixelNorm(nn.Module):
    """Unit mean square along dim 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPS)


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate; with `activate`, followed by leaky ReLU 0.2 times √2."""

    def __init__(self, cin: int, cout: int, lr_mul: float = 1.0, bias: float = 0.0, activate: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cout, cin) / lr_mul)
        self.bias = nn.Parameter(torch.full((cout,), bias / lr_mul))
        self.scale, self.lr_mul, self.activate = lr_mul / math.sqrt(cin), lr_mul, activate

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.scale, self.bias * self.lr_mul)
        return F.leaky_relu(x, 0.2) * SQRT2 if self.activate else x


def blur_kernel() -> Tensor:
    """outer([1, 3, 3, 1]) with sum 4: what doubling the size divides by 4 is given back."""
    k = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(k, k) / 16


class Blur(nn.Module):
    """(B, C, 2H+1, 2W+1) → (B, C, 2H, 2W). A depthwise convolution: twice as quick as slices that are added."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel())

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        return F.conv2d(x, self.kernel.flip(0, 1).to(x.dtype).expand(c, 1, -1, -1), padding=1, groups=c)


class Upsample(nn.Module):
    """(B, C, H, W) → (B, C, 2H, 2W): zeros between the pixels, then blurred."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel())

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(c, 1, -1, -1).contiguous()
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=c)


class _ModulatedConv(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: int, style_dim: int, upsample: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, cout, cin, kernel, kernel))
        self.modulation = EqualLinear(style_dim, cin, bias=1.0)
        self.scale, self.padding, self.upsample = 1 / math.sqrt(cin * kernel**2), kernel // 2, upsample
        if upsample:
            self.blur = Blur()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """The convolution of (B, cin, H, W) modulated by `style` (B, cin), not demodulated."""
        weight = self.weight[0] * self.scale
        x = x * style[:, :, None, None]
        if self.upsample:
            return self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        return F.conv2d(x, weight, padding=self.padding)

    def demodulation(self, style: Tensor) -> Tensor:
        """What brings each output channel back to unit variance, (B, cout)."""
        power = (self.weight[0] * self.scale).square().sum((2, 3))
        return torch.rsqrt(style.square() @ power.T + EPS)


class _Bias(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class _NoiseWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class _StyledConv(nn.Module):
    def __init__(self, cin: int, cout: int, style_dim: int, upsample: bool, clamp: float | None) -> None:
        super().__init__()
        self.conv = _ModulatedConv(cin, cout, 3, style_dim, upsample)
        self.noise = _NoiseWeight()
        self.activate = _Bias(cout)
        self.clamp = clamp

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        # The activation's √2 passes through the leaky ReLU, so it rides on the small factors instead of the big tensor.
        gain = self.conv.demodulation(style)[:, :, None, None] * SQRT2
        shift = self.activate.bias[:, None, None] * SQRT2
        if noise is not None:
            shift = shift + noise.to(x.dtype) * (self.noise.weight * SQRT2)
        x = F.leaky_relu_(torch.addcmul(shift, self.conv(x, style), gain), 0.2)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class _ToRGB(nn.Module):
    def __init__(self, cin: int, style_dim: int, upsample: bool, clamp: float | None) -> None:
        super().__init__()
        if upsample:
            self.upsample = Upsample()
        self.conv = _ModulatedConv(cin, 3, 1, style_dim)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.clamp = clamp

    def forward(self, x: Tensor, style: Tensor, skip: Tensor | None) -> Tensor:
        # To three channels it is quicker to modulate each picture's few weights than its pixels.
        weight = self.conv.weight[0, :, :, 0, 0] * self.conv.scale * style[:, None]
        x = (weight @ x.flatten(2)).unflatten(2, x.shape[2:]) + self.bias
        if self.clamp is not None:
            x = x.clamp(-self.clamp, self.clamp)
        return x if skip is None else x + self.upsample(skip)


class _Constant(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class Generator(nn.Module):
    """W+ code (B, n_latent, style_dim) → image (B, 3, size, size), nominally in [-1, 1], not clamped.

    Args:
        size: side of the image, a power of two from 8.
        style_dim: length of a w code.
        n_mlp: layers of the mapping network.
        channel_multiplier: 2 for NVIDIA's config-f, 1 for config-e; ignored where `channels` is given.
        channels: {resolution: channels} for every resolution from 4 to `size`; keys may be strings (JSON).
        lr_mlp: learning-rate multiplier of the mapping network; part of its arithmetic.
        conv_clamp: NVIDIA's bound on every activation and every to-RGB output; None for none.
        c_dim: length of the class label the mapping network also takes; 0 for none.
        z_dim: length of a z code; None for `style_dim`.

    Attributes:
        n_latent: codes a W+ has, 2·log2(size) − 2.
        latent_avg: mean w, the centre of truncation, (style_dim,); not in the state dict, beside which files keep it.
    """

    latent_avg: Tensor

    def __init__(
        self, size: int, style_dim: int = 512, n_mlp: int = 8, channel_multiplier: float = 2,
        channels: Mapping[Any, int] | None = None, lr_mlp: float = 0.01, conv_clamp: float | None = None,
        c_dim: int = 0, z_dim: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        log = size.bit_length() - 1
        if size != 1 << log or log < 3:
            raise ValueError(f"a generator's size is a power of two from 8, not {size}")
        resolutions = [2**i for i in range(2, log + 1)]
        if channels is None:
            channels = {r: 512 if r <= 32 else int(256 * channel_multiplier * 64 / r) for r in resolutions}
        given = {int(k): int(v) for k, v in channels.items()}
        if missing := [r for r in resolutions if r not in given]:
            raise ValueError(f"channels must be given for every resolution up to {size}; {missing} are missing")
        self.size, self.style_dim, self.n_mlp, self.lr_mlp = size, style_dim, n_mlp, lr_mlp
        self.conv_clamp, self.c_dim, self.z_dim = conv_clamp, c_dim, style_dim if z_dim is None else z_dim
        self.channels = {r: given[r] for r in resolutions}
        self.n_latent = 2 * log - 2
        widths = [self.z_dim + (style_dim if c_dim else 0), *[style_dim] * n_mlp]
        layers = (EqualLinear(a, b, lr_mlp, activate=True) for a, b in pairwise(widths))
        self.style = nn.Sequential(PixelNorm(), *layers)
        if c_dim:
            self.embed = EqualLinear(c_dim, style_dim)
        ch = self.channels
        self.input = _Constant(ch[4])
        self.conv1 = _StyledConv(ch[4], ch[4], style_dim, False, conv_clamp)
        self.to_rgb1 = _ToRGB(ch[4], style_dim, False, conv_clamp)
        self.convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        self.noises.register_buffer("noise_0", torch.randn(1, 1, 4, 4))
        for r in resolutions[1:]:
            self.convs.append(_StyledConv(ch[r // 2], ch[r], style_dim, True, conv_clamp))
            self.convs.append(_StyledConv(ch[r], ch[r], style_dim, False, conv_clamp))
            self.to_rgbs.append(_ToRGB(ch[r], style_dim, True, conv_clamp))
            for k in (len(self.convs) - 1, len(self.convs)):
                self.noises.register_buffer(f"noise_{k}", torch.randn(1, 1, r, r))
        self.register_buffer("latent_avg", torch.zeros(style_dim), persistent=False)

    @property
    def style_dims(self) -> list[int]:
        """Length of every style vector, in the order of `styles`."""
        return [conv.weight.shape[2] for conv, _ in self._modulated()]

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this network, as JSON can hold them."""
        return {
            "size": self.size, "style_dim": self.style_dim, "n_mlp": self.n_mlp,
            "channels": {str(k): v for k, v in self.channels.items()}, "lr_mlp": self.lr_mlp,
            "conv_clamp": self.conv_clamp, "c_dim": self.c_dim, "z_dim": self.z_dim,
        }  # fmt: skip

    def mapping(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z (B, z_dim), standard normal → w (B, style_dim). Class-conditional networks take a label c (B, c_dim)."""
        norm, layers = self.style[0], self.style[1:]
        x = norm(z)
        if self.c_dim:
            if c is None:
                raise ValueError(f"this generator is class-conditional: mapping needs a label (B, {self.c_dim})")
            x = torch.cat([x, norm(self.embed(c.to(x.dtype)))], 1)
        return layers(x)

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """w (B, D) or W+ (B, L, D) moved towards the mean: avg + psi (w − avg). As published, psi ≥ 1 does nothing."""
        return w if psi >= 1 else self.latent_avg + psi * (w - self.latent_avg)

    @torch.no_grad()
    def mean_latent(self, count: int = 4096, seed: int = 0) -> Tensor:
        """The mean w (D,) of `count` z drawn from `seed`; of random labels, one-hot, for class-conditional networks."""
        random = torch.Generator().manual_seed(seed)
        at = self.input.input
        z = torch.randn(count, self.z_dim, generator=random).to(at)
        c = None
        if self.c_dim:
            c = F.one_hot(torch.randint(self.c_dim, (count,), generator=random), self.c_dim).to(at)
        return self.mapping(z, c).mean(0)

    @torch.no_grad()
    def draw_noise(self, seed: int) -> None:
        """Replace the stored noise by noise drawn from `seed`."""
        random = torch.Generator().manual_seed(seed)
        for buffer in self.noises.buffers():
            buffer.copy_(torch.randn(buffer.shape, generator=random))

    def styles(self, wplus: Tensor) -> list[Tensor]:
        """The StyleSpace code of W+ (B, L, D) or W (B, D): factors of every convolution's input channels, (B, C) each.

        Order: conv1, to_rgb1, then upsampling convolution, convolution, to-RGB of every resolution. A to-RGB layer
        shares its w with the next upsampling convolution.
        """
        if wplus.ndim == 2:
            wplus = wplus[:, None].expand(-1, self.n_latent, -1)
        if wplus.shape[1:] != (self.n_latent, self.style_dim):
            raise ValueError(
                f"a W+ code of this generator is (B, {self.n_latent}, {self.style_dim}), not {tuple(wplus.shape)}"
            )
        return [conv.modulation(wplus[:, k]) for conv, k in self._modulated()]

    def _modulated(self) -> list[tuple[_ModulatedConv, int]]:
        """Every modulated convolution with the W+ layer it listens to."""
        layers: list[tuple[Any, int]] = [(self.conv1, 0), (self.to_rgb1, 1)]
        for j, to_rgb in enumerate(self.to_rgbs):
            k = 2 * j + 1
            layers += [(self.convs[2 * j], k), (self.convs[2 * j + 1], k + 1), (to_rgb, k + 2)]
        return [(layer.conv, k) for layer, k in layers]

    def forward(self, wplus: Tensor, noise: Noise = "const") -> Tensor:
        """`synthesis`."""
        return self.synthesis(wplus, noise)

    def synthesis(self, wplus: Tensor, noise: Noise = "const", random: torch.Generator | None = None) -> Tensor:
        """The images (B, 3, size, size) of W+ codes (B, L, D), or of W codes (B, D) used for all layers.

        Args:
            noise: "const" for the stored noise, "random" for fresh noise (from `random`, a CPU generator), "none", or
                a list of maps broadcastable to (B, 1, r, r), one for each convolution.
        """
        return self.synthesis_from_styles(self.styles(wplus), noise, random)

    def synthesis_from_styles(
        self, styles: Sequence[Tensor], noise: Noise = "const", random: torch.Generator | None = None
    ) -> Tensor:
        """The images of StyleSpace codes, as `styles` gives them or as StyleCLIP keeps them, (B, 1, C, 1, 1) each."""
        styles = [s.flatten(1) for s in styles]
        lengths = [s.shape[1] for s in styles]
        if lengths != self.style_dims:
            raise ValueError(f"a StyleSpace code of this generator has vectors of {self.style_dims}, not {lengths}")
        batch = styles[0].shape[0]  # unlike `len` a number that an exported graph may leave open
        maps = self._noise(noise, batch, random)
        # Channels last is what the convolutions are quickest in, on a CPU by a third.
        x = self.input.input.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.conv1(x, styles[0], maps[0])
        rgb = self.to_rgb1(x, styles[1], None)
        for j, to_rgb in enumerate(self.to_rgbs):
            x = self.convs[2 * j](x, styles[3 * j + 2], maps[2 * j + 1])
            x = self.convs[2 * j + 1](x, styles[3 * j + 3], maps[2 * j + 2])
            rgb = to_rgb(x, styles[3 * j + 4], rgb)
        return rgb

    def _noise(self, noise: Noise, batch: int, random: torch.Generator | None) -> Sequence[Tensor | None]:
        stored = list(self.noises.buffers())
        if not isinstance(noise, str):
            if len(noise) != len(stored):
                raise ValueError(f"this generator takes {len(stored)} noise maps, not {len(noise)}")
            return noise
        match noise:
            case "const":
                return stored
            case "none":
                return [None] * len(stored)
            case "random":
                return [torch.randn(batch, *s.shape[1:], generator=random).to(s) for s in stored]
        raise ValueError(f"noise must be const, random, none or a list of maps, not {noise!r}")
