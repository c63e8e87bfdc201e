"""DDPM, improved DDPM and DiffAE compute what the original networks compute, read from the original containers."""

import pytest
import torch
from diffusers import DDIMScheduler

from parity import fixture
from sdd.errors import SddError
from sdd.io import load
from sdd.nets.diffae import DiffAE, LatentClassifier, LatentNet


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves a container and gives its path."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def save(name, container, **options):
        torch.save(container, folder / name, **options)
        return folder / name

    return save


@pytest.fixture(scope="module")
def ddpm(saved):
    return load(saved("celeba_hq.ckpt", fixture("ddpm_32").tensors))


@torch.no_grad()
def test_ddpm(ddpm):
    reference = fixture("ddpm_32")
    x = reference.inputs["x"]
    assert ddpm.kind == "ddpm" and ddpm.config["image_size"] == 32 and not ddpm.config["learned_variance"]
    for t in (0, 17, 801, 999):
        reference.check(f"eps_t{t}", ddpm.module(x, t).sample)
    reference.check("eps_mixed_t", ddpm.module(x, torch.tensor([17, 801])).sample)
    reference.check("temb", ddpm.module.time_proj(torch.tensor([17, 801, 0, 999])))


@torch.no_grad()
@pytest.mark.parametrize("start, end", [(500, 450), (20, -1), (100, 150)])
def test_ddim_with_the_schedule_of_the_file(ddpm, start, end):
    reference = fixture("ddpm_32")
    x = reference.inputs["x"].double()
    alphas = DDIMScheduler(**ddpm.config["scheduler"]).alphas_cumprod.double()
    noise = ddpm.module(x.float(), start).sample.double()
    before, after = alphas[start], alphas[end] if end >= 0 else torch.tensor(1.0)
    clean = (x - (1 - before).sqrt() * noise) / before.sqrt()
    reference.check(f"ddim_{start}_to_{end}", after.sqrt() * clean + (1 - after).sqrt() * noise)


@torch.no_grad()
@pytest.mark.parametrize("legacy", [False, True])
def test_ddim_training_list(saved, legacy):
    """[model, optimiser, epoch, step, average] with `module.` prefixes; the average is the model to use."""
    reference = fixture("ddpm_32")
    wrong = {f"module.{k}": v * 0 for k, v in reference.tensors.items()}
    right = {f"module.{k}": v for k, v in reference.tensors.items()}
    optimiser = {"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-4}]}
    path = saved("ckpt.pth", [wrong, optimiser, 7, 12345, right], _use_new_zipfile_serialization=not legacy)
    found = load(path)
    reference.check("eps_t17", found.module(reference.inputs["x"], 17).sample)
    assert any("average" in w for w in found.warnings)


@torch.no_grad()
def test_improved_ddpm(saved):
    reference = fixture("iddpm_64")
    found = load(saved("ffhq_10m.pt", reference.tensors))
    assert found.kind == "improved-ddpm" and found.config["image_size"] == 64 and found.config["learned_variance"]
    for t in (17, 801):
        reference.check(f"out_t{t}", found.module(reference.inputs["x"], t).sample)
    assert any("head" in w for w in found.warnings)


@torch.no_grad()
def test_improved_ddpm_takes_a_head_size():
    reference = fixture("iddpm_64")
    x = reference.inputs["x"]
    reference.check("out_t17", load(reference.tensors, head_size=16).module(x, 17).sample)
    assert reference.error("out_t17", load(reference.tensors, head_size=32).module(x, 17).sample) > 0.1
    with pytest.raises(SddError, match="head size of 48"):
        load(reference.tensors, head_size=48)


def lightning(tensors, **more):
    """A DiffAE checkpoint of Lightning 1.4.5, whose callbacks are keyed by a class."""
    state = {f"ema_model.{k}": v for k, v in tensors.items()} | {f"model.{k}": v * 0 for k, v in tensors.items()}
    return {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "1.4.5",
        "state_dict": {**state, "x_T": torch.zeros(2, 3, 64, 64), **more},
        "callbacks": {ModelCheckpoint: {"monitor": None, "best_model_path": ""}},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"name": "ffhq", "batch_size": 2},
    }


class ModelCheckpoint:
    """Lightning's, by name; it need not be installed to read the file."""


ModelCheckpoint.__module__ = "pytorch_lightning.callbacks.model_checkpoint"


@pytest.fixture
def with_lightning(monkeypatch):
    """The module that pickling looks up, present while the file is written."""
    import sys
    import types

    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["pytorch_lightning.callbacks.model_checkpoint"].ModelCheckpoint = ModelCheckpoint
    yield
    monkeypatch.undo()


@torch.no_grad()
@pytest.mark.parametrize("legacy", [False, True])
def test_diffae(saved, with_lightning, legacy):
    reference = fixture("diffae_64")
    path = saved("last.ckpt", lightning(reference.tensors), _use_new_zipfile_serialization=not legacy)
    found = load(path)
    net, inputs = found.module, reference.inputs
    assert found.kind == "diffae" and found.config["image_size"] == 64
    code = net.encode(inputs["x0"])
    reference.check("code", code)
    for t in (17, 801):
        reference.check(f"eps_t{t}", net(inputs["xt"], t, code))
    reference.check("eps_cond", net(inputs["xt"], torch.tensor([17, 801]), inputs["cond"]))
    assert DiffAE(**net.config()).state_dict().keys() == net.state_dict().keys()


@torch.no_grad()
def test_diffae_bare_with_what_lies_beside_it():
    reference = fixture("diffae_64")
    beside = {"x_T": torch.zeros(2, 3, 64, 64), "conds_mean": torch.zeros(1, 512), "conds_std": torch.ones(1, 512)}
    found = load({**reference.tensors, **beside})
    assert found.kind == "diffae" and found.config["conds_std"].shape == (1, 512)
    reference.check("code", found.module.encode(reference.inputs["x0"]))


def test_diffae_latent_net(saved, with_lightning):
    """The published network has 10 layers of 2048 for codes of 512, 63.6 M values with the tensors that are stored
    twice.
    """
    with torch.device("meta"):
        published = LatentNet()
    assert sum(v.numel() for v in published.state_dict().values()) / 1e6 == pytest.approx(63.6, abs=0.05)
    torch.manual_seed(0)
    latent = LatentNet(code=512, hidden=64, layers=4)
    tensors = {**fixture("diffae_64").tensors, **{f"latent_net.{k}": v for k, v in latent.state_dict().items()}}
    found = load(saved("latent.ckpt", lightning(tensors, conds_mean=torch.zeros(1, 512), conds_std=torch.ones(1, 512))))
    x, t = torch.randn(2, 512), torch.tensor([5, 900])
    assert torch.equal(found.module.latent_net(x, t), latent(x, t))
    assert found.config["latent_net"] == latent.config() and found.config["conds_std"].shape == (1, 512)


def test_diffae_latents_and_classifier(saved):
    codes = torch.randn(7, 512)
    latents = load(saved("latent.pkl", {"conds": codes, "conds_mean": codes.mean(0), "conds_std": codes.std(0)}))
    assert latents.kind == "diffae-latents" and torch.equal(latents.module["conds"], codes)
    net = LatentClassifier()
    tensors = {f"ema_classifier.{k}": v for k, v in net.classifier.state_dict().items()}
    tensors |= {f"classifier.{k}": v * 0 for k, v in net.classifier.state_dict().items()}
    tensors |= {"conds_mean": codes.mean(0, keepdim=True), "conds_std": codes.std(0, keepdim=True)}
    found = load(saved("classifier.ckpt", {"state_dict": tensors}))
    assert found.kind == "diffae-classifier" and found.module.conds_mean.shape == (512,)
    want = net.classifier((codes - codes.mean(0)) / codes.std(0))
    assert torch.allclose(found.module(codes), want, atol=1e-5)


def test_missing_wrong_and_additional_tensors_are_named():
    tensors = dict(fixture("ddpm_32").tensors)
    name = "down.1.block.0.conv1.weight"
    with pytest.raises(SddError, match=r"lacks the tensor up\.1\.attn\.1\.q\.weight") as error:
        load({k: v for k, v in tensors.items() if k != "up.1.attn.1.q.weight"} | {"x": 0}, kind="ddpm")
    assert "." in str(error.value)
    with pytest.raises(SddError, match=rf"{name} should be 32x32x3x3, but it is 32x31x3x3"):
        load({**tensors, name: tensors[name][:, :31]})
    with pytest.raises(SddError, match="1 tensors too many, the first surprise"):
        load({**tensors, "surprise": torch.ones(3)})
