"""The editor from picture to picture: it starts at the identity, needs nothing beside itself, and changes add up."""

import json

import pytest
import torch

from sdd.errors import SddError
from sdd.manipulators.image_to_image import ImageToImage, unet_of
from sdd.manipulators.kinds import build, learned_of, needs

SIDE = 16


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 2 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def stirred(manipulator, seed=2):
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in manipulator.learned.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=random))
    return manipulator


def made(size=2 * SIDE):
    return ImageToImage(size, SIDE, 8)


def test_starts_at_the_identity(images):
    manipulator = made()
    y = manipulator.prepare(images)
    change = manipulator.change(y)
    assert manipulator.size(change) == 0 and not change.parts[0].any()
    assert torch.equal(manipulator.draw(y, change), images) and torch.equal(manipulator.draw(y), images)
    assert stirred(manipulator).change(y).parts[0].any()
    assert torch.equal(manipulator(y, 0.0), images)


@pytest.mark.parametrize("size", [SIDE // 2, SIDE, 2 * SIDE, 40])
def test_it_draws_at_its_own_size(images, size):
    manipulator = stirred(made(size))
    y = manipulator.prepare(images)
    assert manipulator(y).shape == (3, 3, size, size)
    assert y.parts["seen"].shape == (3, 3, SIDE, SIDE)


def test_the_change_is_paint_less_what_was_there(images):
    """A constant head: paint ½ and matte 1 make a grey picture of brightness ½ of every picture of the U-Net's size."""
    manipulator = made(SIDE)
    with torch.no_grad():
        bias = manipulator.learned.head.bias.view(4, -1)
        bias[:3], bias[3:] = 0.5, 1.0
    torch.testing.assert_close(manipulator(manipulator.prepare(images)), torch.full((3, 3, SIDE, SIDE), 0.5))


def test_changes_add_up(images):
    a, b = stirred(made()), stirred(made(), 3)
    y = a.prepare(images)
    one, two, plain = a.change(y), b.change(y), a.draw(y)
    torch.testing.assert_close(a.draw(y, one, two) - plain, (a.draw(y, one) - plain) + (b.draw(y, two) - plain))
    torch.testing.assert_close(a.draw(y, one.scaled(0.5), one.scaled(0.5)), a.draw(y, one))
    torch.testing.assert_close(a.shown(y, one, two), one.parts[0] + two.parts[0])


def test_one_that_sees_another_side_joins_in(images):
    """Composed editors share what the first one prepared; each sees the picture as it learned to."""
    first, other = stirred(made()), stirred(ImageToImage(2 * SIDE, 2 * SIDE, 8), 3)
    y, own = first.prepare(images), other.prepare(images)
    change = other.change(y)
    assert torch.equal(change.parts[0], other.change(own).parts[0])
    torch.testing.assert_close(first.draw(y, change), other.draw(own, change))
    assert first.shown(y, change).shape == (3, 3, SIDE, SIDE)


def test_config_and_state_round_trip(images):
    manipulator = stirred(made())
    config, tensors = json.loads(json.dumps(manipulator.config())), manipulator.learned.state_dict()
    assert needs(config["kind"]) == ""
    learned = learned_of(config, tensors)
    learned.load_state_dict(tensors)
    again = build(config, learned)
    assert torch.equal(again(again.prepare(images)), manipulator(manipulator.prepare(images)))


@pytest.mark.parametrize(
    "config", [{}, {"side": 64}, {"side": "64", "width": 48}, {"side": 64, "width": 10**9}, {"side": 64, "width": 12}]
)
def test_a_description_that_is_none_is_refused(config):
    with pytest.raises(ValueError, match="width"):
        unet_of(config)


def test_an_image_size_that_is_none_is_refused():
    learned = unet_of({"side": SIDE, "width": 8})
    with pytest.raises(SddError, match="description of its manipulator is damaged"):
        ImageToImage.of({"side": SIDE, "width": 8, "image_size": 10**9}, learned)


@pytest.mark.parametrize(("side", "width"), [(18, 8), (4, 8), (16, 12)])
def test_a_side_or_a_width_that_is_none(side, width):
    with pytest.raises(SddError, match="the manipulator image-to-image"):
        ImageToImage(SIDE, side, width)
