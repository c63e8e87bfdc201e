"""Equation 8 asked of a teacher whose answer is known, and what does not change it."""

import math

import pytest
import torch

from sdd.errors import SddError
from sdd.paper.search import default_timesteps, search
from toy import ToyTeacher

STEPS = (100, 300, 500, 700, 900)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("count", [1000, 100, 20, 7, 2])
def test_default_timesteps_lie_within_the_schedule(count):
    steps = default_timesteps(count)
    assert steps
    assert all(0 <= t < count for t in steps)
    assert count != 1000 or steps == tuple(range(50, 1000, 50))


class TestSearch:
    @pytest.fixture(scope="class")
    def images(self):
        return draw(5, 3, 32, 32, seed=1).float().clamp(-1, 1)

    def search(self, images, timesteps=STEPS, **options):
        return search(ToyTeacher(), images, "red", timesteps, **options)

    @pytest.mark.parametrize(
        ("options", "scale", "weighted"), [({}, 1.0, False), ({"scale": 3.0, "weighted": True}, 3.0, True)]
    )
    @pytest.mark.parametrize("gradient", ["image", "latent"])
    def test_is_the_equations(self, images, gradient, options, scale, weighted):
        """Written once more, one image and one timestep at a time, the entropy the plain way."""
        teacher, got = ToyTeacher(), self.search(images, gradient=gradient, seed=2, **options)
        for i, image in enumerate(images):
            y = image[None].clone().requires_grad_()
            x0 = teacher.encode_image(y)
            key = round(1000 * float(image.double().mean()))
            noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2 * 1_000_003 + key))
            for j, step in enumerate(STEPS):
                t = torch.tensor([step])
                noisy = teacher.add_noise(x0.detach(), noise, t)
                null, text = (teacher.predict_noise(noisy, t, teacher.encode_text([p])) for p in ("", "red"))
                w = float(1 - teacher.alphas_cumprod[step]) if weighted else 1.0
                d = w * (null + scale * (text - null) - noise)
                if gradient == "image":
                    (d,) = torch.autograd.grad(x0, y, d, retain_graph=True)
                d = d.double().flatten()
                p = torch.softmax(d, 0)
                assert got.norm[i, j].item() == pytest.approx(d.abs().sum().item(), rel=1e-5)
                want = math.log(len(d)) + float((p * p.log()).sum())
                assert got.deficit[i, j].item() == pytest.approx(want, rel=1e-3, abs=1e-8)
        assert got.entries == (images[0].numel() if gradient == "image" else 3 * 8 * 8)

    def test_on_the_image_in_closed_form(self, images):
        """Equation 8 of a Gaussian teacher and a mean over 4×4 blocks.

        ε_θ − ε = √(1−ᾱ)(x_t − √ᾱ μ)/v − ε with v = ᾱS² + 1 − ᾱ, which is √(ᾱ(1−ᾱ))/v (x₀ − μ) − ᾱS²/v ε; the adjoint
        of the blocks' mean gives each of the 16 pixels of a block a sixteenth of it, so that N is that of the latents,
        and the softmax over pixels is the softmax over blocks of a sixteenth of the residual.
        """
        teacher, got = ToyTeacher(), self.search(images, seed=5)
        for i, image in enumerate(images):
            x0 = torch.nn.functional.avg_pool2d(image[None].double(), 4)
            key = round(1000 * float(image.double().mean()))
            noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(5 * 1_000_003 + key)).double()
            for j, step in enumerate(STEPS):
                a = float(teacher.alphas_cumprod[step])
                v = a * teacher.SPREAD**2 + 1 - a
                residual = (a * (1 - a)) ** 0.5 / v * (x0 - teacher.target("red")) - a * teacher.SPREAD**2 / v * noise
                assert got.norm[i, j].item() == pytest.approx(float(residual.abs().sum()), rel=1e-4)
                p = torch.softmax(residual.flatten() / 16, 0)  # over blocks; within one all pixels are alike
                want = math.log(p.numel()) + float((p * p.log()).sum())
                assert got.deficit[i, j].item() == pytest.approx(want, rel=2e-3, abs=1e-9)

    def test_known_answer_at_a_large_scale(self, images):
        """Then d is the direction to the prompt: Σ|d| is s·w√(ᾱ(1−ᾱ))/(ᾱS²+1−ᾱ) · Σ|μ|, the largest where that is."""
        options = {"gradient": "latent", "scale": 1e6, "weighted": True}
        got = self.search(images, timesteps=default_timesteps(1000), **options)
        teacher = ToyTeacher()
        a = teacher.alphas_cumprod[list(got.timesteps)]
        size = 1e6 * (1 - a) * (a * (1 - a)).sqrt() / (a * teacher.SPREAD**2 + 1 - a)
        want = size * teacher.target("red").abs().sum()
        torch.testing.assert_close(got.norm, want.expand_as(got.norm), rtol=1e-3, atol=0)
        assert got.norm_bar.argmax() == want.argmax()

    def test_a_picture_is_encoded_once(self, images):
        class Counting(ToyTeacher):
            pictures = 0

            def encode_image(self, images, sample=True, generator=None):
                self.pictures += len(images)
                return super().encode_image(images)

        teacher, calls = Counting(), []
        search(teacher, images, "red", STEPS, batch=2, advance=calls.append)
        assert teacher.pictures == len(images) and sum(calls) == len(images) * len(STEPS)
        assert max(calls) == 2, "progress is told after every batch"

    @pytest.mark.parametrize("batch", [1, 3, 64])
    def test_the_batch_size_changes_nothing(self, images, batch):
        got, want = self.search(images, batch=batch), self.search(images, batch=25)
        torch.testing.assert_close(got.norm, want.norm, rtol=1e-6, atol=0)
        torch.testing.assert_close(got.deficit, want.deficit, rtol=1e-6, atol=0)

    def test_the_order_of_images_changes_nothing(self, images):
        order = torch.tensor([3, 0, 4, 2, 1])
        got, want = self.search(images[order]), self.search(images)
        torch.testing.assert_close(got.norm, want.norm[order], rtol=1e-6, atol=0)
        torch.testing.assert_close(got.score, want.score, rtol=1e-5, atol=1e-6)

    def test_other_timesteps_and_images_change_nothing(self, images):
        got, want = self.search(images[1:3], timesteps=[500, 100]), self.search(images)
        torch.testing.assert_close(got.norm, want.norm[1:3][:, [2, 0]], rtol=1e-6, atol=0)
        torch.testing.assert_close(got.deficit, want.deficit[1:3][:, [2, 0]], rtol=1e-6, atol=0)

    def test_the_seed_decides_the_noise(self, images):
        assert torch.equal(self.search(images, seed=3).norm, self.search(images, seed=3).norm)
        assert not torch.equal(self.search(images, seed=3).norm, self.search(images, seed=4).norm)

    def test_a_large_seed_is_a_seed(self, images):
        assert torch.isfinite(self.search(images, seed=2**62 - 1).norm).all()

    def test_the_global_random_state_is_left_alone(self, images):
        before = torch.random.get_rng_state()
        self.search(images[:1], timesteps=[500])
        assert torch.equal(before, torch.random.get_rng_state())

    def test_refuses(self, images):
        with pytest.raises(SddError, match="at least one source image"):
            self.search(images[:0])
        with pytest.raises(SddError, match="at least one source image and one timestep"):
            self.search(images, timesteps=[])
        with pytest.raises(SddError, match="between 0 and 999, not -1…1000"):
            self.search(images, timesteps=[500, 1000, -1])
        with pytest.raises(SddError, match=r"timesteps are whole numbers, as in 700, 750, not 500\.5, 'a'"):
            self.search(images, timesteps=[500.5, "a"])
        for seed in (-1, 2**63, 1.5, "7", None, True):
            with pytest.raises(SddError, match=f"the seed must be a whole number from 0 .*not {seed!r}"):
                self.search(images[:1], timesteps=[500], seed=seed)
        with pytest.raises(SddError, match="a source image holds values that are not finite"):
            self.search(torch.full((1, 3, 32, 32), math.nan))

    def test_refuses_a_broken_teacher(self, images, monkeypatch):
        monkeypatch.setattr(ToyTeacher, "predict_noise", lambda self, latents, t, condition: latents * math.inf)
        with pytest.raises(SddError, match="prediction is not finite"):
            self.search(images)
