"""How to distil: every option of a training, its presets, and its TOML form."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sdd.errors import SddError
from sdd.io.files import write_text

Level = Literal["coarse", "medium", "fine"]
MapperKind = Literal[
    "levels",
    "single",
    "stylespace",
    "stylespace_without_rgb",
    "LevelsMapper",
    "SingleMapper",
    "FullStyleSpaceMapper",
    "WithoutToRGBStyleSpaceMapper",
]


class DistillConfig(BaseModel):
    """Every option of a training. Units: see each; a weight of 1 means the same for every guidance and generator.

    With `fixed_scale` the guidance gradient is divided once, at the start, by the size of its own signal on the code in
    units of standard deviation. Learning rate and weights then mean the same whatever the guidance and its scale are,
    and training still settles, because the gradient may shrink as the edit takes hold. (Dividing by each batch's own
    size keeps pushing for ever: every picture collapses to one.)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # what teaches
    guidance: Literal["sds", "csd", "dds"] = "dds"
    scale: float = 5.0  # classifier-free guidance: eps_null + scale * (eps_text - eps_null)
    source_prompt: str = ""  # what the source shows, for dds; empty is the null prompt
    timesteps: str = "above:0"  # strategy: largest, above:0.8, random, list:700,750
    # Share of the schedule by which the timesteps sink from the first step to the last, those of a list excepted: the
    # score is the source's, and where an edit has taken hold the finer timesteps have something to say too.
    descend: float = Field(default=0.25, ge=0, le=1)
    search_images: int = Field(default=12, ge=1)  # images the hybrid quality score averages over
    sample_posterior: bool = False  # encode with a draw from the autoencoder's posterior, instead of its mean
    topk: int | None = Field(default=None, ge=1)  # keep the largest entries of the latent gradient only
    topk_over: Literal["image", "batch"] = "image"
    fixed_scale: bool = True  # see above; false takes the gradient as it is, summed, as published

    # what learns
    mapper: MapperKind = "levels"
    levels: tuple[Level, ...] | Literal["auto"] = "auto"  # auto: those that carry the guidance's signal
    level_share: float = Field(default=0.02, ge=0, le=1)  # auto: a level must carry this share of it
    hidden: int = Field(default=256, ge=1, le=8192)
    depth: int = Field(default=3, ge=1, le=16)
    latent_weight: float = 0.1  # published mappers: factor on their output

    # what keeps the edit close to its source
    mask: bool = True  # guide only where the prompt means something: DiffEdit's mask, kept soft
    keep: float = Field(default=10.0, ge=0)  # with a mask: times the mean absolute change of the image outside it
    keep_warmup: int = Field(default=40, ge=0)  # steps over which `keep` grows from 0: an edit first has to take hold
    latent_l2: float = Field(default=0.01, ge=0)  # times the mean squared change, in standard deviations of the code
    whitened_l2: bool = True  # false: in the code's own units, as published
    image_l2: float = Field(default=0.0, ge=0)
    # Times 1 - cosine between edited and source. Off: it takes a fifth of a step, and with a mask it changed nothing.
    identity: float = Field(default=0.0, ge=0)

    # how
    images: int = Field(default=128, ge=1)  # source images; fewer if the domain has fewer
    batch: int = Field(default=8, ge=1)
    shuffle: bool = True
    steps: int | Literal["auto"] = "auto"  # auto: until converged, at most max_steps
    max_steps: int = Field(default=100, ge=1)
    converged: float = Field(
        default=0.1, ge=0, lt=1
    )  # auto: until the pull along the edit is below this share of its peak
    lr: float = Field(default=1.3e-2, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    ema: float = Field(default=0.95, ge=0, lt=1)  # of the mapper's weights; 0 is off
    max_gradient: float | None = Field(default=4.0, gt=1)  # a larger gradient, in running medians, is scaled down to it
    strength: float | Literal["auto"] = "auto"  # what strength 1 multiplies; auto: just beyond where guidance rests
    precision: Literal["float32", "bfloat16"] = "float32"  # of generator and teacher

    # what is kept of the run
    checkpoint_every: int = Field(default=25, ge=1)
    grid_every: int = Field(default=50, ge=1)

    @field_validator("timesteps", mode="before")
    @classmethod
    def _strategy(cls, value: Any) -> Any:
        kind, _, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
        if kind == "above" and _number(rest):
            if not -1 <= float(rest) < 1:
                raise ValueError("scores lie between -1 and 1, and above:0.8 takes those above 0.8")
        elif value not in ("largest", "random") and not (kind == "list" and re.fullmatch(r" *\d+( *, *\d+)* *", rest)):
            raise ValueError("strategies are largest, random, above:0.8 and list:700,750")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.steps != "auto" and self.steps < 1:
            raise ValueError("steps must be at least 1, or 'auto'")
        if self.levels != "auto" and not self.levels:
            raise ValueError("levels must name at least one of coarse, medium, fine")
        return self

    @classmethod
    def make(cls, config: DistillConfig | dict[str, Any] | str | Path | None = None, **overrides: Any) -> DistillConfig:
        """A configuration from another one, a preset's name, a TOML file or a dict, with some options replaced.

        Raises:
            SddError: unknown preset, file or option, or a value that an option cannot take.
        """
        if config is None:
            options: dict[str, Any] = {}
        elif isinstance(config, DistillConfig):
            options = config.model_dump()
        elif isinstance(config, dict):
            options = dict(config)
        elif str(config) in PRESETS:
            options = dict(PRESETS[str(config)])
        else:
            options = _read_toml(Path(config))
        try:
            return cls(**{**options, **overrides})
        except ValidationError as error:
            raise SddError(_sentence(error)) from error

    def to_toml(self) -> str:
        """Every option, one a line; options that are off (None) are left out."""
        # JSON's strings, numbers, booleans and lists are TOML's.
        options = {k: v for k, v in self.model_dump(mode="json").items() if v is not None}
        off = [k for k, v in self.model_dump().items() if v is None and type(self).model_fields[k].default is not None]
        lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in options.items()]
        return "\n".join([*lines, *(f'{k} = "off"' for k in off)]) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the options as TOML, atomically."""
        write_text(path, self.to_toml())

    @model_validator(mode="before")
    @classmethod
    def _off(cls, data: Any) -> Any:
        """TOML has no null: an option that can be off is turned off by "off"."""
        if not isinstance(data, dict):
            return data
        return {k: None if v == "off" and k in ("topk", "max_gradient") else v for k, v in data.items()}


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The published hyperparameters of "white hair" (arXiv 2307.08448 and its code).
    "reference": {
        "guidance": "sds",
        "scale": 100.0,
        "timesteps": "list:800",
        "descend": 0.0,
        "sample_posterior": True,
        "topk": 1024,
        "topk_over": "batch",
        "fixed_scale": False,
        "mapper": "LevelsMapper",
        "levels": ("medium", "fine"),
        "latent_weight": 0.1,
        "mask": False,
        "latent_l2": 10.0,
        "whitened_l2": False,
        "identity": 1.0,
        "batch": 2,
        "shuffle": False,
        "steps": 4000,
        "lr": 0.005,
        "schedule": "constant",
        "weight_decay": 0.002,
        "ema": 0.0,
        "max_gradient": None,
        "strength": 1.0,
        "checkpoint_every": 100,
        "grid_every": 500,
    },
}


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        near = difflib.get_close_matches(str(path), PRESETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"give a TOML file or one of {', '.join(PRESETS)}"
        raise SddError(f"there is no configuration {str(path)!r}; {hint}")
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SddError(f"{path} is not a TOML file: {error}") from error
    preset = options.pop("preset", "default")
    if preset not in PRESETS:
        raise SddError(f"{path} names an unknown preset {preset!r}; presets are {', '.join(PRESETS)}")
    return {**PRESETS[preset], **options}


def _sentence(error: ValidationError) -> str:
    """The first problem, in one sentence."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, DistillConfig.model_fields, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; options are {', '.join(DistillConfig.model_fields)}"
        return f"unknown option {name!r} in the configuration{hint}"
    said = first["msg"].removeprefix("Value error, ")
    if not name:
        return f"the configuration is inconsistent: {said}"
    return f"option {name!r} cannot be {first['input']!r}: {said[0].lower()}{said[1:]}"
