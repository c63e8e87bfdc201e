"""What sdd costs at real sizes: one score, one distillation step, one edit, with random weights of published shapes.

    python benchmarks/real_size.py --out docs/real-models.md          minutes on a CPU, needs 16 GB
    python benchmarks/real_size.py --tiny                             the same run on toy sizes, seconds

The networks are Stable Diffusion 1.5 (U-Net, autoencoder and text encoder from their published configurations),
StyleGAN2 at 1024 px, e4e and IR-SE50. Time and memory do not depend on the weights' values, so random ones will do.
"""

from __future__ import annotations

import argparse
import os
import platform
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

import sdd
from sdd.domains.domain import Domain
from sdd.io.checkpoints.hash import generator_hash
from sdd.io.files import write_text
from sdd.manipulators.backbone import Backbone
from sdd.manipulators.inversion import Inverter
from sdd.nets.arcface import IRSE
from sdd.nets.encoder import Encoder4Editing
from sdd.nets.stylegan2 import Generator
from sdd.paper.search import search
from sdd.teachers.latent import LatentDiffusion

PROMPT, TIMESTEP = "white hair", 500
GIB = 2**30


class Meter:
    """Seconds by label, each second counted once, under the innermost label that is open; and peak memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _turn(self) -> None:
        now = self._now()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def label(self, name: str) -> Iterator[None]:
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def switch(self, name: str) -> None:
        """Count what follows under another label, inside the one that is open."""
        self._turn()
        if self._open:
            self._open[-1] = name

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Count every call of a method under `name`."""
        inner: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.label(name):
                return inner(*args, **kwargs)

        setattr(owner, method, timed)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[float]]:
    """Collects the largest memory in use meanwhile, GiB: of the GPU, or resident of this process."""
    found = [0.0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found[0] = torch.cuda.max_memory_allocated(device) / GIB
        return
    stop = threading.Event()

    def watch() -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not stop.wait(0.02):
            found[0] = max(found[0], int(Path("/proc/self/statm").read_text().split()[1]) * page / GIB)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def make_teacher(device: torch.device, tiny: bool) -> LatentDiffusion:
    """Stable Diffusion 1.5's networks with random weights (runwayml/stable-diffusion-v1-5's config files)."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    width, words = (32, 32) if tiny else (320, 768)
    unet = UNet2DConditionModel(
        sample_size=8 if tiny else 64,
        cross_attention_dim=words,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        attention_head_dim=8,
        norm_num_groups=32,
    )
    vae_width = 32 if tiny else 128
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(vae_width, 2 * vae_width, 4 * vae_width, 4 * vae_width),
        layers_per_block=1 if tiny else 2,
        latent_channels=4,
        sample_size=64 if tiny else 512,
        scaling_factor=0.18215,
    )
    text = CLIPTextConfig(
        hidden_size=words,
        intermediate_size=4 * words,
        num_hidden_layers=2 if tiny else 12,
        num_attention_heads=2 if tiny else 12,
        projection_dim=words,
    )
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    parts = SimpleNamespace(
        vae=vae, unet=unet, text_encoder=CLIPTextModel(text), tokenizer=Letters(), scheduler=scheduler
    )
    return LatentDiffusion("Stable Diffusion 1.5, random weights", parts, device, torch.float32)


class Letters:
    """Stands in for CLIP's tokenizer, whose word list comes with its weights: letters are words, 77 of them."""

    model_max_length = 77

    def __call__(self, prompts: list[str], **_: Any) -> dict[str, Tensor]:
        rows = [[49406, *map(ord, prompt)][:76] for prompt in prompts]
        return {"input_ids": torch.tensor([row + [49407] * (77 - len(row)) for row in rows])}

    def get_vocab(self) -> dict[str, int]:
        return {str(i): i for i in range(49408)}


def make_domain(device: torch.device, tiny: bool) -> Domain:
    """StyleGAN2 (1024 px, config F), e4e and IR-SE50, with random weights."""
    size = 64 if tiny else 1024
    generator = Generator(size, channels={2**i: 32 for i in range(2, 7)} if tiny else None)
    encoder: nn.Module = SmallEncoder(generator) if tiny else Inverter(Encoder4Editing(generator.n_latent))
    identity = IRSE(units=(1, 1, 1, 1), channels=(16, 16, 16, 16), stem=16, embedding=16) if tiny else IRSE()
    for net in (generator, encoder, identity):
        net.eval().requires_grad_(False)
    shape = (generator.n_latent, generator.style_dim)
    photo = torch.rand(1, 3, size, size) * 2 - 1
    domain = Domain(
        name="random",
        image_size=size,
        teacher="",
        draw=lambda n, seed, split: photo[:n],
        backbone=Backbone(generator, encoder, torch.zeros(shape), torch.ones(shape), generator_hash(generator)),
        identity=identity,
    )
    return domain.to(device)


class SmallEncoder(nn.Module):
    """Stands in for e4e in the tiny run."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.shape = (generator.n_latent, generator.style_dim)
        self.linear = nn.Linear(3, self.shape[0] * self.shape[1])

    def forward(self, images: Tensor) -> Tensor:
        codes: Tensor = self.linear(images.mean((2, 3))).unflatten(1, self.shape)
        return codes


def instrument(meter: Meter, teacher: LatentDiffusion, domain: Domain) -> None:
    """Label the work of every network, and the way back through them."""
    meter.wrap(teacher.unet, "forward", "U-Net")
    meter.wrap(teacher.text_encoder, "forward", "text encoder")
    meter.wrap(domain.generator, "synthesis", "generator")
    meter.wrap(domain.generator, "synthesis_from_styles", "generator")
    meter.wrap(domain.encoder, "forward", "encoder")
    if domain.identity is not None:
        meter.wrap(domain.identity, "forward", "identity")
    encode = teacher.encode_image

    def encode_image(images: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with meter.label("autoencoder"):
            if images.requires_grad:  # the gradient reaches the image: the autoencoder's way back is done
                images.register_hook(lambda _: meter.switch("generator, backward"))
            return encode(images, *args, **kwargs)

    teacher.encode_image = encode_image  # type: ignore[method-assign]
    for owner, method in ((torch.Tensor, "backward"), (torch.autograd, "grad")):
        meter.wrap(owner, method, "autoencoder, backward")


def measure(device: torch.device, tiny: bool, seed: int) -> tuple[list[str], int]:
    """The rows of the table, and the number of weights."""
    torch.manual_seed(seed)
    teacher, domain = make_teacher(device, tiny), make_domain(device, tiny)
    nets = (teacher.unet, teacher.vae, teacher.text_encoder, domain.generator, domain.encoder, domain.identity)
    weights = sum(p.numel() for net in nets if net is not None for p in net.parameters())
    meter = Meter(device)
    instrument(meter, teacher, domain)
    rows = []

    def stage(title: str, work: Callable[[], Any]) -> Any:
        meter.seconds.clear()
        start = time.perf_counter()
        with peak_memory(device) as peak, meter.label("the rest"):
            result = work()
        total = time.perf_counter() - start
        parts = sorted(meter.seconds.items(), key=lambda item: -item[1])
        where = ", ".join(f"{name} {s:.1f} s" for name, s in parts if s >= 0.01 * total)
        rows.append(f"| {title} | {total:.1f} | {peak[0]:.1f} | {where} |")
        print(rows[-1], flush=True)
        return result

    images = domain.images(1)
    stage(
        "hybrid quality score: 1 photo, 1 timestep",
        lambda: search(teacher, images.to(device), PROMPT, [TIMESTEP]),
    )
    options: dict[str, Any] = {
        "images": 1, "batch": 1, "steps": 1, "search_images": 1, "timesteps": f"list:{TIMESTEP}",
        "strength": 1.0,
    }  # fmt: skip
    editor = stage(
        "distillation: invert 1 photo, 1 step",
        lambda: sdd.distill(
            PROMPT, domain, teacher=teacher, config="published", device=device, progress=False, **options
        ),
    )
    stage("edit: 1 photo", lambda: editor(images))
    return rows, weights


def machine(device: torch.device) -> str:
    """What it ran on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="toy sizes: checks the script, measures nothing")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the table there, as markdown")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rows, weights = measure(device, arguments.tiny, arguments.seed)
    text = PAGE.format(
        table="\n".join(rows), weights=f"{weights / 1e6:.0f}", machine=machine(device), date=date.today().isoformat(),
        torch=torch.__version__, seed=arguments.seed, command=f"python benchmarks/real_size.py --device {device.type}",
    )  # fmt: skip
    if arguments.out is not None and not arguments.tiny:
        write_text(arguments.out, text)


PAGE = """# What real models cost

Measured by `{command}`:
the real pipelines at their published sizes, with random weights, since neither time nor memory depends on
their values. Stable Diffusion 1.5 (U-Net, autoencoder, text encoder), StyleGAN2 at 1024 px, e4e and IR-SE50,
{weights} million weights together, float32, batch 1, the published hyperparameters (preset `published`).

| what | seconds | peak memory, GiB | where the time goes |
|---|---|---|---|
{table}

{machine}; torch {torch}; {date}; seed {seed}. Memory is what the process (on a GPU: torch) held at most, weights
included. The distillation row holds the inversion of the source photo as well as the step; "backward" is the way of the
gradient back to the mapper: first through the autoencoder's encoder, then through the generator. The U-Net's is skipped
by design.

How to read it: a search over 19 timesteps and 12 photos makes 228 predictions under two prompts each; a training of m
steps repeats the step m times; an edit afterwards costs one pass of encoder and generator, whatever the prompt.
"""

if __name__ == "__main__":
    main()
