"""Picture files are edited in batches that suit the domain, and nothing is computed that nobody is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sdd.apps import pictures as apps
from sdd.apps.pictures import Wish, edit_pictures
from sdd.editor import Editor, EditorInfo
from sdd.io.pictures.folder import Source, output_paths
from sdd.io.pictures.read import open_image, read_image
from sdd.io.pictures.transparency import transparent_again
from sdd.io.pictures.write import save_png
from sdd.manipulators import inversion, stylegan
from sdd.nets.mapper_kinds import build_mapper
from toy import SIZE, STYLE_DIM, toy_domain


class Forbidden(nn.Module):
    def forward(self, x):
        raise AssertionError("identities need not be compared")


def described(domain, mapper):
    """What the file of a mapper would say."""
    manipulator = {"kind": "stylegan", "mapper": mapper.config()}
    return EditorInfo(
        prompt="x", domain="toy", generator=domain.stylegan.generator_hash, manipulator=manipulator
    )  # fmt: skip


def test_pictures_are_drawn_as_many_at_a_time_as_fit(tmp_path, monkeypatch):
    toy = toy_domain()
    domain = replace(toy, identity=Forbidden())
    mapper = build_mapper({"kind": "levels", "n_latent": toy.generator.n_latent, "style_dim": STYLE_DIM})
    info = described(toy, mapper)
    pictures = toy.images(5, seed=0, split="test").clamp(-1, 1)
    sources = [Source(save_png(p, tmp_path / f"{i}.png"), Path(f"{i}.png")) for i, p in enumerate(pictures)]
    for module in (stylegan, inversion):
        monkeypatch.setattr(module, "batch_size", lambda backbone: 2)
    drawn = []
    synthesis = toy.generator.synthesis
    monkeypatch.setattr(toy.generator, "synthesis", lambda codes: drawn.append(len(codes)) or synthesis(codes))
    composed = Editor.compose([Editor(mapper, info, domain)])
    outcome = edit_pictures(sources, output_paths(sources, tmp_path / "out"), composed, Wish(blend=False))
    assert len(outcome.written) == 5 and not outcome.broken
    assert max(drawn) == 2 and sum(drawn) == 10
    read = read_image(outcome.written[0])
    want = inversion.invert(read_image(sources[0].path)[None], toy.stylegan)
    assert read.shape == (3, SIZE, SIZE) and outcome.psnr[0] == pytest.approx(float(want.psnr), abs=1e-3)
    assert torch.allclose(read, want.images[0].clamp(-1, 1), atol=1 / 127)


def test_no_picture_stops_the_others(tmp_path, monkeypatch):
    """Whatever goes wrong with one, in reading, cutting or saving, is said of that one."""
    toy = toy_domain()
    mapper = build_mapper({"kind": "levels", "n_latent": toy.generator.n_latent, "style_dim": STYLE_DIM})
    info = described(toy, mapper)
    pictures = toy.images(5, seed=0, split="test").clamp(-1, 1)
    sources = [Source(save_png(p, tmp_path / f"{i}.png"), Path(f"{i}.png")) for i, p in enumerate(pictures)]
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    sources.append(Source(tmp_path / "loop.png", Path("loop.png")))
    outputs = output_paths(sources, tmp_path / "out")
    outputs[0].parent.mkdir()
    outputs[0].symlink_to(tmp_path / "elsewhere.png")
    outputs[1] = outputs[1].with_name("x" * 256 + ".png")
    real = apps.cut

    def crops(index, *rest):
        if index == 2:
            raise RuntimeError("can't allocate memory: you tried to allocate 50700000000 bytes")
        return real(index, *rest)

    monkeypatch.setattr(apps, "cut", crops)
    outcome = edit_pictures(sources, outputs, Editor.compose([Editor(mapper, info, toy)]), Wish())
    assert outcome.written == outputs[3:5] and len(outcome.broken) == 4
    for index, said in zip((2, 5, 0, 1), outcome.broken, strict=True):
        assert str(sources[index].path) in said and said.isprintable()
    assert not (tmp_path / "elsewhere.png").exists()


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_picture_keeps_its_size_and_its_transparency(tmp_path, strength):
    """1024 × 768 comes back so, hidden colours and all; what changes changes colour, and stays as opaque as it was."""
    toy = toy_domain()
    mapper = build_mapper({"kind": "levels", "n_latent": toy.generator.n_latent, "style_dim": STYLE_DIM})
    random = torch.Generator().manual_seed(0)
    for p in mapper.parameters():
        p.data.normal_(generator=random)
    info = described(toy, mapper)
    values = np.random.default_rng(0).integers(0, 256, (768, 1024, 4), dtype=np.uint8)
    values[..., 3] = np.repeat([[0, 60, 128, 255]], 256, axis=1)
    Image.fromarray(values, "RGBA").save(tmp_path / "in.png")
    sources = [Source(tmp_path / "in.png", Path("in.png"))]
    composed = Editor.compose([Editor(mapper, info, toy)])
    outcome = edit_pictures(sources, [tmp_path / "out.png"], composed, Wish(strengths=(strength,)))
    assert not outcome.broken
    result = np.asarray(Image.open(tmp_path / "out.png"))
    assert result.shape == values.shape
    same = (result == values).all(2)
    if strength == 0:
        assert same.all()
        return
    assert not same.all()
    # The same edit of the picture as it is seen says where nothing changed.
    seen = open_image(tmp_path / "in.png")
    seen.save(tmp_path / "seen.png")
    sources = [Source(tmp_path / "seen.png", Path("seen.png"))]
    edit_pictures(sources, [tmp_path / "edited.png"], composed, Wish(strengths=(strength,)))
    unchanged = (np.asarray(Image.open(tmp_path / "edited.png")) == np.asarray(seen)).all(2)
    assert 0 < unchanged.mean() < 1 and same[unchanged].all()
    assert (result[..., 3] >= values[..., 3]).all()


def test_an_edit_looks_as_it_should_on_its_background():
    layer = Image.fromarray(
        np.array([[[10, 20, 30, 0], [200, 100, 0, 128], [200, 100, 0, 128], [9, 9, 9, 255]]], np.uint8)
    )
    before = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer).convert("RGB")
    wanted = np.asarray(before).copy()
    wanted[0, 0], wanted[0, 1], wanted[0, 2] = (250, 0, 0), (180, 170, 160), (0, 0, 0)
    after = transparent_again(layer, before, Image.fromarray(wanted), (255, 255, 255))
    found = np.asarray(after)
    assert found[0, 0].tolist() == [250, 0, 0, 255]  # nothing was to be seen there
    assert found[0, 1, 3] == 128 and found[0, 2].tolist() == [0, 0, 0, 255]  # no colour at half is black on white
    assert found[0, 3].tolist() == [9, 9, 9, 255]
    shown = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), after).convert("RGB")
    assert np.abs(np.asarray(shown).astype(int) - wanted).max() <= 2


def test_a_faint_rim_beside_a_transparent_person_stays_faint():
    """A few levels off white, which nobody sees on white, were a white rim on any other background."""
    layer = Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 0], [90, 60, 30, 255]]], np.uint8))
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    before = Image.alpha_composite(white, layer).convert("RGB")
    wanted = np.array([[[251, 251, 255], [225, 230, 250], [230, 230, 250]]], np.uint8)
    after = transparent_again(layer, before, Image.fromarray(wanted), (255, 255, 255))
    assert np.asarray(after)[0, :, 3].tolist() == [32, 240, 255]  # 4 and 30 levels of 32
    shown = Image.alpha_composite(white, after).convert("RGB")
    assert np.abs(np.asarray(shown).astype(int) - wanted).max() <= 2
