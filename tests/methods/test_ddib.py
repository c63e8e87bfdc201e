"""DDIB: the recorded trajectories, the exact bridge between Gaussians, and the cycle that must close."""

from __future__ import annotations

import pytest
import torch

import pipelines
from parity import fixture
from sdd.device import pick_device
from sdd.errors import SddError
from sdd.methods.ddib import DDIB, denoise, gaussian_transport, invert, published_decode, published_encode, respaced
from sdd.methods.models import Models
from sdd.teachers.latent import LatentDiffusion
from toy import toy_domain

ABAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def analytic(there, labels, gain=None, to=torch.float32):
    """The recordings' predictor under labels."""
    m = {name: value[labels].to(to) for name, value in there.tensors.items()}
    gain = there.meta["gain"] if gain is None else gain

    def predict(x, t):
        a = ABAR[t].to(x).view(-1, 1, 1, 1)
        mixed = torch.einsum("boc,bchw->bohw", m["mix"], x)
        pull = (x - a.sqrt() * m["mean"]) / (1 - a + a * m["std"] ** 2)
        return (1 - a).sqrt() * (pull + gain * torch.tanh(mixed))

    return predict


@pytest.mark.parametrize("respacing", ["5", "20", ""])
def test_as_published_it_is_the_recorded_one(respacing) -> None:
    there = fixture("ddib")
    source, target = (analytic(there, there.meta[f"{end}_labels"]) for end in ("source", "target"))
    kept, name = respaced(1000, respacing), respacing or "1000"
    there.check(f"timesteps_{name}", torch.tensor(kept, dtype=torch.float32))
    encoding = published_encode(source, there.inputs["x0"], ABAR, kept)
    decoding = published_decode(target, encoding[-1], ABAR, kept)
    there.check(f"latent_{name}", encoding[-1])
    there.check(f"translated_{name}", decoding[-1])
    there.check(f"cycle_{name}", published_decode(source, encoding[-1], ABAR, kept)[-1])
    if respacing == "5":
        there.check("encoding_5", encoding)
        there.check("decoding_5", decoding)
    if respacing == "20":
        there.check("translated_clipped_20", published_decode(target, encoding[-1], ABAR, kept, clip=True)[-1])
        centre = there.tensors["centre"][there.meta["target_labels"]]
        scale = there.meta["guidance_scale"]
        guided = published_decode(target, encoding[-1], ABAR, kept, gradient=lambda x, t: -(x - centre) * scale)
        there.check("translated_guided_20", guided[-1])


def test_between_gaussians_it_is_the_recorded_one_and_near_the_exact_bridge() -> None:
    there = fixture("ddib")
    source, target = (analytic(there, there.meta[f"{end}_labels"], 0.0) for end in ("source", "target"))
    latent = published_encode(source, there.inputs["x0"], ABAR, respaced(1000, ""))[-1]
    translated = published_decode(target, latent, ABAR, respaced(1000, ""))[-1]
    there.check("gaussian_latent", latent)
    there.check("gaussian_translated", translated)
    ends = [
        tuple(there.tensors[k][there.meta[f"{end}_labels"]] for k in ("mean", "std")) for end in ("source", "target")
    ]
    exact = gaussian_transport(there.inputs["x0"], *ends)
    assert (translated - exact).abs().max() / exact.std() < 0.03


def test_matched_pairs_close_the_cycle_the_better_the_more_steps_and_the_published_last_move_loses_it() -> None:
    there = fixture("ddib")
    x0, source = there.inputs["x0"], analytic(there, there.meta["source_labels"])
    errors = []
    for steps in (5, 20, 100, 500):
        back = denoise(source, invert(source, x0, ABAR, steps), ABAR, steps)
        errors.append(float((back - x0).abs().max() / x0.std()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.06
    # A first-order solver: five times the steps leave about a fifth of the error.
    assert 0.15 < errors[2] / errors[1] < 0.3 and 0.15 < errors[3] / errors[2] < 0.3
    kept = respaced(1000, "500")
    published = published_decode(source, published_encode(source, x0, ABAR, kept)[-1], ABAR, kept)[-1]
    assert (published - x0).abs().max() / x0.std() > 4 * errors[-1]


def test_matched_pairs_between_gaussians_reach_the_exact_bridge() -> None:
    there = fixture("ddib")
    source, target = (analytic(there, there.meta[f"{end}_labels"], 0.0, torch.float64) for end in ("source", "target"))
    ends = [
        tuple(there.tensors[k][there.meta[f"{end}_labels"]].double() for k in ("mean", "std"))
        for end in ("source", "target")
    ]
    x0 = there.inputs["x0"].double()
    exact = gaussian_transport(x0, *ends, first=float(ABAR[0]))

    def error(steps):
        there = denoise(target, invert(source, x0, ABAR, steps), ABAR, steps)
        return float((there - exact).abs().max() / exact.std())

    coarse, fine = error(200), error(1000)
    assert fine < 0.05 and fine < coarse / 3


def test_inverting_to_a_level_and_back_is_nearer_to_the_picture_than_all_the_way() -> None:
    there = fixture("ddib")
    x0, source = there.inputs["x0"], analytic(there, there.meta["source_labels"])
    errors = []
    for level in (0.0, 0.3, 0.6, 1.0):
        back = denoise(source, invert(source, x0, ABAR, 20, level), ABAR, 20, level)
        errors.append(float((back - x0).abs().max()))
    assert errors == sorted(errors) and errors[0] == 0


@pytest.mark.parametrize(
    ("how", "wanted"),
    [("4", [0, 333, 666, 999]), ("1", [0]), ("ddim5", [0, 200, 400, 600, 800]), ("2,3", [0, 499, 500, 750, 999])],
)
def test_respacing(how, wanted) -> None:
    assert respaced(1000, how) == wanted


@pytest.mark.parametrize("how", ["ddim300", "1001", "x", "-1", "ddim1,2", "0", "9" * 5000])
def test_a_respacing_that_is_none_is_refused(how) -> None:
    with pytest.raises(SddError):
        respaced(1000, how)


def test_on_a_stable_diffusion_the_same_prompt_twice_gives_the_reconstruction_the_better_the_more_steps() -> None:
    torch.manual_seed(0)
    guide = LatentDiffusion("tiny", pipelines.sd(), pick_device("cpu"), torch.float32)
    with torch.no_grad():  # a trained network's answer changes little from step to step; a random one's leaps
        guide.unet.conv_out.weight.mul_(0.02)
    images = toy_domain().images(2, 1, "test")
    errors = []
    for steps in (4, 16):
        fitted = DDIB(steps=steps).fit("white hair", "white hair", toy_domain(), Models({"teacher": lambda: guide}))
        errors.append(float((fitted.edit(images, 1.0) - fitted.unedited(images)).abs().max()))
    assert errors[1] < errors[0] / 2 and errors[0] > 1e-3


def test_published_takes_the_whole_schedule() -> None:
    torch.manual_seed(0)
    guide = LatentDiffusion("tiny", pipelines.sd(), pick_device("cpu"), torch.float32)
    fitted = DDIB(steps=5, published=True).fit("smile", "", toy_domain(), Models({"teacher": lambda: guide}))
    images = toy_domain().images(1, 1, "test")
    assert fitted.edit(images).shape == images.shape
    with pytest.raises(SddError, match="whole schedule"):
        fitted.edit(images, 0.5)
