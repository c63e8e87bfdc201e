"""What users hand in comes back as the same kind: tensors, PIL pictures of any mode, paths, lists; anything else is one
sentence.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import sdd
from sdd import given
from sdd.beyond.blend import blend
from sdd.editor import Editor, EditorInfo
from sdd.errors import SddError
from sdd.io.pictures.crop import crop, quads
from sdd.io.pictures.shape import to_tensor
from sdd.io.pictures.write import from_tensor, save_png
from sdd.nets.mapper_kinds import build_mapper
from toy import SIZE, STYLE_DIM, toy_domain


def editor(seed=0, domain=None, prompt="white hair", scale=1.0):
    domain = domain or toy_domain()
    mapper = build_mapper({"kind": "levels", "n_latent": domain.generator.n_latent, "style_dim": STYLE_DIM})
    random = torch.Generator().manual_seed(seed)
    for p in mapper.parameters():
        p.data.normal_(0, scale, generator=random)
    described = {"prompt": prompt, "domain": "toy", "generator": domain.stylegan.generator_hash}
    info = EditorInfo(**described, manipulator={"kind": "stylegan", "mapper": mapper.config()})
    return Editor(mapper, info, domain)


@pytest.fixture(scope="module")
def images():
    return toy_domain().images(5, seed=3, split="test").clamp(-1, 1)


@pytest.fixture(scope="module")
def pictures(images):
    return [from_tensor(image) for image in images]


def drawn(mode, size=(48, 40)):
    """A picture of noise in a mode, with every value of its alpha."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    picture = Image.fromarray(values, "RGBA")
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    return (
        picture
        if mode == "RGBA"
        else picture.convert("RGB").convert(mode)
        if "A" not in mode
        else picture.convert(mode)
    )


# Kinds


def test_a_picture_is_edited_as_its_tensor_is(pictures):
    e = editor()
    result = e(pictures[0], strength=0.5)
    assert isinstance(result, Image.Image) and result.mode == "RGB" and result.size == (SIZE, SIZE)
    wanted = from_tensor(e(to_tensor(pictures[0])[None], strength=0.5)[0])
    assert np.array_equal(np.asarray(result), np.asarray(wanted))
    assert not np.array_equal(np.asarray(result), np.asarray(pictures[0]))


def test_paths_and_lists(pictures, tmp_path):
    e, wide = editor(), drawn("RGB")
    path = save_png(pictures[1], tmp_path / "one.png")
    alone = [np.asarray(e(p)) for p in (pictures[0], path, wide, str(path))]
    together = e([pictures[0], path, wide, str(path)])
    assert isinstance(together, list) and [p.size for p in together] == [
        (SIZE,) * 2,
        (SIZE,) * 2,
        (48, 40),
        (SIZE,) * 2,
    ]
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - np.asarray(other).astype(int)).max() <= 1
    assert e([]) == []
    assert len(e((pictures[0],))) == 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "CMYK", "YCbCr", "HSV", "P", "1", "I;16"])
def test_size_mode_and_untouched_pixels_are_kept(mode):
    e, picture = editor(), drawn(mode)
    before = np.asarray(picture).copy()
    same, result = e(picture, strength=0), e(picture)
    assert result.size == picture.size and same.size == picture.size
    assert np.array_equal(np.asarray(picture), before)
    if mode in ("P", "1", "I;16"):  # no room for new colours
        assert result.mode == "RGB"
        return
    assert result.mode == same.mode == mode
    assert np.array_equal(np.asarray(same), before)
    assert not np.array_equal(np.asarray(result), before)
    if mode == "RGBA":
        assert (np.asarray(result)[..., 3] >= before[..., 3]).all()


def test_a_palette_with_a_hole_keeps_the_hole():
    picture = drawn("P")
    picture.info["transparency"] = int(np.asarray(picture)[5, 5])
    result = editor()(picture, strength=0)
    assert result.mode == "RGBA"
    assert np.array_equal(np.asarray(result), np.asarray(picture.convert("RGBA")))


def test_a_photo_that_lies_on_its_side_is_set_upright(pictures, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    drawn("RGB").save(tmp_path / "p.png", exif=exif)
    opened = Image.open(tmp_path / "p.png")
    assert editor()(opened, strength=0).size == editor()(tmp_path / "p.png", strength=0).size == (40, 48)


def test_of_a_photo_the_part_is_edited_that_the_domain_knows():
    domain = replace(toy_domain(), crop="centre")
    e, photo = editor(domain=domain), drawn("RGB", (96, 40))
    quad = quads(photo, "centre")[0]
    edit = e.edit(crop(photo, quad, "centre", SIZE)[None])
    wanted = from_tensor(blend(to_tensor(photo), edit.images[0], edit.unedited[0], quad))
    result = np.asarray(e(photo))
    assert np.array_equal(result, np.asarray(wanted))
    assert np.array_equal(result[:, :28], np.asarray(photo)[:, :28])  # beside the square in its middle


def test_drawn_anew_a_picture_has_the_manipulators_size():
    result = editor()(drawn("RGBA"), blend=False)
    assert result.size == (SIZE, SIZE) and result.mode == "RGB"


# Tensors


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_is_the_users(images, dtype):
    e, given_ = editor(), images.to(dtype)
    result = e(given_)
    assert result.dtype == dtype
    torch.testing.assert_close(result.float(), e(given_.float()), atol=1e-2, rtol=0)
    noise = torch.rand(2, 3, 40, 48, dtype=torch.float64) * 2 - 1
    assert torch.equal(e(noise.to(dtype), strength=0), noise.to(dtype))
    assert e(given_, blend=False).dtype == dtype
    e.edit(given_)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x: (x + 1) * 127.5, r"reach from .* to .*x / 127.5 - 1"),
        (lambda x: ((x + 1) * 127.5).byte(), r"of uint8; of 0 to 255"),
        (lambda x: x.long(), "of int64"),
        (lambda x: x * float("nan"), r"lie in \[-1, 1\]"),
        (lambda x: x[0], r"\(B, 3, H, W\)"),
        (lambda x: x[:, :1], r"\(B, 3, H, W\)"),
        (lambda x: x.numpy(), "not a ndarray; PIL.Image.fromarray"),
        (lambda x: [*x], "not a Tensor in a list; torch.stack"),
        (lambda x: None, "not a NoneType"),
        (lambda x: "nowhere.png", "no such file: nowhere.png"),
        (lambda x: "e.safetensors", "sdd.Editor.load"),
        (lambda x: [["a.png"]], "not a list"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(images, make, match):
    with pytest.raises(SddError, match=match) as error:
        editor()(make(images))
    assert "\n" not in str(error.value)


def test_what_takes_tensors_alone_says_so(pictures):
    e = editor()
    for call in (e.edit, Editor.compose([e]).open):
        with pytest.raises(SddError, match=r"takes a tensor.*sdd\.open"):
            call(pictures[0])


def test_values_as_of_another_convention_are_told(images):
    with pytest.warns(UserWarning, match=r"2 \* x - 1"):
        given.check(images / 2 + 0.5)


# Strengths


def test_a_strength_for_each_picture(images, pictures):
    e, each = editor(scale=0.3), [0.0, 0.5, 1.0, -0.5, 2.0]
    alone = torch.cat([e(images[i : i + 1], strength=s) for i, s in enumerate(each)])
    for strengths in (each, torch.tensor(each), np.array(each)):
        torch.testing.assert_close(e(images, strength=strengths), alone, atol=1e-4, rtol=0)
    torch.testing.assert_close(e(images, strength=each, batch=2), alone, atol=1e-4, rtol=0)
    assert torch.equal(e(images, strength=each)[0], images[0])
    mixed = [pictures[0], drawn("RGB"), pictures[1]]
    for one, s, picture in zip(e(mixed, strength=[0.5, 0.0, 1.0]), (0.5, 0.0, 1.0), mixed, strict=True):
        assert np.abs(np.asarray(one).astype(int) - np.asarray(e(picture, strength=s))).max() <= 1
    torch.testing.assert_close(e(images, strength=torch.tensor(0.5)), e(images, strength=0.5))


@pytest.mark.parametrize(
    ("strength", "match"),
    [
        ([1.0, 2.0], "2 strengths were given for 5 pictures"),
        ([1.0] * 4 + [float("inf")], "finite"),
        ("much", "numbers"),
        (["a"] * 5, "numbers"),
        (torch.zeros(5, 2), "shape"),
    ],
)
def test_strengths_that_fit_nothing(images, strength, match):
    with pytest.raises(SddError, match=match):
        editor()(images, strength=strength)


# Composing, encoding, moving


def test_a_sum_of_editors_is_their_composition(images):
    a, b = editor(1, scale=0.3), editor(2, scale=0.3)
    wanted = Editor.compose([a, b])
    assert torch.equal((a + b)(images), wanted(images))
    assert torch.equal((a + b + a)(images), Editor.compose([a, b, a])(images))
    assert torch.equal((a + (b + a))(images, [1, 2, 3]), Editor.compose([a, b, a])(images, [1, 2, 3]))
    each = torch.linspace(0, 1, 5)
    torch.testing.assert_close((a + b)(images, each), (a + b)(images, [each, each.tolist()]))
    with pytest.raises(TypeError):
        a + 1


def test_encode_and_draw_are_the_call_in_two_steps(images, pictures):
    e = editor()
    torch.testing.assert_close(e.draw(e.encode(images), 0.5), e(images, strength=0.5, blend=False))
    y = e.encode(pictures)
    assert len(y) == 5
    each = [0.0, 1.0, 2.0, 0.5, -1.0]
    assert torch.equal(e.draw(y, each)[1:2], e.draw(y[1:2], 1.0)) or torch.allclose(
        e.draw(y, each)[1:2], e.draw(y[1:2], 1.0), atol=1e-4
    )


def test_moving_to_a_precision_or_to_no_device_is_one_sentence(images):
    e = editor()
    with pytest.raises(SddError, match="computes in float32"):
        e.to(torch.float16)
    if not torch.cuda.is_available():
        with pytest.raises(SddError, match="no device 'cuda'"):
            e.to("cuda")
    assert e.to("cpu") is e and e(images).shape == images.shape


# Files and sheets


def test_open_and_save(images, pictures, tmp_path):
    path = sdd.save(images[0], tmp_path / "one.png")
    assert torch.allclose(sdd.open(path), images[:1], atol=1 / 127)
    written = sdd.save(images, tmp_path / "many")
    assert [p.name for p in written] == [f"{i:04d}.png" for i in range(5)]
    assert torch.allclose(sdd.open(tmp_path / "many"), images, atol=1 / 127)
    assert sdd.save(drawn("CMYK"), tmp_path / "c.png").exists()
    assert sdd.open([path, sdd.save(drawn("RGB"), tmp_path / "w.png")], size=64).shape == (2, 3, 64, 64)
    for bad, match in (
        (lambda: sdd.open([path, tmp_path / "w.png"]), "size="),
        (lambda: sdd.open("x.safetensors"), "Editor.load"),
        (lambda: sdd.save(images, tmp_path / "x.png"), "5 pictures"),
        (lambda: sdd.save(images[0], tmp_path / "x.jpg"), "as PNG"),
        (lambda: sdd.save([], tmp_path), "no pictures"),
        (lambda: sdd.save("x", tmp_path / "x.png"), "not a str"),
    ):
        with pytest.raises(SddError, match=match):
            bad()


def test_editors_are_compared_side_by_side(images, pictures):
    a, b = editor(1), editor(2, prompt="smile")
    sheet = sdd.compare(pictures[:2], [a, b, a + b])
    plain = sdd.compare(images[:2], {"one": a, "two": b, "both": a + b}, size=SIZE)
    assert sheet.size == plain.size and sheet.width == 4 * (SIZE + 4) + 4
    corner = np.asarray(sheet)[4 : 4 + SIZE, 4 : 4 + SIZE]
    assert np.abs(corner.astype(int) - np.asarray(pictures[0])).max() <= 1
    second = np.asarray(sheet)[4 : 4 + SIZE, SIZE + 8 : 2 * SIZE + 8]
    assert np.abs(second.astype(int) - np.asarray(a(pictures[0]))).max() <= 1
    assert sdd.compare([drawn("RGB"), pictures[0]], a, strength=[0.5, 1.0]).width == 3 * (SIZE + 4) + 4
    with pytest.raises(SddError, match="no editor"):
        sdd.compare(images, [])
