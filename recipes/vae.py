"""The teacher's autoencoder: a diffusers `AutoencoderKL`, 64×64 pictures ↔ 8×8×8 latents.

    python -m recipes.vae --steps 3000

Absolute and squared error with a very small KL term, as Stable Diffusion's first stage without the adversary. The
latents' scale is measured at the end and stored as `scaling_factor`.
"""

from __future__ import annotations

from typing import Any

import torch

from recipes.common import Average, arguments, autocast, device, fit, grid, psnr, ramp, rng, to_images
from recipes.data import home, load

SIZE = 64


def build() -> Any:
    """The network, untrained."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 96, 128),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=SIZE,
    )


def main() -> None:
    args = arguments(__doc__, steps=3000, batch=16, lr=2e-3)
    pixels = load(args.count)
    train, held = pixels[500:], to_images(pixels[:64], SIZE)
    net = build().to(device())
    average = Average(net, 0.995)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=1e-4)

    def step(i: int) -> dict[str, float]:
        x = to_images(train[rng(args.seed, i).integers(0, len(train), args.batch)], SIZE)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * ramp(i, args.steps)
        with autocast():
            posterior = net.encode(x).latent_dist
            y = net.decode(posterior.sample()).sample
        error = (y.float() - x).abs().mean() + (y.float() - x).square().mean()
        kl = posterior.kl().mean() / (8 * 8 * 8)
        loss = error + 1e-4 * kl
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.update()
        return {"error": float(error), "kl": float(kl)}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        with average.applied(), autocast():
            y = net.decode(net.encode(held).latent_dist.mean).sample
        grid(home() / name / "reconstructions.png", held[:12], y[:12])
        return {"psnr": psnr(y, held)}

    name = f"vae{args.run}"
    fit(name, {"net": net, "average": average, "optimizer": optimizer}, step, args.steps, evaluate, every=250)
    with average.applied(), torch.no_grad():
        latents = torch.cat(
            [net.encode(to_images(pixels[i : i + 64], SIZE)).latent_dist.mean for i in range(0, 1024, 64)]
        )
        net.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
        net.save_pretrained(home() / name / "vae")
    print(f"wrote {home() / name / 'vae'}")


if __name__ == "__main__":
    main()
