"""A domain small enough for tests: a random StyleGAN2 of 16x16 pictures and the best linear encoder for it."""

from functools import cache

import torch
from torch import nn

from sdd.domains.domain import Domain
from sdd.manipulators.backbone import Backbone
from sdd.nets.stylegan2 import Generator

SIZE, STYLE_DIM = 32, 8


class LinearEncoder(nn.Module):
    """Codes as an affine function of the pixels, fitted by least squares."""

    def __init__(self, images, codes):
        super().__init__()
        x = torch.cat([images.flatten(1), torch.ones(images.shape[0], 1)], 1)
        self.register_buffer("weight", torch.linalg.pinv(x, rtol=1e-3) @ codes.flatten(1))
        self.shape = codes.shape[1:]

    def forward(self, images):
        x = torch.cat([images.flatten(1), torch.ones(images.shape[0], 1)], 1)
        return (x @ self.weight).unflatten(1, self.shape)


@cache
def toy_domain(seed=0):
    """Always the same domain for a seed; do not change it."""
    random = torch.Generator().manual_seed(seed)
    generator = Generator(SIZE, style_dim=STYLE_DIM, n_mlp=2, channels={4: 16, 8: 16, 16: 8, 32: 8})
    with torch.no_grad():
        for name, tensor in [*generator.named_parameters(), *generator.named_buffers()]:
            if "kernel" not in name and "modulation.bias" not in name:
                tensor.normal_(generator=random)
            if "to_rgb" in name:
                tensor.mul_(0.3)
            if "modulation.bias" in name:
                tensor.fill_(1)
            if "noise" in name:
                tensor.mul_(0.1)
    generator.eval().requires_grad_(False)
    shape = (generator.n_latent, STYLE_DIM)
    std = torch.rand(shape, generator=random) * 0.3 + 0.05
    mean = torch.randn(shape, generator=random) * 0.3

    def sample(n, seed, split):
        random = torch.Generator().manual_seed(2 * seed + (split == "train"))
        codes = mean + std * torch.randn(n, *shape, generator=random)
        return codes, generator.synthesis(codes)

    codes, images = sample(300, 1000, "train")
    return Domain(
        name="toy",
        image_size=SIZE,
        teacher="",
        draw=lambda n, seed, split: sample(n, seed, split)[1],
        backbone=Backbone(generator, LinearEncoder(images, codes), mean, std, f"{seed:x}".ljust(64, "0")),
        expected_psnr=20.0,
    )


class ToyTeacher:
    """A teacher whose answer is known: under each prompt the latents are Gaussian, N(target, SPREAD^2) per entry.

    Latents are the picture's 4x4 block means, so the direction of every prompt is exact: the noise that turns
    N(target, SPREAD^2) into x_t is sqrt(1 - abar) (x_t - sqrt(abar) target) / (abar SPREAD^2 + 1 - abar).
    """

    SPREAD = 0.5
    name = "toy"
    image_size = SIZE
    latent_shape = (3, SIZE // 4, SIZE // 4)
    num_timesteps = 1000

    def __init__(self):
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alphas_cumprod = torch.cumprod(1 - betas, 0)

    def target(self, prompt):
        """Mean latents of a prompt: "red" has more of the first channel, and so on."""
        target = torch.zeros(1, *self.latent_shape)
        for channel, word in enumerate(("red", "green", "blue")):
            if word in prompt:
                target[:, channel] = 0.5
        return target

    def unknown_words(self, prompt):
        return [(word, ["red"]) for word in prompt.split() if word not in ("red", "green", "blue", "more")]

    def encode_image(self, images, sample=True, generator=None):
        return torch.nn.functional.avg_pool2d(images, 4)

    def encode_text(self, prompts):
        return Condition(torch.cat([self.target(p) for p in prompts]))

    def add_noise(self, x0, noise, t):
        abar = self.alphas_cumprod[t].float().view(-1, 1, 1, 1)
        return abar.sqrt() * x0 + (1 - abar).sqrt() * noise

    def predict_noise(self, latents, t, condition):
        abar = self.alphas_cumprod[t].float().view(-1, 1, 1, 1)
        spread = abar * self.SPREAD**2 + 1 - abar
        return (1 - abar).sqrt() * (latents - abar.sqrt() * condition.target) / spread


class Condition:
    def __init__(self, target):
        self.target = target

    def repeat(self, n):
        return Condition(self.target.repeat(n, 1, 1, 1))

    @staticmethod
    def cat(conditions):
        return Condition(torch.cat([c.target for c in conditions]))
