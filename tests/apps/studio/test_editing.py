"""What the first tab shows and saves, without a page."""

import base64
import io
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from hostile import bomb, bounded
from sdd.apps.cli.main import app
from sdd.apps.studio import editing, limits, subject, values
from sdd.apps.studio.shelf import Shelf
from sdd.apps.studio.subject import Subject, random_subject
from sdd.domains import library
from sdd.editor import Editor, EditorInfo
from sdd.errors import SddError
from sdd.io.pictures.write import from_tensor
from sdd.nets.mapper_kinds import build_mapper
from toy import STYLE_DIM, toy_domain

ALL = ["coarse", "medium", "fine"]
CPU = torch.device("cpu")


def make_editor(path, domain=None, seed=0):
    domain = domain or toy_domain()
    mapper = build_mapper({"kind": "levels", "n_latent": domain.generator.n_latent, "style_dim": STYLE_DIM})
    random = torch.Generator().manual_seed(seed)
    for parameter in mapper.parameters():
        parameter.data.normal_(0, 0.1, generator=random)
    described = {"kind": "stylegan", "mapper": mapper.config()}
    info = EditorInfo(prompt="x", domain="toy", generator=domain.stylegan.generator_hash, manipulator=described)
    Editor(mapper, info, domain).save(path)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder with two editors of the toy domain, which is the working folder."""
    toy, real = replace(toy_domain(), expected_psnr=None), library.get
    monkeypatch.setattr(library, "get", lambda name, device="cpu": toy if name == "toy" else real(name, device))
    monkeypatch.setattr(library, "names", lambda: ["avatars", "toy"])
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    make_editor("a.safetensors")
    make_editor("b.safetensors", seed=1)
    return Shelf([Path()], toy, CPU)


def picture_file(size=(48, 32), mode="RGB", form="PNG", **how):
    tensor = toy_domain().images(1, 5, "test")[0]
    picture = from_tensor(tensor).resize(size).convert(mode)
    file = io.BytesIO()
    picture.save(file, form, **how)
    return file.getvalue()


def controls(*names, strengths=(1.0, 1.0), levels=ALL, blend=True):
    names, strengths = [*names, *["none"] * 4][:4], [*strengths, 1.0, 1.0, 1.0, 1.0][:4]
    return [*names, *strengths, levels, blend]


def decoded(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


@pytest.mark.parametrize(
    "asked",
    [
        controls("a"),
        controls("b", strengths=[-0.65]),
        controls("a", "b", strengths=[0.5, 1.75], levels=["fine", "coarse"]),
        controls("none", "b", strengths=[0.3, 0.3]),
        controls("a", blend=False),
    ],
)
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "JPEG"])
def test_the_download_is_what_the_command_line_writes(shelf, asked, kind):
    data = picture_file(form="JPEG") if kind == "JPEG" else picture_file(mode=kind)
    name = "my picture.jpg" if kind == "JPEG" else "me.png"
    picture = Subject(data, f"/somewhere/{name}")
    drawn = editing.edit(picture, asked, shelf)
    saved, called = editing.save(picture, asked, shelf)
    Path(name).write_bytes(data)
    command = shlex.split(drawn.command)
    assert command[0] == "sdd" and "error" not in drawn.said
    result = CliRunner().invoke(app, [*command[1:], "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert Path("edited", called).read_bytes() == saved
    if kind != "RGBA":  # what is shown of a small picture is what is saved, where nothing is transparent
        import json

        after = decoded(json.loads(drawn.pair)["after"])
        assert np.array_equal(after, np.asarray(Image.open(io.BytesIO(saved)).convert("RGB")))
        assert np.array_equal(decoded(json.loads(drawn.pair)["before"]), np.asarray(picture.before))


def test_a_random_picture_is_that_of_sample(shelf):
    taken = random_subject(replace(library.get("toy"), name="avatars"), 5)
    drawn = editing.edit(taken, controls("none"), shelf)
    assert drawn.command == "" and taken.size == (128, 128)
    shown = editing.command(taken, editing.of_controls(controls("a", strengths=[0.5])), shelf)
    first, second = shown.split(" && ")
    assert CliRunner().invoke(app, shlex.split(first)[1:]).exit_code == 0
    assert Path(shlex.split(second)[2]).read_bytes() == taken.data


def test_a_picture_is_encoded_once(shelf, monkeypatch):
    """Whatever is dragged, and whichever editors of one domain are chosen."""
    backbone, calls = toy_domain().stylegan, []
    forward = type(backbone.encoder).forward
    monkeypatch.setattr(type(backbone.encoder), "forward", lambda self, x: calls.append(len(x)) or forward(self, x))
    picture = Subject(picture_file(), "me.png")
    pairs = [editing.edit(picture, controls("a", strengths=[s]), shelf).pair for s in (0.5, 1.0, 2.0)]
    editing.edit(picture, controls("b", "a"), shelf)
    assert calls == [1] and len({*pairs}) == 3


def test_a_large_picture_is_shown_small_and_saved_whole(shelf):
    size = (900, 700)
    picture = Subject(picture_file(size, form="JPEG", quality=70), "me.jpg")
    assert picture.size == size and max(picture.before.size) == subject.SHOWN
    live, _ = picture.edited(shelf.together(["a"]), [1.0], None, True)
    saved = Image.open(io.BytesIO(picture.saved(shelf.together(["a"]), [1.0], None, True)))
    assert saved.size == size
    small = np.asarray(saved.resize(live.size, Image.Resampling.BOX), dtype=float)
    assert np.abs(small - np.asarray(live, dtype=float)).mean() < 4  # of 255: the same edit, in another size


def test_what_is_wrong_is_said_in_a_sentence(shelf):
    picture = Subject(picture_file(), "me.png")
    assert "Drop a picture" in editing.edit(None, controls("a"), shelf).said
    assert "Choose an editor" in editing.edit(picture, controls("none"), shelf).said
    wrong = [
        (controls("../a"), "no editor"),
        (controls("/etc/passwd"), "no editor"),
        (controls("<b>"), "&lt;b&gt;"),
        (controls("a", levels=[]), "at least one of coarse"),
        (controls("a", strengths=[float("nan")]), "strength"),
        (controls("a", strengths=[1e9]), "strength"),
        (controls("a", strengths=["1"]), "strength"),
        (controls("a", levels=None), "at least one"),
    ]
    for asked, said in wrong:
        drawn = editing.edit(picture, asked, shelf)
        assert drawn.pair is None and said in drawn.said and "error" in drawn.said
        with pytest.raises(SddError):
            editing.save(picture, asked, shelf)
    with pytest.raises(SddError, match="no edit"):
        editing.save(None, controls("a"), shelf)
    with pytest.raises(SddError, match="no edit"):
        editing.save(picture, controls("none"), shelf)


def as_url(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (None, "no picture"),
        (7, "no picture"),
        ("/etc/passwd", "no picture"),
        ("data:image/png;base64,####", "no picture"),
        ("data:image/png;base64,", "empty"),
        (as_url(b"hello"), "not a picture"),
        (as_url(picture_file()[:-40]), "broken"),
        (as_url(bomb(60_000, 60_000)), "too large"),
        (as_url(bomb(5_000, 5_000)), "too large"),
        (as_url(bytes(limits.MAX_BYTES + 1)), "too large"),
    ],
)
def test_no_picture_is_one_sentence(sent, said):
    with bounded(), pytest.raises(SddError, match=said) as error:
        Subject(limits.received(sent), "/home/someone/evil\n.png")
    assert "/tmp" not in str(error.value) and "/home" not in str(error.value)


def test_names_are_words():
    assert limits.display_name("C:\\pictures\\me.png") == "me.png" == limits.display_name("../../me.png")
    assert limits.display_name("-rf.png") == "rf.png" and limits.display_name("") == "picture.png"
    assert limits.display_name("a\x1b[2Jb\n.png") == "a[2Jb .png" and len(limits.display_name("x" * 10**6)) <= 80
    assert limits.display_name(None) == "None"


def test_text_is_escaped():
    assert "<script>" not in values.sentence("<script>") + values.bar(2, "<script>")
    assert "<script>" not in values.figures([(None, "<script>", "<script>")]) and values.sentence("") == ""


# The shelf


def test_editors_come_from_the_folders_alone(shelf, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    make_editor(other / "a.safetensors", seed=2)
    (other / "broken.safetensors").write_bytes(b"no editor")
    both = Shelf([tmp_path, other], toy_domain(), CPU)
    assert both.names() == ["a", "b", "a (other)"] and len(both.broken()) == 1
    assert both.path("a (other)") == other / "a.safetensors"
    for name in ("other/a", "../a", "broken", str(other / "a.safetensors")):
        with pytest.raises(SddError, match="no editor"):
            both.path(name)
    with pytest.raises(SddError, match="no folder"):
        Shelf([tmp_path / "missing"], toy_domain(), CPU)


def test_an_editor_that_changed_is_read_again(shelf):
    picture = Subject(picture_file(), "me.png")
    before = editing.edit(picture, controls("a"), shelf).pair
    assert shelf.together(["a"]) is shelf.together(["a"])
    make_editor("a.safetensors", seed=7)
    assert editing.edit(picture, controls("a"), shelf).pair != before
    Path("a.safetensors").unlink()
    assert shelf.names() == ["b"] and "no editor" in editing.edit(picture, controls("a"), shelf).said
