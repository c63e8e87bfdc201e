"""CLIP from wherever people keep it: a transformers folder or hub id, or open_clip's safetensors, always as
transformers' `CLIPModel`.

The tensors of open_clip (and of OpenAI's own code) carry other names, hold q, k and v in one matrix and store the two
projections transposed; nothing else differs. What the tensors cannot tell is taken from the `config.json` or
`open_clip_config.json` beside them: the activation (else GELU, as open_clip trains; OpenAI's weights need
`quick_gelu=True`) and the heads (else by the published widths).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError, first_line
from sdd.io.checkpoints.weights import fill, refuse_unused, take
from sdd.io.readers.unwrap import Read, bare, count, finite, width
from sdd.io.untrusted import containers
from sdd.nets.clip_pixels import MEAN, STD

HEAD_SIZES = {
    1280: 80,
    1408: 88,
    1664: 104,
}  # vision towers of ViT-H, -g and -bigG; 64 in all others and in all text towers


def is_clip(raw: Any) -> bool:
    """Does this look like the two towers of a CLIP, in open_clip's or transformers' names?"""
    tensors, _ = bare(raw)
    names = (
        {"visual.conv1.weight", "visual.proj", "text_projection", "token_embedding.weight"},
        {"visual.conv1.weight", "visual.proj", "text.text_projection", "text.token_embedding.weight"},
        {"vision_model.embeddings.patch_embedding.weight", "text_projection.weight", "logit_scale"},
    )
    return any(n <= tensors.keys() for n in names)


def read_clip(
    raw: Any, label: str = "the checkpoint", beside: Path | None = None, quick_gelu: bool | None = None
) -> Read:
    """A `transformers.CLIPModel` from tensors in open_clip's or transformers' names.

    Args:
        beside: folder whose `config.json` or `open_clip_config.json` belongs to the tensors.
        quick_gelu: the activation x * sigmoid(1.702 x), of OpenAI's weights; by default what the configuration says,
            else False for open_clip's names and True for transformers'.

    Raises:
        SddError: a tensor is missing, of a wrong shape or left over; a ResNet tower; a configuration that does not fit.
    """
    from transformers import CLIPConfig, CLIPModel

    tensors, warnings = bare(raw)
    tensors.pop("text_model.embeddings.position_ids", None)
    tensors.pop("vision_model.embeddings.position_ids", None)
    ours = "logit_scale" in tensors and "vision_model.embeddings.patch_embedding.weight" in tensors
    what = "a CLIP in transformers' names" if ours else "a CLIP in open_clip's names"
    if not ours:
        tensors = {k.removeprefix("text."): v for k, v in tensors.items() if not k.endswith("attn_mask")}
    said = _configuration(beside)
    if quick_gelu is None:
        quick_gelu = said.get("quick_gelu", ours)
        if "quick_gelu" not in said:
            name = "quick GELU" if quick_gelu else "GELU"
            warnings.append(
                f"the activation is not stored in the tensors; {name} is assumed, give quick_gelu=... if that is wrong"
            )
    config = CLIPConfig(**_config(tensors, said, ours, quick_gelu, label, what))
    with torch.device("meta"):
        net = CLIPModel(config)
    for tower in (
        net.text_model,
        net.vision_model,
    ):  # small index buffers, not stored; the meta device has no values for them
        ids = tower.embeddings.position_ids
        tower.embeddings.position_ids = torch.arange(ids.shape[-1]).expand(1, -1)
    if ours:
        fill(net, tensors, label, what)
    else:
        _convert(net, tensors, label, what)
    size = config.vision_config.image_size
    return net, {"image_size": size, "mean": MEAN, "std": STD, "net": config.to_dict()}, warnings


def load_clip(name_or_path: str | Path) -> Read:
    """A CLIP by transformers hub id or folder, or from a file of tensors.

    Of a folder, `model.safetensors` is preferred; a `pytorch_model.bin` is read without running anything in it.

    Raises:
        SddError: nothing there, no CLIP, or the hub cannot be reached.
    """
    path = Path(name_or_path)
    if path.is_file():
        return read_clip(containers.read(path), str(path), beside=path.parent)
    if path.is_dir():
        names = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
        found = next((path / n for n in names if (path / n).is_file()), None)
        if found is None:
            raise SddError(
                f"the folder {path} has none of {', '.join(names)}; give a transformers or open_clip CLIP folder"
            )
        return read_clip(containers.read(found), str(found), beside=path)
    from transformers import CLIPModel

    try:
        net = CLIPModel.from_pretrained(str(name_or_path), use_safetensors=True).float().eval()
    except Exception as error:  # the hub's client and transformers raise many unrelated types
        why = first_line(error, 150)
        raise SddError(
            f"cannot load the CLIP {name_or_path} ({why}); give a hub id, a folder or a safetensors file"
        ) from error
    config = net.config
    return net, {"image_size": config.vision_config.image_size, "mean": MEAN, "std": STD, "net": config.to_dict()}, []


def _configuration(folder: Path | None) -> dict[str, Any]:
    """What the JSON beside the tensors says: quick_gelu, heads of the towers, end-of-text token."""
    if folder is None:
        return {}
    for name in ("open_clip_config.json", "config.json"):
        path = folder / name
        if not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        try:
            found = json.loads(path.read_text())
            model = found.get("model_cfg", found)
            vision, text = (
                model.get("vision_cfg") or model["vision_config"],
                model.get("text_cfg") or model["text_config"],
            )
            if name == "config.json" and found.get("model_type") != "clip":
                continue
            said = {
                "quick_gelu": model.get(
                    "quick_gelu",
                    vision.get("hidden_act", "quick_gelu" if "model_type" in found else "") == "quick_gelu",
                ),
                "text_heads": text.get("heads", text.get("num_attention_heads")),
                "vision_heads": vision.get("num_attention_heads"),
                "eos": text.get("eos_token_id"),
                "eps": vision.get("layer_norm_eps"),
            }
            if "head_width" in vision:
                said["vision_heads"] = vision["width"] // vision["head_width"]
            return {k: v for k, v in said.items() if finite(v)}
        except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, RecursionError) as error:
            raise SddError(
                f"{path} is not the configuration of a CLIP ({type(error).__name__}); remove or replace it"
            ) from error
    return {}


def _config(
    tensors: Mapping[str, Tensor], said: Mapping[str, Any], ours: bool, quick_gelu: bool, label: str, what: str
) -> dict[str, Any]:
    """The arguments of `CLIPConfig`, from shapes."""
    if "visual.layer1.0.conv1.weight" in tensors:
        raise SddError(f"{label} is a CLIP with a ResNet; only the vision transformers are supported")
    if ours:
        patch, tokens = "vision_model.embeddings.patch_embedding.weight", "text_model.embeddings.token_embedding.weight"
        grid, context = (
            "vision_model.embeddings.position_embedding.weight",
            "text_model.embeddings.position_embedding.weight",
        )
        layer, hidden = "{}_model.encoder.layers.", "mlp.fc1.weight"
        layers = {t: layer.format(t) for t in ("vision", "text")}
        joint = width(tensors, "visual_projection.weight", label, what)
    else:
        patch, tokens, grid, context = (
            "visual.conv1.weight",
            "token_embedding.weight",
            "visual.positional_embedding",
            "positional_embedding",
        )
        layers, hidden = (
            {"vision": "visual.transformer.resblocks.", "text": "transformer.resblocks."},
            "mlp.c_fc.weight",
        )
        width(tensors, "visual.proj", label, what)  # it is there
        joint = int(tensors["visual.proj"].shape[-1])
    width(tensors, tokens, label, what)
    seen, read = width(tensors, patch, label, what), int(tensors[tokens].shape[-1])
    vocabulary, size = width(tensors, tokens, label, what), int(tensors[patch].shape[-1])
    side = round((width(tensors, grid, label, what) - 1) ** 0.5)
    shared = {
        "hidden_act": "quick_gelu" if quick_gelu else "gelu",
        "projection_dim": joint,
        "layer_norm_eps": said.get("eps", 1e-5),
    }

    def tower(name: str, channels: int, head: int) -> dict[str, Any]:
        heads = said.get(f"{name}_heads") or max(channels // head, 1)
        if channels % heads:
            raise SddError(f"{label} has a {name} tower of {channels} channels, which {heads} heads do not divide")
        return {
            **shared,
            "hidden_size": channels,
            "intermediate_size": width(tensors, f"{layers[name]}0.{hidden}", label, what),
            "num_hidden_layers": count(tensors, layers[name].replace(".", r"\.") + r"(\d+)\."),
            "num_attention_heads": heads,
        }

    text = tower("text", read, 64)
    # the end-of-text token is the last of the vocabulary in all of them; transformers finds the pooled position by it
    text |= {"vocab_size": vocabulary, "max_position_embeddings": width(tensors, context, label, what)}
    text |= {
        "eos_token_id": said.get("eos", vocabulary - 1),
        "bos_token_id": vocabulary - 2,
        "pad_token_id": vocabulary - 1,
    }
    vision = tower("vision", seen, HEAD_SIZES.get(seen, 64)) | {"patch_size": size, "image_size": side * size}
    return {"text_config": text, "vision_config": vision, "projection_dim": joint}


def _convert(net: Any, tensors: Mapping[str, Tensor], label: str, what: str) -> None:
    """Fill transformers' `CLIPModel` from open_clip's names."""
    names = dict(_pairs(net.config))
    ready, used = {}, set()
    for name, value in net.state_dict().items():
        source, _, part = names[name].partition("#")
        used.add(source)
        if part == "T":
            ready[name] = take(tensors, source, value.shape[::-1], label, what).T.contiguous()
        elif part:
            whole = take(tensors, source, (3 * value.shape[0], *value.shape[1:]), label, what)
            ready[name] = whole.chunk(3)[int(part)].clone()
        else:
            ready[name] = take(tensors, source, value.shape, label, what)
    refuse_unused(tensors, used, label, what)
    net.load_state_dict(ready, assign=True)
    net.eval()


def _pairs(config: Any) -> Iterator[tuple[str, str]]:
    """transformers' tensor names and open_clip's; `#T` is transposed, `#i` the i-th third."""
    yield from (("logit_scale", "logit_scale"), ("text_projection.weight", "text_projection#T"))
    yield from (
        ("visual_projection.weight", "visual.proj#T"),
        ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    )
    yield "vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"
    yield "vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"
    yield "text_model.embeddings.token_embedding.weight", "token_embedding.weight"
    yield "text_model.embeddings.position_embedding.weight", "positional_embedding"
    layers = {"text_model.final_layer_norm": "ln_final", "vision_model.pre_layrnorm": "visual.ln_pre"}
    layers["vision_model.post_layernorm"] = "visual.ln_post"
    for tower, prefix, depth in (
        ("text_model", "", config.text_config.num_hidden_layers),
        ("vision_model", "visual.", config.vision_config.num_hidden_layers),
    ):
        for i in range(depth):
            ours, theirs = f"{tower}.encoder.layers.{i}", f"{prefix}transformer.resblocks.{i}"
            inside = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
            for a, b in {**inside, "self_attn.out_proj": "attn.out_proj"}.items():
                layers[f"{ours}.{a}"] = f"{theirs}.{b}"
            for part, name in enumerate(("q_proj", "k_proj", "v_proj")):
                for kind in ("weight", "bias"):
                    yield f"{ours}.self_attn.{name}.{kind}", f"{theirs}.attn.in_proj_{kind}#{part}"
    for a, b in layers.items():
        yield from ((f"{a}.{kind}", f"{b}.{kind}") for kind in ("weight", "bias"))
