"""Domains: images with a generator, an encoder and, where it exists, an identity network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.errors import SddError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from sdd.nets.stylegan2 import Generator


@dataclass
class Domain:
    """What an editor is trained on and works in.

    `encoder` maps images (B, 3, S, S) in [-1, 1] to W+ codes (B, L, D); `latent_mean` and `latent_std` (L, D) are the
    codes' statistics, which give every dimension its unit; `generator_hash` names the generator an editor belongs to;
    `teacher` is a diffusers folder or hub id; `draw(n, seed, split)` yields images of the domain, in [-1, 1].
    """

    name: str
    image_size: int
    generator: Generator
    encoder: nn.Module
    latent_mean: Tensor
    latent_std: Tensor
    generator_hash: str
    teacher: str
    draw: Callable[[int, int, str], Tensor]
    identity: nn.Module | None = None
    expected_psnr: float | None = (
        None  # dB: what a picture of the domain inverts with; far below it is "not of the domain"
    )
    extra: dict[str, Any] = field(default_factory=dict)

    def images(self, n: int, seed: int = 0, split: str = "train") -> Tensor:
        """`n` images of the domain, (n, 3, S, S) in [-1, 1]."""
        return self.draw(n, seed, split)

    def to(self, device: torch.device | str) -> Domain:
        """Move networks and statistics to `device` (in place) and return the domain."""
        for net in (self.generator, self.encoder, self.identity):
            if net is not None:
                net.to(device)
        self.latent_mean, self.latent_std = self.latent_mean.to(device), self.latent_std.to(device)
        return self


def weights_folder(name: str) -> Path:
    """Where the weights of an embedded domain lie: inside the package, or under `$SDD_WEIGHTS` if that is set."""
    override = os.environ.get("SDD_WEIGHTS")
    return Path(override) / name if override else Path(str(files("sdd"))) / "weights" / name


def names() -> list[str]:
    """The domains there are: `avatars` and those saved by the user."""
    from sdd.domains import folder

    return ["avatars", *folder.names()]


def get(name: str, device: str | torch.device = "cpu") -> Domain:
    """A domain, by name, on a device.

    Raises:
        SddError: there is no domain of that name, or its weights are missing.
    """
    if name == "avatars":
        return _avatars().to(device)
    from sdd.domains import folder

    if name not in folder.names():
        known = ", ".join(names())
        raise SddError(f"no domain named {name!r}; there are {known} (add your own with `sdd domain add`)")
    return folder.load(name).to(device)


def matching(name: str, generator_hash: str, device: str | torch.device = "cpu") -> Domain:
    """The domain an editor was made in: the one of that name, or any known here whose generator has that hash.

    A domain of that name with another generator is given only where it is the embedded one: then nothing else can be
    meant, and the editor says what does not fit.

    Raises:
        SddError: none is known; the message says what to give.
    """
    from sdd.domains import folder

    if name in names():
        found = get(name, device)
        if found.generator_hash == generator_hash or name == "avatars":
            return found
    return folder.by_generator(generator_hash).to(device)


def _avatars() -> Domain:
    from safetensors import safe_open

    from sdd.domains import avatars
    from sdd.nets.arcface import IRSE
    from sdd.nets.compact import CompactEncoder
    from sdd.nets.stylegan2 import Generator

    folder = weights_folder("avatars")

    def read(part: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        path = folder / f"{part}.safetensors"
        if not path.exists():
            raise SddError(f"the weights of the avatars domain lack {path.name}; reinstall sdd, or run the recipes")
        with safe_open(path, "pt") as file:
            # Half precision on disk, float32 in memory.
            return json.loads(file.metadata()["config"]), {k: file.get_tensor(k).float() for k in file.keys()}  # noqa: SIM118

    config, tensors = read("generator")
    mean, std = tensors.pop("latent_mean"), tensors.pop("latent_std")
    generator = Generator(**config["net"])
    generator.load_state_dict(tensors)
    generator.latent_avg = mean.mean(0)  # one mean for all layers, as truncation wants it
    encoder_config, encoder_tensors = read("encoder")
    encoder = CompactEncoder(**encoder_config["net"])
    encoder.load_state_dict(encoder_tensors)
    identity_config, identity_tensors = read("identity")
    identity = IRSE(**identity_config["net"])
    identity.load_state_dict(identity_tensors)
    for net in (generator, encoder, identity):
        net.eval().requires_grad_(False)
    return Domain(
        name="avatars",
        image_size=avatars.IMAGE_SIZE,
        generator=generator,
        encoder=encoder,
        identity=identity,
        latent_mean=mean,
        latent_std=std,
        generator_hash=config["hash"],
        teacher=str(folder / "teacher"),
        draw=lambda n, seed, split: avatars.render(avatars.sample(n, seed, split)),
        expected_psnr=config.get("psnr"),
    )
