"""DiffAE: a semantic encoder, a U-Net conditioned on its code, and the small network that samples codes (arXiv
2111.15640).

The layout of the modules is that of the published checkpoints, so that their tensors fit by name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.nets.timesteps import guided_embedding

GROUPS = 32


class Block(nn.Module):
    """A residual block with two conditions: time scales and shifts, the semantic code scales (paper, equation 7).

    Without conditions (`time`, `code` = 0, as in the encoder) it ends after the first convolution. `resample` is "",
    "down" (average of 2x2) or "up" (nearest).
    """

    def __init__(self, channels: int, out: int, time: int = 0, code: int = 0, resample: str = "") -> None:
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1)
        )
        self.conditioned = bool(time)
        if self.conditioned:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * out))
            self.cond_emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(code, out))
            self.out_layers = nn.Sequential(
                nn.GroupNorm(GROUPS, out), nn.SiLU(), nn.Dropout(0.1), nn.Conv2d(out, out, 3, padding=1)
            )
        self.skip_connection = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.resample == "up" else x

    def forward(self, x: Tensor, time: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        norm, act, conv = self.in_layers
        h = conv(self._resampled(act(norm(x))))
        if self.conditioned:
            scale, shift = self.emb_layers(time)[:, :, None, None].chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = h * (1 + self.cond_emb_layers(code)[:, :, None, None])
            h = self.out_layers[1:](h)
        return self.skip_connection(self._resampled(x)) + h


class Attention(nn.Module):
    """Self-attention over the pixels, (B, C, H, W) to the same; `qkv` holds q, k, v of head after head."""

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, time: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        b, c, h, w = x.shape
        flat = x.reshape(b, c, h * w)
        q, k, v = (
            self.qkv(self.norm(flat)).reshape(b, self.heads, 3, c // self.heads, h * w).transpose(-1, -2).unbind(2)
        )
        out = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, h * w)
        return (flat + self.proj_out(out)).reshape(b, c, h, w)


class Stage(nn.ModuleList):
    """Blocks, attentions and plain convolutions applied one after the other."""

    def forward(self, x: Tensor, time: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, time, code)
        return x


def _down_path(
    inputs: int,
    first: int,
    channels: list[int],
    blocks: int,
    attention: list[int],
    heads: int,
    time: int = 0,
    code: int = 0,
) -> tuple[nn.ModuleList, list[int]]:
    """The stages from the image down, and the number of channels that each leaves."""
    stages, widths = [Stage([nn.Conv2d(inputs, first, 3, padding=1)])], [first]
    for level, out in enumerate(channels):
        for _ in range(blocks):
            layers: list[nn.Module] = [Block(widths[-1], out, time, code)]
            if level in attention:
                layers.append(Attention(out, heads))
            stages.append(Stage(layers))
            widths.append(out)
        if level < len(channels) - 1:
            stages.append(Stage([Block(out, out, time, code, "down")]))
            widths.append(out)
    return nn.ModuleList(stages), widths


class Encoder(nn.Module):
    """The semantic encoder: half a U-Net without time, then one vector per image.

    Args:
        channels: of each level; `first` of the first convolution.
        blocks: residual blocks a level.
        attention: levels that have it (0 = full resolution).
        code: length of the vector.
    """

    def __init__(
        self,
        channels: list[int],
        blocks: int,
        attention: list[int],
        first: int,
        code: int = 512,
        heads: int = 1,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        self.input_blocks, widths = _down_path(inputs, first, channels, blocks, attention, heads)
        width = widths[-1]
        self.middle_block = Stage([Block(width, width), Attention(width, heads), Block(width, width)])
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, code, 1), nn.Flatten()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] to codes (B, code)."""
        for stage in self.input_blocks:
            x = stage(x)
        return self.out(self.middle_block(x))


class LatentLayer(nn.Module):
    """One layer of `LatentNet`: linear, scaled by the time, layer norm, SiLU; `last` is linear alone."""

    def __init__(self, channels: int, out: int, time: int, last: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, out)
        self.last = last
        if not last:
            self.linear_emb = nn.Linear(time, out)
            self.cond_layers = nn.Sequential(nn.SiLU(), self.linear_emb)  # the file stores this tensor twice
            self.norm = nn.LayerNorm(out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.linear(x)
        return x if self.last else F.silu(self.norm(x * (1 + self.cond_layers(time))))


class LatentNet(nn.Module):
    """The network that denoises normalised codes (paper, section 4 and appendix A): an MLP that sees its input again
    at each layer.

    Args:
        code: length of a code. hidden: width. layers: how many. time: channels of the timestep embedding.
    """

    def __init__(self, code: int = 512, hidden: int = 2048, layers: int = 10, time: int = 64) -> None:
        super().__init__()
        self._config = {"code": code, "hidden": hidden, "layers": layers, "time": time}
        self.time_embed = nn.Sequential(nn.Linear(time, code), nn.SiLU(), nn.Linear(code, code))
        widths = [code] + [hidden + code] * (layers - 1)
        self.layers = nn.ModuleList(
            LatentLayer(width, code if i == layers - 1 else hidden, code, last=i == layers - 1)
            for i, width in enumerate(widths)
        )

    def config(self) -> dict[str, Any]:
        """Arguments that rebuild this network."""
        return dict(self._config)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Noisy normalised codes (B, code) at steps t (B,) to the predicted noise (B, code)."""
        time = self.time_embed(guided_embedding(t, self._config["time"]))
        h = x
        for i, layer in enumerate(self.layers):
            h = layer(torch.cat([h, x], dim=1) if i else h, time)
        return h


class DiffAE(nn.Module):
    """The autoencoder: `encode` an image to its semantic code, predict noise given the code.

    Args:
        first: channels of the first convolution and of the timestep embedding.
        channels, blocks, attention: of the U-Net, by level, finest first.
        encoder_channels, encoder_blocks, encoder_attention: the same for the encoder.
        code: length of the semantic code. heads: of every attention. time: width of the time embedding.
    """

    def __init__(
        self,
        first: int,
        channels: list[int],
        blocks: int,
        attention: list[int],
        encoder_channels: list[int],
        encoder_blocks: int,
        encoder_attention: list[int],
        encoder_first: int | None = None,
        code: int = 512,
        time: int = 512,
        heads: int = 1,
    ) -> None:
        super().__init__()
        self._config: dict[str, Any] = {
            "first": first,
            "channels": list(channels),
            "blocks": blocks,
            "attention": list(attention),
            "encoder_channels": list(encoder_channels),
            "encoder_blocks": encoder_blocks,
            "encoder_attention": list(encoder_attention),
            "encoder_first": encoder_first or first,
            "code": code,
            "time": time,
            "heads": heads,
        }
        self.time_embed = nn.ModuleDict(
            {"time_embed": nn.Sequential(nn.Linear(first, time), nn.SiLU(), nn.Linear(time, time))}
        )
        self.input_blocks, skips = _down_path(3, first, channels, blocks, attention, heads, time, code)
        width = skips[-1]
        self.middle_block = Stage(
            [Block(width, width, time, code), Attention(width, heads), Block(width, width, time, code)]
        )
        stages = []
        for level, out in reversed(list(enumerate(channels))):
            for i in range(blocks + 1):
                layers: list[nn.Module] = [Block(width + skips.pop(), out, time, code)]
                width = out
                if level in attention:
                    layers.append(Attention(out, heads))
                if level and i == blocks:
                    layers.append(Block(out, out, time, code, "up"))
                stages.append(Stage(layers))
        self.output_blocks = nn.ModuleList(stages)
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1))
        self.encoder = Encoder(encoder_channels, encoder_blocks, encoder_attention, encoder_first or first, code, heads)

    def config(self) -> dict[str, Any]:
        """Arguments that rebuild this network: `DiffAE(**net.config())`."""
        return dict(self._config)

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] to semantic codes (B, code)."""
        return self.encoder(images)

    def forward(self, x: Tensor, t: Tensor | int, code: Tensor) -> Tensor:
        """The noise in x (B, 3, H, W) at step t (a number or (B,)), given semantic codes (B, code)."""
        steps = torch.as_tensor(t, device=x.device).reshape(-1).expand(len(x))
        time = self.time_embed["time_embed"](guided_embedding(steps, self._config["first"]))
        h, skips = x, []
        for stage in self.input_blocks:
            h = stage(h, time, code)
            skips.append(h)
        h = self.middle_block(h, time, code)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, skips.pop()], dim=1), time, code)
        return self.out(h)


class LatentClassifier(nn.Module):
    """DiffAE's attribute classifier: one linear layer on normalised codes. Its weight rows are the edit directions.

    Args:
        code: length of a code. classes: number of attributes (40 for CelebA).
    """

    def __init__(self, code: int = 512, classes: int = 40) -> None:
        super().__init__()
        self.classifier = nn.Linear(code, classes)
        self.conds_mean: Tensor
        self.conds_std: Tensor
        self.register_buffer("conds_mean", torch.zeros(code))
        self.register_buffer("conds_std", torch.ones(code))

    def forward(self, codes: Tensor) -> Tensor:
        """Semantic codes (B, code), not normalised, to logits (B, classes)."""
        return self.classifier((codes - self.conds_mean) / self.conds_std)
