"""What gradio has no component for: a place to drop a picture, two pictures under one divider, a download.

Each is a `gr.HTML` whose script lies beside this file, in `page`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import gradio as gr

from sdd.apps.studio.limits import MAX_BYTES


@cache
def page(name: str) -> str:
    """A file of `page`."""
    return (files("sdd.apps.studio") / "page" / name).read_text("utf-8")


def drop() -> gr.HTML:
    """Where a picture is dropped, pasted or chosen; its event `upload` carries the name and the bytes."""
    script = page("drop.js").replace("MAX_BYTES", str(MAX_BYTES))
    return gr.HTML(html_template=page("drop.html"), js_on_load=script, elem_id="drop")


def pair() -> gr.HTML:
    """Two pictures in one place, and a divider between them; its value is that of `values.shown`."""
    return gr.HTML(value="{}", html_template=page("pair.html"), js_on_load=page("pair.js"), elem_id="pair")


def saver() -> gr.HTML:
    """Saves what its value (`values.download`) holds, as a browser saves a file."""
    return gr.HTML(value="{}", html_template="<span></span>", js_on_load=page("save.js"), visible="hidden")


def said(elem_id: str, value: str = "") -> gr.HTML:
    """A line that is read aloud when it changes."""
    template = '<div role="status" aria-live="polite">${value}</div>'
    return gr.HTML(value=value, html_template=template, js_on_load=None, elem_id=elem_id, elem_classes="said")
