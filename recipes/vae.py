"""The teacher's autoencoder: a diffusers `AutoencoderKL`, 64×64 pictures ↔ 12×8×8 latents.

    python -m recipes.vae

Absolute and squared error with a very small KL term, as Stable Diffusion's first stage without the adversary. What is
small in the picture but large in words, brows, a mouth, is kept by two means: errors in the face count more, and a
small head reads the attributes from the latent, thrown away afterwards. The latents' scale is measured at the end and
stored as `scaling_factor`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recipes import muon
from recipes.common import (
    Average,
    arguments,
    autocast,
    device,
    fit,
    grid,
    psnr,
    ramp,
    reading_loss,
    rng,
    to_images,
)
from recipes.data import HEADS, home, labels, load
from sdd.domains import avatars
from sdd.nets.compact import by_head, posed

SIZE = 64
CHANNELS = 12
FACE = 0.5  # half the width of the square that holds an upright, centred face; the picture runs from -1 to 1
EMPHASIS = 4.0  # how many times more an error counts there


def build() -> Any:
    """The network, untrained."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
    )


def face_weight(pose: dict[str, Tensor]) -> Tensor:
    """How much an error counts at each pixel, 1 on average: (B, 1, SIZE, SIZE), from the labels of the pose (B,)."""
    known = posed(torch.stack([pose[name] for name in avatars.RANGES], 1), avatars.RANGES)
    tilt, right, down, zoom = known[:, :, None, None].unbind(1)
    axis = (torch.arange(SIZE, device=tilt.device) + 0.5) * 2 / SIZE - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    x, y, turn = x - 0.02 * right, y - 0.02 * down, torch.deg2rad(tilt)
    across, along = (turn.cos() * x + turn.sin() * y) / zoom, (turn.cos() * y - turn.sin() * x) / zoom
    weight = 1 + (EMPHASIS - 1) * ((across.abs() < FACE) & (along.abs() < FACE))
    return (weight / weight.mean((1, 2), keepdim=True))[:, None]


def main() -> None:
    args = arguments(__doc__, steps=3900, batch=16, lr=1e-2)
    pixels = load(args.count)
    truth = {k: torch.from_numpy(v[500:]).to(device()) for k, v in labels(len(pixels)).items()}
    train, held = pixels[500:], to_images(pixels[:64], SIZE)
    net = build().to(device())
    net = net.to(memory_format=torch.channels_last)
    reader = nn.Sequential(
        nn.Flatten(), nn.Linear(64 * CHANNELS, 256), nn.SiLU(), nn.Linear(256, sum(HEADS.values()))
    ).to(device())
    average = Average(net, 0.995)
    optimizer = muon.Muon(muon.groups((net, 1.0), (reader, 0.3)), args.lr)

    def step(i: int) -> dict[str, float]:
        index = rng(args.seed, i).integers(0, len(train), args.batch)
        x = to_images(train[index], SIZE)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["part"] * ramp(i, args.steps)
        with autocast():
            posterior = net.encode(x).latent_dist
            z = posterior.sample()
            y = net.decode(z).sample
        told = {k: v[index] for k, v in truth.items()}
        read = reading_loss(by_head(reader(z.float()), HEADS), told)
        off = (y.float() - x).abs()
        error = (face_weight(told) * (off + off.square())).mean()
        kl = posterior.kl().mean() / (8 * 8 * CHANNELS)
        loss = error + 1e-4 * kl + 0.01 * read
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.update()
        return {"error": error.item(), "kl": kl.item(), "read": read.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        with average.applied(), autocast():
            y = net.decode(net.encode(held).latent_dist.mean).sample
        grid(home() / name / "reconstructions.png", held[:12], y[:12])
        return {"psnr": psnr(y, held)}

    name = f"vae{args.run}"
    fit(
        name,
        {"net": net, "reader": reader, "average": average, "optimizer": optimizer},
        step,
        args.steps,
        evaluate,
        every=250,
    )
    with average.applied(), torch.no_grad():
        latents = torch.cat(
            [net.encode(to_images(pixels[i : i + 64], SIZE)).latent_dist.mean for i in range(0, 1024, 64)]
        )
        net.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
        net.save_pretrained(home() / name / "vae")
    print(f"wrote {home() / name / 'vae'}")


if __name__ == "__main__":
    main()
