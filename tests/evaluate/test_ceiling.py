"""What the models allow: of a teacher whose answer is known, and of a generator that draws anything or nothing."""

import math

import pytest
import torch
from torch.nn import functional as F

from sdd.evaluate.prompts import prompt
from sdd.evaluate.tables import ceiling
from toy import ToyTeacher
from untrained import untrained_judge


class Decoding(ToyTeacher):
    """The toy teacher with a decoder: blocks as large as its latents."""

    def decode(self, latents):
        return F.interpolate(latents, scale_factor=4)


class Certain(Decoding):
    """One that knows the pictures, whatever the noise."""

    def encode_image(self, images, sample=True, generator=None):
        self.latents = super().encode_image(images)
        return self.latents

    def predict_noise(self, latents, t, condition):
        abar = self.alphas_cumprod[t].float().view(-1, 1, 1, 1)
        return (latents - abar.sqrt() * self.latents) / (1 - abar).sqrt()


def test_an_estimate_is_the_teachers_posterior_mean():
    teacher, pictures = Decoding(), torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    decoded, estimates = ceiling.known(teacher, pictures, "red", torch.Generator().manual_seed(1))
    latents, random = teacher.encode_image(pictures), torch.Generator().manual_seed(1)
    torch.testing.assert_close(decoded, teacher.decode(latents))
    for step, found in estimates.items():
        alpha, noise = float(teacher.alphas_cumprod[step]), torch.randn(latents.shape, generator=random)
        noisy = math.sqrt(alpha) * latents + math.sqrt(1 - alpha) * noise
        spread = teacher.SPREAD**2
        mean = (math.sqrt(alpha) * spread * noisy + (1 - alpha) * teacher.target("red")) / (alpha * spread + 1 - alpha)
        torch.testing.assert_close(found, teacher.decode(mean).clamp(-1, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("draws", [True, False])
def test_the_ceiling_is_the_generators_and_the_teachers_own(monkeypatch, draws):
    """A generator that draws every picture as it is gains all there is, one that draws all alike nothing; and a teacher
    that is certain is as good as its autoencoder."""
    torch.manual_seed(0)
    judge = untrained_judge()
    monkeypatch.setattr(ceiling, "reconstruct", lambda images, domain: images if draws else torch.zeros_like(images))
    found = ceiling.allowed(None, Certain(), judge, 2, 5, [prompt("blue clothes"), prompt("sad")])
    for row in found["rows"]:
        people = row["people"]
        assert people["gain"] == pytest.approx([1.0, 1.0] if draws else [0.0, 0.0], abs=0.05)
    colour = found["rows"][0]["people"]
    assert max(colour["t300"] + colour["t700"]) < 0.05 < 1 < min(colour["autoencoder"])
    assert (max(colour["generator"]) < 0.5) if draws else (min(colour["generator"]) > 10)
    assert "generator" not in found["rows"][1]["people"]
    part = {"command": "x", "n": 2, "seed": 5, "machine": {"date": "d", "cpu": "c", "cores": 1, "threads": 1,
            "torch": "t"}, **found}  # fmt: skip
    said = "\n".join(ceiling.section(part, None))
    assert "| blue clothes |" in said and ("| **mean** | " in said)
