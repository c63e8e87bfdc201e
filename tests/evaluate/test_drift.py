"""Drift of pictures that were moved by a known amount."""

import math

import pytest
import torch

from sdd.evaluate.drift import drift


def waves(dx=0.0, dy=0.0, scale=1.0, colour=(0.0, 0.0, 0.0), size=64):
    """A smooth picture, drawn moved by (dx, dy), scaled about its centre and tinted: (1, 3, size, size)."""
    down, right = torch.meshgrid(*[torch.arange(size).double() - (size - 1) / 2] * 2, indexing="ij")
    u, v = (right - dx) / scale, (down - dy) / scale
    k = 2 * math.pi / size
    channels = [
        torch.sin(3 * k * u) * torch.cos(2 * k * v),
        torch.cos(2 * k * u + 1) + torch.sin(4 * k * v),
        torch.sin(k * (u + 3 * v)),
    ]
    return torch.stack([0.3 * c + o for c, o in zip(channels, colour, strict=True)])[None]


NOTHING = torch.zeros(1, 1, 64, 64, dtype=torch.bool)


@pytest.mark.parametrize(("dx", "dy"), [(0.5, 0.0), (0.0, -0.25), (1.5, 2.5)])
def test_a_picture_shifted_by_half_a_pixel_has_drifted_by_half_a_pixel(dx, dy):
    found = drift(waves(dx, dy), waves(), NOTHING)
    assert found.shift[0].tolist() == pytest.approx([dx, dy], abs=0.01)
    assert found.pixels.item() == pytest.approx(math.hypot(dx, dy), abs=0.01)
    assert found.percent.item() < 0.05 and found.levels.item() < 0.2


def test_scale_and_colour_are_told_apart_from_shift():
    found = drift(waves(0.3, 0, 1.02, (0.1, -0.02, 0)), waves(), NOTHING)
    assert found.pixels.item() == pytest.approx(0.3, abs=0.02)
    assert found.percent.item() == pytest.approx(2, abs=0.05)
    assert found.colour[0].tolist() == pytest.approx([0.1, -0.02, 0], abs=0.003)
    assert found.levels.item() == pytest.approx(12.75, abs=0.4)


def test_what_is_edited_is_not_looked_at():
    mask = NOTHING.clone()
    mask[..., 20:40, 20:40] = True
    edited = torch.where(mask, 0.9, waves())
    assert drift(edited, waves(), mask).pixels.item() == pytest.approx(0, abs=1e-4)
    assert drift(edited, waves(), NOTHING).levels.item() > 1


def test_flat_pictures_can_only_be_tinted_and_an_edit_everywhere_cannot_drift():
    flat = torch.zeros(1, 3, 64, 64)
    found = drift(flat + 0.2, flat, NOTHING)
    assert found.pixels.item() == 0 and found.percent.item() == 0
    assert found.levels.item() == pytest.approx(25.5, abs=1e-3)
    assert drift(flat, flat, ~NOTHING).pixels.isnan().item()
