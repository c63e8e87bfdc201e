"""Every kind of picture comes in as the same colours; broken, hostile and missing ones get one sentence."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hostile import bomb, bounded
from sdd.errors import SddError
from sdd.io.files import check_target
from sdd.io.pictures.crop import crop, quads
from sdd.io.pictures.folder import Source, find, output_paths
from sdd.io.pictures.read import open_image, open_layers, read_fitted, read_image
from sdd.io.pictures.shape import Fit, resize, square
from sdd.io.pictures.write import grid, save_png


def sentence(error: pytest.ExceptionInfo[SddError]) -> str:
    text = str(error.value)
    assert text and "\n" not in text and "Traceback" not in text
    return text


def scene(width: int = 40, height: int = 24) -> Image.Image:
    """A smooth picture without a symmetry, so that every rotation and flip shows."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 6, y * 10, 255 - x * 3 - y * 2], -1).astype(np.uint8))


def test_rgb_is_exact(tmp_path: Path) -> None:
    scene().save(tmp_path / "a.png")
    tensor = read_image(tmp_path / "a.png")
    assert tensor.shape == (3, 24, 40) and tensor.dtype == torch.float32
    expected = torch.from_numpy(np.array(scene())).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.equal(tensor, expected)
    save_png(tensor, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"
    assert torch.equal(read_image(tmp_path / "b.png"), tensor)


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [("P", "png", 40), ("RGBA", "png", 0), ("CMYK", "tif", 1), ("YCbCr", "tif", 3), ("LAB", "tif", 12),
     ("RGBX", "tif", 0), ("RGB", "webp", 9), ("RGB", "jpg", 9), ("RGB", "gif", 40), ("RGB", "bmp", 0),
     ("RGB", "tga", 0), ("RGB", "ppm", 0)],
)  # fmt: skip
def test_colour_modes(tmp_path: Path, mode: str, suffix: str, tolerance: int) -> None:
    picture = scene()
    if mode == "LAB":
        from PIL import ImageCms

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.applyTransform(picture, ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))  # type: ignore[assignment]
        assert picture is not None
    elif mode != "RGB":
        picture = picture.convert(mode)
    path = tmp_path / f"a.{suffix}"
    picture.save(path, **({"quality": 95} if suffix in ("jpg", "webp") else {}))
    opened = open_image(path)
    assert opened.mode == "RGB" and opened.size == (40, 24)
    if mode != "LAB":  # Pillow reads Lab back without a profile; its colours are its own affair
        difference = np.abs(np.array(opened).astype(int) - np.array(scene()).astype(int))
        assert difference.mean() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I;16B", "I", "F", "PA"])
def test_greys(tmp_path: Path, mode: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 32).round().astype(np.uint8), (8, 1))
    grey = Image.fromarray(ramp)
    path = tmp_path / "a.png"
    if mode in ("I;16", "I;16B", "I"):
        wide = ramp.astype(np.uint16) * 257
        if mode == "I;16":
            Image.fromarray(wide).save(path)
        elif mode == "I;16B":
            path = tmp_path / "a.tif"
            Image.frombytes("I;16B", (32, 8), wide.astype(">u2").tobytes()).save(path)
        else:
            path = tmp_path / "a.tif"
            Image.fromarray(wide.astype(np.int32)).save(path)
    elif mode == "F":
        path = tmp_path / "a.tif"
        Image.fromarray(ramp.astype(np.float32) / 255).save(path)
    else:
        grey.convert("L" if mode == "PA" else mode).save(path)
    opened = np.array(open_image(path)).astype(int)
    assert opened.shape == (8, 32, 3) and (opened == opened[..., :1]).all()
    if mode == "1":
        assert set(np.unique(opened)) == {0, 255}
    else:
        assert np.abs(opened[..., 0] - ramp).max() <= 1


def test_sixteen_bit_level_that_means_transparent(tmp_path: Path) -> None:
    values = np.full((4, 4), 10000, np.uint16)
    values[0, 0] = 77
    Image.fromarray(values).save(tmp_path / "a.png", transparency=77)
    assert open_image(tmp_path / "a.png", "red").getpixel((0, 0)) == (255, 0, 0)
    assert open_image(tmp_path / "a.png", "red").getpixel((2, 2)) == (39, 39, 39)


def test_alpha_falls_on_the_background(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    picture.putpixel((3, 3), (0, 0, 255, 255))
    picture.putpixel((4, 4), (0, 0, 255, 128))
    picture.save(tmp_path / "a.png")
    white = open_image(tmp_path / "a.png")
    assert white.getpixel((0, 0)) == (255, 255, 255) and white.getpixel((3, 3)) == (0, 0, 255)
    assert white.getpixel((4, 4)) == (127, 127, 255)
    assert open_image(tmp_path / "a.png", "#b6e3f4").getpixel((0, 0)) == (0xB6, 0xE3, 0xF4)
    with pytest.raises(SddError) as error:
        open_image(tmp_path / "a.png", "no colour")
    assert "no colour" in sentence(error)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_alpha_channel_is_kept_though_nothing_is_transparent(tmp_path: Path, mode: str) -> None:
    scene().convert(mode).save(tmp_path / "a.png")
    seen, layer = open_layers(tmp_path / "a.png")
    assert seen.mode == "RGB" and (layer.mode if layer else "RGB") == mode


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colour_without_alpha_channel(tmp_path: Path, mode: str) -> None:
    picture = Image.new(mode, (4, 4), 0)
    transparency: int | tuple[int, int, int] = (0, 0, 0) if mode == "RGB" else 0
    picture.save(tmp_path / "a.png", transparency=transparency)
    assert open_image(tmp_path / "a.png").getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, orientation: int) -> None:
    upright = scene()
    undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.array(open_image(tmp_path / "a.png")), np.array(upright))


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert open_image(tmp_path / name).getpixel((4, 4)) == (255, 0, 0)


def test_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(40_000, 40_000))
    with pytest.raises(SddError, match="too large") as error:
        open_image(tmp_path / "bomb.png")
    sentence(error)


def test_truncated_anywhere(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "webp", "gif", "tif", "bmp"):
        whole = io.BytesIO()
        scene(200, 160).save(whole, format={"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
        data = whole.getvalue()
        for percent in (0, 1, 5, 20, 50, 80):
            path = tmp_path / f"a.{suffix}"
            path.write_bytes(data[: len(data) * percent // 100])
            with pytest.raises(SddError) as error:
                open_image(path)
            assert str(path) in sentence(error)


def test_not_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    (tmp_path / "a.svg").write_text("<svg/>")
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("a.png", "a.svg", "a.eps", "missing.png", "pipe.png", "."):
        with pytest.raises(SddError) as error:
            open_image(tmp_path / name)
        assert str(tmp_path) in sentence(error)


@pytest.mark.parametrize("size", [64, 100, 128, 300, 1024])
def test_fitting_any_size(tmp_path: Path, size: int) -> None:
    scene(size, size + 30).save(tmp_path / "a.png")
    for how in ("pad", "crop"):
        fitted = read_fitted(tmp_path / "a.png", 128, how)  # type: ignore[arg-type]
        assert fitted.shape == (3, 128, 128) and fitted.abs().max() <= 1


def test_crop_and_pad_are_central() -> None:
    image = torch.full((3, 6, 10), -1.0)
    image[:, :, 4:6] = 1.0
    assert torch.equal(square(image, "crop"), image[:, :, 2:8])
    padded = square(image, "pad")
    assert padded.shape == (3, 10, 10)
    assert torch.equal(padded[:, 2:8], image)
    assert (padded[:, :2] == -1).all() and (padded[:, 8:] == -1).all()  # the picture's own background


def test_resize_is_differentiable_and_keeps_constants() -> None:
    image = torch.full((1, 3, 32, 32), 0.3, requires_grad=True)
    for size in (16, 32, 50):
        small = resize(image, size)
        assert small.shape[-2:] == (size, size) and torch.allclose(small, torch.full_like(small, 0.3), atol=1e-5)
        small.sum().backward()
    assert image.grad is not None and torch.isfinite(image.grad).all()


def test_saving_refuses_what_is_no_picture(tmp_path: Path) -> None:
    for bad in (torch.full((3, 4, 4), float("nan")), torch.zeros(4, 4), torch.zeros(1, 4, 4)):
        with pytest.raises(SddError):
            save_png(bad, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_png(torch.zeros(3, 4, 4), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(SddError, match="No space left") as error:
        save_png(torch.ones(3, 4, 4), tmp_path / "a.png")
    sentence(error)
    assert (tmp_path / "a.png").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_grid_has_the_shape_asked_for() -> None:
    sheet = grid([torch.zeros(3, 20, 30)] * 5, columns=3, gap=2)
    assert sheet.size == (3 * 32 + 2, 2 * 22 + 2)
    labelled = grid([torch.zeros(3, 20, 30)] * 2, labels=["one", "a label far too long for its picture"])
    assert labelled.height > 20 + 8
    with pytest.raises(SddError):
        grid([])
    with pytest.raises(SddError):
        grid([torch.zeros(3, 4, 4)], labels=[])


def test_folders_are_listed_in_order_without_the_output(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/a.png", "out/old.png", ".hidden.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    found = find([tmp_path, tmp_path / "b.png"], skip=tmp_path / "out")
    assert [str(source.name) for source in found] == ["a.JPG", "b.png", "sub/a.png"]
    with pytest.raises(SddError, match="no such"):
        find([tmp_path / "missing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SddError, match="no pictures"):
        find([tmp_path / "empty"])


def test_outputs_never_meet_an_input_or_each_other(tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "a.webp", "x/a.png", "y/a.png", "b.jpg", "c.tar.png"]
    sources = [Source(tmp_path / name, Path(Path(name).name)) for name in names]
    for folder in (tmp_path, tmp_path / "out", tmp_path / "x"):
        outputs = output_paths(sources, folder)
        assert len({str(path).casefold() for path in outputs}) == len(names)
        assert not set(outputs) & {source.path for source in sources}
        assert all(path.suffix == ".png" and path.parent == folder for path in outputs)
    outside = output_paths(sources, tmp_path / "out")
    assert [path.name for path in outside[:3]] == ["a.png", "a.jpg.png", "a.webp.png"]
    assert outside[5].name == "b.png" and outside[6].name == "c.tar.png"
    assert output_paths(sources[:1], tmp_path)[0].name == "a-edited.png"


# --- hostile ones ---


@pytest.mark.parametrize(("width", "height"), [(1, 178_956_970), (178_956_970, 1), (70_000, 2), (6000, 6000)])
def test_sides_and_sizes_that_no_file_of_some_bytes_has(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(width, height))
    with bounded(64 << 20), pytest.raises(SddError, match=r"too large|as no photo") as error:
        open_image(tmp_path / "bomb.png")
    sentence(error)


@pytest.mark.parametrize("how", ["pad", "crop"])
@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 20_000)])
def test_long_and_narrow_pictures_take_no_square_of_their_length(
    tmp_path: Path, size: tuple[int, int], how: Fit
) -> None:
    Image.new("RGB", size, "red").save(tmp_path / "a.png")
    with bounded(256 << 20):
        assert read_fitted(tmp_path / "a.png", 128, how).shape == (3, 128, 128)


def test_large_pictures_are_not_held_several_times(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (100, 4000), np.uint16)
    Image.fromarray(np.tile(noise, (40, 1))).save(tmp_path / "a.png", compress_level=1)
    with bounded(160 << 20):  # 16 megapixels: 32 MB as they are, 64 as RGB
        assert open_image(tmp_path / "a.png").size == (4000, 4000)


def test_formats_that_other_programs_draw_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(SddError, match="not a picture"):
        open_image(tmp_path / "a.png")


def test_a_jpeg_of_ten_thousand_scans(tmp_path: Path) -> None:
    """Each scan of a progressive JPEG is a pass over all of the picture, and takes a few bytes of the file."""
    file = io.BytesIO()
    Image.new("RGB", (4000, 3900), "red").save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(data[:last] + data[last:-2] * 10_000 + b"\xff\xd9")
    with bounded(256 << 20), pytest.raises(SddError, match="scans"):
        open_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(data)
    assert open_image(tmp_path / "a.jpg").size == (4000, 3900)


def test_boxes_far_outside_take_no_memory(tmp_path: Path) -> None:
    photo = scene(200, 100)
    for box in ((0, 0, 1e9, 1e9), (-1e300, 0, 10, 10), (0, 0, float("inf"), 10), (-900, -900, 900, 900)):
        with bounded(64 << 20), pytest.raises(SddError):
            crop(photo, quads(photo, "centre", box=box)[0], None, 64)
    large = Image.new("RGB", (5000, 5000), "red")
    with bounded(640 << 20):  # a large photo, all of it
        assert crop(large, quads(large, "centre")[0], None, 64).shape == (3, 64, 64)


def test_names_and_links_that_lead_nowhere(tmp_path: Path) -> None:
    scene().save(tmp_path / "a.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    sources = find([tmp_path])
    assert [source.path.name for source in sources] == ["a.png", "gone.png", "loop.png"]
    assert len(set(output_paths(sources, tmp_path / "out"))) == 3
    for name in ("loop.png", "gone.png", "x" * 300 + ".png", "a\0.png"):
        with pytest.raises(SddError) as error:
            open_image(tmp_path / name)
        sentence(error)
    with pytest.raises(SddError, match="no such"):
        find([tmp_path / ("x" * 300)])


# --- outputs ---


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    save_png(torch.zeros(3, 4, 4), tmp_path / ("x" * 251 + ".png"))
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


def test_an_output_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(b"kept")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    before = {path: path.lstat().st_mode for path in tmp_path.iterdir()}
    names = {"link.png": "a link", "broken.png": "a link", "folder.png": "a folder", "pipe.png": "a pipe"}
    for name, what in names.items():
        with pytest.raises(SddError, match=f"is {what}, which is not overwritten"):
            save_png(torch.zeros(3, 4, 4), tmp_path / name)
    with pytest.raises(SddError, match="is a device, which is not overwritten"):
        check_target("/dev/full")
    assert {path: path.lstat().st_mode for path in tmp_path.iterdir()} == before
    assert (tmp_path / "real.png").read_bytes() == b"kept"


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    old, new = tmp_path / ".sdd-old.part", tmp_path / ".sdd-new.part"
    for path in (old, new, tmp_path / "mine.part"):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    os.utime(tmp_path / "mine.part", (0, 0))
    save_png(torch.zeros(3, 4, 4), tmp_path / "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".sdd-new.part", "a.png", "mine.part"]
