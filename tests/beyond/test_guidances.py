"""Guidances other than the paper's: identities that hold exactly, and teachers whose answers are known."""

import pytest
import torch

from sdd.beyond import guidances
from sdd.paper import guidance
from toy import ToyTeacher

SHAPE = (3, 4, 5, 6)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def eps():
    null, text, noise = (draw(*SHAPE, seed=i) for i in range(3))
    return null, text, noise


def test_sds_is_csd_and_a_noisy_part(eps):
    null, text, noise = eps
    w, s = 0.3, 7.5
    parts = s * guidances.csd(null, text, w) + w * (null - noise)
    torch.testing.assert_close(guidance.sds(null, text, noise, w, s), parts, rtol=1e-13, atol=1e-13)


def test_csd_is_zero_for_the_null_prompt(eps):
    assert not guidances.csd(eps[0], eps[0], 0.7).any()


def test_dds_is_zero_for_the_source_itself(eps):
    null, text, _ = eps
    assert not guidances.dds(null, text, null, text, 0.7, 7.5).any()


def test_dds_is_the_difference_of_two_sds(eps):
    null, text, noise = eps
    source = draw(*SHAPE, seed=7), draw(*SHAPE, seed=8)
    want = guidance.sds(null, text, noise, 0.3, 7.5) - guidance.sds(*source, noise, 0.3, 7.5)
    torch.testing.assert_close(guidances.dds(null, text, *source, 0.3, 7.5), want, rtol=1e-12, atol=1e-12)


def test_dds_on_the_source_is_csd_when_the_source_has_no_prompt(eps):
    """What distillation starts from: at the unedited image, s · csd."""
    null, text, _ = eps
    want = 7.5 * guidances.csd(null, text, 0.3)
    torch.testing.assert_close(guidances.dds(null, text, null, null, 0.3, 7.5), want, rtol=1e-12, atol=1e-12)


def test_dds_without_a_source_prompt_is_csd_and_a_weighed_part(eps):
    """s · csd + k [ε₀(x_t) − ε₀(x_t^src)]: at k = 0 it is csd, at k = 1 as published."""
    null, text, source = eps
    for k in (0.0, 0.5, 1.0, 2.0):
        want = 7.5 * guidances.csd(null, text, 0.3) + k * 0.3 * (null - source)
        got = guidances.dds(null, text, source, source, 0.3, 7.5, fidelity=k)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_pds_adds_the_pictures_themselves(eps):
    delta, x0, source = eps
    snr = torch.tensor([4.0, 1.0, 0.25]).view(3, 1, 1, 1).double()
    want = delta + 0.7 * torch.tensor([2.0, 1.0, 0.5]).view(3, 1, 1, 1) * (x0 - source)
    torch.testing.assert_close(guidances.pds(delta, x0, source, snr, 0.7), want)
    assert torch.equal(guidances.pds(delta, x0, x0, snr, 0.7), delta)


def test_between_adjacent_timesteps_posterior_distillation_has_no_identity_term():
    """z̃ = x_{t−1} − μ(x_t, ε̂), both noised with the same two draws: what is left of x₀ − x'₀ is its coefficient.

    √ᾱ_{t−1} − (√ᾱ_{t−1} β_t + √α_t (1 − ᾱ_{t−1}) √ᾱ_t) / (1 − ᾱ_t) is zero, whatever the schedule.
    """
    abar = ToyTeacher().alphas_cumprod
    for t in (1, 10, 500, 999):
        before, now = float(abar[t - 1]), float(abar[t])
        alpha = now / before
        mean_of_x0 = before**0.5 * (1 - alpha) / (1 - now)
        mean_of_xt = alpha**0.5 * (1 - before) / (1 - now)
        assert before**0.5 - (mean_of_x0 + mean_of_xt * now**0.5) == pytest.approx(0, abs=1e-12)


def test_asd_is_zero_where_a_later_timestep_says_the_same(eps):
    null, text, _ = eps
    assert not guidances.asd(null, text, guidance.guide(null, text, 3.0), 0.5, 3.0).any()
    torch.testing.assert_close(guidances.asd(null, text, eps[2], 0.5, 1.0), 0.5 * (text - eps[2]))


class TestBound:
    """Bound to a teacher whose latents are Gaussian under each prompt."""

    T = torch.tensor([300, 700])

    @pytest.fixture
    def latents(self):
        return draw(2, *ToyTeacher().latent_shape, dtype=torch.float32)

    def ask(self, name, latents, sources=None, prompt="red", **options):
        bound = guidances.Bound(name, ToyTeacher(), prompt, 4.0, sources, **options)
        noise = draw(*latents.shape, seed=9, dtype=torch.float32)
        return bound(latents, self.T, noise, torch.tensor([1, 0]))

    def test_an_unchanged_picture_that_fits_its_prompt_is_left_alone(self, latents):
        """The source branch is guided by its own prompt: with prompt and source prompt alike nothing is pushed."""
        sources = latents.flip(0)  # picture 1 of the sources is the first of the batch
        for name in ("dds", "pds"):
            assert float(self.ask(name, latents, sources, source_prompt="red").abs().max()) < 1e-6
            assert float(self.ask(name, latents, sources, source_prompt="green").abs().max()) > 1e-2
            assert float(self.ask(name, latents, sources).abs().max()) > 1e-2

    def test_with_a_source_prompt_it_is_the_way_from_one_to_the_other(self, latents):
        """ε_γ − ε'_γ' of Gaussians does not depend on noise or picture: it points from the one mean to the other."""
        teacher = ToyTeacher()
        got = self.ask("dds", latents, latents.flip(0), source_prompt="green")
        a = teacher.alphas_cumprod[self.T].float().view(-1, 1, 1, 1)
        factor = (1 - a) * ((1 - a) * a).sqrt() / (a * teacher.SPREAD**2 + 1 - a)
        want = factor * 4.0 * (teacher.target("green") - teacher.target("red"))
        torch.testing.assert_close(got, want.expand_as(got), rtol=1e-4, atol=1e-5)

    def test_pds_is_dds_and_the_way_back(self, latents):
        sources = draw(2, *latents.shape[1:], seed=4, dtype=torch.float32)
        a = ToyTeacher().alphas_cumprod[self.T].float().view(-1, 1, 1, 1)
        back = self.ask("pds", latents, sources, identity=0.5) - self.ask("dds", latents, sources)
        want = 0.5 * (a / (1 - a)).sqrt() * (latents - sources.flip(0))
        torch.testing.assert_close(back, want, rtol=1e-4, atol=1e-5)

    def test_csd_depends_neither_on_the_noise_nor_on_the_image(self, latents):
        teacher = ToyTeacher()
        a = teacher.alphas_cumprod[self.T].float().view(-1, 1, 1, 1)
        factor = (1 - a) * ((1 - a) * a).sqrt() / (a * teacher.SPREAD**2 + 1 - a)
        want = factor * (teacher.target("") - teacher.target("red"))
        torch.testing.assert_close(self.ask("csd", latents), want.expand_as(latents), rtol=1e-4, atol=1e-5)

    def test_asd_asks_later_with_the_same_noise(self, latents):
        """Of a Gaussian teacher at the prompt's mean both predictions are known multiples of the noise."""
        teacher = ToyTeacher()
        mean = teacher.target("red").expand_as(latents).contiguous()
        noise = draw(*latents.shape, seed=9, dtype=torch.float32)
        bound = guidances.Bound("asd", teacher, "red", 1.0, ahead=100)

        def share(t):  # of the noise that is predicted at the mean
            a = teacher.alphas_cumprod[t].float().view(-1, 1, 1, 1)
            return (1 - a) / (a * teacher.SPREAD**2 + 1 - a)

        w = (1 - teacher.alphas_cumprod[self.T]).float().view(-1, 1, 1, 1)
        want = w * (share(self.T) - share(self.T + 100)) * noise
        torch.testing.assert_close(bound(mean, self.T, noise, torch.tensor([0, 1])), want, rtol=1e-4, atol=1e-5)
