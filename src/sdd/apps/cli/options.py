"""Options that several commands share, and what is checked of their text."""

from __future__ import annotations

import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sdd.errors import SddError, one_line

MOST = 10_000  # pictures or steps that one command is asked for
FARTHEST = 1e6  # px of a box
LONGEST = 1000  # characters of a prompt, as an editor file takes it


class Crop(StrEnum):
    """Which part of a photo a domain's generator knows."""

    face = "face"
    centre = "centre"
    car = "car"


class Preset(StrEnum):
    """Named sets of training options."""

    default = "default"
    paper = "paper"
    published = "published"


class Split(StrEnum):
    """Pictures the shipped models were trained on, or held out."""

    train = "train"
    test = "test"


def _seed(value: int) -> int:
    if not 0 <= value < 2**62:
        raise SddError("a seed is a whole number from 0 on, of at most 18 digits")
    return value


Prompt = Annotated[str, typer.Argument(help='What edited pictures should show, "white hair" for instance.')]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", callback=_seed)]
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
Levels = Annotated[str | None, typer.Option(help="Change only some of coarse,medium,fine.")]
Refine = Annotated[int, typer.Option(help="Optimisation steps per picture for a closer inversion.", min=0, max=MOST)]
Face = Annotated[str, typer.Option(help="Which face of a photo: 1 is the largest; or all.")]
Box = Annotated[str | None, typer.Option(help="Edit this part instead: left,top,right,bottom in pixels.")]
Blend = Annotated[
    bool, typer.Option("--blend/--no-blend", help="Lay the edit into the picture at its own size; or draw it anew.")
]
Register = Annotated[
    bool | None,
    typer.Option("--register/--no-register", help="Find how a picture lies first; by default if it inverts badly."),
]
Background = Annotated[str, typer.Option(help="Colour behind transparent parts: a name or #rrggbb.")]
ForceWords = Annotated[bool, typer.Option("--force", help="Take a prompt of which the teacher knows no word.")]


# What their text means


def check_prompt(prompt: str) -> str:
    """The prompt without white space around it.

    Raises:
        SddError: it is empty, too long, or no text.
    """
    if not prompt.strip():
        raise SddError('the prompt is empty; say what the edited pictures should show, "white hair" for instance')
    if len(prompt) > LONGEST:
        raise SddError(f"the prompt has {len(prompt)} characters; say it in at most {LONGEST}")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise SddError(f"the prompt {one_line(prompt, 80)!r} is not valid UTF-8 text; type it again") from error
    return prompt.strip()


def check_strengths(strengths: list[float]) -> tuple[float, ...]:
    """The strengths.

    Raises:
        SddError: one is not finite, or far from anything that an editor was trained at.
    """
    for strength in strengths:
        if not abs(strength) <= 100:
            raise SddError(f"a strength is a number between -100 and 100, not {strength}; 1 is the edit as trained")
    return tuple(strengths)


def parse_levels(text: str | None) -> tuple[str, ...] | None:
    """Levels from a comma-separated list of them; None stays None.

    Raises:
        SddError: an unknown one, or none at all.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = ("coarse", "medium", "fine")
    if unknown := [name for name in names if name not in known]:
        raise SddError(f"unknown level {one_line(unknown[0], 60)!r}; levels are some of {', '.join(known)}")
    if not names:
        raise SddError(f"no level was given; levels are some of {', '.join(known)}")
    return names


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom from a comma-separated list; None stays None.

    Raises:
        SddError: not four numbers, or not numbers of pixels.
    """
    if text is None:
        return None
    said = one_line(text, 60)
    try:
        left, top, right, bottom = (float(number) for number in text.split(","))
    except ValueError as error:
        raise SddError(f"--box takes left,top,right,bottom in pixels, not {said!r}") from error
    if not all(math.isfinite(v) and abs(v) <= FARTHEST for v in (left, top, right, bottom)):
        raise SddError(f"--box takes pixels of at most {FARTHEST:.0f}, not {said!r}")
    return left, top, right, bottom


def slugged(text: str) -> str:
    """A prompt as a part of a file's name."""
    from sdd.training.run import slug

    return slug(text)


# What is checked before long work


def check_editors(paths: list[Path]) -> None:
    """Refuse editor files that are not there, before anything heavy is imported to read them.

    Raises:
        SddError: there is no such file.
    """
    import os

    for path in paths:
        if not os.path.isfile(path):  # unlike `is_file`, no error where a name is too long
            what = "; it is a folder" if os.path.isdir(path) else "; `sdd train` makes one"
            raise SddError(f"there is no editor file {path}{what}")


def check_folder(folder: Path) -> None:
    """Refuse an output folder that cannot be made or written, before any work is done for it.

    Raises:
        SddError: it is a file, or cannot be written.
    """
    folder = folder.absolute()
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
    except (OSError, ValueError) as error:
        raise SddError(f"{folder} cannot be the name of a folder; choose another output folder") from error
    if not existing.is_dir():
        raise SddError(f"cannot write to {folder}: {existing} is a file, not a folder; choose another output folder")
    import tempfile

    try:  # permissions say little about read-only disks, containers and the superuser: try it
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise SddError(f"cannot write to {folder} ({error.strerror}); choose another output folder") from error


def check_file(path: Path) -> None:
    """Refuse an output file that cannot be written, before any work is done for it.

    Raises:
        SddError: it is a folder, or something else than a file, or in a folder that cannot be written.
    """
    from sdd.io.files import check_target

    if path.is_dir():
        raise SddError(f"{path} is a folder; name a file for the editor, {path / 'editor.safetensors'} for instance")
    check_target(path)
    check_folder(path.parent)


def watched() -> bool:
    """Whether somebody looks at standard error."""
    return sys.stderr.isatty()
