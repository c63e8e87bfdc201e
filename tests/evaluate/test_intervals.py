"""Bootstrap intervals against distributions that are known."""

import math

import pytest
import torch

from sdd.evaluate.intervals import difference, mean


def test_the_mean_is_of_the_groups_and_equal_values_are_certain():
    found = mean([[1, 1, 1], [4]])
    assert found.value == 2.5  # not 7/4: each prompt counts the same
    same = mean([[2.0] * 5] * 3)
    assert (same.value, same.low, same.high) == (2, 2, 2)


def test_what_could_not_be_measured_is_left_out():
    assert mean([[1, math.nan, 3], [math.nan]]).value == 2
    one = mean([[math.nan], [0.3]])
    assert one.value == 0.3 and math.isnan(one.low) and not one.certain  # of one value nobody knows
    nothing = mean([[math.nan]])
    assert all(math.isnan(x) for x in (nothing.value, nothing.low, nothing.high)) and not nothing.certain


def test_one_groups_interval_is_that_of_a_mean():
    """Of 400 values of variance 1 the mean's standard error is 1/20."""
    values = torch.randn(400, generator=torch.Generator().manual_seed(3))
    values = ((values - values.mean()) / values.std()).tolist()
    found = mean([values])
    assert found.value == pytest.approx(0, abs=1e-6)
    assert found.low == pytest.approx(-1.96 / 20, abs=0.015) and found.high == pytest.approx(1.96 / 20, abs=0.015)


def test_both_levels_are_resampled():
    """Prompts that differ and people who do not: the interval is that of the prompts, however many people there are."""
    prompts = [[float(i)] * 50 for i in range(30)]
    error = math.sqrt((30**2 - 1) / 12 / 30)  # of the mean of 30 of the numbers 0…29
    found = mean(prompts)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    alike = mean([[0.0, 1.0] * 8] * 30)  # people who differ and prompts that do not
    assert alike.high - alike.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(16 * 30), rel=0.15)


def test_the_same_seed_gives_the_same_interval():
    values = torch.randn(4, 20, generator=torch.Generator().manual_seed(0)).tolist()
    assert mean(values) == mean(values) != mean(values, seed=1)


def test_differences_are_paired():
    base = [[0.0, 10.0, 20.0], [5.0, 50.0, 500.0]]
    better = [[x + 1 for x in group] for group in base]
    found = difference(better, base)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1)) and found.certain
    assert not difference(base, base).certain
    with pytest.raises(ValueError):
        difference(base, base[:1])
