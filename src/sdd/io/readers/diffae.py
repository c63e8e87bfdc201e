"""Diffusion autoencoders (arXiv 2111.15640): the model, its latents and its classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.checkpoints.weights import fill, take
from sdd.io.readers.improved_ddpm import guided_layout
from sdd.io.readers.unet import SCHEDULE
from sdd.io.readers.unwrap import Read, Tensors, bare, count, width
from sdd.nets.diffae import DiffAE, LatentClassifier, LatentNet

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
    names = [k for k in ("conds_mean", "conds_std") if k in whole]
    meta |= {k: take(whole, k, whole[k].shape, label, what) for k in names}
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
    codes = take(found, "conds", found["conds"].shape, label, "DiffAE's latent.pkl")
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
