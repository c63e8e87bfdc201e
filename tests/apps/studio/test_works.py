"""Long jobs: one after another, found again, stopped; trainings and comparisons among them."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sdd.apps.cli.main import app
from sdd.apps.compare import Column
from sdd.apps.studio import comparing, limits, progress, training
from sdd.apps.studio.comparing import ComparingJob, possible
from sdd.apps.studio.shelf import Shelf
from sdd.apps.studio.training import TrainingJob
from sdd.apps.studio.works import DONE, FAILED, RUNNING, STOPPED, WAITING, Job, Works
from sdd.domains import library
from sdd.editor_file import read
from sdd.errors import SddError
from sdd.methods.models import Models
from toy import ToyTeacher, toy_domain

CPU = torch.device("cpu")


class Task(Job):
    """Does what it is told, once it may."""

    def __init__(self, act=lambda job: "well"):
        super().__init__()
        self.act, self.may = act, threading.Event()

    def work(self):
        assert self.may.wait(10)
        return self.act(self)


def finished(job):
    end = time.monotonic() + 20
    while not job.finished:
        assert time.monotonic() < end
        time.sleep(0.005)
    return job


def running(job):
    while job.state == WAITING:
        time.sleep(0.005)


def test_jobs_are_done_one_after_another():
    works, order = Works(), []
    jobs = [works.add(Task(lambda job, i=i: order.append(i) or f"did {i}")) for i in range(3)]
    running(jobs[0])
    assert [job.state for job in jobs] == [RUNNING, WAITING, WAITING]
    assert [works.ahead(job) for job in jobs] == [0, 1, 2]
    for job in reversed(jobs):
        job.may.set()
    assert finished(jobs[2]).sentence == "did 2" and order == [0, 1, 2]
    assert [job.state for job in jobs] == [DONE] * 3 and works.ahead(jobs[2]) == 0


def test_a_job_is_found_by_its_token_alone():
    works = Works()
    job = works.add(Task())
    assert works.find(job.token) is job and len(job.token) > 20
    for other in ("", None, 7, [job.token], job.token[:-1]):
        assert works.find(other) is None
    job.stop()
    job.may.set()


def test_stopped_and_failed_jobs_do_not_stop_the_others():
    works = Works()

    def told(job):
        job.report("counting", 1, 10)
        return "all the same"

    def fail(job):
        raise SddError("this is wrong; do that")

    def break_down(job):
        raise ValueError("<what>")

    tasks = [Task(told), Task(), Task(fail), Task(break_down), Task()]
    jobs = [works.add(task) for task in tasks]
    running(jobs[0])
    jobs[0].stop()  # while it runs
    jobs[1].stop()  # before it does
    for job in jobs:
        job.may.set()
    finished(jobs[-1])
    assert [job.state for job in jobs] == [STOPPED, STOPPED, FAILED, FAILED, DONE]
    assert "nothing to keep" in jobs[0].sentence and jobs[2].sentence == "this is wrong; do that"
    assert "ValueError" in jobs[3].sentence and "&lt;what&gt;" in progress.outcome(jobs[3])


def test_the_queue_ends():
    works = Works()
    jobs = [works.add(Task()) for _ in range(limits.MAX_WAITING)]
    with pytest.raises(SddError, match="waiting already"):
        works.add(Task())
    for job in jobs:
        job.may.set()
    finished(jobs[-1])
    works.add(Task()).may.set()


def test_progress_is_told_in_words(monkeypatch):
    job = Task()
    assert "Waiting: 2 others are before" in progress.progress(job, 2) and "another one is" in progress.progress(job, 1)
    job.state = RUNNING
    assert "Starting" in progress.progress(job, 0)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    job.report("counting", 10, 110)
    assert job.seconds_left is None
    clock[0] += 5
    job.report("counting", 20, 110)
    assert job.seconds_left == pytest.approx(45)
    said = progress.progress(job, 0)
    assert "counting: 20 of 110, at most 45 s left" in said and 'aria-valuenow="18"' in said
    assert progress.duration(45) == "45 s" and progress.duration(600) == "10 min"


# Training


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    toy = replace(toy_domain(), expected_psnr=None)
    real = library.get
    monkeypatch.setattr(library, "get", lambda name, device="cpu": toy if name == "toy" else real(name, device))
    monkeypatch.setattr(library, "names", lambda: ["avatars", "toy"])
    for place in ("sdd.teachers.load", "sdd.training.distil", "sdd.apps.studio.training"):
        monkeypatch.setattr(f"{place}.load_teacher", lambda *_, **__: ToyTeacher())
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("editors").mkdir()
    return Shelf([Path("editors")], toy, CPU)


QUICK = {"images": 12, "hidden": 16, "scale": 2.0}


def quick(shelf, prompt="more red", steps=6, **how):
    job = TrainingJob(prompt, library.get("toy"), shelf, steps=steps, **how)
    job.options = job.options.model_copy(update=QUICK)
    return job


def test_a_training_gives_the_editor_of_the_command_line(shelf):
    curves = []
    job = quick(shelf)
    searched = job.searched
    job.searched = lambda scores: curves.append(scores) or searched(scores)
    Works().add(job)
    assert finished(job).state == DONE, job.sentence
    assert "“more-red”, 6 steps" in job.sentence and "held-out pictures" in job.sentence
    assert job.editor == "more-red" and shelf.names() == ["more-red"]
    # The curve grows by a timestep at a time, and ends as the file has it.
    assert [len(scores.timesteps) for scores in curves] == [*range(1, 20)]
    info = read(Path("editors/more-red.safetensors"))[0]
    assert info.hqs.hqs == pytest.approx(curves[-1].score.tolist()) and job.scores is curves[-1]
    assert np.asarray(job.pictures).shape == (64, 32 * 6, 3)
    extra = [f"--set={name}={value}" for name, value in QUICK.items()]
    line = ["train", "more red", "--domain", "toy", "-o", "cli.safetensors", "--steps", "6", "--run", "other", *extra]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert Path("cli.safetensors").read_bytes() == Path("editors/more-red.safetensors").read_bytes()
    assert job.command == "sdd train 'more red' -o editors/more-red.safetensors --domain toy --steps 6"


def test_stop_and_keep(shelf):
    job = quick(shelf, steps=500)
    stepped = job.stepped

    def watched(training):
        if training.learner.step == 3:
            job.stop()
        return stepped(training)

    job.stepped = watched
    Works().add(job)
    assert finished(job).state == STOPPED and "kept what was learned" in job.sentence and "3 steps" in job.sentence
    assert read(Path("editors/more-red.safetensors"))[0].figures["steps"] == 3
    assert not [*Path("runs").glob("*/editor.safetensors")]  # the run is not over
    again = quick(shelf, steps=5)  # another length is another training, and gets another file
    Works().add(again)
    assert finished(again).state == DONE and shelf.names() == ["more-red", "more-red-2"]


def test_stopped_before_there_is_anything(shelf):
    job = quick(shelf)
    job.searched = lambda scores: job.stop()
    Works().add(job)
    assert finished(job).state == STOPPED and "nothing to keep" in job.sentence and shelf.names() == []


def test_prompts_are_checked_before_they_wait(shelf):
    toy, avatars = library.get("toy"), replace(library.get("toy"), name="avatars")
    for prompt in ("", "   ", None, "x" * 1001):
        with pytest.raises(SddError, match="edited pictures should show"):
            TrainingJob(prompt, toy, shelf)
    with pytest.raises(SddError, match="knows no word"):
        TrainingJob("xqzvkj", avatars, shelf)
    with pytest.raises(SddError, match="steps"):
        TrainingJob("red", toy, shelf, steps=10**9)
    job = TrainingJob("white hair xqzvkj", avatars, shelf)
    assert len(job.warnings) == 1 and "xqzvkj" in progress.outcome(job)


def test_phases_are_said_in_a_visitors_words(shelf):
    job = quick(shelf)
    said = []
    for phase in ("hybrid quality score of 'x'", "distil 'x'", "invert"):
        job.phase = phase
        said.append(job.doing)
    assert said[0].startswith("1. ") and said[1].startswith("2. ") and said[2] == "Preparing: invert"


# Comparing


def test_methods_are_compared_one_after_another(shelf, monkeypatch):
    toy = library.get("toy")
    image = toy.images(1, 0, "test").clamp(-1, 1)
    asked = []

    def compare(images, prompt, source, methods, domain, models, seed, report):
        report("compare", 0, 1)
        report(f"{methods[0].card.name}: drawing", 1, 2)
        asked.append((methods[0].card.name, prompt, source))
        if methods[0].card.name == "ddib":
            return [Column("ddib", None, "it needs more")]
        return [Column(methods[0].card.name, -images, "", 0.0, 1.5)]

    monkeypatch.setattr(comparing, "compare", compare)
    job = ComparingJob(image, "more red", "red", ["sdedit", "ddib"], toy, Models())
    Works().add(job)
    assert finished(job).state == DONE and job.sentence == "1 of 2 methods edited the picture"
    assert asked == [("sdedit", "more red", "red"), ("ddib", "more red", "red")]
    html = progress.pictures(job)
    assert html.count("<figure>") == 3 and html.count("<img") == 2 and "1.5 s" in html and "it needs more" in html
    for names, prompt in ((["sdedit"], ""), ([], "x"), (["/etc/passwd"], "x")):
        with pytest.raises(SddError):
            ComparingJob(image, prompt, "", names, toy, Models())


def test_only_possible_methods_are_offered():
    toy = toy_domain()
    without = {card.name for card in possible(toy, Models())}
    assert without < {card.name for card in possible(toy, Models({"teacher": ToyTeacher, "clip": ToyTeacher}))}
    assert training.SHOWN > 1
