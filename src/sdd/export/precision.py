"""The weights of an ONNX model in fewer bits: what a file weighs, and what a visitor waits for.

Arithmetic stays float32, so that a model runs alike wherever float32 does: each weight is turned back when it is read.
`fp16` halves the file; `int8` quarters it, with one scale for each output channel (the largest weight is 127).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

SMALLEST = 1024  # numbers of a tensor below which there is nothing to win


class Precision(StrEnum):
    """How weights are kept."""

    float32 = "float32"
    fp16 = "fp16"
    int8 = "int8"


def kept_as(model: ModelProto, precision: Precision) -> ModelProto:
    """The model with its weights kept so; in place, and returned."""
    if precision is Precision.float32:
        return model
    from onnx import TensorProto, numpy_helper

    graph, first = model.graph, list[Any]()
    large = [w for w in graph.initializer if w.data_type == TensorProto.FLOAT and int(np.prod(w.dims)) >= SMALLEST]
    for weight in large:
        values = numpy_helper.to_array(weight)
        graph.initializer.remove(weight)
        new, node = _half(weight.name, values) if precision is Precision.fp16 else _eighths(weight.name, values)
        graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in new.items())
        first.append(node)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*first, *nodes])  # a graph's nodes stand in the order in which they can run
    return model


def _half(name: str, values: NDArray[np.float32]) -> tuple[dict[str, NDArray[Any]], Any]:
    from onnx import TensorProto, helper

    largest = np.finfo(np.float16).max
    kept = np.clip(values, -largest, largest).astype(np.float16)
    return {f"{name}.fp16": kept}, helper.make_node("Cast", [f"{name}.fp16"], [name], to=TensorProto.FLOAT)


def _eighths(name: str, values: NDArray[np.float32]) -> tuple[dict[str, NDArray[Any]], Any]:
    from onnx import helper

    axis = next((i for i, n in enumerate(values.shape) if n > 1), 0)
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = np.maximum(np.abs(values).max(others), np.finfo(np.float32).tiny * 127) / np.float32(127)
    kept = np.rint(values / np.expand_dims(scale, others)).clip(-127, 127).astype(np.int8)
    parts = {f"{name}.int8": kept, f"{name}.scale": scale.astype(np.float32)}
    return parts, helper.make_node("DequantizeLinear", list(parts), [name], axis=axis)
