"""The identity network: which pictures show the same person.

    python -m recipes.identity --draw             # pictures of 400 people, 12 each (minutes, two processes)
    python -m recipes.identity

A person is skin colour, facial hair with its colour, and whether the brows are bushy, no two of them alike; hair,
mood, glasses, clothes, background and framing vary from picture to picture. An IR-SE network of small size with
ArcFace's additive angular margin (arXiv 1801.07698, equation 3); the classes' centres are thrown away afterwards.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from recipes import muon
from recipes.common import Average, autocast, device, fit, ramp, rng, to_images
from recipes.data import home
from sdd.domains import avatars
from sdd.nets.arcface import IRSE, identity_features

SIZE = 64
PEOPLE, PICTURES, HELD = 400, 12, 40  # the last HELD people are kept for evaluation
KEPT = ("skin_color", "facial_hair", "facial_hair_color")  # what makes a person, and `bushy`
MARGIN, SCALE = 0.3, 24.0


def build() -> IRSE:
    """The network, untrained: 64×64 in, 128 numbers out."""
    return IRSE(
        units=(1, 1, 2, 1), channels=(24, 48, 80, 112), embedding=128, input_size=SIZE, stem=16, squeeze=8, crop="none"
    )


def bushy(face: avatars.Avatar) -> bool:
    """Whether the brows are filled shapes; otherwise they are lines."""
    return str(face.drawings["brows"]).endswith("Natural")


def faces() -> list[avatars.Avatar]:
    """PEOPLE faces that can be told apart."""
    found: dict[tuple[Any, ...], avatars.Avatar] = {}
    seed = 0
    while len(found) < PEOPLE:
        face = avatars.draw(rng(5, seed), seed=seed)
        color = face.attributes["facial_hair_color"] if face.drawings["facial_hair"] else None
        key = (face.attributes["skin_color"], face.drawings["facial_hair"], color, bushy(face))
        found.setdefault(key, face)
        seed += 1
    return list(found.values())


def picture(face: avatars.Avatar, person: int, index: int) -> np.ndarray:
    """One picture of a person, (64, 64, 3) uint8: the person's face, everything else of a stranger."""
    tries = (avatars.draw(rng(6, person, index, k), seed=index) for k in range(1000))
    other = next(p for p in tries if bushy(p) == bushy(face) and p.visible("brows"))
    attributes = other.attributes | {k: face.attributes[k] for k in KEPT}
    drawings = other.drawings | {"facial_hair": face.drawings["facial_hair"]}
    return replace(other, attributes=attributes, drawings=drawings).pixels(SIZE)


def _person(asked: tuple[int, avatars.Avatar]) -> np.ndarray:
    person, face = asked
    return np.stack([picture(face, person, k) for k in range(PICTURES)])


def draw() -> np.ndarray:
    """Every picture, (PEOPLE, PICTURES, 64, 64, 3); drawn once and kept."""
    path = home() / "identity.npz"
    if not path.exists():
        with ProcessPoolExecutor(2) as pool:
            drawn = pool.map(_person, enumerate(faces()), chunksize=8)
            pixels = np.stack(list(track(drawn, "drawing", total=PEOPLE)))
        aside = path.with_suffix(".part.npz")
        np.savez_compressed(aside, pixels=pixels)
        aside.rename(path)
    with np.load(path) as file:
        return file["pixels"]


class Centres(nn.Module):
    """ArcFace's head: cos(θ + m) for the right person, cos θ for the others, times s."""

    def __init__(self, people: int, length: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people, length) * 0.05)

    def forward(self, features: Tensor, person: Tensor) -> Tensor:
        cosine = (features @ F.normalize(self.weight, dim=1).T).clamp(-1 + 1e-6, 1 - 1e-6)
        right = torch.cos(torch.acos(cosine) + MARGIN)
        return SCALE * torch.where(F.one_hot(person, len(self.weight)).bool(), right, cosine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="draw the pictures and stop")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    pixels = draw()
    if args.draw:
        return
    net = build().to(device())
    centres = Centres(PEOPLE - HELD, net.embedding).to(device())
    average = Average(net, 0.998)
    optimizer = muon.Muon(muon.groups((net, 1.0), (centres, 1.0)), args.lr, weight_decay=5e-4)

    def step(i: int) -> dict[str, float]:
        stream = rng(args.seed, 12, i)
        person = stream.integers(0, PEOPLE - HELD, args.batch)
        index = stream.integers(0, PICTURES, args.batch)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["part"] * ramp(i, args.steps)
        with autocast():
            features = identity_features(net, to_images(pixels[person, index]))
        target = torch.from_numpy(person).to(features.device)
        loss = F.cross_entropy(centres(features.float(), target), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*net.parameters(), *centres.parameters()], 5.0)
        optimizer.step()
        average.update()
        return {"loss": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        """Of people never seen: likeness of two pictures of one and of two, and how often the former is larger."""
        with average.applied(), autocast():
            held = [to_images(part) for part in pixels[-HELD:]]
            features = torch.stack([identity_features(net, part).float() for part in held])  # (HELD, PICTURES, E)
        likeness = torch.einsum("pie,qje->pqij", features, features)
        own = torch.eye(HELD, dtype=torch.bool)
        pairs = ~torch.eye(PICTURES, dtype=torch.bool)
        same, other = likeness[own][:, pairs].flatten(), likeness[~own].flatten()
        # Area under the ROC curve: of a random pair of one person and one of two, the former is more alike.
        rank = torch.searchsorted(other.sort().values, same).float().mean() / len(other)
        return {"same": float(same.mean()), "other": float(other.mean()), "auc": float(rank)}

    state = {"net": net, "centres": centres, "average": average, "optimizer": optimizer}
    folder = fit("identity", state, step, args.steps, evaluate, every=250)
    from safetensors.torch import save_file

    with average.applied():
        # Half precision but for the running statistics, whose range is not known; counters are integers.
        tensors = {
            k: (v.half() if v.is_floating_point() and "running" not in k else v).contiguous().cpu()
            for k, v in net.state_dict().items()
        }
        save_file(tensors, folder / "identity.safetensors", {"config": json.dumps({"net": net.config()})})
    print(f"wrote {folder / 'identity.safetensors'}")


if __name__ == "__main__":
    main()
