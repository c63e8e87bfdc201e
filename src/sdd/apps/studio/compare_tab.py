"""The tab on which methods are compared on one picture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from sdd.apps.studio import values, widgets
from sdd.apps.studio.comparing import ComparingJob, possible
from sdd.apps.studio.progress import outcome, pictures, progress
from sdd.apps.studio.train_tab import LOOK
from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.apps.studio.subject import Subject
    from sdd.apps.studio.workshop import Workshop


def build(shop: Workshop, page: gr.Blocks, tab: gr.Tab, subject: gr.State, token: gr.BrowserState) -> None:
    """Lay the tab out; `subject` is the visitor's picture, `token` the comparison."""
    known = possible(shop.domain, shop.models)
    quick = [card.name for card in known if not card.trains]
    with gr.Row():
        with gr.Column(scale=4, min_width=300):
            prompt = gr.Textbox(
                "", label="What should the picture show?", placeholder="white hair", max_length=1000,
                elem_id="compare-prompt",
            )  # fmt: skip
            source = gr.Textbox(
                "", label="What does it show now?", info="Some methods ask for it; may be left empty.",
                max_length=1000, elem_id="compare-source",
            )  # fmt: skip
            names = gr.CheckboxGroup(
                [(card.name if card.name in quick else f"{card.name} (trains first)", card.name) for card in known],
                value=quick, label="Methods", elem_id="methods",
            )  # fmt: skip
            with gr.Row():
                run = gr.Button("Compare", variant="primary", elem_id="compare", min_width=120)
                stop = gr.Button("Stop", elem_id="compare-stop", min_width=120)
        with gr.Column(scale=5, min_width=300):
            said = widgets.said("compare-said", values.sentence("One picture, one sentence, many methods."))
            bar = gr.HTML("", js_on_load=None, elem_id="compare-bar")
            sheet = gr.HTML("", js_on_load=None, elem_id="sheet")
    outputs = [said, bar, sheet]

    async def watch(found: object) -> AsyncIterator[tuple[Any, ...]]:
        job, last = shop.works.find(found), None
        if not isinstance(job, ComparingJob):
            yield tuple(gr.skip() for _ in outputs)
        while isinstance(job, ComparingJob):
            over, now = job.finished, (job.version, job.state, shop.works.ahead(job))
            if over or now != last:
                yield outcome(job) if over else values.sentence(f"“{job.prompt}”"), progress(job, now[2]), pictures(job)
                last = now
            if over:
                return
            await asyncio.sleep(LOOK)

    def start(picture: Subject | None, text: str, before: str, chosen: list[str]) -> tuple[Any, str]:
        try:
            if picture is None:
                raise SddError("drop a picture on the tab Edit first, or take a random one there")
            seen = picture.seen_by(shop.domain)
            job = ComparingJob(seen, text, before, chosen or [], shop.domain, shop.models)
            shop.works.add(job)
        except SddError as error:
            return gr.skip(), values.sentence(str(error), "error")
        return job.token, ""

    def end(found: object) -> Any:
        job = shop.works.find(found)
        if job is not None:
            job.stop()
        return gr.skip()

    def chosen_picture(picture: Subject | None, found: object) -> Any:
        job = shop.works.find(found)
        if picture is None or isinstance(job, ComparingJob):
            return gr.skip()
        return values.figures([(picture.before, "source", "the picture of the tab Edit")])

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    watching = quiet | {"concurrency_limit": None, "trigger_mode": "multiple"}
    for begin in (run.click, prompt.submit):
        begin(start, [subject, prompt, source, names], [token, said], **quiet).then(
            watch, [token], outputs, **watching
        )  # fmt: skip
    stop.click(end, [token], [said], **quiet)
    tab.select(chosen_picture, [subject, token], [sheet], **quiet)
    page.load(watch, [token], outputs, **watching)
