"""The tab on which editors are trained. A training goes on without its visitor, who finds it again by a token that the
browser keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd

from sdd.apps.studio import values, widgets
from sdd.apps.studio.limits import MAX_STEPS
from sdd.apps.studio.progress import outcome, progress
from sdd.apps.studio.training import TrainingJob
from sdd.apps.studio.works import RUNNING
from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.apps.studio.workshop import Workshop
    from sdd.paper.hqs import HQS

LOOK = 0.5  # seconds from one look at a job to the next


def curve(scores: HQS) -> pd.DataFrame:
    """The curve of a search as a table: timestep, value, which."""
    rows = list[tuple[int, float, str]]()
    every = {"HQS": scores.score, "strength N̄": scores.norm_bar, "entropy H̄": scores.entropy_bar}
    for name, line in every.items():
        rows += [(t, float(value), name) for t, value in zip(scores.timesteps, line, strict=True)]
    return pd.DataFrame(rows, columns=["timestep", "score", "curve"])


def build(shop: Workshop, page: gr.Blocks, token: gr.BrowserState) -> tuple[Any, Any]:
    """Lay the tab out; the button that puts a new editor to use, and its name. `token` is the visitor's training."""
    made = gr.State("")
    with gr.Row():
        with gr.Column(scale=4, min_width=300):
            prompt = gr.Textbox(
                "", label="What should edited pictures show?", placeholder="white hair", max_length=1000,
                submit_btn=False, elem_id="prompt",
            )  # fmt: skip
            gr.Examples([["white hair"], ["sunglasses"], ["a beard"], ["smile"]], [prompt], label="For instance")
            with gr.Accordion("More", open=False, elem_id="train-more"):
                steps = gr.Number(
                    0, label="Steps", info="0: as many as it needs", precision=0, minimum=0, maximum=MAX_STEPS,
                    elem_id="steps",
                )  # fmt: skip
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed")
            with gr.Row():
                train = gr.Button("Train", variant="primary", elem_id="train", min_width=120)
                stop = gr.Button("Stop and keep", elem_id="stop", min_width=120)
            use = gr.Button("Edit with the new editor", elem_id="use")
            words = gr.Textbox(
                label="The same on the command line", lines=1, max_lines=4, interactive=False, buttons=["copy"],
                elem_id="train-command",
            )  # fmt: skip
        with gr.Column(scale=5, min_width=300):
            said = widgets.said("train-said", values.sentence("Type what you want to see, and press Train."))
            bar = gr.HTML("", js_on_load=None, elem_id="bar")
            strip = gr.HTML("", js_on_load=None, elem_id="strip")
            plot = gr.LinePlot(
                x="timestep", y="score", color="curve", height=260, y_lim=[-1, 1], x_lim=[0, 1000],
                title="How much each timestep of the teacher is worth (HQS)", elem_id="hqs", buttons=[],
            )  # fmt: skip
    outputs = [said, bar, strip, plot, words, made]

    async def watch(found: object) -> AsyncIterator[tuple[Any, ...]]:
        job, version, last = shop.works.find(found), -1, None
        if not isinstance(job, TrainingJob):
            yield tuple(gr.skip() for _ in outputs)
        while isinstance(job, TrainingJob):
            over, ahead = job.finished, shop.works.ahead(job)
            if over or (now := (job.version, job.state, ahead)) != last:
                yield _seen(job, ahead, first=version < 0)
                version, last = job.version, None if over else now
            if over:
                return
            await asyncio.sleep(LOOK)

    def start(text: str, number: float | None, many: float | None) -> tuple[Any, Any, str]:
        try:
            job = TrainingJob(
                text, shop.domain, shop.shelf, whole(number, "seed"), whole(many, "number of steps") or None
            )
            shop.works.add(job)
        except SddError as error:
            return gr.skip(), values.sentence(str(error), "error"), ""
        return job.token, "".join(values.sentence(text, "warning") for text in job.warnings), ""

    def end(found: object) -> Any:
        job = shop.works.find(found)
        if job is None or job.finished:
            return values.sentence("There is no training to stop.")
        job.stop()
        return gr.skip()

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    watching = quiet | {"concurrency_limit": None, "trigger_mode": "multiple"}
    for begin in (train.click, prompt.submit):
        begin(start, [prompt, seed, steps], [token, said, made], **quiet).then(watch, [token], outputs, **watching)
    stop.click(end, [token], [said], **quiet)
    page.load(watch, [token], outputs, **watching)  # again, for instance
    return use, made


def whole(value: float | None, what: str) -> int:
    """A whole number of a field.

    Raises:
        SddError: it is none.
    """
    if value is None or value != value or not 0 <= value < 2**53 or value != int(value):
        raise SddError(f"the {what} is a whole number from 0 on")
    return int(value)


def _seen(job: TrainingJob, ahead: int, first: bool) -> tuple[Any, ...]:
    """What is to be seen of a training."""
    strip = values.strip(job.pictures, f"Above: pictures. Below: the same edited, after {job.steps} steps")
    said = outcome(job) if job.finished else values.sentence(f"“{job.prompt}”")
    if job.state == RUNNING and job.warnings:
        said += outcome(job)
    plot = curve(job.scores) if job.scores is not None else None if first else gr.skip()
    return said, progress(job, ahead), strip, plot, job.command if first else gr.skip(), job.editor
