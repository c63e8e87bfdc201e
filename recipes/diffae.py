"""The diffusion autoencoder of the avatars, with its latent classifier.

    python -m recipes.data && python -m recipes.diffae

DiffAE (arXiv 2111.15640) on 64×64 pictures: an encoder to a code of 128 numbers and a U-Net that denoises pictures
given the code, trained together on the squared error of the noise alone, at timesteps drawn uniformly. The code's
statistics are those of the training pictures; the classifier is linear on codes so normalised, one row for each value
of each attribute that a picture shows.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from recipes import muon
from recipes.common import Average, arguments, autocast, device, fit, grid, psnr, ramp, rng, to_images
from recipes.data import HEADS, home, labels, load
from sdd.domains import avatars
from sdd.io.files import write_bytes
from sdd.methods import diffae
from sdd.nets.diffae import DiffAE, LatentClassifier

SIZE, CODE = 64, 128
HELD = 500  # the first pictures, for evaluation
CODED = 8000  # pictures that the classifier learns from
CLASSIFIER_STEPS, CLASSIFIER_BATCH = 4000, 32


def build() -> DiffAE:
    """The network, untrained: 4.8 M values, few of them where pictures are large and every one costs most."""
    return DiffAE(
        first=32, channels=[32, 32, 96, 128], blocks=1, attention=[2], encoder_channels=[32, 32, 64, 96, 128],
        encoder_blocks=1, encoder_attention=[2], code=CODE, time=128,
    )  # fmt: skip


def classes() -> list[tuple[str, str]]:
    """What the classifier tells: every value of every discrete attribute."""
    return [(name, value) for name in HEADS if name not in avatars.RANGES for value in avatars.values(name)]


def truth(count: int) -> Tensor:
    """1 where a picture shows a class, −1 elsewhere, (count, classes)."""
    known = labels(count)
    rows = [known[name] == avatars.values(name).index(value) for name, value in classes()]
    return torch.from_numpy(np.stack(rows, 1)).float() * 2 - 1


@torch.no_grad()
def returned(net: DiffAE, images: Tensor, steps: int) -> Tensor:
    """Pictures through both codes."""
    code, abar = net.encode(images), diffae.linear_abar()

    def predict(x: Tensor, t: int, told: Tensor) -> Tensor:
        noise: Tensor = net(x, t, told)
        return noise

    x = diffae.encode_stochastic(predict, images, code, abar, steps)
    return diffae.render(predict, x, code, abar, steps)


def main() -> None:
    args = arguments(__doc__, steps=1800, batch=16, lr=3e-3)
    pixels = load(args.count)
    net = build().to(device())
    average = Average(net, 0.998)
    optimizer = muon.Muon(muon.groups((net, 1.0)), args.lr)
    abar = diffae.linear_abar().float().to(device())

    def step(i: int) -> dict[str, float]:
        stream, noise = rng(args.seed, 15, i), torch.Generator().manual_seed(args.seed * 1_000_003 + i)
        index = stream.integers(HELD, len(pixels), args.batch)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["part"] * ramp(i, args.steps)
        images = to_images(pixels[index], SIZE)
        eps = torch.randn(images.shape, generator=noise).to(device())
        # One timestep from each of as many equal parts as there are pictures.
        t = ((torch.arange(args.batch) + torch.rand(args.batch, generator=noise)) / args.batch * 1000).long()
        a = abar[t.to(device())][:, None, None, None]
        # Not channels_last: torch's group norm goes back a hundred times slower through it in bfloat16.
        noised = (a.sqrt() * images + (1 - a).sqrt() * eps).contiguous()
        with autocast():
            guess = net(noised, t.to(device()), net.encode(images.contiguous()))
        loss = F.mse_loss(guess.float(), eps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.update()
        return {"loss": loss.item()}

    folder = home() / f"diffae{args.run}"

    def evaluate(i: int) -> dict[str, float]:
        images = to_images(pixels[:16], SIZE)
        with average.applied():
            back = returned(net, images, 20)
        grid(folder / "samples.png", images, back)
        return {"psnr": psnr(back, images)}

    fit(f"diffae{args.run}", {"net": net, "average": average, "optimizer": optimizer}, step, args.steps, evaluate, 500)
    with average.applied():
        finish(net, pixels, args.seed, folder)


def finish(net: DiffAE, pixels: np.ndarray, seed: int, folder: Any) -> None:
    """Statistics of the codes, the classifier, and the file."""
    count = min(CODED, len(pixels))
    with torch.no_grad():
        codes = torch.cat(
            [net.encode(to_images(pixels[k : k + 100], SIZE)) for k in track(range(0, count, 100), "encoding")]
        )
    mean, std, known = codes.mean(0), codes.std(0), truth(count).to(codes)
    stream = rng(seed, 16)
    picked = [stream.integers(HELD, count, CLASSIFIER_BATCH) for _ in range(CLASSIFIER_STEPS)]
    first = nn.Linear(CODE, known.shape[1]).to(codes)
    learned = diffae.train_classifier(
        [(codes[k], known[k]) for k in picked], mean, std, first.weight.detach(), first.bias.detach()
    )
    right = ((learned.classifier((codes[:HELD] - mean) / std) > 0) == (known[:HELD] > 0)).float().mean()
    print(json.dumps({"classifier": round(float(right), 4)}))
    classifier = LatentClassifier(CODE, known.shape[1])
    classifier.classifier.load_state_dict(learned.classifier.state_dict())
    names = tuple(f"{name}={value}" for name, value in classes())
    made = diffae.Autoencoder(net.cpu(), SIZE, mean.cpu(), std.cpu(), classifier, names)
    write_bytes(folder / "diffae.safetensors", made.to_bytes())
    print(f"wrote {folder / 'diffae.safetensors'}")


if __name__ == "__main__":
    main()
