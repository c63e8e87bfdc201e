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

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.weights import fill, refuse_unused, take
from sdd.nets.diffae import DiffAE, LatentClassifier, LatentNet
from sdd.nets.timesteps import Timesteps

SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
Tensors = dict[str, Tensor]
Read = tuple[Any, dict[str, Any], list[str]]


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


# --- DiffAE ---


def diffae_tensors(raw: Any) -> Tensors:
    """The state dict of a DiffAE checkpoint without its prefix: the moving average where there is one."""
    tensors, _ = bare(raw)
    for prefix in ("ema_model.", "model."):
        found = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        if found:
            return found
    return {k: v for k, v in tensors.items() if k not in ("x_T", "conds_mean", "conds_std")}


def is_diffae(raw: Any) -> bool:
    """Does this look like a DiffAE autoencoder, with or without its latent network?"""
    names = {"time_embed.time_embed.0.weight", "input_blocks.0.0.weight", "encoder.input_blocks.0.0.weight"}
    return names <= diffae_tensors(raw).keys()


def read_diffae(raw: Any, label: str = "the checkpoint", heads: int = 1) -> Read:
    """A DiffAE autoencoder from its Lightning checkpoint (or the bare tensors).

    Args:
        heads: of every attention; 1 in all published models.

    Returns:
        The network (`sdd.nets.diffae.DiffAE`), its configuration, warnings. Where the checkpoint is of a latent model,
        the network that samples codes is `net.latent_net`, and the codes' statistics are `config["conds_mean"]` and
        `config["conds_std"]`.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over.
    """
    tensors = diffae_tensors(raw)
    what = "a DiffAE autoencoder"
    shape = guided_layout(tensors, label)
    encoder = {k.removeprefix("encoder."): v for k, v in tensors.items() if k.startswith("encoder.")}
    half = encoder_layout(encoder, shape["blocks"], label)
    config: dict[str, Any] = {
        "first": width(tensors, "input_blocks.0.0.weight", label, what),
        "channels": shape["channels"],
        "blocks": shape["blocks"],
        "attention": shape["attention"],
        "encoder_channels": half["channels"],
        "encoder_blocks": half["blocks"],
        "encoder_attention": half["attention"],
        "encoder_first": width(encoder, "input_blocks.0.0.weight", label, what),
        "code": width(encoder, "out.3.weight", label, what),
        "time": width(tensors, "time_embed.time_embed.2.weight", label, what),
        "heads": heads,
    }
    latent = {k.removeprefix("latent_net."): v for k, v in tensors.items() if k.startswith("latent_net.")}
    with torch.device("meta"):
        net = DiffAE(**config)
    fill(net, {k: v for k, v in tensors.items() if not k.startswith("latent_net.")}, label, what)
    meta: dict[str, Any] = {"net": config, "scheduler": SCHEDULE, "prediction": "epsilon"}
    if shape["attention"]:
        meta["image_size"] = 16 << shape["attention"][0]
    if latent:
        net.latent_net, meta["latent_net"] = latent_net(latent, label)
    whole, _ = bare(raw)
    meta |= {k: whole[k].float() for k in ("conds_mean", "conds_std") if k in whole}
    return net, meta, []


def encoder_layout(tensors: Mapping[str, Tensor], blocks: int, label: str) -> dict[str, Any]:
    """Levels of DiffAE's encoder.

    It has no upsamplings to count, so the blocks a level are the number (that of the U-Net is tried first) for which
    the stages that would be downsamplings neither attend nor change the channels.
    """
    inputs = count(tensors, r"input_blocks\.(\d+)\.")
    for n in (blocks, 2, 1, 3, 4):
        levels = inputs // (n + 1)
        downs = [(i + 1) * (n + 1) for i in range(levels - 1)]
        plain = not any(
            f"input_blocks.{d}.{k}" in tensors for d in downs for k in ("1.qkv.weight", "0.skip_connection.weight")
        )
        if inputs == levels * (n + 1) and plain:
            starts = [1 + i * (n + 1) for i in range(levels)]
            names = [f"input_blocks.{s}.0.in_layers.2.weight" for s in starts]
            return {
                "channels": [width(tensors, name, label, "a DiffAE encoder") for name in names],
                "blocks": n,
                "attention": [i for i, s in enumerate(starts) if f"input_blocks.{s}.1.qkv.weight" in tensors],
            }
    raise SddError(
        f"{label} looks like a DiffAE autoencoder, but its encoder's {inputs} stages do not make equal levels"
    )


def latent_net(tensors: Mapping[str, Tensor], label: str) -> tuple[LatentNet, dict[str, Any]]:
    """DiffAE's latent network, from its tensors without prefix."""
    what = "a DiffAE latent network"
    config = {
        "code": int(tensors["layers.0.linear.weight"].shape[1]),
        "hidden": width(tensors, "layers.0.linear.weight", label, what),
        "layers": count(tensors, r"layers\.(\d+)\."),
        "time": int(tensors["time_embed.0.weight"].shape[1]),
    }
    with torch.device("meta"):
        net = LatentNet(**config)
    fill(net, tensors, label, what)
    return net, config


def is_diffae_latents(raw: Any) -> bool:
    """Does this look like DiffAE's `latent.pkl`: the semantic codes of its training images and their statistics?"""
    return isinstance(raw, dict) and {"conds", "conds_mean", "conds_std"} <= raw.keys()


def read_diffae_latents(raw: Any, label: str = "the checkpoint") -> Read:
    """Semantic codes {conds (N, code), conds_mean (code,), conds_std (code,)} as float32.

    Raises:
        SddError: the shapes do not fit each other.
    """
    found = {k: raw[k] for k in ("conds", "conds_mean", "conds_std")}
    if not all(isinstance(v, Tensor) for v in found.values()) or found["conds"].ndim != 2:
        raise SddError(f"{label} looks like DiffAE's latent.pkl, but its conds are not an N x 512 tensor")
    codes = found["conds"].float()
    stats = {k: take(raw, k, (codes.shape[1],), label, "DiffAE's latent.pkl") for k in ("conds_mean", "conds_std")}
    return {"conds": codes, **stats}, {"count": len(codes), "code": codes.shape[1]}, []


def is_diffae_classifier(raw: Any) -> bool:
    """Does this look like DiffAE's attribute classifier?"""
    tensors, _ = bare(raw)
    return "classifier.weight" in tensors and ("conds_mean" in tensors or "ema_classifier.weight" in tensors)


def read_diffae_classifier(raw: Any, label: str = "the checkpoint") -> Read:
    """DiffAE's linear attribute classifier (`sdd.nets.diffae.LatentClassifier`), the moving average where there is one.

    Raises:
        SddError: a tensor is missing or of a wrong shape.
    """
    tensors, warnings = bare(raw)
    prefix = "ema_classifier." if "ema_classifier.weight" in tensors else "classifier."
    ready = {k.replace("ema_", ""): v for k, v in tensors.items() if k.startswith(prefix)}
    classes, code = tensors[prefix + "weight"].shape
    for name, value in (("conds_mean", 0.0), ("conds_std", 1.0)):
        if name not in tensors:
            warnings.append(f"{name} is not stored; {value:g} is used, so give the codes of latent.pkl normalised")
        ready[name] = tensors.get(name, torch.full((code,), value))
    net = LatentClassifier(code, classes)
    fill(net, ready, label, "DiffAE's attribute classifier")
    return net, {"classes": classes, "code": code}, warnings


# --- shared ---


def bare(raw: Any) -> tuple[Tensors, list[str]]:
    """The named tensors inside the usual wrappings, and what was chosen where there was a choice.

    Unwraps `{"state_dict": …}` and the like, takes the moving average of the DDIM code's training lists [model,
    optimiser, epoch, step, average], and removes the prefix `module.` of data-parallel training.
    """
    warnings = []
    if isinstance(raw, (list, tuple)) and raw and isinstance(raw[0], Mapping):
        average = raw[-1] if len(raw) > 1 and isinstance(raw[-1], Mapping) else {}
        plain = {k.removeprefix("module.") for k in raw[0] if isinstance(k, str)}
        if plain and plain == {k.removeprefix("module.") for k in average if isinstance(k, str)}:
            warnings.append("this is a training checkpoint; its moving average is used, not the last weights")
            raw = average
        else:
            raw = raw[0]
    for key in ("state_dict", "model_state_dict", "ema", "model_ema", "ema_model", "params_ema", "model"):
        if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping):
            raw = raw[key]
    if not isinstance(raw, Mapping):
        return {}, warnings
    tensors = {k: v for k, v in raw.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors and all(k.startswith("module.") for k in tensors):
        tensors = {k.removeprefix("module."): v for k, v in tensors.items()}
    return tensors, warnings


def count(tensors: Mapping[str, Any], pattern: str) -> int:
    """One more than the largest number that the pattern's group matches at the start of a name; 0 if none."""
    return max((int(m[1]) + 1 for m in (re.match(pattern, k) for k in tensors) if m and len(m[1]) < 6), default=0)


def width(tensors: Mapping[str, Tensor], name: str, label: str, what: str) -> int:
    """Output channels of a weight.

    Raises:
        SddError: there is no such tensor.
    """
    if name not in tensors or not tensors[name].ndim:
        raise SddError(
            f"{label} looks like {what} but lacks the tensor {name}; it is cut short or of another architecture"
        )
    return int(tensors[name].shape[0])


def unet(config: Mapping[str, Any], base: int, time: int) -> Any:
    """An empty `UNet2DModel`. `base` is the number of channels of the timestep embedding, `time` that after its two
    layers.
    """
    from diffusers import UNet2DModel
    from diffusers.models.embeddings import TimestepEmbedding

    try:
        with torch.device("meta"):
            net = UNet2DModel(**config, time_embedding_dim=time)
            net.time_proj = Timesteps(base, ddpm=not config["flip_sin_to_cos"])
            if base != config["block_out_channels"][0]:  # ImageNet-512: the first level has half of the base channels
                net.time_embedding = TimestepEmbedding(base, time)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SddError(f"no U-Net of {config['block_out_channels']} channels can be built ({error})") from error
    return net


def convert(
    net: Any, pairs: Mapping[str, str], tensors: Mapping[str, Tensor], label: str, what: str, head_size: int = 0,
    ignore: set[str] | None = None,
) -> None:  # fmt: skip
    """Fill `net` from tensors under other names. `pairs` maps our layers to theirs; `…qkv#i` is the i-th of q, k, v,
    head by head.
    """
    ready, used = {}, set(ignore or ())
    for name, value in net.state_dict().items():
        layer, kind = name.rsplit(".", 1)
        source, _, part = pairs[layer].partition("#")
        used.add(f"{source}.{kind}")
        if part:
            shape = (3 * value.shape[0], *value.shape[1:])
            whole = take(tensors, f"{source}.{kind}", shape, label, what)
            # legacy order: head 0's q, k, v, then head 1's …
            ready[name] = whole.reshape(-1, 3, head_size, *value.shape[1:])[:, int(part)].reshape(value.shape)
        else:
            ready[name] = take(tensors, f"{source}.{kind}", value.shape, label, what)
    refuse_unused(tensors, used, label, what)
    net.load_state_dict(ready, assign=True)
    net.eval()


def described(config: dict[str, Any], learned_variance: bool) -> dict[str, Any]:
    """What `Loaded.config` says of a pixel-space model."""
    return {
        "net": config,
        "image_size": config["sample_size"],
        "prediction": "epsilon",
        "learned_variance": learned_variance,
        "scheduler": SCHEDULE,
    }


READERS: tuple[tuple[str, Callable[[Any], bool], Callable[..., Read]], ...] = (
    ("ddpm", is_ddpm, read_ddpm),
    ("diffae", is_diffae, read_diffae),
    ("diffae-latents", is_diffae_latents, read_diffae_latents),
    ("diffae-classifier", is_diffae_classifier, read_diffae_classifier),
    ("improved-ddpm", is_improved_ddpm, read_improved_ddpm),
)
