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
    """Every option of a training; the defaults are the preset `default`. `PAPER` has what the paper does of each."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: Literal["default", "paper", "published"] = "default"  # what the options below began as

    # what teaches
    guidance: Literal["sds", "csd", "dds", "pds", "asd"] = "dds"
    scale: float = Field(default=5.0, ge=-1000, le=1000)  # classifier-free: eps_null + scale * (eps_text - eps_null)
    fidelity: float = Field(default=1.0, ge=0, le=1000)  # of dds and pds: weight of eps_null - source_eps_null
    source_prompt: str = ""  # what the source shows, for dds and pds; empty is the null prompt
    timesteps: str = "above:0"  # strategy: largest, above:0.8, random, information, list:700,750
    search_gradient: Literal["image", "latent"] = "latent"  # of the hybrid quality score; image is Equation 8
    search_scale: float = Field(default=5.0, ge=-1000, le=1000)  # of the guidance in that score; 1 is Equation 8
    search_weighted: bool = True  # whether that score is of w(t) times the gradient; Equation 8 has no w(t)
    search_images: int = Field(default=12, ge=1, le=100_000)  # images the hybrid quality score averages over, at most
    search_sure: float = Field(default=0.0, ge=0, lt=1)  # share of its decisions to be sure of; 0: look at all images
    descend: float = Field(default=0.25, ge=0, le=1)  # share of the schedule by which timesteps sink, lists excepted
    sample_posterior: bool = True  # encode with a draw from the autoencoder's posterior, instead of its mean
    topk: int | None = Field(default=None, ge=1)  # keep the largest entries of the latent gradient only
    topk_over: Literal["image", "batch"] = "image"
    normalise: bool = True  # the guidance in units of its own signal; false takes it as it is

    offline: bool = False  # latents descend first; what learns is then regressed on what they become
    offline_steps: int = Field(default=10, ge=1, le=10_000)  # by which each picture's latents descend
    offline_rate: float = Field(default=0.1, gt=0, le=100)  # of the first of them, in units of latents
    draws: int = Field(default=1, ge=1, le=64)  # of timestep and noise, for each picture drawn
    reduction: Literal["mean", "sum"] = "mean"  # of the guidance over a batch

    # what learns
    manipulator: Literal["stylegan", "one-step", "image-to-image"] = "stylegan"
    rank: int = Field(default=8, ge=1, le=1024)  # one-step: of the low-rank updates
    t_edit: int = Field(default=500, ge=0, le=100_000)  # one-step: the timestep its U-Net is told
    width: int = Field(default=48, ge=8, le=1024, multiple_of=8)  # image-to-image: channels of its U-Net's first level
    mapper: MapperKind = "levels"
    levels: tuple[Level, ...] | Literal["auto"] = "auto"  # auto: those that carry the guidance's signal
    level_share: float = Field(default=0.02, ge=0, le=1)  # auto: a level must carry this share of it
    hidden: int = Field(default=256, ge=1, le=8192)
    depth: int = Field(default=3, ge=1, le=16)
    latent_weight: float = Field(default=0.1, ge=-100, le=100)  # published mappers: factor on their output

    # what keeps the edit close to its source
    mask: bool = False  # listen to the guidance only where the prompt means something: DiffEdit's mask, kept soft
    mask_saturation: float = Field(default=0.5, gt=0, le=1)  # share of the largest difference where the mask is one
    mask_sharpness: float = Field(default=5.0, gt=0, le=100)  # power of 1 - mask that weighs what lies outside
    outside_weight: float = Field(
        default=10.0, ge=0, le=1e6
    )  # times the mean absolute change of the image outside the mask
    outside_warmup: int = Field(
        default=40, ge=0, le=10_000_000
    )  # steps over which that weight grows: an edit first has to take hold
    shown_weight: float = Field(default=0.0, ge=0, le=1e6)  # times the mean |change| of the picture, anywhere
    l2: float = Field(default=0.01, ge=0, le=1e6)  # times the mean squared change
    l2_units: Literal["std", "code"] = "std"  # of that change: standard deviations of the code, or its own units
    identity: float = Field(default=0.0, ge=0, le=1e6)  # times 1 - cosine between edited and unedited

    # how
    images: int | Literal["all"] = 128  # source images; fewer if the domain has fewer
    batch: int = Field(default=8, ge=1, le=4096)
    shuffle: bool = True
    steps: int | Literal["auto"] = "auto"  # auto: until settled, at most max_steps
    max_steps: int = Field(default=100, ge=1, le=10_000_000)
    settled: float = Field(default=0.1, ge=0, lt=1)  # auto: until the slope along the edit is this share of its peak
    lr: float = Field(default=1.3e-2, gt=0, le=1000)
    lr_warmup: int = Field(default=0, ge=0, le=10_000_000)  # steps over which the rate rises
    schedule: Literal["cosine", "constant"] = "constant"
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)  # of the learned weights' moving average; 0 is off
    max_gradient: float | None = Field(default=None, gt=1)  # larger gradients, in running medians, are scaled down
    strength: float | Literal["auto"] = "auto"  # what strength 1 multiplies; auto: where the guidance is satisfied ...
    overshoot: float = Field(default=1.1, gt=0, le=10)  # ... times this: half of the pictures need more than average
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of a step; auto: bfloat16 on a processor that has it

    # what is kept of the run
    checkpoint_every: int = Field(default=25, ge=1, le=10_000_000)
    grid_every: int = Field(default=50, ge=1, le=10_000_000)

    @field_validator("timesteps", mode="before")
    @classmethod
    def _strategy(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and value and all(isinstance(t, int) for t in value):
            return "list:" + ",".join(map(str, value))
        kind, _, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
        if kind == "above" and _number(rest):
            if not -1 <= float(rest) < 1:
                raise ValueError("scores lie between -1 and 1, and above:0.8 takes those above 0.8")
        elif value not in ("largest", "random", "information") and not (
            kind == "list" and re.fullmatch(r" *\d+( *, *\d+)* *", rest)
        ):
            raise ValueError("strategies are largest, random, information, above:0.8 and list:700,750")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.steps != "auto" and self.steps < 1:
            raise ValueError("steps must be at least 1, or 'auto'")
        if self.images != "all" and self.images < 1:
            raise ValueError("images must be at least 1, or 'all'")
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
            options = dict(PRESETS[str(config)]) | {"preset": str(config)}
        else:
            options = _read_toml(Path(config))
        given = {**options, **overrides}
        if given.get("preset", "default") == "default":
            given = {**KIND_DEFAULTS.get(str(given.get("manipulator", "")), {}), **given}
        try:
            return cls(**given)
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


# The paper, every option that it has: search, S = {t : HQS_t > ξ}, SDS, Algorithm 1, L2 and identity, the whole domain
# shuffled. What the paper leaves open (ξ is given as a range; rate, weights, batch and steps were set for each prompt
# by hand) is as in the released configuration of "white hair", and ξ is the middle of the score's range.
PAPER: dict[str, Any] = {
    "guidance": "sds",
    "scale": 100.0,
    "timesteps": "above:0",
    "search_gradient": "image",
    "search_scale": 1.0,
    "search_weighted": False,
    "search_images": 200,
    "search_sure": 0.0,
    "descend": 0.0,
    "draws": 1,
    "sample_posterior": True,
    "normalise": False,
    "mapper": "LevelsMapper",
    "levels": ("coarse", "medium", "fine"),
    "mask": False,
    "outside_weight": 0.0,
    "outside_warmup": 0,
    "shown_weight": 0.0,
    "l2": 10.0,
    "l2_units": "code",
    "identity": 1.0,
    "images": "all",
    "batch": 2,
    "steps": 4000,
    "lr": 0.005,
    "lr_warmup": 0,
    "schedule": "constant",
    "weight_decay": 0.002,
    "ema_decay": 0.0,
    "max_gradient": None,
    "strength": 1.0,
    "overshoot": 1.0,
    "precision": "float32",
    "checkpoint_every": 100,
    "grid_every": 500,
}

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": PAPER,
    # What the released code of "white hair" did: one timestep and no search, the largest entries of the gradient over
    # the batch, pictures in their order.
    "published": PAPER
    | {
        "timesteps": "list:800",
        "topk": 1024,
        "topk_over": "batch",
        "reduction": "sum",
        "levels": ("medium", "fine"),
        "shuffle": False,
    },
}

# What `default` is for other manipulators than StyleGAN's: a change of latents or pixels has other units, and is held.
# Their rates were set with these options on, which a mapper does better without (the ablation's `steady`).
STEADY: dict[str, Any] = {
    "lr_warmup": 5,
    "schedule": "cosine",
    "ema_decay": 0.95,
    "max_gradient": 4.0,
    "sample_posterior": False,
}
KIND_DEFAULTS: dict[str, dict[str, Any]] = {
    "one-step": STEADY
    | {
        "descend": 0.6,
        "lr": 0.002,
        "max_steps": 160,
        "outside_weight": 1.0,
        "shown_weight": 0.7,
        "settled": 0.0,
        "strength": 1.25,
        "draws": 1,
        "batch": 8,
        "images": 128,
        "precision": "float32",
    },
    "image-to-image": STEADY
    | {
        "offline": True,
        "mask": True,
        "images": 768,  # fewer, and an edit as small as a mouth is not learned at all
        "batch": 4,
        "steps": 3600,
        "lr": 2e-3,
        "ema_decay": 0.99,
        "outside_weight": 0.0,
        "l2": 0.0,
        "strength": 1.0,
        "precision": "float32",
        "checkpoint_every": 100,
        "grid_every": 200,
    },
}

# What of `default` is not the paper's: a name, the options it consists of, and what it is in a few words. Each lives in
# its own file of `sdd.beyond`; the benchmark's `ablation` measures what each buys.
DEPARTURES: dict[str, tuple[tuple[str, ...], str]] = {
    "guidance": (("guidance", "scale", "fidelity"), "delta denoising score instead of score distillation"),
    "outside": (
        ("outside_weight", "outside_warmup", "shown_weight"),
        "the picture is held where the prompt means little",
    ),
    "descent": (("descend",), "timesteps sink while training"),
    "search": (
        ("search_gradient", "search_scale", "search_weighted", "search_images", "search_sure"),
        "the score is of the guidance as it teaches, w(t) and scale included, on latents, of fewer images",
    ),
    "units": (("normalise", "l2", "l2_units"), "guidance and L2 in units of their own spread"),
    "mapper": (("mapper", "levels", "lr", "weight_decay"), "a mapper that starts at no change, levels by signal"),
    "identity": (("identity",), "no identity loss"),
    "strength": (("strength", "overshoot"), "strength 1 goes to where the guidance is satisfied"),
    "pace": (("images", "batch", "draws", "steps"), "some hundred pictures, larger batches, as many steps as it takes"),
    "precision": (("precision",), "steps are computed in bfloat16 where the processor has it"),
}

# What is not the paper's of other kinds than StyleGAN's, beside that.
KIND_DEPARTURES: dict[str, tuple[tuple[str, ...], str]] = {
    "steady": (
        ("lr_warmup", "schedule", "ema_decay", "max_gradient", "sample_posterior"),
        "rates that rise and fall, averaged weights, outliers held down, no draw from the posterior",
    ),
    "mask": (("mask",), "the guidance is listened to only where the prompt means something"),
    "offline": (
        ("offline",),
        "not Algorithm 1: guidance moves latents, and the manipulator is regressed on what they become",
    ),
}


def departures(settings: DistillConfig) -> list[str]:
    """The names of what in a configuration is not the paper's: of `DEPARTURES`, `KIND_DEPARTURES`, "information",
    "released code"."""
    paper = DistillConfig(**PAPER)

    def differs(options: tuple[str, ...]) -> bool:
        return any(getattr(settings, name) != getattr(paper, name) for name in options)

    found = [name for name, (options, _) in (DEPARTURES | KIND_DEPARTURES).items() if differs(options)]
    found += ["information"] if settings.timesteps == "information" else []
    return found + (["released code"] if differs(("topk", "shuffle", "reduction")) else [])


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise SddError(f"{path} is not a TOML file: {error}") from error
    preset = options.pop("preset", "default")
    if preset not in PRESETS:
        raise SddError(f"{path} names an unknown preset {preset!r}; presets are {', '.join(PRESETS)}")
    return {**PRESETS[preset], "preset": preset, **options}


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
