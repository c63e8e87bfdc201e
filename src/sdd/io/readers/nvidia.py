"""StyleGAN2 as NVIDIA's own code pickles it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.checkpoints.weights import fill, refuse_unused, summary, take
from sdd.io.readers.stylegan2 import MAX_SIZE, generator_config
from sdd.io.readers.unwrap import Read, Tensors, count, finite, shape_of
from sdd.io.untrusted.claims import MAX_NAME
from sdd.io.untrusted.containers import Record
from sdd.nets.stylegan2 import Generator

# --- NVIDIA's pickles ------------------------------------------------------------------------------------------------


def is_nvidia(raw: Any) -> bool:
    """Does this look like a network pickle of stylegan2-ada-pytorch (or stylegan3), or its bare state dict?"""
    marks = ("synthesis.b4.const", "synthesis.b4.conv1.weight", "synthesis.b8.conv0.weight")
    return _nvidia_record(raw) is not None or sum(mark in _nvidia_tensors(raw) for mark in marks) >= 2


def _nvidia_tensors(raw: Any) -> Tensors:
    """The tensors of a bare state dict, or of one under `G_ema`."""
    part = raw.get("G_ema", raw) if isinstance(raw, Mapping) else {}
    return {k: v for k, v in part.items() if isinstance(v, Tensor)} if isinstance(part, Mapping) else {}


def read_nvidia(raw: Any, label: str = "the checkpoint", conv_clamp: float | None = None) -> Read:
    """A generator of stylegan2-ada-pytorch: `G_ema` of the pickle, as plain records.

    Args:
        conv_clamp: bound on activations, for a bare state dict, which does not hold it.

    Returns:
        A `Generator`, its configuration, warnings.

    Raises:
        SddError: it is another architecture, or a tensor is missing, of a wrong shape, or left over.
    """
    what = "a StyleGAN2-ADA generator"
    warnings: list[str] = []
    record = _nvidia_record(raw)
    if record is None:
        tensors = {k: v for k, v in _nvidia_tensors(raw).items() if isinstance(k, str)}
        arguments: Mapping[str, Any] = {}
        warnings.append(f"a bare state dict does not say its conv_clamp; {conv_clamp} is used (published pickles: 256)")
    else:
        if isinstance(raw, Mapping) and not isinstance(raw.get("G_ema"), Record):
            warnings.append("the file has no moving average G_ema; the last weights G are used")
        tensors = dict(_walk(record, "", 0))
        arguments = _dictionary(record, "_init_kwargs")
        if conv_clamp is None:
            conv_clamp = _conv_clamp(record, arguments)
    if any(name.startswith(("synthesis.L", "synthesis.input.")) for name in tensors):
        raise SddError(f"{label} is a StyleGAN3 generator; the method needs the style layers of a StyleGAN2")
    synthesis = arguments.get("synthesis_kwargs") or {}
    mapping = arguments.get("mapping_kwargs") or {}
    architecture = synthesis.get("architecture", "skip") if isinstance(synthesis, Mapping) else "skip"
    if architecture != "skip" or any(".skip." in name for name in tensors):
        raise SddError(f"{label} is {what} of the architecture {architecture!r}; only the usual 'skip' can be read")
    lr_mlp = _positive(mapping.get("lr_multiplier", 0.01), "lr_multiplier") if isinstance(mapping, Mapping) else 0.01
    net = _from_nvidia(tensors, label, what, conv_clamp, lr_mlp)
    return net, generator_config(net, "nvidia"), warnings


def _nvidia_record(raw: Any) -> Record | None:
    """The record of the generator: `G_ema`, else `G`."""
    if isinstance(raw, Record):
        return raw if isinstance(raw.state, dict) and "_modules" in raw.state else None
    if not isinstance(raw, Mapping):
        return None
    return next((raw[k] for k in ("G_ema", "G") if isinstance(raw.get(k), Record)), None)


def _dictionary(record: Record, name: str) -> Mapping[str, Any]:
    found = record.state.get(name) if isinstance(record.state, dict) else None
    return found if isinstance(found, Mapping) else {}


def _walk(record: Record, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """The named tensors of a module's record and its submodules', as `state_dict` would list them."""
    if depth > 20 or len(prefix) > MAX_NAME:
        raise SddError("the modules of this pickle are nested too deep for a network")
    for kind in ("_parameters", "_buffers"):
        for name, value in _dictionary(record, kind).items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
    for name, value in _dictionary(record, "_modules").items():
        if isinstance(value, Record):
            yield from _walk(value, f"{prefix}{name}.", depth + 1)


def _conv_clamp(record: Record, arguments: Mapping[str, Any]) -> float | None:
    """The bound on activations: that of the first layer, else of the constructor's arguments."""
    layer: Any = record
    for name in ("synthesis", "b4", "conv1"):
        layer = _dictionary(layer, "_modules").get(name) if isinstance(layer, Record) else None
    state = layer.state if isinstance(layer, Record) and isinstance(layer.state, dict) else {}
    synthesis = arguments.get("synthesis_kwargs")
    value = state["conv_clamp"] if "conv_clamp" in state else (synthesis or {}).get("conv_clamp")
    return None if value is None else _positive(value, "conv_clamp")


def _positive(value: Any, name: str) -> float:
    if not finite(value) or value <= 0:
        raise SddError(f"the {name} of this pickle is not a positive number, so that it is no generator")
    return float(value)


def _from_nvidia(tensors: Tensors, label: str, what: str, conv_clamp: float | None, lr_mlp: float) -> Generator:
    def shape(name: str, ndim: int) -> tuple[int, ...]:
        return shape_of(tensors, name, ndim, label, what)

    sizes = [4 << i for i in range(15) if any(k.startswith(f"synthesis.b{4 << i}.") for k in tensors)]
    if len(sizes) < 2 or sizes != [4 << i for i in range(len(sizes))] or sizes[-1] > MAX_SIZE:
        raise SddError(f"{label} looks like {what} but has blocks of the sizes {sizes}; it has {summary(tensors)}")
    channels = {r: shape(f"synthesis.b{r}.conv1.weight", 4)[0] for r in sizes}
    _, style_dim = shape("synthesis.b4.conv1.affine.weight", 2)
    widths = {
        "embed_features": shape("mapping.embed.weight", 2)[0] if "mapping.embed.weight" in tensors else style_dim,
        "layer_features": shape("mapping.fc0.weight", 2)[0],
    }
    for option, width in widths.items():
        if width != style_dim:
            raise SddError(
                f"{label} is {what} whose mapping network was made with {option}={width}, but only those as wide as "
                f"the codes ({style_dim}) can be read"
            )
    c_dim = shape("mapping.embed.weight", 2)[1] if any(k.startswith("mapping.embed.") for k in tensors) else 0
    z_dim = shape("mapping.fc0.weight", 2)[1] - (style_dim if c_dim else 0)
    colours = shape("synthesis.b4.torgb.weight", 4)[0]
    if colours != 3:
        raise SddError(f"{label} draws pictures of {colours} channels; only RGB can be edited")
    if z_dim < 1:
        raise SddError(f"{label} is {what} without a latent z (mapping.fc0 takes the label only), which cannot be read")
    with torch.device("meta"):
        net = Generator(
            sizes[-1], style_dim, n_mlp=count(tensors, r"mapping\.fc(\d+)\."), channels=channels, lr_mlp=lr_mlp,
            conv_clamp=conv_clamp, c_dim=c_dim, z_dim=z_dim,
        )  # fmt: skip
    names = dict(_nvidia_names(net))
    noisy = any(k.endswith(".noise_const") for k in tensors)
    ready: Tensors = {}
    for name, value in net.state_dict().items():
        source = names[name]
        if name.endswith(".kernel"):
            ready[name] = take(tensors, source, value.shape, label, what) * 4
        elif not noisy and (name.startswith("noises.") or name.endswith(".noise.weight")):
            ready[name] = torch.zeros(value.shape)  # trained with use_noise=False
        else:
            ready[name] = take(tensors, source, value.shape, label, what)
    unread = {f"synthesis.b{r}.{part}resample_filter" for r in sizes for part in ("", "conv0.", "conv1.")}
    refuse_unused(tensors, {*names.values(), *unread, "mapping.w_avg"}, label, what)
    fill(net, ready, label, what)
    net.latent_avg = take(tensors, "mapping.w_avg", (style_dim,), label, what)
    return net


def _nvidia_names(net: Generator) -> Iterator[tuple[str, str]]:
    """(our name, NVIDIA's) of every tensor."""
    for i in range(net.n_mlp):
        yield from ((f"style.{i + 1}.{t}", f"mapping.fc{i}.{t}") for t in ("weight", "bias"))
    yield from ((f"embed.{t}", f"mapping.embed.{t}") for t in ("weight", "bias"))
    yield "input.input", "synthesis.b4.const"
    layers = [("conv1", "b4.conv1", 0), ("to_rgb1", "b4.torgb", None)]
    for i, r in enumerate(list(net.channels)[1:]):
        layers += [
            (f"convs.{2 * i}", f"b{r}.conv0", 2 * i + 1),
            (f"convs.{2 * i + 1}", f"b{r}.conv1", 2 * i + 2),
            (f"to_rgbs.{i}", f"b{r}.torgb", None),
        ]
        yield f"convs.{2 * i}.conv.blur.kernel", f"synthesis.b{r}.conv0.resample_filter"
        yield f"to_rgbs.{i}.upsample.kernel", f"synthesis.b{r}.resample_filter"
    for ours, theirs, noise in layers:
        yield f"{ours}.conv.weight", f"synthesis.{theirs}.weight"
        yield from ((f"{ours}.conv.modulation.{t}", f"synthesis.{theirs}.affine.{t}") for t in ("weight", "bias"))
        if noise is None:
            yield f"{ours}.bias", f"synthesis.{theirs}.bias"
        else:
            yield f"{ours}.activate.bias", f"synthesis.{theirs}.bias"
            yield f"{ours}.noise.weight", f"synthesis.{theirs}.noise_strength"
            yield f"noises.noise_{noise}", f"synthesis.{theirs}.noise_const"
