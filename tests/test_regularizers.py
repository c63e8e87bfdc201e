"""Regularizers: zero at the identity, in units that no generator changes, with a gradient on the edit alone."""

import pytest
import torch
from torch.nn.functional import normalize

from sdd.regularizers import identity_loss, image_l2, latent_l2, outside_l1, style_l2


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_zero_for_no_change():
    assert latent_l2(torch.zeros(2, 3, 4), torch.ones(3, 4)) == 0
    assert style_l2([torch.zeros(2, 3), torch.zeros(2, 5)], [torch.ones(3), torch.ones(5)]) == 0
    x = random(2, 3, 8, 8)
    assert image_l2(x, x) == 0
    f = normalize(random(4, 16))
    assert identity_loss(f, f).abs() < 1e-6


def test_one_standard_deviation_counts_one():
    std = random(3, 4).abs() + 0.1
    assert latent_l2(std.expand(5, 3, 4), std) == pytest.approx(1)
    stds = [random(3).abs() + 0.1, random(5).abs() + 0.1]
    assert style_l2([s.expand(2, -1) for s in stds], stds) == pytest.approx(1)


def test_units_cancel():
    delta, std = random(2, 3, 4), random(3, 4, seed=1).abs() + 0.1
    scale = random(3, 4, seed=2).abs() + 0.5
    torch.testing.assert_close(latent_l2(delta * scale, std * scale), latent_l2(delta, std))


def test_style_vectors_count_by_their_length():
    deltas = [torch.ones(2, 1), torch.zeros(2, 3)]
    assert style_l2(deltas, [torch.ones(1), torch.ones(3)]) == 0.25


def test_identity_loss_has_a_gradient_on_the_edit_alone():
    edited, source = random(4, 16).requires_grad_(), random(4, 16, seed=1).requires_grad_()
    loss = identity_loss(normalize(edited), normalize(source))
    loss.backward()
    assert edited.grad is not None and edited.grad.abs().sum() > 0 and source.grad is None
    assert 0 < loss < 2
    opposite = identity_loss(torch.eye(3), -torch.eye(3))
    assert opposite == 2


def test_image_l2_spares_the_source():
    edited, source = torch.ones(1, 3, 2, 2, requires_grad=True), torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = image_l2(edited, source)
    loss.backward()
    assert loss == 1 and source.grad is None and edited.grad is not None


def test_outside_l1_counts_what_lies_outside_the_mask_and_nothing_else():
    edited, source = torch.zeros(1, 3, 8, 8, requires_grad=True), torch.zeros(1, 3, 8, 8, requires_grad=True)
    mask = torch.zeros(1, 1, 2, 2)
    mask[..., 0] = 1  # at twice four pixels, bilinear: columns of weight 0 0 1/8 3/8 5/8 7/8 1 1
    change = torch.zeros(1, 3, 8, 8)
    change[..., :2] = 1.0
    assert outside_l1(edited + change, source, mask) == 0
    change[..., 2:] = -0.5
    loss = outside_l1(edited + change, source, mask)
    assert float(loss.detach()) == pytest.approx(0.5 * (1 / 8 + 3 / 8 + 5 / 8 + 7 / 8 + 2) / 8)
    loss.backward()
    assert source.grad is None and (edited.grad[..., 2:] < 0).all()
    halfway = outside_l1(edited + 1, source, torch.full((1, 1, 2, 2), 0.5))
    assert float(halfway.detach()) == pytest.approx(0.5**5)
