"""InstructPix2Pix computes what the authors' code computes; its pipeline is diffusers', with the authors' schedule."""

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline
from diffusers.models.attention_processor import Attention

import pipelines
from parity import fixture
from sdd.errors import SddError
from sdd.methods import instruct_pix2pix as ip2p
from sdd.methods.models import Models
from sdd.teachers.instructed import learns, load_instructed, of_teacher, save_learned, widened

SCALED_LINEAR = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0).float()


class Recorded:
    """The fixture, and the predictor that its meta defines."""

    def __init__(self):
        self.reference = fixture("instruct_pix2pix")
        self.inputs, self.meta, self.weights = self.reference.inputs, self.reference.meta, self.reference.tensors

    def predict(self, z, t, text, image=None):
        mixed = torch.einsum("oc,bchw->bohw", self.weights["unet.z"], z)
        mixed = mixed + (text.mean(1) @ self.weights["unet.text"].T)[:, :, None, None]
        mixed = mixed + (t[:, None] / 1000 * self.weights["unet.time"])[:, :, None, None]
        if image is not None:
            mixed = mixed + torch.einsum("oc,bchw->bohw", self.weights["unet.image"], image)
        return 0.9 * z + 0.4 * torch.tanh(mixed)

    def denoiser(self, scales):
        i = self.inputs
        return lambda z, sigma: ip2p.denoised(
            self.predict, z, sigma, SCALED_LINEAR, i["text"], i["text_null"], i["image_latent"], *scales
        )

    def check(self, name, got):
        self.reference.check(name, got)


@pytest.fixture(scope="module")
def recorded():
    return Recorded()


def test_noise_levels_and_their_timesteps(recorded):
    for n in recorded.meta["sigma_steps"]:
        recorded.check(f"sigmas_{n}", ip2p.sigmas(SCALED_LINEAR, n))
    recorded.check("sigma_to_t", ip2p.sigma_to_t(SCALED_LINEAR, recorded.inputs["sigma_probe"]))
    levels = ip2p.sigmas(SCALED_LINEAR, 7)[:-1]
    assert torch.allclose(ip2p.sigma_to_t(SCALED_LINEAR, levels), torch.linspace(999, 0, 7), atol=1e-2)


def test_guidance_and_sampler(recorded):
    inputs = recorded.inputs
    levels = ip2p.sigmas(SCALED_LINEAR, recorded.meta["steps"])
    for scales in recorded.meta["scales"]:
        denoise = recorded.denoiser(scales)
        name = "_".join(map(str, scales))
        recorded.check(f"denoised_{name}", denoise(inputs["z"], inputs["sigma"]))
        start = inputs["start"] * levels[0]
        recorded.check(f"sample_{name}", ip2p.euler_ancestral(denoise, start, levels, inputs["noise"]))


def test_pairs_share_their_noise_and_attention(recorded):
    inputs, meta = recorded.inputs, recorded.meta
    for threshold in meta["p2p_thresholds"]:
        copied = ip2p.copied_steps(threshold, meta["steps"])
        want = recorded.reference.outputs[f"p2p_steps_{threshold}"]
        recorded.check(
            f"p2p_steps_{threshold}", torch.tensor([*copied, *([meta["steps"]] * (len(want) > len(copied)))])
        )
    told = []
    made = ip2p.pair(
        recorded.predict, inputs["start"], list(inputs["noise"]), SCALED_LINEAR, (inputs["text"], inputs["text_after"]),
        inputs["text_null"], meta["pair_scale"], told.append, threshold=0.5,
    )  # fmt: skip
    recorded.check("pair", made)
    assert told == ip2p.copied_steps(0.5, meta["steps"])


def test_the_second_of_a_pair_attends_as_the_first(recorded):
    weights = {k[5:]: v for k, v in recorded.weights.items() if k.startswith("attn.")}
    attention = Attention(8, heads=2, dim_head=4, processor=ip2p.CopiedAttention())
    attention.load_state_dict(weights)
    with torch.no_grad():
        recorded.check("copied_attention", attention(recorded.inputs["attn_x"]))


def test_dropout_of_conditions(recorded):
    i = recorded.inputs
    text, image = ip2p.drop_conditions(i["drop"], i["batch_text"], i["batch_image"], i["text_null"])
    recorded.check("dropped_text", text)
    recorded.check("dropped_image", image)


def test_the_filter_of_pairs(recorded):
    i, w = recorded.inputs, recorded.weights
    seen = ip2p.clip_view(i["pair_images"].flatten(0, 1))
    pooled = torch.nn.functional.adaptive_avg_pool2d(seen, 8).flatten(1)
    features = torch.tanh(pooled @ w["clip.in"].T + w["clip.bias"]) @ w["clip.out"].T
    recorded.check("similarities", ip2p.similarities(features.unflatten(0, (-1, 2)), i["clip_text"]))
    recorded.check("kept_seeds", torch.tensor(ip2p.kept(i["candidates"], recorded.meta["candidate_seeds"])))


def test_the_scales_cancel_where_they_are_one():
    null, image, both = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ip2p.combine(null, image, both, 1, 1), both, atol=1e-6)
    assert torch.allclose(ip2p.combine(null, image, both, 0, 0), null)


# --- The pipeline ----------------------------------------------------------------------------------------------------


def pipeline():
    torch.manual_seed(0)
    sd = pipelines.sd()
    return StableDiffusionInstructPix2PixPipeline(
        vae=sd.vae, text_encoder=sd.text_encoder, tokenizer=sd.tokenizer, unet=widened(sd.unet),
        scheduler=sd.scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def test_the_pipelines_schedule_is_the_authors():
    scheduler = ip2p.scheduled(pipeline())
    assert isinstance(scheduler, EulerAncestralDiscreteScheduler)
    scheduler.set_timesteps(6)
    assert torch.allclose(scheduler.sigmas, ip2p.sigmas(SCALED_LINEAR, 6), rtol=1e-4)


def test_edits_of_any_size_and_of_one_picture_alone():
    torch.manual_seed(1)
    pipe = pipeline()
    with torch.no_grad():
        pipe.unet.conv_in.weight.normal_(std=0.2)  # so that the picture matters
    method = ip2p.InstructPix2Pix(steps=2)
    fitted = method.fit("white hair", "", None, Models({"instructed": lambda: pipe}))
    images = torch.rand(3, 3, 24, 24) * 2 - 1
    steps = []
    found = fitted.edit(images, seed=3, report=lambda what, done, total: steps.append((done, total)))
    assert found.shape == images.shape and found.abs().max() <= 1 and steps == [(1, 2), (2, 2)]
    assert torch.allclose(fitted.edit(images[1:2], seed=3), found[1:2], atol=1e-4)
    assert not torch.allclose(fitted.edit(images, seed=4), found, atol=1e-2)
    assert not torch.allclose(fitted.edit(images, 2.2, seed=3), found, atol=1e-2)


def test_says_what_it_cannot_do():
    models = Models({"instructed": pipeline})
    with pytest.raises(SddError, match=r"at least 1, not 0\.8"):
        ip2p.METHOD.fit("white hair", "", None, models).edit(torch.zeros(1, 3, 16, 16), 0.8)
    with pytest.raises(SddError, match="needs an instruction"):
        ip2p.METHOD.fit(" ", "", None, models)
    with pytest.raises(SddError, match="--instructed"):
        ip2p.METHOD.fit("white hair", "", None, Models())


def test_a_widened_unet_answers_as_before_whatever_the_picture():
    torch.manual_seed(2)
    before = pipelines.unet()
    noisy, picture, text = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 12, 16)
    want = before(noisy, 500, text).sample
    after = widened(before)
    assert after.config.in_channels == 8
    assert torch.allclose(after(torch.cat([noisy, picture], 1), 500, text).sample, want, atol=1e-6)


def test_what_learned_is_found_again(tmp_path):
    pipelines.sd().save_pretrained(tmp_path / "teacher")
    pipe = of_teacher(tmp_path / "teacher")
    with torch.no_grad():
        pipe.unet.conv_in.weight.normal_()
    save_learned(tmp_path / "instructed" / "unet.safetensors", pipe.unet)
    again = load_instructed(tmp_path / "instructed")
    for name, tensor in pipe.unet.state_dict().items():
        assert torch.equal(tensor.half() if learns(name) else tensor, again.unet.state_dict()[name].to(
            torch.float16 if learns(name) else tensor.dtype)), name  # fmt: skip
    (tmp_path / "instructed" / "unet.safetensors").write_bytes(b"nothing")
    with pytest.raises(SddError, match="does not hold what the U-Net"):
        load_instructed(tmp_path / "instructed")
    with pytest.raises(SddError, match="as a model that follows instructions"):
        load_instructed(tmp_path / "teacher" / "vae")
    pipe.save_pretrained(tmp_path / "whole")
    assert load_instructed(tmp_path / "whole").unet.config.in_channels == 8
