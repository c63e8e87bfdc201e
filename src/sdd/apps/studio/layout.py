"""The page: its three tabs, and what one does for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from sdd.apps.studio import compare_tab, edit_tab, train_tab, widgets
from sdd.apps.studio.editing import LEVELS, NONE, SLOTS
from sdd.apps.studio.subject import Subject, random_subject
from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.apps.studio.edit_tab import EditTab
    from sdd.apps.studio.workshop import Workshop

HEAD = "<h1>sdd studio</h1><p>Say what a picture should show, and a slider makes it so.</p>"
FIRST = 23  # seed of the picture that is there when the page is opened


def layout(shop: Workshop) -> gr.Blocks:
    """The page of a studio."""
    with gr.Blocks(title="sdd studio", analytics_enabled=False, fill_width=False) as page:
        gr.HTML(HEAD, js_on_load=None, elem_id="head")
        # Here, and not on the tabs, what the browser kept is known before a tab is opened.
        training, comparison = (_kept(f"sdd-studio-{what}") for what in ("training", "comparison"))
        with gr.Tabs() as tabs:
            with gr.Tab("Edit", id="edit", elem_id="tab-edit"):
                edit = edit_tab.build(shop)
            with gr.Tab("Train", id="train", elem_id="tab-train"):
                use, made = train_tab.build(shop, page, training)
            with gr.Tab("Compare", id="compare", elem_id="tab-compare") as compare:
                compare_tab.build(shop, page, compare, edit.subject, comparison)
        _join(shop, page, tabs, edit, use, made)
    return page


def _join(shop: Workshop, page: gr.Blocks, tabs: gr.Tabs, edit: EditTab, use: gr.Button, made: gr.State) -> None:
    """What happens when the page is opened, and with an editor that was trained."""

    known = shop.shelf.names()

    def opened(*controls: object) -> tuple[Any, ...]:
        try:
            picture: Subject | None = random_subject(shop.domain, FIRST)
        except SddError:
            picture = None
        return (*listed(), picture, *edit_tab.drawn(picture, controls, shop))

    def listed() -> tuple[Any, ...]:
        # What the page was built with need not be told; told together with a value, menus lose the value now and then.
        names = shop.shelf.names()
        return tuple(gr.skip() if names == known else gr.Dropdown(choices=[NONE, *names]) for _ in range(SLOTS))

    def used(name: str, picture: Subject | None) -> tuple[Any, ...]:
        if name not in shop.shelf.names():
            gr.Info("Train an editor first; this button then puts it on the tab Edit.")
            return tuple(gr.skip() for _ in range(2 * SLOTS + 4))
        chosen = [name, *[NONE] * (SLOTS - 1)]
        controls = [*chosen, *[1.0] * SLOTS, list(LEVELS), True]
        return (gr.Tabs(selected="edit"), *controls[:-2], *edit_tab.drawn(picture, controls, shop))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    page.load(opened, edit.controls, [*edit.names, edit.subject, *edit.seen], **quiet)
    made.change(listed, None, edit.names, **quiet)
    use.click(used, [made, edit.subject], [tabs, *edit.names, *edit.strengths, *edit.seen], **quiet)


def _kept(name: str) -> gr.BrowserState:
    """A token that the browser keeps; what it is hidden by outlives the server, as what is kept does."""
    return gr.BrowserState("", storage_key=name, secret=name)


def theme() -> Any:
    """Fonts of the visitor's own system: none is fetched from anywhere."""
    return gr.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )


STYLE = widgets.page("style.css")
# Of the page's outermost part, which no style sheet of ours reaches: were it hidden, nothing inside would stick.
OUTSIDE = "<style>.gradio-container { overflow: clip !important; }</style>"
