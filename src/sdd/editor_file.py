"""The file of an editor: one safetensors file that never executes anything.

It holds the tensors of what was learned, and one metadata entry `sdd` with an `EditorInfo` as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sdd.errors import SddError, guarded
from sdd.io.files import write_bytes
from sdd.manipulators.kinds import learned_of

FORMAT = 3
SAID = "said"  # the tensor that holds an editor's description, where tensors alone are kept
MAX_HQS = 10_000  # timesteps of a saved curve; the longest schedule in use has 1000


Text = Annotated[str, Field(max_length=1000)]  # what a file says is shown; no more of it than can be read


class Curve(BaseModel):
    """A saved curve of hybrid quality scores (`sdd.paper.hqs.HQS.to_json`); what else it holds is kept, unread."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    timesteps: list[int] = Field(max_length=MAX_HQS)
    hqs: list[float] = Field(max_length=MAX_HQS)

    @model_validator(mode="after")
    def _as_long(self) -> Curve:
        if len(self.timesteps) != len(self.hqs) or not self.hqs:
            raise ValueError("timesteps and scores differ in number, or there are none")
        return self


class EditorInfo(BaseModel):
    """What an editor file says about itself.

    Attributes:
        format: version of the file format.
        prompt: the target text; empty for an imported mapper whose text is not known.
        domain: name of the domain it edits.
        generator: SHA-256 of the tensors of the generator it was made for; empty for a manipulator without one.
        needs: the same of what else it was made with and is used with again, by name: the encoder, say. (A one-step
            editor has its teacher's U-Net in `manipulator`.)
        manipulator: `kind` and arguments (`sdd.manipulators.kinds`).
        crop: which part of a photo its pictures show (`sdd.io.pictures.crop`); None takes a picture whole.
        strength: the learned change is multiplied by this at strength 1.
        teacher: the diffusion model that taught it.
        preset: the preset its training began with; `departures`: what in it is not the paper's
            (`sdd.training.config.departures`).
        timesteps: the timesteps it was taught at.
        hqs: the hybrid quality score of each timestep, if it was searched.
        config: the training configuration (`sdd.training.config.DistillConfig`), if it was trained here.
        seed: of the training.
        figures: measured numbers, by name.
        versions: of the software that made it.
        notes: licences and origins, one sentence each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT
    prompt: Text
    domain: Text
    generator: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    needs: dict[Text, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=dict, max_length=20)
    manipulator: dict[str, Any]
    crop: str | None = Field(default=None, max_length=20)
    strength: float = 1.0
    teacher: Text = ""
    preset: Text = ""
    departures: list[Text] = Field(default_factory=list, max_length=100)
    timesteps: list[int] = Field(default_factory=list, max_length=MAX_HQS)
    hqs: Curve | None = None
    config: dict[str, Any] | None = None
    seed: int | None = None
    figures: dict[Text, float] = Field(default_factory=dict, max_length=200)
    versions: dict[Text, Text] = Field(default_factory=dict, max_length=200)
    notes: list[Text] = Field(default_factory=list, max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _first_format(cls, data: Any) -> Any:
        """A file of format 1 knows StyleGAN's mapper alone."""
        if isinstance(data, dict) and data.get("format", FORMAT) == 1 and "mapper" in data:
            rest = {key: value for key, value in data.items() if key != "mapper"}
            return rest | {"format": FORMAT, "manipulator": {"kind": "stylegan", "mapper": data["mapper"]}}
        return data


def write(path: str | Path, info: EditorInfo, learned: nn.Module) -> None:
    """Write an editor to one file, atomically; equal editors give equal bytes.

    Raises:
        SddError: a weight is not finite, or the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learned.state_dict().items()}
    _finite(tensors, "the editor")
    text = json.dumps(info.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, allow_nan=False)
    # One entry of metadata: the order of several would differ from one process to the next.
    write_bytes(path, save(tensors, {"sdd": text}))


def read(path: Path) -> tuple[EditorInfo, nn.Module]:
    """What an editor file says, and what was learned; everything is checked, nothing is executed.

    Raises:
        SddError: no such file, truncated, not an editor, made by a newer sdd, or tensors that are missing, of another
            shape or not finite.
    """
    with guarded(str(path), "an editor file"):
        info, tensors = _contents(path)
        return info, _filled(path, info, tensors)


def to_tensors(info: EditorInfo, learned: nn.Module) -> dict[str, Tensor]:
    """An editor as tensors alone: what it learned, and what it says of itself as the bytes of its JSON."""
    text = json.dumps(info.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, allow_nan=False)
    said = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    return {SAID: said, **{f"learned.{k}": v.detach().cpu().contiguous() for k, v in learned.state_dict().items()}}


def of_tensors(tensors: dict[str, Tensor], label: str) -> tuple[EditorInfo, nn.Module]:
    """The editor of `to_tensors`; everything is checked, nothing is executed.

    Raises:
        SddError: they are not such tensors.
    """
    with guarded(label, "an editor"):
        said = tensors.get(SAID)
        if said is None or said.dtype != torch.uint8 or said.ndim != 1:
            raise SddError(f"{label} does not say what editor it holds; it is damaged")
        info = _said(bytes(said.tolist()).decode(), label)
        learned = {k.removeprefix("learned."): v for k, v in tensors.items() if k.startswith("learned.")}
        return info, _filled(label, info, learned)


def _contents(path: Path) -> tuple[EditorInfo, dict[str, Tensor]]:
    if not path.is_file():
        raise SddError(f"there is no editor file {path}" + ("; it is a folder" if path.is_dir() else ""))
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "sdd" not in metadata:
                raise SddError(
                    f"{path} holds tensors but is not an sdd editor; `sdd inspect` says what it is, and `sdd import` "
                    f"makes an editor of a published mapper"
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise SddError(
            f"{path} is truncated or not an editor file ({error}); copy it again, or see what it is with `sdd inspect`"
        ) from error
    return _said(metadata["sdd"], str(path)), tensors


def _said(text: str, label: str) -> EditorInfo:
    """What an editor says of itself, checked."""
    try:
        raw = json.loads(text)
        version = raw.get("format") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise SddError(
                f"{label} was written by a newer sdd (format {version}; this one reads {FORMAT}); upgrade sdd"
            )
        info = EditorInfo.model_validate(raw, strict=True)
    except (ValidationError, RecursionError, ValueError) as error:
        where = ""
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = f": {'.'.join(map(str, first['loc']))}, {first['msg'].lower()}"
        raise SddError(f"{label} is not a valid editor file; its description is damaged{where}") from error
    return info


def _filled(path: Path | str, info: EditorInfo, tensors: dict[str, Tensor]) -> nn.Module:
    """The learned part that a file describes, filled with the file's tensors."""
    _plausible(path, info.manipulator)
    try:
        with torch.device("meta"):  # a description can claim any size; nothing is allocated until the tensors agree
            learned = learned_of(info.manipulator, tensors)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SddError(f"{path} describes a manipulator that cannot be built: {error}") from error
    wanted = learned.state_dict()
    for name, like in wanted.items():
        found = tensors.get(name)
        if found is None:
            raise SddError(f"{path} lacks the tensor {name!r} {tuple(like.shape)} of what it learned; it is damaged")
        if found.shape != like.shape or found.dtype != like.dtype:
            raise SddError(
                f"{path} has tensor {name!r} as {tuple(found.shape)} of {found.dtype}, but its manipulator needs "
                f"{tuple(like.shape)} of {like.dtype}; the file is damaged"
            )
    for name in tensors:
        if name not in wanted:
            raise SddError(f"{path} has a tensor {name!r} that its manipulator does not know; the file is damaged")
    _finite(tensors, str(path))
    learned.load_state_dict(tensors, assign=True)
    return learned


def _plausible(path: Path | str, config: dict[str, Any]) -> None:
    """Refuse a description that would build for ever: thousands of layers, each of them small."""
    mapper = config.get("mapper", {})
    dims, depth = (mapper.get("dims", []), mapper.get("depth", 1)) if isinstance(mapper, dict) else ([], 0)
    if not isinstance(dims, list) or len(dims) > 64 or depth not in range(1, 17):
        raise SddError(f"{path} describes a mapper of impossible size; the file is damaged")


def _finite(tensors: dict[str, Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise SddError(f"{what} carries NaN or infinity in {name!r}; its training went wrong, so train it again")
