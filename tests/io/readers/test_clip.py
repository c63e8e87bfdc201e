"""CLIP: open_clip's names and transformers' give one and the same model."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from sdd.errors import SddError
from sdd.io import load
from sdd.io.readers.clip import load_clip, read_clip
from sdd.nets.clip_pixels import pixels


def tiny(activation="gelu"):
    torch.manual_seed(0)
    shared = {"hidden_act": activation}
    text = {
        "vocab_size": 99,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
    }
    text |= {"max_position_embeddings": 12, "eos_token_id": 98, "bos_token_id": 97, "pad_token_id": 98}
    vision = {"hidden_size": 128, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text | shared, vision_config=vision | shared, projection_dim=16)).eval()


def open_clip(net):
    """The state dict under open_clip's names, written from that layout's definition."""
    old, new = net.state_dict(), {}
    for tower, prefix in (("text_model", ""), ("vision_model", "visual.")):
        layers = {int(k.split(".")[3]) for k in old if k.startswith(f"{tower}.encoder.layers.")}
        for i in layers:
            a, b = f"{tower}.encoder.layers.{i}.", f"{prefix}transformer.resblocks.{i}."
            for kind in ("weight", "bias"):
                new[f"{b}attn.in_proj_{kind}"] = torch.cat([old[f"{a}self_attn.{x}_proj.{kind}"] for x in "qkv"])
                new[f"{b}attn.out_proj.{kind}"] = old[f"{a}self_attn.out_proj.{kind}"]
                for x, y in (
                    ("layer_norm1", "ln_1"),
                    ("layer_norm2", "ln_2"),
                    ("mlp.fc1", "mlp.c_fc"),
                    ("mlp.fc2", "mlp.c_proj"),
                ):
                    new[f"{b}{y}.{kind}"] = old[f"{a}{x}.{kind}"]
    for kind in ("weight", "bias"):
        new[f"ln_final.{kind}"] = old[f"text_model.final_layer_norm.{kind}"]
        new[f"visual.ln_pre.{kind}"] = old[f"vision_model.pre_layrnorm.{kind}"]
        new[f"visual.ln_post.{kind}"] = old[f"vision_model.post_layernorm.{kind}"]
    new["token_embedding.weight"] = old["text_model.embeddings.token_embedding.weight"]
    new["positional_embedding"] = old["text_model.embeddings.position_embedding.weight"]
    new["visual.class_embedding"] = old["vision_model.embeddings.class_embedding"]
    new["visual.conv1.weight"] = old["vision_model.embeddings.patch_embedding.weight"]
    new["visual.positional_embedding"] = old["vision_model.embeddings.position_embedding.weight"]
    new["text_projection"] = old["text_projection.weight"].T.contiguous()
    new["visual.proj"] = old["visual_projection.weight"].T.contiguous()
    new["logit_scale"] = old["logit_scale"]
    return new


def forward_as_open_clip_defines_it(t, tokens, images, activation):
    """Features by the definition of open_clip's modules (pre-norm transformers), from its tensors alone."""

    def blocks(x, prefix, heads, mask):
        n = 0
        while f"{prefix}.{n}.ln_1.weight" in t:
            p = f"{prefix}.{n}."
            h = F.layer_norm(x, x.shape[-1:], t[p + "ln_1.weight"], t[p + "ln_1.bias"])
            out, _ = F.multi_head_attention_forward(
                *[h.transpose(0, 1)] * 3, h.shape[-1], heads, t[p + "attn.in_proj_weight"],
                t[p + "attn.in_proj_bias"], None, None, False, 0.0, t[p + "attn.out_proj.weight"],
                t[p + "attn.out_proj.bias"], training=False, attn_mask=mask, need_weights=False,
            )  # fmt: skip
            x = x + out.transpose(0, 1)
            h = F.layer_norm(x, x.shape[-1:], t[p + "ln_2.weight"], t[p + "ln_2.bias"])
            h = activation(h @ t[p + "mlp.c_fc.weight"].T + t[p + "mlp.c_fc.bias"])
            x = x + h @ t[p + "mlp.c_proj.weight"].T + t[p + "mlp.c_proj.bias"]
            n += 1
        return x

    x = t["token_embedding.weight"][tokens] + t["positional_embedding"][: tokens.shape[1]]
    mask = torch.full((tokens.shape[1],) * 2, float("-inf")).triu(1)
    x = blocks(x, "transformer.resblocks", 1, mask)
    x = F.layer_norm(x, x.shape[-1:], t["ln_final.weight"], t["ln_final.bias"])
    text = x[torch.arange(len(x)), tokens.argmax(-1)] @ t["text_projection"]
    x = F.conv2d(images, t["visual.conv1.weight"], stride=8).flatten(2).transpose(1, 2)
    x = torch.cat([t["visual.class_embedding"].expand(len(x), 1, -1), x], 1) + t["visual.positional_embedding"]
    x = F.layer_norm(x, x.shape[-1:], t["visual.ln_pre.weight"], t["visual.ln_pre.bias"])
    x = blocks(x, "visual.transformer.resblocks", 2, None)[:, 0]
    return text, F.layer_norm(x, x.shape[-1:], t["visual.ln_post.weight"], t["visual.ln_post.bias"]) @ t["visual.proj"]


@torch.no_grad()
def features(net, tokens, images):
    return net.get_text_features(input_ids=tokens).pooler_output, net.get_image_features(
        pixel_values=images
    ).pooler_output


TOKENS = torch.tensor([[97, 3, 5, 98, 0], [97, 1, 98, 0, 0]])


@pytest.mark.parametrize("quick", [False, True])
def test_open_clip_safetensors(tmp_path, quick):
    net = tiny("quick_gelu" if quick else "gelu")
    tensors = open_clip(net)
    path = tmp_path / "open_clip_model.safetensors"
    save_file(tensors, path)
    if quick:
        (tmp_path / "open_clip_config.json").write_text(
            json.dumps({"model_cfg": {"quick_gelu": True, "vision_cfg": {"width": 128}, "text_cfg": {"heads": 1}}})
        )
    found = load(path)
    assert found.kind == "clip" and found.config["image_size"] == 32 and bool(found.warnings) is not quick
    images = torch.randn(2, 3, 32, 32)
    got = features(found.module, TOKENS, images)
    for a, b in zip(got, features(net, TOKENS, images), strict=True):
        assert torch.equal(a, b)
    activation = (lambda x: x * torch.sigmoid(1.702 * x)) if quick else F.gelu
    for a, b in zip(got, forward_as_open_clip_defines_it(tensors, TOKENS, images, activation), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("pickled", [False, True])
def test_transformers_folder(tmp_path, pickled):
    net = tiny("quick_gelu")
    net.save_pretrained(tmp_path)
    if pickled:
        (tmp_path / "model.safetensors").unlink()
        torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    images = torch.randn(2, 3, 32, 32)
    for a, b in zip(features(load(tmp_path).module, TOKENS, images), features(net, TOKENS, images), strict=True):
        assert torch.equal(a, b)


def test_text_tower_under_its_own_prefix():
    net = tiny()
    tensors = open_clip(net)
    prefixed = {k if k.startswith(("visual.", "logit")) else f"text.{k}": v for k, v in tensors.items()}
    found = load(prefixed)
    assert torch.equal(found.module.text_projection.weight, net.text_projection.weight)


def test_faults_are_named(tmp_path):
    tensors = open_clip(tiny())
    with pytest.raises(SddError, match=r"lacks the tensor visual\.transformer\.resblocks\.1\.attn\.in_proj_weight"):
        read_clip({k: v for k, v in tensors.items() if k != "visual.transformer.resblocks.1.attn.in_proj_weight"})
    with pytest.raises(SddError, match="has none of"):
        load_clip(tmp_path)
    with pytest.raises(SddError, match="not the configuration of a CLIP"):
        (tmp_path / "open_clip_config.json").write_text("[1]")
        read_clip(tensors, beside=tmp_path)


def test_pixels_normalise_and_resize():
    x = torch.zeros(1, 3, 16, 16).requires_grad_()
    out = pixels(x, 32)
    assert out.shape == (1, 3, 32, 32)
    assert torch.allclose(
        out[0, :, 5, 5],
        torch.tensor(
            [(0.5 - 0.48145466) / 0.26862954, (0.5 - 0.4578275) / 0.26130258, (0.5 - 0.40821073) / 0.27577711]
        ),
    )
    out.sum().backward()
    assert x.grad.abs().sum() > 0
