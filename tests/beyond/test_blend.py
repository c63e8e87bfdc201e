"""The edit laid into the source: what must be exact is exact."""

import numpy as np
import pytest
import torch

from sdd.beyond.blend import blend, change_region, padded_quad
from sdd.errors import SddError
from sdd.io.pictures.shape import resize, square


def noise(*shape, seed=0):
    """A picture of 8-bit values as float, all different."""
    return torch.randint(0, 256, (3, *shape), generator=torch.Generator().manual_seed(seed)).float() / 127.5 - 1


def flat(*size, value=-0.5):
    return torch.full((3, *size), value)


def with_square(picture, colour=0.5):
    """The picture with a square from 32 to 96 of a drawing of 128."""
    changed = picture.clone()
    changed[:, 32:96, 32:96] = colour
    return changed


@pytest.mark.parametrize("size", [(128, 128), (768, 1024), (1024, 768), (50, 31)])
def test_equal_drawings_give_back_the_source_bit_for_bit(size):
    source, drawing = noise(*size), noise(128, 128, seed=1)
    assert torch.equal(blend(source, drawing, drawing), source)


def test_the_source_is_not_written_to():
    source = flat(128, 128)
    blend(source, with_square(source), source)
    assert torch.equal(source, flat(128, 128))


@pytest.mark.parametrize(("height", "width"), [(1024, 768), (768, 1024)])
def test_untouched_pixels_are_the_sources_bit_for_bit_at_its_own_size(height, width):
    source, drawing = noise(height, width), noise(128, 128, seed=1) * 0.2
    result = blend(source, with_square(drawing), drawing)
    scale, (left, top) = 1024 / 128, padded_quad(width, height)[0]
    away = torch.ones(height, width, dtype=torch.bool)
    low, high = int(27 * scale), int(101 * scale)  # the square, widened by five pixels of the drawing
    away[low + int(top) : high + int(top), low + int(left) : high + int(left)] = False
    assert result.shape == source.shape and away.any()
    assert torch.equal(result[:, away], source[:, away])
    assert (result != source).any(0).float().mean() > 0.2


def test_a_square_change_of_a_perfect_drawing_is_exact():
    source = flat(128, 128)
    edited = with_square(source)
    result = blend(source, edited, source)
    torch.testing.assert_close(result[:, 34:94, 34:94], edited[:, 34:94, 34:94])
    torch.testing.assert_close(result[:, :32], source[:, :32], atol=1e-4, rtol=0)
    assert torch.equal(result[:, :27], source[:, :27])


def test_what_is_drawn_anew_on_a_plain_ground_stays_as_crisp_as_it_is_drawn():
    source, edited = flat(128, 128), flat(128, 128)
    edited[:, 60:70, 50:80:2] = 0.5  # lines of one pixel
    torch.testing.assert_close(blend(source, edited, source)[:, 61:69, 52:77], edited[:, 61:69, 52:77])


def test_a_recoloured_thing_keeps_the_sources_grain():
    thing = with_square(flat(128, 128), 0.2)
    grain = 0.01 * torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0))
    result = blend(thing + grain, with_square(thing, -0.2), thing)
    inside = (result - grain)[:, 36:92, 36:92]
    torch.testing.assert_close(inside, torch.full_like(inside, -0.2), atol=0.02, rtol=0)


def test_old_outlines_that_the_drawing_lacks_are_gone_where_the_edit_is_certain():
    drawn, edited = with_square(flat(128, 128), 0.2), with_square(flat(128, 128), -0.2)
    source = drawn.clone()
    source[:, 50:70:4, 50:70] = 0.05  # thin lines, fainter than the thing itself
    result = blend(source, edited, drawn)[:, 36:92, 36:92]
    torch.testing.assert_close(result, torch.full_like(result, -0.2), atol=0.02, rtol=0)


def test_a_faint_change_everywhere_is_dropped():
    source, drawing = noise(256, 192), noise(128, 128, seed=1) * 0.5
    assert torch.equal(blend(source, drawing + 0.02, drawing), source)


def test_a_weak_change_stays_only_where_it_hangs_together_with_a_strong_one():
    before = torch.zeros(1, 3, 128, 128)
    after = before.clone()
    after[..., 20:40, 20:40] = 1.0
    after[..., 20:40, 40:60] = 0.45  # beside it
    after[..., 90:110, 90:110] = 0.45  # far away
    region, certain = change_region(after, before)
    assert region[..., 25:35, 22:57].min() == 1
    assert region[..., 80:, 80:].max() == 0 and certain[..., 80:, 80:].max() == 0


@pytest.mark.parametrize("strength", [0.4, 0.6, 1.0])  # below, `floor` cuts in
def test_the_region_is_the_same_at_every_strength(strength):
    change = with_square(torch.zeros(3, 128, 128), 0.8)[None]
    before = torch.zeros(1, 3, 128, 128)
    torch.testing.assert_close(change_region(strength * change, before), change_region(change, before))


def test_old_content_at_a_misaligned_rim_leaves_no_ghost():
    """The thing is a pixel larger in the source than in the drawing, which makes it vanish."""
    source = flat(128, 128)
    source[:, 31:97, 31:97] = 0.8
    drawing = with_square(flat(128, 128), 0.8)
    result = blend(source, flat(128, 128), drawing)
    assert (result - flat(128, 128)).abs().max() < 0.02


def test_old_content_that_the_drawing_lacks_does_not_show_through():
    source = with_square(flat(128, 128), 0.0)
    source[:, 60:68, 60:68] = 1.0  # an eye, say, that the drawing does not have
    drawing = with_square(flat(128, 128), 0.0)
    result = blend(source, with_square(flat(128, 128), -1.0), drawing)
    assert (result[:, 62:66, 62:66] + 1).abs().max() < 0.01


def test_a_change_ends_at_the_edges_of_a_larger_source():
    small = with_square(flat(128, 128), 0.8)
    large = flat(1024, 1024)
    large[:, 256:768, 256:768] = 0.8
    result = blend(large, with_square(small, 0.0), small)
    expected = flat(1024, 1024)
    expected[:, 256:768, 256:768] = 0.0
    # One step of the drawing is eight pixels of the source: a change spread over it would be off by half of 1.3.
    assert (result - expected).abs().max() < 0.05


def test_the_padded_square_is_where_the_network_sees_the_picture():
    source = flat(60, 120)
    source[:, 20:40, 50:90] = 0.8
    seen = resize(square(source, "pad")[None], 120)[0]
    after = torch.where(seen > 0.5, torch.zeros(()), seen)
    result = blend(source, after, seen)
    expected = torch.where(source > 0.5, torch.zeros(()), source)
    assert (result - expected).abs().max() < 0.02


def test_an_edit_reaches_the_border_of_the_picture_but_fades_at_that_of_a_crop():
    source = flat(128, 128, value=0.0)
    drawing, edited = flat(128, 128, value=0.0), flat(128, 128, value=0.5)
    torch.testing.assert_close(blend(source, edited, drawing), edited)
    box = np.array([[0, 32], [0, 96], [64, 96], [64, 32]], dtype=np.float64)  # at the left border, inside elsewhere
    result = blend(source, edited, drawing, box)
    torch.testing.assert_close(result[:, 50:78, :50], torch.full((3, 28, 50), 0.5))
    assert result[:, 50:78, 63].max() < 0.05
    assert torch.equal(result[:, :, 64:], source[:, :, 64:])
    assert torch.equal(result[:, :32], source[:, :32])


def test_a_drawing_finer_than_its_place_is_averaged():
    source = flat(64, 64, value=0.0)
    drawing = torch.zeros(3, 256, 256)
    stripes = torch.where(torch.arange(256) % 2 == 0, 0.8, 0.4).expand(3, 256, 256)
    result = blend(source, stripes, drawing)
    torch.testing.assert_close(result[:, 4:-4, 4:-4], torch.full((3, 56, 56), 0.6), atol=0.01, rtol=0)


def test_a_batch_is_its_pictures_one_by_one():
    sources = torch.stack([noise(96, 128), noise(96, 128, seed=2)])
    drawings = torch.stack([noise(128, 128, seed=3), noise(128, 128, seed=4)]) * 0.1
    edited = torch.stack([with_square(d) for d in drawings])
    both = blend(sources, edited, drawings)
    assert all(torch.equal(both[i], blend(sources[i], edited[i], drawings[i])) for i in range(2))


def test_what_does_not_match_is_refused():
    with pytest.raises(SddError, match="shape"):
        blend(flat(64, 64), flat(64, 64), flat(32, 32))
    with pytest.raises(SddError, match="one each"):
        blend(torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    with pytest.raises(SddError, match="quad"):
        blend(flat(64, 64), flat(64, 64), flat(64, 64), np.zeros((4, 2)))
