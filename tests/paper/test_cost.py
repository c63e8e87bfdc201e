"""Equations 13 to 15 on numbers that can be worked out by hand."""

import math

import pytest

from sdd.paper.cost import break_even, diffusion_cost, distillation_cost


def test_by_hand():
    assert diffusion_cost(m=100, n=10, infer=4.0) == 4000
    assert distillation_cost(m=100, n=10, train=50.0, infer=0.5) == 500 + 500
    assert break_even(train=50.0, infer=0.5, diffusion_infer=4.0) == pytest.approx(100 / 7)


def test_at_the_break_even_both_cost_the_same():
    m = break_even(train=37.0, infer=0.013, diffusion_infer=0.8)
    assert diffusion_cost(m, 3, 0.8) == pytest.approx(distillation_cost(m, 3, 37.0, 0.013))


def test_an_editor_that_is_no_quicker_never_pays():
    assert break_even(train=1.0, infer=1.0, diffusion_infer=1.0) == math.inf
