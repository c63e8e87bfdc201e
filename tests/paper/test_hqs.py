"""Equations 9 to 12 on known answers, and what does not change them."""

import math
from decimal import Decimal, localcontext

import pytest
import torch

from sdd.errors import SddError
from sdd.paper import hqs


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
        assert (again.gradient, again.weighted) == ("image", False)
        assert torch.equal(again.norm, curve.norm)
        assert torch.equal(again.deficit, curve.deficit)
        assert again.to_json() == curve.to_json()

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "{}", '{"timesteps": [1], "norm": [[1, 2]], "deficit": [[1, 2]]}', "3"]
    )
    def test_other_json_is_refused(self, text):
        with pytest.raises(SddError, match="not a saved HQS curve"):
            hqs.HQS.from_json(text)
