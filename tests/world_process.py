"""What each process of `test_world` does: train the toy domain; the first keeps run and editor."""

import sys

import torch

import sdd
from toy import ToyTeacher, toy_domain

OPTIONS = {"images": 12, "search_images": 12, "steps": 4, "batch": 4, "timesteps": "above:-0.2", "precision": "float32"}


class Sampling(ToyTeacher):
    """The toy teacher with a posterior that is worth sampling."""

    def encode_image(self, images, sample=True, generator=None):
        latents = super().encode_image(images)
        if sample is False:
            return latents
        return latents + 0.1 * (torch.randn(latents.shape, generator=generator) if sample is True else sample)


def train(folder, **options):
    """An editor of the toy domain, and the run it leaves in `folder`."""
    kept = {"run": folder / "run", "out": folder / "e.safetensors"}
    return sdd.distill("red", toy_domain(), teacher=Sampling(), seed=4, progress=False, **kept, **OPTIONS | options)


if __name__ == "__main__":
    from pathlib import Path

    train(Path(sys.argv[1]))
