"""What events give to the page: pictures and words, as HTML or JSON.

Pictures are data URLs inside values, so that the server hands out no files.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

EXACT = 256 * 256  # pixels up to which a picture is shown as PNG; larger ones as JPEG, which is four times as fast


def data_url(picture: Image) -> str:
    """A picture as text that a browser shows."""
    buffer, exact = io.BytesIO(), picture.width * picture.height <= EXACT
    if exact:
        picture.save(buffer, format="PNG", compress_level=1)
    else:
        picture.save(buffer, format="JPEG", quality=92, subsampling=0)
    return f"data:image/{'png' if exact else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def shown(before: str, after: str) -> str:
    """The value of `widgets.pair`, of two data URLs."""
    return json.dumps({"before": before, "after": after})


def download(data: bytes, name: str, count: int) -> str:
    """The value of `widgets.saver`; `count` tells one download from the next of the same."""
    return json.dumps({"name": name, "data": base64.b64encode(data).decode(), "count": count})


def sentence(text: str, kind: str = "fine") -> str:
    """A line of a `widgets.said`: fine, warning or error."""
    return f'<p class="{kind}">{escape(text)}</p>' if text else ""


def figures(pictures: Iterable[tuple[Image | None, str, str]]) -> str:
    """Pictures with a title and a line below each, side by side."""
    cells = [
        f"<figure>{_image(picture, title)}<figcaption><b>{escape(title)}</b> <span>{escape(line)}</span></figcaption>"
        "</figure>"
        for picture, title, line in pictures
    ]
    return f'<div class="figures">{"".join(cells)}</div>' if cells else ""


def _image(picture: Image | None, title: str) -> str:
    if picture is None:
        return '<div class="none" aria-hidden="true">–</div>'
    return f'<img src="{data_url(picture)}" alt="{escape(title)}">'


def strip(picture: Image | None, alt: str) -> str:
    """One wide picture."""
    return "" if picture is None else f'<img class="strip" src="{data_url(picture)}" alt="{escape(alt)}">'


def bar(done: float, text: str) -> str:
    """How far something is, from 0 to 1, and what there is to say of it."""
    percent = round(100 * min(1.0, max(0.0, done)))
    name = f'role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}"'
    return f'<div class="bar" {name}><div style="width: {percent}%"></div></div><p>{escape(text)}</p>'


def event_data(event: Any, name: str) -> Any:
    """What a script sent along with an event; None where it did not."""
    data = getattr(event, "_data", None)
    return data.get(name) if isinstance(data, dict) else None
