"""Timesteps sink together, by a share of the schedule, and not below its first twentieth."""

from sdd.beyond.descent import descended


def test_they_sink():
    chosen = [20, 100, 600]
    assert descended(chosen, 0.25, 1000, 0.0) == chosen == descended(chosen, 0.0, 1000, 1.0)
    assert descended(chosen, 0.25, 1000, 0.5) == [20, 50, 475] and descended(chosen, 0.25, 1000, 1.0)[2] == 350
    assert descended([60], 0.25, 100, 1.0) == [35]  # a share of the schedule, whatever its length
