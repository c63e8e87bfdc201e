"""The command `export`: what it refuses, in one sentence, and, slowly, what it writes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdd.apps.cli.main import app
from sdd.domains import library
from toy import toy_domain
from toy_editor import toy_editor


@pytest.fixture(autouse=True)
def work(monkeypatch, tmp_path):
    real = library.names
    monkeypatch.setattr(library, "matching", lambda *_: toy_domain())
    monkeypatch.setattr(library, "names", lambda: [*real(), "toy"])
    monkeypatch.setattr(library, "get", lambda *_: toy_domain())
    monkeypatch.chdir(tmp_path)
    toy_editor().save("red.safetensors")
    toy_editor("image-to-image").save("green.safetensors")


REFUSED = [
    (["none.safetensors"], "there is no editor file"),
    (["red.safetensors", "--format", "torch", "--precision", "int8"], "keeps its weights as float32"),
    (["red.safetensors", "--format", "web", "--no-blend"], "lays edits into the picture"),
    (["red.safetensors", "--runtime", "ort.tgz"], "--runtime is for --format web"),
    (["red.safetensors", "-o", "red.safetensors"], "name it red.onnx"),
    (["red.safetensors", "--format", "torch", "-o", "red.onnx"], "name it red.pt2"),
    (["red.safetensors", "-o", "folder"], "is a folder"),
    (["red.safetensors", "--format", "web", "-o", "red.safetensors"], "is a file, not a folder"),
    (["red.safetensors", "green.safetensors"], "of different kinds"),
    (["red.safetensors", "--format", "gif"], "gif"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_what_cannot_be_is_one_sentence(arguments, said):
    Path("folder").mkdir()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    result = CliRunner().invoke(app, ["export", *arguments])
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 2 and len(lines) == 1 and said in lines[0], result.output
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_without_the_packages_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    result = CliRunner().invoke(app, ["export", "red.safetensors"])
    assert result.exit_code == 2 and "pip install 'sdd[export]'" in result.stderr and not Path("red.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("form", "name"), [("onnx", "green.onnx"), ("torch", "green.pt2")])
def test_it_writes_one_file_and_says_what_it_loses(form, name):
    pytest.importorskip("onnxscript", reason="pip install 'sdd[export]'")
    result = CliRunner().invoke(app, ["export", "green.safetensors", "--format", form, "--compare", "5"])
    assert result.exit_code == 0, result.output
    assert f"wrote {name}" in result.stdout and "picture (batch, 3, 32, 32)" in result.stdout
    assert "120.0 dB against the editor on 5 pictures" in result.stdout
    assert Path(name).stat().st_size > 1e5 and not list(Path().glob(".sdd-*"))
