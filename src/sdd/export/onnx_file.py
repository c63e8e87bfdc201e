"""An editor as one ONNX file: `picture` and `strength` in, `edited` out.

picture   float32 (batch, 3, S, S) in [-1, 1]
strength  float32 (batch, E), of each of E editors
edited    float32 (batch, 3, S, S) in [-1, 1]
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.editor import Composition
from sdd.export import trace
from sdd.export.portable import Portable
from sdd.export.precision import Precision, kept_as
from sdd.io.files import atomic_path

if TYPE_CHECKING:
    from onnx import ModelProto

PICTURE, STRENGTH, EDITED = "picture", "strength", "edited"


def example(net: Portable) -> tuple[Tensor, Tensor]:
    """Inputs of the right shape, two pictures."""
    return torch.zeros(2, 3, net.size, net.size), torch.ones(2, net.count)


def model(
    editors: Composition,
    precision: Precision = Precision.float32,
    blend: bool = True,
    done: trace.Done = lambda: None,
) -> ModelProto:
    """The ONNX model of one or several editors.

    Args:
        done: called after each of `trace.STEPS` steps.

    Raises:
        SddError: a kind of editor that cannot leave, one too large for one file, or packages that are not here.
    """
    trace.check_installed()
    net = Portable(editors, blend).eval()
    made = trace.to_onnx(net, example(net), [PICTURE, STRENGTH], [EDITED], done)
    return described(kept_as(made, precision), editors, precision, blend)


def described(made: ModelProto, editors: Composition, precision: Precision, blend: bool) -> ModelProto:
    """The model with what there is to know of it in its metadata: one entry `sdd`, JSON."""
    made.metadata_props.add(key="sdd", value=json.dumps(description(editors, precision, blend), ensure_ascii=False))
    return made


def description(editors: Composition, precision: Precision, blend: bool) -> dict[str, Any]:
    """What there is to know of exported editors, JSON-able."""
    infos = [editor.info for editor in editors.editors]
    return {
        "prompts": [info.prompt for info in infos], "domain": infos[0].domain, "generator": infos[0].generator,
        "image_size": editors.image_size, "crop": editors.crop, "range": [-1, 1], "precision": precision.value,
        "blended": blend, "notes": list(dict.fromkeys(note for info in infos for note in info.notes)),
    }  # fmt: skip


def write(made: ModelProto, path: str | Path) -> None:
    """Write the model to one file, atomically.

    Raises:
        SddError: it is too large for one file, or the file cannot be written.
    """
    trace.check_size(made)
    with atomic_path(path) as aside:
        aside.write_bytes(made.SerializeToString(deterministic=True))


def runner(source: str | Path | bytes, threads: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """An ONNX file, or its bytes, run by onnxruntime on the CPU: pictures and strengths to edited pictures."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    where = source if isinstance(source, bytes) else str(source)
    session = onnxruntime.InferenceSession(where, options, providers=["CPUExecutionProvider"])

    def run(picture: Tensor, strength: Tensor) -> Tensor:
        given = {PICTURE: picture.float().numpy(), STRENGTH: strength.float().numpy()}
        return torch.from_numpy(session.run([EDITED], given)[0])

    return run
