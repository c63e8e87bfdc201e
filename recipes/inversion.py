"""Generator and encoder of the avatars domain.

    python -m recipes.inversion --stage tiny      # the generator alone, at 32×32: what a person is
    python -m recipes.inversion --stage small     # 64×64; each stage starts from the one before
    python -m recipes.inversion --stage full      # 128×128
    python -m recipes.inversion --stage encoder   # the encoder alone: the code of each picture
    python -m recipes.inversion --stage joint     # both, by reconstruction
    python -m recipes.inversion --stage detail    # both, with less noise, for what is a few pixels large
    python -m recipes.inversion --stage mapping   # the mapping network: which codes are people's

Learning encoder and generator from nothing together is slow: for long neither knows what the other means. Here the
options a person was drawn from are known, so a small network first turns them into a code w, and the generator learns
to draw from that; then the encoder learns to find the code in the picture, and only then the two are tuned together.
All the while the encoder is told how the face is posed, because its second trunk sees the face cut out upright.
Every layer's copy of w gets noise of its own, so that the neighbourhood of a code decodes like the code: what keeps
an edit on the manifold, in place of an adversary, and what lets the encoder err a little. A small pull towards zero
keeps the scale of order one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes import muon
from recipes.common import Average, autocast, device, fit, grid, psnr, ramp, rng, to_images
from recipes.data import home, load
from sdd.domains import avatars
from sdd.nets.compact import CompactEncoder
from sdd.nets.stylegan2 import Generator

CHANNELS = {4: 128, 8: 128, 16: 96, 32: 96, 64: 48, 128: 16}
STYLE_DIM = 128
STAGES = {  # size, steps, batch, learning rate
    "tiny": (32, 900, 32, 1e-2),
    "small": (64, 1000, 32, 8e-3),
    "full": (128, 1200, 24, 6e-3),
    "encoder": (128, 1200, 32, 1e-2),
    "joint": (128, 3400, 24, 4e-3),
    "detail": (128, 2800, 48, 4e-3),
    "mapping": (128, 1500, 512, 2e-1),
}
SPREAD = {"joint": 0.2, "detail": 0.07}  # less noise in the end: small features have little room in the code
CLOSE = (48, 96, 160, 192)  # channels of the encoder's second trunk
DRAWINGS = {name: [d for ds in table.values() for d in ds] for name, table in avatars.SHAPES.items()}
FACE = (0.29, 0.62, 0.34, 0.68)  # top, bottom, left, right of brows, eyes and mouth, in DiceBear's own framing
GRAPHICS = ("bat", "bear", "cumbia", "deer", "diamond", "hola", "pizza", "resist", "skull", "skullOutline")


def facts(count: int) -> tuple[Tensor, Tensor]:
    """What the training people were drawn from: (N, K) indices, 0 for what the picture does not show, and (N, 4)
    numbers.
    """
    rows, numbers = [], []
    for i in range(count):
        a = avatars.draw(rng(0, 0, i), seed=i)
        row = []
        for name, drawings in DRAWINGS.items():
            drawing = a.drawings[name] if a.visible(name) else None
            row.append(1 + drawings.index(drawing) if drawing else 0)
        for name in avatars.COLORS:
            row.append(1 + avatars.values(name).index(a.attributes[name]) if a.visible(name) else 0)
        row.append(1 + GRAPHICS.index(a.graphic) if a.attributes["clothes"] == "graphic shirt" else 0)
        row.append(int(a.round_crop))
        rows.append(row)
        numbers.append([(a.attributes[n] - (lo + hi) / 2) / ((hi - lo) / 2) for n, (lo, hi) in avatars.RANGES.items()])
    return torch.tensor(rows), torch.tensor(numbers)


class People(nn.Module):
    """A person's options → code w (B, STYLE_DIM): a sum of learned vectors, plus what a small network makes of their
    sum.
    """

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = (
            [len(d) for d in DRAWINGS.values()] + [len(avatars.values(n)) for n in avatars.COLORS] + [len(GRAPHICS), 1]
        )
        self.register_buffer("offset", torch.tensor([0, *np.cumsum([s + 1 for s in sizes])[:-1].tolist()]))
        self.table = nn.Embedding(sum(sizes) + len(sizes), 256)
        nn.init.normal_(self.table.weight, std=0.3)
        self.number = nn.Linear(4, 256)
        self.net = nn.Sequential(
            nn.Linear(256, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU(), nn.Linear(512, STYLE_DIM)
        )
        self.straight = nn.Linear(256, STYLE_DIM)

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        e = self.table(rows + self.offset).sum(1) + self.number(numbers)
        return self.straight(e) + self.net(e)


def build(size: int) -> Generator:
    """The generator, untrained; a smaller one's layers are the first ones of a larger."""
    return Generator(size, STYLE_DIM, n_mlp=4, channels={r: c for r, c in CHANNELS.items() if r <= size})


def adopt(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load what is there and fits."""
    own = net.state_dict()
    net.load_state_dict(own | {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape})


def error(y: Tensor, x: Tensor) -> Tensor:
    """Absolute + squared + edge error, plus the log of each picture's squared error, which is its PSNR.

    The middle of the face, a tenth of the picture, counts five times, and more where the picture differs from its
    surroundings: eyes, brows and mouth are a few pixels each, and all of a person's mood. Without the log, pictures
    that are hard to draw would leave the others no say.
    """
    side = x.shape[-1]
    top, bottom, left, right = (round(k * side) for k in FACE)
    near = round(9 * side / 128) | 1  # pixels
    contrast = (x - F.avg_pool2d(x, near, 1, near // 2, count_include_pad=False)).abs().mean(1, keepdim=True)
    weight = torch.ones_like(contrast)
    weight[..., top:bottom, left:right] = 5 + 20 * contrast[..., top:bottom, left:right]
    d = y.float() - x
    along = (d[..., 1:] - d[..., :-1]).abs() * weight[..., 1:]
    down = (d[..., 1:, :] - d[..., :-1, :]).abs() * weight[..., 1:, :]
    seen = ((d.abs() + d.square()) * weight).mean() + 0.5 * (along.mean() + down.mean())
    return seen / weight.mean() + 0.08 * torch.log(d.square().mean((1, 2, 3)) + 1e-5).mean()


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """2 E‖a − b‖ − E‖a − a'‖ − E‖b − b'‖ of two samples (N, D): zero only for equal distributions."""
    n = len(a) / (len(a) - 1)  # a sample's distance to itself does not count
    return 2 * torch.cdist(a, b).mean() - n * torch.cdist(a, a).mean() - n * torch.cdist(b, b).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--lr", type=float, default=None)
    parser.add_argument("--noise", type=float, default=None, help="on the codes, whose scale is of order one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    stage = args.stage
    size, steps, batch, lr = STAGES[stage]
    steps, batch, lr = args.steps or steps, args.batch or batch, args.lr or lr
    spread = args.noise if args.noise is not None else SPREAD.get(stage, 0.3)
    name = f"inversion-{stage}"

    pixels = load()
    from_people = stage in ("tiny", "small", "full")
    rows, numbers = (t.to(device()) for t in facts(len(pixels) if stage != "mapping" else 0))
    held = torch.arange(96)
    generator, encoder, people = (
        build(size).to(device()),
        CompactEncoder(128, 12, STYLE_DIM, close=CLOSE, ranges=avatars.RANGES).to(device()),
        People().to(device()),
    )
    nets: dict[str, nn.Module] = {"generator": generator, "encoder": encoder, "people": people}
    order = list(STAGES)
    if stage != order[0]:
        before = [home() / f"inversion-{s}" / "last.pt" for s in order[: order.index(stage)]]
        saved = torch.load([f for f in before if f.exists()][-1], map_location=device(), weights_only=True)
        for key, net in nets.items():
            adopt(net, saved[f"{key}_average"]["shadow"])
    if stage == "mapping":
        map_people(name, generator, encoder, pixels, steps, batch, lr, args.seed)
        export(name, encoder, generator, pixels)
        return
    learning = ["encoder"] if stage == "encoder" else ["generator", "people" if from_people else "encoder"]
    parameters = [p for key in learning for p in nets[key].parameters()]
    # Equalised weights are of order one, the others much smaller; so their steps must be larger to be as large.
    groups = muon.groups(*((nets[key], 4.0 if key == "generator" else 1.0) for key in learning))
    if "generator" in learning:
        groups[0]["part"] = 10.0
    optimizer = muon.Muon(groups, lr)
    averages = {key: Average(net, 0.997) for key, net in nets.items()}
    state: dict[str, Any] = {**nets, **{f"{k}_average": a for k, a in averages.items()}, "optimizer": optimizer}

    def shrink(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 128 // size) if size < 128 else x

    def step(i: int) -> dict[str, float]:
        noise = torch.Generator().manual_seed(args.seed * 1_000_003 + i)
        index = torch.from_numpy(rng(args.seed, order.index(stage), i).integers(1000, len(pixels), batch))
        x = to_images(pixels[index.numpy()])
        for group in optimizer.param_groups:
            group["lr"] = lr * group["part"] * ramp(i, steps)
        out: dict[str, float] = {}
        with autocast():
            if stage == "encoder":
                found, pose = encoder.look(x)
                with torch.no_grad():
                    w = people(rows[index], numbers[index])
                loss = 10 * (found.float() - w[:, None].float()).square().mean()
                out["error"] = loss.item() / 10
            else:
                if from_people:
                    codes, pose = people(rows[index], numbers[index])[:, None].expand(-1, generator.n_latent, -1), None
                else:
                    codes, pose = encoder.look(x)
                moved = codes + spread * torch.randn(codes.shape, generator=noise).to(codes.device)
                y = generator(moved, noise="none")
                loss = error(y, shrink(x)) + 1e-3 * codes.float().square().mean()
                out["error"] = loss.item()
            if pose is not None:
                wrong = (pose.float() - numbers[index]).square().mean()
                loss = loss + wrong
                out["pose"] = wrong.item()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        for key in learning:
            averages[key].update()
        return out

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        x = to_images(pixels[held.numpy()])
        with averages["generator"].applied(), averages["encoder"].applied(), averages["people"].applied(), autocast():
            if from_people:
                codes = people(rows[held], numbers[held])[:, None].expand(-1, generator.n_latent, -1)
            else:
                codes = encoder(x)
            y = generator(codes, noise="none")
            still = torch.Generator().manual_seed(0)
            mixed = generator(torch.cat([codes[:12, :5], codes[12:24, 5:]], 1), noise="none")
            moved = generator(
                codes[:12] + 0.5 * codes.std(0) * torch.randn(codes[:12].shape, generator=still).to(codes.device),
                noise="none",
            )
        grid(home() / name / "pictures.png", shrink(x)[:12], y[:12], mixed, moved)
        return {"psnr": psnr(y, shrink(x)), "scale": codes.std().item()}

    fit(name, state, step, steps, evaluate, every=100)
    if stage in ("joint", "detail"):
        with averages["generator"].applied(), averages["encoder"].applied():
            export(name, encoder, generator, pixels)


def map_people(
    name: str,
    generator: Generator,
    encoder: CompactEncoder,
    pixels: np.ndarray,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
) -> None:
    """Teach the mapping network where people's codes are: the distribution of w(z) is brought to that of the codes.

    No picture needs to be drawn for that, which makes it a matter of a minute.
    """
    with torch.no_grad():
        codes = [encoder(to_images(pixels[i : i + 100])).mean(1) for i in range(1000, min(16000, len(pixels)), 100)]
        people = torch.cat(codes).float()
    average = Average(generator.style, 0.99)
    optimizer = torch.optim.Adam(generator.style.parameters(), lr=lr, betas=(0.9, 0.99))

    def step(i: int) -> dict[str, float]:
        noise = torch.Generator().manual_seed(seed * 1_000_003 + i)
        for group in optimizer.param_groups:
            group["lr"] = lr * ramp(i, steps)
        z = torch.randn(batch, STYLE_DIM, generator=noise).to(people.device)
        drawn = people[torch.randint(len(people), (batch,), generator=noise).to(people.device)]
        loss = energy_distance(generator.mapping(z), drawn)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average.update()
        return {"distance": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        with average.applied():
            z = torch.randn(36, STYLE_DIM, generator=torch.Generator().manual_seed(0)).to(people.device)
            drawn = generator(generator.mapping(z), noise="none")
        grid(home() / name / "pictures.png", drawn[:12], drawn[12:24], drawn[24:])
        return {}

    fit(name, {"style": generator.style, "average": average, "optimizer": optimizer}, step, steps, evaluate, every=500)
    generator.style.load_state_dict(average.shadow)


@torch.no_grad()
def export(name: str, encoder: CompactEncoder, generator: Generator, pixels: np.ndarray) -> None:
    """Write generator.safetensors and encoder.safetensors, in half precision, as the avatars domain reads them."""
    from safetensors.torch import save_file

    folder = home() / name
    codes = torch.cat([encoder(to_images(pixels[i : i + 100])) for i in range(0, 4000, 100)])
    held = to_images(pixels[:96])
    figure = psnr(generator(encoder(held), noise="none"), held)
    half = {k: v.half().contiguous() for k, v in generator.state_dict().items()}
    digest = hashlib.sha256()
    for key in sorted(half):
        digest.update(key.encode() + half[key].cpu().numpy().tobytes())
    tensors = {**half, "latent_mean": codes.mean(0).contiguous(), "latent_std": codes.std(0).contiguous()}
    config = {"net": generator.config(), "hash": digest.hexdigest(), "psnr": round(figure, 2)}
    save_file(tensors, folder / "generator.safetensors", {"config": json.dumps(config)})
    half = {k: v.half().contiguous() for k, v in encoder.state_dict().items()}
    save_file(half, folder / "encoder.safetensors", {"config": json.dumps({"net": encoder.config()})})
    print(f"wrote {folder}/generator.safetensors and encoder.safetensors, {figure:.2f} dB on held-out pictures")


if __name__ == "__main__":
    main()
