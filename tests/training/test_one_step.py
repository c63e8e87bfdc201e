"""The whole path without a generator: a folder of pictures, a teacher, and its own U-Net as the editor."""

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines import SIZE, sd
from sdd.domains.photos import folder_domain
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.teachers.latent import LatentDiffusion
from sdd.training.distil import Interrupted, distill

QUICK = {
    "manipulator": "one-step", "images": 6, "batch": 2, "steps": 6, "timesteps": "list:500", "rank": 2,
    "checkpoint_every": 2, "progress": False, "t_edit": 300,
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


def teacher_of(folder, kind=LatentDiffusion):
    from sdd.teachers.load import load_teacher

    teacher = load_teacher(folder.with_name("teacher"))
    if kind is not LatentDiffusion:
        teacher.__class__ = kind
    return teacher


def train(folder, kind=LatentDiffusion, **options):
    domain = folder_domain(folder, str(folder.with_name("teacher")), SIZE)
    return distill("a mug with stripes", domain, teacher=teacher_of(folder, kind), **{**QUICK, **options})


def test_a_folder_and_a_teacher_are_enough(folder, tmp_path):
    editor = train(folder, out=tmp_path / "e.safetensors")
    assert editor.info.generator == "" and editor.info.crop == "centre" and editor.kind == "one-step"
    read = Editor.load(tmp_path / "e.safetensors")  # the teacher is found by its name, and checked by its hash
    pictures = torch.rand(2, 3, 60, 44, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(read(pictures, strength=0), pictures) and read(pictures).shape == pictures.shape
    square = pictures[..., :44, :]
    torch.testing.assert_close(read(square, blend=False), editor(square, blend=False))
    both = Editor.compose([read, editor]).open(square)
    torch.testing.assert_close(both([0.0, 1.0], blend=False), editor(square, blend=False))
    with pytest.raises(SddError, match="has no levels"):
        read(pictures, levels=["coarse"])
    with pytest.raises(SddError, match="leave --refine out"):
        read.edit(pictures, refine=3)


def test_it_resumes_bit_for_bit(folder, tmp_path):
    class Breaks(LatentDiffusion):
        calls = 0

        def predict_noise(self, latents, t, condition):
            Breaks.calls += 1
            if Breaks.calls == 12:
                raise KeyboardInterrupt
            return super().predict_noise(latents, t, condition)

    train(folder, run=tmp_path / "whole", out=tmp_path / "whole.st")
    with pytest.raises(Interrupted):
        train(folder, Breaks, run=tmp_path / "broken")
    train(folder, run=tmp_path / "broken", out=tmp_path / "broken.st")
    assert (tmp_path / "whole.st").read_bytes() == (tmp_path / "broken.st").read_bytes()


def test_it_needs_the_teacher_it_learned_from(folder, tmp_path):
    train(folder, out=tmp_path / "e.safetensors", steps=1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        sd().save_pretrained(tmp_path / "other")
    read = Editor.load(tmp_path / "e.safetensors")
    read.info = read.info.model_copy(update={"teacher": str(tmp_path / "other")})
    with pytest.raises(SddError, match="trained with another U-Net"):
        read(torch.zeros(1, 3, SIZE, SIZE))


def test_stylegan_needs_a_generator(folder):
    with pytest.raises(SddError, match=r"has no generator; give one with --generator .* --manipulator one-step"):
        train(folder, manipulator="stylegan")
