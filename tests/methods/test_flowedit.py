"""FlowEdit: exact paths on velocity fields that are known, and one sentence where there is no flow."""

from __future__ import annotations

import pytest
import torch

import pipelines
from sdd.device import pick_device
from sdd.errors import SddError
from sdd.methods.flowedit import FlowEdit, flow_edit, gaussian_velocity, schedule
from sdd.methods.models import Models
from sdd.teachers.flow import Flux, StableDiffusion3
from toy import ToyTeacher, toy_domain

SHAPE = (2, 3, 4, 4)


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(n, shift=3.0):
    sigmas = torch.linspace(1, 0, n + 1, dtype=torch.float64)
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def test_between_gaussians_of_one_spread_the_edit_is_exact_in_any_number_of_steps() -> None:
    # The difference of the velocities has no noise in it, and its solution is a straight line.
    x0, means = numbers(0, *SHAPE), numbers(1, 2, 3, 4, 4)
    source, target = (gaussian_velocity(mean, 0.5) for mean in means)
    for n in (1, 2, 7, 50):
        noise = numbers(n, n, *SHAPE)
        edited = flow_edit(source, target, x0, levels(n), noise, n)
        assert torch.allclose(edited, x0 + means[1] - means[0], atol=1e-12)


def test_from_a_level_on_it_moves_the_shares_of_the_way_that_the_equation_says() -> None:
    # d = z − x₀ obeys d' = A(σ) (d − (1 − σ) Δ) − Δ from d(σ₁) = 0; with unit spread the solution is known.
    x0, means, n, n_max = numbers(0, *SHAPE), numbers(1, 2, 3, 4, 4), 4000, 2500
    source, target = (gaussian_velocity(mean, 1.0) for mean in means)
    sigmas = levels(n, 1.0)
    noise = numbers(2, 1, *SHAPE).expand(n_max, *SHAPE)
    edited = flow_edit(source, target, x0, sigmas, noise, n_max)
    s = float(sigmas[n - n_max])
    # e = d − (1 − σ) Δ: e' = A e with A = (2σ − 1)/((1 − σ)² + σ²), so that e(0) = e(σ₁) / √((1 − σ₁)² + σ₁²).
    share = 1 - (1 - s) / ((1 - s) ** 2 + s**2) ** 0.5
    assert torch.allclose(edited - x0, share * (means[1] - means[0]).expand(SHAPE), atol=2e-3)


def field(mix, shift):
    """A velocity in which everything matters: position, level and noise."""
    return lambda x, s: torch.tanh(torch.einsum("oc,bchw->bohw", mix, x)) * (1 + s.view(-1, 1, 1, 1)) + shift


@pytest.mark.parametrize(("n_max", "n_min", "n_avg"), [(6, 0, 1), (4, 0, 3), (5, 2, 2), (3, 3, 1), (0, 0, 1)])
def test_the_path_is_the_published_update(n_max, n_min, n_avg) -> None:
    x0, mixes, sigmas = numbers(0, *SHAPE), numbers(1, 2, 3, 3), levels(6)
    source, target = field(mixes[0], 0.1), field(mixes[1], -0.2)
    noise = numbers(3, 40, *SHAPE)
    # Algorithm 1, written with its own indices: t_i rises with i, and i counts down.
    t, draw = sigmas.flip(0), 0
    z = x0.clone()
    for i in range(n_max, n_min, -1):
        delta = 0
        for _ in range(n_avg):
            e, draw = noise[draw], draw + 1
            z_source = (1 - t[i]) * x0 + t[i] * e
            z_target = z + z_source - x0
            delta = delta + target(z_target, t[i].expand(2)) - source(z_source, t[i].expand(2))
        z = z + (t[i - 1] - t[i]) * delta / n_avg
    if n_min:
        z = z + (1 - t[n_min]) * x0 + t[n_min] * noise[draw] - x0
        for i in range(n_min, 0, -1):
            z = z + (t[i - 1] - t[i]) * target(z, t[i].expand(2))
    assert torch.allclose(flow_edit(source, target, x0, sigmas, noise, n_max, n_min, n_avg), z, atol=1e-12)


def test_equal_prompts_leave_the_picture_alone() -> None:
    x0, velocity = numbers(0, *SHAPE), field(numbers(1, 3, 3), 0.0)
    assert torch.allclose(flow_edit(velocity, velocity, x0, levels(5), numbers(2, 5, *SHAPE), 5), x0, atol=1e-12)


@pytest.mark.parametrize("counts", [(7, 0, 1), (3, 4, 1), (3, -1, 1), (3, 0, 0)])
def test_counts_that_do_not_fit_are_refused(counts) -> None:
    with pytest.raises(SddError, match="n_max"):
        flow_edit(gaussian_velocity(torch.zeros(1), 1.0), None, numbers(0, *SHAPE), levels(6), [], *counts)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_on_flow_matching_teachers(kind) -> None:
    torch.manual_seed(0)
    pipeline, make = (pipelines.sd3(), StableDiffusion3) if kind == "sd3" else (pipelines.flux(), Flux)
    size = None if kind == "sd3" else 16
    guide = make(kind, pipeline, pick_device("cpu"), torch.float32, size)
    images = toy_domain().images(2, 1, "test")

    def fit(prompt, source):
        return FlowEdit(steps=4).fit(prompt, source, toy_domain(), Models({"teacher": lambda: guide}))

    fitted = fit("white hair", "smile")
    edited = fitted.edit(images, 0.75, seed=1)
    assert edited.shape == images.shape and not torch.equal(edited, fitted.unedited(images))
    assert torch.allclose(fitted.edit(images[1:], 0.75, seed=1), edited[1:], atol=1e-5)
    assert torch.equal(fitted.edit(images, 0.0), fitted.unedited(images))
    sigmas = schedule(guide, 4)
    assert len(sigmas) == 5 and sigmas[0] == pytest.approx(1, abs=1e-3) and sigmas[-1] == 0
    assert bool((sigmas.diff() < 0).all())


def test_a_velocity_says_the_noise_that_the_teacher_says() -> None:
    torch.manual_seed(0)
    guide = StableDiffusion3("sd3", pipelines.sd3(), pick_device("cpu"), torch.float32)
    told, t = guide.encode_text(["smile"]), torch.tensor([400])
    sigma = guide.sigmas[t].float()
    x = torch.randn(1, *guide.latent_shape, generator=torch.Generator().manual_seed(0))
    scale = ((1 - sigma) ** 2 + sigma**2).sqrt()
    noise = x * scale + (1 - sigma) * guide.velocity(x * scale, sigma, told)
    assert torch.allclose(noise, guide.predict_noise(x, t, told), atol=1e-6)


def test_another_teacher_is_one_sentence() -> None:
    with pytest.raises(SddError, match=r"flow-matching teacher.*--teacher"):
        FlowEdit().fit("red", "", toy_domain(), Models({"teacher": ToyTeacher}))
