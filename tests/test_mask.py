"""The mask against an analytic teacher, whose prompts mean something in a known part of the picture only."""

import json
from dataclasses import replace

import pytest
import torch

from sdd.distillation import Objective, Source, distill
from sdd.manipulators.inversion import encode
from sdd.mask import SATURATION, edit_mask
from sdd.regularizers import outside_l1
from sdd.teachers.latent import resize
from sdd.training.config import DistillConfig
from toy import ToyTeacher, toy_domain


class LeftHanded(ToyTeacher):
    """Under "red" the left quarter becomes red, the next one becomes it by `share`, and the rest stays as it is."""

    share = 0.0

    def target(self, prompt):
        target = super().target(prompt)
        quarter = target.shape[-1] // 4
        target[..., quarter : 2 * quarter] *= self.share
        target[..., 2 * quarter :] = 0
        return target


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8])
def test_the_mask_is_where_the_prompt_means_something(share):
    teacher = LeftHanded()
    teacher.share = share
    latents = torch.randn(5, *teacher.latent_shape, generator=torch.Generator().manual_seed(0))
    null, text = teacher.encode_text([""]), teacher.encode_text(["red"])
    done = []
    mask = edit_mask(
        teacher, latents, null, text, [300, 700], torch.Generator().manual_seed(1), batch=2, advance=done.append
    )
    quarter = mask.shape[-1] // 4
    assert mask.shape == (5, 1, *latents.shape[2:]) and sum(done) == 3 * 5
    torch.testing.assert_close(mask[..., :quarter], torch.ones_like(mask[..., :quarter]))
    expected = torch.full_like(mask[..., quarter : 2 * quarter], min(1.0, share / SATURATION))
    torch.testing.assert_close(mask[..., quarter : 2 * quarter], expected, atol=1e-4, rtol=1e-4)
    assert float(mask[..., 2 * quarter :].abs().max()) < 1e-4


def test_a_prompt_that_means_nothing_has_an_empty_mask():
    teacher = ToyTeacher()
    null = teacher.encode_text([""])
    mask = edit_mask(teacher, torch.zeros(2, *teacher.latent_shape), null, null, [500], torch.Generator())
    assert float(mask.max()) < 1e-3


def test_guidance_and_what_is_kept_are_on_either_side_of_the_mask():
    """Where the mask is zero there is no guidance; where it is one, no change is held against the edit."""
    domain, teacher = toy_domain(), LeftHanded()
    codes = encode(domain.images(4, 0, "train"), domain)
    drawn = domain.generator.synthesis(codes)
    latents, seen = teacher.encode_image(drawn), resize(drawn, teacher.image_size)
    half = latents.shape[-1] // 2
    masks = torch.zeros(4, 1, *latents.shape[2:])
    masks[..., :half] = 1
    settings = DistillConfig.make(identity=0, latent_l2=0, keep=2.0)
    index, t = torch.arange(4), torch.full((4,), 500)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    objective = Objective("red", domain, teacher, settings, Source(codes, latents, None, 0.0, masks, seen), "wplus")
    free = Objective("red", domain, teacher, settings, Source(codes, latents, None, 0.0), "wplus")
    moved = latents + 0.1
    g, whole = objective.gradient(moved, index, t, noise), free.gradient(moved, index, t, noise)
    torch.testing.assert_close(g[..., :half], whole[..., :half])
    assert g[..., half:].abs().max() == 0 < whole[..., half:].abs().max()
    delta = 0.05 * torch.randn(codes.shape, generator=torch.Generator().manual_seed(2))
    _, parts = objective(index, delta, t, noise, torch.Generator())
    edited = resize(domain.generator.synthesis(codes + delta), teacher.image_size)
    assert float(parts["keep"]) == pytest.approx(2 * float(outside_l1(edited, seen, masks)), rel=1e-4)
    _, early = objective(index, delta, t, noise, torch.Generator(), kept=0.25)
    assert float(early["keep"]) == pytest.approx(0.25 * float(parts["keep"]))
    assert "keep" not in free(index, delta, t, noise, torch.Generator())[1]


def test_keep_grows_over_the_warmup(tmp_path):
    """The first step changes nothing yet, so that what the second one keeps differs by the warm-up's share alone."""

    def second(warmup):
        run = tmp_path / str(warmup)
        more = {"keep_warmup": warmup, "timesteps": "list:500", "images": 8, "steps": 2, "progress": False}
        distill("red", toy_domain(), teacher=LeftHanded(), run=run, seed=0, **more)
        return json.loads((run / "log.jsonl").read_text().splitlines()[1])["keep"]

    assert second(8) == pytest.approx(second(2) / 4, rel=1e-4) and second(0) == second(2) > 0


def test_the_edit_stays_inside_the_mask():
    """The same training with and without: the less an edit spills, the larger the share of it on the asked side."""
    domain = replace(toy_domain(), identity=None)
    images = domain.images(16, 3, "test")
    options = {"timesteps": "list:500", "images": 24, "batch": 4, "steps": 40, "keep_warmup": 0, "progress": False}

    def share(**more):
        edit = distill("red", domain, teacher=LeftHanded(), seed=0, **options, **more).edit(images)
        change = (edit.images - edit.inversion.images).square().mean((0, 1, 2))
        return float(change[: len(change) // 4].sum() / change.sum())

    assert share(mask=True, keep=8.0) > 1.2 * share(mask=False)
