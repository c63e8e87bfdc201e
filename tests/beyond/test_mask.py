"""The mask against an analytic teacher, whose prompts mean something in a known part of the picture only."""

import json
from dataclasses import replace

import pytest
import torch

from sdd.beyond.mask import Masked, Outside, edit_mask, outside_l1
from sdd.manipulators.protocol import Change, Prepared
from sdd.nets.resize import resize
from sdd.paper.step import Step
from sdd.training.distil import distill
from toy import ToyTeacher, toy_domain

SATURATION = 0.4


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
        teacher,
        latents,
        null,
        text,
        [300, 700],
        torch.Generator().manual_seed(1),
        saturation=SATURATION,
        batch=2,
        advance=done.append,
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


def test_guidance_is_listened_to_inside_the_mask_alone():
    masks = torch.zeros(4, 1, 8, 8)
    masks[..., :4] = 1
    masks[3] = 0.25
    plain = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    masked = Masked(lambda latents, t, noise, index: plain, masks)
    got = masked(plain, torch.tensor([5, 5]), plain, torch.tensor([1, 3]))
    assert torch.equal(got[0, :, :, :4], plain[0, :, :, :4]) and not got[0, :, :, 4:].any()
    torch.testing.assert_close(got[1], plain[1] / 4)


def test_what_is_held_outside_grows_over_the_warmup():
    pictures, masks = torch.zeros(4, 3, 16, 16), torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    index = torch.tensor([2, 0])
    term = Outside(pictures, masks, weight=2.0, sharpness=3.0, warmup=8)
    whole = 2 * outside_l1(resize(images, 16, antialias=False), pictures[index], masks[index], 3.0)
    for number, share in ((1, 1 / 8), (4, 0.5), (8, 1.0), (50, 1.0)):
        step = Step(number, index, Prepared({}), torch.tensor([500, 500]), Change(()), images)
        torch.testing.assert_close(term(step), share * whole)
    at_once = Outside(pictures, masks, 2.0, 3.0, warmup=0)
    torch.testing.assert_close(at_once(Step(1, index, Prepared({}), index, Change(()), images)), whole)


def test_outside_l1_counts_what_lies_outside_the_mask_and_nothing_else():
    edited, source = torch.zeros(1, 3, 8, 8, requires_grad=True), torch.zeros(1, 3, 8, 8, requires_grad=True)
    mask = torch.zeros(1, 1, 2, 2)
    mask[..., 0] = 1  # at twice four pixels, bilinear: columns of weight 0 0 1/8 3/8 5/8 7/8 1 1
    change = torch.zeros(1, 3, 8, 8)
    change[..., :2] = 1.0
    assert outside_l1(edited + change, source, mask, 5) == 0
    change[..., 2:] = -0.5
    loss = outside_l1(edited + change, source, mask, 5)
    assert float(loss.detach()) == pytest.approx(0.5 * (1 / 8 + 3 / 8 + 5 / 8 + 7 / 8 + 2) / 8)
    loss.backward()
    assert source.grad is None and (edited.grad[..., 2:] < 0).all()
    for sharpness in (1, 5):
        halfway = outside_l1(edited + 1, source, torch.full((1, 1, 2, 2), 0.5), sharpness)
        assert float(halfway.detach()) == pytest.approx(0.5**sharpness)


def test_the_mask_of_a_training_is_held(tmp_path):
    """The first step changes nothing yet, so that what the second one holds differs by the warm-up's share alone."""

    def second(warmup):
        run = tmp_path / str(warmup)
        more = {"outside_warmup": warmup, "timesteps": "list:500", "images": 8, "steps": 2, "progress": False}
        more["precision"] = "float32"  # the identity is exact
        distill("red", toy_domain(), teacher=LeftHanded(), run=run, seed=0, **more)
        return json.loads((run / "log.jsonl").read_text().splitlines()[1])["outside"]

    assert second(8) == pytest.approx(second(2) / 4, rel=1e-4) and second(0) == second(2) > 0


def test_the_edit_stays_inside_the_mask():
    """The same training with and without: the less an edit spills, the larger the share of it on the asked side."""
    domain = replace(toy_domain(), identity=None)
    images = domain.images(16, 3, "test")
    options = {"timesteps": "list:500", "images": 24, "batch": 4, "steps": 40, "outside_warmup": 0, "progress": False}

    def share(**more):
        edit = distill("red", domain, teacher=LeftHanded(), seed=0, **options, **more).edit(images)
        change = (edit.images - edit.unedited).square().mean((0, 1, 2))
        return float(change[: len(change) // 4].sum() / change.sum())

    assert share(outside_weight=8.0) > 1.2 * share(outside_weight=0.0)
