"""Colour errors against values that are known."""

import pytest
import torch

from sdd.errors import SddError
from sdd.evaluate.colour import delta_e, lab, signed_error


def plain(*rgb):
    """A 4 x 4 picture of one colour, given in 0 … 255."""
    return (torch.tensor(rgb, dtype=torch.float32) / 127.5 - 1).view(1, 3, 1, 1).expand(1, 3, 4, 4)


EVERYWHERE = torch.ones(1, 1, 4, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("rgb", "expected"),  # Lindbloom's calculator (sRGB, D65)
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_lab_of_known_colours(rgb, expected):
    found = lab(plain(*rgb))[0, :, 0, 0]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=0.02, rtol=0)


def test_black_to_white_is_a_hundred_and_equal_colours_are_zero():
    assert delta_e(plain(0, 0, 0), plain(255, 255, 255), EVERYWHERE).item() == pytest.approx(100, abs=1e-3)
    assert delta_e(plain(9, 99, 199), plain(9, 99, 199), EVERYWHERE).item() == 0


def test_signed_error_is_in_units_of_255_and_keeps_its_sign():
    found = signed_error(plain(227, 220, 240), plain(232, 229, 231), EVERYWHERE)
    torch.testing.assert_close(found, torch.tensor([[-5.0, -9.0, 9.0]], dtype=torch.float64), atol=1e-4, rtol=0)


def test_errors_of_both_signs_cancel_in_one_measure_and_add_in_the_other():
    right = plain(100, 100, 100)
    wrong = right.clone()
    wrong[..., :2] += 20 / 127.5
    wrong[..., 2:] -= 20 / 127.5
    assert signed_error(wrong, right, EVERYWHERE).abs().max() < 1e-4
    assert delta_e(wrong, right, EVERYWHERE).item() > 5


def test_only_the_mask_counts_and_an_empty_one_is_nan():
    right = plain(100, 100, 100)
    wrong = right.clone()
    wrong[..., 0] = 1
    mask = EVERYWHERE.clone()
    mask[..., 0] = False
    assert delta_e(wrong, right, mask).item() == 0
    assert signed_error(wrong, right, ~mask)[0, 0].item() == pytest.approx(155, abs=1e-3)
    assert delta_e(wrong, right, mask & ~mask).isnan().all()
    assert signed_error(wrong, right, mask & ~mask).isnan().all()


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(SddError, match="mask"):
        delta_e(plain(0, 0, 0), plain(0, 0, 0), EVERYWHERE[0])
