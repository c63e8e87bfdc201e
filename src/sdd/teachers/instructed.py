"""Diffusion models that follow instructions: diffusers' `StableDiffusionInstructPix2PixPipeline` (arXiv 2211.09800).

    pipe = load_instructed("timbrooks/instruct-pix2pix")
    pipe = of_teacher(teacher_folder, "unet.safetensors")      what the embedded one learned, put into its teacher

The U-Net sees noisy latents and, beside them, the autoencoder's mode of the picture to be edited, *not scaled*: so the
released weights were trained, so diffusers' pipeline gives it, and so the embedded ones are too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdd.errors import SddError, first_line
from sdd.io.quiet import quiet_libraries

# Parts of the teacher's U-Net that stay as they are: they know what words and noise levels mean.
KEPT = ("mid_block.", "time_embedding.", "add_embedding.")


# Guidance by the text, and steps, that suit what learned from counterfactual pairs: chosen on validation people.
SUITED = {"text_scale": 4.0, "steps": 20}


def learns(name: str) -> bool:
    """Whether a parameter of the U-Net learns from pairs."""
    return not name.startswith(KEPT)


def widened(unet: Any) -> Any:
    """A U-Net that takes a picture beside the noise: twice the input channels, the new ones' weights zero.

    Args:
        unet: a diffusers `UNet2DConditionModel`; it is changed, and answers as before whatever the picture.
    """
    old = unet.conv_in
    new = nn.Conv2d(2 * old.in_channels, old.out_channels, old.kernel_size, padding=old.padding)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        if new.bias is not None:
            new.bias.copy_(old.bias)
    unet.conv_in = new.to(old.weight)
    unet.register_to_config(in_channels=new.in_channels)
    return unet


@quiet_libraries()
def of_teacher(teacher: str | Path, learned: str | Path | None = None) -> Any:
    """The pipeline made of a `StableDiffusionPipeline` folder and what was learned from pairs, in float32.

    Args:
        teacher: the folder.
        learned: a file of `save_learned`; None for the untrained one.

    Raises:
        SddError: a file that is damaged or was learned from another teacher.
    """
    from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    base = StableDiffusionPipeline.from_pretrained(str(teacher), safety_checker=None).to(torch.float32)
    unet = widened(base.unet)
    if learned is not None:
        try:
            tensors = load_file(str(learned))
            if set(tensors) != {name for name in unet.state_dict() if learns(name)}:
                raise ValueError("other layers")
            unet.load_state_dict(tensors, strict=False)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise SddError(
                f"{learned} does not hold what the U-Net of {teacher} learned ({str(error)[:150]}); make it again: "
                "python -m recipes.instructed"
            ) from error
    pipe = StableDiffusionInstructPix2PixPipeline(
        vae=base.vae, text_encoder=base.text_encoder, tokenizer=base.tokenizer, unet=unet, scheduler=base.scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.suited = SUITED
    return pipe


def save_learned(path: Path, unet: nn.Module) -> None:
    """Save what learned, in half precision."""
    from safetensors.torch import save

    from sdd.io.files import write_bytes

    tensors: dict[str, Tensor] = {k: v.half().contiguous().cpu() for k, v in unet.state_dict().items() if learns(k)}
    write_bytes(path, save(tensors))


@quiet_libraries()
def load_instructed(name: str | Path, teacher: str | Path | None = None) -> Any:
    """A model that follows instructions, in float32 on the CPU.

    Args:
        name: a folder or hub id of diffusers' `StableDiffusionInstructPix2PixPipeline`, or a folder with the
            `unet.safetensors` of `save_learned`.
        teacher: whose U-Net that learned; by default the folder `teacher` beside it.

    Raises:
        SddError: nothing there, or another kind of model.
    """
    folder = Path(name)
    if (folder / "unet.safetensors").is_file():
        return of_teacher(teacher or folder.parent / "teacher", folder / "unet.safetensors")
    from diffusers import StableDiffusionInstructPix2PixPipeline

    try:
        return StableDiffusionInstructPix2PixPipeline.from_pretrained(
            str(name), use_safetensors=True, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    except Exception as error:  # diffusers and the hub raise many kinds; a user needs one sentence
        why = first_line(error, 200)
        raise SddError(
            f"could not load {name} as a model that follows instructions ({why}); give a folder or a hub id such as "
            "timbrooks/instruct-pix2pix"
        ) from error
