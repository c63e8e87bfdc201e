"""S, the set of timesteps: what each strategy selects, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch

from sdd.errors import SddError
from sdd.paper.hqs import HQS
from sdd.paper.timesteps import searches, timestep_set


@pytest.fixture
def curve():
    """Two images, three timesteps. N̄: (0, 1, ½), (0, ½, 1); H̄ = 1 − min-max of the deficit: (1, ½, 0), (1, 0, 0)."""
    norm = torch.tensor([[1.0, 3, 2], [10, 20, 30]], dtype=torch.float64)
    deficit = torch.tensor([[0.0, 2, 4], [1e-9, 3e-9, 3e-9]], dtype=torch.float64)
    return HQS("white hair", (100, 500, 900), deficit, norm, 64, 7.5)


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
        assert timestep_set(curve, strategy) == steps
        if not strategy.startswith(("largest", "above")):
            assert timestep_set(None, strategy) == steps

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
            timestep_set(curve, strategy)

    @pytest.mark.parametrize("strategy", ["largest", "above:0.5"])
    def test_scores_that_cannot_choose_are_refused(self, curve, strategy):
        flat = replace(curve, deficit=torch.ones_like(curve.deficit), norm=torch.ones_like(curve.norm))
        with pytest.raises(SddError, match=r"the same at every timestep, as when .*; use words") as caught:
            timestep_set(flat, strategy)
        assert "\n" not in str(caught.value)
        for value in (math.nan, math.inf):
            norm = curve.norm.clone()
            norm[0, 1] = value
            with pytest.raises(SddError, match=r"not a number at some timesteps, as .*; search again in float32"):
                timestep_set(replace(curve, norm=norm), strategy)

    def test_one_timestep_alone_is_a_choice(self):
        one = torch.ones(2, 1, dtype=torch.float64)
        assert timestep_set(HQS("x", (700,), one, one, 64, 1.0), "largest") == [700]

    @pytest.mark.parametrize("strategy", ["largest", "above:0.5"])
    def test_needs_a_search(self, strategy):
        with pytest.raises(SddError, match="needs a search first"):
            timestep_set(None, strategy)

    @pytest.mark.parametrize("count", [1, 4, 50, 100, 4000])
    def test_random_lies_within_any_schedule(self, count):
        steps = timestep_set(None, "random", count)
        assert steps
        assert min(steps) == count // 50
        assert max(steps) <= count - 1

    def test_a_list_must_lie_within_the_schedule(self):
        assert timestep_set(None, "list:1500", 2000) == [1500]
        with pytest.raises(SddError, match="outside 0…99"):
            timestep_set(None, "list:100", 100)

    @pytest.mark.parametrize(
        ("strategy", "looks"), [("largest", True), ("above:0", True), ("random", False), ("list:3", False)]
    )
    def test_says_who_looks_at_the_score(self, strategy, looks):
        assert searches(strategy) is looks
