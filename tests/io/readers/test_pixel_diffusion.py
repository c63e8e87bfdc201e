"""Pixel diffusion U-Nets of many shapes: every hyperparameter is inferred, the arithmetic that of the definition.

The reference here is the definition written down as a function. It draws each parameter when it first needs it, so
running it once makes a state dict in the original naming for any configuration.
"""

import math

import pytest
import torch
from torch.nn import functional as F

from sdd.errors import SddError
from sdd.io import inspect, load


class Parameters(dict):
    """Tensors by name, drawn when first asked for."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def get(self, name, *shape, around=0.0):
        if name not in self:
            scale = 0.1 if len(shape) == 1 else 1 / math.sqrt(math.prod(shape[1:]))
            self[name] = around + scale * torch.randn(shape, generator=self.generator)
        return self[name]

    def norm(self, name, x, eps):
        c = x.shape[1]
        return F.group_norm(x, 32, self.get(f"{name}.weight", c, around=1.0), self.get(f"{name}.bias", c), eps)

    def conv(self, name, x, out, size=3, **options):
        w = self.get(f"{name}.weight", out, x.shape[1], size, size)
        return F.conv2d(x, w, self.get(f"{name}.bias", out), **{"padding": size // 2, **options})

    def linear(self, name, x, out):
        return F.linear(x, self.get(f"{name}.weight", out, x.shape[-1]), self.get(f"{name}.bias", out))


def ddpm(p, x, t, ch, mult, blocks, attention, out=3):
    """DDPM's U-Net."""
    half = ch // 2
    angles = t.float()[:, None] * torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
    temb = p.linear("temb.dense.0", torch.cat([angles.sin(), angles.cos()], 1), 4 * ch)
    temb = F.silu(p.linear("temb.dense.1", F.silu(temb), 4 * ch))

    def block(name, h, channels):
        y = p.conv(f"{name}.conv1", F.silu(p.norm(f"{name}.norm1", h, 1e-6)), channels)
        y = y + p.linear(f"{name}.temb_proj", temb, channels)[:, :, None, None]
        y = p.conv(f"{name}.conv2", F.silu(p.norm(f"{name}.norm2", y, 1e-6)), channels)
        return y + (h if h.shape[1] == channels else p.conv(f"{name}.nin_shortcut", h, channels, 1))

    def attend(name, h):
        b, c, *size = h.shape
        y = p.norm(f"{name}.norm", h, 1e-6)
        q, k, v = (p.conv(f"{name}.{n}", y, c, 1).flatten(2) for n in "qkv")
        y = v @ (q.transpose(1, 2) @ k * c**-0.5).softmax(-1).transpose(1, 2)
        return h + p.conv(f"{name}.proj_out", y.reshape(b, c, *size), c, 1)

    skips = [p.conv("conv_in", x, ch)]
    for i, m in enumerate(mult):
        for j in range(blocks):
            h = block(f"down.{i}.block.{j}", skips[-1], ch * m)
            skips.append(attend(f"down.{i}.attn.{j}", h) if i in attention else h)
        if i < len(mult) - 1:
            skips.append(
                p.conv(f"down.{i}.downsample.conv", F.pad(skips[-1], (0, 1, 0, 1)), ch * m, stride=2, padding=0)
            )
    h = block("mid.block_1", skips[-1], ch * mult[-1])
    h = block("mid.block_2", attend("mid.attn_1", h), ch * mult[-1])
    for i, m in reversed(list(enumerate(mult))):
        for j in range(blocks + 1):
            h = block(f"up.{i}.block.{j}", torch.cat([h, skips.pop()], 1), ch * m)
            h = attend(f"up.{i}.attn.{j}", h) if i in attention else h
        if i:
            h = p.conv(f"up.{i}.upsample.conv", F.interpolate(h, scale_factor=2.0), ch * m)
    return p.conv("conv_out", F.silu(p.norm("norm_out", h, 1e-6)), out)


def guided(p, x, t, base, channels, blocks, attention, head, out=6, updown=True, shift=True):
    """Improved DDPM's U-Net in the layout of guided diffusion."""
    half = base // 2
    angles = t.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
    emb = p.linear("time_embed.0", torch.cat([angles.cos(), angles.sin()], 1), 4 * base)
    emb = F.silu(p.linear("time_embed.2", F.silu(emb), 4 * base))

    def block(name, h, c, resample=lambda y: y):
        y = p.conv(f"{name}.in_layers.2", resample(F.silu(p.norm(f"{name}.in_layers.0", h, 1e-5))), c)
        e = p.linear(f"{name}.emb_layers.1", emb, 2 * c if shift else c)[:, :, None, None]
        if shift:
            scale, add = e.chunk(2, 1)
            y = p.norm(f"{name}.out_layers.0", y, 1e-5) * (1 + scale) + add
        else:
            y = p.norm(f"{name}.out_layers.0", y + e, 1e-5)
        y = p.conv(f"{name}.out_layers.3", F.silu(y), c)
        h = resample(h)
        return y + (h if h.shape[1] == c else p.conv(f"{name}.skip_connection", h, c, 1))

    def attend(name, h):
        b, c, height, side = h.shape
        y = p.norm(f"{name}.norm", h, 1e-5).flatten(2)
        y = F.conv1d(y, p.get(f"{name}.qkv.weight", 3 * c, c, 1), p.get(f"{name}.qkv.bias", 3 * c))
        heads = []
        for part in y.split(3 * head, 1):  # head by head: its q, k, v
            q, k, v = part.split(head, 1)
            heads.append(v @ (q.transpose(1, 2) @ k * head**-0.5).softmax(-1).transpose(1, 2))
        y = F.conv1d(torch.cat(heads, 1), p.get(f"{name}.proj_out.weight", c, c, 1), p.get(f"{name}.proj_out.bias", c))
        return h + y.reshape(b, c, height, side)

    def down(y):
        return F.avg_pool2d(y, 2)

    def up(y):
        return F.interpolate(y, scale_factor=2.0)

    skips, n = [p.conv("input_blocks.0.0", x, channels[0])], 0
    for i, c in enumerate(channels):
        for _ in range(blocks):
            n += 1
            h = block(f"input_blocks.{n}.0", skips[-1], c)
            skips.append(attend(f"input_blocks.{n}.1", h) if i in attention else h)
        if i < len(channels) - 1:
            n += 1
            name = f"input_blocks.{n}.0"
            skips.append(block(name, skips[-1], c, down) if updown else p.conv(f"{name}.op", skips[-1], c, stride=2))
    h = block("middle_block.0", skips[-1], channels[-1])
    h = block("middle_block.2", attend("middle_block.1", h), channels[-1])
    n = 0
    for i, c in reversed(list(enumerate(channels))):
        for j in range(blocks + 1):
            h = block(f"output_blocks.{n}.0", torch.cat([h, skips.pop()], 1), c)
            h = attend(f"output_blocks.{n}.1", h) if i in attention else h
            if i and j == blocks:
                name = f"output_blocks.{n}.{2 if i in attention else 1}"
                h = block(name, h, c, up) if updown else p.conv(f"{name}.conv", up(h), c)
            n += 1
    return p.conv("out.2", F.silu(p.norm("out.0", h, 1e-5)), out)


X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
T = torch.tensor([3, 960])


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [
        {"ch": 32, "mult": (1, 2), "blocks": 1, "attention": {1}},
        {"ch": 64, "mult": (1,), "blocks": 1, "attention": set()},
        {"ch": 32, "mult": (1, 3, 2), "blocks": 3, "attention": {1, 2}, "out": 6},
    ],
)
def test_ddpm_of_any_shape(config):
    p = Parameters()
    want = ddpm(p, X, T, **config)
    found = load(dict(p))
    assert found.kind == "ddpm" and found.config["net"]["block_out_channels"] == [
        config["ch"] * m for m in config["mult"]
    ]
    assert (found.module(X, T).sample - want).abs().max() / want.std() < 2e-5


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [
        {"base": 32, "channels": (32, 64), "blocks": 2, "attention": {1}, "head": 16},
        {"base": 128, "channels": (128,), "blocks": 1, "attention": {0}, "head": 64, "out": 3},
        {"base": 64, "channels": (64, 64, 96), "blocks": 1, "attention": {0, 1, 2}, "head": 32},
        {"base": 32, "channels": (32, 64, 64), "blocks": 3, "attention": {2}, "head": 16, "updown": False},
        {"base": 32, "channels": (32, 32), "blocks": 1, "attention": set(), "head": 16, "shift": False},
        # ImageNet-512's: the finest level has half of the base channels
        {"base": 64, "channels": (32, 64, 64, 128), "blocks": 2, "attention": {1, 2, 3}, "head": 32},
    ],
)
def test_improved_ddpm_of_any_shape(config):
    p = Parameters()
    want = guided(p, X, T, **config)
    found = load({**p, "label_emb.weight": torch.randn(10, 4 * config["base"])})
    assert found.kind == "improved-ddpm" and any("class embedding" in w for w in found.warnings)
    assert found.config["learned_variance"] is (config.get("out", 6) == 6)
    assert (found.module(X, T).sample - want).abs().max() / want.std() < 2e-5


@torch.no_grad()
def test_head_size_can_be_given():
    p = Parameters()
    config = {"base": 32, "channels": (32, 64), "blocks": 1, "attention": {1}}
    want = guided(p, X, T, **config, head=8)
    assert (load(dict(p), head_size=8).module(X, T).sample - want).abs().max() / want.std() < 2e-5


def published(function, **config):
    """Names and shapes of a published model, without its size."""
    p = Parameters()
    p.get = lambda name, *shape, around=0.0: p.setdefault(name, torch.empty(shape, device="meta"))
    function(
        p,
        torch.empty(1, 3, config.pop("side"), config.pop("width"), device="meta"),
        torch.empty(1, device="meta"),
        **config,
    )
    return dict(p)


@pytest.mark.parametrize(
    "function, config, tensors, millions, size",
    [
        (
            ddpm,
            {"side": 256, "width": 256, "ch": 128, "mult": (1, 1, 2, 2, 4, 4), "blocks": 2, "attention": {4}},
            450,
            113.67,
            256,
        ),
        (
            guided,
            {
                "side": 256,
                "width": 256,
                "base": 128,
                "channels": (128, 128, 256, 256, 512, 512),
                "blocks": 1,
                "attention": {4},
                "head": 64,
            },
            362,
            93.56,
            256,
        ),
        (
            guided,
            {
                "side": 512,
                "width": 512,
                "base": 256,
                "channels": (128, 256, 256, 512, 512, 1024, 1024),
                "blocks": 2,
                "attention": {4, 5, 6},
                "head": 64,
            },
            644,
            558,
            512,
        ),
    ],
)
def test_published_sizes(monkeypatch, function, config, tensors, millions, size):
    """The three published layouts are recognised with their image size; no memory is taken for their values."""
    real = torch.arange
    monkeypatch.setattr(torch, "arange", lambda *a, **k: real(*a, **{"device": "meta", **k}))
    found = published(function, **config)
    monkeypatch.undo()
    assert len(found) == tensors and sum(v.numel() for v in found.values()) / 1e6 == pytest.approx(millions, abs=1)
    loaded = load(found)
    assert loaded.config["image_size"] == size
    if function is guided:
        assert loaded.config["net"]["attention_head_dim"] == 64


def test_inspect_names_the_architecture(tmp_path):
    p = Parameters()
    ddpm(p, X, T, 32, (1, 2), 1, {1})
    torch.save(dict(p), tmp_path / "model.ckpt")
    found = inspect(tmp_path / "model.ckpt")
    assert found.kind == "ddpm" and found.hyperparameters["net"]["block_out_channels"] == [32, 64]
    assert found.values == sum(v.numel() for v in p.values()) and found.problem is None
    assert "block_out_channels" in str(found) and found.to_json()["kind"] == "ddpm"


def test_what_is_no_checkpoint_is_described(tmp_path):
    with pytest.raises(SddError, match=r"looks like a one-file Stable Diffusion \(2 tensors.*give it as --teacher"):
        load({f"model.diffusion_model.input_blocks.0.0.{kind}": torch.ones(4, 4) for kind in ("weight", "bias")})
    with pytest.raises(SddError, match=r"looks like nothing that is known here \(a container of foo"):
        load({"foo": 1})
    with pytest.raises(SddError, match="there is no kind 'unet3'"):
        load({}, kind="unet3")
    with pytest.raises(SddError, match="has no option 'head'"):
        load({**fill_ddpm()}, head=3)
    with pytest.raises(SddError, match=r"folder .* is not a checkpoint: it is empty"):
        load(tmp_path)


def fill_ddpm():
    p = Parameters()
    ddpm(p, X, T, 32, (1,), 1, set())
    return p
