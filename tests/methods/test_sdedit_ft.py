"""Fine-tuning the teacher for SDEdit: it learns, resumes bit for bit, and leaves the teacher as it was."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

import pipelines
from sdd.device import pick_device
from sdd.errors import SddError
from sdd.methods.kept import kept
from sdd.methods.models import Models
from sdd.methods.sdedit import SDEdit
from sdd.methods.sdedit_ft import TunedSDEdit
from sdd.methods.teacher_lora import Tuning, fine_tune, target, tuned
from sdd.teachers.latent import LatentDiffusion
from toy import ToyTeacher, toy_domain

TUNING = Tuning(steps=6, batch=4, rate=1e-2, rank=2, pictures=8, every=2)


@cache
def teacher() -> LatentDiffusion:
    torch.manual_seed(0)
    return LatentDiffusion("tiny", pipelines.sd(), pick_device("cpu"), torch.float32)


def noise_loss(guide: LatentDiffusion, images: torch.Tensor) -> float:
    """The mean squared error of the noise at a few timesteps, always the same."""
    random = torch.Generator().manual_seed(9)
    x0, told = guide.encode_image(images, sample=False), guide.encode_text(["smile"])
    noise = torch.randn(x0.shape, generator=random)
    t = torch.linspace(50, 950, len(x0)).long()
    return float((guide.predict_noise(guide.add_noise(x0, noise, t), t, told.repeat(len(x0))) - noise).square().mean())


def test_it_learns_the_domain_and_leaves_the_teacher_alone() -> None:
    images, before = toy_domain().images(8), {k: v.clone() for k, v in teacher().unet.state_dict().items()}
    learned = fine_tune(teacher(), images, "smile", Tuning(steps=15, batch=4, rate=2e-2, rank=2))
    assert noise_loss(tuned(teacher(), learned), images) < 0.95 * noise_loss(teacher(), images)
    assert all(torch.equal(v, before[k]) for k, v in teacher().unet.state_dict().items())


def test_a_stopped_training_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    images = toy_domain().images(8)
    whole = fine_tune(teacher(), images, "smile", TUNING, folder=tmp_path / "whole")

    def stop(what: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(teacher(), images, "smile", TUNING, folder=tmp_path / "stopped", report=stop)
    again = []
    resumed = fine_tune(
        teacher(), images, "smile", TUNING, folder=tmp_path / "stopped", report=lambda w, d, t: again.append(d)
    )
    assert again[0] == 4  # the last checkpoint
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_no_steps_change_nothing_and_what_was_learned_edits_the_same_again() -> None:
    domain, images = toy_domain(), toy_domain().images(2, 1, "test")
    models = Models({"teacher": teacher})
    plain = SDEdit(steps=4).fit("smile", "", domain, models).edit(images, 0.6)
    untrained = fine_tune(teacher(), images, "", Tuning(steps=0))
    fresh = TunedSDEdit(steps=4).fit("smile", "", domain, models, learned=untrained)
    assert torch.allclose(fresh.edit(images, 0.6), plain, atol=1e-6)
    learned = fine_tune(teacher(), images, "", TUNING)
    one, two = (TunedSDEdit(steps=4).fit("smile", "", domain, models, learned=learned) for _ in range(2))
    assert torch.equal(one.edit(images, 0.6), two.edit(images, 0.6))
    assert not torch.allclose(one.edit(images, 0.6), plain, atol=1e-4)


def test_one_training_serves_every_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDD_HOME", str(tmp_path))
    method, models, told = TunedSDEdit(steps=4, tuning=TUNING), Models({"teacher": teacher}), []
    first = kept(method, "smile", "", toy_domain(), models, report=lambda *a: told.append(a))
    assert told
    told.clear()
    second = kept(method, "white hair", "", toy_domain(), models, report=lambda *a: told.append(a))
    assert not told and len(list(tmp_path.glob("methods/*.safetensors"))) == 1
    assert all(torch.equal(v, second.learned()[k]) for k, v in first.learned().items())


def test_v_is_what_a_v_predicting_teacher_learns() -> None:
    x0, noise, a = torch.randn(3, 2, 4, 4, 4).unbind()[0], torch.randn(2, 4, 4, 4), torch.tensor([0.2, 0.9])
    kept_ = a.view(-1, 1, 1, 1)
    v = target("v_prediction", x0, noise, kept_)
    noisy = kept_.sqrt() * x0 + (1 - kept_).sqrt() * noise
    assert torch.allclose(kept_.sqrt() * v + (1 - kept_).sqrt() * noisy, noise, atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    learned = fine_tune(teacher(), toy_domain().images(2), "", Tuning(steps=0))
    name = next(iter(learned))
    for wrong in ({}, {"x.lora_A.y": torch.zeros(2, 3)}, {**learned, name: torch.zeros(3, 3)}):
        with pytest.raises(SddError, match="learned"):
            tuned(teacher(), wrong)
    with pytest.raises(SddError, match="U-Net"):
        TunedSDEdit().fit("red", "", toy_domain(), Models({"teacher": ToyTeacher}))
