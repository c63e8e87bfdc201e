"""Equation 7's gradient: identities that hold exactly, and a Gaussian teacher whose answer is known."""

import pytest
import torch

from sdd.paper import guidance
from sdd.paper.hqs import entropy_deficit, strength
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


def test_sds_is_zero_when_the_noise_is_predicted(eps):
    assert not guidance.sds(eps[2], eps[2], eps[2], 0.7, 100).any()


def test_weight_is_one_minus_alpha_bar():
    abar = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    got = guidance.weight(abar, torch.tensor([2, 0]))
    assert got.shape == (2, 1, 1, 1)
    assert got.flatten().tolist() == [1 - 0.1, 1 - 0.9]


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
        return guidance.sds(null, text, noise, w, scale)

    def test_expected_sds_in_closed_form(self, case):
        teacher, x0, noise, t = case
        mean = (self.gradients(teacher, x0, noise, t) + self.gradients(teacher, x0, -noise, t)) / 2
        abar = teacher.alphas_cumprod[t[0]].item()
        target = teacher.target("") + self.scale * (teacher.target("red") - teacher.target(""))
        factor = (1 - abar) * ((1 - abar) * abar) ** 0.5 / (abar * teacher.SPREAD**2 + 1 - abar)
        torch.testing.assert_close(mean, factor * (x0 - target), rtol=1e-4, atol=1e-5)

    def test_descent_ends_at_the_prompts_mean(self, case):
        teacher, x0, noise, t = case
        abar = teacher.alphas_cumprod[t[0]].item()
        rate = 0.5 / ((1 - abar) * ((1 - abar) * abar) ** 0.5 / (abar * teacher.SPREAD**2 + 1 - abar))
        for _ in range(40):
            pair = [self.gradients(teacher, x0, sign * noise, t, scale=1) for sign in (1, -1)]
            x0 = x0 - rate * (pair[0] + pair[1]) / 2
        torch.testing.assert_close(x0, teacher.target("red").expand_as(x0), rtol=0, atol=1e-4)


def test_a_perfect_prediction_says_nothing():
    """Without a prompt (the null one) and with a perfect prediction d is zero: no strength, no information."""
    d = guidance.sds(*[draw(2, 3, 4, 4)] * 3, 0.5, 7.5)
    assert strength(d).tolist() == entropy_deficit(d).tolist() == [0, 0]
