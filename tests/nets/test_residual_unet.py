"""The U-Net from picture to change: what it starts at, which sizes it takes, and what a place of it sees."""

import pytest
import torch

from sdd.nets.residual_unet import ResidualUNet, levels_for


def net(width=8, levels=3, patch=2, stir=True):
    made = ResidualUNet(width, levels, patch)
    random = torch.Generator().manual_seed(0)
    made.reset(random)
    if stir:
        with torch.no_grad():
            for p in made.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=random))
    return made


def test_it_starts_at_nothing_and_everything_can_learn():
    made, images = net(stir=False), torch.rand(2, 3, 16, 16)
    assert not any(part.any() for part in made(images))
    sum(part.sum() for part in made(images)).backward()
    assert made.head.weight.grad.any(), "the head learns first"
    stirred = net()
    sum(part.square().sum() for part in stirred(images)).backward()
    assert all(p.grad.any() for p in stirred.parameters())


@pytest.mark.parametrize("size", [(16, 16), (20, 12), (36, 26)])
def test_any_size_that_is_whole_patches(size):
    paint, matte = net()(torch.rand(1, 3, *size))
    assert paint.shape == (1, 3, *size) and matte.shape == (1, 1, *size)


@pytest.mark.parametrize(("side", "patch", "levels"), [(64, 2, 3), (128, 2, 4), (512, 4, 5), (1024, 4, 6), (8, 2, 1)])
def test_the_coarsest_level_sees_the_plan(side, patch, levels):
    assert levels_for(side, patch) == levels
    assert 4 <= side // patch >> (levels - 1) < 16


def test_the_same_generator_gives_the_same_start():
    one, two = net(stir=False), net(stir=False)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(("width", "levels", "patch"), [(12, 3, 2), (0, 3, 2), (8, 0, 2), (8, 1, 0)])
def test_what_is_none_is_refused(width, levels, patch):
    with pytest.raises(ValueError, match="multiple of 8"):
        ResidualUNet(width, levels, patch)
