"""Poses: there and back is where it was, quarter turns move whole pixels, and a quad says the same as a matrix."""

import numpy as np
import pytest
import torch

from sdd.beyond.blend import padded_quad
from sdd.beyond.pose import Pose, carry, cut, lay, share_inside

ODD = Pose(0.8, 0.1, -0.05, 17.0, mirrored=True)


def noise(size=32, seed=0):
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def smooth(size=64):
    """A picture that bilinear sampling hardly changes, which no turn, shift or mirror leaves as it is."""
    x = torch.linspace(-1, 1, size)
    return torch.stack([x.expand(size, size), x[:, None].expand(size, size), (x[:, None] * x).square()]) * 0.9


@pytest.mark.parametrize("pose", [Pose(), ODD, Pose(turn=90), Pose(1.2, down=0.25)])
def test_the_inverse_leads_back(pose):
    there, back = (np.vstack([m, [0, 0, 1]]) for m in (pose.matrix(), pose.inverse()))
    np.testing.assert_allclose(back @ there, np.eye(3), atol=1e-12)


def test_the_domains_own_framing_changes_nothing():
    picture, ground = noise(), torch.zeros(())
    torch.testing.assert_close(cut(picture, [Pose()], ground)[0], picture, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(Pose().quad(30, 50), padded_quad(30, 50))
    assert str(Pose()) == "as usual" and share_inside(Pose()) == 1


@pytest.mark.parametrize(("turn", "back"), [(90, 1), (180, 2), (-90, -1)])
def test_a_quarter_turn_moves_whole_pixels(turn, back):
    """Turned clockwise is read back anticlockwise."""
    picture = noise()
    for mirrored in (False, True):
        found = cut(picture, [Pose(turn=turn, mirrored=mirrored)], torch.zeros(()))[0]
        wanted = torch.rot90(picture, back, (1, 2))
        torch.testing.assert_close(found, wanted.flip(-1) if mirrored else wanted, atol=1e-5, rtol=0)


def test_cut_and_lay_are_each_others_inverse_inside():
    picture, ground, pose = smooth(), torch.full((3, 1, 1), 0.3), Pose(0.6, 0.1, -0.05, 17.0, mirrored=True)
    laid = lay(cut(picture, [pose], ground), [pose], ground)[0]
    inside = (laid != 0.3).all(0)
    assert inside.float().mean() == pytest.approx(0.36, abs=0.01)
    assert (laid - picture).abs()[:, inside].max() < 0.03


def test_what_the_picture_lacks_is_its_border_then_what_is_given():
    picture = torch.zeros(3, 32, 32)
    picture[:, :, -1] = 1.0
    found = cut(picture, [Pose(right=0.5)], torch.full((3, 1, 1), -1.0), out=0.25)[0]
    assert torch.equal(found[:, :, 15:24], torch.ones(3, 32, 9))
    assert torch.equal(found[:, :, 24:], -torch.ones(3, 32, 8))
    assert share_inside(Pose(right=0.5)) == 0.5


def test_a_drawing_is_carried_from_pose_to_pose():
    drawing, near = smooth(), ODD.moved(scale=-0.1, right=0.02, turn=3.0)
    torch.testing.assert_close(carry(drawing, ODD, [ODD])[0], drawing, atol=1e-4, rtol=0)
    plain = torch.zeros(3, 1, 1)
    wanted = cut(lay(drawing[None], [ODD], plain)[0], [near], plain)[0]
    inside = (wanted != 0).all(0)
    assert inside.float().mean() > 0.7
    assert (carry(drawing, ODD, [near])[0] - wanted).abs()[:, inside].median() < 0.01


def test_the_quad_is_where_the_drawing_lies():
    quad = Pose(0.5, 0.25, 0.0, 90.0).quad(100, 60)  # padded to 100 x 100, 20 above
    np.testing.assert_allclose(quad, [[100, 5], [50, 5], [50, 55], [100, 55]])
    np.testing.assert_allclose(Pose(mirrored=True).quad(8, 8), [[8, 0], [8, 8], [0, 8], [0, 0]])


def test_the_way_is_differentiable():
    picture = noise().requires_grad_()
    lay(cut(picture, [ODD], torch.zeros(())), [ODD], torch.zeros(())).sum().backward()
    assert picture.grad.abs().sum() > 0


def test_a_pose_is_said_in_words():
    assert str(Pose(0.8, -0.25, 0.1, 90.0)) == "turned 90°, 80 % of the usual size, 25 % left, 10 % down"
    assert str(Pose(turn=-25.0, mirrored=True)) == "turned 25° left, mirrored"
