"""Generators, encoders, identity networks and mappers compute what the originals compute, read from their containers.

What a file does not hold must be inferred: nothing here hands a reader a hyper-parameter.

The recorded gradients depend on which side of zero a few activations fell when they were recorded, so that they are
compared as a whole (`Fixture.error`): in float64, one entry of `nvidia_64` differs from its recording by 4.3e-3.
"""

import argparse
import gc
import math
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from parity import fixture
from sdd.errors import SddError
from sdd.io import inspect, load
from sdd.nets.arcface import IRSE, identity_crop, identity_features
from sdd.nets.encoder import build_encoder
from sdd.nets.mapper_kinds import build_mapper
from sdd.nets.stylegan2 import Generator


@pytest.fixture(autouse=True)
def collect():
    """Some of these networks take a gigabyte."""
    yield
    gc.collect()


def frozen(loaded):
    return loaded.module.requires_grad_(False)


def gradient(net, code, cotangent):
    """Image of a code, and the code's gradient of sum(image * cotangent)."""
    code = code.clone().requires_grad_()
    image = net(code)
    (image * cotangent).sum().backward()
    return image, code.grad


# --- StyleGAN2 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rosinality_32", "rosinality_64_cm2"])
def test_rosinality(name, tmp_path):
    known = fixture(name)
    x = known.inputs
    path = tmp_path / "stylegan2-ffhq-config-f.pt"
    torch.save({"g_ema": known.tensors, "latent_avg": x["latent_avg"]}, path)
    loaded = load(path)
    net = frozen(loaded)
    assert loaded.kind == "stylegan2" and loaded.warnings == []
    assert (net.size, net.n_latent, net.n_mlp) == tuple(known.meta[k] for k in ("size", "n_latent", "n_mlp"))
    w, w2 = net.mapping(x["z"]), net.mapping(x["z2"])
    known.check("w_of_z", w)
    known.check("img_z", net(w))
    known.check("img_z_psi0.5", net(net.truncate(w, 0.5)))
    known.check("img_w", net(x["w"]))
    mixed = torch.stack([w if k < 3 else w2 for k in range(net.n_latent)], 1)
    known.check("img_mix", net(mixed))
    maps = [x[f"noise_{k}"] for k in range(known.meta["num_noise_layers"])]
    known.check("img_wplus_noise", net.synthesis(x["wplus"], maps))
    image, grad = gradient(net, x["wplus"], x["cotangent"])
    known.check("img_wplus", image)
    known.check("grad_wplus", grad)
    styles = net.styles(x["wplus"])
    known.check("styles", torch.cat(styles, 1))
    edited = [s * (1 + 0.1 * torch.arange(s.shape[1]).cos()) for s in styles]
    known.check("img_styles_edit", net.synthesis_from_styles(edited))
    again = Generator(**net.config())
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(w), net(w))
    found = inspect(path)
    assert found.kind == "stylegan2" and found.hyperparameters["image_size"] == net.size


def test_rosinality_training_checkpoint():
    """train.py's: no latent_avg, a Namespace, optimisers, and weights that are not the moving average."""
    known = fixture("rosinality_32")
    wrong = {k: v * 0 for k, v in known.tensors.items()}
    loaded = load({"g": wrong, "g_ema": known.tensors, "g_optim": {"state": {}}, "args": argparse.Namespace(size=32)})
    known.check("img_wplus", frozen(loaded)(known.inputs["wplus"]))
    assert len(loaded.warnings) == 1 and "latent_avg" in loaded.warnings[0]
    # its own mean, as the original draws it: the mapping network's outputs centre on it
    assert torch.allclose(loaded.module.latent_avg, loaded.module.mean_latent(4096, seed=1), atol=0.1)


@pytest.mark.parametrize("container", ["g", "state_dict", "bare", "module", "safetensors", "half"])
def test_rosinality_other_containers(container, tmp_path):
    known = fixture("rosinality_32")
    tensors = known.tensors
    if container == "safetensors":
        raw = tmp_path / "g.safetensors"
        save_file(tensors, raw)
    elif container == "half":
        raw = {"g_ema": {k: v.half() for k, v in tensors.items()}}
    else:
        prefix = "module." if container == "module" else ""
        raw = {prefix + k: v for k, v in tensors.items()}
        raw = {container: raw} if container in ("g", "state_dict") else raw
    net = frozen(load(raw))
    assert all(v.dtype == torch.float32 for v in net.state_dict().values())
    tolerance = 1e-2 if container == "half" else 3e-5
    with torch.no_grad():
        assert known.error("img_wplus", net(known.inputs["wplus"])) < tolerance


@torch.no_grad()
@pytest.mark.parametrize("shape", [(8,), (1, 8), (6, 8)])
def test_flat_files_arrays_and_shapes_of_the_mean_code(shape, tmp_path):
    net = Generator(16, style_dim=8, n_mlp=2, channels={4: 8, 8: 8, 16: 4})
    average = torch.randn(8).expand(shape).contiguous()
    flat = {**net.state_dict(), "latent_avg": average}
    save_file(flat, tmp_path / "flat.safetensors")
    arrays = {"g_ema": {k: v.numpy() for k, v in net.state_dict().items()}, "latent_avg": average.numpy()}
    for raw in (flat, tmp_path / "flat.safetensors", {"state_dict": flat}, arrays):
        loaded = load(raw)
        assert loaded.kind == "stylegan2" and loaded.warnings == []
        assert torch.allclose(loaded.module.latent_avg, average.reshape(-1, 8)[0])
        assert torch.equal(loaded.module(average.reshape(-1, 8)[:1]), net(average.reshape(-1, 8)[:1]))


def test_files_without_noise_get_seeded_noise():
    known = fixture("rosinality_32")
    tensors = {k: v for k, v in known.tensors.items() if not k.startswith("noises.")}
    a, b = (load({"g_ema": tensors, "latent_avg": torch.zeros(512)}) for _ in range(2))
    assert "noise" in a.warnings[0] and len(a.warnings) == 1
    assert torch.equal(a.module.noises.noise_6, b.module.noises.noise_6) and a.module.noises.noise_6.std() > 0.9
    maps = [known.inputs[f"noise_{k}"] for k in range(7)]
    known.check("img_wplus_noise", frozen(a).synthesis(known.inputs["wplus"], maps))


class Persistent:
    """Pickles as NVIDIA's persistent classes do; the function it names exists only while pickling."""

    def __init__(self, name, state):
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise SystemExit",
            "class_name": name,
            "state": state,
        }

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


def nvidia_module(tensors, name="Generator", **attributes):
    """The record of a module that holds `tensors` by dotted names."""
    own = {k: v for k, v in tensors.items() if "." not in k}
    buffers = ("noise_const", "resample_filter", "w_avg")
    children = OrderedDict((k.split(".", 1)[0], None) for k in tensors if "." in k)
    for child in children:
        inner = {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{child}.")}
        children[child] = nvidia_module(inner, child)
    parameters = OrderedDict((k, torch.nn.Parameter(v)) for k, v in own.items() if k not in buffers)
    state = {
        "training": False,
        "_parameters": parameters,
        "_buffers": OrderedDict((k, v) for k, v in own.items() if k in buffers),
        "_modules": children,
        **attributes,
    }
    return Persistent(name, state)


@pytest.fixture
def nvidia_pickle(tmp_path, monkeypatch):
    """Writes {"G": …, "G_ema": …} as NVIDIA's training loop does, and gives its path."""
    persistence = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("must never be called")

    _reconstruct_persistent_obj.__module__ = persistence.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj

    def write(tensors, init_kwargs, **attributes):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
            patch.setitem(sys.modules, persistence.__name__, persistence)
            record = nvidia_module(tensors, _init_args=(), _init_kwargs=init_kwargs, **attributes)
            container = {"training_set_kwargs": {}, "D": None, "augment_pipe": None, "G_ema": record}
            path = tmp_path / "network.pkl"
            path.write_bytes(pickle.dumps(container))
        return path

    return write


@pytest.mark.parametrize("name", ["nvidia_64", "nvidia_64_clamp1"])
def test_nvidia(name, nvidia_pickle):
    known = fixture(name)
    x = known.inputs
    path = nvidia_pickle(known.tensors, known.meta["init_kwargs"])
    loaded = load(path)
    net = frozen(loaded)
    assert loaded.kind == "nvidia-stylegan2" and loaded.warnings == []
    assert net.conv_clamp == known.meta["conv_clamp"] and net.n_latent == known.meta["num_ws"]
    w = net.mapping(x["z"])

    def layers(w):
        return w[:, None].expand(-1, net.n_latent, -1)

    known.check("ws", layers(w))
    known.check("ws_psi0.7", layers(net.truncate(w, 0.7)))
    known.check("img_z_psi0.7", net(net.truncate(w, 0.7)))
    known.check("img_wplus_nonoise", net.synthesis(x["wplus"], "none"))
    image, grad = gradient(net, x["wplus"], x["cotangent"])
    known.check("img_wplus", image)
    known.check("grad_wplus", grad)
    again = Generator(**net.config())
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.synthesis(x["wplus"]), net.synthesis(x["wplus"]))
    assert inspect(path).hyperparameters["net"]["conv_clamp"] == net.conv_clamp


def small_nvidia(c_dim=0, layers=2, size=16, width=8, base=16):
    """The tensors of a small generator under NVIDIA's names, each one drawn."""
    random = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(*shape, generator=random)

    kernel = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8] * 2)
    t = {"mapping.w_avg": draw(width)}
    if c_dim:
        t |= {"mapping.embed.weight": draw(width, c_dim), "mapping.embed.bias": draw(width)}
    for i in range(layers):
        inputs = 2 * width if c_dim and not i else width
        t |= {f"mapping.fc{i}.weight": 100 * draw(width, inputs), f"mapping.fc{i}.bias": 10 * draw(width)}
    before = base
    for r in [4 << i for i in range(int(math.log2(size)) - 1)]:
        channels = base if r < size else base // 2
        block = f"synthesis.b{r}."
        t[f"{block}resample_filter"] = kernel
        if r == 4:
            t[f"{block}const"] = draw(channels, 4, 4)
        for conv, cin in [("conv0", before), ("conv1", channels)][r == 4 :]:
            t |= {f"{block}{conv}.weight": draw(channels, cin, 3, 3), f"{block}{conv}.bias": draw(channels)}
            t |= {f"{block}{conv}.affine.weight": draw(cin, width), f"{block}{conv}.affine.bias": 1 + draw(cin)}
            t |= {f"{block}{conv}.noise_strength": draw(()), f"{block}{conv}.noise_const": draw(r, r)}
            t[f"{block}{conv}.resample_filter"] = kernel
        t |= {f"{block}torgb.weight": draw(3, channels, 1, 1), f"{block}torgb.bias": draw(3)}
        t |= {f"{block}torgb.affine.weight": draw(channels, width), f"{block}torgb.affine.bias": 1 + draw(channels)}
        before = channels
    return t


def test_nvidia_class_conditional_with_two_mapping_layers(nvidia_pickle):
    """As of the CIFAR-10 network; the expected w is written out from the publication's layers."""
    tensors = small_nvidia(c_dim=3)
    kwargs = {"c_dim": 3, "mapping_kwargs": {"num_layers": 2}, "synthesis_kwargs": {"conv_clamp": 256}}
    loaded = load(nvidia_pickle(tensors, kwargs))
    net = frozen(loaded)
    assert (net.c_dim, net.n_mlp, net.conv_clamp, net.size) == (3, 2, 256, 16)

    def norm(x):
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()

    z, c = torch.randn(4, 8), torch.eye(3)[[0, 1, 2, 0]]
    label = c @ tensors["mapping.embed.weight"].T / math.sqrt(3) + tensors["mapping.embed.bias"]
    x = torch.cat([norm(z), norm(label)], 1)
    for i in range(2):
        weight, bias = tensors[f"mapping.fc{i}.weight"], tensors[f"mapping.fc{i}.bias"]
        x = torch.nn.functional.leaky_relu(x @ weight.T * 0.01 / math.sqrt(x.shape[1]) + bias * 0.01, 0.2) * math.sqrt(
            2
        )
    assert torch.allclose(net.mapping(z, c), x, atol=1e-5)
    with pytest.raises(ValueError, match="label"):
        net.mapping(z)
    assert net.mean_latent(64).shape == (8,)


def test_nvidia_without_noise(nvidia_pickle):
    """Trained with use_noise=False."""
    tensors = {k: v for k, v in small_nvidia().items() if ".noise_" not in k}
    net = frozen(load(nvidia_pickle(tensors, {})))
    w = torch.randn(2, net.n_latent, 8)
    assert net.conv_clamp is None and torch.allclose(net(w), net.synthesis(w, "none"), atol=1e-5)


def test_nvidia_bare_state_dict():
    known = fixture("nvidia_64_clamp1")
    loaded = load(known.tensors, conv_clamp=1.0)
    known.check("img_wplus", frozen(loaded)(known.inputs["wplus"]))
    assert "conv_clamp" in loaded.warnings[0]
    assert load({"G_ema": known.tensors}).kind == "nvidia-stylegan2"


def test_what_the_layout_cannot_express_is_refused(nvidia_pickle):
    with pytest.raises(SddError, match="resnet"):
        load(nvidia_pickle(small_nvidia(), {"synthesis_kwargs": {"architecture": "resnet"}}))
    with pytest.raises(SddError, match="StyleGAN3"):
        load(nvidia_pickle({"synthesis.L0_36_512.weight": torch.zeros(2, 2)}, {}))
    grey = small_nvidia() | {"synthesis.b4.torgb.weight": torch.zeros(1, 16, 1, 1)}
    with pytest.raises(SddError, match="RGB"):
        load(nvidia_pickle(grey, {}))


def test_mapping_networks_of_other_widths_are_refused_by_their_option(nvidia_pickle):
    wide = {"mapping.fc0.weight": torch.randn(12, 8), "mapping.fc0.bias": torch.randn(12)}
    wide["mapping.fc1.weight"] = torch.randn(8, 12)
    path = nvidia_pickle(small_nvidia() | wide, {"mapping_kwargs": {"num_layers": 2, "layer_features": 12}})
    with pytest.raises(SddError, match=r"layer_features=12.*\(8\)"):
        load(path)
    embed = {"mapping.embed.weight": torch.randn(5, 3), "mapping.embed.bias": torch.randn(5)}
    embed["mapping.fc0.weight"] = torch.randn(8, 13)
    with pytest.raises(SddError, match="embed_features=5"):
        load(small_nvidia(c_dim=3) | embed)


# --- What is wrong with a file is named -------------------------------------------------------------------------------


def test_missing_wrong_and_left_over_tensors_are_named():
    tensors = dict(Generator(16, style_dim=8, n_mlp=2, channels={4: 8, 8: 8, 16: 4}).state_dict())
    assert load({"g_ema": tensors}).config["net"]["channels"] == {"4": 8, "8": 8, "16": 4}
    for name in tensors:
        without = {k: v for k, v in tensors.items() if k != name}
        if name.endswith(".kernel"):  # always the same, so it may be missing
            load({"g_ema": without})
            continue
        with pytest.raises(SddError) as error:
            load({"g_ema": without}, kind="stylegan2")
        group = name.rsplit(".", 1)[0] if name.startswith(("to_rgbs.1", "style.2")) else name
        assert group in str(error.value) or "style.1" in str(error.value), (name, error.value)
    with pytest.raises(SddError, match=r"convs\.2\.conv\.modulation\.bias should be 8, but it is 9"):
        load({"g_ema": tensors | {"convs.2.conv.modulation.bias": torch.zeros(9)}})
    with pytest.raises(SddError, match="surplus"):
        load({"g_ema": tensors | {"surplus.weight": torch.zeros(9)}})
    with pytest.raises(SddError, match="latent_avg of 9"):
        load({"g_ema": tensors, "latent_avg": torch.zeros(9)})
    nvidia = small_nvidia()
    with pytest.raises(SddError, match=r"synthesis\.b8\.conv0\.affine\.bias"):
        load({k: v for k, v in nvidia.items() if k != "synthesis.b8.conv0.affine.bias"})
    with pytest.raises(SddError, match=r"mapping\.w_avg should be 8, but it is 9"):
        load(nvidia | {"mapping.w_avg": torch.zeros(9)})


# --- Encoders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, kind", [("e4e_32", "e4e"), ("psp_32", "psp")])
@torch.no_grad()
def test_encoders(name, kind, tmp_path):
    known = fixture(name)
    container = {"state_dict": known.tensors, "opts": known.meta["opts"], "latent_avg": known.inputs["latent_avg"]}
    if kind == "e4e":  # the path through a file; once is enough for half a gigabyte
        torch.save(container, tmp_path / "encoder.pt")
        container = tmp_path / "encoder.pt"
    loaded = load(container)
    assert loaded.kind == kind and loaded.warnings == [] and loaded.config["crop"] is None
    net, decoder = frozen(loaded), loaded.parts["decoder"]
    assert net.n_styles == known.meta["n_styles"] == decoder.n_latent
    for size in (64, 256):
        image = known.inputs[f"x{size}"]
        offsets = net.offsets(image)
        known.check(f"encoder_x{size}", offsets)
        codes = net(image) if size == 64 else offsets + net.latent_avg
        known.check(f"codes_x{size}", codes)
    known.check("inversion", decoder(codes))
    if kind == "e4e":
        assert inspect(container).hyperparameters["n_latent"] == net.n_styles
        container.unlink()


TRUNK = {"units": [1, 1, 1], "channels": [4, 6, 8], "stem": 4, "squeeze": 2}


def encoder_file(kind, opts, n_styles=8, **trunk):
    """The container of a small random encoder, and the encoder."""
    torch.manual_seed(0)
    net = build_encoder(kind, n_styles=n_styles, style_dim=8, **TRUNK, **trunk).eval()
    for name, value in net.state_dict().items():  # batch norms that do nothing would hide that they were lost
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    tensors = {f"encoder.{k}": v for k, v in net.state_dict().items()}
    return {"state_dict": tensors, "opts": {"encoder_type": kind, **opts}}, net


@torch.no_grad()
def test_encoders_into_w_and_from_sketches():
    wplus = "BackboneEncoderUsingLastLayerIntoWPlus"
    raw, net = encoder_file(wplus, {"output_size": 64, "start_from_latent_avg": False}, n_styles=10)
    loaded = load(raw)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    assert loaded.kind == "psp" and torch.equal(loaded.module(images), net(images))
    raw, net = encoder_file(wplus[:-4], {"output_size": 64, "learn_in_w": True}, n_styles=10, input_channels=1)
    average = torch.randn(1, 8)
    raw["latent_avg"] = average
    loaded = load(raw)
    codes = loaded.module(images[:, :1])
    assert codes.shape == (2, 10, 8) and torch.equal(codes, net.offsets(images[:, :1]) + average)
    assert loaded.module.input_channels == 1
    raw, _ = encoder_file(wplus[:-4], {}, n_styles=18)  # the oldest files: no output_size means 1024
    assert load(raw).module.n_styles == 18


@torch.no_grad()
def test_encoder_options():
    """Cars' crop, a Namespace for opts, batch norm counters that are not there, wrong kinds."""
    raw, net = encoder_file("Encoder4Editing", {"dataset_type": "cars_encode", "stylegan_size": 32})
    raw["opts"] = argparse.Namespace(**raw["opts"])
    raw["state_dict"] = {k: v for k, v in raw["state_dict"].items() if not k.endswith("num_batches_tracked")}
    raw["latent_avg"] = torch.randn(8, 8)
    raw["opts"] = vars(raw["opts"])
    loaded = load(raw)
    images = torch.rand(1, 3, 48, 64) * 2 - 1
    assert loaded.config["crop"] == "car" and loaded.config["input_size"] == [192, 256]
    assert torch.equal(loaded.module(images), net.offsets(images) + raw["latent_avg"])
    rebuilt = build_encoder(**loaded.module.config())
    rebuilt.load_state_dict(loaded.module.state_dict())
    with pytest.raises(SddError, match="kind is e4e"):
        load(raw, kind="psp")
    bare = raw["state_dict"]
    with pytest.raises(SddError, match="kind"):  # e4e and pSp have the same names: nothing says which it is
        load(bare)
    forced = load(bare, kind="e4e")
    assert torch.equal(forced.module(images), net.offsets(images)) and "latent_avg" in forced.warnings[0]
    with pytest.raises(SddError, match="latent_avg of 7x8"):
        load(raw | {"latent_avg": torch.zeros(7, 8)})
    broken = raw | {"state_dict": {k: v for k, v in bare.items() if k != "encoder.styles.3.convs.4.bias"}}
    with pytest.raises(SddError, match=r"styles\.3\.convs\.4\.bias"):
        load(broken)


@torch.no_grad()
def test_encoders_saved_alone_and_options_as_a_namespace():
    raw, net = encoder_file("Encoder4Editing", {"stylegan_size": 32, "start_from_latent_avg": True})
    average = torch.randn(8, 8)
    images = torch.rand(1, 3, 48, 64) * 2 - 1
    want = net.offsets(images) + average
    spread = raw | {"opts": argparse.Namespace(**raw["opts"]), "latent_avg": average}
    assert load(spread).kind == "e4e" and torch.equal(load(spread).module(images), want)
    inside = raw | {"state_dict": raw["state_dict"] | {"latent_avg": average}}
    assert torch.equal(load(inside).module(images), want)
    loaded = load({**net.state_dict(), "latent_avg": average}, kind="e4e")
    assert loaded.kind == "e4e" and torch.equal(loaded.module(images), want)


# --- Identity --------------------------------------------------------------------------------------------------------


def test_ir_se50(tmp_path):
    known = fixture("arcface_ir_se50")
    x = known.inputs
    tensors = {k: v for k, v in known.tensors.items() if not k.endswith("num_batches_tracked")}
    path = tmp_path / "model_ir_se50.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)  # it is from before PyTorch 1.6
    loaded = load(path)
    net = frozen(loaded)
    assert loaded.kind == "ir-se50" and net.input_size == 112 and net.units == (3, 4, 14, 3)
    known.check("feat_x112", net(x["x112"]))
    known.check("crop112", identity_crop(net, x["x512"][:1]))
    for size in (64, 256, 512):
        edited = x[f"y{size}"].clone().requires_grad_()
        features = identity_features(net, x[f"x{size}"])
        known.check(f"feat_x{size}", features)
        with torch.set_grad_enabled(size == 64):
            loss = (1 - (identity_features(net, edited) * features).sum(1)).mean()
        known.check(f"idloss{size}", loss)
        if size == 64:
            loss.backward()
            known.check("grad_y64", 1000 * edited.grad)


@torch.no_grad()
def test_small_identity_networks():
    torch.manual_seed(0)
    net = IRSE(units=(1, 2), channels=(8, 16), embedding=12, input_size=32, stem=8, squeeze=4, crop="none").eval()
    loaded = load(net.state_dict(), crop="none")
    assert loaded.module.config() == net.config()
    images = torch.rand(2, 3, 50, 50)
    assert torch.equal(identity_features(loaded.module, images), identity_features(net, images))
    assert identity_features(net, images).norm(dim=1).allclose(torch.ones(2))


# --- Mappers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sdd_levels_medium_fine", "sdd_levels_all", "sdd_single"])
def test_sdd_mappers(name, tmp_path):
    known = fixture(name)
    path = tmp_path / "mapper_004000.pt"
    torch.save({"mapper": known.tensors, "optimizer": {"state": {}, "param_groups": []}}, path)
    loaded = load(path)
    mapper, wplus = loaded.module, known.inputs["wplus"].requires_grad_()
    assert loaded.kind == "sdd-mapper" and loaded.config["kind"] == known.meta["mapper"]
    delta = mapper(wplus)
    known.check("delta", delta)
    known.check("wplus_edit", wplus + mapper.latent_weight * delta)
    optimizer = torch.optim.AdamW(mapper.parameters(), lr=0.005, weight_decay=0.002)
    (delta * known.inputs["cotangent"]).sum().backward()
    known.check("grad_wplus", wplus.grad)
    optimizer.step()
    known.check("delta_after_step", mapper(wplus))
    assert inspect(path).hyperparameters["kind"] == known.meta["mapper"]


@pytest.mark.parametrize("name", ["sdd_stylespace_full", "sdd_stylespace_without_torgb"])
@torch.no_grad()
def test_sdd_stylespace_mappers(name):
    known = fixture(name)
    loaded = load({"white hair": known.tensors})
    assert loaded.kind == "sdd-mapper" and loaded.config["kind"] == known.meta["mapper"]
    assert loaded.config["dims"] == known.meta["dims"]
    deltas = loaded.module([known.inputs[f"s_{i}"] for i in range(26)])
    known.check("delta", torch.cat([d.flatten(1) for d in deltas], 1))


@torch.no_grad()
def test_styleclip_mapper(tmp_path):
    known = fixture("styleclip_levels")
    path = tmp_path / "purple_hair.pt"
    torch.save({"state_dict": known.tensors, "opts": known.meta["opts"]}, path)
    loaded = load(path)
    mapper, decoder, wplus = loaded.module, loaded.parts["decoder"], known.inputs["wplus"]
    assert loaded.kind == "styleclip-mapper" and loaded.config["description"] == "purple hair"
    assert loaded.config["levels"] == ["coarse", "medium"]
    delta = mapper(wplus)
    edited = wplus + mapper.latent_weight * delta
    known.check("delta", delta)
    known.check("wplus_edit", edited)
    known.check("before", decoder(wplus))
    known.check("after", decoder(edited))
    same = load(path, kind="stylegan2").module  # its decoder, where a generator is asked for
    assert torch.equal(same(wplus), decoder(wplus))


@pytest.mark.parametrize("wrapping", ["name", "mapper", "model", "bare", "a hair"])
def test_mapper_wrappings_and_damage(wrapping):
    tensors = build_mapper({"kind": "LevelsMapper", "style_dim": 8, "levels": ["medium", "fine"]}).state_dict()
    raw = tensors if wrapping == "bare" else {wrapping: tensors, "optimizer": {}}
    assert load(raw).config["levels"] == ["medium", "fine"]
    assert load(raw, latent_weight=0.2).module.latent_weight == 0.2
    for name in tensors:
        damaged = {k: v for k, v in tensors.items() if k != name}
        with pytest.raises(SddError, match=name):
            load(damaged if wrapping == "bare" else {wrapping: damaged})
    with pytest.raises(SddError, match=r"medium_mapping\.mapping\.2\.bias should be 8, but it is 9"):
        load(tensors | {"medium_mapping.mapping.2.bias": torch.zeros(9)})


# --- Latents ---------------------------------------------------------------------------------------------------------


def test_wplus_files(tmp_path):
    codes = torch.randn(5, 18, 32)
    torch.save(codes, tmp_path / "a.pt")
    np.save(tmp_path / "a.npy", codes.double().numpy())
    save_file({"wplus": codes}, tmp_path / "a.safetensors")
    torch.save({"latent": codes}, tmp_path / "latent_000100.pt")
    for name in ("a.pt", "a.npy", "a.safetensors", "latent_000100.pt"):
        loaded = load(tmp_path / name)
        assert loaded.kind == "latents" and torch.equal(loaded.module, codes)
        assert loaded.config == {"space": "wplus", "count": 5, "n_latent": 18, "style_dim": 32}
        assert inspect(tmp_path / name).hyperparameters["n_latent"] == 18
    torch.save(codes[0], tmp_path / "latent_00000.pt")  # StyleCLIP's inference
    assert load(tmp_path / "latent_00000.pt").module.shape == (1, 18, 32)
    torch.save({"image": torch.zeros(1, 3, 32, 32)}, tmp_path / "image_000100.pt")
    with pytest.raises(SddError):
        load(tmp_path / "image_000100.pt")


def test_stylespace_files(tmp_path):
    dims = [512] * 15 + [256] * 3 + [128] * 3 + [64] * 3 + [32] * 2
    vectors = [torch.randn(3, 1, d, 1, 1) for d in dims]
    torch.save(vectors, tmp_path / "list.pt")
    padded = torch.cat([torch.nn.functional.pad(v, (0, 0, 0, 0, 0, 512 - v.shape[2])) for v in vectors], 2)
    torch.save(padded, tmp_path / "padded.pt")
    for name in ("list.pt", "padded.pt"):
        loaded = load(tmp_path / name)
        assert loaded.config == {"space": "style", "count": 3, "dims": dims}
        assert all(torch.equal(a, b.flatten(1)) for a, b in zip(loaded.module, vectors, strict=True))
        assert inspect(tmp_path / name).kind == "latents"
