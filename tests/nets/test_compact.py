"""The networks of small pictures: what they cut out upright is what an upright picture shows."""

import pytest
import torch

from sdd.domains import avatars
from sdd.nets.compact import AttributeClassifier, CompactEncoder, upright

HEADS = {"eyes": len(avatars.values("eyes")), "brows": 5} | {n: 1 for n in avatars.RANGES}


def pose(person):
    return torch.tensor([float(person.attributes[name]) for name in avatars.RANGES])


@pytest.mark.parametrize(
    "change",
    [{"tilt": 12.0}, {"shift_x": 5.0}, {"shift_y": -6.0}, {"zoom": 1.12}, {"tilt": -9.0, "shift_x": 4.0, "zoom": 0.9}],
)
def test_upright_undoes_a_pose(change):
    still = {"tilt": 0.0, "shift_x": 0.0, "shift_y": 0.0, "zoom": 1.0}
    person = avatars.sample(3, 5)[2].replace(**still)
    posed = person.replace(**change)
    box = (0.25, 0.75)
    right = upright(person.render(256)[None], pose(person)[None], box, 128)
    found = upright(posed.render(256)[None], pose(posed)[None], box, 128)
    unturned = upright(posed.render(256)[None], pose(person)[None], box, 128)
    error, without = (float((x - right).abs().mean()) for x in (found, unturned))
    assert error < 0.03
    assert error < 0.3 * without


def test_upright_of_nothing_moved_is_the_middle_of_the_picture():
    x = torch.rand(2, 3, 64, 64)
    y = upright(x, torch.tensor([[0.0, 0.0, 0.0, 1.0]]).expand(2, 4), (0.25, 0.75), 32)
    assert torch.allclose(y, x[..., 16:48, 16:48], atol=1e-5)


def test_the_second_trunk_adds_its_scores_and_corrects_the_pose():
    torch.manual_seed(0)
    net = AttributeClassifier(
        HEADS, channels=(8, 8, 8, 8, 8), close=("eyes",), ranges=avatars.RANGES, close_channels=(8, 8, 8, 8, 8)
    ).eval()
    again = AttributeClassifier(**net.config())
    again.load_state_dict(net.state_dict())
    images = avatars.render(avatars.sample(2, 1))
    with torch.no_grad():
        whole = net.look(images)
        close = net.look_close(images, torch.cat([whole[name] for name in avatars.RANGES], 1))
        both = again(images)
    assert set(close) == {"eyes", *avatars.RANGES}
    assert torch.equal(both["brows"], whole["brows"])
    for name in close:
        assert torch.equal(both[name], whole[name] + close[name])


def test_a_new_second_trunk_of_the_encoder_adds_nothing():
    torch.manual_seed(0)
    plain = CompactEncoder(128, 12, 16, channels=(8, 16, 16, 16))
    joined = CompactEncoder(128, 12, 16, channels=(8, 16, 16, 16), close=(8, 16, 16, 16), ranges=avatars.RANGES)
    joined.load_state_dict(joined.state_dict() | plain.state_dict())
    images = avatars.render(avatars.sample(2, 1))
    with torch.no_grad():
        assert torch.equal(plain(images), joined(images))
        joined.close_head.weight.normal_()
        assert not torch.equal(plain(images), joined(images))
        codes, found = joined.look(images)
    assert codes.shape == (2, 12, 16)
    assert found.shape == (2, 4)
    assert CompactEncoder(**joined.config()).config() == joined.config()
