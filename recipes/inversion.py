"""Generator and encoder of the avatars domain, trained together.

    python -m recipes.inversion --stage tiny      # 32×32: quick, learns what a person is
    python -m recipes.inversion --stage small     # 64×64: each stage starts from the one before
    python -m recipes.inversion --stage full      # 128×128
    python -m recipes.inversion --stage prior     # adds the adversary, so that the neighbourhood of every code is a person

Reconstruction: absolute, squared and edge error of G(E(x) + noise). The noise on the codes makes neighbours decode alike, and a
small pull towards zero keeps all dimensions at unit scale. In the last stage a discriminator also sees codes mixed between two
people at a random layer, codes moved by up to 0.7 standard deviations, and codes of the mapping network; lazy R1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.common import Average, autocast, device, fit, grid, psnr, ramp, rng, to_images
from recipes.data import home, load
from sdd.nets.compact import CompactEncoder, Trunk
from sdd.nets.stylegan2 import Generator

CHANNELS = {4: 128, 8: 128, 16: 96, 32: 64, 64: 32, 128: 16}
STYLE_DIM = 128
STAGES = {"tiny": (32, 4000), "small": (64, 8000), "full": (128, 6000), "prior": (128, 4000)}


class Discriminator(nn.Module):
    """Is this a picture of the domain? (B, 3, 128, 128) → (B,)."""

    def __init__(self, channels: tuple[int, ...] = (32, 64, 96, 128, 128)) -> None:
        super().__init__()
        self.trunk = Trunk(channels)
        self.head = nn.Linear(channels[-1] * 16 + 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        h = self.trunk(images)
        spread = h.float().std(0).mean().expand(len(h), 1)  # sees whether a batch is varied
        return self.head(torch.cat([h.flatten(1), spread], 1))[:, 0]


def build(size: int) -> tuple[Generator, CompactEncoder]:
    """Both networks, untrained; the smaller generator's layers are the first ones of the larger."""
    generator = Generator(size, STYLE_DIM, n_mlp=4, channels={r: c for r, c in CHANNELS.items() if r <= size})
    return generator, CompactEncoder(128, generator.n_latent, STYLE_DIM)


def adopt(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load what fits; where a tensor grew along its first axis (the encoder's head), its first rows."""
    own = net.state_dict()
    for key, value in tensors.items():
        if key in own and own[key].shape == value.shape:
            own[key] = value.float()
        elif key in own and own[key].shape[1:] == value.shape[1:]:
            own[key][: len(value)] = value.float()
            # The new layers' codes start as copies of the last known layer's.
            extra = len(own[key]) - len(value)
            own[key][len(value) :] = value[-STYLE_DIM:].float().repeat(extra // STYLE_DIM, *[1] * (value.ndim - 1))
    net.load_state_dict(own)


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def error(y: Tensor, x: Tensor) -> Tensor:
    """Absolute + squared + edge error."""
    y = y.float()
    sharp = sum((a - b).abs().mean() for a, b in zip(edges(y), edges(x), strict=True))
    return (y - x).abs().mean() + (y - x).square().mean() + 0.5 * sharp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--noise", type=float, default=0.15, help="of the codes, whose scale is about 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--init", type=Path, default=None, help="a `last.pt` to start from (the stage before, by default)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    size, steps = STAGES[args.stage]
    steps = args.steps or steps
    adversarial = args.stage == "prior"

    pixels = load()
    train, held = pixels[1000:], to_images(pixels[:96])
    generator, encoder = (net.to(device()) for net in build(size))
    order = list(STAGES)
    before = args.init or (home() / f"inversion-{order[order.index(args.stage) - 1]}" / "last.pt" if args.stage != "tiny" else None)
    if before:
        saved = torch.load(before, map_location=device(), weights_only=True)
        adopt(generator, saved["generator_average"]["shadow"])
        adopt(encoder, saved["encoder_average"]["shadow"])
    averages = Average(generator, 0.998), Average(encoder, 0.998)
    optimizer = torch.optim.Adam([*generator.parameters(), *encoder.parameters()], lr=args.lr, betas=(0.5, 0.99))
    state = {
        "generator": generator, "encoder": encoder, "optimizer": optimizer,
        "generator_average": averages[0], "encoder_average": averages[1],
    }  # fmt: skip
    if adversarial:
        critic = Discriminator().to(device())
        critic_optimizer = torch.optim.Adam(critic.parameters(), lr=args.lr, betas=(0.0, 0.99))
        state |= {"critic": critic, "critic_optimizer": critic_optimizer}

    def shrink(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 128 // size) if size < 128 else x

    def strange(codes: Tensor, noise: torch.Generator) -> Tensor:
        """Codes that are nobody's: mixed between neighbours at a random layer, moved, or mapped from z."""
        kind = int(torch.randint(0, 3, (1,), generator=noise))
        if kind == 0:
            at = int(torch.randint(1, codes.shape[1], (1,), generator=noise))
            return torch.cat([codes[:, :at], codes.roll(1, 0)[:, at:]], 1)
        if kind == 1:
            amount = 0.7 * torch.rand(len(codes), 1, 1, generator=noise)
            return codes + amount.to(codes.device) * codes.std(0) * torch.randn(codes.shape, generator=noise).to(codes.device)
        z = torch.randn(len(codes), STYLE_DIM, generator=noise).to(codes.device)
        return generator.mapping(z)[:, None].expand_as(codes)

    def step(i: int) -> dict[str, float]:
        noise = torch.Generator().manual_seed(args.seed * 1_000_003 + i)
        x = to_images(train[rng(args.seed, size, i).integers(0, len(train), args.batch)])
        for o in (optimizer, *([critic_optimizer] if adversarial else [])):
            for group in o.param_groups:
                group["lr"] = args.lr * ramp(i, steps)
        out: dict[str, float] = {}
        with autocast():
            codes = encoder(x)
            noisy = codes + args.noise * torch.randn(codes.shape, generator=noise).to(codes.device)
            y = generator(noisy, noise="none")
        target = shrink(x)
        loss = error(y, target) + 1e-3 * codes.float().square().mean()
        out["error"] = loss.item()
        if adversarial:
            with autocast():
                other = generator(strange(codes.detach(), noise), noise="none")
                fake = critic(torch.cat([y, other]))
            loss = 3 * loss + 0.1 * F.softplus(-fake.float()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*generator.parameters(), *encoder.parameters()], 5.0)
        optimizer.step()
        if adversarial:
            critic_optimizer.zero_grad(set_to_none=True)
            with autocast():
                scores = critic(torch.cat([y.detach(), other.detach(), x]))
            n = len(scores) - len(x)
            verdict = F.softplus(scores[:n].float()).mean() + F.softplus(-scores[n:].float()).mean()
            if i % 16 == 0:
                real = x[: max(4, len(x) // 4)].detach().requires_grad_()
                (slope,) = torch.autograd.grad(critic(real).sum(), real, create_graph=True)
                verdict = verdict + 16 * 0.5 * slope.square().sum((1, 2, 3)).mean()
            verdict.backward()
            critic_optimizer.step()
            out["critic"] = verdict.item()
        for average in averages:
            average.update()
        return out

    name = f"inversion-{args.stage}"

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        with averages[0].applied() as g, averages[1].applied() as e, autocast():
            codes = e(held)
            y = g(codes, noise="none")
            mixed = g(torch.cat([codes[:12, :5], codes[12:24, 5:]], 1), noise="none")
        moved = y[:12] * 0
        with averages[0].applied() as g, autocast():
            moved = g(codes[:12] + 0.5 * codes.std(0) * torch.randn(codes[:12].shape, generator=torch.Generator().manual_seed(0)).to(codes), noise="none")
        x = shrink(held)
        grid(home() / name / "pictures.png", x[:12], y[:12], mixed, moved)
        return {"psnr": psnr(y, x)}

    fit(name, state, step, steps, evaluate, every=250)
    if size == 128:
        export(name, averages, encoder, generator, pixels, held)


@torch.no_grad()
def export(name: str, averages: tuple[Average, Average], encoder: CompactEncoder, generator: Generator, pixels, held: Tensor) -> None:  # type: ignore[no-untyped-def]
    """Write generator.safetensors and encoder.safetensors, in half precision, as the avatars domain reads them."""
    from safetensors.torch import save_file

    folder = home() / name
    with averages[0].applied(), averages[1].applied():
        codes = torch.cat([encoder(to_images(pixels[i : i + 100])) for i in range(0, 4000, 100)])
        half = {k: v.half().contiguous() for k, v in generator.state_dict().items()}
        digest = hashlib.sha256()
        for key in sorted(half):
            digest.update(key.encode() + half[key].cpu().numpy().tobytes())
        figure = psnr(generator(encoder(held), noise="none"), held)
        tensors = {**half, "latent_mean": codes.mean(0).contiguous(), "latent_std": codes.std(0).contiguous()}
        config = {"net": generator.config(), "hash": digest.hexdigest(), "psnr": round(figure, 2)}
        save_file(tensors, folder / "generator.safetensors", {"config": json.dumps(config)})
        half = {k: v.half().contiguous() for k, v in encoder.state_dict().items()}
        save_file(half, folder / "encoder.safetensors", {"config": json.dumps({"net": encoder.config()})})
    print(f"wrote {folder}/generator.safetensors and encoder.safetensors, {figure:.2f} dB on held-out pictures")


if __name__ == "__main__":
    main()
