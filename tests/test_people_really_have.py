"""Avatars as people have them, drawn by the JavaScript DiceBear (tests/data/avatars): seen as what they are, edited in
place, and kept wherever nothing was edited.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdd.apps.pictures import Wish, edit_pictures
from sdd.editor import Editor
from sdd.io.pictures.folder import Source
from sdd.io.pictures.read import open_image
from untrained import untrained_editor

FOLDER = Path(__file__).parent / "data" / "avatars"
FILES = [one["file"] for one in json.loads((FOLDER / "made.json").read_text())]
# Framed as none of the domain's own: as they are none inverts with more than 25 dB, registered with 31 or more.
ODD = {"sofia.png", "chase.png", "aidan.webp", "sadie.jpg", "leah.png"}
WISH = Wish((0.3,))
BOUND, ODD_BOUND = 23.0, 28.5  # dB; of the others the worst has 25.9


@pytest.fixture(scope="module")
def editors():
    return Editor.compose([untrained_editor()])


@pytest.fixture(scope="module")
def edited(editors, tmp_path_factory):
    """The folder of the results, and what came of it."""
    out = tmp_path_factory.mktemp("people")
    sources = [Source(FOLDER / name, Path(name)) for name in FILES]
    return out, edit_pictures(sources, [out / f"{name}.png" for name in FILES], editors, WISH)


def test_they_are_of_the_domain_whatever_their_framing(edited):
    _, outcome = edited
    assert not outcome.broken and not outcome.foreign
    assert {path.name for path, _ in outcome.registered} >= ODD
    quality = dict(zip(FILES, outcome.psnr, strict=True))
    assert min(quality.values()) > BOUND and min(quality[name] for name in ODD) > ODD_BOUND, quality


@pytest.mark.parametrize("name", FILES)
def test_they_keep_size_mode_and_what_is_not_edited(edited, editors, tmp_path, name):
    out, _ = edited
    with Image.open(FOLDER / name) as source, Image.open(out / f"{name}.png") as result:
        assert (result.size, result.mode) == (source.size, source.mode)
        before, after = np.asarray(source), np.asarray(result)
    same = (before == after).all(2)
    assert 0.2 < same.mean() < 1
    if after.shape[2] == 3 or before[..., 3].min() == 255:
        assert (before[..., 3:] == after[..., 3:]).all()
        return
    # The same picture on white, where nothing is transparent, says where nothing was edited.
    seen = open_image(FOLDER / name)
    seen.save(tmp_path / name)
    edit_pictures([Source(tmp_path / name, Path(name))], [tmp_path / "out.png"], editors, WISH)
    kept = (np.asarray(Image.open(tmp_path / "out.png")) == np.asarray(seen)).all(2)
    # Alone, and not among others, networks round otherwise: a value between two levels may become the other one.
    off = np.abs(before.astype(int) - after.astype(int))[kept]
    assert 0.2 < kept.mean() < 1 and off.max() <= 1 and off.any(1).sum() <= 3
