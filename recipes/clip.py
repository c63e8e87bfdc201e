"""A small CLIP of the avatars: which caption belongs to which picture.

    python -m recipes.clip --which embedded       # for methods that steer by CLIP
    python -m recipes.clip --which judge          # another seed and another shape: judges, and teaches nothing

A transformers `CLIPModel` (arXiv 2103.00020) on 64×64 pictures with the captions' own tokenizer: symmetric
cross-entropy over the batch, with the temperature learned. Every picture gets a new caption at every visit.

What steers has to go on telling what an optimiser makes of a generator's pictures. So its picture tower first learns to
read all attributes; then it is asked, of some attributes a step, which of all values' wordings belongs to each picture
(a mouth is so small a part of a picture that captions alone are long in teaching it); and it sees pictures roughened
and moved against it: a step of any length up to two along the gradient of the loss, as in adversarial training
(arXiv 1706.06083), without which what raises a cosine is grain that nobody sees (arXiv 1906.00945).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes import muon
from recipes.common import Average, autocast, device, fit, ramp, reading_loss, rng, to_images
from recipes.data import HEADS, home, labels, load
from recipes.teacher import LENGTH, Captions, build_tokenizer
from sdd.domains import avatars
from sdd.domains.avatars.phrases import PHRASES
from sdd.nets.clip_pixels import pixels as normalise
from sdd.nets.compact import by_head

SIZE = 64
SHAPES: dict[str, dict[str, int]] = {
    "embedded": {
        "patch": 8,
        "width": 128,
        "layers": 4,
        "text": 128,
        "text_layers": 3,
        "heads": 4,
        "joint": 128,
        "seed": 0,
        "reading": 2500,
        "against": 2,
        "asked": 5,
    },
    "judge": {
        "patch": 8,
        "width": 160,
        "layers": 3,
        "text": 96,
        "text_layers": 4,
        "heads": 4,
        "joint": 96,
        "seed": 1,
        "reading": 0,
        "against": 0,
        "asked": 0,
    },
}
ASKED = ("hair_color", "skin_color", "facial_hair", "accessories", "mouth", "hat")


WORDED = tuple(name for name in PHRASES if name in (*avatars.SHAPES, *avatars.COLORS))


def wording(attribute: str, value: str, stream: np.random.Generator) -> str:
    """One of the wordings of an attribute's value, without the colour of the thing."""
    words = PHRASES[attribute][value]
    return " ".join(words[int(stream.integers(len(words)))].replace("{c}", "").split())


def build(which: str, tokenizer: Any) -> Any:
    """The network, untrained."""
    from transformers import CLIPConfig, CLIPModel

    s = SHAPES[which]
    text = {
        "vocab_size": len(tokenizer), "hidden_size": s["text"], "intermediate_size": 4 * s["text"],
        "num_hidden_layers": s["text_layers"], "num_attention_heads": s["heads"], "max_position_embeddings": LENGTH,
        "hidden_act": "gelu", "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": s["width"], "intermediate_size": 4 * s["width"], "num_hidden_layers": s["layers"],
        "num_attention_heads": s["heads"], "image_size": SIZE, "patch_size": s["patch"], "hidden_act": "gelu",
    }  # fmt: skip
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=s["joint"]))


def embed_images(net: Any, images: Tensor) -> Tensor:
    """Unit features of pictures (B, 3, 64, 64) in [-1, 1]."""
    return F.normalize(
        net.visual_projection(net.vision_model(pixel_values=normalise(images, SIZE)).pooler_output), dim=1
    )


def embed_texts(net: Any, tokens: Tensor) -> Tensor:
    """Unit features of tokens (B, LENGTH); what follows the longest text is cut, as nothing looks ahead."""
    tokens = tokens[:, : int((tokens != net.config.text_config.pad_token_id).sum(1).max()) + 1]
    return F.normalize(net.text_projection(net.text_model(input_ids=tokens).pooler_output), dim=1)


def roughened(images: Tensor, stream: np.random.Generator) -> Tensor:
    """Each picture with noise of its own amount, moved by up to three pixels, and half of the batches blurred a little.

    Args:
        images: (B, 3, S, S) in [-1, 1].
    """
    b, _, side, _ = images.shape
    by = stream.integers(0, 7, 2)
    moved = F.pad(images, (3, 3, 3, 3), mode="replicate")[..., by[0] : by[0] + side, by[1] : by[1] + side]
    if stream.random() < 0.5:
        moved = 0.5 * moved + 0.5 * F.avg_pool2d(F.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, 1)
    amount = torch.from_numpy(stream.uniform(0, 0.15, (b, 1, 1, 1)).astype(np.float32)).to(images)
    return moved + amount * torch.from_numpy(stream.standard_normal(images.shape, dtype=np.float32)).to(images)


def moved_against(images: Tensor, loss: Callable[[Tensor], Tensor], most: float, stream: np.random.Generator) -> Tensor:
    """Each picture, moved along the gradient of a loss by a length of its own up to `most` (over all its values).

    Args:
        images: (B, 3, S, S) in [-1, 1]. loss: of pictures, a number.
    """
    seen = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(seen), seen)
    length = torch.from_numpy(stream.uniform(0, most, (len(images), 1, 1, 1)).astype(np.float32)).to(images)
    return images + length * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None].clamp_min(1e-12)


def read_first(
    net: Any, pixels: np.ndarray, truth: dict[str, Tensor], held: int, steps: int, lr: float, seed: int
) -> None:
    """Teach the picture tower to read: from a roughened picture to the attributes of the person, `truth`."""
    truth = {k: v.to(device()) for k, v in truth.items()}
    heads = nn.Linear(net.config.projection_dim, sum(HEADS.values())).to(device())
    towers = ((net.vision_model, 1.0), (net.visual_projection, 1.0), (heads, 1.0))
    optimizer = muon.Muon(muon.groups(*towers), lr, betas=(0.9, 0.98), weight_decay=0.1)

    def step(i: int) -> dict[str, float]:
        stream = rng(seed, 12, i)
        index = stream.integers(held, len(pixels), 64)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["part"] * ramp(i, steps)
        images = roughened(to_images(pixels[index], SIZE), stream)
        with autocast():
            features = net.visual_projection(net.vision_model(pixel_values=normalise(images, SIZE)).pooler_output)
        scores = by_head(heads(features.float()), HEADS)
        loss = reading_loss(scores, {k: v[index] for k, v in truth.items()})
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        mouth, right = scores["mouth"].argmax(1), truth["mouth"][index]
        return {"loss": loss.item(), "mouth_read": float((mouth == right)[right >= 0].float().mean())}

    state = {"vision": net.vision_model, "projection": net.visual_projection, "heads": heads, "optimizer": optimizer}
    fit("clip-embedded-reading", state, step, steps, every=250)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--which", choices=list(SHAPES), required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--count", type=int, default=None, help="use only the first COUNT training pictures")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = SHAPES[args.which]
    seed = shape["seed"]
    torch.manual_seed(seed)
    name = f"clip-{args.which}"
    out = home() / name / "clip"
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(out)
    pixels = load(args.count)
    captions = Captions(tokenizer, len(pixels))
    held = min(1000, len(pixels) // 4)
    known = {k: torch.from_numpy(v) for k, v in labels(len(pixels) if shape["asked"] else held).items()}
    truth = {k: known[k][:held] for k in ASKED}
    net = build(args.which, tokenizer).to(device())
    if shape["reading"]:
        read_first(net, pixels, known, held, shape["reading"], args.lr, seed)
    average = Average(net, 0.998)
    optimizer = muon.Muon(muon.groups((net, 1.0)), args.lr, betas=(0.9, 0.98), weight_decay=0.1)

    def step(i: int) -> dict[str, float]:
        stream = rng(seed, 11, i)
        index = stream.integers(held, len(pixels), args.batch)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["part"] * ramp(i, args.steps)
        images = to_images(pixels[index], SIZE)
        asked = list(stream.choice(WORDED, shape["asked"], replace=False))
        values = [len(avatars.values(a)) for a in asked]
        right = [known[a][torch.from_numpy(index)].to(images.device) for a in asked]
        with autocast():
            read = embed_texts(net, captions.draw(index, stream)).float()
            texts = [wording(a, v, stream) for a in asked for v in avatars.values(a)]
            words = embed_texts(net, captions.tokens(texts)).float() if texts else None

        def loss_of(images: Tensor, read: Tensor, words: Tensor | None) -> Tensor:
            with autocast():
                seen = embed_images(net, images).float()
            scores = net.logit_scale.exp() * seen @ read.T
            own = torch.arange(len(index), device=scores.device)
            loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
            if words is not None:
                answers = (net.logit_scale.exp() * seen @ words.T).split(values, 1)
                each = [F.cross_entropy(x, y) for x, y in zip(answers, right, strict=True) if bool((y >= 0).any())]
                loss = loss + 0.5 * torch.stack(each).sum()
            return loss

        if shape["against"]:
            images = roughened(images, stream)
            fixed = read.detach(), None if words is None else words.detach()
            images = moved_against(images, lambda x: loss_of(x, *fixed), shape["against"], stream)
        loss = loss_of(images, read, words)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            net.logit_scale.clamp_(0, float(np.log(100)))
        average.update()
        return {"loss": loss.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        """Share of held-out pictures for which the right value's wording is the nearest."""
        figures = {}
        with average.applied(), autocast():
            seen = torch.cat(
                [embed_images(net, to_images(pixels[k : min(held, k + 100)], SIZE)) for k in range(0, held, 100)]
            )
            for attribute in ASKED:
                words = [
                    " ".join(PHRASES[attribute][v][0].replace("{c}", "").split()) for v in avatars.values(attribute)
                ]
                tokens = tokenizer(words, padding="max_length", max_length=LENGTH, return_tensors="pt")["input_ids"]
                guess = (seen @ embed_texts(net, tokens.to(seen.device)).T).argmax(1).cpu()
                shown = truth[attribute] >= 0
                figures[attribute] = float((guess == truth[attribute])[shown].float().mean())
        return figures

    fit(name, {"net": net, "average": average, "optimizer": optimizer}, step, args.steps, evaluate, every=125)
    with average.applied():
        small = build(args.which, tokenizer)
        small.load_state_dict(net.state_dict())
        small.half().save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
