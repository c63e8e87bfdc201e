"""From options to objects: domains, teachers, configurations, editors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.apps.cli.options import Preset, parse_levels
from sdd.domains.embedded import EMBEDDED
from sdd.errors import SddError, one_line

if TYPE_CHECKING:
    import torch

    from sdd.domains.domain import Domain
    from sdd.editor import Composition
    from sdd.teachers.protocol import Teacher
    from sdd.training.config import DistillConfig


def find_domain(name: str | None, device: torch.device | str, **parts: Any) -> Domain:
    """The domain of that name, or of those parts, or a saved one with some parts replaced.

    Raises:
        SddError: there is no such domain, or the parts make none.
    """
    from sdd.domains import library
    from sdd.domains.assemble import assemble
    from sdd.domains.parts import Parts
    from sdd.domains.photos import with_photos

    given = {key: str(value) for key, value in parts.items() if value is not None}
    if not given:
        return library.get(name or EMBEDDED, device)
    if "generator" in given:
        if name is not None:
            raise SddError("give either --domain or --generator, not both; `sdd domain add` saves parts under a name")
        return assemble(Parts.model_validate(given)).to(device)
    if name in (None, EMBEDDED):
        if set(given) != {"images"}:
            parts_given = ", ".join(f"--{key}" for key in given if key != "images")
            raise SddError(f"{parts_given} needs --generator, or --domain with a domain of your own")
        return with_photos(library.get(EMBEDDED, device), given["images"])
    if name not in library.saved():
        return library.get(str(name), device)  # says which there are
    return assemble(library.read(str(name)).model_copy(update=given), name).to(device)


def find_place(
    options: DistillConfig,
    parts: dict[str, str | None],
    name: str | None,
    teacher: str | None,
    vae: str | None,
    size: int | None,
    device: torch.device,
) -> tuple[Domain, Teacher | None]:
    """Where a training takes place, and its teacher; None for the domain's own.

    For a manipulator that needs no generator a folder of pictures with a teacher is a domain.

    Args:
        parts: of the domain, by their names.
        size: side of the pictures of a folder; None for what the teacher sees.

    Raises:
        SddError: there is no such domain or teacher, or the parts make none.
    """
    from sdd.domains.assemble import folder_domain
    from sdd.manipulators.kinds import needs

    images = parts["images"]
    if (
        needs(options.manipulator) == "generator"
        or name is not None
        or images is None
        or parts["generator"] is not None
    ):
        if size is not None:
            raise SddError("--size is of pictures that no generator draws; leave it out, or give another --manipulator")
        place = find_domain(name, device, **parts)
        asked = teacher is not None or vae is not None
        return place, find_teacher(teacher, vae, place, device, options.precision) if asked else None
    if unfit := [key for key in ("encoder", "identity", "latents") if parts[key] is not None]:
        raise SddError(f"--{unfit[0]} needs --generator, or --domain with a domain of your own")
    if teacher is None:
        raise SddError(f"which diffusion model knows the pictures in {images}? name it with --teacher")
    folder_domain(images, teacher)  # says what is wrong with the folder, before gigabytes are loaded
    guide = find_teacher(teacher, vae, None, device, options.precision)
    return folder_domain(images, teacher, size or guide.image_size, parts["crop"] or "centre"), guide


def find_teacher(
    name: str | None, vae: str | None, domain: Domain | None, device: torch.device, precision: str = "float32"
) -> Teacher:
    """The teacher of that name, or the domain's own.

    Raises:
        SddError: there is no such teacher.
    """
    from sdd.device import weights_type
    from sdd.io import zoo
    from sdd.teachers.load import load_teacher

    wanted = name if name is not None else domain.teacher if domain is not None else ""
    if wanted in zoo.ENTRIES and not Path(wanted).exists():
        wanted = str(zoo.resolve(wanted))
    return load_teacher(wanted, device, weights_type(precision), vae=vae)


def make_config(preset: Preset, file: Path | None, settings: list[str] | None, **options: Any) -> DistillConfig:
    """The configuration of a training: a preset or a file, then options, then `--set`.

    Raises:
        SddError: an option that there is not, or a value that it cannot take.
    """
    from sdd.training.config import DistillConfig

    if file is not None and preset is not Preset.default:
        raise SddError('give either --preset or --config; a TOML file may begin with preset = "paper"')
    overrides = {key: value for key, value in options.items() if value is not None}
    if isinstance(levels := overrides.get("levels"), str) and levels != "auto":
        overrides["levels"] = parse_levels(levels)
    if re.fullmatch(r"\d{1,9}( *, *\d{1,9})*", given := str(overrides.get("timesteps", "")).strip()):
        overrides["timesteps"] = [int(t) for t in given.split(",")]
    if str(steps := overrides.get("steps", "")).isdecimal() and len(steps) < 20:
        overrides["steps"] = int(steps)
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise SddError(f"--set takes key=value, not {one_line(setting, 60)!r}")
        overrides[key.strip()] = _value(key.strip(), value.strip())
    try:
        return DistillConfig.make(preset.value if file is None else file, **overrides)
    except RecursionError as error:
        raise SddError(f"{file or 'the configuration'} nests lists or tables too deeply to be read") from error


def _value(name: str, text: str) -> Any:
    """A value as TOML reads it (3e-4, true, [1, 2]); anything else is the text itself."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except (RecursionError, ValueError) as error:  # ValueError: an integer of thousands of digits
        said = one_line(text, 40)
        raise SddError(
            f"option {one_line(name, 40)!r} cannot be {said!r}: that is no value that can be read"
        ) from error


def find_editors(paths: list[Path], domain: str | None, device: torch.device, **parts: Any) -> Composition:
    """The editors, in the domain the user names, or the one they were made for, found by name or by generator.

    Raises:
        SddError: a file is no editor, or its domain is not here.
    """
    from sdd import editor_file
    from sdd.domains import library
    from sdd.editor import Editor

    info = editor_file.read(paths[0])[0]
    place = None  # an editor without a generator needs nothing of the domain that it was trained on
    if domain is not None or any(part is not None for part in parts.values()):
        place = find_domain(domain, device, **parts)
    elif info.generator:
        place = library.matching(info.domain, info.generator, device)
    return Editor.compose([Editor.load(path, place).to(device) for path in paths])
