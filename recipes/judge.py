"""The judge's attribute classifier. Used by nothing that trains an editor or a shipped model.

    python -m recipes.judge

Cross-entropy on every discrete attribute the picture can show, squared error on the continuous ones. First the trunk
that sees whole pictures learns, then the one that sees heads cut out upright; the true pose, a little wrong, is told
to it, so that it learns to read what it will see and how far the pose was off. Half of the batches are seen at
64×64 (the teacher's size), slightly blurred or in noise, so that the judge can read generated pictures.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recipes import muon
from recipes.common import Average, arguments, autocast, device, fit, ramp, reading_loss, rng, to_images
from recipes.data import HEADS, home, labels, load
from sdd.domains import avatars
from sdd.nets.compact import AttributeClassifier

CLOSE = (
    "hair",
    "mouth",
    "eyes",
    "brows",
    "facial_hair",
    "accessories",
    "facial_hair_color",
    "accessories_color",
)
CLOSE_STEPS = 3000
WRONG = 0.08  # how wrong the pose is that the second trunk is told: one standard deviation, in units of half a range


def degrade(x: Tensor, seed: int, i: int) -> Tensor:
    """Half of all batches are seen worse than they are."""
    kind = rng(seed, i, 1).integers(0, 6)
    if kind == 0:
        x = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
    elif kind == 1:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    elif kind == 2:
        x = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(i)).to(x.device)
    return x


def learn(
    args: argparse.Namespace, net: AttributeClassifier, pixels: np.ndarray, truth: dict[str, Tensor], close: bool
) -> None:
    """Train one of the trunks; the network has the averaged weights afterwards."""
    held = torch.arange(1000)
    steps = CLOSE_STEPS if close else args.steps
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.startswith("close") == close)
    average = Average(net, 0.998)
    optimizer = muon.Muon(muon.groups((net, 1.0)), args.lr, weight_decay=1e-2)

    def step(i: int) -> dict[str, float]:
        index = torch.from_numpy(rng(args.seed, i, 2 * close).integers(1000, len(pixels), args.batch))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["part"] * ramp(i, steps)
        x = degrade(to_images(pixels[index.numpy()]), args.seed, i)
        target = {k: v[index] for k, v in truth.items()}
        with autocast():
            if close:
                pose = torch.stack([target[name] for name in avatars.RANGES], 1)
                wrong = WRONG * torch.randn(pose.shape, generator=torch.Generator().manual_seed(i)).to(pose)
                target |= dict(zip(avatars.RANGES, (-wrong).unbind(1), strict=True))
                scores = net.look_close(x, pose + wrong)
            else:
                scores = net.look(x)
        loss = reading_loss({k: v.float() for k, v in scores.items()}, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in net.parameters() if p.requires_grad], 5.0)
        optimizer.step()
        average.update()
        return {"loss": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        right: dict[str, list[torch.Tensor]] = {k: [] for k in HEADS}
        with average.applied(), autocast():
            for chunk in held.split(100):
                x = to_images(pixels[chunk.numpy()])
                for name, scores in (net(x) if close else net.look(x)).items():
                    target = truth[name][chunk]
                    if name in avatars.RANGES:
                        right[name].append((scores[:, 0] - target).abs() < 0.25)
                    else:
                        right[name].append((scores.argmax(1) == target)[target >= 0])
        figures = {k: torch.cat(v).float().mean().item() for k, v in right.items()}
        return {"mean": float(np.mean(list(figures.values()))), **figures}

    name = f"judge{'-close' if close else ''}{args.run}"
    fit(name, {"net": net, "average": average, "optimizer": optimizer}, step, steps, evaluate, every=250)
    net.load_state_dict(average.shadow)


def main() -> None:
    args = arguments(__doc__, steps=5000, batch=48, lr=1e-2)
    pixels = load(args.count)
    truth = {k: torch.from_numpy(v).to(device()) for k, v in labels(len(pixels)).items()}
    net = AttributeClassifier(HEADS, close=CLOSE, ranges=avatars.RANGES).to(device())
    for close in (False, True):
        learn(args, net, pixels, truth, close)
    from safetensors.torch import save_file

    half = {k: v.half().contiguous() for k, v in net.state_dict().items()}
    path = home() / f"judge{args.run}" / "attributes.safetensors"
    save_file(half, path, {"config": json.dumps({"net": net.config()})})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
