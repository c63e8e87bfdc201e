"""The command line on a toy domain: what it writes, and one sentence and an exit code for all it refuses."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from hostile import bomb
from sdd.apps import terminal
from sdd.apps.cli.main import app
from sdd.domains import library
from sdd.domains.domain import Domain
from sdd.editor import Editor, EditorInfo
from sdd.io import load
from sdd.io.pictures.read import open_image, read_image
from sdd.io.pictures.write import save_png
from sdd.manipulators.protocol import Prepared
from sdd.nets.mapper_kinds import build_mapper
from sdd.teachers.load import load_teacher
from sdd.training.config import DistillConfig
from toy import SIZE, STYLE_DIM, ToyTeacher, toy_domain

COMMANDS = (
    "search", "train", "edit", "bulk", "compare", "methods", "show", "export", "studio", "sample", "demo", "words",
    "import", "inspect", "models", "domain add", "domain list", "domain show", "domain remove", "bench people",
    "bench submit", "eval",
)  # fmt: skip
QUICK = ("--domain", "toy", "--device", "cpu", "--set", "images=12", "--set", "hidden=16", "--set", "scale=2")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The toy domain among the saved ones, its teacher, an empty home, and a folder of our own to work in."""
    real_get, real_names = library.get, library.names

    def get(name: str, device: Any = "cpu") -> Domain:
        # Its own pictures invert at some 40 dB; said so, anything else is told apart as in the real domains.
        return replace(toy_domain(), expected_psnr=40.0) if name == "toy" else real_get(name, device)

    monkeypatch.setattr(library, "get", get)
    monkeypatch.setattr(library, "names", lambda: [*real_names(), "toy"])
    for place in ("sdd.teachers.load.load_teacher", "sdd.training.distil.load_teacher"):
        monkeypatch.setattr(place, lambda *_, **__: ToyTeacher())
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output and "should not have happened" not in result.output
    return result


def refused(*arguments: object, code: int = 2) -> str:
    """Run what must be refused: one sentence, the right code, nothing written in the working folder."""
    before = everything()
    result = run(*arguments)
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sdd: ") and result.stdout == "", result.output
    assert everything() == before
    return lines[0]


def everything() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def make_editor(path: str, domain: Any = None, seed: int = 0, **info: Any) -> Path:
    domain = domain or toy_domain()
    mapper = build_mapper({"kind": "levels", "n_latent": domain.generator.n_latent, "style_dim": STYLE_DIM})
    random = torch.Generator().manual_seed(seed)
    for parameter in mapper.parameters():
        parameter.data.normal_(0, 0.1, generator=random)
    facts = {"prompt": "more red", "domain": "toy", "generator": domain.stylegan.generator_hash}
    facts |= {"manipulator": {"kind": "stylegan", "mapper": mapper.config()}}
    facts |= {"timesteps": [500], "hqs": {"timesteps": [100, 500, 900], "hqs": [0.1, 0.9, 0.3]}, **info}
    Editor(mapper, EditorInfo(**facts), domain).save(path)
    return Path(path)


def make_pictures(n: int, folder: str = "in") -> list[Path]:
    pictures = toy_domain().images(n, 5, "test")
    return [save_png(picture, Path(folder) / f"p{index:03d}.png") for index, picture in enumerate(pictures)]


# What it does


def test_edit_one_picture() -> None:
    (picture,) = make_pictures(1)
    before = picture.read_bytes()
    result = run("edit", picture, "-e", make_editor("e.safetensors"), "-o", "out", "--strength", "-0.5")
    assert result.exit_code == 0, result.output
    assert "out/p000.png" in result.stdout and "dB" in result.stdout
    expected = Editor.load("e.safetensors", toy_domain())(read_image(picture)[None], strength=-0.5)[0]
    assert torch.allclose(read_image("out/p000.png"), expected, atol=1.01 / 127.5)
    assert picture.read_bytes() == before


def test_edit_in_place_keeps_the_input() -> None:
    (picture,) = make_pictures(1)
    before = picture.read_bytes()
    assert run("edit", picture, "-e", make_editor("e.safetensors"), "-o", "in").exit_code == 0
    assert picture.read_bytes() == before and Path("in/p000-edited.png").exists()


def test_several_editors_and_levels() -> None:
    (picture,) = make_pictures(1)
    one, two = make_editor("a.safetensors"), make_editor("b.safetensors", seed=1)
    arguments = ("edit", picture, "-e", one, "-e", two, "--strength", "0.5", "--strength", "2", "--levels", "medium")
    assert run(*arguments).exit_code == 0
    both = Editor.compose([Editor.load(path, toy_domain()) for path in (one, two)])
    expected = both(read_image(picture)[None], [0.5, 2.0], ("medium",))[0]
    assert torch.allclose(read_image("edited/p000.png"), expected, atol=1.01 / 127.5)


def test_folder_with_three_broken_pictures_of_a_hundred() -> None:
    pictures = make_pictures(100)
    pictures[7].write_bytes(pictures[7].read_bytes()[:200])
    pictures[40].write_text("not a picture")
    pictures[99].write_bytes(bomb(40_000, 40_000))
    result = run("edit", "in", "-e", make_editor("e.safetensors"), "-o", "out")
    assert result.exit_code == 1
    assert len(list(Path("out").iterdir())) == 97
    lines = [line for line in result.stderr.splitlines() if line.startswith("sdd: ")]
    assert len(lines) == 3 and all(str(pictures[i]) in line for i, line in zip((7, 40, 99), lines, strict=True))
    assert "97 of 100" in result.stdout


def test_a_picture_keeps_its_size_and_what_lies_around_the_edit() -> None:
    wide = torch.nn.functional.interpolate(toy_domain().images(1, 5, "test"), (90, 140), mode="bilinear")
    source = save_png(wide[0], "in/wide.png")
    arguments = ("edit", source, "-e", make_editor("e.safetensors"), "--box", "20,10,84,74", "--strength", "8")
    assert run(*arguments).exit_code == 0
    before, after = read_image(source), read_image("edited/wide.png")
    assert after.shape == before.shape
    changed = (before != after).any(0)
    assert changed[10:74, 20:84].any()
    changed[10:74, 20:84] = False
    assert not changed.any()


def test_a_picture_of_another_kind_is_edited_with_a_warning() -> None:
    board = (torch.arange(64)[:, None] // 2 + torch.arange(64) // 2) % 2 * 2.0 - 1
    picture = save_png(board.expand(3, -1, -1), "in/board.png")
    result = run("edit", picture, "-e", make_editor("e.safetensors"))
    assert result.exit_code == 0 and Path("edited/board.png").exists(), result.output
    (warning,) = result.stderr.strip().splitlines()
    assert warning.startswith("warning: ") and "dB" in warning and "board.png" in warning
    assert "unusual framing" in warning and "--refine" in warning


def test_many_pictures_of_another_kind_are_one_warning() -> None:
    board = (torch.arange(64)[:, None] // 2 + torch.arange(64) // 2) % 2 * 2.0 - 1
    for index in range(8):
        save_png(board.expand(3, -1, -1).roll(index, -1), f"in/board{index}.png")
    make_pictures(1)
    result = run("edit", "in", "-e", make_editor("e.safetensors"), "-o", "out")
    (warning,) = result.stderr.strip().splitlines()
    assert warning.startswith("warning: 8 pictures invert") and "and 3 more" in warning and "p000.png" not in warning
    assert "unusual framing" in warning and "--refine" in warning


def test_train_writes_an_editor_and_resumes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("train", "more red", *QUICK, "--steps", "6", "--timesteps", "500", "--run", "r")
    result = run(*arguments, "-o", "whole.safetensors")
    assert result.exit_code == 0 and "6 steps at t = 500 in" in result.stdout
    said = Editor.load("whole.safetensors").info
    assert said.timesteps == [500]
    # How it went is said in plain words, and by the file.
    assert "held-out pictures change" in result.stdout and {"changed", "area", "outside"} <= set(said.figures)

    def interrupted(self: ToyTeacher, *arguments: Any) -> Any:
        if Path("r2/checkpoint.pt").exists():
            raise KeyboardInterrupt
        return predict(self, *arguments)

    predict = ToyTeacher.predict_noise
    arguments = (*arguments[:-1], "r2", "-o", "resumed.safetensors", "--set", "checkpoint_every=1")
    with monkeypatch.context() as patched:
        patched.setattr(ToyTeacher, "predict_noise", interrupted)
        result = run(*arguments)
    assert result.exit_code == 130 and "r2" in result.stderr and "resume" in result.stderr
    assert not Path("resumed.safetensors").exists() and Path("r2/checkpoint.pt").exists()
    assert run(*arguments).exit_code == 0
    whole, resumed = load_file("whole.safetensors"), load_file("resumed.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_train_loads_its_teacher_once_for_the_training_and_the_check_up(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    for place in ("sdd.teachers.load.load_teacher", "sdd.training.distil.load_teacher"):
        monkeypatch.setattr(place, lambda *_, **__: loaded.append(1) or ToyTeacher())
    result = run("train", "more red", *QUICK, "--steps", "2", "--timesteps", "500", "-o", "e.safetensors")
    assert result.exit_code == 0 and "held-out pictures change" in result.stdout and len(loaded) == 1


def test_train_takes_a_configuration_file() -> None:
    Path("c.toml").write_text('guidance = "sds"\nsteps = 2\nlr = 0.002\ntimesteps = [500, 600]\n')
    arguments = ("train", "red", *QUICK, "--config", "c.toml", "--levels", "coarse")
    result = run(*arguments, "--set", "lr=0.004")
    assert result.exit_code == 0, result.output
    config, chosen = Editor.load("red.safetensors").info.config, Editor.load("red.safetensors").info.timesteps
    assert config is not None and chosen == [500, 600] and "t = 500, 600 in" in result.stdout
    assert (config["guidance"], config["steps"], config["lr"], config["levels"]) == ("sds", 2, 0.004, ["coarse"])


def test_unknown_words_are_named() -> None:
    result = run("train", "purple red", *QUICK, "--steps", "1", "--timesteps", "list:500")
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if line.startswith("warning: ") and "purple" in line]


def test_search_writes_a_table_json_and_a_picture() -> None:
    result = run("search", "more red", "--domain", "toy", "--points", "5", "-n", "2", "-o", "hqs")
    assert result.exit_code == 0, result.output
    scores = json.loads(Path("hqs/hqs.json").read_text())
    assert len(scores["timesteps"]) == len(scores["hqs"]) == 5
    assert all(f"{score:.4f}" in result.stdout for score in scores["hqs"])
    above = [str(t) for t, score in zip(scores["timesteps"], scores["hqs"], strict=True) if score > 0]
    assert above and f"a training takes t = {', '.join(above)} (above:0)" in result.stdout
    assert open_image("hqs/hqs.png").width > 200


def test_a_search_that_cannot_choose_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTeacher, "predict_noise", lambda self, latents, t, condition: latents)
    monkeypatch.setattr(ToyTeacher, "add_noise", lambda self, x0, noise, t: noise)
    result = run("search", "red", "--domain", "toy", "--points", "3", "-n", "1", "-o", "hqs")
    assert result.exit_code == 0 and Path("hqs/hqs.png").exists(), result.output
    assert any(line.startswith("warning: ") and "the same at every" in line for line in result.stderr.splitlines())


def test_a_seed_out_of_range_is_no_surprise() -> None:
    for command in ("train", "search"):
        for seed in (2**63, 2**62, -1):
            assert run(command, "red", "--domain", "toy", "--seed", seed).exit_code == 2
    assert everything() == {}


def test_show_says_what_the_file_says() -> None:
    path = make_editor(
        "e.safetensors", notes=["drawn by [bold]someone[/bold]"], figures={"steps": 12.0, "slope": 0.0123, "mine": 3.0},
        strength=1.21, preset="default", departures=["mask", "released code", "later"],
        timesteps=list(range(50, 800, 50)),
    )  # fmt: skip
    result = run("show", path)
    assert result.exit_code == 0, result.output
    for part in ("more red", "toy", "500", "steps 12", "▁█▂", "[bold]someone[/bold]", "mine 3"):
        assert part in result.stdout
    said = " ".join(result.stdout.split())
    assert ", ".join(map(str, range(50, 800, 50))) in said, "all timesteps"
    assert "strength 1 is 1.21 times what the network learned" in said
    assert "slope 0.0123: how much the teacher still gained" in said
    assert "mask: the guidance is listened to only where the prompt means something" in said and "later" in said
    assert json.loads(run("show", path, "--json").stdout)[0]["prompt"] == "more red"


def test_sample_avatars() -> None:
    result = run("sample", "avatars", "-n", "3", "--seed", "7", "-o", "s")
    assert result.exit_code == 0
    for name in ("s/", "s/samples.json", "s/grid.png"):
        assert f" {name}" in result.stdout and str(Path().absolute()) not in result.stdout
    listing = json.loads(Path("s/samples.json").read_text())
    assert len(listing) == 3 == len(list(Path("s").glob("avatars-*.png"))) and Path("s/grid.png").exists()
    assert [path.name for path in Path().iterdir()] == ["s"]
    from sdd.domains import avatars

    for person, entry in zip(avatars.sample(3, 7), listing, strict=True):
        assert entry["attributes"] == person.attributes and entry["caption"] == person.caption()
        assert torch.allclose(read_image(f"s/{entry['file']}"), person.render(), atol=1e-6)


def test_the_sheet_of_samples_is_not_edited_with_them() -> None:
    assert run("sample", "toy", "-n", "3", "-o", "s").exit_code == 0
    editor = make_editor("e.safetensors")
    assert run("edit", "s", "-e", editor, "-o", "out").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [f"toy-{i:04d}.png" for i in range(3)]
    assert run("edit", "s/grid.png", "-e", editor, "-o", "sheet").exit_code == 0  # named, it is what is meant
    Path("s/samples.json").unlink()
    assert run("edit", "s", "-e", editor, "-o", "all").exit_code == 0
    assert Path("all/grid.png").exists()


def test_import_makes_an_editor_of_a_published_mapper(monkeypatch: pytest.MonkeyPatch) -> None:
    # A domain whose parts have licences, one of them a teacher's, which had no part in the mapper.
    notes = ("generator ffhq: for research.", "encoder e4e-ffhq: MIT.", "teacher sd-1.5: Open RAIL-M.")
    monkeypatch.setattr(library, "get", lambda name, device="cpu": replace(toy_domain(), notes=notes))
    mapper = build_mapper({"kind": "LevelsMapper", "style_dim": STYLE_DIM}, torch.Generator().manual_seed(3))
    torch.save({"mapper": mapper.state_dict(), "optimizer": {}}, "white_hair.pt")
    assert run("import", "white_hair.pt", "--domain", "toy").exit_code == 0
    imported = Editor.load("white_hair.safetensors", toy_domain())
    assert imported.prompt == "" and any("white_hair.pt" in note for note in imported.info.notes)
    assert set(notes[:2]) <= set(imported.info.notes) and not any("RAIL" in note for note in imported.info.notes)
    assert "not known" in run("show", "white_hair.safetensors").stdout
    result = run("import", "white_hair.pt", "--domain", "toy", "--prompt", "white hair", "-o", "named.safetensors")
    assert "'white hair'" in result.stdout
    assert Editor.load("named.safetensors").prompt == "white hair"
    styleclip = {f"mapper.{name}": tensor for name, tensor in mapper.state_dict().items()}
    torch.save({"state_dict": styleclip, "opts": {"description": "a white mane"}}, "clip.pt")
    assert run("import", "clip.pt", "--domain", "toy").exit_code == 0
    clip = Editor.load("clip.safetensors").info
    assert clip.prompt == "a white mane" and clip.teacher.startswith("CLIP") and imported.info.teacher == ""
    assert "--force" in refused("import", "clip.pt", "--domain", "toy")
    decoder = {f"decoder.{name}": tensor for name, tensor in toy_domain().generator.state_dict().items()}
    torch.save({"state_dict": styleclip | decoder, "opts": {"description": "a white mane"}}, "clip.pt")
    assert load("clip.pt").warnings  # which are about the decoder that the editor leaves behind
    assert run("import", "clip.pt", "--domain", "toy", "--force").exit_code == 0
    assert Editor.load("clip.safetensors").info.notes == clip.notes
    mean = toy_domain().stylegan.latent_mean
    codes = mean + 0.1 * torch.randn(2, *mean.shape)
    edited = toy_domain().generator.synthesis(codes + 0.1 * mapper(codes)).clamp(-1, 1)
    assert torch.allclose(Editor.compose([imported]).draw(Prepared({"codes": codes})), edited, atol=1e-5)
    other = build_mapper({"kind": "LevelsMapper", "style_dim": STYLE_DIM + 1})
    torch.save(other.state_dict(), "other.pt")
    assert "does not fit" in refused("import", "other.pt", "--domain", "toy")
    assert "--generator" in refused("import", "white_hair.pt", "-o", "again.safetensors")


def test_inspect_says_what_a_file_is() -> None:
    make_editor("e.safetensors")
    result = run("inspect", "e.safetensors")
    assert result.exit_code == 0 and "editor" in result.stdout
    assert json.loads(run("inspect", "e.safetensors", "--json").stdout)["kind"] == "editor"


def test_models_lists_the_zoo() -> None:
    result = run("models")
    assert result.exit_code == 0 and "ffhq" in result.stdout and "NVIDIA" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 80  # the last line is a path
    assert "OneshotCLIP" in run("models", "ffhq").stdout
    assert [row["name"] for row in json.loads(run("models", "ffhq", "taesd", "--json").stdout)] == ["ffhq", "taesd"]
    assert "did you mean" in refused("models", "fhq")
    assert {"name", "licence", "source", "here"} <= set(json.loads(run("models", "--json").stdout)[0])


def test_words_lists_the_language_of_the_embedded_teacher() -> None:
    result = run("words")
    assert result.exit_code == 0 and max(map(len, result.stdout.splitlines())) <= 80
    for text in ("hair color", "snow-white hair", "a COLOUR beanie", "sky blue"):
        assert text in result.stdout
    found = json.loads(run("words", "--json").stdout)
    assert "white hair" in found["attributes"]["hair_color"]["white"] and "silver" in found["colours"]["hair"]


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0 and result.stdout == f"sdd {version('sdd')}\n"


def test_one_picture_into_one_file() -> None:
    one, two = make_pictures(2)
    editor = make_editor("e.safetensors")
    result = run("edit", one, "-e", editor, "-o", "new/out.png")
    assert result.exit_code == 0 and "wrote new/out.png" in result.stdout
    assert [path.name for path in Path("new").iterdir()] == ["out.png"]
    assert run("edit", one, "-e", editor, "-o", "new/out.png").exit_code == 0  # an earlier result is replaced
    Path("v1.png").mkdir()
    assert run("edit", one, two, "-e", editor, "-o", "v1.png").exit_code == 0
    assert len(list(Path("v1.png").iterdir())) == 2
    assert "2 pictures" in refused("edit", one, two, "-e", editor, "-o", "b.png")
    assert "as PNG" in refused("edit", one, "-e", editor, "-o", "b.jpg")
    assert "not overwritten" in refused("edit", one, "-e", editor, "-o", one)


def test_train_does_not_write_over_what_was_made_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("train", "more red", *QUICK, "--steps", "2", "--timesteps", "list:500", "-o", "e.safetensors")
    assert run(*arguments).exit_code == 0
    before = Path("e.safetensors").read_bytes()
    assert run(*arguments).exit_code == 0  # the same again
    with monkeypatch.context() as patched:
        patched.setattr("sdd.distill", lambda *_, **__: pytest.fail("work was begun"))
        for other, named in {
            ("--seed", "3"): "seed 0, not 3",
            ("--set", "lr=0.5"): "lr 0.013, not 0.5",
            ("--steps", "3"): "steps 2, not 3",
            ("--preset", "paper"): "not",
        }.items():
            text = refused(*arguments, *other)
            assert named in text and "--force" in text and "e.safetensors" in text
        assert "not 'green'" in refused("train", "green", *arguments[2:])
        make_editor("foreign.safetensors", toy_domain(1))
        assert "otherwise" in refused(*arguments[:-1], "foreign.safetensors")
        Path("letter.txt").write_text("dear reader")
        assert "no editor" in refused(*arguments[:-1], "letter.txt")
    assert run(*arguments, "--seed", "3", "--force").exit_code == 0
    assert Path("e.safetensors").read_bytes() != before and Editor.load("e.safetensors").info.seed == 3


def test_a_manipulator_without_a_generator_learns_on_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    make_pictures(12, "mugs")
    asked: dict[str, Any] = {}
    editor = Editor.load(make_editor("e.safetensors"))

    def distill(prompt: str, domain: Domain, **options: Any) -> Editor:
        asked.update(options, domain=domain, prompt=prompt)
        return editor

    monkeypatch.setattr("sdd.distill", distill)
    arguments = ("train", "red", "--images", "mugs", "--manipulator", "one-step")
    assert run(*arguments, "--teacher", "some/sd", "-o", "new.safetensors").exit_code == 0
    place = asked["domain"]
    assert (place.name, place.backbone, place.image_size, place.whole) == ("mugs", None, SIZE, 12)
    assert place.teacher == "some/sd" and len(place.images(100, 0, "train")) == 11
    assert isinstance(asked["teacher"], ToyTeacher) and asked["config"].manipulator == "one-step"
    assert run(*arguments, "--teacher", "some/sd", "--size", "16", "-o", "new.safetensors").exit_code == 0
    assert asked["domain"].image_size == 16
    assert "--teacher" in refused(*arguments)
    assert "--encoder" in refused(*arguments, "--teacher", "some/sd", "--encoder", "x.pt")
    assert "missing" in refused("train", "red", "--images", "missing", "--teacher", "some/sd")
    assert (
        run(*arguments, "--domain", "avatars", "-o", "new.safetensors").exit_code == 0
    )  # a domain with other pictures
    assert (asked["domain"].name, asked["domain"].whole) == ("avatars", 12)


def test_avatars_learn_on_pictures_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    make_pictures(3, "faces")
    asked: dict[str, Any] = {}

    def distill(prompt: str, domain: Domain, **options: Any) -> Editor:
        asked.update(domain=domain)
        return Editor.load(make_editor("e.safetensors"))

    monkeypatch.setattr("sdd.distill", distill)
    assert run("train", "white hair", "--images", "faces").exit_code == 0
    place = asked["domain"]
    assert place.name == "avatars" and place.whole == 3 and place.images(9, 0, "train").shape == (3, 3, 128, 128)


def test_demo_trains_edits_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    from sdd.apps import demo
    from sdd.domains import avatars

    def distill(prompt: str, domain: Domain, **options: Any) -> Editor:
        backbone = domain.stylegan
        shape = {"n_latent": backbone.generator.n_latent, "style_dim": backbone.generator.style_dim}
        mapper = build_mapper({"kind": "levels", **shape})
        facts = {"generator": backbone.generator_hash, "manipulator": {"kind": "stylegan", "mapper": mapper.config()}}
        facts |= {"config": DistillConfig().model_dump(mode="json"), "timesteps": [500]}
        return Editor(mapper, EditorInfo(prompt=prompt, domain="avatars", **facts), domain)

    monkeypatch.setattr("sdd.distill", distill)
    monkeypatch.setattr("sdd.apps.demo.load_teacher", load_teacher)  # the domain's own, whom the check-up asks
    result = run("demo", "-o", "d", "--prompt", "glasses", "--device", "cpu")
    assert result.exit_code == 0, result.output
    for name in ("d/before/", "d/after/", "d/before-after.png", "d/glasses.safetensors"):
        assert name in result.stdout and Path(name).exists()
    assert len(list(Path("d/before").iterdir())) == len(list(Path("d/after").iterdir())) == 16
    assert "0 of 8 held-out pictures change visibly" in result.stdout and "hardly change" in result.stderr
    assert Editor.load("d/glasses.safetensors").info.figures["changed"] == 0
    assert "no word" in refused("demo", "--prompt", "zebra", "-o", "other")
    people = demo.audience("glasses", 16, 0)
    assert all(person.attributes["accessories"] != "glasses" for person in people)
    assert demo.audience("zebra", 16, 0) == avatars.sample(16, 1000)


def test_domains_are_listed() -> None:
    assert run("domain", "list").stdout.split() == ["avatars", "toy"]


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("nope",), "nope"),
        (("--nope",), "--nope"),
        (("edit",), "pictures"),
        (("edit", "x.png"), "--editor"),
        (("edit", "x.png", "--nope"), "--nope"),
        (("domain", "nope"), "nope"),
        (("domain", "add"), "sdd domain add --help"),
        (("train", "red", "--crop", "dog"), "'face', 'centre', 'car'"),
        (("train", "red", "--preset", "reference"), "published"),
        (("train", "red", "--seed", "many"), "--seed"),
        (("sample", "-n", "0"), "--count"),
        (("sample", "-n", "10001"), "10000"),
        (("sample", "--size", "3"), "16"),
        (("search", "red", "-n", "10001"), "10000"),
        (("search", "red", "--points", "1000000000"), "10000"),
        (("edit", "x.png", "-e", "e", "--refine", "10001"), "10000"),
        (("x" * 100_000,), "no such command"),
        (("train", "red", "--crop", "x" * 100_000), "--crop"),
        (("train", "red", "--set", "x" * 100_000), "key=value"),
        (("train", "red", "--set", "lr=" + "x" * 100_000), "lr"),
        (("train", "red", "--set", "lr=" + "9" * 100_000), "lr"),
        (("train", "red", "--levels", "x" * 100_000), "level"),
        (("train", "red", "--domain", "x" * 100_000), "no domain"),
        (("models", "x" * 100_000), "no model"),
        (("edit", "x" * 100_000, "-e", "e"), "editor"),
        (("edit", "x.png", "-e", "x" * 100_000), "editor"),
        (("train", "x" * 100_000), "1000"),
        (("train", "x" * 999), "no word"),
        (("train", "red", "--set", "lr=1e300"), "lr"),
        (("train", "red", "--set", f"lr={'[' * 5000}"), "lr"),
        (("train", "red", "--manipulator", "magic"), "manipulator"),
        (("train", "red \udcff\udcfe"), "UTF-8"),
        (("search", "red \udcff"), "UTF-8"),
        (("train", "red", "--size", "64", "--domain", "toy"), "--size"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_sentence(arguments: tuple[str, ...], named: str) -> None:
    text = refused(*arguments)
    assert named in text and len(text) < 1300


def test_the_seed_is_explained_without_its_bounds() -> None:
    assert "4611686018427387903" not in run("train", "--help").stdout


def test_a_configuration_that_nests_too_deeply() -> None:
    Path("deep.toml").write_text("lr = " + "[" * 50_000)
    assert "deep.toml" in refused("train", "red", "--domain", "toy", "--config", "deep.toml")


def test_prompts_of_which_the_teacher_knows_no_word() -> None:
    for arguments in (("train", "zebra"), ("search", "a zebra"), ("train", "purple", "--teacher", "toy", *QUICK)):
        text = refused(*arguments)
        assert "no word" in text and "--force" in text
    quick = (*QUICK, "--steps", "1", "--timesteps", "list:500")
    bare = ("--guidance", "sds", "--set", "outside_weight=0")  # a mask of nothing is refused too
    result = run("train", "purple", "--teacher", "toy", *quick, *bare, "--force")
    assert result.exit_code == 0, result.output
    result = run("train", "make it purple red", "--teacher", "toy", *quick)
    assert result.exit_code == 0
    # said once, and nothing of "make" and "it"
    (warning,) = (line for line in result.stderr.splitlines() if "does not know" in line)
    assert warning.startswith("warning: ") and "purple" in warning


@pytest.mark.parametrize("prompt", ["", "  \t"])
def test_empty_prompt(prompt: str) -> None:
    for command in ("train", "search"):
        assert "empty" in refused(command, prompt, "--domain", "toy")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--domain", "nowhere"), "nowhere"),
        (("--levels", "coarse,rough"), "rough"),
        (("--levels", ","), "level"),
        (("--timesteps", "best"), "best"),
        (("--timesteps", "above:x"), "above:x"),
        (("--timesteps", "list:5000"), "5000"),
        (("--guidance", "magic"), "magic"),
        (("--steps", "-3"), "steps"),
        (("--steps", "many"), "steps"),
        (("--set", "learning_rate=1"), "learning_rate"),
        (("--set", "lr"), "key=value"),
        (("--set", "lr=nan"), "lr"),
        (("--config", "missing.toml"), "missing.toml"),
        (("--device", "tpu9"), "tpu9"),
        (("--device", "meta"), "there is cpu"),
        (("--set", "guidanse=sds"), "did you mean 'guidance'"),
        (("--timesteps", "above:1"), "above:1"),
        (("--generator", "missing.pt"), "missing.pt"),
        (("--images", "missing"), "missing"),
        (("--encoder", "x.pt"), "--encoder"),
        (("-o", "."), "folder"),
        (("-o", "/proc/nowhere/e.safetensors"), "/proc"),
    ],
)
def test_train_refuses(arguments: tuple[str, ...], named: str) -> None:
    own = () if {"--domain", "--generator", "--images", "--encoder"} & set(arguments) else ("--domain", "toy")
    assert named in refused("train", "red", *own, *arguments)


def test_unknown_option_in_a_configuration_file() -> None:
    for name, text in {"a.toml": "speed = 3\n", "b.toml": "lr = \n", "c.toml": 'preset = "best"\n'}.items():
        Path(name).write_text(text)
        assert name.removesuffix(".toml") and refused("train", "red", "--domain", "toy", "--config", name)
    assert "speed" in refused("train", "red", "--domain", "toy", "--config", "a.toml")
    Path("d.toml").write_text("stpes = 3\n")
    assert "did you mean 'steps'" in refused("train", "red", "--domain", "toy", "--config", "d.toml")


def test_pictures_that_cannot_be_edited() -> None:
    make_editor("e.safetensors")
    (picture,) = make_pictures(1)
    data = picture.read_bytes()
    Path("not.png").write_text("hello")
    Path("cut.png").write_bytes(data[: len(data) // 2])
    Path("bomb.png").write_bytes(bomb(40_000, 40_000))
    Path("empty").mkdir()
    for name in ("missing.png", "not.png", "cut.png", "bomb.png", "empty"):
        assert name in refused("edit", name, "-e", "e.safetensors", "-o", "out")
    assert not Path("out").exists()


def test_editors_that_cannot_be_used() -> None:
    (picture,) = make_pictures(1)
    whole = make_editor("e.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[: len(whole) // 2])
    Path("other.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    make_editor("foreign.safetensors", toy_domain(1))
    weights = load_file("e.safetensors")
    nan = {name: tensor * float("nan") for name, tensor in weights.items()}
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open("e.safetensors", "pt") as file:
        save_file(nan, "nan.safetensors", file.metadata())
    save_file(weights, "bare.safetensors")
    for name in ("missing", "cut", "other", "bare", "nan", "foreign"):
        for command in (("edit", picture, "-e"), ("show",)):
            if (name, command[0]) != ("foreign", "show"):
                text = refused(*command, f"{name}.safetensors")
                assert name in text or name == "foreign"
    assert toy_domain(1).stylegan.generator_hash[:12] in refused("edit", picture, "-e", "foreign.safetensors")


def test_options_of_edit_that_make_no_sense() -> None:
    (picture,) = make_pictures(1)
    make_editor("e.safetensors")
    for arguments, named in {
        ("--levels", "rough"): "rough",
        ("--strength", "nan"): "strength",
        ("--strength", "inf"): "strength",
        ("--strength", "100.5"): "100.5",
        ("--strength", "-1e9"): "-100",
        ("--box", "0,0,nan,5"): "--box",
        ("--box", "0,0,1e7,5"): "1000000",
        ("--background", "no colour"): "no colour",
        ("--box", "1,2,3"): "--box",
        ("--box", "30,30,10,10"): "box",
        ("--domain", "nowhere"): "nowhere",
        ("-o", "e.safetensors"): "e.safetensors",
        ("-o", "/proc/nowhere"): "/proc",
    }.items():
        assert named in refused("edit", picture, "-e", "e.safetensors", *arguments)
    assert "2" in refused("edit", picture, "-e", "e.safetensors", "-e", "e.safetensors", *("--strength", "1") * 3)


def test_sample_and_domains_refuse() -> None:
    assert "nowhere" in refused("sample", "nowhere")
    assert "nowhere" in refused("domain", "show", "nowhere")
    assert "nowhere" in refused("domain", "remove", "nowhere")
    assert "missing.pt" in refused("domain", "add", "mine", "--generator", "missing.pt")
    assert "Bad Name" in refused("domain", "add", "Bad Name", "--generator", "missing.pt")
    assert "missing.pt" in refused("inspect", "missing.pt")
    assert "missing.pt" in refused("import", "missing.pt")


def test_surprises_become_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: dict[BaseException, tuple[int, str]] = {
        MemoryError(): (2, "memory"),
        RuntimeError("CUDA out of memory. Tried"): (2, "memory"),
        OSError(28, "No space left on device", "x.png"): (2, "No space left on device"),
        KeyError("bug\nof ours"): (2, "report"),
        KeyboardInterrupt(): (130, "stopped"),
    }
    for error, (code, named) in errors.items():

        def broken(error: BaseException = error) -> list[str]:
            raise error

        monkeypatch.setattr(library, "names", broken)
        result = CliRunner().invoke(app, ["domain", "list"])
        assert result.exit_code == code and named in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1 and "Traceback" not in result.output


def test_sparkline() -> None:
    assert terminal.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert terminal.sparkline([1, float("nan"), 2]) == "▁ █"
    assert terminal.sparkline([]) == "" and len(terminal.sparkline([3.0, 3.0])) == 2
    assert len(terminal.sparkline(list(range(1000)), width=60)) == 60


# The real command, in a process of its own


def command(*arguments: str, before: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    code = f"{before}\nfrom sdd.apps.cli.main import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120, **options
    )


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    def spent() -> float:  # processor seconds of finished children: a busy machine does not slow them down
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    started = spent()
    for _ in range(2):
        assert command("--help").returncode == 0
    assert (spent() - started) / 2 <= 0.7
    heavy = "[m for m in ('torch', 'numpy', 'PIL', 'pydantic') if m in sys.modules]"
    listed = command("--help", before=f"import sys, atexit\natexit.register(lambda: print({heavy}))")
    assert listed.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    "arguments",
    [("edit", "x.png", "-e"), ("bulk", "x", "-o", "out", "-e"), ("show",), ("export", "--format", "onnx")],
)
def test_a_missing_editor_is_refused_before_anything_heavy_is_imported(arguments: tuple[str, ...]) -> None:
    heavy = "[m for m in ('torch', 'numpy', 'PIL') if m in sys.modules]"
    listed = f"import sys, atexit\natexit.register(lambda: print({heavy}))"
    done = command(*arguments, "gone.safetensors", before=listed)
    assert done.returncode == 2 and "gone.safetensors" in done.stderr and done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = run(*name.split(), "--help")
    assert result.exit_code == 0 and f"Example: sdd {name}" in " ".join(result.stdout.split())


def test_of_several_processes_the_first_speaks_for_all() -> None:
    first, other = (command("train", " ", before=f"import os\nos.environ['RANK'] = '{rank}'") for rank in (0, 1))
    assert first.returncode == other.returncode == 2
    assert "the prompt is empty" in first.stderr and other.stderr == other.stdout == ""


def test_full_disk_keeps_the_previous_file() -> None:
    # A limit on file sizes makes every larger write fail for real, as a full disk does.
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    Path("s").mkdir()
    Path("s/avatars-0000.png").write_bytes(b"the previous picture")
    result = command("sample", "avatars", "-n", "1", "-o", "s", before=limit)
    assert result.returncode == 2 and len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "previous file" in result.stderr
    assert everything() == {"s/avatars-0000.png": b"the previous picture"}


def test_a_closed_pipe_is_no_error() -> None:
    code = "from sdd.apps.cli.main import main; main()"
    shell = f"'{sys.executable}' -c '{code}' models --json | head -c 1"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "[" and result.stderr == ""


def test_output_survives_a_terminal_without_unicode() -> None:
    path = make_editor("e.safetensors")
    result = command("show", str(path), env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert result.returncode == 0 and "more red" in result.stdout, result.stderr
