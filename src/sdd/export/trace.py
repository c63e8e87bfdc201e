"""From an editor to a program of torch's own, and to an ONNX model: what every exported form begins with."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdd.errors import SddError, one_line

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

Done = Callable[[], None]  # called after each of an export's steps: `STEPS` of them for a network
STEPS = 2
OPSET = 20
LARGEST = 2**31 - 2**20  # bytes of one protobuf


def program(net: nn.Module, inputs: Sequence[Tensor]) -> ExportedProgram:
    """The network as a `torch.export` program; the first dimension of every input is left open.

    Args:
        inputs: of at least two pictures: what is 1 would be taken for always 1.

    Raises:
        SddError: this torch cannot.
    """
    batch = torch.export.Dim("batch", min=1, max=2**16)
    dims = tuple({0: batch} for _ in inputs)
    taken = list(signature(net.forward).parameters.values())
    several = any(p.kind is p.VAR_POSITIONAL for p in taken)  # any number of inputs by one name
    fixed = len(taken) - 1
    shapes = (*dims[:fixed], dims[fixed:]) if several else dims
    with torch.no_grad(), silent(), _possible("trace this editor's networks"):
        return torch.export.export(net, tuple(inputs), dynamic_shapes=shapes)


def to_onnx(
    net: nn.Module, given: Sequence[Tensor], inputs: Sequence[str], outputs: Sequence[str], done: Done = lambda: None
) -> ModelProto:
    """The network as an ONNX model whose inputs and outputs have these names.

    Args:
        given: see `program`.

    Raises:
        SddError: the packages that write ONNX are not here, or this torch cannot.
    """
    check_installed()
    traced = program(net, given)
    done()
    with silent(), _possible("write this editor as ONNX"):
        made = torch.onnx.export(
            traced, dynamo=True, input_names=list(inputs), output_names=list(outputs), opset_version=OPSET,
            verbose=False,
        )  # fmt: skip
    assert made is not None, "so it is with dynamo"
    done()
    return made.model_proto


def check_installed() -> None:
    """Raise SddError unless ONNX models can be written and run here."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise SddError(
            f"{error.name} is not installed, which export needs; install it with: pip install 'sdd[export]'"
        ) from error


def check_size(model: ModelProto) -> None:
    """Raise SddError if the model is too large for one file."""
    if model.ByteSize() > LARGEST:
        raise SddError(
            "this editor's networks are too large for one ONNX file of 2 GB; export them with --precision fp16"
        )


@contextmanager
def _possible(what: str) -> Iterator[None]:
    """Torch's exporter fails with pages for its developers, in many ways that differ from one release to the next."""
    try:
        yield
    except Exception as error:
        why = one_line(str(error).strip().partition("\n")[0], 200)
        raise SddError(
            f"torch {torch.__version__} cannot {what} ({type(error).__name__}: {why}); it was tried with torch 2.13"
        ) from error


@contextmanager
def silent() -> Iterator[None]:
    """What torch's exporter tells its developers is dropped."""
    names = ("torch.onnx", "torch.export", "torch._export", "onnxscript", "onnx_ir")
    speakers = [logging.getLogger(name) for name in names]
    levels = [speaker.level for speaker in speakers]
    for speaker in speakers:
        speaker.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for speaker, level in zip(speakers, levels, strict=True):
            speaker.setLevel(level)
