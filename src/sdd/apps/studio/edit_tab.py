"""The tab on which a picture is edited.

Events give values back and no properties, but for the names of editors to choose from: sliders whose properties are
updated while they are dragged freeze or jump.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from sdd.apps.studio import editing, values, widgets
from sdd.apps.studio.editing import LEAST, LEVELS, MOST, NONE, SLOTS
from sdd.apps.studio.limits import received, too_many_bytes
from sdd.apps.studio.subject import Subject, random_subject
from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.apps.studio.workshop import Workshop

SEEDS = 100_000  # among which random pictures are taken


@dataclass
class EditTab:
    """The components that other tabs touch."""

    subject: gr.State
    names: list[gr.Dropdown]
    strengths: list[gr.Slider]
    levels: gr.CheckboxGroup
    blend: gr.Checkbox
    pair: gr.HTML
    said: gr.HTML
    command: gr.Textbox

    @property
    def controls(self) -> list[Any]:
        """In the order of `editing.of_controls`."""
        return [*self.names, *self.strengths, self.levels, self.blend]

    @property
    def seen(self) -> list[Any]:
        """What an edit changes."""
        return [self.pair, self.said, self.command]


def build(shop: Workshop) -> EditTab:
    """Lay the tab out, and say what its controls do."""
    subject = gr.State(None)
    with gr.Row(elem_id="edit-row"):
        with gr.Column(scale=5, min_width=300, elem_id="picture"):
            pair = widgets.pair()
            said = widgets.said("said", values.sentence("Loading …"))
        with gr.Column(scale=4, min_width=300):
            drop = widgets.drop()
            other = gr.Button("Take a random picture", elem_id="random")
            tab = EditTab(subject, *_controls(shop), pair, said, gr.Textbox(render=False))
            save = gr.Button("Download at full size", variant="primary", elem_id="save")
            tab.command = gr.Textbox(
                label="The same on the command line", lines=2, max_lines=5, interactive=False, buttons=["copy"],
                elem_id="command",
            )  # fmt: skip
            saver = widgets.saver()
    count = gr.State(0)
    _listen(shop, tab, drop, other)

    def saved(picture: Subject | None, number: int, *controls: object) -> tuple[Any, int, str]:
        try:
            with shop.drawing:
                data, name = editing.save(picture, controls, shop.shelf)
        except SddError as error:
            return gr.skip(), number, values.sentence(str(error), "error")
        note = values.sentence(f"Saved {name}, {len(data) / 1000:.0f} kB.")
        return values.download(data, name, number + 1), number + 1, note

    save.click(
        saved, [subject, count, *tab.controls], [saver, count, said], concurrency_limit=2, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    return tab


def drawn(picture: Subject | None, controls: Sequence[object], shop: Workshop) -> tuple[Any, ...]:
    """What `EditTab.seen` shows of an edit."""
    with shop.drawing:
        found = editing.edit(picture, controls, shop.shelf)
    return gr.skip() if found.pair is None else found.pair, found.said, found.command


def _controls(shop: Workshop) -> tuple[list[Any], list[Any], Any, Any]:
    editors = shop.shelf.names()
    choices = [NONE, *editors]
    names, strengths = list[Any](), list[Any]()

    def slot(number: int) -> None:
        with gr.Row(elem_classes="slot"):
            label, first = (f"Editor {number + 1}", 0) if number else ("Editor", min(1, len(editors)))
            names.append(
                gr.Dropdown(choices, value=choices[first], label=label, min_width=130, elem_id=f"editor-{number}")
            )
            strengths.append(
                gr.Slider(
                    LEAST, MOST, value=1.0, step=0.05, label="Strength", min_width=150, elem_id=f"strength-{number}"
                )
            )

    slot(0)
    gr.HTML("Strength 0: unchanged · 1: as trained · below 0: the opposite", js_on_load=None, elem_classes="hint")
    with gr.Accordion("Add more editors", open=False, elem_id="more"):
        for number in range(1, SLOTS):
            slot(number)
    levels = gr.CheckboxGroup(
        list(LEVELS), value=list(LEVELS), label="What may change", elem_id="levels",
        info="coarse: shapes · medium: parts · fine: colours",
    )  # fmt: skip
    blend = gr.Checkbox(
        True, label="Blend into the picture", elem_id="blend", info="What is not edited stays. Off: all is drawn anew."
    )
    return names, strengths, levels, blend


def _listen(shop: Workshop, tab: EditTab, drop: Any, other: Any) -> None:
    """What the controls do."""

    def moved(picture: Subject | None, *controls: object) -> tuple[Any, ...]:
        return drawn(picture, controls, shop)

    def dropped(event: gr.EventData, picture: Subject | None, *controls: object) -> tuple[Any, ...]:
        try:
            if values.event_data(event, "data") is None and values.event_data(event, "bytes") is not None:
                raise too_many_bytes()
            picture = Subject(received(values.event_data(event, "data")), str(values.event_data(event, "name")))
        except SddError as error:  # the picture that was there stays
            return picture, gr.skip(), values.sentence(str(error), "error"), gr.skip()
        return picture, *drawn(picture, controls, shop)

    def taken(picture: Subject | None, *controls: object) -> tuple[Any, ...]:
        try:
            picture = random_subject(shop.domain, secrets.randbelow(SEEDS))
        except SddError as error:
            return picture, gr.skip(), values.sentence(str(error), "error"), gr.skip()
        return picture, *drawn(picture, controls, shop)

    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    given = [tab.subject, *tab.controls]
    # All controls in one: of many events while one is dragged the last is never dropped, and none overtakes another.
    moves = [*(control.input for control in tab.controls), *(slider.release for slider in tab.strengths)]
    gr.on(moves, moved, given, tab.seen, trigger_mode="always_last", **quiet)
    drop.upload(dropped, given, [tab.subject, *tab.seen], trigger_mode="always_last", **quiet)
    other.click(taken, given, [tab.subject, *tab.seen], trigger_mode="always_last", **quiet)
