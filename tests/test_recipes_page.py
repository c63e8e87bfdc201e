"""The recipes, and the notebook, run as they are written, on small models."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from sdd.apps.cli.main import app
from sdd.domains import library
from sdd.io.pictures.write import save_png
from sdd.nets.mapper import Mapper
from toy import ToyTeacher, toy_domain
from toy_editor import toy_editor

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "recipes.md").read_text()
HEAVY = ("bulk", "export")  # commands whose own tests run them; here their options are looked up


class Barber(ToyTeacher):
    """The toy teacher by another word: the redder, the whiter."""

    def target(self, prompt):
        return super().target(prompt.replace("white", "red"))

    def unknown_words(self, prompt):
        return []


@pytest.fixture
def work(monkeypatch, tmp_path):
    domain, real = toy_domain(), library.get
    monkeypatch.setattr(library, "get", lambda name, *rest: domain if name in ("avatars", "toy") else real(name, *rest))
    monkeypatch.setattr(library, "matching", lambda *_: domain)
    monkeypatch.setattr("sdd.training.distil.load_teacher", lambda *_, **__: Barber())
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for index, picture in enumerate(domain.images(3, 1, "test").clamp(-1, 1)):
        save_png(picture, Path("people") / f"{index}.png")
    still, random = domain.images(1, 2, "test")[0].clamp(-1, 1), torch.Generator().manual_seed(0)
    for index in range(16):  # a video of nothing that moves, with some noise
        save_png(
            (still + 0.05 * torch.randn(still.shape, generator=random)).clamp(-1, 1), Path("frames") / f"{index:05}.png"
        )
    Image.open("people/0.png").resize((50, 40)).save("me.png")
    toy_editor(seed=0, prompt="white hair").save("white-hair.safetensors")
    toy_editor(seed=1, prompt="smile").save("smile.safetensors")
    return tmp_path


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def test_the_commands_run_as_they_are_written(work):
    for line in "".join(blocks("bash")).splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "sdd"
        if words[1] in HEAVY:
            if words[1] not in [command.name or command.callback.__name__ for command in app.registered_commands]:
                continue  # a command of another part, which has its own tests
            said = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"}).output
            missing = [word for word in words if word.startswith("--") and word not in said]
            assert not missing, f"{line}: there is no {missing}"
            continue
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert len(list(Path("edited").iterdir())) == len(list(Path("drawn").iterdir())) == 3
    assert Image.open("both.png").size == (50, 40)


def test_the_python_runs_as_it_is_written(work):
    names = {}
    exec(compile("\n".join(blocks("python")), "recipes.md", "exec"), names)
    assert Image.open("both-from-python.png").size == Image.open("served.png").size == (50, 40)
    assert Image.open("sweep.gif").n_frames > 1
    assert len(list(Path("edited").iterdir())) == 3 and len(list(Path("edited-frames").iterdir())) == 16
    served, wanted = Image.open("served.png"), names["white"]("me.png", strength=0.8)
    assert served.tobytes() == wanted.tobytes()
    # The video flickers less: from frame to frame the change of a still scene hardly differs.
    frames, steady = names["video"], names["edit_video"](names["white"], names["video"])

    def flicker(edited):
        change = edited - frames
        return float((change[1:] - change[:-1]).square().mean().sqrt())

    assert flicker(steady) < 0.8 * flicker(names["white"](frames))
    assert torch.equal(names["edit_video"](names["white"], frames, 0.0), frames)


def test_there_are_ten_and_what_they_point_at_is_there():
    assert [int(n) for n in re.findall(r"^## (\d+)\.", PAGE, re.M)] == list(range(1, 11))
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (DOCS / target).exists(), target


def test_the_notebook_runs_without_jupyter(work, monkeypatch):
    from sdd.training import config

    quick = {"images": 4, "steps": 2, "hidden": 16}
    make = config.DistillConfig.make
    monkeypatch.setattr(config.DistillConfig, "make", lambda *a, **k: make(*a, **{**quick, **k}))
    notebook = json.loads((DOCS / "notebook.ipynb").read_text())
    assert notebook["nbformat"] == 4 and all(not cell.get("outputs") for cell in notebook["cells"])
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "notebook.ipynb", "exec"), names)
    assert Path("white-hair.safetensors").exists() and isinstance(names["editor"].learned, Mapper)
    assert names["editor"].info.needs == {"encoder": toy_domain().stylegan.encoder_hash}
