"""SDEdit: the recorded strokes, diffusers' own image to image, and what a level of noise must do."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

import pipelines
from parity import fixture
from sdd.device import pick_device
from sdd.errors import SddError
from sdd.methods.latents import ddim, guided, shared_noise
from sdd.methods.models import Models
from sdd.methods.sdedit import CARD, SDEdit, ancestral_step, img2img, strokes
from sdd.teachers.latent import LatentDiffusion
from toy import ToyTeacher, toy_domain

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
ABAR = torch.cumprod(1 - BETAS, 0)


def analytic(recorded):
    """The recordings' predictor."""
    m, gain = recorded.tensors, recorded.meta["gain"]

    def predict(x, t):
        a = ABAR[t].to(x).view(-1, 1, 1, 1)
        mixed = torch.einsum("oc,bchw->bohw", m["mix"], x)
        pull = (x - a.sqrt() * m["mean"]) / (1 - a + a * m["std"] ** 2)
        return (1 - a).sqrt() * (pull + gain * torch.tanh(mixed))

    return predict


def test_one_ancestral_step_is_the_recorded_one() -> None:
    there = fixture("sdedit")
    x, t = there.inputs["step_x"], torch.tensor([0, 500])
    there.check("step", ancestral_step(x, analytic(there)(x, t), t, BETAS, there.inputs["step_noise"]))


def edited(there, published):
    image = there.inputs["image"].repeat(there.meta["n"], 1, 1, 1)
    return list(
        strokes(
            analytic(there), image, there.inputs["mask"], there.inputs["noise"], BETAS, there.meta["t"],
            there.meta["repeats"], published=published,
        )
    )  # fmt: skip


def test_strokes_as_published_are_the_recorded_ones() -> None:
    there = fixture("sdedit")
    (states, first), (_, second) = edited(there, published=True)
    there.check("states_0", states)
    there.check("samples_0", first)
    there.check("samples_1", second)


def test_clean_strokes_give_the_kept_region_back_and_published_ones_leave_it_noisy() -> None:
    there = fixture("sdedit")
    mask = there.inputs["mask"].bool().expand(2, -1, -1, -1)
    image = there.inputs["image"].expand(2, -1, -1, -1)
    clean, noisy = edited(there, published=False)[-1][1], edited(there, published=True)[-1][1]
    assert torch.equal(clean[mask], image[mask])
    assert (noisy[mask] - image[mask]).std() == pytest.approx(0.01, rel=0.15)  # √(1 − ᾱ₀)
    assert not torch.equal(clean[~mask], image[~mask])


def teacher():
    torch.manual_seed(0)
    return LatentDiffusion("tiny", pipelines.sd(), pick_device("cpu"), torch.float32)


def test_image_to_image_is_that_of_diffusers() -> None:
    made, steps, strength, scale = teacher(), 10, 0.6, 3.0
    pipeline = StableDiffusionImg2ImgPipeline(
        **{k: v for k, v in made.pipeline.components.items() if k != "scheduler"}, requires_safety_checker=False,
        scheduler=DDIMScheduler.from_config(made.pipeline.scheduler.config, set_alpha_to_one=False, steps_offset=1,
                                            clip_sample=False),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    x0 = 0.5 * torch.randn(1, *made.latent_shape, generator=torch.Generator().manual_seed(1))
    theirs = pipeline(
        "smile", image=x0, strength=strength, num_inference_steps=steps, guidance_scale=scale, eta=0.0,
        generator=torch.Generator().manual_seed(7), output_type="latent",
    ).images  # fmt: skip
    noise = shared_noise(x0.shape, 7)
    ours = img2img(guided(made, "smile", scale), x0, noise, ddim(made.alphas_cumprod, steps), strength)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_noise_level_0_is_the_reconstruction_and_more_noise_goes_nearer_to_the_prompt() -> None:
    guide, domain = DrawingTeacher(), toy_domain()
    fitted = SDEdit(scale=1.0).fit("red", "", domain, Models({"teacher": lambda: guide}))
    images = domain.images(3, 2, "test")
    assert torch.equal(fitted.edit(images, 0.0), fitted.unedited(images))
    target = torch.zeros(3)
    target[0] = 0.5
    away = [(fitted.edit(images, knob).mean((2, 3)) - target).square().mean().item() for knob in (0.0, 0.3, 0.6, 1.0)]
    assert away == sorted(away, reverse=True) and away[-1] < away[0] / 4


def test_a_picture_does_not_depend_on_its_batch_and_a_seed_does_matter() -> None:
    fitted = SDEdit(scale=1.0).fit("red", "", toy_domain(), Models({"teacher": DrawingTeacher}))
    images = toy_domain().images(3, 2, "test")
    together = fitted.edit(images, 0.6, seed=3)
    assert torch.allclose(fitted.edit(images[2:], 0.6, seed=3), together[2:], atol=1e-6)
    assert not torch.allclose(fitted.edit(images, 0.6, seed=4), together, atol=1e-3)
    assert together.shape == images.shape and fitted.edit(images[:0]).shape[0] == 0


@pytest.mark.parametrize("knob", [-0.1, 1.1, float("nan")])
def test_a_level_that_is_none_is_refused(knob) -> None:
    fitted = SDEdit().fit("red", "", toy_domain(), Models({"teacher": DrawingTeacher}))
    with pytest.raises(SddError, match=CARD.knob.name):
        fitted.edit(toy_domain().images(1), knob)


class DrawingTeacher(ToyTeacher):
    """The toy teacher with a decoder: each latent is a block of 4x4 pixels."""

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents, scale_factor=4)
