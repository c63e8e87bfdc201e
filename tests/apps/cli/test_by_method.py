"""The commands about methods, on a toy domain: what they write, and one sentence for what they cannot do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from sdd import methods
from sdd.apps.cli.main import app
from sdd.domains import library
from sdd.io.pictures.read import open_image, read_image
from sdd.io.pictures.write import save_png
from sdd.methods.protocol import Card, Fitted, Knob, Method
from toy import SIZE, ToyTeacher, toy_domain

CARD = Card("tint", "adds a colour", "nobody", ("teacher",), "a colour", "0", "none", Knob("amount", 1, (0, 1), "how"))


class Tint(Fitted):
    def __init__(self, colour):
        self.colour = colour

    def edit(self, images, knob=None, seed=0, report=None):
        return (images + (1 if knob is None else knob) * self.colour).clamp(-1, 1)

    def learned(self):
        return {"colour": self.colour}


class Tinting(Method):
    """A whole method small enough to see through: adds a tenth of the colour that the teacher has for the prompt."""

    card = CARD

    def fit(self, prompt, source_prompt, domain, models=None, *, learned=None, seed=0, report=None):
        if learned is not None:
            return Tint(learned["colour"])
        return Tint(models.get("teacher", "tint").target(prompt)[..., :1, :1])


class Crashing(Tinting):
    card = replace(CARD, name="crashing", trains="")

    def fit(self, *arguments, **named):
        raise ZeroDivisionError("by zero")


class Picky(Tinting):
    card = replace(CARD, name="picky", trains="", needs=("clip",))

    def fit(self, prompt, source_prompt, domain, models=None, *, learned=None, seed=0, report=None):
        return Tint(models.get("clip", "picky"))


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The toy domain and teacher, two methods of ours beside the real ones, and folders of our own."""
    real = library.get
    monkeypatch.setattr(library, "get", lambda name, device="cpu": toy() if name == "toy" else real(name, device))

    def toy():
        return replace(toy_domain(), teacher="toy")

    monkeypatch.setattr("sdd.teachers.load.load_teacher", lambda *_, **__: ToyTeacher())
    every = {**methods.available(), "tint": Tinting(), "crashing": Crashing(), "picky": Picky()}
    monkeypatch.setattr(methods, "available", lambda: every)
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output and "should not have happened" not in result.output, result.output
    assert result.exit_code == code, result.output
    return result


def refused(*arguments: object) -> str:
    result = run(*arguments, code=2)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sdd: ") and result.stdout == "", result.output
    return lines[0]


def picture(name: str = "a.png", size: int = SIZE, seed: int = 5) -> Path:
    image = toy_domain().images(1, seed, "test").clamp(-1, 0.3)
    return save_png(torch.nn.functional.interpolate(image, (size, size))[0], name)


def test_methods_are_listed_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run("methods").stdout
    for name in ("sdd", "sdedit", "sdedit-ft", "ddib", "flowedit", "tint"):
        assert any(line.split()[:1] == [name] for line in text.splitlines())
    table = text.split("an edit: passes")[0]
    assert max(map(len, table.splitlines())) <= 80
    cards = json.loads(run("methods", "--json").stdout)
    assert cards[0]["name"] == "sdd" and {"paper", "needs", "trains", "calls", "licence", "knob"} <= cards[0].keys()


def test_compare_one_picture_with_some_methods() -> None:
    result = run(
        "compare", picture(), "red", "--methods", "tint,crashing,picky,flowedit", "--domain", "toy", "-o", "c.png"
    )
    lines = result.stdout.splitlines()
    assert "to train" in lines[0] and "ZeroDivisionError" in lines[1]
    assert "--clip" in lines[2] and "flow-matching" in lines[3]
    sheet = read_image("c.png")
    # five cells: the source, its edit, three that are blank
    cells = [sheet[:, :, 6 + c * (SIZE + 6) : 6 + c * (SIZE + 6) + SIZE] for c in range(5)]
    top = next(y for y in range(sheet.shape[1] - SIZE) if torch.equal(cells[0][:, y : y + SIZE], read_image("a.png")))
    source, tinted, *blank = (cell[:, top : top + SIZE] for cell in cells)
    assert torch.allclose(tinted - source, torch.tensor([0.5, 0, 0]).view(3, 1, 1), atol=0.02)
    assert all((cell[:, 1:-1, 1:-1] == 1).all() for cell in blank)


def test_compare_a_folder_and_go_on_with_what_was_trained() -> None:
    for k in range(3):
        picture(f"in/{k}.png", seed=k)
    Path("in/broken.png").write_bytes(b"no")
    result = run("compare", "in", "red", "--methods", "tint", "--domain", "toy", code=1)
    assert "3 of 4 pictures by 1 of 1 methods" in result.stdout and "broken.png" in result.stderr
    width, height = open_image("compare.png").size
    assert width < 3 * SIZE + 30 and height > 3 * SIZE


def test_compare_refuses() -> None:
    path = picture()
    assert "did you mean 'tint'" in refused("compare", path, "red", "--methods", "tnit", "--domain", "toy")
    assert "no method" in refused("compare", path, "red", "--methods", ",", "--domain", "toy")
    assert "PNG" in refused("compare", path, "red", "--methods", "tint", "--domain", "toy", "-o", "x.jpg")
    assert "empty" in refused("compare", path, " ", "--methods", "tint", "--domain", "toy")
    assert "no such file" in refused("compare", "nowhere.png", "red", "--domain", "toy")


def test_edit_with_a_method_at_the_pictures_own_size() -> None:
    path = picture(size=3 * SIZE)
    run("edit", path, "--method", "tint", "--prompt", "red", "--domain", "toy", "-o", "out", "--knob", "0.5")
    before, after = read_image(path), read_image("out/a.png")
    assert after.shape == before.shape
    middle = (after - before)[:, SIZE : 2 * SIZE, SIZE : 2 * SIZE].mean((1, 2))
    assert torch.allclose(middle, torch.tensor([0.25, 0, 0]), atol=0.05)
    run("edit", path, "--method", "tint", "--prompt", "red", "--domain", "toy", "-o", "out2", "--no-blend")
    assert read_image("out2/a.png").shape == (3, SIZE, SIZE)


def test_train_writes_a_file_that_edit_takes() -> None:
    path = picture()
    run("train", "red", "--method", "tint", "--domain", "toy", "-o", "red.safetensors")
    first = Path("red.safetensors").read_bytes()
    run("train", "red", "--method", "tint", "--domain", "toy", "-o", "red.safetensors")
    assert Path("red.safetensors").read_bytes() == first
    run("edit", path, "-e", "red.safetensors", "--domain", "toy", "-o", "out")
    run("edit", path, "--method", "tint", "--prompt", "red", "--domain", "toy", "-o", "out2")
    assert torch.equal(read_image("out/a.png"), read_image("out2/a.png"))
    assert not torch.equal(read_image("out/a.png"), read_image(path))
    assert "holds something else" in refused("train", "green", "--method", "tint", "--domain", "toy", "-o",
                                              "red.safetensors")  # fmt: skip
    assert Path("red.safetensors").read_bytes() == first


def test_what_does_not_go_together_is_one_sentence() -> None:
    path = picture()
    run("train", "red", "--method", "tint", "--domain", "toy", "-o", "red.safetensors")
    toy = ("--domain", "toy")
    assert "-e" in refused("edit", path)
    assert "not both" in refused("edit", path, "-e", "red.safetensors", "--method", "tint", "--prompt", "red", *toy)
    assert "--prompt" in refused("edit", path, "--method", "tint", *toy)
    assert "its own prompt" in refused("edit", path, "-e", "red.safetensors", "--prompt", "green", *toy)
    assert "edits alone" in refused("edit", path, "-e", "red.safetensors", "-e", "red.safetensors", *toy)
    assert "no method" in refused("edit", path, "--method", "x", "--prompt", "red", *toy)
    assert "trains nothing" in refused("train", "red", "--method", "picky", *toy)
    assert "finite" in refused("edit", path, "--method", "tint", "--prompt", "red", "--knob", "nan", *toy)
