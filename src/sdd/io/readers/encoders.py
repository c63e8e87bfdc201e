"""Encoders of StyleGAN2: e4e (arXiv 2102.02766) and pSp (arXiv 2008.00951)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sdd.errors import SddError
from sdd.io.checkpoints.weights import fill, summary, times
from sdd.io.readers.identity import counted, trunk_tensors
from sdd.io.readers.stylegan2 import MAX_SIZE, build_generator, mean_codes
from sdd.io.readers.unwrap import Read, Tensors, count, finite, named_tensors, options_of, shape_of, under
from sdd.nets.encoder import KINDS as ENCODERS
from sdd.nets.encoder import StyleEncoder, build_encoder

PSP, E4E = "GradualStyleEncoder", "Encoder4Editing"
INTO_W, INTO_WPLUS = "BackboneEncoderUsingLastLayerIntoW", "BackboneEncoderUsingLastLayerIntoWPlus"
ALIASES = {"SingleStyleCodeEncoder": INTO_W}


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


def _encoder_tensors(named: Tensors) -> Tensors:
    """The tensors of an encoder under its prefix, or of one that was saved alone; {} where there is none."""
    alone = "input_layer.0.weight" in named and any(k.startswith(("styles.", "linear.")) for k in named)
    return {k: v for k, v in named.items() if k != "latent_avg"} if alone else under(named, "encoder.")


def _encoder_type(raw: Any) -> str | None:
    """The encoder's class name by options and keys; None where there is no encoder, or nothing says which it is."""
    tensors, opts = _encoder_tensors(named_tensors(raw)), options_of(raw)
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
    opts, named = options_of(raw), named_tensors(raw)
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
    if decoder := under(named, "decoder."):
        parts["decoder"] = build_generator(decoder, label, warnings, average)
    net = _build_encoder(kind, tensors, opts, parts.get("decoder"), label, what)
    if isinstance(average, Tensor) and opts.get("start_from_latent_avg") is not False:
        rows = mean_codes(average, net.style_dim, label)
        if rows.shape[0] not in (1, net.n_styles):
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
        "opts": {k: v for k, v in opts.items() if v is None or isinstance(v, str) or finite(v)},
    }  # fmt: skip
    return net, config, warnings, parts


def _build_encoder(
    kind: str, tensors: Tensors, opts: Mapping[str, Any], decoder: nn.Module | None, label: str, what: str
) -> StyleEncoder:
    trunk = trunk_tensors(tensors, label, what)
    if kind in (PSP, E4E):
        n_styles = count(tensors, r"styles\.(\d+)\.")
        style_dim = shape_of(tensors, "styles.0.linear.weight", 2, label, what)[0]
    else:
        out, inner = shape_of(tensors, "linear.weight", 2, label, what)
        style_dim = inner if kind == INTO_WPLUS else out
        size = next((opts[k] for k in ("output_size", "stylegan_size") if isinstance(opts.get(k), int)), 1024)
        by_size = getattr(decoder, "n_latent", None) or 2 * int(math.log2(min(max(size, 8), MAX_SIZE))) - 2
        n_styles = out // inner if kind == INTO_WPLUS else by_size
    with torch.device("meta"):
        net = build_encoder(kind, n_styles=n_styles, style_dim=style_dim, **trunk)
    fill(net, counted(net, tensors), label, what)
    net.latent_avg = torch.zeros(1, style_dim)  # not in the state dict, so still without values
    return net
