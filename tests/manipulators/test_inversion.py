"""Inversion: exact for pictures the generator drew, honest about the rest, and refining never makes it worse."""

import pytest
import torch

from sdd.manipulators.inversion import encode, invert, psnr
from sdd.nets.resize import resize
from toy import toy_domain


def random_images(n, size=32, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_psnr_has_peak_two():
    x = random_images(3)
    assert psnr(x, x).tolist() == [120.0] * 3
    assert psnr(x + 0.2, x).tolist() == pytest.approx([20.0] * 3, abs=1e-3)


def test_resize_leaves_the_right_size_alone():
    x = random_images(1)
    assert resize(x, 32) is x and resize(x, 16).shape == (1, 3, 16, 16)


def test_report():
    domain = toy_domain()
    images = domain.images(5, 3, "test")
    found = invert(images, domain.stylegan, batch=2)
    torch.testing.assert_close(found.codes, domain.encoder(images))
    torch.testing.assert_close(found.images, domain.generator.synthesis(found.codes))
    torch.testing.assert_close(found.psnr, psnr(found.images, images))
    assert found.psnr.min() > 25
    assert invert(random_images(2), domain.stylegan).psnr.max() < 15


def test_refining_helps_every_picture():
    domain = toy_domain()
    images = (domain.images(4, 9, "test") + 0.05 * random_images(4)).clamp(-1, 1)
    images[3] = random_images(1)[0]
    calls = []
    plain, refined = (
        invert(images, domain.stylegan),
        invert(images, domain.stylegan, refine=30, progress=lambda *a: calls.append(a)),
    )
    assert (refined.psnr >= plain.psnr).all() and (refined.psnr - plain.psnr).max() > 1
    assert calls == [(4, 4)] and not refined.codes.requires_grad
    assert torch.equal(invert(images, domain.stylegan, refine=0).codes, plain.codes)


def test_no_images():
    domain = toy_domain()
    assert encode(torch.zeros(0, 3, 32, 32), domain.stylegan).shape == (0, 8, 8)
    assert invert(torch.zeros(0, 3, 32, 32), domain.stylegan, refine=3).psnr.shape == (0,)
