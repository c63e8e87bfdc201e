"""Improved DDPM and guided diffusion U-Nets (arXiv 2102.09672, 2105.05233)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from sdd.errors import SddError
from sdd.io.readers.unet import convert, described, unet
from sdd.io.readers.unwrap import Read, bare, count, width

# --- improved DDPM ---


def is_improved_ddpm(raw: Any) -> bool:
    """Does this look like a guided-diffusion U-Net without text (AFHQ, FFHQ, ImageNet)?"""
    tensors, _ = bare(raw)
    names = {"time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.1.qkv.weight", "out.2.weight"}
    return names <= tensors.keys() and not any(".transformer_blocks." in k for k in tensors)


def read_improved_ddpm(raw: Any, label: str = "the checkpoint", head_size: int | None = None) -> Read:
    """An improved-DDPM U-Net (guided-diffusion layout) as a diffusers `UNet2DModel`.

    With learned variance it has twice as many output channels; the predicted noise is the first half. The class
    embedding of ImageNet-512's model is ignored, as DiffusionCLIP does.

    Args:
        head_size: channels of an attention head; see the module's docstring for the default.

    Returns:
        The network (net(x_t (B, 3, H, W) in [-1, 1], t).sample), its configuration, warnings.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over; or the head size does not divide the channels.
    """
    tensors, warnings = bare(raw)
    shape = guided_layout(tensors, label)
    channels, blocks, attention, levels = shape["channels"], shape["blocks"], shape["attention"], len(shape["channels"])
    what = f"an improved-DDPM U-Net of {blocks} blocks a level with {', '.join(map(str, channels))} channels"
    base = int(tensors["time_embed.0.weight"].shape[1])
    attended = [channels[i] for i in attention] + [channels[-1]]
    if head_size is None:
        head_size = next(
            n for n in (64 if base >= 128 else base // 2, 32, 16, 8, 4, 2, 1) if all(c % n == 0 for c in attended)
        )
        warnings.append(
            f"the head size is not stored in such files; {head_size} is assumed, give head_size=... if that is wrong"
        )
    if head_size < 1 or any(c % head_size for c in attended):
        raise SddError(
            f"a head size of {head_size} does not divide the attention channels {attended} of {label}; give another "
            "head_size"
        )
    if "label_emb.weight" in tensors:
        warnings.append(f"the class embedding ({len(tensors['label_emb.weight'])} classes) is not used")
    # one attention level: it is at 16x16; three: at 32, 16 and 8
    finest = {1: 16, 2: 16, 3: 32}.get(len(attention), 16)
    resnet = shape["resampling"] == "resnet"
    down, up = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if resnet else ("DownBlock2D", "UpBlock2D")
    config: dict[str, Any] = {
        "sample_size": finest << attention[0] if attention else None,
        "in_channels": int(tensors["input_blocks.0.0.weight"].shape[1]),
        "out_channels": width(tensors, "out.2.weight", label, what),
        "down_block_types": [("AttnDownBlock2D" if i in attention else down) for i in range(levels)],
        "up_block_types": [("AttnUpBlock2D" if i in attention else up) for i in reversed(range(levels))],
        "block_out_channels": channels,
        "layers_per_block": blocks,
        "downsample_type": shape["resampling"],
        "upsample_type": shape["resampling"],
        "attention_head_dim": head_size,
        "attn_norm_num_groups": 32,
        "resnet_time_scale_shift": "scale_shift" if shape["scale_shift"] else "default",
        "norm_eps": 1e-5,
        "freq_shift": 0,
        "flip_sin_to_cos": True,
    }

    def pairs() -> Iterator[tuple[str, str]]:
        yield from (("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"))
        yield from (("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2"))
        for i in range(levels):
            for j in range(blocks):
                source = f"input_blocks.{1 + i * (blocks + 1) + j}"
                yield from guided_block(f"down_blocks.{i}.resnets.{j}", f"{source}.0")
                if i in attention:
                    yield from guided_attention(f"down_blocks.{i}.attentions.{j}", f"{source}.1")
            if i < levels - 1:
                target, source = f"down_blocks.{i}.downsamplers.0", f"input_blocks.{(i + 1) * (blocks + 1)}.0"
                yield from guided_block(target, source) if resnet else ((f"{target}.conv", f"{source}.op"),)
            for j in range(blocks + 1):  # output blocks start at the coarsest level
                source = f"output_blocks.{i * (blocks + 1) + j}"
                attended = levels - 1 - i in attention
                yield from guided_block(f"up_blocks.{i}.resnets.{j}", f"{source}.0")
                if attended:
                    yield from guided_attention(f"up_blocks.{i}.attentions.{j}", f"{source}.1")
                if j == blocks and i < levels - 1:
                    target, source = f"up_blocks.{i}.upsamplers.0", f"{source}.{2 if attended else 1}"
                    yield from guided_block(target, source) if resnet else ((f"{target}.conv", f"{source}.conv"),)
        yield from guided_block("mid_block.resnets.0", "middle_block.0")
        yield from guided_attention("mid_block.attentions.0", "middle_block.1")
        yield from guided_block("mid_block.resnets.1", "middle_block.2")

    net = unet(config, base, int(tensors["time_embed.0.weight"].shape[0]))
    unused = {k for k in tensors if k.startswith("label_emb.")}
    convert(net, dict(pairs()), tensors, label, what, head_size, unused)
    return net, described(config, learned_variance=config["out_channels"] == 2 * config["in_channels"]), warnings


def guided_block(target: str, source: str) -> Iterator[tuple[str, str]]:
    names = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0"}
    for ours, theirs in {**names, "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}.items():
        yield f"{target}.{ours}", f"{source}.{theirs}"


def guided_attention(target: str, source: str) -> Iterator[tuple[str, str]]:
    yield f"{target}.group_norm", f"{source}.norm"
    for i, name in enumerate(("to_q", "to_k", "to_v")):
        yield f"{target}.{name}", f"{source}.qkv#{i}"
    yield f"{target}.to_out.0", f"{source}.proj_out"


def guided_layout(tensors: Mapping[str, Tensor], label: str) -> dict[str, Any]:
    """Levels of a guided-diffusion U-Net from its names and shapes.

    A downsampling residual block looks like any other, but an upsampling one is an extra member of its output block:
    there is one for every level but the finest.
    """
    what = "a guided-diffusion U-Net"
    inputs, outputs = count(tensors, r"input_blocks\.(\d+)\."), count(tensors, r"output_blocks\.(\d+)\.")
    ups = {k.split(".")[1] for k in tensors if re.match(r"output_blocks\.\d+\.[12]\.(in_layers\.2|conv)\.weight", k)}
    levels = len(ups) + 1
    blocks = inputs // levels - 1
    if blocks < 1 or inputs != levels * (blocks + 1) or outputs != inputs:
        raise SddError(
            f"{label} looks like {what}, but {inputs} input blocks, {outputs} output blocks and {len(ups)} "
            "upsamplings do not make one"
        )
    starts = [1 + i * (blocks + 1) for i in range(levels)]
    channels = [width(tensors, f"input_blocks.{s}.0.in_layers.2.weight", label, what) for s in starts]
    time = width(tensors, "input_blocks.1.0.emb_layers.1.weight", label, what)
    return {
        "channels": channels,
        "blocks": blocks,
        "attention": [i for i, s in enumerate(starts) if f"input_blocks.{s}.1.qkv.weight" in tensors],
        "resampling": "conv" if any(k.endswith(".0.op.weight") for k in tensors) else "resnet",
        "scale_shift": time == 2 * channels[0],
    }
