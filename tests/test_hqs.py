"""The hybrid quality score: Equations 8–12 on known answers, invariances, timestep sets, the published metric."""

import math
from dataclasses import replace
from decimal import Decimal, localcontext

import pytest
import torch

from parity import fixture
from sdd import guidance, hqs
from sdd.errors import SddError
from toy import ToyTeacher

STEPS = (100, 300, 500, 700, 900)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact_deficit(d):
    """log n − H(softmax(d)), in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        x = [Decimal(v) for v in d.double().flatten().tolist()]
        e = [v.exp() for v in x]
        total = sum(e)
        entropy = -sum(v / total * (v / total).ln() for v in e)
        return float(Decimal(len(x)).ln() - entropy)


class TestEntropy:
    def test_of_two_entries_by_hand(self):
        """softmax(0, ln 3) = (1/4, 3/4)."""
        entropy = -(math.log(1 / 4) / 4 + 3 * math.log(3 / 4) / 4)
        got = hqs.entropy_deficit(torch.tensor([[0.0, math.log(3)]], dtype=torch.float64))
        assert got.item() == pytest.approx(math.log(2) - entropy, rel=1e-14)

    @pytest.mark.parametrize("value", [0.0, 3.0, -1e6])
    def test_uniform_has_no_deficit(self, value):
        assert hqs.entropy_deficit(torch.full((1, 4, 8, 8), value)).item() == pytest.approx(0, abs=1e-15)

    def test_one_entry_far_above_the_others_has_no_entropy(self):
        d = torch.zeros(1, 64)
        d[0, 5] = 1000
        assert hqs.entropy_deficit(d).item() == pytest.approx(math.log(64), rel=1e-12)

    @pytest.mark.parametrize("a", [1e-9, 1e-6, 1e-3, 0.1, 1.0, 20.0])
    def test_half_up_half_down(self, a):
        """d = ±a: a·tanh a − log cosh a, which is a²/2 − a⁴/4 + … for small a."""
        got = hqs.entropy_deficit(torch.tensor([a, -a], dtype=torch.float64).repeat(1, 32)).item()
        want = a * a / 2 - a**4 / 4 if a < 1e-2 else a * math.tanh(a) - math.log(math.cosh(a))
        assert got == pytest.approx(want, rel=1e-9)

    @pytest.mark.parametrize("std", [1e-10, 1e-6, 1e-4, 0.05, 0.12, 0.3, 1.0, 30.0])
    def test_against_sixty_digits(self, std):
        d = std * draw(1, 4, 4, 4)
        assert hqs.entropy_deficit(d).item() == pytest.approx(exact_deficit(d), rel=1e-9)

    def test_a_constant_added_and_the_order_of_entries_do_not_matter(self):
        d = draw(2, 4, 4, 4)
        want = hqs.entropy_deficit(d)
        torch.testing.assert_close(hqs.entropy_deficit(d + 5), want, rtol=1e-12, atol=0)
        torch.testing.assert_close(hqs.entropy_deficit(d.flatten(1)[:, torch.randperm(64)]), want, rtol=1e-12, atol=0)

    def test_a_sample_does_not_depend_on_its_batch(self):
        d = draw(3, 4, 4, 4) * torch.tensor([1e-5, 1.0, 50.0]).view(-1, 1, 1, 1)
        alone = torch.cat([hqs.entropy_deficit(d[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(hqs.entropy_deficit(d), alone, rtol=1e-12, atol=0)


def test_strength_is_the_l1_norm():
    assert hqs.strength(torch.tensor([[[1.0, -2], [3, -4]], [[0, 0], [0, 0.5]]])).tolist() == [10, 0.5]


def test_min_max_of_each_row():
    got = hqs.min_max(torch.tensor([[1.0, 3, 2], [5, 5, 5], [-4, 0, 4]], dtype=torch.float64))
    assert got.tolist() == [[0, 1, 0.5], [0, 0, 0], [0, 0.5, 1]]


@pytest.fixture
def curve():
    """Two images, three timesteps. N̄: (0, 1, ½), (0, ½, 1); H̄ = 1 − min-max of the deficit: (1, ½, 0), (1, 0, 0)."""
    norm = torch.tensor([[1.0, 3, 2], [10, 20, 30]], dtype=torch.float64)
    deficit = torch.tensor([[0.0, 2, 4], [1e-9, 3e-9, 3e-9]], dtype=torch.float64)
    return hqs.HQS("white hair", (100, 500, 900), deficit, norm, 64, 7.5)


class TestScore:
    def test_by_hand(self, curve):
        torch.testing.assert_close(curve.norm_bar, torch.tensor([0, 0.75, 0.75], dtype=torch.float64))
        torch.testing.assert_close(curve.entropy_bar, torch.tensor([1, 0.25, 0], dtype=torch.float64))
        torch.testing.assert_close(curve.score, torch.tensor([-1, 0.5, 0.75], dtype=torch.float64))

    def test_is_that_of_the_entropies_themselves(self, curve):
        entropy = (
            math.log(curve.entries) - 1e6 * curve.deficit
        )  # scaled: plain entropies would round the second row away
        want = (hqs.min_max(curve.norm) - hqs.min_max(entropy)).mean(0)
        torch.testing.assert_close(curve.score, want, rtol=1e-6, atol=1e-6)

    def test_an_image_whose_gradient_never_varies_says_nothing(self):
        flat = torch.ones(1, 3, dtype=torch.float64)
        assert hqs.HQS("x", (1, 2, 3), flat, flat, 64, 1.0).score.tolist() == [0, 0, 0]

    def test_scaling_an_image_or_the_order_of_images_changes_nothing(self, curve):
        scaled = hqs.HQS("x", curve.timesteps, curve.deficit * 7, curve.norm * 3, 64, 7.5)
        torch.testing.assert_close(scaled.score, curve.score)
        turned = hqs.HQS("x", curve.timesteps, curve.deficit.flip(0), curve.norm.flip(0), 64, 7.5)
        torch.testing.assert_close(turned.score, curve.score)

    def test_json_round_trip(self, curve):
        again = hqs.HQS.from_json(curve.to_json())
        assert (again.prompt, again.timesteps, again.entries, again.scale) == ("white hair", (100, 500, 900), 64, 7.5)
        assert torch.equal(again.norm, curve.norm)
        assert torch.equal(again.deficit, curve.deficit)
        assert again.to_json() == curve.to_json()

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "{}", '{"timesteps": [1], "norm": [[1, 2]], "deficit": [[1, 2]]}', "3"]
    )
    def test_other_json_is_refused(self, text):
        with pytest.raises(SddError, match="not a saved HQS curve"):
            hqs.HQS.from_json(text)

    def test_plot(self, curve, tmp_path):
        curve.plot(tmp_path / "hqs.png")
        assert (tmp_path / "hqs.png").read_bytes().startswith(b"\x89PNG")


class TestTimestepSet:
    @pytest.mark.parametrize(
        ("strategy", "steps"),
        [
            ("largest", [900]),
            ("above:0.5", [900]),
            ("above:0.49", [500, 900]),
            ("above:-2", [100, 500, 900]),
            ("list:700,750", [700, 750]),
            ("list:3", [3]),
            ("random", list(range(20, 981))),
        ],
    )
    def test_selects(self, curve, strategy, steps):
        assert curve.timestep_set(strategy) == steps
        if not strategy.startswith(("largest", "above")):
            assert hqs.timestep_set(None, strategy) == steps

    @pytest.mark.parametrize(
        ("strategy", "says"),
        [
            ("above:0.9", "the largest is 0.75"),
            ("above:", "should hold a number"),
            ("above:x", "should hold a number"),
            ("list:", "whole numbers"),
            ("list:1,x", "whole numbers"),
            ("list:1000", "outside 0…999"),
            ("list:-1", "outside 0…999"),
            ("random:3", "unknown strategy"),
            ("largest:2", "unknown strategy"),
            ("best", "strategies are"),
            ("", "strategies are"),
        ],
    )
    def test_refuses(self, curve, strategy, says):
        with pytest.raises(SddError, match=says):
            curve.timestep_set(strategy)

    @pytest.mark.parametrize("strategy", ["largest", "above:0.5"])
    def test_scores_that_cannot_choose_are_refused(self, curve, strategy):
        flat = replace(curve, deficit=torch.ones_like(curve.deficit), norm=torch.ones_like(curve.norm))
        with pytest.raises(SddError, match=r"the same at every timestep, as when .*; use words") as caught:
            flat.timestep_set(strategy)
        assert "\n" not in str(caught.value)
        for value in (math.nan, math.inf):
            norm = curve.norm.clone()
            norm[0, 1] = value
            with pytest.raises(SddError, match=r"not a number at some timesteps, as .*; search again in float32"):
                replace(curve, norm=norm).timestep_set(strategy)

    def test_one_timestep_alone_is_a_choice(self):
        one = torch.ones(2, 1, dtype=torch.float64)
        assert hqs.HQS("x", (700,), one, one, 64, 1.0).timestep_set("largest") == [700]

    @pytest.mark.parametrize("strategy", ["largest", "above:0.5"])
    def test_needs_a_search(self, strategy):
        with pytest.raises(SddError, match="needs a search first"):
            hqs.timestep_set(None, strategy)

    @pytest.mark.parametrize("count", [1, 4, 50, 100, 4000])
    def test_random_lies_within_any_schedule(self, count):
        steps = hqs.timestep_set(None, "random", count)
        assert steps
        assert min(steps) == count // 50
        assert max(steps) <= count - 1

    def test_a_list_must_lie_within_the_schedule(self):
        assert hqs.timestep_set(None, "list:1500", 2000) == [1500]
        with pytest.raises(SddError, match="outside 0…99"):
            hqs.timestep_set(None, "list:100", 100)

    @pytest.mark.parametrize("count", [1000, 100, 20, 7, 2])
    def test_default_timesteps_lie_within_the_schedule(self, count):
        steps = hqs.default_timesteps(count)
        assert steps
        assert all(0 <= t < count for t in steps)
        assert count != 1000 or steps == tuple(range(50, 1000, 50))


class TestSearch:
    @pytest.fixture(scope="class")
    def images(self):
        return draw(5, 3, 32, 32, seed=1).float().clamp(-1, 1)

    def search(self, images, timesteps=STEPS, **options):
        return hqs.search(ToyTeacher(), images, "red", timesteps, progress=False, **options)

    def test_is_the_equations(self, images):
        """Written once more, one image and one timestep at a time, the entropy the plain way."""
        teacher, got = ToyTeacher(), self.search(images, scale=3.0, seed=2)
        for i, image in enumerate(images):
            x0 = teacher.encode_image(image[None])
            key = round(1000 * float(image.double().mean()))
            noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2 * 1_000_003 + key))
            for j, step in enumerate(STEPS):
                t = torch.tensor([step])
                noisy = teacher.add_noise(x0, noise, t)
                null, text = (teacher.predict_noise(noisy, t, teacher.encode_text([p])) for p in ("", "red"))
                w = float(1 - teacher.alphas_cumprod[step])
                d = (w * (null + 3.0 * (text - null) - noise)).double().flatten()
                p = torch.softmax(d, 0)
                assert got.norm[i, j].item() == pytest.approx(d.abs().sum().item(), rel=1e-5)
                want = math.log(len(d)) + float((p * p.log()).sum())
                assert got.deficit[i, j].item() == pytest.approx(want, rel=1e-3, abs=1e-8)

    def test_known_answer_at_a_large_scale(self, images):
        """Then d is the direction to the prompt: Σ|d| is s·w√(ᾱ(1−ᾱ))/(ᾱS²+1−ᾱ) · Σ|μ|, the largest where that is."""
        got = self.search(images, timesteps=hqs.default_timesteps(1000), scale=1e6)
        teacher = ToyTeacher()
        a = teacher.alphas_cumprod[list(got.timesteps)]
        size = 1e6 * (1 - a) * (a * (1 - a)).sqrt() / (a * teacher.SPREAD**2 + 1 - a)
        want = size * teacher.target("red").abs().sum()
        torch.testing.assert_close(got.norm, want.expand_as(got.norm), rtol=1e-3, atol=0)
        assert got.norm_bar.argmax() == want.argmax()

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


def test_guidance_and_search_agree_on_the_gradient():
    """Without a prompt (the null one) and with a perfect prediction d is zero: no strength, no information."""
    d = guidance.sds(*[draw(2, 3, 4, 4)] * 3, 0.5, 7.5)
    assert hqs.strength(d).tolist() == hqs.entropy_deficit(d).tolist() == [0, 0]


class TestRecorded:
    """The released code's metric on recorded gradients."""

    @pytest.mark.parametrize("name", ["grad_0", "grad_1", "grad_2", "grad_smooth"])
    def test_metric(self, name):
        f = fixture("sdd_search_entropy")
        gradient = f.inputs[name]
        entropy = hqs.published_entropy(gradient).sum()
        f.check(f"entropy_{name}", entropy)
        f.check(f"entropy64_{name}", entropy)
        f.check(f"deficit64_{name}", hqs.published_deficit(gradient).sum())
        f.check(f"mean_{name}", hqs.strength(gradient).sum() / gradient.numel())  # N_t is n times the mean of |d|

    def test_an_image_without_a_gradient_adds_a_constant(self):
        f = fixture("sdd_search_entropy")
        batch = torch.cat([f.inputs["grad_0"], torch.zeros_like(f.inputs["grad_0"])])
        f.check("entropy_with_zero_image", hqs.published_entropy(batch).sum())
