"""What is shipped."""

import json
from pathlib import Path

import torch

from sdd.domains.embedded import embedded, weights_folder
from sdd.teachers.load import load_teacher


def strings(value):
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_nothing_shipped_says_where_it_lay_when_it_was_trained():
    files = list(weights_folder("avatars").rglob("*.json"))
    assert files
    for file in files:
        facts = json.loads(file.read_text())
        assert "_name_or_path" not in facts, file
        if file.name != "tokenizer.json":
            assert not [text for text in strings(facts) if Path(text).is_absolute()], file


def test_the_shipped_teacher_loads():
    teacher = load_teacher(weights_folder("avatars") / "teacher")
    assert teacher.unknown_words("white hair") == [] and teacher.unknown_words("zebra")


def test_shipping_takes_paths_out(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    from recipes.ship import forget_paths

    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"_name_or_path": str(tmp_path), "sample_size": 16}))
    (tmp_path / "list.json").write_text("[1]")
    forget_paths(tmp_path)
    assert json.loads((tmp_path / "unet" / "config.json").read_text()) == {"sample_size": 16}
    assert (tmp_path / "list.json").read_text() == "[1]"


def test_fewer_avatars_are_the_first_of_more_and_are_told_without_drawing():
    draw = embedded().draw
    assert torch.equal(draw(2, 3, "train"), draw(4, 3, "train")[:2])
    told = {draw.told(*people) for people in ((2, 3, "train"), (4, 3, "train"), (2, 4, "train"), (2, 3, "test"))}
    assert len(told) == 4 and draw.told(2, 3, "train") in told
