"""A search from Python: what the command computes, as an object."""

import pytest
import torch

import sdd
from sdd.errors import SddError
from toy import ToyTeacher, toy_domain


def test_a_search_is_asked_with_a_domain_a_teacher_and_some_timesteps():
    ask = {"domain": toy_domain(), "teacher": ToyTeacher(), "progress": False}
    few = sdd.search("red", points=[100, 500, 900], images=2, **ask)
    assert few.timesteps == (100, 500, 900) and few.norm.shape == (2, 3)
    pictures = toy_domain().images(2, 0, "train")
    assert torch.equal(few.score, sdd.search("red", points=[100, 500, 900], images=pictures, **ask).score)
    assert sdd.search("red", points=4, images=1, **ask).timesteps == (125, 375, 625, 875)
    with pytest.raises(SddError, match="empty"):
        sdd.search(" ", **ask)
    with pytest.raises(SddError, match="0 and 999"):
        sdd.search("red", points=[1000], images=1, **ask)
