"""Pictures are registered to where they lie, on the embedded domain; and only where that wins something."""

import pytest
import torch

from sdd.beyond.pose import Pose, lay
from sdd.beyond.register import CLEARLY, SUSPECT, laid_psnr, registered_where
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.evaluate.tables.framings import framed, redrawn
from sdd.manipulators.inversion import psnr

SEEN = []


@pytest.fixture(scope="module")
def domain():
    return embedded()


@pytest.fixture(scope="module")
def person():
    return AVATARS.people(5, 0, 1)[0]


def found(picture, domain, always=False):
    def redraw(images):
        SEEN.append(len(images))
        return redrawn(images, domain)

    SEEN.clear()
    before = psnr(redrawn(picture[None], domain), picture[None])
    return registered_where(picture[None], before, redraw, domain.expected_psnr, always), float(before)


def test_what_inverts_as_usual_is_not_looked_at(domain, person):
    assert found(framed(person, Pose()), domain)[0] == {} and not SEEN
    assert found(framed(person, Pose()), domain, always=True)[0] == {} and SEEN  # nothing wins clearly


def test_a_quarter_turn_and_a_mirror_are_found_exactly(domain, person):
    upright = framed(person, Pose())
    for pose in (Pose(turn=90.0), Pose(mirrored=True)):
        one = found(framed(person, pose), domain)[0][0]
        assert one.pose == pose and sum(SEEN) < 40
        torch.testing.assert_close(one.image, upright, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pose", [Pose(scale=0.7), Pose(right=-0.25)])
def test_a_known_framing_is_found_within_two_percent(domain, person, pose):
    """What lies outside the picture is completed, so that it inverts as the person upright does."""
    picture, upright = framed(person, pose), framed(person, Pose())
    registered, before = found(picture, domain)
    one, own = registered[0], float(psnr(redrawn(upright[None], domain), upright[None]))
    assert abs(one.pose.scale - pose.scale) < 0.02 * pose.scale and abs(one.pose.turn) < 2
    assert abs(one.pose.right - pose.right) < 0.02 and abs(one.pose.down) < 0.02
    assert one.psnr > own - 1.5 and one.psnr > before + CLEARLY
    assert laid_psnr(redrawn(one.image[None], domain)[0], picture, one.pose) == pytest.approx(one.psnr, abs=0.1)


def test_a_glance_tells_whose_framing_is_not_the_domains(domain):
    """Of people who invert a little badly, those at 80 % of the size are registered unasked, and nobody else."""
    people = AVATARS.people(5, 0, 4)[1:3]
    assert not any(found(framed(person, Pose()), domain)[0] for person in people)
    smaller = [found(framed(person, Pose(scale=0.8)), domain) for person in people]
    assert all(domain.expected_psnr - SUSPECT < before < domain.expected_psnr for _, before in smaller)
    assert all(abs(poses[0].pose.scale - 0.8) < 0.02 for poses, _ in smaller)


def test_what_a_picture_lacks_is_guessed(domain):
    """A fourth of a person outside the picture costs at most half a decibel of the rest."""
    person = AVATARS.people(5, 0, 4)[3]
    picture, pose = framed(person, Pose(down=0.25)), Pose(down=0.25)
    one, upright = found(picture, domain)[0][0], redrawn(framed(person, Pose())[None], domain)[0]
    assert one.psnr > laid_psnr(upright, picture, pose) - 0.5


def test_noise_is_not_registered_unasked(domain):
    noise = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert found(noise, domain)[0] == {}


def test_dicebears_framings_are_poses(person):
    """A person drawn in a framing is the person upright, laid there."""
    for pose in (Pose(scale=0.8), Pose(right=0.25, down=-0.1), Pose(turn=25.0), Pose(0.8, 0.1, 0.05, -20.0)):
        wanted = framed(person, pose)
        laid = lay(framed(person, Pose())[None], [pose], wanted)[0]
        assert float(psnr(laid[None], wanted[None])) > 27  # but for the edges that sampling blurs
