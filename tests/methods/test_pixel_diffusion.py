"""A diffusion model in pixel space, from whatever it comes as."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

from parity import fixture
from sdd.errors import SddError
from sdd.io import load as read
from sdd.methods.pixel_diffusion import PixelDiffusion, load
from tuning import ABAR


@pytest.fixture(scope="module")
def net():
    return UNet2DModel(
        sample_size=8, block_out_channels=(8,), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip


@torch.no_grad()
def test_reads_the_original_formats(tmp_path):
    for name, output in (("ddpm_32", "eps_t17"), ("iddpm_64", "out_t17")):
        reference = fixture(name)
        torch.save(reference.tensors, tmp_path / f"{name}.pt")
        model = load(tmp_path / f"{name}.pt")
        want = reference.outputs[output][:, :3]  # a learned variance is no noise
        torch.testing.assert_close(model(reference.inputs["x"], 17), want, atol=1e-4, rtol=0)
        torch.testing.assert_close(model.abar, ABAR, atol=1e-6, rtol=0)
        assert model.size == want.shape[-1]


@torch.no_grad()
def test_reads_diffusers_folders(net, tmp_path):
    scheduler = DDPMScheduler(beta_end=0.01)
    net.half().save_pretrained(tmp_path / "flat")
    scheduler.save_pretrained(tmp_path / "flat")
    DDPMPipeline(net, scheduler).save_pretrained(tmp_path / "pipeline")
    net.save_pretrained(tmp_path / "bare")
    x = torch.randn(1, 3, 8, 8)
    want = net.float()(x, 300).sample
    for folder in ("flat", "pipeline", "bare"):
        model = load(tmp_path / folder)
        torch.testing.assert_close(model(x, 300), want, atol=1e-5, rtol=0)
        expected = ABAR if folder == "bare" else scheduler.alphas_cumprod
        torch.testing.assert_close(model.abar, expected, atol=1e-6, rtol=0)
    assert torch.equal(PixelDiffusion.of(read(tmp_path / "bare"))(x, 300), load(tmp_path / "bare")(x, 300))


def test_what_is_none_is_refused(net, tmp_path):
    with pytest.raises(SddError, match="noise"):
        PixelDiffusion.of(DDPMPipeline(net, DDIMScheduler(prediction_type="v_prediction")))
    with pytest.raises(SddError, match="is not"):
        load(tmp_path)
    torch.save(fixture("clip_direction").inputs | {"latents": torch.zeros(2, 3)}, tmp_path / "x.pt")
    with pytest.raises(SddError):
        load(tmp_path / "x.pt")
