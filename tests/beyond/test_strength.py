"""How far strength 1 goes, along a guidance whose minimum is known."""

import pytest

from sdd.beyond.strength import satisfied


@pytest.mark.parametrize(("best", "found"), [(1.6, 1.6), (0.9, 0.9), (1.0, 1.0), (5.0, 2.0), (0.1, 2 / 3)])
def test_it_is_where_the_guidance_is_satisfied_within_bounds(best, found):
    assert satisfied(lambda s: 2 * (s - best)) == pytest.approx(found, rel=1e-6)


def test_it_is_asked_no_more_than_it_must_be():
    asked = []
    satisfied(lambda s: asked.append(s) or (s - 1.1))
    assert asked == [1.0, 1.25]
