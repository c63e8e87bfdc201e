"""What every recipe shares: a resumable loop, an average of the weights, precision, batches.

A batch depends on (seed, step) alone, so a run that was killed and started again sees what it would have seen.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from recipes.data import HEADS, home
from sdd.device import has_bfloat16


def device() -> torch.device:
    """CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast() -> Any:
    """bfloat16 where the hardware multiplies it quickly (CUDA, CPUs with AMX or AVX512-BF16); elsewhere float32."""
    fast = torch.cuda.is_available() or has_bfloat16()
    return torch.autocast(device().type, torch.bfloat16) if fast else contextlib.nullcontext()


def rng(*keys: int) -> np.random.Generator:
    """A random stream of its own for each tuple of keys."""
    return np.random.default_rng(keys)


def to_images(pixels: np.ndarray, size: int | None = None) -> Tensor:
    """(B, S, S, 3) uint8 → (B, 3, size, size) in [-1, 1], reduced by averaging."""
    x = torch.from_numpy(pixels).to(device()).permute(0, 3, 1, 2).float() / 127.5 - 1
    if size and size < x.shape[-1]:
        x = nn.functional.avg_pool2d(x, x.shape[-1] // size)
    return x.contiguous(memory_format=torch.channels_last)


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean over pictures of the PSNR with peak 2, in dB."""
    mse = (a.clamp(-1, 1) - b).float().square().mean((1, 2, 3))
    return float((10 * torch.log10(4 / mse.clamp_min(1e-10))).mean())


def reading_loss(scores: dict[str, Tensor], truth: dict[str, Tensor]) -> Tensor:
    """Sum over attributes of how badly `scores` (B, values) read them: cross-entropy, 4 × squared error for numbers.
    What a picture cannot show does not count.
    """
    losses = []
    for name, part in scores.items():
        if HEADS[name] == 1:
            losses.append(4 * nn.functional.mse_loss(part[:, 0], truth[name]))
        elif (truth[name] >= 0).any():
            losses.append(nn.functional.cross_entropy(part, truth[name]))
    return torch.stack(losses).sum()


def ramp(step: int, steps: int, warmup: int = 100) -> float:
    """Learning-rate factor: linear warm-up, then a cosine down to 2 %."""
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


class Average:
    """Exponential moving average of a network's weights, quicker to follow in the beginning."""

    def __init__(self, net: nn.Module, decay: float = 0.998) -> None:
        self.net, self.decay, self.count = net, decay, 0
        self.shadow = {k: v.detach().clone() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        d = min(self.decay, (1 + self.count) / (10 + self.count))
        for k, v in self.net.state_dict().items():
            if v.is_floating_point():
                self.shadow[k].lerp_(v, 1 - d)
            else:
                self.shadow[k].copy_(v)

    @contextlib.contextmanager
    def applied(self) -> Any:
        """The network with the averaged weights, in eval mode, for a while."""
        kept = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.net.load_state_dict(self.shadow)
        self.net.eval()
        try:
            yield self.net
        finally:
            self.net.load_state_dict(kept)
            self.net.train()


def arguments(doc: str | None, steps: int, batch: int, lr: float) -> argparse.Namespace:
    """The options every recipe has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--lr", type=float, default=lr)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--count", type=int, default=None, help="use only the first COUNT training pictures")
    parser.add_argument("--run", default="", help="suffix of the run's folder, to keep several runs apart")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    return args


def fit(
    name: str,
    state: dict[str, Any],
    step: Callable[[int], dict[str, float]],
    steps: int,
    evaluate: Callable[[int], dict[str, float]] | None = None,
    every: int = 500,
) -> Path:
    """Run `step(i)` for i < `steps`, resuming from the run's last checkpoint.

    `state` names what must survive a kill: modules, optimisers, `Average`s. Every `every` steps the checkpoint and the
    evaluation are written to the run's folder, which is returned.
    """
    folder = home() / name
    folder.mkdir(exist_ok=True)
    path = folder / "last.pt"
    start = 0
    if path.exists():
        saved = torch.load(path, map_location=device(), weights_only=True)
        start = saved["step"]
        for key, part in state.items():
            if isinstance(part, Average):
                part.shadow, part.count = saved[key]["shadow"], saved[key]["count"]
            else:
                part.load_state_dict(saved[key])

    def save(at: int) -> None:
        parts = {
            k: {"shadow": p.shadow, "count": p.count} if isinstance(p, Average) else p.state_dict()
            for k, p in state.items()
        }
        torch.save({"step": at, **parts}, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began, sums, count = time.time(), dict[str, float](), 0
    with Progress(*columns) as progress:
        task = progress.add_task(name, total=steps, completed=start)
        for i in range(start, steps):
            values = step(i)
            count += 1
            for k, v in values.items():
                sums[k] = sums.get(k, 0.0) + v
            if any(math.isnan(v) for v in values.values()):
                raise SystemExit(f"{name}: the loss is not a number at step {i}; lower --lr and start again")
            if (i + 1) % every == 0 or i + 1 == steps:
                means = {k: round(v / count, 5) for k, v in sums.items()}
                row = {"step": i + 1, "seconds": round(time.time() - began, 1), **means}
                if evaluate:
                    row |= {k: round(v, 4) for k, v in evaluate(i + 1).items()}
                with (folder / "log.jsonl").open("a") as log:
                    log.write(json.dumps(row) + "\n")
                progress.console.print(json.dumps(row))
                save(i + 1)
                sums, count = {}, 0
            progress.update(
                task, completed=i + 1, description=f"{name} " + " ".join(f"{k} {v:.4f}" for k, v in values.items())
            )
    return folder


def grid(path: Path, *rows: Tensor) -> None:
    """Save rows of images (N, 3, S, S) as one picture."""
    from PIL import Image

    lines = [torch.cat(list(row.float().clamp(-1, 1).cpu()), dim=2) for row in rows]
    picture = torch.cat(lines, dim=1).add(1).mul(127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(path)
