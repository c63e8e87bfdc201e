"""The published people, and what a submission is worth: right answers score 1, sources 0, and nothing is believed."""

import json

import pytest
import torch

from hostile import bomb
from sdd.apps.cli import bench
from sdd.domains.avatars.truth import AVATARS
from sdd.errors import SddError
from sdd.evaluate import people, submit
from sdd.evaluate.people import Published, write_people
from sdd.evaluate.prompts import PROMPTS, prompt
from sdd.io.pictures.read import read_image
from sdd.io.pictures.write import save_png
from untrained import untrained_judge

TEXTS = ("white hair", "smile")


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return untrained_judge()


@pytest.fixture
def sources(tmp_path):
    write_people(Published.make(3, 2, TEXTS), tmp_path / "people")
    return tmp_path / "people"


def test_the_command_line_knows_the_published_set():
    assert (bench.PEOPLE_SEED, bench.PEOPLE_COUNT) == (people.SEED, people.COUNT)


def test_a_set_holds_sources_and_prompts_and_no_answers(sources):
    said = json.loads((sources / "people.json").read_text())
    assert [row["prompt"] for row in said["prompts"]] == list(TEXTS)
    files = sorted(str(p.relative_to(sources)) for p in sources.rglob("*.png"))
    assert files == ["smile/0000.png", "smile/0001.png", "white-hair/0000.png", "white-hair/0001.png"]
    for text in TEXTS:
        for i, person in enumerate(Published.make(3, 2).people(prompt(text))):
            assert torch.equal(read_image(sources / people.folder_of(text) / people.file_of(i)), person.render())
    assert "white" not in json.dumps(said["prompts"][1])  # of nobody is it said what they become but by the prompt


def test_a_set_is_not_written_over_another(sources):
    before = (sources / "people.json").read_bytes()
    with pytest.raises(SddError, match="another set"):
        write_people(Published.make(4, 2, TEXTS), sources)
    assert (sources / "people.json").read_bytes() == before


def test_what_is_somebody_elses_is_not_written_over(sources, tmp_path, judge):
    (tmp_path / "mine" / "smile").mkdir(parents=True)
    with pytest.raises(SddError, match="something else"):
        write_people(Published.make(3, 2, TEXTS), tmp_path / "mine")
    (tmp_path / "board.md").write_text("# My notes")
    with pytest.raises(SddError, match="not written by"):
        submit.submit(sources, "mine", Published.make(3, 2), tmp_path / "board.json", judge)
    assert (tmp_path / "board.md").read_text() == "# My notes" and not (tmp_path / "board.json").exists()
    (sources / "smile" / "0001.png").unlink()
    write_people(Published.make(3, 2, TEXTS), sources)  # stopped, the same command goes on
    assert (sources / "smile" / "0001.png").is_file()


@pytest.mark.parametrize("bad", [{"count": 0}, {"count": 10**9}, {"prompts": ["green hair"]}])
def test_no_such_set(bad):
    with pytest.raises(SddError):
        Published.make(**bad)


def answers(folder, text, seed=3, count=2):
    asked = prompt(text)
    for i, person in enumerate(Published.make(seed, count).people(asked)):
        best = AVATARS.counterfactuals(person, asked.changes)[0]
        save_png(best, folder / people.folder_of(text) / people.file_of(i))


def test_right_answers_score_one_and_sources_nothing(sources, tmp_path, judge):
    board = tmp_path / "board.json"
    answers(tmp_path / "edits", "smile")
    found = submit.submit(tmp_path / "edits", "perfect", Published.make(3, 2), board, judge)
    assert found.figure("gain").value == pytest.approx(1, abs=1e-6) and list(found.prompts) == ["smile"]
    assert found.figure("fidelity").value == 120 and found.figure("editability").value == pytest.approx(1, abs=1e-6)
    submit.submit(sources, "nothing | <b>", Published.make(3, 2), board, judge)
    rows = submit.read_board(board).entries
    assert [row.name for row in rows] == ["perfect", "nothing | <b>"]
    assert rows[1].figure("gain").value == 0 and rows[1].figure("side_effects").value == 0
    page = board.with_suffix(".md").read_text()
    # Of fewer prompts comes last, however good; a name is no markup.
    assert page.index("nothing \\| \\<b\\>") < page.index("perfect")


def test_a_name_is_taken_once(sources, tmp_path, judge):
    board = tmp_path / "board.json"
    asked = Published.make(3, 2, TEXTS[:1])
    submit.submit(sources, "mine", asked, board, judge)
    with pytest.raises(SddError, match="already"):
        submit.submit(sources, "mine", asked, board, judge)
    submit.submit(sources, "mine", asked, board, judge, replace=True)
    assert len(submit.read_board(board).entries) == 1


@pytest.mark.parametrize("harm", ["missing", "bomb", "wide", "text", "empty"])
def test_a_bad_folder_costs_nothing(sources, tmp_path, judge, harm):
    path = sources / "smile" / "0001.png"
    if harm == "missing":
        path.unlink()
    elif harm == "wide":
        save_png(torch.zeros(3, 8, 16), path)
    elif harm == "empty":
        sources = tmp_path / "nobody"
        sources.mkdir()
    else:
        path.write_bytes(bomb(60_000, 60_000) if harm == "bomb" else b"hello")
    board = tmp_path / "board.json"
    with pytest.raises(SddError):
        submit.submit(sources, "mine", Published.make(3, 2), board, judge)
    assert not board.exists()


@pytest.mark.parametrize("text", ["", "[1]", '{"entries": 3}', '{"entries": [{"name": "x"}]}', "[" * 100_000])
def test_what_is_no_leaderboard_is_left_alone(sources, tmp_path, judge, text):
    board = tmp_path / "board.json"
    board.write_text(text)
    with pytest.raises(SddError, match="no leaderboard"):
        submit.submit(sources, "mine", Published.make(3, 2), board, judge)
    assert board.read_text() == text


def test_another_size_is_resized(sources, tmp_path):
    big = tmp_path / "big" / "smile"
    for i in range(2):
        picture = read_image(sources / "smile" / people.file_of(i))
        save_png(picture.repeat_interleave(2, 1).repeat_interleave(2, 2), big / people.file_of(i))
    found = submit._read(big, 2)
    assert found.shape == (2, 3, 128, 128)


def test_every_prompt_has_a_folder_of_its_own():
    assert len({people.folder_of(p.text) for p in PROMPTS}) == len(PROMPTS)
