"""Many prompts with one teacher: the same editors as one by one, and one that fails does not stop the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sdd.apps import prompts
from sdd.apps.cli.main import app
from sdd.domains import library
from sdd.errors import SddError
from toy import ToyTeacher, toy_domain

LIST = """
prompts = ["red", "unheard of", "blue"]
[[editor]]
prompt = "red"
out = "more/again.safetensors"
seed = 3
steps = 2
"""
FEW = ("--set", "images=4", "--set", "search_images=2", "--steps", "3", "--domain", "toy")


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The toy domain and teacher, folders of our own; and what was loaded."""
    found: list[str] = []
    real = library.get

    def get(name: str, device: Any = "cpu") -> Any:
        return replace(toy_domain(), teacher="toy") if name == "toy" else real(name, device)

    def load(*_: Any, **__: Any) -> ToyTeacher:
        found.append("teacher")
        return ToyTeacher()

    monkeypatch.setattr(library, "get", get)
    monkeypatch.setattr("sdd.teachers.load.load_teacher", load)
    monkeypatch.setattr("sdd.training.distil.load_teacher", load)
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return found


def sdd(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output and result.exit_code == code, result.output
    return result


def test_a_list_gives_what_single_trainings_give(loaded: list[str], tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(LIST)
    said = sdd("train", "p.toml", "-o", "many", *FEW, code=1)
    assert loaded == ["teacher"]
    assert "'unheard of' was not trained" in said.stderr and "3 of 4 editors are in many/" in said.stdout
    for prompt, file, more in (("blue", "blue", ()), ("red", "more/again", ("--seed", 3, "--steps", 2))):
        sdd("train", prompt, "-o", f"one/{file}.safetensors", "--run", f"one/{file}", *FEW, *more)
        one, many = (tmp_path / f"{folder}/{file}.safetensors" for folder in ("one", "many"))
        assert one.read_bytes() == many.read_bytes(), file
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("many/**/*.safetensors")}
    assert len(times) == 3
    again = sdd("train", "p.toml", "-o", "many", *FEW, code=1)
    assert again.stdout.count("is there already") == 3
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.glob("many/**/*.safetensors")}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prompts = [", "no list of prompts in TOML"),
        ("prompts = []", "names 0 prompts"),
        ("promts = ['a']", "'promts'"),
        ("prompts = [3]", "without a prompt"),
        ("prompts = ['a', 'A']", "two editors that would be a.safetensors"),
        ("[[editor]]\nprompt = 'a'\nout = '../a'", "in the folder of all"),
        ("[[editor]]\nprompt = 'a'\nseed = -1", "whole number"),
        ("[[editor]]\nprompt = 'a'\nprecision = 'bfloat16'", "--set precision"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(SddError, match=named):
        prompts.read(tmp_path / "p.toml")
    assert "no list of prompts missing.toml" in sdd("train", "missing.toml", code=2).stderr
