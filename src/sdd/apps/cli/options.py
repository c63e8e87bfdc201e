"""Options that several commands share, and what they become."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd.apps import terminal
from sdd.domains.embedded import EMBEDDED
from sdd.errors import SddError

if TYPE_CHECKING:
    import torch

    from sdd.domains.domain import Domain
    from sdd.editor import Composition
    from sdd.io.pictures.folder import Source
    from sdd.teachers.protocol import Teacher
    from sdd.training.config import DistillConfig


class Crop(StrEnum):
    """Which part of a photo a domain's generator knows."""

    face = "face"
    centre = "centre"
    car = "car"


class Preset(StrEnum):
    """Named sets of training options."""

    default = "default"
    reference = "reference"


class Split(StrEnum):
    """Pictures the shipped models were trained on, or held out."""

    train = "train"
    test = "test"


Prompt = Annotated[str, typer.Argument(help='What edited pictures should show, "white hair" for instance.')]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0, max=2**62 - 1)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; CUDA if there is one, else the CPU.")]
DomainName = Annotated[str | None, typer.Option("--domain", help="Name of a domain; avatars if nothing else is given.")]
TeacherName = Annotated[str | None, typer.Option(help="Diffusion model: folder, file, hub id or name (sdd models).")]
Vae = Annotated[str | None, typer.Option(help="Another autoencoder for the teacher: folder or hub id.")]
GeneratorFile = Annotated[str | None, typer.Option(help="StyleGAN2 file or name, instead of a saved domain.")]
EncoderFile = Annotated[str | None, typer.Option(help="e4e or pSp encoder file or name.")]
IdentityFile = Annotated[str | None, typer.Option(help="IR-SE50 file or name, for the identity loss.")]
ImageFolder = Annotated[str | None, typer.Option(help="Folder of photos of the domain to learn on.")]
LatentFile = Annotated[str | None, typer.Option(help="File of W+ codes to learn on instead of photos.")]
CropRule = Annotated[Crop | None, typer.Option(help="Which part of a photo the generator knows.")]


# From options to objects


def check_prompt(prompt: str) -> str:
    if not prompt.strip():
        raise SddError('the prompt is empty; say what the edited pictures should show, "white hair" for instance')
    return prompt.strip()


def slugged(text: str) -> str:
    from sdd.training.run import slug

    return slug(text)


def spread(count: int, total: int) -> list[int]:
    """`count` timesteps of `total`, evenly spread, neither end included unless all are asked for."""
    return sorted({int((i + 0.5) * total / count) for i in range(count)})


def find_domain(name: str | None, device: torch.device | str, **parts: Any) -> Domain:
    """The domain of that name, or of those parts, or a saved one with some parts replaced."""
    from sdd.domains import library

    given = {key: str(value) for key, value in parts.items() if value is not None}
    if not given:
        return library.get(name or EMBEDDED, device)
    from sdd.domains import library
    from sdd.domains.assemble import assemble
    from sdd.domains.parts import Parts

    if "generator" in given:
        if name is not None:
            raise SddError("give either --domain or --generator, not both; `sdd domain add` saves parts under a name")
        return assemble(Parts.model_validate(given)).to(device)
    if name in (None, EMBEDDED):
        if set(given) != {"images"}:
            parts_given = ", ".join(f"--{key}" for key in given if key != "images")
            raise SddError(f"{parts_given} needs --generator, or --domain with a domain of your own")
        from sdd.io.pictures.folder import find

        sources = find([given["images"]])
        return _with_images(library.get(EMBEDDED, device), sources)
    if name not in library.saved():
        return library.get(str(name), device)  # says which there are
    return assemble(library.read(str(name)).model_copy(update=given), name).to(device)


def _with_images(domain: Domain, sources: list[Source]) -> Domain:
    """The domain with the user's own pictures to learn on."""
    import torch

    from sdd.io.pictures.read import read_fitted

    def draw(n: int, seed: int, split: str) -> torch.Tensor:
        order = torch.randperm(len(sources), generator=torch.Generator().manual_seed(seed))[:n].tolist()
        return torch.stack([read_fitted(sources[i].path, domain.image_size, "pad") for i in order])

    domain.draw = draw
    return domain


def find_teacher(
    name: str | None, vae: str | None, domain: Domain, device: torch.device, precision: str = "float32"
) -> Teacher:
    import torch

    from sdd.io import zoo
    from sdd.teachers.load import load_teacher

    wanted = domain.teacher if name is None else name
    if wanted in zoo.ENTRIES and not Path(wanted).exists():
        wanted = str(zoo.resolve(wanted))
    return load_teacher(wanted, device, getattr(torch, precision), vae=vae)


def warn_words(teacher: Teacher, prompt: str) -> None:
    for word, near in teacher.unknown_words(prompt):
        nearest = near if isinstance(near, str) else ", ".join(near)
        hint = f"; the nearest words it knows are {nearest}" if nearest else ""
        terminal.warn(f"the teacher does not know the word {word!r}{hint}")


def make_config(preset: Preset, file: Path | None, settings: list[str] | None, **options: Any) -> DistillConfig:
    from sdd.training.config import DistillConfig

    if file is not None and preset is not Preset.default:
        raise SddError('give either --preset or --config; a TOML file may begin with preset = "reference"')
    overrides = {key: value for key, value in options.items() if value is not None}
    if isinstance(levels := overrides.get("levels"), str) and levels != "auto":
        overrides["levels"] = parse_levels(levels)
    if str(overrides.get("steps", "")).isdecimal():
        overrides["steps"] = int(overrides["steps"])
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise SddError(f"--set takes key=value, not {setting!r}")
        overrides[key.strip()] = _value(value.strip())
    return DistillConfig.make(preset.value if file is None else file, **overrides)


def _value(text: str) -> Any:
    """A value as TOML reads it (3e-4, true, [1, 2]); anything else is the text itself."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def parse_levels(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = ("coarse", "medium", "fine")
    if unknown := [name for name in names if name not in known]:
        raise SddError(f"unknown level {unknown[0]!r}; levels are some of {', '.join(known)}")
    if not names:
        raise SddError(f"no level was given; levels are some of {', '.join(known)}")
    return names


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        left, top, right, bottom = (float(number) for number in text.split(","))
    except ValueError as error:
        raise SddError(f"--box takes left,top,right,bottom in pixels, not {text!r}") from error
    return left, top, right, bottom


def editors_section(paths: list[Path], domain: str | None, device: torch.device, **parts: Any) -> Composition:
    """The editors, in the domain the user names, or the one they were made for, found by name or by generator."""
    from sdd.domains import library
    from sdd.editor import Editor

    info = Editor.load(paths[0]).info
    if domain is not None or any(part is not None for part in parts.values()):
        place = find_domain(domain, device, **parts)
    else:
        place = library.matching(info.domain, info.generator, device)
    return Editor.compose([Editor.load(path, place) for path in paths])


# What is checked before long work, and what is said


def check_folder(folder: Path) -> None:
    """Refuse an output folder that cannot be made or written, before any work is done for it."""
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise SddError(f"cannot write to {folder}: {existing} is a file, not a folder; choose another output folder")
    import tempfile

    try:  # permissions say little about read-only disks, containers and the superuser: try it
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise SddError(f"cannot write to {folder} ({error.strerror}); choose another output folder") from error


def check_file(path: Path) -> None:
    if path.is_dir():
        raise SddError(f"{path} is a folder; name a file for the editor, {path / 'editor.safetensors'} for instance")
    check_folder(path.parent)


def watched() -> bool:
    return sys.stderr.isatty()
