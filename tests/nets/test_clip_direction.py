"""The directional CLIP losses equal the published arithmetic, in value and gradient."""

import torch

from parity import fixture
from sdd.nets.clip_direction import angle_loss, direction_loss, log_direction_loss, text_direction


def test_equals_the_published_code():
    reference = fixture("clip_direction")
    inputs = reference.inputs
    texts = inputs["text_source"], inputs["text_target"]
    target = inputs["image_target"].clone().requires_grad_()
    direction = text_direction(*texts)
    reference.check("text_direction", direction)
    loss = direction_loss(inputs["image_source"], target, direction)
    reference.check("loss", loss[None])
    reference.check("diffusionclip_log", log_direction_loss(loss)[None])
    loss.backward()
    reference.check("grad_image_target", target.grad)
    reference.check("angle_loss", angle_loss(inputs["image_source"], inputs["image_target"], *texts)[None])


def test_following_the_text_costs_nothing():
    source, step = torch.eye(3)[:1], torch.eye(3)[1:2]
    direction = text_direction(source, step)
    assert direction_loss(source, step, direction) < 1e-6
    assert log_direction_loss(direction_loss(source, step, direction)).abs() < 1e-6
