"""A turned picture is edited as the same picture upright is, and all that is not edited stays as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdd.apps.by_method import MethodEditing
from sdd.apps.pictures import Wish, edit_pictures, registered_note
from sdd.beyond.pose import Pose
from sdd.domains.avatars.truth import AVATARS
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.io.pictures.folder import Source
from sdd.io.pictures.write import from_tensor
from untrained import untrained_editor


@pytest.fixture(scope="module")
def editor():
    return untrained_editor()


@pytest.fixture(scope="module")
def person():
    """Upright, RGBA, larger than the domain's pictures; a corner is transparent, with hidden colours."""
    picture = from_tensor(AVATARS.people(5, 0, 1)[0].render(160)).convert("RGBA")
    values = np.asarray(picture).copy()
    values[:24, :24] = np.random.default_rng(0).integers(0, 256, (24, 24, 4), dtype=np.uint8)
    values[:24, :24, 3] //= 2
    return Image.fromarray(values, "RGBA")


def test_a_turned_picture_is_edited_as_upright_and_untouched_pixels_are_kept(editor, person):
    turned = person.transpose(Image.Transpose.ROTATE_270)  # clockwise by a quarter
    result, upright = np.asarray(editor(turned, register=None)), editor(person)
    before, wanted = np.asarray(turned), np.asarray(upright.transpose(Image.Transpose.ROTATE_270))
    assert result.shape == before.shape
    same = (result == before).all(2)
    assert 0.2 < same.mean() < 0.98
    assert np.array_equal(result[wanted_same(wanted, before)], before[wanted_same(wanted, before)])
    assert np.abs(result.astype(int) - wanted).mean() < 0.5
    away = np.abs(np.asarray(editor(turned, register=False)).astype(int) - wanted).mean()
    assert away > 4 * np.abs(result.astype(int) - wanted).mean()
    assert np.array_equal(np.asarray(editor(turned, strength=0)), before)


def wanted_same(wanted, before):
    """Pixels, a few from any that the upright edit changes, that must be as they were."""
    changed = torch.from_numpy((wanted != before).any(2)).float()[None, None]
    return ~(torch.nn.functional.max_pool2d(changed, 5, 1, 2)[0, 0] > 0).numpy()


def test_a_picture_as_usual_is_edited_bit_for_bit_as_without(editor):
    images = AVATARS.render(AVATARS.people(5, 0, 2))
    plain = editor(images, register=False)
    assert torch.equal(editor(images, register=None), plain)
    opened = Editor.compose([editor]).open(images, register=None)
    assert torch.equal(opened(), plain) and opened.poses == (None, None)
    edit = editor.edit(images, register=None)
    assert edit.poses == (None, None) and torch.equal(edit.images, editor.edit(images).images)


def test_files_are_registered_and_said_to_be(editor, person, tmp_path):
    person.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "in.png")
    sources = [Source(tmp_path / "in.png", Path("in.png"))]
    composed = Editor.compose([editor])
    outcome = edit_pictures(sources, [tmp_path / "out.png"], composed, Wish())
    assert [pose for _, pose in outcome.registered] == [Pose(turn=90.0)] and not outcome.foreign
    assert "in.png" in registered_note(outcome.registered) and "turned 90°" in registered_note(outcome.registered)
    wanted = np.asarray(editor(tmp_path / "in.png", register=None))
    assert np.abs(np.asarray(Image.open(tmp_path / "out.png")).astype(int) - wanted).max() <= 1
    plain = edit_pictures(sources, [tmp_path / "as-is.png"], composed, Wish(register=False))
    assert not plain.registered and plain.foreign and registered_note(plain.registered) is None


def test_what_cannot_be_registered_says_so(editor, tmp_path):
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(SddError, match="drawn anew cannot be registered"):
        editor(image, blend=False, register=True)
    for wish in (Wish(blend=False, register=True), Wish(box=(0, 0, 8, 8), register=True)):
        with pytest.raises(SddError, match="cannot be registered too; leave --register out"):
            edit_pictures([], [], Editor.compose([editor]), wish)
    with pytest.raises(SddError, match="only an editor registers"):
        MethodEditing(editor.domain, None).edit(image, register=True)
