"""The whole path from picture to picture: a folder, a teacher, an editor file that needs neither."""

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines import SIZE, sd
from sdd.domains.photos import folder_domain
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.manipulators.image_to_image import ImageToImage
from sdd.teachers.latent import LatentDiffusion
from sdd.teachers.load import load_teacher
from sdd.training.config import DistillConfig, departures
from sdd.training.distil import Interrupted, distill
from toy import ToyTeacher, toy_domain

QUICK = {
    "manipulator": "image-to-image", "images": 6, "batch": 2, "steps": 6, "timesteps": "list:500", "width": 8,
    "checkpoint_every": 2, "progress": False, "offline_steps": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mugs")
    random = np.random.default_rng(0)
    for i in range(8):
        small = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        small.resize((50, 40)).save(path / f"{i}.png")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sd().save_pretrained(path.with_name("teacher"))
    return path


def train(folder, **options):
    domain = folder_domain(folder, str(folder.with_name("teacher")), 2 * SIZE)
    teacher = load_teacher(folder.with_name("teacher"))
    return distill("a mug with stripes", domain, teacher=teacher, **{**QUICK, **options})


def test_a_folder_and_a_teacher_are_enough_and_an_edit_needs_neither(folder, tmp_path):
    editor = train(folder, out=tmp_path / "e.safetensors")
    assert editor.kind == "image-to-image" and editor.info.generator == "" and "offline" in editor.info.departures
    read = Editor.load(tmp_path / "e.safetensors")
    read.info = read.info.model_copy(update={"teacher": "nowhere/at-all", "domain": "none"})
    pictures = torch.rand(2, 3, 60, 44, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(read(pictures, strength=0), pictures) and read(pictures).shape == pictures.shape
    square = pictures[..., :44, :]
    drawn = editor(square, blend=False)
    torch.testing.assert_close(read(square, blend=False), drawn)
    assert not torch.equal(drawn, editor(square, strength=0, blend=False)), "something was learned"
    both = Editor.compose([read, editor]).open(square)
    torch.testing.assert_close(both([0.0, 1.0], blend=False), drawn)
    with pytest.raises(SddError, match="has no levels"):
        read(pictures, levels=["coarse"])


def test_it_resumes_bit_for_bit(folder, tmp_path, monkeypatch):
    train(folder, run=tmp_path / "whole", out=tmp_path / "whole.st")
    change, calls = ImageToImage.change, 0

    def breaks(self, y):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return change(self, y)

    with monkeypatch.context() as patch:
        patch.setattr(ImageToImage, "change", breaks)
        with pytest.raises(Interrupted):
            train(folder, run=tmp_path / "broken")
    train(folder, run=tmp_path / "broken", out=tmp_path / "broken.st")
    assert (tmp_path / "whole.st").read_bytes() == (tmp_path / "broken.st").read_bytes()


def test_it_learns_where_the_guidance_leads():
    """The toy teacher's "red" wants more of the first channel everywhere, and nothing of the others."""
    domain, teacher = toy_domain(), ToyTeacher()
    teacher.decode = lambda latents: latents.repeat_interleave(4, 2).repeat_interleave(4, 3)
    editor = distill(
        "red", domain, teacher=teacher, manipulator="image-to-image", width=8, images=24, steps=60, batch=8, lr=5e-3,
        timesteps="list:500", mask=False, progress=False,
    )  # fmt: skip
    images = domain.images(8, 5, "test")
    before, after = (teacher.encode_image(editor(images, s, blend=False)) for s in (0.0, 1.0))
    red, green, blue = (after - before).mean((0, 2, 3)).tolist()
    assert red > 0.5 and abs(green) < 0.05 and abs(blue) < 0.05


def test_a_prompt_without_meaning_is_said(folder):
    class Deaf(LatentDiffusion):
        def predict_noise(self, latents, t, condition):
            return torch.zeros_like(latents)

    teacher = load_teacher(folder.with_name("teacher"))
    teacher.__class__ = Deaf
    domain = folder_domain(folder, str(folder.with_name("teacher")), SIZE)
    with pytest.raises(SddError, match="the prompt means nothing to the teacher"):
        distill("a mug", domain, teacher=teacher, **QUICK)


def test_its_defaults_are_its_own_and_a_preset_is_left_alone():
    ours = DistillConfig.make(None, manipulator="image-to-image")
    assert ours.offline and {"offline", "mask"} <= set(departures(ours)) and ours.strength == 1.0
    assert DistillConfig.make(None, manipulator="image-to-image", steps=7).steps == 7
    paper = DistillConfig.make("paper", manipulator="image-to-image")
    assert not paper.offline and departures(paper) == []


def test_algorithm_1_trains_it_too(folder):
    """As the paper does, every step through drawing and encoder; nothing is drawn twice."""
    editor = train(folder, offline=False, steps=3)
    assert "offline" not in editor.info.departures and editor.info.figures["change"] > 0
