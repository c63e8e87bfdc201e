"""An unconditional diffusion model in pixel space, as the methods that fine-tune one hold it.

model = load("google/ddpm-celebahq-256")        # a hub id, a diffusers folder, or a file of the original formats
model(x, 300)                                   # the noise predicted in x_300
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError, guarded
from sdd.io.quiet import quiet_libraries
from sdd.io.readers.unet import SCHEDULE
from sdd.methods.models import is_small


class PixelDiffusion:
    """A noise predictor and its table of ᾱ.

    Args:
        net: diffusers' `UNet2DModel`, or what is called like one. abar: ᾱ of every timestep, (T,).
        size: side of its pictures.

    Attributes:
        size: side of its pictures. abar: as given.
    """

    def __init__(self, net: Any, abar: Tensor, size: int) -> None:
        self.net = net.float().eval().requires_grad_(False)
        self.abar = abar.to(next(net.parameters()).device)
        self.size = size

    @classmethod
    def of(cls, given: Any) -> PixelDiffusion:
        """From what a diffusion model comes as: a `DDPMPipeline` or `DDIMPipeline`, what `sdd.io.load` gives, or one of
        these. Of a network alone the betas are taken to be the published ones.

        Raises:
            SddError: it does not predict noise, or predicts none of pictures.
        """
        if isinstance(given, cls):
            return given
        from diffusers import DDPMScheduler

        if hasattr(given, "unet"):
            net, config = given.unet, dict(given.scheduler.config)
            size = net.config.sample_size
            abar = given.scheduler.alphas_cumprod
        else:
            net, size = given.module, given.config["image_size"]
            config = given.config.get("scheduler", SCHEDULE)
            abar = DDPMScheduler(**config).alphas_cumprod
        if config.get("prediction_type", "epsilon") != "epsilon":
            raise SddError(f"this diffusion model predicts {config['prediction_type']}, not noise; give one that does")
        if net.config.in_channels != 3 or not isinstance(size, int):
            raise SddError("this diffusion model is none of square pictures in three channels; give one that is")
        return cls(net, abar, size)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.abar.device

    def __call__(self, x: Tensor, t: int) -> Tensor:
        """The noise predicted in x_t, (B, 3, S, S); a learned variance is left out."""
        found: Tensor = self.net(x, t).sample
        return found[:, :3]

    def copy(self) -> PixelDiffusion:
        """Another with weights of its own."""
        return PixelDiffusion(copy.deepcopy(self.net), self.abar, self.size)

    def fill(self, tensors: dict[str, Tensor]) -> None:
        """Take weights that were learned earlier.

        Raises:
            SddError: they are another network's.
        """
        with guarded("what was learned", "of this diffusion model"):
            self.net.load_state_dict(tensors)

    def tensors(self) -> dict[str, Tensor]:
        """Its weights by name, on the CPU."""
        return {name: value.detach().cpu() for name, value in self.net.state_dict().items()}

    def small(self) -> bool:
        """Whether it has fewer than ten million weights: a network to try things with."""
        return is_small(self.net)


@quiet_libraries()
def load(name_or_path: str | Path) -> PixelDiffusion:
    """A model by hub id or folder of diffusers, or from a file of the original formats (`sdd.io.load`).

    Raises:
        SddError: there is none, or it is another kind of model.
    """
    path = Path(name_or_path)
    if path.is_file():
        from sdd.io import load as read

        found = read(path)
        if found.kind not in ("ddpm", "improved-ddpm"):
            raise SddError(f"{path} is a {found.kind}, not an unconditional diffusion model in pixel space")
        return PixelDiffusion.of(found)
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    with guarded(str(name_or_path), "a diffusers folder of an unconditional diffusion model"):
        if (path / "config.json").is_file():
            net = UNet2DModel.from_pretrained(str(path), use_safetensors=True, local_files_only=True)
            said = (path / "scheduler_config.json").is_file()
            scheduler = DDPMScheduler.from_pretrained(str(path)) if said else DDPMScheduler(**SCHEDULE)
            pipeline = DDPMPipeline(unet=net, scheduler=scheduler)
        else:
            pipeline = DDPMPipeline.from_pretrained(str(name_or_path), use_safetensors=True)
    return PixelDiffusion.of(pipeline)
