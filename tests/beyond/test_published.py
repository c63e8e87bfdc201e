"""What the released code does and the paper does not say: its clipping, its score, and its recorded arithmetic."""

import pytest
import torch

from parity import fixture
from sdd.beyond.published import published_deficit, published_entropy, topk_clip
from sdd.nets.resize import resize
from sdd.paper import guidance
from sdd.paper.hqs import strength

SHAPE = (3, 4, 5, 6)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_topk_keeps_the_largest_of_each_image():
    g = torch.tensor([[1.0, -5, 2, -3], [0.1, 0.2, -0.4, 0.3]]).view(2, 1, 2, 2)
    kept = [[0, -5, 0, -3], [0, 0, -0.4, 0.3]]
    assert torch.equal(topk_clip(g, 2).flatten(1), torch.tensor(kept))


def test_topk_over_the_batch_may_leave_an_image_nothing():
    g = torch.tensor([[1.0, -5, 2, -3], [0.1, 0.2, -0.4, 0.3]]).view(2, 1, 2, 2)
    assert topk_clip(g, 3, per_sample=False).flatten(1).tolist() == [[0, -5, 2, -3], [0, 0, 0, 0]]


@pytest.mark.parametrize("per_sample", [True, False])
def test_topk_counts_and_values(per_sample):
    g = draw(*SHAPE)
    got = topk_clip(g, 17, per_sample)
    kept = got != 0
    assert int(kept.sum()) == 17 * (len(g) if per_sample else 1)
    assert torch.equal(got[kept], g[kept])
    for kept_of, all_of in zip(got, g, strict=True) if per_sample else [(got, g)]:
        chosen = kept_of != 0
        assert all_of[chosen].abs().min() >= all_of[~chosen].abs().max()


@pytest.mark.parametrize("per_sample", [True, False])
def test_topk_of_everything_changes_nothing(per_sample):
    g = draw(*SHAPE)
    assert torch.equal(topk_clip(g, g.numel(), per_sample), g)


class TestRecordedGuidance:
    """The released code's arithmetic, with a linear autoencoder and U-Net (`meta` in the fixture)."""

    @pytest.fixture(scope="class")
    def recorded(self):
        return fixture("sdd_guidance")

    def latents(self, f, image):
        pooled = torch.nn.functional.avg_pool2d(resize(image, 512, antialias=False), 8)
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
                g = topk_clip(g, topk, per_sample=False)
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


class TestRecordedScore:
    """The released code's metric on recorded gradients."""

    @pytest.mark.parametrize("name", ["grad_0", "grad_1", "grad_2", "grad_smooth"])
    def test_metric(self, name):
        f = fixture("sdd_search_entropy")
        gradient = f.inputs[name]
        entropy = published_entropy(gradient).sum()
        f.check(f"entropy_{name}", entropy)
        f.check(f"entropy64_{name}", entropy)
        f.check(f"deficit64_{name}", published_deficit(gradient).sum())
        f.check(f"mean_{name}", strength(gradient).sum() / gradient.numel())  # N_t is n times the mean of |d|

    def test_an_image_without_a_gradient_adds_a_constant(self):
        f = fixture("sdd_search_entropy")
        batch = torch.cat([f.inputs["grad_0"], torch.zeros_like(f.inputs["grad_0"])])
        f.check("entropy_with_zero_image", published_entropy(batch).sum())
