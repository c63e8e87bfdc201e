"""A text-to-image teacher fine-tuned on the pictures of a domain, through low-rank updates (LoRA, arXiv 2106.09685).

peft puts updates into every convolution and linear layer of a copy of the U-Net; they learn what the teacher itself
learned: the noise in noisy latents of the domain's pictures, under one caption (arXiv 2006.11239, equation 14; v where
the teacher predicts v, arXiv 2202.00512). What is learned depends on the domain and the caption, on no target prompt.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.manipulators.one_step import LAYERS
from sdd.teachers.latent import LatentDiffusion
from sdd.training.run import Run

WARMUP = 20  # steps over which the rate rises


@dataclass(frozen=True)
class Tuning:
    """How to fine-tune.

    Attributes:
        steps, batch: of the optimiser (AdamW). rate: its learning rate. rank: of the updates.
        pictures: of the domain, at most.
        every: steps between checkpoints.
    """

    steps: int = 300
    batch: int = 8
    rate: float = 5e-4
    rank: int = 8
    pictures: int = 256
    every: int = 50


def with_updates(teacher: LatentDiffusion, rank: int) -> tuple[LatentDiffusion, dict[str, nn.Parameter]]:
    """A copy of a teacher whose U-Net has low-rank updates that change nothing yet, and the updates by name."""
    import peft

    made = copy.copy(teacher)
    made.unet = copy.deepcopy(teacher.unet)
    with torch.random.fork_rng(devices=[]):  # peft draws its first updates from the global generator
        config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LAYERS))
        peft.inject_adapter_in_model(config, made.unet)
    return made, {name: p for name, p in made.unet.named_parameters() if ".lora_" in name}


def _reset(updates: dict[str, nn.Parameter], random: torch.Generator) -> None:
    """A as `nn.Linear`'s first weights, B zero: nothing changes."""
    for name, update in updates.items():
        first = torch.zeros(update.shape)
        if "lora_A" in name:
            nn.init.kaiming_uniform_(first, a=math.sqrt(5), generator=random)
        with torch.no_grad():
            update.copy_(first)


def target(prediction: str, x0: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    """What the network is to say of noisy latents: the noise, or v = √ᾱ ε − √(1 − ᾱ) x₀.

    Args:
        prediction: "epsilon" or "v_prediction". kept: ᾱ_t, (B, 1, 1, 1).
    """
    return noise if prediction == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * x0


def fine_tune(
    teacher: LatentDiffusion, images: Tensor, caption: str, tuning: Tuning, seed: int = 0, folder: Path | None = None,
    report: Report = silent,
) -> dict[str, Tensor]:  # fmt: skip
    """Low-rank updates of a teacher's U-Net, by name, after training on pictures (N, 3, H, W) in [-1, 1].

    Args:
        caption: of every picture. folder: of checkpoints; the same call with the same folder goes on from the last.

    Raises:
        SddError: the folder holds another training, or the loss is not finite.
    """
    digest = hashlib.sha256(images.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
    said = {"prompt": caption, "teacher": teacher.name, "seed": seed, "images": digest, **asdict(tuning)}
    run = Run(folder, json.loads(json.dumps(said)))
    try:
        learned: dict[str, nn.Parameter] = {}
        for step, learned in _steps(teacher, images, caption, tuning, seed, run):  # noqa: B007 — the last counts
            report("fine-tuning the teacher", step, tuning.steps)
        return {name: p.detach().clone().contiguous() for name, p in learned.items()}
    finally:
        run.close()


def _steps(
    teacher: LatentDiffusion, images: Tensor, caption: str, tuning: Tuning, seed: int, run: Run
) -> Iterator[tuple[int, dict[str, nn.Parameter]]]:
    """The updates after each step, from the last checkpoint on; at least once."""
    random = torch.Generator().manual_seed(seed)
    made, updates = with_updates(teacher, tuning.rank)
    _reset(updates, random)
    parameters = [p.requires_grad_() for p in updates.values()]
    optimizer = torch.optim.AdamW(parameters, lr=tuning.rate, weight_decay=0.0)
    with torch.no_grad():
        latents = torch.cat([teacher.encode_image(part.to(teacher.device), sample=False) for part in images.split(16)])
    told, first = teacher.encode_text([caption]), 0
    if (saved := run.restore()) is not None:
        first = int(saved["step"])
        random.set_state(saved["random"])
        optimizer.load_state_dict(saved["optimizer"])
        with torch.no_grad():
            for name, update in updates.items():
                update.copy_(saved["updates"][name])
    yield first, updates
    for step in range(first + 1, tuning.steps + 1):
        index = torch.randint(len(latents), (tuning.batch,), generator=random)
        t = torch.randint(teacher.num_timesteps, (tuning.batch,), generator=random)
        x0 = latents[index.to(latents.device)]
        noise = torch.randn(x0.shape, generator=random).to(x0)
        kept = teacher.alphas_cumprod[t].to(x0).view(-1, 1, 1, 1)
        found = _answer(made, teacher.add_noise(x0, noise, t), t.to(x0.device), told.repeat(tuning.batch))
        loss = F.mse_loss(found, target(teacher.prediction, x0, noise, kept))
        if not bool(torch.isfinite(loss)):
            raise SddError(f"fine-tuning the teacher diverged at step {step}; give it a smaller rate")
        for group in optimizer.param_groups:
            group["lr"] = tuning.rate * min(1.0, step / WARMUP)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log(step, {"loss": float(loss.detach())})
        if step % tuning.every == 0 or step == tuning.steps:
            run.save(
                {
                    "step": step, "random": random.get_state(), "optimizer": optimizer.state_dict(),
                    "updates": {name: p.detach() for name, p in updates.items()},
                }
            )  # fmt: skip
        yield step, updates


def _answer(teacher: LatentDiffusion, x: Tensor, t: Tensor, told: Any) -> Tensor:
    """What the U-Net says, with its gradient."""
    text = told.embeds.to(teacher.dtype)
    return teacher.unet(x.to(teacher.dtype), t, text, **teacher._extras(told)).sample.to(x.dtype)


def tuned(teacher: LatentDiffusion, learned: dict[str, Tensor]) -> LatentDiffusion:
    """A copy of a teacher with the updates that `fine_tune` gave.

    Raises:
        SddError: they are not of this teacher's U-Net.
    """
    ranks = {int(v.shape[0]) for k, v in learned.items() if "lora_A" in k and v.ndim == 2}
    if len(ranks) != 1 or not 1 <= (rank := ranks.pop()) <= 1024:
        raise SddError(f"what was learned holds no low-rank updates of the U-Net of {teacher.name}; train it again")
    made, updates = with_updates(teacher, rank)
    if {k: p.shape for k, p in updates.items()} != {k: v.shape for k, v in learned.items()}:
        raise SddError(f"what was learned does not fit the U-Net of {teacher.name}; give the teacher it was learned on")
    with torch.no_grad():
        for name, update in updates.items():
            update.copy_(learned[name])
    made.unet.eval().requires_grad_(False)
    return made
