"""The library of domains: found by name, or by the hash of their generator; saved, listed and forgotten.

A saved domain is a small TOML file in `$SDD_HOME/domains`. Every assembled domain also leaves a note of its parts under
the hash of its generator, in `$SDD_HOME/parts`, so that an editor finds what it was made for.
"""

from __future__ import annotations

import re
import tomllib
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sdd.domains.assemble import assemble
from sdd.domains.domain import Domain
from sdd.domains.embedded import EMBEDDED, embedded
from sdd.domains.parts import Parts, absolute, note_path, parse_parts, saved_folder, write_parts
from sdd.errors import SddError
from sdd.io import zoo
from sdd.manipulators.inversion import invert

if TYPE_CHECKING:
    import torch


POOR = 10.0  # dB, below which a picture that was inverted is hardly the same picture


def names() -> list[str]:
    """The domains there are: `avatars` and those saved by the user."""
    return [EMBEDDED, *saved()]


def get(name: str, device: str | torch.device = "cpu") -> Domain:
    """A domain, by name, on a device.

    Raises:
        SddError: there is no domain of that name, or its weights are missing.
    """
    if name == EMBEDDED:
        return embedded().to(device)
    if name not in saved():
        known = ", ".join(names())
        raise SddError(f"no domain named {name!r}; there are {known} (add your own with `sdd domain add`)")
    return load(name).to(device)


def matching(name: str, generator_hash: str, device: str | torch.device = "cpu") -> Domain:
    """The domain an editor was made in: the one of that name, or any known here whose generator has that hash.

    A domain of that name with another generator is given only where it is the embedded one: then nothing else can be
    meant, and the editor says what does not fit.

    Raises:
        SddError: none is known; the message says what to give.
    """
    if name in names():
        found = get(name, device)
        own = "" if found.backbone is None else found.backbone.generator_hash
        if own == generator_hash or name == EMBEDDED:
            return found
    return by_generator(generator_hash).to(device)


# --- Saved domains ---------------------------------------------------------------------------------------------------


def saved() -> list[str]:
    """The domains the user has saved."""
    return sorted(path.stem for path in saved_folder().glob("*.toml"))


def add(name: str, parts: dict[str, Any] | None = None, replace: bool = False) -> Domain:
    """Save a domain under a name, after loading it once to see that its parts fit together.

    Args:
        name: lower-case letters, digits, dots, dashes and underscores.
        parts: fields of `Parts`; those left out or None come from the zoo if it knows a domain of this name.
        replace: whether an existing domain of this name may be overwritten.

    Raises:
        SddError: a bad or taken name, an unknown part, a part that is missing or does not fit the others.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) or name == EMBEDDED:
        raise SddError(
            f"a domain cannot be called {name!r}; use lower-case letters, digits, dots, dashes and underscores, "
            f"and leave `{EMBEDDED}` to the domain that comes with sdd"
        )
    if name in saved() and not replace:
        raise SddError(f"there is already a domain {name!r}; remove it first, or choose another name")
    given = {key: value for key, value in (parts or {}).items() if value is not None}
    checked = parse_parts({**zoo.DOMAINS.get(name, {}), **given}, f"the domain {name!r}")
    domain = assemble(checked, name)
    if checked.images is not None and checked.encoder is not None:
        domain.expected_psnr = _expected_psnr(domain)
        if domain.expected_psnr < POOR:
            warnings.warn(
                f"the pictures of domain {name!r} come back from its encoder at {domain.expected_psnr:.1f} dB, where "
                f"{POOR:g} dB are a poor likeness, so that edits will hardly resemble their sources; give the encoder "
                f"that was trained for this generator (--encoder), or the right part of each photo (--crop)",
                stacklevel=2,
            )
    facts = {"expected_psnr": domain.expected_psnr, "generator_hash": domain.stylegan.generator_hash}
    write_parts(saved_folder() / f"{name}.toml", absolute(checked).model_copy(update=facts))
    return domain


def read(name: str) -> Parts:
    """The parts of a saved domain, without loading them.

    Raises:
        SddError: there is no such domain, or its file has been damaged.
    """
    path = saved_folder() / f"{name}.toml"
    if not path.exists():
        raise SddError(f"there is no saved domain {name!r}; `sdd domain` lists them, `sdd domain add` makes one")
    try:
        return parse_parts(tomllib.loads(path.read_text("utf-8")), str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SddError(f"{path} is not valid TOML ({error}); mend it, or remove it and add the domain again") from error


def remove(name: str) -> None:
    """Forget a saved domain; its parts stay where they are.

    Raises:
        SddError: there is no such domain.
    """
    read(name)
    (saved_folder() / f"{name}.toml").unlink()


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
    for name in saved():
        if read(name).generator_hash == generator_hash:
            return load(name)
    note = note_path(generator_hash)
    if note.exists():
        parts = parse_parts(tomllib.loads(note.read_text("utf-8")), str(note))
        with suppress(SddError):  # a part may have been moved since; then say what to give
            domain = assemble(parts)
            if domain.stylegan.generator_hash == generator_hash:
                return domain
    raise SddError(
        f"this editor needs the generator {generator_hash[:12]}, which is not known on this machine; give its file "
        "with --generator and an encoder for it with --encoder, or save both once with `sdd domain add`"
    )


def _expected_psnr(domain: Domain) -> float:
    """What a few pictures of the domain invert with, dB."""
    return round(float(invert(domain.images(4, seed=0), domain.stylegan).psnr.mean()), 2)
