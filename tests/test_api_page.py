"""The page of the Python interface runs as it is written, on a domain and a teacher small enough for tests."""

import re
from pathlib import Path

import pytest
from PIL import Image

from sdd.domains import library
from sdd.io.pictures.write import save_png
from toy import ToyTeacher, toy_domain

PAGE = Path(__file__).parents[1] / "docs" / "api.md"


class Barber(ToyTeacher):
    """The toy teacher by other words: the more of a channel, the whiter, the merrier."""

    def target(self, prompt):
        return super().target(prompt.replace("white", "red").replace("smile", "green"))

    def unknown_words(self, prompt):
        return []


@pytest.fixture
def work(monkeypatch, tmp_path):
    real, pictures = library.get, toy_domain().images(3, 1, "test")
    monkeypatch.setattr(library, "get", lambda name, *rest: toy_domain() if name == "avatars" else real(name, *rest))
    monkeypatch.setattr(library, "matching", lambda *_: toy_domain())
    for place in ("sdd.training.distil.load_teacher", "sdd.apps.search.load_teacher"):
        monkeypatch.setattr(place, lambda *_, **__: Barber())
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for index, picture in enumerate(pictures):
        save_png(picture, Path("people") / f"{index}.png")
    Image.open("people/0.png").convert("RGBA").resize((50, 40)).save("me.png")
    return tmp_path


def test_the_page_runs_as_it_is_written(work):
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S))
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert Image.open("white.png").mode == "RGBA" and Image.open("both.png").size == (50, 40)
    assert Image.open("sweep.gif").n_frames > 1
    assert len(list(Path("edited").iterdir())) == len(list(Path("drawn").iterdir())) == 3
    assert names["quick"].info.timesteps == [names["best"]]
    assert Image.open("sheet.png").width == 4 * (128 + 4) + 4
