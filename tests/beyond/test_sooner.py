"""A search that ends sooner looks at a prefix of the pictures, and chooses what all of them would."""

import pytest
import torch

from sdd.beyond.sooner import FEWEST, decided
from sdd.paper.hqs import HQS
from sdd.paper.search import search
from sdd.paper.timesteps import timestep_set
from toy import ToyTeacher, toy_domain


def scores(rows):
    """Scores whose N̄ − H̄ are these: entropies that do not vary add nothing to min-max of the norm."""
    norm = torch.tensor(rows, dtype=torch.float64)
    return HQS("a", tuple(range(norm.shape[1])), torch.zeros_like(norm), norm, 16)


def test_it_is_enough_where_the_means_are_far_from_the_threshold():
    even = [[0.0, 1.0, 0.5 + 0.01 * (-1) ** i] for i in range(16)]  # the third is 0.5, give or take 0.0026
    assert torch.allclose(scores(even).of_each.mean(0), scores(even).score)
    # Two decisions are certain; with ξ two standard errors away the third stays with probability 0.977.
    near = f"above:{0.5 - 2 * 0.01 * (16 / 15) ** 0.5 / 4}"
    assert decided("above:0.4", 0.9999)(scores(even))
    assert decided(near, (2 + 0.977) / 3)(scores(even)) and not decided(near, (2 + 0.978) / 3)(scores(even))
    assert not decided("above:0.4", 0.9)(scores(even[: FEWEST - 1]))
    assert not decided("above:0.4", 0)(scores(even)) and not decided("largest", 0.9)(scores(even))


@pytest.mark.parametrize("gradient", ["image", "latent"])
def test_a_search_looks_at_a_prefix(gradient):
    images, seen = toy_domain().images(64, 0, "train"), []
    options = {"gradient": gradient, "batch": 8}
    every = search(ToyTeacher(), images, "red", **options)
    sooner = search(ToyTeacher(), images, "red", advance=seen.append, enough=decided("above:0", 0.95), **options)
    count = len(sooner.norm)
    assert 0 < count < 64 and count % 8 == 0 and sum(seen) == 19 * count
    torch.testing.assert_close(sooner.norm, every.norm[:count], rtol=1e-5, atol=0)
    assert timestep_set(sooner, "above:0") == timestep_set(every, "above:0")
