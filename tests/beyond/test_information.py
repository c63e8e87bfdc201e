"""What a prompt tells at each timestep, against a teacher of whom it is known."""

import pytest
import torch

from sdd.beyond.information import information, log_snr_slope
from sdd.errors import SddError
from sdd.training.config import DistillConfig, departures
from sdd.training.distil import distill
from toy import ToyTeacher, toy_domain

STEPS = (50, 300, 600, 950)


def test_of_gaussians_it_is_known():
    """Under N(0, s²) and N(μ, s²) the predictions differ by √ᾱ √(1 − ᾱ) μ / (ᾱ s² + 1 − ᾱ), whatever the picture."""
    teacher = ToyTeacher()
    latents = torch.randn(5, *teacher.latent_shape, generator=torch.Generator().manual_seed(1))
    done = []
    random = torch.Generator().manual_seed(0)
    found = information(teacher, latents, "red", STEPS, random, draws=2, batch=2, advance=done.append)
    power = float(teacher.target("red").square().sum())
    for t, value in zip(STEPS, found, strict=True):
        a = float(teacher.alphas_cumprod[t])
        told = a * (1 - a) * power / (a * teacher.SPREAD**2 + 1 - a) ** 2
        assert value == pytest.approx(told * log_snr_slope(teacher.alphas_cumprod, t), rel=1e-4)
    assert sum(done) == len(STEPS) * len(latents)


def test_a_prompt_that_tells_nothing_is_refused():
    teacher = ToyTeacher()
    with pytest.raises(SddError, match="tells the teacher nothing"):
        information(teacher, torch.zeros(2, *teacher.latent_shape), "purple", STEPS, torch.Generator())


def test_a_training_takes_the_timestep_at_which_it_is_largest():
    """By the formula above; the timesteps are every 50th."""
    teacher = ToyTeacher()
    a = teacher.alphas_cumprod
    told = a * (1 - a) / (a * teacher.SPREAD**2 + 1 - a) ** 2
    best = max(range(50, 1000, 50), key=lambda t: float(told[t]) * log_snr_slope(a, t))
    settings = DistillConfig.make(None, timesteps="information", steps=2, images=8)
    editor = distill("red", toy_domain(), teacher=teacher, config=settings, progress=False)
    assert editor.info.timesteps == [best] and editor.info.hqs is None
    assert "information" in editor.info.departures and "information" not in departures(DistillConfig())
