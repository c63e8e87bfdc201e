"""The domain that comes with sdd: its weights, put together."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.domains.domain import Domain
from sdd.errors import SddError

if TYPE_CHECKING:
    from torch import Tensor


EMBEDDED = "avatars"


def weights_folder(name: str) -> Path:
    """Where the weights of an embedded domain lie: inside the package, or under `$SDD_WEIGHTS` if that is set."""
    override = os.environ.get("SDD_WEIGHTS")
    return Path(override) / name if override else Path(str(files("sdd"))) / "weights" / name


def embedded() -> Domain:
    """The avatars domain, on the CPU.

    Raises:
        SddError: its weights are missing.
    """
    from safetensors import safe_open

    from sdd.domains import avatars
    from sdd.manipulators.backbone import Backbone
    from sdd.nets.arcface import IRSE
    from sdd.nets.compact import CompactEncoder
    from sdd.nets.stylegan2 import Generator

    folder = weights_folder(EMBEDDED)

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
        name=EMBEDDED,
        image_size=avatars.IMAGE_SIZE,
        teacher=str(folder / "teacher"),
        draw=avatars.Drawn(),
        backbone=Backbone(generator, encoder, mean, std, config["hash"]),
        identity=identity,
        expected_psnr=config.get("psnr"),
    )
