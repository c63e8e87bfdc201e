"""NIQE against what its authors' MATLAB program says of a picture, and its parts against answers known by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from sdd.domains import avatars
from sdd.errors import SddError
from sdd.evaluate import niqe as of
from sdd.evaluate.niqe import BLOCK, distance, features, fit, natural, niqe

DATA = Path(__file__).parents[1] / "data"


def opened(name):
    with Image.open(DATA / name) as file:
        return torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.fixture(scope="module")
def baboon():
    return opened("baboon.webp")


def noise(like, seed=0):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def drawn(count):
    return F.interpolate(avatars.render(avatars.sample(count, 0)), 64, mode="area")


# --- The whole -------------------------------------------------------------------------------------------------------


def test_the_published_value(baboon):
    """MATLAB R2021a with the authors' program: 5.72957338 (BasicSR's `calculate_niqe` says so)."""
    assert baboon.shape == (1, 3, 480, 492)
    assert niqe(baboon) == pytest.approx(5.72957338, abs=1e-5)
    assert round(niqe(baboon), 4) == 5.7296


def test_a_recorded_value():
    """What BasicSR's `niqe` gave, in single precision where it halves the picture: even parts differ a little."""
    assert niqe(opened("astronaut.jpg")) == pytest.approx(3.2424, abs=1e-3)


def test_blur_and_noise_raise_it(baboon):
    blurred = F.interpolate(F.avg_pool2d(baboon, 4), baboon.shape[-2:], mode="bilinear")
    values = [niqe(baboon), *(niqe(baboon + s * noise(baboon)) for s in (0.2, 0.5))]
    assert values == sorted(values) and niqe(blurred) > values[0] + 1


def test_a_little_noise_lowers_that_of_drawings():
    """As the head of the file warns: even colours are far from photographs."""
    images = drawn(4)
    assert niqe(images + 0.02 * noise(images), 32) < niqe(images, 32) - 1


def test_pictures_are_one_sample_of_blocks(baboon):
    tiles = F.unfold(baboon[..., :480, :480], BLOCK, stride=BLOCK).view(3, BLOCK, BLOCK, 25).permute(3, 0, 1, 2)
    assert features(tiles).shape == (25, 1, 36) and features(baboon).shape == (1, 25, 36)
    assert niqe(tiles) == pytest.approx(niqe(baboon), abs=0.5)  # but for the pixels around each block
    torch.testing.assert_close(features(tiles[3:4]), features(tiles)[3:4])


def test_what_is_left_at_the_right_and_below_is_not_seen(baboon):
    other = baboon.clone()
    other[..., 480:] = 0
    assert niqe(other) == niqe(baboon)


def test_the_distance_of_blocks_whose_statistics_are_known():
    mean, covariance = natural()
    root = torch.linalg.cholesky(covariance)
    points = torch.cat([torch.eye(36, dtype=torch.float64), -torch.eye(36, dtype=torch.float64)])
    spread = points * (71 / 2) ** 0.5  # their covariance is the unit matrix
    alike = mean + spread @ root.T
    assert distance(alike) == pytest.approx(0, abs=1e-6)
    away = torch.zeros(36, dtype=torch.float64)
    away[5] = 3.0
    assert distance(alike + root @ away) == pytest.approx(3, rel=1e-6)
    bad = torch.full((1, 36), torch.nan, dtype=torch.float64)
    assert distance(torch.cat([alike, bad])) == distance(alike)


# --- The parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "left", "right"), [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (2.0, 0.5, 2.0), (0.6, 1, 3)])
def test_a_fit_recovers_what_was_drawn(shape, left, right):
    random = np.random.default_rng(0)
    size = random.gamma(1 / shape, 1, 400_000) ** (1 / shape)  # |x| / β of a generalised Gaussian
    negative = random.random(size.size) < left / (left + right)
    values = torch.from_numpy(np.where(negative, -left * size, right * size))[None]
    found = [float(x) for x in fit(values)]
    assert found == pytest.approx([shape, left, right], rel=0.02)


def test_a_fit_of_nothing_is_nan():
    assert all(
        x.isnan().tolist() == [True, True, False] for x in fit(torch.tensor([[0.0] * 4, [1.0] * 4, [1, -1, 2, -2]]))
    )


def test_halving_keeps_even_colours_and_slopes_and_has_matlabs_weights():
    slope = torch.arange(32, dtype=torch.float64).expand(1, 1, 32, 32)
    torch.testing.assert_close(of._halved(slope)[..., 2:-2], slope[..., :16, 2:14] * 2 + 0.5)
    point = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    point[..., 15, :] = 1
    kept = of._halved(point)[0, 0, :, 8].tolist()
    expected = {6: -0.03515625, 7: 0.43359375, 8: 0.11328125, 9: -0.01171875}
    assert kept == pytest.approx([expected.get(i, 0.0) for i in range(16)])


def test_luma_is_of_the_studio_range():
    colours = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert of._luma(colours.view(5, 3, 1, 1)).flatten().tolist() == [16, 235, 81, 145, 41]


# --- Errors ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_measured_is_said(baboon):
    with pytest.raises(SddError, match="at least two blocks with contrast and there is 1;"):
        niqe(baboon[..., :128, :128])
    with pytest.raises(SddError, match="there are 0;"):
        niqe(torch.zeros(4, 3, 96, 96))
    with pytest.raises(SddError, match="128 x 64 are smaller than NIQE's block of 96"):
        niqe(baboon[..., :64, :128])
    for block in (33, 14):
        with pytest.raises(SddError, match=f"even side of at least 16 pixels, not {block}"):
            niqe(baboon, block)
    for wrong in (baboon[0], baboon[:, :1], (baboon * 100).to(torch.uint8)):
        with pytest.raises(SddError, match="must be a float tensor"):
            niqe(wrong)
