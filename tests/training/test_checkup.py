"""What is said of a training is so: of an editor whose teacher's answer is known."""

from dataclasses import replace

import pytest

from sdd.editor import Editor
from sdd.errors import SddError
from sdd.training.checkup import Checkup, check_up
from sdd.training.distil import distill
from toy import ToyTeacher, toy_domain

QUICK = {"timesteps": [500], "scale": 2.0, "images": 24, "hidden": 32, "lr": 0.01, "progress": False}


@pytest.fixture(scope="module")
def red():
    return distill("red", toy_domain(), teacher=ToyTeacher(), **QUICK, max_steps=60)


def of_strength(editor, strength):
    return Editor(editor.learned, editor.info.model_copy(update={"strength": strength}), toy_domain())


def test_a_trained_editor_changes_pictures_as_its_teacher_asked(red):
    found = check_up(red, ToyTeacher(), toy_domain())
    assert found.count == found.changed == 8 and 0 < found.area <= 1 and 0 <= found.outside <= 1
    assert found.remaining is not None and found.remaining < 0.5
    assert "8 of 8" in found.sentence and set(found.figures) == {"changed", "area", "outside", "remaining"}
    assert found == check_up(red, ToyTeacher(), toy_domain())


def test_what_did_nothing_or_too_little_is_said_to(red):
    nothing = check_up(of_strength(red, 0.0), ToyTeacher(), toy_domain())
    assert nothing.changed == 0 and nothing.area == nothing.outside == 0 and "hardly change" in nothing.advice
    whole, half, twice = (
        check_up(of_strength(red, red.info.strength * s), ToyTeacher(), toy_domain()).remaining for s in (1, 0.5, 2)
    )
    assert twice < whole < half


def test_advice():
    good = Checkup(8, 8, 0.2, 0.1, 0.1)
    assert good.advice is None
    assert "go on (60%" in replace(good, remaining=0.6).advice
    assert "--strength" in replace(good, outside=0.6).advice
    assert "--seed" in replace(good, remaining=None).advice


def test_an_editor_of_unknown_training_is_refused(red):
    blank = Editor(red.learned, red.info.model_copy(update={"config": None}), toy_domain())
    with pytest.raises(SddError, match="how it was trained"):
        check_up(blank, ToyTeacher(), toy_domain())
