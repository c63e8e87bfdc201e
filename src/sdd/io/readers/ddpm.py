"""Pixel-space diffusion models of the literature, read into networks: DDPM, improved DDPM, DiffAE.

The first two become diffusers' `UNet2DModel` (its own conversion scripts are wrong for these files: one stops with a
KeyError, the other splits q, k, v wrongly for several heads). The files hold tensors only, so everything else is
inferred from names and shapes. What shapes cannot tell, with the published models' value as the default:

* the head size of improved DDPM: 64, or half of the base channels where those are fewer than 128; `head_size` sets it;
* the heads of DiffAE: 1; `heads` sets them;
* the image size: attention sits at 16x16 in every published model (at 32, 16 and 8 in ImageNet-512's); it only sets
  `sample_size`;
* GroupNorm of 32 groups, eps 1e-6 (DDPM) and 1e-5 (the others), linear betas 1e-4 ... 0.02 in 1000 steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sdd.errors import SddError
from sdd.io.readers.unet import convert, described, unet
from sdd.io.readers.unwrap import Read, bare, count, width

# --- DDPM ---


def is_ddpm(raw: Any) -> bool:
    """Does this look like a DDPM: a bare state dict, or the training list of the original DDIM code?"""
    tensors, _ = bare(raw)
    return {"temb.dense.0.weight", "down.0.block.0.conv1.weight", "conv_in.weight"} <= tensors.keys()


def read_ddpm(raw: Any, label: str = "the checkpoint") -> Read:
    """A DDPM U-Net (CelebA-HQ, LSUN and fine-tunes of them by DiffusionCLIP) as a diffusers `UNet2DModel`.

    Returns:
        The network (noise = net(x_t (B, 3, H, W) in [-1, 1], t).sample), its configuration, warnings.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over, named in the message.
    """
    tensors, warnings = bare(raw)
    levels = count(tensors, r"down\.(\d+)\.block\.")
    blocks = count(tensors, r"down\.0\.block\.(\d+)\.")
    channels = [width(tensors, f"down.{i}.block.0.conv1.weight", label, "a DDPM U-Net") for i in range(levels)]
    first = width(tensors, "conv_in.weight", label, "a DDPM U-Net")
    what = f"a DDPM U-Net of {blocks} blocks a level with {', '.join(map(str, channels))} channels"
    attention = [i for i in range(levels) if f"down.{i}.attn.0.q.weight" in tensors]
    if levels > 1 and "down.0.downsample.conv.weight" not in tensors:
        raise SddError(f"{label} looks like {what} that resamples without convolutions, which is not supported")
    config: dict[str, Any] = {
        "sample_size": 16 << attention[0] if attention else None,
        "in_channels": int(tensors["conv_in.weight"].shape[1]),
        "out_channels": width(tensors, "conv_out.weight", label, what),
        "down_block_types": [("AttnDownBlock2D" if i in attention else "DownBlock2D") for i in range(levels)],
        "up_block_types": [("AttnUpBlock2D" if i in attention else "UpBlock2D") for i in reversed(range(levels))],
        "block_out_channels": channels,
        "layers_per_block": blocks,
        "downsample_padding": 0,
        "attention_head_dim": None,
        "norm_eps": 1e-6,
        "freq_shift": 1,
        "flip_sin_to_cos": False,
    }

    def pairs() -> Iterator[tuple[str, str]]:
        yield from (("time_embedding.linear_1", "temb.dense.0"), ("time_embedding.linear_2", "temb.dense.1"))
        yield from (("conv_in", "conv_in"), ("conv_norm_out", "norm_out"), ("conv_out", "conv_out"))
        for i in range(levels):
            up = f"up_blocks.{levels - 1 - i}"
            for j in range(blocks):
                yield from ddpm_block(f"down_blocks.{i}.resnets.{j}", f"down.{i}.block.{j}")
                if i in attention:
                    yield from ddpm_attention(f"down_blocks.{i}.attentions.{j}", f"down.{i}.attn.{j}")
            for j in range(blocks + 1):
                yield from ddpm_block(f"{up}.resnets.{j}", f"up.{i}.block.{j}")
                if i in attention:
                    yield from ddpm_attention(f"{up}.attentions.{j}", f"up.{i}.attn.{j}")
            if i < levels - 1:
                yield f"down_blocks.{i}.downsamplers.0.conv", f"down.{i}.downsample.conv"
            if i:
                yield f"{up}.upsamplers.0.conv", f"up.{i}.upsample.conv"
        yield from ddpm_block("mid_block.resnets.0", "mid.block_1")
        yield from ddpm_attention("mid_block.attentions.0", "mid.attn_1")
        yield from ddpm_block("mid_block.resnets.1", "mid.block_2")

    net = unet(config, first, width(tensors, "temb.dense.0.weight", label, what))
    convert(net, dict(pairs()), tensors, label, what)
    return net, described(config, learned_variance=False), warnings


def ddpm_block(target: str, source: str) -> Iterator[tuple[str, str]]:
    names = {"norm1": "norm1", "conv1": "conv1", "time_emb_proj": "temb_proj", "norm2": "norm2", "conv2": "conv2"}
    for ours, theirs in {**names, "conv_shortcut": "nin_shortcut"}.items():
        yield f"{target}.{ours}", f"{source}.{theirs}"


def ddpm_attention(target: str, source: str) -> Iterator[tuple[str, str]]:
    for ours, theirs in {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}.items():
        yield f"{target}.{ours}", f"{source}.{theirs}"
