"""What a domain is made of, and the small TOML file that says so."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sdd.errors import SddError
from sdd.io import zoo
from sdd.io.files import write_text

_FILES = ("generator", "encoder", "identity", "images", "latents")


class Parts(BaseModel):
    """What a domain is made of.

    Attributes:
        generator: file or zoo name of a StyleGAN2.
        encoder: file or zoo name of an e4e or pSp encoder; without one, every photo starts from the mean code.
        identity: file or zoo name of an IR-SE network.
        images: folder of photos to train on, cropped by `crop`.
        latents: file of W+ codes (N, L, D) to train on instead.
        crop: which part of a photo the generator knows: `face`, `centre` or `car` (`sdd.io.pictures.crop.quads`).
        teacher: diffusers folder, hub id or zoo name.
        expected_psnr: dB, what a picture of the domain inverts with, where it was measured.
        generator_hash: SHA-256 of the generator's tensors; filled in when the domain is saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generator: str
    encoder: str | None = None
    identity: str | None = None
    images: str | None = None
    latents: str | None = None
    crop: Literal["face", "centre", "car"] = "centre"
    teacher: str = "sd-1.5"
    expected_psnr: float | None = None
    generator_hash: str | None = None


def saved_folder() -> Path:
    return zoo.home() / "domains"


def note_path(generator_hash: str) -> Path:
    return zoo.home() / "parts" / f"{generator_hash[:32]}.toml"


def parse_parts(fields: dict[str, Any], where: str) -> Parts:
    try:
        return Parts.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise SddError(f"{where} lacks a {field}; give its file with --{field}") from error
        raise SddError(f"{where} has a bad {field} ({first['msg']})") from error


def write_parts(path: Path, parts: Parts) -> None:
    fields = parts.model_dump(exclude_none=True)
    # JSON strings and numbers are TOML strings and numbers too, as long as nothing is escaped as a surrogate pair.
    write_text(path, "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items()))


def absolute(parts: Parts) -> Parts:
    """The parts with their files given by absolute paths; names of the zoo and hub ids stay names."""
    given = {key: getattr(parts, key) for key in (*_FILES, "teacher")}
    paths = {key: Path(value).expanduser() for key, value in given.items() if value is not None}
    return parts.model_copy(update={key: str(path.absolute()) for key, path in paths.items() if path.exists()})


def resolved_teacher(given: str) -> str:
    entry = zoo.ENTRIES.get(given)
    if entry is None or Path(given).exists():
        return given
    return str(zoo.resolve(given)) if entry.file is not None else str(entry.hub)


def licences(parts: Parts | None = None, **named: str) -> list[str]:
    """One sentence for each part whose licence the zoo knows; an editor carries them on.

    Args:
        named: parts by role, where there is no `Parts`.
    """
    if parts is not None:
        named = {key: getattr(parts, key) for key in ("generator", "encoder", "identity", "teacher")}
    known = {key: zoo.ENTRIES[value] for key, value in named.items() if value in zoo.ENTRIES}
    return [f"{key} {entry.name}: {entry.licence}." for key, entry in known.items()]


def licences_of(notes: Iterable[str], *roles: str) -> list[str]:
    """Those of the sentences of `licences` that are about a generator, an encoder, ..."""
    return [note for note in notes if note.partition(" ")[0] in roles]
