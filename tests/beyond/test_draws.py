"""Several draws for one rendering: the mean of a guidance over them, exactly, and one draw is the guidance itself."""

import torch

from sdd.beyond.draws import Draws
from toy import ToyTeacher


def echo(latents, t, noise, index):
    """A guidance that says what it was asked."""
    return noise + t.view(-1, 1, 1, 1) + 1000 * index.view(-1, 1, 1, 1) + 0 * latents


def test_the_mean_over_draws():
    latents, noise = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    t, index = torch.tensor([100, 300]), torch.tensor([7, 5])
    one = Draws(echo, 1, torch.Generator())
    assert torch.equal(one(latents, t, noise, index), echo(latents, t, noise, index))
    random = torch.Generator().manual_seed(3)
    four = Draws(echo, 4, random)
    four.timesteps = [500, 600]
    got = four(latents, t, noise, index)
    again = torch.Generator().manual_seed(3)
    others = torch.tensor([500, 600])[torch.randint(2, (6,), generator=again)].view(3, 2)
    noises = torch.randn(6, 3, 4, 4, generator=again).view(3, 2, 3, 4, 4)
    want = (noise + noises.sum(0) + (t + others.sum(0)).view(2, 1, 1, 1)) / 4 + 1000 * index.view(2, 1, 1, 1)
    torch.testing.assert_close(got, want)


def test_more_draws_are_nearer_to_the_expectation():
    """Of a Gaussian teacher the expected gradient is known: the error of n draws is 1/√n of that of one."""
    from sdd.paper.objective import ScoreDistillation

    teacher = ToyTeacher()
    latents = teacher.target("red").repeat(64, 1, 1, 1)  # at the mean nothing is to be expected

    def error(count):
        draws = Draws(ScoreDistillation(teacher, "red", 1.0), count, torch.Generator().manual_seed(0))
        draws.timesteps = [500]
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
        return float(draws(latents, torch.full((64,), 500), noise, torch.arange(64)).square().mean().sqrt())

    assert abs(error(1) / error(9) - 3) < 0.1
