"""Commands: domain add, list, show, remove."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sdd.apps.cli.app import domain_app
from sdd.apps.cli.options import (
    CropRule,
    EncoderFile,
    GeneratorFile,
    IdentityFile,
    ImageFolder,
    LatentFile,
    TeacherName,
)
from sdd.apps.cli.say import print_facts, say
from sdd.domains.embedded import EMBEDDED, weights_folder


@domain_app.command(
    "add", epilog="Example: sdd domain add ffhq --generator stylegan2-ffhq-config-f.pt --encoder e4e_ffhq_encode.pt"
)
def domain_add(
    name: Annotated[str, typer.Argument(help="Its name; parts not given come from the zoo if it knows the name.")],
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    identity: IdentityFile = None,
    images: ImageFolder = None,
    latents: LatentFile = None,
    crop: CropRule = None,
    teacher: TeacherName = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a domain of this name.")] = False,
) -> None:
    """Save a domain under a name, after loading its parts once to see that they fit together."""
    from sdd.domains import library

    parts = {
        "generator": generator, "encoder": encoder, "identity": identity, "images": images, "latents": latents,
        "crop": crop.value if crop else None, "teacher": teacher,
    }  # fmt: skip
    domain = library.add(name, parts, replace)
    quality = "" if domain.expected_psnr is None else f", inverts its own pictures at {domain.expected_psnr:.1f} dB"
    say(f"saved domain {name}: {domain.image_size} px, generator {domain.stylegan.generator_hash[:12]}{quality}")


@domain_app.command("list", epilog="Example: sdd domain list")
def domain_list() -> None:
    """List the domains there are."""
    from sdd.domains import library

    for name in library.names():
        say(name)


@domain_app.command("show", epilog="Example: sdd domain show ffhq")
def domain_show(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Say what a domain is made of."""
    from sdd.domains import library

    if name == EMBEDDED:
        place = library.get(name)
        parts: dict[str, Any] = {"weights": weights_folder(name), "teacher": place.teacher}
        parts |= {"expected_psnr": place.expected_psnr, "generator_hash": place.stylegan.generator_hash}
    else:
        parts = library.read(name).model_dump(exclude_none=True)
    print_facts(parts)


@domain_app.command("remove", epilog="Example: sdd domain remove ffhq")
def domain_remove(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Forget a saved domain; its files stay where they are."""
    from sdd.domains import library

    library.remove(name)
    say(f"forgot domain {name}")
