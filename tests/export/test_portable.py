"""Editors as networks that need nothing of ours: the same pictures, without a grouped convolution."""

import pytest
import torch
from torch.nn import functional as F

from sdd.beyond.blend import blend
from sdd.editor import Composition
from sdd.errors import SddError
from sdd.export import dense
from sdd.export.loss import measure
from sdd.export.portable import Portable
from toy import toy_domain
from toy_editor import toy_editor


def drawings(side, seed=0):
    """A source, a drawing of it that is a little off, and one with a patch changed, (4, 3, side, side) each."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(4, 3, 8, 8, generator=random) * 2 - 1
    source = F.interpolate(coarse, (side, side), mode="bicubic").clamp(-1, 1)
    unedited = (torch.roll(source, 1, 3) + 0.05 * torch.randn(source.shape, generator=random)).clamp(-1, 1)
    edited = unedited.clone()
    for i, (y, x) in enumerate(((0, 0), (side // 3, side // 2), (side // 2, side // 4))):
        edited[i, :, y : y + side // 3, x : x + side // 3] = 0.4 * i
    return source, edited, unedited  # nothing changes in the last


@pytest.mark.parametrize("side", [32, 128, 256])
def test_the_dense_blend_is_the_blend(side):
    source, edited, unedited = drawings(side)
    wanted, found = blend(source, edited, unedited), dense.blend(source, edited, unedited)
    assert not torch.equal(wanted[0], source[0])
    assert (wanted - found).abs().max() < 1e-5
    apart = (found == source) != (wanted == source)  # by rounding alone
    assert not apart.any() or (wanted - source)[apart].abs().max() < 1e-6
    assert torch.equal(found[3], source[3])


def test_what_hangs_together_is_found_through_a_maze():
    within = torch.ones(1, 1, 12, 12, dtype=torch.bool)
    within[0, 0, 2::4, :-1] = False  # walls with a gap at the right ...
    within[0, 0, 4::4, 1:] = False  # ... and at the left
    found = torch.zeros_like(within)
    found[0, 0, 0, 0] = True
    assert torch.equal(dense.hang_together(found, within), within)
    within[0, 0, 6] = False
    assert not dense.hang_together(found, within)[0, 0, 7:].any()


KINDS = [
    ("levels",),
    ("single",),
    ("stylespace",),
    ("image-to-image",),
    ("levels", "stylespace"),
    ("image-to-image",) * 2,
]


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
@pytest.mark.parametrize("blend", [True, False])
def test_it_draws_what_the_editors_draw(kinds, blend):
    editors = Composition([toy_editor(kind, seed, strength=1.3) for seed, kind in enumerate(kinds)])
    pictures = toy_domain().images(5, 3, "test").clamp(-1, 1)
    each = [torch.linspace(-1, 1.5, 5), torch.linspace(2, 0, 5)][: len(kinds)]
    wanted = editors(pictures, each, blend=blend)
    with torch.no_grad():
        found = Portable(editors, blend)(pictures, torch.stack(each, 1))
    assert (wanted - pictures).abs().max() > 0.1
    assert (wanted - found).abs().max() < 1e-4


def test_strength_nought_gives_the_picture_back():
    pictures = toy_domain().images(3, 3, "test").clamp(-1, 1)
    with torch.no_grad():
        assert torch.equal(Portable(toy_editor())(pictures, torch.zeros(3, 1)), pictures)


def test_no_convolution_is_grouped_and_the_editor_stays_as_it_was(monkeypatch):
    editor = toy_editor()
    pictures = toy_domain().images(2, 3, "test").clamp(-1, 1)
    before = editor(pictures)
    net = Portable(editor)
    assert torch.equal(editor(pictures), before)
    groups = []
    for name in ("conv2d", "conv_transpose2d"):
        real = getattr(F, name)

        def counted(*args, real=real, **kwargs):
            groups.append(kwargs.get("groups", 1))
            return real(*args, **kwargs)

        monkeypatch.setattr(F, name, counted)
    with torch.no_grad():
        net(pictures, torch.ones(2, 1))
    assert len(groups) > 20 and set(groups) == {1}


def test_the_loss_is_what_the_pictures_differ_by():
    editors, pictures = Composition([toy_editor()]), toy_domain().images(9, 3, "test").clamp(-1, 1)
    exact = measure(editors, lambda x, s: editors(x, s[:, 0]), pictures)
    assert exact.largest == 0 and exact.psnr == 120 and exact.pictures == 9
    off = measure(editors, lambda x, s: editors(x, s[:, 0]) + 0.02, pictures)
    assert off.largest == pytest.approx(0.02, rel=1e-3) and off.psnr == pytest.approx(40, abs=1e-2)


def test_an_editor_that_needs_its_teacher_stays(monkeypatch):
    editor = toy_editor()
    monkeypatch.setattr(type(editor), "kind", "one-step")
    with pytest.raises(SddError, match="does not carry"):
        Portable(editor)
