"""ONNX files: weights in fewer bits, and, slowly, whole editors."""

import copy
import json

import numpy as np
import pytest
import torch

from sdd.editor import Composition
from sdd.errors import SddError
from sdd.export import onnx_file, program, trace
from sdd.export.loss import measure
from sdd.export.precision import Precision, kept_as
from toy import SIZE, toy_domain
from toy_editor import toy_editor

onnx = pytest.importorskip("onnx", reason="pip install 'sdd[export]'")
pytest.importorskip("onnxruntime", reason="pip install 'sdd[export]'")
pytest.importorskip("onnxscript", reason="pip install 'sdd[export]'")


def linear(weight):
    """edited = picture flattened times weight, plus a small bias."""
    from onnx import TensorProto, helper, numpy_helper

    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weight.shape[1]])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", weight.shape[0]])]
    kept = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.ones(weight.shape[0], np.float32), "b")]
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], "g", inputs, outputs, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model, x):
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )[0]


@pytest.mark.parametrize("precision", Precision)
def test_weights_are_kept_to_half_a_step(precision):
    random = np.random.default_rng(0)
    weight = (random.normal(size=(32, 64)) * 10.0 ** np.arange(-16, 16)[:, None] / 1e16).astype(np.float32)
    weight = np.clip(weight, -6e4, 6e4)
    weight[3] = 0
    model = linear(weight)
    whole = model.ByteSize()
    kept_as(model, precision)
    onnx.checker.check_model(model)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert tensors["b"].dtype == np.float32  # too small to matter
    if precision is Precision.float32:
        assert np.array_equal(tensors["w"], weight)
        return
    if precision is Precision.fp16:
        found = tensors["w.fp16"].astype(np.float32)
        assert np.abs(found - weight).max() <= 2**-11 * np.abs(weight).max() and model.ByteSize() < 0.6 * whole
    else:
        step = np.abs(weight).max(1) / 127
        found = tensors["w.int8"] * tensors["w.scale"][:, None]
        assert (np.abs(found - weight) <= 0.501 * step[:, None]).all() and model.ByteSize() < 0.35 * whole
    y = run(model, np.eye(64, dtype=np.float32))
    assert np.allclose(y, found.T + 1, rtol=1e-6)  # what is kept is what is computed with


@pytest.fixture(scope="module")
def made():
    editors = Composition([toy_editor("image-to-image", strength=0.8)])
    return editors, onnx_file.model(editors)


@pytest.mark.slow
def test_an_onnx_file_edits_as_the_editor_does(made, tmp_path):
    editors, model = made
    onnx_file.write(model, tmp_path / "e.onnx")
    onnx.checker.check_model(str(tmp_path / "e.onnx"))
    run = onnx_file.runner(tmp_path / "e.onnx", threads=1)
    pictures = toy_domain().images(5, 3, "test").clamp(-1, 1)
    assert measure(editors, run, pictures).largest < 1e-4
    assert torch.equal(
        run(pictures, torch.zeros(5, 1)), pictures
    )  # of another number of pictures than it was traced with
    said = json.loads(next(p.value for p in model.metadata_props if p.key == "sdd"))
    assert said["prompts"] == ["more red"] and said["image_size"] == SIZE
    names = [[value.name for value in values] for values in (model.graph.input, model.graph.output)]
    assert names == [["picture", "strength"], ["edited"]]


@pytest.mark.slow
def test_fewer_bits_lose_little(made):
    editors, model = made
    pictures = toy_domain().images(5, 3, "test").clamp(-1, 1)
    sizes, losses = [], []
    for precision in Precision:
        data = kept_as(copy.deepcopy(model), precision).SerializeToString()
        sizes.append(len(data))
        losses.append(measure(editors, onnx_file.runner(data, threads=1), pictures).psnr)
    assert sizes[0] > sizes[1] > sizes[2] and losses[0] > losses[1] > losses[2] > 20


@pytest.mark.slow
def test_a_stylegan_leaves_without_grouped_convolutions():
    editors = Composition([toy_editor()])
    model = onnx_file.model(editors)
    groups = [a.i for node in model.graph.node if "Conv" in node.op_type for a in node.attribute if a.name == "group"]
    assert set(groups) == {1}
    pictures = toy_domain().images(5, 3, "test").clamp(-1, 1)
    assert measure(editors, onnx_file.runner(model.SerializeToString(), threads=1), pictures).largest < 1e-3


@pytest.mark.slow
def test_a_torch_program_edits_as_the_editor_does(tmp_path):
    editors = Composition([toy_editor("image-to-image")])
    program.write(editors, tmp_path / "e.pt2")
    pictures = toy_domain().images(5, 3, "test").clamp(-1, 1)
    assert measure(editors, program.runner(tmp_path / "e.pt2"), pictures).largest < 1e-4


def test_what_is_too_large_or_not_installed_is_said(monkeypatch):
    class Large:
        def ByteSize(self):
            return 2**31

    with pytest.raises(SddError, match="fp16"):
        trace.check_size(Large())
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(SddError, match=r"sdd\[export\]"):
        trace.check_installed()


@pytest.mark.slow
def test_what_torch_cannot_trace_is_one_sentence():
    class Fixed(torch.nn.Module):
        def forward(self, x):
            return x + torch.zeros(len(x), 1)

    with pytest.raises(SddError, match="cannot trace this editor's networks"):
        trace.program(Fixed(), [torch.zeros(2, 3)])
