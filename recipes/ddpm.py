"""The unconditional diffusion model: a small DDPM of the avatars in pixel space, as a diffusers folder.

    python -m recipes.data && python -m recipes.ddpm

For the methods that edit by fine-tuning one (DiffusionCLIP, effdiff). A `UNet2DModel` on 64×64 pictures, ε-prediction,
linear betas 1e-4 … 0.02 in 1000 steps as in Ho et al., arXiv 2006.11239. Editing starts from the middle of the chain at
most, so half of the draws of t are below 500 whatever the rest are.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes import muon
from recipes.common import Average, arguments, autocast, device, fit, grid, psnr, ramp, rng, to_images
from recipes.data import home, load

SIZE = 64
HELD = 256  # the first pictures are not trained on
T0, POINTS = 500, 40  # of the reconstruction that is measured: DiffusionCLIP's inversion


def build() -> Any:
    """The network, untrained."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=SIZE,
        block_out_channels=(8, 16, 64, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
    )


def scheduler() -> Any:
    """The published betas; nothing is clipped."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, clip_sample=False)


def save(unet: Any, folder: Path) -> None:
    """The network in half precision with its scheduler: a folder for `UNet2DModel` and `DDPMScheduler`."""
    copy.deepcopy(unet).half().save_pretrained(str(folder), safe_serialization=True)
    scheduler().save_pretrained(str(folder))


@torch.no_grad()
def move(unet: Any, abar: Tensor, x: Tensor, points: list[int]) -> Tensor:
    """DDIM without noise along timesteps `points`; -1 is the clean picture."""
    for t, s in pairwise(points):
        now, then = (abar[i] if i >= 0 else torch.ones(()) for i in (t, s))
        eps = unet(x, t).sample
        x0 = (x - (1 - now).sqrt() * eps) / now.sqrt()
        x = then.sqrt() * x0 + (1 - then).sqrt() * eps
    return x


def main() -> None:
    args = arguments(__doc__, steps=2400, batch=16, lr=4e-3)
    folder = home() / f"ddpm{args.run}"
    pixels = load(args.count)
    # 64×64 by averaging, once: the batches only index
    small = torch.cat(
        [to_images(pixels[i : i + 500], SIZE).add(1).mul(127.5).byte() for i in range(0, len(pixels), 500)]
    )
    del pixels
    unet = build().to(device(), memory_format=torch.channels_last)
    average = Average(unet, 0.995)
    optimizer = muon.Muon(muon.groups((unet, 1.0)), args.lr, weight_decay=1e-2)
    abar = scheduler().alphas_cumprod.to(device())

    def noised(index: np.ndarray, t: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        x0 = small[torch.from_numpy(index)].float() / 127.5 - 1
        eps = torch.randn(x0.shape, generator=noise).to(device())
        a = abar[t][:, None, None, None]
        return a.sqrt() * x0 + (1 - a).sqrt() * eps, eps

    def step(i: int) -> dict[str, float]:
        stream, noise = rng(args.seed, 9, i), torch.Generator().manual_seed(args.seed * 1_000_003 + i)
        index = stream.integers(HELD, len(small), args.batch)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["part"] * ramp(i, args.steps, 100)
        # One timestep from each of as many equal parts as there are pictures: less variance than independent draws.
        share = (torch.arange(len(index)) + torch.rand(len(index), generator=noise)) / len(index)
        t = torch.where(share < 0.5, share * 1000, 1000 * (2 * share - 1)).long().clamp_max(999)
        x, eps = noised(index, t.to(device()), noise)
        with autocast():
            guess = unet(x.contiguous(memory_format=torch.channels_last), t.to(device())).sample
        loss = F.mse_loss(guess.float(), eps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average.update()
        return {"loss": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        with average.applied():
            t = torch.linspace(0, 999, 64).long().to(device())
            x, eps = noised(np.arange(64), t, torch.Generator().manual_seed(5))
            errors = F.mse_loss(unet(x, t).sample, eps, reduction="none").mean((1, 2, 3))
            found = {"held_out": float(errors.mean()), "held_out_below_500": float(errors[:32].mean())}
            if i % 600 and i != args.steps:
                return found
            save(unet, folder / "net")
            pictures = small[:8].float() / 127.5 - 1
            up = [int(s * T0) for s in np.linspace(0, 1, POINTS)]
            back = move(unet, abar, move(unet, abar, pictures, up), [*reversed(up), -1])
            start = torch.randn(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).to(device())
            samples = move(unet, abar, start, [*range(999, 0, -40), -1])
        grid(folder / "samples.png", pictures, back, samples)
        return {**found, "reconstruction": psnr(back, pictures)}

    state = {"unet": unet, "optimizer": optimizer, "average": average}
    fit(f"ddpm{args.run}", state, step, args.steps, evaluate, every=200)
    with average.applied():
        save(unet, folder / "net")
    print(f"wrote {folder / 'pipeline'}")


if __name__ == "__main__":
    main()
