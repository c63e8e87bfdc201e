"""The judge's attribute classifier. Used by nothing that trains an editor or a shipped model.

    python -m recipes.judge

Cross-entropy on every discrete attribute the picture can show, squared error on the continuous ones. A third of the
pictures are seen at 64×64 (the teacher's size), slightly blurred or in noise, so that the judge can read generated
ones.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from torch.nn import functional as F

from recipes import muon
from recipes.common import Average, arguments, autocast, device, fit, ramp, reading_loss, rng, to_images
from recipes.data import HEADS, home, labels, load
from sdd.domains import avatars
from sdd.nets.compact import AttributeClassifier


def main() -> None:
    args = arguments(__doc__, steps=5000, batch=48, lr=1e-2)
    pixels = load(args.count)
    truth = {k: torch.from_numpy(v).to(device()) for k, v in labels(len(pixels)).items()}
    held = torch.arange(1000)
    net = AttributeClassifier(HEADS).to(device())
    average = Average(net, 0.998)
    optimizer = muon.Muon(muon.groups((net, 1.0)), args.lr, weight_decay=1e-2)

    def degrade(x: torch.Tensor, i: int) -> torch.Tensor:
        kind = rng(args.seed, i, 1).integers(0, 6)
        if kind == 0:
            x = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
        elif kind == 1:
            x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        elif kind == 2:
            x = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(i)).to(x.device)
        return x

    def step(i: int) -> dict[str, float]:
        index = torch.from_numpy(rng(args.seed, i).integers(1000, len(pixels), args.batch))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["part"] * ramp(i, args.steps)
        with autocast():
            out = net(degrade(to_images(pixels[index.numpy()]), i))
        scores = torch.cat(list(out.values()), 1).float()
        loss = reading_loss(scores, {k: v[index] for k, v in truth.items()})
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        average.update()
        return {"loss": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        right: dict[str, list[torch.Tensor]] = {k: [] for k in HEADS}
        with average.applied(), autocast():
            for chunk in held.split(100):
                for name, scores in net(to_images(pixels[chunk.numpy()])).items():
                    target = truth[name][chunk]
                    if name in avatars.RANGES:
                        right[name].append((scores[:, 0] - target).abs() < 0.25)
                    else:
                        right[name].append((scores.argmax(1) == target)[target >= 0])
        figures = {k: torch.cat(v).float().mean().item() for k, v in right.items()}
        return {"mean": float(np.mean(list(figures.values()))), **figures}

    name = f"judge{args.run}"
    fit(name, {"net": net, "average": average, "optimizer": optimizer}, step, args.steps, evaluate, every=250)
    with average.applied():
        from safetensors.torch import save_file

        half = {k: v.half().contiguous() for k, v in net.state_dict().items()}
        save_file(half, home() / name / "attributes.safetensors", {"config": json.dumps({"net": net.config()})})
    print(f"wrote {home() / name / 'attributes.safetensors'}")


if __name__ == "__main__":
    main()
