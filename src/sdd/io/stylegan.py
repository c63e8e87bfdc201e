"""StyleGAN2 generators and what the field hangs on them: encoders, identity networks, mappers, latents.

Files hold tensors, few hold hyper-parameters, so these are inferred from names and shapes. What shapes cannot tell,
with the published value as the default: the mapping network's learning-rate multiplier 0.01, a mapper's factor 0.1, no
`conv_clamp` where a bare NVIDIA state dict has lost it.

Every reader takes what `sdd.io.safe` made of a file (or such a structure of meta tensors, from `sdd.io.inspect`) and a
label for messages, and returns (object, hyper-parameters, warnings) and, where a file holds more than one network, the
others by name.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sdd.errors import SddError
from sdd.io.pixel_diffusion import bare, count
from sdd.io.safe import Record
from sdd.io.weights import fill, refuse_unused, summary, take, times
from sdd.nets.arcface import IRSE
from sdd.nets.encoder import KINDS as ENCODERS
from sdd.nets.encoder import StyleEncoder, build_encoder
from sdd.nets.mapper import Mapper, build_mapper, published_config
from sdd.nets.stylegan2 import Generator, blur_kernel

Tensors = dict[str, Tensor]
Read = tuple[Any, dict[str, Any], list[str]] | tuple[Any, dict[str, Any], list[str], dict[str, nn.Module]]

SEED = 0  # of noise and mean codes that a file lacks
PSP, E4E = "GradualStyleEncoder", "Encoder4Editing"
INTO_W, INTO_WPLUS = "BackboneEncoderUsingLastLayerIntoW", "BackboneEncoderUsingLastLayerIntoWPlus"
ALIASES = {"SingleStyleCodeEncoder": INTO_W}


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
    net = _generator(tensors, label, warnings, inside if average is None else average, lr_mlp)
    return net, _generator_config(net, "rosinality"), warnings


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
            inner = _under(tensors, prefix)
            marks = ("input.input", "conv1.conv.weight", "to_rgb1.conv.weight", "convs.0.conv.weight")
            if sum(mark in inner for mark in marks) >= 2:
                return inner, key
    return None


def _under(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """The tensors whose names start with `prefix`, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def _generator(tensors: Tensors, label: str, warnings: list[str], average: Any, lr_mlp: float = 0.01) -> Generator:
    """The generator of a rosinality state dict; what had to be assumed is added to `warnings`."""
    what = "a StyleGAN2 generator"
    layers = count(tensors, r"to_rgbs\.(\d+)\.")
    if not 1 <= layers <= 12:
        raise SddError(f"{label} looks like {what} but has {layers} layers to_rgbs.*; it has {summary(tensors)}")
    size = 4 << layers

    def shape(name: str, ndim: int) -> tuple[int, ...]:
        return _shape(tensors, name, ndim, label, what)

    _, style_dim = shape("conv1.conv.modulation.weight", 2)
    channels = {4: shape("conv1.conv.weight", 5)[1]}
    for i in range(layers):
        channels[8 << i] = shape(f"convs.{2 * i + 1}.conv.weight", 5)[1]
    with torch.device("meta"):
        net = Generator(
            size, style_dim, n_mlp=count(tensors, r"style\.(\d+)\.") - 1, channels=channels, lr_mlp=lr_mlp,
            z_dim=shape("style.1.weight", 2)[1],
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


def _shape(tensors: Tensors, name: str, ndim: int, label: str, what: str) -> tuple[int, ...]:
    """The shape of a tensor from which hyper-parameters are read.

    Raises:
        SddError: it is missing, or of another number of dimensions.
    """
    if name not in tensors:
        raise SddError(f"{label} looks like {what} but lacks the tensor {name}; it has {summary(tensors)}")
    found = tuple(tensors[name].shape)
    if len(found) != ndim or 0 in found:
        raise SddError(
            f"{label} looks like {what}, whose tensor {name} has {ndim} dimensions, but here it is {times(found)}"
        )
    return found


def _set_average(net: Generator, average: Any, label: str, warnings: list[str]) -> None:
    """Set the centre of truncation: the file's, or where it has none the mean of seeded codes."""
    if isinstance(average, Tensor):
        rows = average.detach().float().reshape(-1, average.shape[-1] if average.ndim else 1)
        if rows.shape[1] != net.style_dim:
            raise SddError(
                f"{label} has a latent_avg of {times(average.shape)}, but this generator's codes have {net.style_dim}"
            )
        net.latent_avg = rows.mean(0)
        return
    warnings.append(f"the file has no latent_avg; the mean of 4096 codes drawn from seed {SEED} is used for truncation")
    device = net.input.input.device
    net.latent_avg = torch.zeros(net.style_dim, device=device) if device.type == "meta" else net.mean_latent(seed=SEED)


def _generator_config(net: Generator, layout: str) -> dict[str, Any]:
    return {
        "layout": layout,
        "net": net.config(),
        "image_size": net.size,
        "n_latent": net.n_latent,
        "style_dim": net.style_dim,
    }


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
    lr_mlp = float(mapping.get("lr_multiplier", 0.01)) if isinstance(mapping, Mapping) else 0.01
    net = _from_nvidia(tensors, label, what, conv_clamp, lr_mlp)
    return net, _generator_config(net, "nvidia"), warnings


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
    if depth > 20:
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
    return None if value is None else float(value)


def _from_nvidia(tensors: Tensors, label: str, what: str, conv_clamp: float | None, lr_mlp: float) -> Generator:
    def shape(name: str, ndim: int) -> tuple[int, ...]:
        return _shape(tensors, name, ndim, label, what)

    sizes = [4 << i for i in range(13) if any(k.startswith(f"synthesis.b{4 << i}.") for k in tensors)]
    if len(sizes) < 2 or sizes != [4 << i for i in range(len(sizes))]:
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


# --- Encoders --------------------------------------------------------------------------------------------------------


def is_e4e(raw: Any) -> bool:
    """Does this look like an e4e checkpoint: an encoder whose options say so?"""
    return _encoder_type(raw) == E4E


def is_psp(raw: Any) -> bool:
    """Does this look like a pSp checkpoint, of any of its encoder types?"""
    return _encoder_type(raw) in set(ENCODERS) - {E4E}


def read_e4e(raw: Any, label: str = "the checkpoint") -> Read:
    """An e4e encoder, with the file's `latent_avg`, and its decoder where it has one.

    Returns:
        An `Encoder4Editing`, its configuration, warnings, {"decoder": Generator}.

    Raises:
        SddError: it is another encoder, or a tensor is missing, of a wrong shape, or left over.
    """
    return _encoder(raw, label, E4E)


def read_psp(raw: Any, label: str = "the checkpoint") -> Read:
    """A pSp encoder (GradualStyleEncoder, or one of those from the last features), with `latent_avg` and decoder.

    Returns:
        A `StyleEncoder`, its configuration, warnings, {"decoder": Generator}.

    Raises:
        SddError: it is another encoder, or a tensor is missing, of a wrong shape, or left over.
    """
    return _encoder(raw, label, PSP)


def _options(raw: Any) -> dict[str, Any]:
    """The `opts` of a checkpoint, a dict or a Namespace."""
    opts = raw.get("opts") if isinstance(raw, Mapping) else None
    if isinstance(opts, Record):
        opts = opts.state
    if isinstance(opts, argparse.Namespace):  # of a container that was not read by us
        opts = vars(opts)
    return dict(opts) if isinstance(opts, Mapping) else {}


def _named(raw: Any) -> Tensors:
    """The tensors of `state_dict`, or of the whole, without data-parallel training's prefix."""
    part = raw.get("state_dict", raw) if isinstance(raw, Mapping) else {}
    tensors = (
        {k: v for k, v in part.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if isinstance(part, Mapping)
        else {}
    )
    return _under(tensors, "module.") if tensors and all(k.startswith("module.") for k in tensors) else tensors


def _encoder_tensors(named: Tensors) -> Tensors:
    """The tensors of an encoder under its prefix, or of one that was saved alone; {} where there is none."""
    alone = "input_layer.0.weight" in named and any(k.startswith(("styles.", "linear.")) for k in named)
    return {k: v for k, v in named.items() if k != "latent_avg"} if alone else _under(named, "encoder.")


def _encoder_type(raw: Any) -> str | None:
    """The encoder's class name by options and keys; None where there is no encoder, or nothing says which it is."""
    tensors, opts = _encoder_tensors(_named(raw)), _options(raw)
    if "input_layer.0.weight" not in tensors and "body.0.res_layer.1.weight" not in tensors:
        return None
    if not any(k.startswith("styles.") for k in tensors):
        if any(k.startswith("output_layer_2.") for k in tensors):
            return INTO_WPLUS
        return INTO_W if "linear.weight" in tensors else None
    given = opts.get("encoder_type")
    given = ALIASES.get(given, given) if isinstance(given, str) else None
    if given in (PSP, E4E):
        return given
    # e4e's option for the generator's size is stylegan_size; pSp's is output_size, and its oldest files have neither
    return E4E if "stylegan_size" in opts else PSP if opts else None


def _encoder(raw: Any, label: str, assumed: str) -> Read:
    opts, named = _options(raw), _named(raw)
    tensors = _encoder_tensors(named)
    if not tensors:
        raise SddError(f"{label} holds no encoder: no tensor's name begins with encoder.; it has {summary(named)}")
    kind = _encoder_type(raw) or assumed
    if (kind == E4E) != (assumed == E4E):
        raise SddError(f"{label} is a {kind}, so its kind is {'e4e' if kind == E4E else 'psp'}")
    what = f"an encoder of the kind {kind}"
    warnings: list[str] = []
    parts: dict[str, nn.Module] = {}
    average = raw.get("latent_avg") if isinstance(raw, Mapping) else None
    average = named.get("latent_avg") if average is None else average
    if decoder := _under(named, "decoder."):
        parts["decoder"] = _generator(decoder, label, warnings, average)
    net = _build_encoder(kind, tensors, opts, parts.get("decoder"), label, what)
    if isinstance(average, Tensor) and opts.get("start_from_latent_avg") is not False:
        rows = average.detach().float().reshape(-1, average.shape[-1] if average.ndim else 1)
        if rows.shape[0] not in (1, net.n_styles) or rows.shape[1] != net.style_dim:
            raise SddError(
                f"{label} has a latent_avg of {times(average.shape)}, but its encoder's codes are "
                f"{times((net.n_styles, net.style_dim))}"
            )
        net.latent_avg = rows
    elif opts.get("start_from_latent_avg", not opts):
        if "decoder" not in parts:
            warnings.append("the file has no latent_avg, so codes are relative to the generator's mean code")
        else:
            net.latent_avg = parts["decoder"].get_buffer("latent_avg")[None]
            warnings.append("the file has no latent_avg; the mean code of its decoder is used")
    cars = "car" in str(opts.get("dataset_type", ""))
    config = {
        "net": net.config(), "n_latent": net.n_styles, "style_dim": net.style_dim,
        "input_size": [192, 256] if cars else [256, 256], "crop": "car" if cars else None,
        "opts": {k: v for k, v in opts.items() if isinstance(v, str | int | float | bool | None)},
    }  # fmt: skip
    return net, config, warnings, parts


def _build_encoder(
    kind: str, tensors: Tensors, opts: Mapping[str, Any], decoder: nn.Module | None, label: str, what: str
) -> StyleEncoder:
    trunk = _trunk(tensors, label, what)
    if kind in (PSP, E4E):
        n_styles = count(tensors, r"styles\.(\d+)\.")
        style_dim = _shape(tensors, "styles.0.linear.weight", 2, label, what)[0]
    else:
        out, inner = _shape(tensors, "linear.weight", 2, label, what)
        style_dim = inner if kind == INTO_WPLUS else out
        size = next((opts[k] for k in ("output_size", "stylegan_size") if isinstance(opts.get(k), int)), 1024)
        by_size = getattr(decoder, "n_latent", None) or 2 * int(math.log2(max(size, 8))) - 2
        n_styles = out // inner if kind == INTO_WPLUS else by_size
    with torch.device("meta"):
        net = build_encoder(kind, n_styles=n_styles, style_dim=style_dim, **trunk)
    fill(net, _counted(net, tensors), label, what)
    net.latent_avg = torch.zeros(1, style_dim)  # not in the state dict, so still without values
    return net


def _trunk(tensors: Tensors, label: str, what: str) -> dict[str, Any]:
    """The arguments of an `IRTrunk`, from shapes: a unit begins where the number of channels changes."""
    stem, colours, _, _ = _shape(tensors, "input_layer.0.weight", 4, label, what)
    units: list[int] = []
    channels: list[int] = []
    for i in range(count(tensors, r"body\.(\d+)\.")):
        width = _shape(tensors, f"body.{i}.res_layer.1.weight", 4, label, what)[0]
        if not channels or width != channels[-1]:
            channels.append(width)
            units.append(0)
        units[-1] += 1
    squeeze = 0
    if any(".res_layer.5." in name for name in tensors):
        squeeze = channels[0] // _shape(tensors, "body.0.res_layer.5.fc1.weight", 4, label, what)[0]
    return {"units": units, "channels": channels, "stem": stem, "input_channels": colours, "squeeze": squeeze}


def _counted(net: nn.Module, tensors: Tensors) -> Tensors:
    """`tensors` with the batch norms' counters, which some files lack and evaluation does not use."""
    counters = {k: torch.zeros(()) for k in net.state_dict() if k.endswith(".num_batches_tracked")}
    return counters | tensors


# --- Identity --------------------------------------------------------------------------------------------------------


def is_ir_se(raw: Any) -> bool:
    """Does this look like an IR or IR-SE identity network?"""
    tensors, _ = bare(raw)
    return "input_layer.0.weight" in tensors and any(k.startswith("output_layer.") for k in tensors)


def read_ir_se(raw: Any, label: str = "the checkpoint", crop: str = "ffhq") -> Read:
    """An identity network in the layout of `model_ir_se50.pth`.

    Args:
        crop: how pictures become its input, see `IRSE`.

    Returns:
        An `IRSE`, its configuration, warnings.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over, named in the message.
    """
    tensors, warnings = bare(raw)
    what = "an IR-SE identity network"
    trunk = _trunk(tensors, label, what)
    if trunk.pop("input_channels") != 3:
        raise SddError(f"{label} looks like {what}, but does not take RGB pictures")
    embedding, features = _shape(tensors, "output_layer.3.weight", 2, label, what)
    side = math.isqrt(features // trunk["channels"][-1])
    with torch.device("meta"):
        net = IRSE(**trunk, embedding=embedding, input_size=side << len(trunk["units"]), crop=crop)
    fill(net, _counted(net, tensors), label, what)
    return net, {"net": net.config(), "input_size": net.input_size, "embedding": embedding}, warnings


# --- Mappers ---------------------------------------------------------------------------------------------------------


def is_sdd_mapper(raw: Any) -> bool:
    """Does this look like a mapper of the published SDD code?"""
    return _mapper_tensors(raw) is not None


def read_sdd_mapper(raw: Any, label: str = "the checkpoint", latent_weight: float = 0.1) -> Read:
    """A mapper saved by the published SDD code, of any of its four kinds.

    Args:
        latent_weight: factor on its output, which the file does not hold.

    Returns:
        A `sdd.nets.mapper.Mapper`, its configuration, warnings.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over, named in the message.
    """
    tensors = _mapper_tensors(raw)
    if tensors is None:
        raise SddError(f"{label} holds no mapper; it has {summary(raw if isinstance(raw, Mapping) else {})}")
    mapper = _mapper(tensors, label, latent_weight)
    return mapper, mapper.config(), []


def is_styleclip_mapper(raw: Any) -> bool:
    """Does this look like a StyleCLIP mapper checkpoint?"""
    return _looks_like_mapper(_under(_named(raw), "mapper."))


def read_styleclip_mapper(raw: Any, label: str = "the checkpoint", latent_weight: float = 0.1) -> Read:
    """A StyleCLIP mapper, and its decoder where the file has one.

    Returns:
        A `sdd.nets.mapper.Mapper`, its configuration, warnings, {"decoder": Generator}.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over, named in the message.
    """
    named, opts = _named(raw), _options(raw)
    tensors = _under(named, "mapper.")
    if not tensors:
        raise SddError(
            f"{label} holds no StyleCLIP mapper: no tensor's name begins with mapper.; it has {summary(named)}"
        )
    mapper = _mapper(tensors, label, latent_weight)
    warnings: list[str] = []
    decoder = _under(named, "decoder.")
    average = raw.get("latent_avg") if isinstance(raw, Mapping) else None
    parts: dict[str, nn.Module] = {"decoder": _generator(decoder, label, warnings, average)} if decoder else {}
    config = mapper.config()
    for key in ("description", "stylegan_size"):
        if isinstance(opts.get(key), str | int):
            config[key] = opts[key]
    return mapper, config, warnings, parts


def _looks_like_mapper(tensors: Mapping[Any, Any]) -> bool:
    return any(isinstance(k, str) and ".mapping." in f".{k}" and k.endswith(".weight") for k in tensors) and all(
        isinstance(k, str) and k.split(".", 1)[0].startswith(("course_", "medium_", "fine_", "mapping", "mapper_"))
        for k in tensors
    )


def _mapper_tensors(raw: Any) -> Tensors | None:
    """A mapper's tensors, bare or under any key: the published loader tries the experiment's name, mapper and model."""
    if not isinstance(raw, Mapping):
        return None
    for part in (raw, raw.get("name"), raw.get("mapper"), raw.get("model"), *raw.values()):
        if isinstance(part, Mapping) and part and all(isinstance(v, Tensor) for v in part.values()):
            tensors = dict(part)
            if all(isinstance(k, str) and k.startswith("module.") for k in tensors):
                tensors = _under(tensors, "module.")
            if _looks_like_mapper(tensors):
                return tensors
    return None


def _mapper(tensors: Tensors, label: str, latent_weight: float) -> Mapper:
    what = "a published mapper"
    try:
        config = published_config({k: tuple(v.shape) for k, v in tensors.items()}, latent_weight)
    except KeyError as error:
        raise SddError(
            f"{label} looks like {what} but lacks the tensor {error.args[0]}; it has {summary(tensors)}"
        ) from error
    except (ValueError, IndexError) as error:
        raise SddError(f"{label} looks like {what}, but {error}; it has {summary(tensors)}") from error
    with torch.device("meta"):
        mapper = build_mapper(config)
    fill(mapper, tensors, label, f"a published {config['kind']}")
    return mapper


# --- Latents ---------------------------------------------------------------------------------------------------------

LATENT_KEYS = ("latents", "latent", "wplus", "w_plus", "codes", "w", "styles", "styles_space", "stylespace")


def is_latents(raw: Any) -> bool:
    """Does this look like codes: W+ (N, L, D) or StyleSpace, alone or under a usual name?"""
    found = _codes(raw)
    if isinstance(found, Tensor):
        shape = tuple(found.shape)
        plausible = (
            len(shape) in (2, 3) or (len(shape) == 5 and shape[3:] == (1, 1)) or (len(shape) == 4 and shape[1] == 1)
        )
        return found.is_floating_point() and plausible
    return found is not None


def read_latents(raw: Any, label: str = "the latents") -> Read:
    """Codes: W+ as a tensor (N, L, D); W as (N, D); StyleSpace as a list of tensors (N, C), one per style vector.

    One image's code, (L, D), becomes (1, L, D): with an even number of rows from 4 to 18 it is taken for a W+ code, as
    StyleCLIP's inference writes it, not for that many W codes. StyleSpace files may be StyleCLIP's list of
    (N, 1, C, 1, 1) or SDD's tensor (N, 1, V·512, 1, 1) of zero-padded vectors.

    Raises:
        SddError: the shape is none of these.
    """
    found = _codes(raw)
    if isinstance(found, list):
        vectors = [v.detach().float().flatten(1) for v in found]
        if len({len(v) for v in vectors}) != 1:
            raise SddError(f"{label} is a list of style vectors for different numbers of images")
        return vectors, {"space": "style", "count": len(vectors[0]), "dims": [v.shape[1] for v in vectors]}, []
    if found is None or not found.is_floating_point():
        raise SddError(f"{label} holds no codes: W+ codes are a tensor (N, layers, dimension)")
    codes = found.detach().float()
    if codes.ndim == 5 and codes.shape[3:] == (1, 1) and codes.shape[1] == 1 and codes.shape[2] % 512 == 0:
        vectors = _unpadded(codes.reshape(len(codes), -1, 512))
        return vectors, {"space": "style", "count": len(codes), "dims": [v.shape[1] for v in vectors]}, []
    warnings: list[str] = []
    if codes.ndim == 4 and codes.shape[1] == 1:  # per-image codes that were stacked
        codes = codes[:, 0]
    if codes.ndim == 2 and codes.shape[0] in range(4, 19, 2):
        codes = codes[None]
        warnings.append(f"the file has {codes.shape[1]} rows and is taken for the W+ code of one image")
    if codes.ndim == 2:
        return codes, {"space": "w", "count": codes.shape[0], "style_dim": codes.shape[1]}, warnings
    if codes.ndim != 3:
        raise SddError(f"{label} is a tensor {times(codes.shape)}, but W+ codes are (N, layers, dimension)")
    n, layers, width = codes.shape
    return codes, {"space": "wplus", "count": n, "n_latent": layers, "style_dim": width}, warnings


def _codes(raw: Any) -> Tensor | list[Tensor] | None:
    """The codes inside the usual wrappings."""
    if isinstance(raw, Mapping):
        named = [raw[k] for k in LATENT_KEYS if k in raw]
        if not named and len(raw) == 1:
            named = [v for v in raw.values() if isinstance(v, Tensor) and v.ndim >= 2]
        return _codes(named[0]) if named and not isinstance(named[0], Mapping) else None
    if isinstance(raw, Tensor):
        return raw
    if isinstance(raw, list | tuple) and len(raw) > 1 and all(isinstance(v, Tensor) and v.ndim >= 2 for v in raw):
        return list(raw)
    return None


def _unpadded(codes: Tensor) -> list[Tensor]:
    """Style vectors (N, C) of zero-padded ones (N, V, 512): every C is a power of two, in all published generators."""
    if codes.is_meta:
        return list(codes.unbind(1))
    used = (codes != 0).any(0)
    vectors = []
    for v, row in zip(codes.unbind(1), used, strict=True):
        last = int(row.nonzero().max()) + 1 if bool(row.any()) else 1
        vectors.append(v[:, : 1 << (last - 1).bit_length()])
    return vectors


# Containers that hold several networks come before those whose marks they contain.
READERS: tuple[tuple[str, Callable[[Any], bool], Callable[..., Read]], ...] = (
    ("e4e", is_e4e, read_e4e),
    ("psp", is_psp, read_psp),
    ("styleclip-mapper", is_styleclip_mapper, read_styleclip_mapper),
    ("nvidia-stylegan2", is_nvidia, read_nvidia),
    ("stylegan2", is_stylegan2, read_stylegan2),
    ("ir-se50", is_ir_se, read_ir_se),
    ("sdd-mapper", is_sdd_mapper, read_sdd_mapper),
    ("latents", is_latents, read_latents),
)
