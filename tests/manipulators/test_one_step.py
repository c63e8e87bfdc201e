"""The one-step editor on a tiny random Stable Diffusion: what it draws, what learns, and what stays as it was."""

import copy
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pipelines import SIZE, sd, sdxl
from sdd.errors import SddError
from sdd.manipulators.one_step import VISIBLE, OneStep
from sdd.manipulators.protocol import Change
from sdd.teachers.latent import LatentDiffusion, LatentDiffusionXL

SIDE = 2 * SIZE  # pixels of the pictures: twice what the teacher works at


def build(maker, kind, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind("tiny", maker(**options), torch.device("cpu"), torch.float32, SIZE)


@pytest.fixture(scope="module")
def teacher():
    return build(sd, LatentDiffusion)


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def stirred(manipulator, size=0.05):
    """The same, with updates that change something."""
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for update in manipulator.learned.values():
            update.copy_(size * torch.randn(update.shape, generator=random))
    return manipulator


@pytest.mark.parametrize(
    ("maker", "kind", "options"),
    [(sd, LatentDiffusion, {}), (sd, LatentDiffusion, {"prediction": "v_prediction"}), (sdxl, LatentDiffusionXL, {})],
)
def test_starts_at_the_identity(maker, kind, options, images):
    manipulator = OneStep(build(maker, kind, **options), SIDE)
    y = manipulator.prepare(images)
    change = manipulator.change(y)
    assert not change.parts[0].any()
    assert manipulator.size(change) == 0
    assert torch.equal(manipulator.draw(y, change), images)
    assert torch.equal(manipulator.draw(y), images)
    assert torch.equal(manipulator.latents(y, change), y.parts["latents"])
    assert stirred(manipulator).change(y).parts[0].any()


def test_pictures_of_another_size_are_drawn_at_its_own(teacher, images):
    manipulator = OneStep(teacher, SIZE)
    assert manipulator(manipulator.prepare(images)).shape == (3, 3, SIZE, SIZE)


def test_without_strength_nothing_changes(teacher, images):
    manipulator = stirred(OneStep(teacher, SIDE))
    y = manipulator.prepare(images)
    assert torch.equal(manipulator(y, 0.0), images)
    each = manipulator(y, torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(each[0], images[0])


def test_changes_add_up(teacher, images):
    a, b = stirred(OneStep(teacher, SIDE)), stirred(OneStep(teacher, SIDE), 0.1)
    y = a.prepare(images)
    one, two = a.change(y), b.change(y)
    both = Change((one.parts[0] + two.parts[0],))
    torch.testing.assert_close(a.latents(y, one, two), y.parts["latents"] + both.parts[0])
    torch.testing.assert_close(a.draw(y, one, two), a.draw(y, both))
    torch.testing.assert_close(a.draw(y, one.scaled(0.5), one.scaled(0.5)), a.draw(y, one))


def test_prepared_pictures_are_told_apart(teacher, images):
    manipulator = stirred(OneStep(teacher, SIDE))
    whole, part = manipulator.prepare(images), manipulator.prepare(images[1:2])
    torch.testing.assert_close(manipulator(whole)[1:2], manipulator(part), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(manipulator(whole[1:2]), manipulator(part), rtol=1e-4, atol=1e-5)
    assert len(whole) == 3
    assert not any(kept.requires_grad for kept in whole.parts.values())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_change_is_that_of_the_denoised_latents(prediction, images):
    """x̂₀ by the teacher's own formula for its noise, with the updates and without them."""
    teacher = build(sd, LatentDiffusion, prediction=prediction)
    manipulator = stirred(OneStep(teacher, SIDE, t_edit=400, prompt="smile"))
    y = manipulator.prepare(images)
    a, t = float(teacher.alphas_cumprod[400]), torch.full((3,), 400)
    noiseless, told = a**0.5 * y.parts["latents"], teacher.encode_text(["smile"]).repeat(3)
    edited = copy.copy(teacher)
    edited.unet = manipulator.unet
    before, after = (
        (noiseless - (1 - a) ** 0.5 * t_.predict_noise(noiseless, t, told)) / a**0.5 for t_ in (teacher, edited)
    )
    torch.testing.assert_close(manipulator.change(y).parts[0], after - before, rtol=1e-3, atol=1e-5)


def test_only_what_changes_is_drawn(teacher, images):
    """A large change is the decoded one, a faint one leaves the picture."""
    manipulator = OneStep(teacher, SIDE)
    y = manipulator.prepare(images)

    def drawn(by):
        moved = SimpleNamespace(decode=lambda latents: y.parts["decoded"] + by, prediction="epsilon")
        manipulator.teacher = moved
        return manipulator.draw(y, Change((torch.zeros(1),)))

    large = nn.functional.interpolate(y.parts["decoded"], (SIDE, SIDE), mode="bicubic", align_corners=False)
    torch.testing.assert_close(drawn(5 * VISIBLE), large + 5 * VISIBLE, rtol=0, atol=0.01)
    torch.testing.assert_close(drawn(VISIBLE / 5), images, rtol=0, atol=0.01)
    torch.testing.assert_close(drawn(VISIBLE), (images + large + VISIBLE) / 2)


def test_only_lora_learns_and_the_teacher_is_left_alone(images):
    teacher = build(sd, LatentDiffusion)
    before = copy.deepcopy(teacher.unet.state_dict())
    manipulator = OneStep(teacher, SIDE)
    assert teacher.unet.state_dict().keys() == before.keys()
    learning = {id(p) for p in manipulator.parameters() if p.requires_grad}
    assert learning == {id(p) for p in manipulator.learned.parameters()}
    assert sum(p.numel() for p in manipulator.learned.parameters()) < sum(p.numel() for p in teacher.unet.parameters())
    frozen = {n: p.clone() for n, p in manipulator.unet.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.Adam(manipulator.learned.parameters(), lr=1e-2)
    y = manipulator.prepare(images)
    goal = torch.randn(y.parts["latents"].shape, generator=torch.Generator().manual_seed(3))
    losses = []
    for _ in range(15):
        loss = (manipulator.change(y).parts[0] - 0.3 * goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(frozen[n], p) for n, p in manipulator.unet.named_parameters() if n in frozen)
    assert all(torch.equal(before[n], p) for n, p in teacher.unet.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in teacher.unet.parameters())
    manipulator.freeze()
    assert not manipulator.change(y).parts[0].requires_grad


def test_a_drawn_picture_has_a_gradient_where_it_changes(teacher, images):
    manipulator = stirred(OneStep(teacher, SIDE), 0.2)
    manipulator(manipulator.prepare(images)).square().sum().backward()
    assert all(update.grad.isfinite().all() for update in manipulator.learned.values())
    assert any(update.grad.any() for update in manipulator.learned.values())


def test_config_and_state_round_trip(teacher, images):
    made = stirred(OneStep(teacher, SIDE, rank=3, t_edit=250, prompt="smile"))
    config = json.loads(json.dumps(made.config()))
    assert config.pop("kind") == "one-step"
    assert len(config.pop("unet")) == 64
    again = OneStep(teacher, **config)
    again.learned.load_state_dict(made.learned.state_dict())
    y = made.prepare(images)
    assert torch.equal(again(y), made(y))


def test_the_same_generator_gives_the_same_start(teacher):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = OneStep(teacher, SIDE), OneStep(teacher, SIDE)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is not drawn from"
    for a, b in zip(one.learned.values(), two.learned.values(), strict=True):
        assert torch.equal(a, b)
    one.reset(torch.Generator().manual_seed(7))
    stirred(two).reset(torch.Generator().manual_seed(7))
    for a, b in zip(one.learned.values(), two.learned.values(), strict=True):
        assert torch.equal(a, b)
    two.reset(torch.Generator().manual_seed(8))
    assert any(not torch.equal(a, b) for a, b in zip(one.learned.values(), two.learned.values(), strict=True))


def test_half_precision_learns_in_float32(images):
    teacher = LatentDiffusion("half", sd(), torch.device("cpu"), torch.bfloat16, SIZE)
    manipulator = stirred(OneStep(teacher, SIDE))
    assert all(update.dtype == torch.float32 for update in manipulator.learned.values())
    drawn = manipulator(manipulator.prepare(images))
    assert drawn.dtype == torch.float32
    assert drawn.isfinite().all()


class TestRefuses:
    def test_a_teacher_without_such_a_unet(self):
        with pytest.raises(SddError, match="the teacher flow has no U-Net that predicts noise"):
            OneStep(SimpleNamespace(name="flow"), SIDE)

    @pytest.mark.parametrize("t_edit", [-1, 1000])
    def test_a_timestep_that_is_none(self, teacher, t_edit):
        with pytest.raises(SddError, match=f"t_edit lies between 0 and 999, not {t_edit}"):
            OneStep(teacher, SIDE, t_edit=t_edit)

    def test_a_rank_that_is_none(self, teacher):
        with pytest.raises(SddError, match="the rank is at least 1, not 0"):
            OneStep(teacher, SIDE, rank=0)

    def test_without_peft(self, teacher, monkeypatch):
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(SddError, match="needs peft; install it"):
            OneStep(teacher, SIDE)
