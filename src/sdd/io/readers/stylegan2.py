"""StyleGAN2 generators and what the field hangs on them: encoders, identity networks, mappers, latents.

Files hold tensors, few hold hyper-parameters, so these are inferred from names and shapes. What shapes cannot tell,
with the published value as the default: the mapping network's learning-rate multiplier 0.01, a mapper's factor 0.1, no
`conv_clamp` where a bare NVIDIA state dict has lost it.

Every reader takes what `sdd.io.untrusted` made of a file (or such a structure of meta tensors, from `sdd.io.inspect`)
and a label for messages, and returns (object, hyper-parameters, warnings) and, where a file holds more than one
network, the others by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.checkpoints.weights import fill, summary, take, times
from sdd.io.readers.unwrap import Read, Tensors, count, shape_of, under
from sdd.nets.stylegan2 import Generator, blur_kernel

SEED = 0  # of noise and mean codes that a file lacks
MAX_SIZE = 2048  # px; noise is drawn for every pixel, so that a name alone would take gigabytes
MAX_WIDTH = 4096  # of codes, of which 4096 are drawn where a file does not say their mean; 512 in all published ones


# --- StyleGAN2 in rosinality's layout -------------------------------------------------------------------------------


def is_stylegan2(raw: Any) -> bool:
    """Does this look like a StyleGAN2 generator in rosinality's layout, in any of its containers?"""
    return _generator_tensors(raw) is not None


def read_stylegan2(raw: Any, label: str = "the checkpoint", lr_mlp: float = 0.01) -> Read:
    """A StyleGAN2 as converted from TensorFlow (`g_ema`, `latent_avg`), trained by train.py, or tuned by StyleGAN-NADA.

    Of the decoder inside an e4e, pSp or StyleCLIP file too, where the kind is asked for.

    Returns:
        A `Generator`, its configuration, warnings.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over, named in the message.
    """
    found = _generator_tensors(raw)
    if found is None:
        raise SddError(
            f"{label} holds no StyleGAN2 generator; it has {summary(raw if isinstance(raw, Mapping) else {})}"
        )
    tensors, key = found
    warnings = []
    if key == "g":
        warnings.append("the file has no moving average g_ema; the last weights g are used")
    inside = tensors.pop("latent_avg", None)  # some exports are one flat dict
    average = raw.get("latent_avg") if isinstance(raw, Mapping) else None
    net = build_generator(tensors, label, warnings, inside if average is None else average, lr_mlp)
    return net, generator_config(net, "rosinality"), warnings


def _generator_tensors(raw: Any) -> tuple[Tensors, str] | None:
    """The generator's tensors and the key that they are under."""
    if not isinstance(raw, Mapping):
        return None
    keys = ("g_ema", "params_ema", "ema", "g", "generator", "state_dict", "model", "")
    for key in keys:
        part = raw.get(key) if key else raw
        if not isinstance(part, Mapping):
            continue
        tensors = {k: v for k, v in part.items() if isinstance(k, str) and isinstance(v, Tensor)}
        for prefix in ("", "module.", "decoder.", "generator.", "g_ema."):
            inner = under(tensors, prefix)
            marks = ("input.input", "conv1.conv.weight", "to_rgb1.conv.weight", "convs.0.conv.weight")
            if sum(mark in inner for mark in marks) >= 2:
                return inner, key
    return None


def build_generator(tensors: Tensors, label: str, warnings: list[str], average: Any, lr_mlp: float = 0.01) -> Generator:
    """The generator of a rosinality state dict; what had to be assumed is added to `warnings`."""
    what = "a StyleGAN2 generator"
    layers = count(tensors, r"to_rgbs\.(\d+)\.")
    if not layers or 4 << layers > MAX_SIZE:
        raise SddError(f"{label} looks like {what} but has {layers} layers to_rgbs.*; it has {summary(tensors)}")
    size = 4 << layers

    def shape(name: str, ndim: int) -> tuple[int, ...]:
        return shape_of(tensors, name, ndim, label, what)

    _, style_dim = shape("conv1.conv.modulation.weight", 2)
    z_dim = shape("style.1.weight", 2)[1]
    if max(style_dim, z_dim) > MAX_WIDTH:
        raise SddError(f"{label} looks like {what} of codes of {max(style_dim, z_dim)} numbers, as none has")
    channels = {4: shape("conv1.conv.weight", 5)[1]}
    for i in range(layers):
        channels[8 << i] = shape(f"convs.{2 * i + 1}.conv.weight", 5)[1]
    with torch.device("meta"):
        net = Generator(
            size, style_dim, n_mlp=count(tensors, r"style\.(\d+)\.") - 1, channels=channels, lr_mlp=lr_mlp,
            z_dim=z_dim,
        )  # fmt: skip
    ready = dict(tensors)
    wanted = net.state_dict()
    for name in wanted:
        if name.endswith(".kernel"):  # always the same; some exports leave it out
            ready.setdefault(name, blur_kernel())
    if not any(name.startswith("noises.") for name in tensors):
        warnings.append(
            f"the file has no noise buffers (files from before 2020 do not), so noise drawn from seed {SEED} is used; "
            "details such as single hairs will differ from images made elsewhere"
        )
        random = torch.Generator().manual_seed(SEED)
        shapes = {name: value.shape for name, value in wanted.items() if name.startswith("noises.")}
        ready |= {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    fill(net, ready, label, f"{what} of {size} px")
    _set_average(net, average, label, warnings)
    return net


def _set_average(net: Generator, average: Any, label: str, warnings: list[str]) -> None:
    """Set the centre of truncation: the file's, or where it has none the mean of seeded codes."""
    if isinstance(average, Tensor):
        net.latent_avg = mean_codes(average, net.style_dim, label).mean(0)
        return
    warnings.append(f"the file has no latent_avg; the mean of 4096 codes drawn from seed {SEED} is used for truncation")
    device = net.input.input.device
    net.latent_avg = torch.zeros(net.style_dim, device=device) if device.type == "meta" else net.mean_latent(seed=SEED)


def mean_codes(average: Tensor, style_dim: int, label: str) -> Tensor:
    """A file's `latent_avg` as rows (N, style_dim).

    Raises:
        SddError: it is of another width, complex, NaN or infinite.
    """
    shape = average.shape[-1:].numel(), average.numel()
    if shape[0] != style_dim or not shape[1]:
        raise SddError(f"{label} has a latent_avg of {times(average.shape)}, but its codes have {style_dim}")
    return take({"latent_avg": average}, "latent_avg", average.shape, label, "codes").reshape(-1, style_dim)


def generator_config(net: Generator, layout: str) -> dict[str, Any]:
    return {
        "layout": layout,
        "net": net.config(),
        "image_size": net.size,
        "n_latent": net.n_latent,
        "style_dim": net.style_dim,
    }


# Containers that hold several networks come before those whose marks they contain.
