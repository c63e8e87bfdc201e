"""A training has settled when the slope along its edit is a small share of its peak, and not before."""

from sdd.beyond.settle import Slope


def test_it_settles_when_the_slope_is_gone():
    slope = Slope(share=0.1, earliest=30)
    for _ in range(60):
        slope.see(1.0)
        assert not slope.settled(100)
    gone = 0
    while not slope.settled(100):
        slope.see(0.0)
        gone += 1
    assert gone == 22  # 0.9²² < 0.1 < 0.9²¹
    assert not slope.settled(29)


def test_what_never_took_hold_has_not_settled():
    slope = Slope(share=0.1, earliest=0)
    for _ in range(100):
        slope.see(0.1)
    slope.see(-100.0)
    assert not slope.settled(100)
