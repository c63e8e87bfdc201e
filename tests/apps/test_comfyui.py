"""The ComfyUI node, as ComfyUI's documentation says it is called."""

import inspect
import shutil
from importlib.resources import files

import pytest
import torch

import comfyui_stub
from sdd.domains import library
from toy import toy_domain
from toy_editor import toy_editor


@pytest.fixture
def node(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "matching", lambda *_: toy_domain())
    (tmp_path / "models" / "sdd").mkdir(parents=True)
    toy_editor().save(tmp_path / "models" / "sdd" / "red.safetensors")
    comfyui_stub.installed(monkeypatch, tmp_path / "models")
    shutil.copy(files("sdd") / "apps" / "comfyui.py", tmp_path / "sdd_edit.py")  # one file, alone
    (node,) = comfyui_stub.run(tmp_path / "sdd_edit.py")
    return node


def test_what_it_takes_is_what_it_says(node):
    schema = node.define_schema()
    assert [i.id for i in schema.inputs] == ["image", "editor", "strength", "blend"]
    assert list(inspect.signature(node.execute).parameters) == [i.id for i in schema.inputs]
    assert schema.inputs[1].options == ["red.safetensors"] and len(schema.outputs) == 1
    assert issubclass(node, comfyui_stub.ComfyNode) and schema.node_id == "SddEdit"


def test_it_edits_as_the_editor_does(node):
    pictures = toy_domain().images(3, 4, "test").clamp(-1, 1)
    given = (pictures.permute(0, 2, 3, 1) + 1) / 2
    (edited,) = node.execute(image=given, editor="red.safetensors", strength=0.7, blend=True).args
    assert edited.shape == given.shape and edited.dtype == torch.float32
    wanted = (toy_editor()(2 * given.permute(0, 3, 1, 2) - 1, strength=0.7) + 1) / 2
    assert (edited - wanted.permute(0, 2, 3, 1)).abs().max() < 1e-6
    (same,) = node.execute(
        image=torch.cat([given, given[..., :1]], 3), editor="red.safetensors", strength=0.0, blend=True
    ).args
    assert (same - given).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["none.safetensors", "../red.safetensors", "(put editors into models/sdd)"])
def test_an_editor_that_is_not_there_is_one_sentence(node, name):
    assert "there is no editor" in node.validate_inputs(editor=name)
    with pytest.raises(ValueError, match="there is no editor"):
        node.execute(image=torch.zeros(1, 8, 8, 3), editor=name, strength=1.0, blend=True)


def test_a_broken_editor_is_one_sentence(node, tmp_path):
    (tmp_path / "models" / "sdd" / "bad.safetensors").write_bytes(b"no editor")
    with pytest.raises(ValueError, match="truncated or not an editor"):
        node.execute(image=torch.zeros(1, 8, 8, 3), editor="bad.safetensors", strength=1.0, blend=True)
