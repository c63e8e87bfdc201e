"""Rates, averages and outliers, each against numbers that can be worked out by hand."""

import math

import pytest
import torch
from torch import nn

from sdd.beyond.steady import Outliers, average_of, rate
from sdd.errors import SddError


def test_rates_rise_and_fall():
    assert [rate(step, 100, 5, "constant") for step in (0, 3, 4, 99)] == [0.2, 0.8, 1.0, 1.0]
    assert rate(0, 100, 0, "cosine") == 1 and rate(50, 100, 0, "cosine") == pytest.approx(0.5)
    assert rate(99, 100, 5, "cosine") == pytest.approx(0.5 * (1 + math.cos(0.99 * math.pi)))


def test_an_average_starts_at_the_weights_and_forgets_its_start():
    net = nn.Linear(1, 1, bias=False)
    average = average_of(net, 0.95)
    kept = None
    for step in range(1, 41):
        net.weight.data.fill_(float(step))
        average.update_parameters(net)
        share = min(0.95, step / (step + 9)) if step > 1 else 0.0  # what is kept of the average
        kept = step if kept is None else share * kept + (1 - share) * step
        assert float(average.module.weight) == pytest.approx(kept, rel=1e-5)


def stepped(gradients, most, norms=()):
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    outliers = Outliers(optimizer, most, norms)
    taken = []
    for gradient in gradients:
        weight.data.zero_()
        weight.grad = torch.tensor([0.0, gradient])
        optimizer.step()
        taken.append(-float(weight[1]))
    return taken, outliers


def test_outliers_are_held_down_once_there_is_a_median():
    taken, outliers = stepped([100.0] + [1.0] * 10 + [50.0, 3.9], 4.0)
    assert taken[:11] == [100.0] + [1.0] * 10  # the first comes before there is a usual size
    assert taken[11] == pytest.approx(4.0) and taken[12] == pytest.approx(3.9)
    assert outliers.last == pytest.approx(3.9) and outliers.norms[11] == 50
    assert stepped([1.0] * 10 + [50.0], None)[0][-1] == 50
    assert stepped([50.0], 4.0, norms=[1.0] * 10)[0] == [pytest.approx(4.0)]  # where an interrupted training goes on


def test_only_the_last_norms_are_kept():
    assert len(stepped([1.0] * 120, 4.0)[1].norms) == Outliers.MEMORY


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_refused_before_it_is_taken(bad):
    with pytest.raises(SddError, match="not finite"):
        stepped([1.0, bad], None)
