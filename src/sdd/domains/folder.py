"""Domains made of the user's own parts: a generator, an encoder, an identity network, images or latents, a teacher.

A saved domain is a small TOML file in `$SDD_HOME/domains`. Every assembled domain also leaves a note of its parts under
the hash of its generator, in `$SDD_HOME/parts`, so that an editor finds what it was made for.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.errors import SddError
from sdd.io import zoo
from sdd.io.files import write_text

if TYPE_CHECKING:
    from sdd.domains import Domain
    from sdd.nets.stylegan2 import Generator

_FILES = ("generator", "encoder", "identity", "images", "latents")
_SAMPLES = 4096  # codes of the mapping network from which a domain's statistics are taken
_DRAWN = 512  # codes that a domain without images or latents offers for training
_TRUNCATION = 0.7  # of those codes, as published samples have it


class Parts(BaseModel):
    """What a domain is made of.

    Attributes:
        generator: file or zoo name of a StyleGAN2.
        encoder: file or zoo name of an e4e or pSp encoder; without one, every photo starts from the mean code.
        identity: file or zoo name of an IR-SE network.
        images: folder of photos to train on, cropped by `crop`.
        latents: file of W+ codes (N, L, D) to train on instead.
        crop: which part of a photo the generator knows: `face`, `centre` or `car` (`sdd.faces.quads`).
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


# --- Saved domains ---------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """The domains the user has saved."""
    return sorted(path.stem for path in _saved().glob("*.toml"))


def add(name: str, parts: dict[str, Any] | None = None, replace: bool = False) -> Domain:
    """Save a domain under a name, after loading it once to see that its parts fit together.

    Args:
        name: lower-case letters, digits, dots, dashes and underscores.
        parts: fields of `Parts`; those left out or None come from the zoo if it knows a domain of this name.
        replace: whether an existing domain of this name may be overwritten.

    Raises:
        SddError: a bad or taken name, an unknown part, a part that is missing or does not fit the others.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) or name == "avatars":
        raise SddError(
            f"a domain cannot be called {name!r}; use lower-case letters, digits, dots, dashes and underscores, "
            "and leave `avatars` to the domain that comes with sdd"
        )
    if name in names() and not replace:
        raise SddError(f"there is already a domain {name!r}; remove it first, or choose another name")
    given = {key: value for key, value in (parts or {}).items() if value is not None}
    checked = _parse({**zoo.DOMAINS.get(name, {}), **given}, f"the domain {name!r}")
    domain = assemble(checked, name)
    if checked.images is not None and checked.encoder is not None:
        domain.expected_psnr = _expected_psnr(domain)
    facts = {"expected_psnr": domain.expected_psnr, "generator_hash": domain.generator_hash}
    _write(_saved() / f"{name}.toml", _absolute(checked).model_copy(update=facts))
    return domain


def read(name: str) -> Parts:
    """The parts of a saved domain, without loading them.

    Raises:
        SddError: there is no such domain, or its file has been damaged.
    """
    path = _saved() / f"{name}.toml"
    if not path.exists():
        raise SddError(f"there is no saved domain {name!r}; `sdd domain` lists them, `sdd domain add` makes one")
    try:
        return _parse(tomllib.loads(path.read_text("utf-8")), str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SddError(f"{path} is not valid TOML ({error}); mend it, or remove it and add the domain again") from error


def remove(name: str) -> None:
    """Forget a saved domain; its parts stay where they are.

    Raises:
        SddError: there is no such domain.
    """
    read(name)
    (_saved() / f"{name}.toml").unlink()


def load(name: str) -> Domain:
    """A saved domain, on the CPU.

    Raises:
        SddError: there is no such domain, or a part has gone or does not fit.
    """
    return assemble(read(name), name)


def by_generator(generator_hash: str) -> Domain:
    """The domain whose generator has this hash, among the saved ones and all that were ever assembled here.

    Raises:
        SddError: none is known; the message says what to give.
    """
    for name in names():
        if read(name).generator_hash == generator_hash:
            return load(name)
    note = _note(generator_hash)
    if note.exists():
        parts = _parse(tomllib.loads(note.read_text("utf-8")), str(note))
        with suppress(SddError):  # a part may have been moved since; then say what to give
            domain = assemble(parts)
            if domain.generator_hash == generator_hash:
                return domain
    raise SddError(
        f"this editor needs the generator {generator_hash[:12]}, which is not known on this machine; give its file "
        "with --generator and an encoder for it with --encoder, or save both once with `sdd domain add`"
    )


def _saved() -> Path:
    return zoo.home() / "domains"


def _note(generator_hash: str) -> Path:
    return zoo.home() / "parts" / f"{generator_hash[:32]}.toml"


def _parse(fields: dict[str, Any], where: str) -> Parts:
    try:
        return Parts.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise SddError(f"{where} lacks a {field}; give its file with --{field}") from error
        raise SddError(f"{where} has a bad {field} ({first['msg']})") from error


def _write(path: Path, parts: Parts) -> None:
    fields = parts.model_dump(exclude_none=True)
    # JSON strings and numbers are TOML strings and numbers too, as long as nothing is escaped as a surrogate pair.
    write_text(path, "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items()))


def _absolute(parts: Parts) -> Parts:
    """The parts with their files given by absolute paths; names of the zoo and hub ids stay names."""
    given = {key: getattr(parts, key) for key in (*_FILES, "teacher")}
    paths = {key: Path(value).expanduser() for key, value in given.items() if value is not None}
    return parts.model_copy(update={key: str(path.absolute()) for key, path in paths.items() if path.exists()})


# --- Putting the parts together --------------------------------------------------------------------------------------


def assemble(parts: Parts, name: str | None = None) -> Domain:
    """A domain of these parts, on the CPU; its note is kept so that `by_generator` finds it again.

    Raises:
        SddError: a part is missing, is something else than it is given for, or does not fit the others.
    """
    from sdd.domains import Domain

    generator = _net(parts.generator, "generator")
    layers, width = generator.n_latent, generator.style_dim
    hashed = generator_hash(generator)
    w_mean, w_std = _statistics(generator)
    latents = _latents(parts, layers, width)
    mean = w_mean.expand(layers, width).clone() if latents is None else latents.mean(0)
    std = w_std.expand(layers, width).clone() if latents is None or len(latents) < 2 else latents.std(0)
    encoder = MeanCode(mean) if parts.encoder is None else Inverter(_net(parts.encoder, "encoder"), parts.crop == "car")
    identity = None if parts.identity is None else _net(parts.identity, "identity")
    for net in (generator, encoder, identity):
        if net is not None:
            net.eval().requires_grad_(False)
    _fits(encoder, generator, parts)
    pictures = _Pictures(parts, generator, latents)
    if latents is None and parts.images is None:
        latents = pictures.codes
    domain = Domain(
        name=name or Path(parts.generator).stem,
        image_size=generator.size,
        generator=generator,
        encoder=encoder,
        identity=identity,
        latent_mean=mean,
        latent_std=std,
        generator_hash=hashed,
        teacher=_teacher(parts.teacher),
        draw=pictures,
        expected_psnr=parts.expected_psnr,
        extra={"crop": parts.crop, "notes": _licences(parts)} | ({} if latents is None else {"latents": latents}),
    )
    with suppress(SddError):  # a note is a convenience; a read-only home must not stop anyone from working
        _write(_note(hashed), _absolute(parts).model_copy(update={"generator_hash": hashed}))
    return domain


def generator_hash(generator: nn.Module) -> str:
    """SHA-256 over the names and values of a network's tensors, in the order of their names, in hexadecimal."""
    digest = hashlib.sha256()
    for key, tensor in sorted(generator.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Inverter(nn.Module):
    """An encoder behind the resizing its published use has: images (B, 3, S, S) in [-1, 1] to W+ codes (B, L, D).

    For cars the generator's picture lies in the middle three quarters of the square, and the encoder sees that alone.
    """

    def __init__(self, net: nn.Module, car: bool = False) -> None:
        super().__init__()
        self.net, self.car = net, car

    def forward(self, images: Tensor) -> Tensor:
        if self.car:
            size = images.shape[-2]
            images = images[..., size // 8 : size - size // 8, :]
        shape = (192, 256) if self.car else (256, 256)
        if tuple(images.shape[-2:]) != shape:
            images = F.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
        codes: Tensor = self.net(images)
        return codes


class MeanCode(nn.Module):
    """Stands in where there is no encoder: the mean code for every image, from where optimisation may start."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.get_buffer("mean").expand(len(images), -1, -1)


class _Pictures:
    """Draws images of the domain: the user's photos, cropped; else what the generator makes of latents or samples."""

    def __init__(self, parts: Parts, generator: Generator, latents: Tensor | None) -> None:
        self.parts, self.generator = parts, generator
        self.codes = latents
        if latents is None and parts.images is None:
            with torch.no_grad():
                w, mean = _sample(generator, _DRAWN), _statistics(generator)[0]
            self.codes = (mean + _TRUNCATION * (w - mean))[:, None].expand(-1, generator.n_latent, -1).contiguous()
        self.files = _files(parts.images) if parts.images is not None else []

    @torch.no_grad()
    def __call__(self, n: int, seed: int, split: str) -> Tensor:
        """At most `n` images (n, 3, S, S) of a split, each at most once; `test` is every tenth, the rest is `train`."""
        total = len(self.files) if self.files else len(self.codes if self.codes is not None else [])
        held_out = range(9, total, 10) if total >= 10 else range(total)  # too few to hold any out
        held_in = [i for i in range(total) if i % 10 != 9] if total >= 10 else list(range(total))
        pool = list(held_out) if split == "test" else held_in
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).tolist()
        chosen = [pool[i] for i in order]
        if self.files:
            return self._photos(chosen, n)
        assert self.codes is not None, "without photos there are codes"
        device = next(self.generator.parameters()).device
        parts = [self.generator.synthesis(self.codes[i : i + 1].to(device)).clamp(-1, 1).cpu() for i in chosen[:n]]
        return torch.cat(parts) if parts else torch.zeros(0, 3, self.generator.size, self.generator.size)

    def _photos(self, chosen: list[int], n: int) -> Tensor:
        crops: list[Tensor] = []
        trouble: SddError | None = None
        for index in chosen:
            if len(crops) == n:
                break
            try:
                crops.append(photo_crop(self.files[index], self.parts.crop, self.generator.size))
            except SddError as error:  # one photo without a face must not stop a training on a thousand
                trouble = error
        if not crops and trouble is not None:
            raise SddError(f"none of the photos in {self.parts.images} can be used: {trouble}") from trouble
        return torch.stack(crops)


def photo_crop(path: Path, crop: str, size: int) -> Tensor:
    """The part of a photo that a generator of `size` knows: (3, size, size) in [-1, 1].

    Raises:
        SddError: the photo cannot be read, or has no face where one is looked for.
    """
    from sdd import faces
    from sdd.io.images import open_image

    photo = open_image(path)
    return faces.crop(photo, faces.quads(photo, crop)[0], crop, size)


def _files(folder: str) -> list[Path]:
    from sdd.io.images import find

    # Ordered by a hash of the name, so that the split neither follows the camera's numbering nor moves when the
    # folder does.
    sources = find([Path(folder).expanduser()])
    return [s.path for s in sorted(sources, key=lambda s: hashlib.sha256(str(s.name).encode()).digest())]


def _net(source: str, what: str) -> Any:
    """The network of a part, in eval mode on the CPU; warns of what had to be assumed.

    Raises:
        SddError: it is not here, or it is something else than it was given for.
    """
    from sdd.io import load
    from sdd.nets.arcface import IRSE
    from sdd.nets.encoder import StyleEncoder
    from sdd.nets.stylegan2 import Generator

    path = zoo.resolve(source)
    loaded = load(path)
    if what == "generator" and loaded.kind in ("e4e", "psp", "styleclip-mapper"):  # their decoder is a generator
        loaded = load(path, kind="stylegan2")
    net = loaded.module
    if not isinstance(net, {"generator": Generator, "encoder": StyleEncoder, "identity": IRSE}[what]):
        raise SddError(f"{source} was given as the {what}, but is {loaded.kind}; `sdd inspect` says what it holds")
    if isinstance(net, StyleEncoder) and net.input_channels != 3:
        raise SddError(f"the encoder {source} takes pictures of {net.input_channels} channels; give one for photos")
    for text in loaded.warnings:
        warnings.warn(f"{source}: {text}", stacklevel=2)
    return net


def _latents(parts: Parts, layers: int, width: int) -> Tensor | None:
    """The W+ codes (N, L, D) of the latents file, if there is one; W codes stand for the same code in every layer."""
    if parts.latents is None:
        return None
    from sdd.io import load

    codes = load(Path(parts.latents).expanduser(), kind="latents").module
    if isinstance(codes, Tensor) and codes.ndim == 2:
        codes = codes[:, None].expand(-1, layers, -1).contiguous()
    if not isinstance(codes, Tensor) or codes.shape[1:] != (layers, width) or len(codes) == 0:
        found = "x".join(map(str, codes.shape)) if isinstance(codes, Tensor) else "style vectors"
        raise SddError(
            f"{parts.latents} holds {found}, but the generator takes W+ codes Nx{layers}x{width}; give latents that "
            "were made for this generator"
        )
    return codes


def _sample(generator: Generator, n: int) -> Tensor:
    """Codes (n, D) of the mapping network, always the same ones; over all classes where there are classes."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(n, generator.z_dim, generator=random)
    if not generator.c_dim:
        return generator.mapping(z)
    classes = torch.randint(generator.c_dim, (n,), generator=random)
    return generator.mapping(z, F.one_hot(classes, generator.c_dim).float())


@torch.no_grad()
def _statistics(generator: Generator) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) of the mapping network's codes."""
    w = _sample(generator, _SAMPLES)
    return w.mean(0), w.std(0)


def _fits(encoder: nn.Module, generator: Generator, parts: Parts) -> None:
    with torch.no_grad():
        shape = tuple(encoder(torch.zeros(1, 3, generator.size, generator.size)).shape[1:])
    expected = (generator.n_latent, generator.style_dim)
    if shape != expected:
        raise SddError(
            f"the encoder {parts.encoder} gives codes of shape {shape}, but the generator {parts.generator}, which "
            f"draws {generator.size} px, takes {expected}; give the encoder that was trained for this generator"
        )


def _expected_psnr(domain: Domain) -> float:
    """What a few pictures of the domain invert with, dB."""
    from sdd.inversion import invert

    return round(float(invert(domain.images(4, seed=0), domain).psnr.mean()), 2)


def _teacher(given: str) -> str:
    entry = zoo.ENTRIES.get(given)
    if entry is None or Path(given).exists():
        return given
    return str(zoo.resolve(given)) if entry.file is not None else str(entry.hub)


def _licences(parts: Parts) -> list[str]:
    """One sentence for each part whose licence the zoo knows; an editor carries them on."""
    named = {key: getattr(parts, key) for key in ("generator", "encoder", "identity", "teacher")}
    known = {key: zoo.ENTRIES[value] for key, value in named.items() if value in zoo.ENTRIES}
    return [f"{key} {entry.name}: {entry.licence}." for key, entry in known.items()]
