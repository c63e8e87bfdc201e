"""U-Nets of pixel diffusion as diffusers has them: what their readers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.checkpoints.weights import refuse_unused, take
from sdd.io.readers.unwrap import MAX_LAYERS
from sdd.nets.timesteps import Timesteps

SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


def unet(config: Mapping[str, Any], base: int, time: int) -> Any:
    """An empty `UNet2DModel`. `base` is the number of channels of the timestep embedding, `time` that after its two
    layers.
    """
    from diffusers import UNet2DModel
    from diffusers.models.embeddings import TimestepEmbedding

    if len(config["block_out_channels"]) * config["layers_per_block"] > MAX_LAYERS:
        raise SddError(f"no U-Net here has more than {MAX_LAYERS} blocks, as the names of these tensors say")
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
