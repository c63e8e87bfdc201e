"""Guidance: identities that hold exactly, a Gaussian teacher whose answer is known, and the recorded original."""

import pytest
import torch

from parity import fixture
from sdd import guidance
from sdd.teachers.latent import resize
from toy import ToyTeacher

SHAPE = (3, 4, 5, 6)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def eps():
    null, text, noise = (draw(*SHAPE, seed=i) for i in range(3))
    return null, text, noise


def test_guide_is_null_at_zero_and_text_at_one(eps):
    null, text, _ = eps
    assert torch.equal(guidance.guide(null, text, 0), null)
    torch.testing.assert_close(guidance.guide(null, text, 1), text, rtol=0, atol=1e-15)


def test_sds_is_csd_and_a_noisy_part(eps):
    null, text, noise = eps
    w, s = 0.3, 7.5
    parts = s * guidance.csd(null, text, w) + w * (null - noise)
    torch.testing.assert_close(guidance.sds(null, text, noise, w, s), parts, rtol=1e-13, atol=1e-13)


def test_sds_is_zero_when_the_noise_is_predicted(eps):
    assert not guidance.sds(eps[2], eps[2], eps[2], 0.7, 100).any()


def test_csd_is_zero_for_the_null_prompt(eps):
    assert not guidance.csd(eps[0], eps[0], 0.7).any()


def test_dds_is_zero_for_the_source_itself(eps):
    null, text, _ = eps
    assert not guidance.dds(null, text, null, text, 0.7, 7.5).any()


def test_dds_is_the_difference_of_two_sds(eps):
    null, text, noise = eps
    source = draw(*SHAPE, seed=7), draw(*SHAPE, seed=8)
    want = guidance.sds(null, text, noise, 0.3, 7.5) - guidance.sds(*source, noise, 0.3, 7.5)
    torch.testing.assert_close(guidance.dds(null, text, *source, 0.3, 7.5), want, rtol=1e-12, atol=1e-12)


def test_dds_on_the_source_is_csd_when_the_source_has_no_prompt(eps):
    """What distillation starts from: at the unedited image, s · csd."""
    null, text, _ = eps
    want = 7.5 * guidance.csd(null, text, 0.3)
    torch.testing.assert_close(guidance.dds(null, text, null, null, 0.3, 7.5), want, rtol=1e-12, atol=1e-12)


def test_weight_is_one_minus_alpha_bar():
    abar = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    got = guidance.weight(abar, torch.tensor([2, 0]))
    assert got.shape == (2, 1, 1, 1)
    assert got.flatten().tolist() == [1 - 0.1, 1 - 0.9]


def test_topk_keeps_the_largest_of_each_image():
    g = torch.tensor([[1.0, -5, 2, -3], [0.1, 0.2, -0.4, 0.3]]).view(2, 1, 2, 2)
    kept = [[0, -5, 0, -3], [0, 0, -0.4, 0.3]]
    assert torch.equal(guidance.topk_clip(g, 2).flatten(1), torch.tensor(kept))


def test_topk_over_the_batch_may_leave_an_image_nothing():
    g = torch.tensor([[1.0, -5, 2, -3], [0.1, 0.2, -0.4, 0.3]]).view(2, 1, 2, 2)
    assert guidance.topk_clip(g, 3, per_sample=False).flatten(1).tolist() == [[0, -5, 2, -3], [0, 0, 0, 0]]


@pytest.mark.parametrize("per_sample", [True, False])
def test_topk_counts_and_values(per_sample):
    g = draw(*SHAPE)
    got = guidance.topk_clip(g, 17, per_sample)
    kept = got != 0
    assert int(kept.sum()) == 17 * (len(g) if per_sample else 1)
    assert torch.equal(got[kept], g[kept])
    for kept_of, all_of in zip(got, g, strict=True) if per_sample else [(got, g)]:
        chosen = kept_of != 0
        assert all_of[chosen].abs().min() >= all_of[~chosen].abs().max()


@pytest.mark.parametrize("per_sample", [True, False])
def test_topk_of_everything_changes_nothing(per_sample):
    g = draw(*SHAPE)
    assert torch.equal(guidance.topk_clip(g, g.numel(), per_sample), g)


class TestGaussianTeacher:
    """Latents are N(μ_γ, S²) under each prompt, so ε_θ is affine in the noise: ±ε average to the expectation."""

    scale = 4.0

    @pytest.fixture(params=[50, 400, 900])
    def case(self, request):
        teacher = ToyTeacher()
        x0 = draw(2, *teacher.latent_shape, seed=3, dtype=torch.float32)
        noise = draw(2, *teacher.latent_shape, seed=4, dtype=torch.float32)
        t = torch.full((2,), request.param)
        return teacher, x0, noise, t

    def gradients(self, teacher, x0, noise, t, prompt="red", scale=scale):
        noisy = teacher.add_noise(x0, noise, t)
        null, text = (teacher.predict_noise(noisy, t, teacher.encode_text([p]).repeat(len(x0))) for p in ("", prompt))
        w = guidance.weight(teacher.alphas_cumprod, t).float()
        return guidance.sds(null, text, noise, w, scale), guidance.csd(null, text, w)

    def test_expected_sds_in_closed_form(self, case):
        teacher, x0, noise, t = case
        mean = (self.gradients(teacher, x0, noise, t)[0] + self.gradients(teacher, x0, -noise, t)[0]) / 2
        abar = teacher.alphas_cumprod[t[0]].item()
        target = teacher.target("") + self.scale * (teacher.target("red") - teacher.target(""))
        factor = (1 - abar) * ((1 - abar) * abar) ** 0.5 / (abar * teacher.SPREAD**2 + 1 - abar)
        torch.testing.assert_close(mean, factor * (x0 - target), rtol=1e-4, atol=1e-5)

    def test_csd_depends_neither_on_the_noise_nor_on_the_image(self, case):
        teacher, x0, noise, t = case
        got = self.gradients(teacher, x0, noise, t)[1]
        abar = teacher.alphas_cumprod[t[0]].item()
        factor = (1 - abar) * ((1 - abar) * abar) ** 0.5 / (abar * teacher.SPREAD**2 + 1 - abar)
        want = factor * (teacher.target("") - teacher.target("red")).expand_as(x0)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)

    def test_descent_ends_at_the_prompts_mean(self, case):
        teacher, x0, noise, t = case
        abar = teacher.alphas_cumprod[t[0]].item()
        rate = 0.5 / ((1 - abar) * ((1 - abar) * abar) ** 0.5 / (abar * teacher.SPREAD**2 + 1 - abar))
        for _ in range(40):
            pair = [self.gradients(teacher, x0, sign * noise, t, scale=1)[0] for sign in (1, -1)]
            x0 = x0 - rate * (pair[0] + pair[1]) / 2
        torch.testing.assert_close(x0, teacher.target("red").expand_as(x0), rtol=0, atol=1e-4)


class TestRecorded:
    """The released code's arithmetic, with a linear autoencoder and U-Net (`meta` in the fixture)."""

    @pytest.fixture(scope="class")
    def recorded(self):
        return fixture("sdd_guidance")

    def latents(self, f, image):
        pooled = torch.nn.functional.avg_pool2d(resize(image, 512), 8)
        mean = torch.einsum("oc,bchw->bohw", f.tensors["vae.weight"], pooled) + f.tensors["vae.bias"].view(1, -1, 1, 1)
        return f.meta["latent_scale"] * (mean + f.meta["posterior_std"] * f.inputs["posterior_noise"])

    def predict(self, f, noisy, text):
        mean = text.mean(0)
        w = {k: f.tensors[f"unet.{k}"] for k in ("weight", "text", "gate", "time")}
        out = torch.einsum("oc,bchw->bohw", w["weight"], noisy) * (1 + w["gate"] @ mean).view(1, -1, 1, 1)
        return out + (w["text"] @ mean + f.meta["t"] / 1000 * w["time"]).view(1, -1, 1, 1)

    def gradient(self, f, image, topk=None):
        image = image.clone().requires_grad_()
        latents = self.latents(f, image)
        abar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
        t = torch.full((len(image),), f.meta["t"])
        noise, a = f.inputs["noise"], abar[f.meta["t"]]
        with torch.no_grad():
            noisy = a.sqrt() * latents + (1 - a).sqrt() * noise
            null, text = (self.predict(f, noisy, f.inputs[f"text_{k}"]) for k in ("empty", "target"))
            scale = f.meta["guidance_scale"]
            g = f.meta["loss_weight"] * guidance.sds(null, text, noise, guidance.weight(abar, t), scale)
            loss = f.meta["loss_weight"] * (guidance.guide(null, text, scale) - noise).square().mean()
            if topk:
                g = guidance.topk_clip(g, topk, per_sample=False)
        (latents * g).sum().backward()
        return image.grad, latents, loss

    def test_loss_latents_and_gradient(self, recorded):
        gradient, latents, loss = self.gradient(recorded, recorded.inputs["image"])
        recorded.check("loss", loss)
        recorded.check("latents", latents)
        recorded.check("grad_image", gradient)

    def test_gradient_after_topk(self, recorded):
        gradient = self.gradient(recorded, recorded.inputs["image"], recorded.meta["topk"])[0]
        recorded.check("grad_image_topk", gradient)

    def test_gradient_on_a_big_image(self, recorded):
        gradient = self.gradient(recorded, recorded.inputs["image_big"])[0]
        recorded.check("grad_image_big_crop", gradient[:, :, 480:544, 480:544])
