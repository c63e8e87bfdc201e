"""Latents that descend, and a regression on what they become, where the answer is known."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sdd.beyond.offline import FLOOR, Distance, changes_of, regress
from sdd.errors import SddError
from sdd.manipulators.protocol import Change, Prepared
from sdd.paper.step import Step
from toy import ToyTeacher

SHAPE = (3, 8, 8)


def teacher():
    """A teacher whose pictures are its latents."""
    found = ToyTeacher()
    found.decode = lambda latents: latents
    return found


def towards(goal):
    return lambda latents, t, noise, index: latents - goal[index]


def descended(guidance, latents, **options):
    return changes_of(teacher(), guidance, latents, lambda done: [500], torch.Generator().manual_seed(0), **options)


def test_latents_go_where_the_guidance_leads_by_the_steps_it_says():
    random = torch.Generator().manual_seed(1)
    latents = torch.randn(5, *SHAPE, generator=random)
    up = torch.ones(5, *SHAPE)
    # A constant guidance of any size: steps of rate × (1, 1, ½) for the three steps of which the last half falls.
    for size in (1.0, 7.0):
        found = descended(lambda z, t, n, i, s=size: -s * up[i], latents, steps=4, rate=0.1)
        torch.testing.assert_close(found, 0.1 * (1 + 1 + 1 + 0.5) * up)
    goal = latents + 0.3 * torch.randn(5, *SHAPE, generator=random)
    found = descended(towards(goal), latents, steps=200, rate=0.02, batch=2)
    torch.testing.assert_close(found, goal - latents, rtol=0, atol=0.02)


def test_timesteps_sink_as_they_are_told_and_every_picture_is_counted():
    seen, counted = [], []
    latents = torch.ones(3, *SHAPE)

    def guidance(z, t, noise, index):
        seen.append(set(t.tolist()))
        return z

    def asked(done):
        return [int(1000 * (1 - done)) - 1]

    random = torch.Generator().manual_seed(0)
    changes_of(teacher(), guidance, latents, asked, random, steps=4, batch=2, advance=counted.append)
    assert seen == [{999}] * 2 + [{749}] * 2 + [{499}] * 2 + [{249}] * 2
    assert sum(counted) == 4 * 3


@pytest.mark.parametrize(("value", "said"), [(0.0, "means nothing"), (float("nan"), "not finite")])
def test_a_guidance_that_says_nothing_is_refused(value, said):
    with pytest.raises(SddError, match=said):
        descended(lambda z, t, n, i: torch.full_like(z, value), torch.ones(2, *SHAPE))


class Shift(nn.Module):
    """Adds the same to every picture."""

    def __init__(self):
        super().__init__()
        self.learned = nn.ParameterList([torch.zeros(SHAPE)])

    def change(self, y):
        return Change((self.learned[0].expand(len(y), *SHAPE),))

    def shown(self, y, change):
        return change.parts[0]

    def draw(self, y, change):
        return y.parts["picture"] + change.parts[0]


def test_the_distance_is_in_units_of_the_change_and_large_changes_weigh_more():
    changes = torch.zeros(2, *SHAPE)
    changes[:, :, 2:6, 2:6] = 0.5
    distance = Distance(Shift(), changes)
    index = torch.tensor([1, 0])

    def of(change):
        step = Step(1, index, Prepared({}), index, Change((change[index],)), change[index])
        return float(distance(step))

    assert of(changes) == 0
    assert of(changes + 0.1 * changes.abs().mean()) == pytest.approx(0.1, rel=1e-5), "everywhere alike: units alone"
    inside, corner = torch.zeros_like(changes), torch.zeros_like(changes)
    inside[..., 4, 4], corner[..., 0, 0] = 1.0, 1.0
    assert of(changes + inside) / of(changes + corner) == pytest.approx((1 + FLOOR) / FLOOR, rel=1e-5)


def test_the_regression_finds_what_it_is_given_and_goes_on_where_it_stopped():
    goal = 0.5 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    sources = Prepared({"picture": torch.zeros(4, *SHAPE)})

    def trained(stop):
        """Twelve steps, interrupted after `stop`."""
        manipulator = Shift()
        terms = {"distance": Distance(manipulator, goal.expand(4, *SHAPE))}
        optimizer = torch.optim.Adam(manipulator.parameters(), lr=0.05)
        random, numbers = torch.Generator().manual_seed(0), []
        for first, last in ((0, stop), (stop, 12)):
            steps = regress(manipulator, sources, terms, optimizer, random, batch=2, start=first)
            for _ in range(last - first):
                step = next(steps)
                numbers.append(step.number)
                assert step.loss == step.terms["distance"] and step.images.shape == (2, *SHAPE)
        assert numbers == list(range(1, 13))
        return manipulator.learned[0].detach()

    assert torch.equal(trained(5), trained(12))
    assert (trained(12) - goal).abs().mean() < 0.5 * goal.abs().mean()


def test_it_takes_a_manipulator_that_shows_pictures_of_another_size():
    large = SimpleNamespace(shown=lambda y, change: torch.ones(2, 3, 16, 16))
    index = torch.arange(2)
    step = Step(1, index, Prepared({}), index, Change(()), torch.zeros(0))
    assert float(Distance(large, torch.ones(2, *SHAPE))(step)) == pytest.approx(0)
