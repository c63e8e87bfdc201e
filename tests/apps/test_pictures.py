"""Picture files are edited in batches that suit the domain, and nothing is computed that nobody is told."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sdd import editor as editors
from sdd.apps.pictures import Wish, edit_pictures
from sdd.editor import Editor, EditorInfo
from sdd.io.pictures.folder import Source, output_paths
from sdd.io.pictures.read import read_image
from sdd.io.pictures.write import save_png
from sdd.manipulators import inversion
from sdd.nets.mapper_kinds import build_mapper
from toy import SIZE, STYLE_DIM, toy_domain


class Forbidden(nn.Module):
    def forward(self, x):
        raise AssertionError("identities need not be compared")


def test_pictures_are_drawn_as_many_at_a_time_as_fit(tmp_path, monkeypatch):
    toy = toy_domain()
    domain = replace(toy, identity=Forbidden())
    mapper = build_mapper({"kind": "levels", "n_latent": toy.generator.n_latent, "style_dim": STYLE_DIM})
    info = EditorInfo(prompt="x", domain="toy", generator=toy.generator_hash, mapper=mapper.config())
    pictures = toy.images(5, seed=0, split="test").clamp(-1, 1)
    sources = [Source(save_png(p, tmp_path / f"{i}.png"), Path(f"{i}.png")) for i, p in enumerate(pictures)]
    for module in (editors, inversion):
        monkeypatch.setattr(module, "batch_size", lambda domain: 2)
    drawn = []
    synthesis = toy.generator.synthesis
    monkeypatch.setattr(toy.generator, "synthesis", lambda codes: drawn.append(len(codes)) or synthesis(codes))
    composed = Editor.compose([Editor(mapper, info, domain)])
    outcome = edit_pictures(sources, output_paths(sources, tmp_path / "out"), composed, Wish())
    assert len(outcome.written) == 5 and not outcome.broken
    assert max(drawn) == 2 and sum(drawn) == 10
    read = read_image(outcome.written[0])
    want = inversion.invert(read_image(sources[0].path)[None], toy)
    assert read.shape == (3, SIZE, SIZE) and outcome.psnr[0] == pytest.approx(float(want.psnr), abs=1e-3)
    assert torch.allclose(read, want.images[0].clamp(-1, 1), atol=1 / 127)
