"""How much a visitor may send and ask for."""

from __future__ import annotations

import base64
import binascii

from sdd.errors import SddError, one_line, printable

MAX_BYTES = 20_000_000  # of an uploaded picture
MAX_PIXELS = 24_000_000  # of it: what phones take
MAX_REQUEST = MAX_BYTES * 4 // 3 + 2**20  # bytes of a request: such a picture as base64, and whatever goes with it
MAX_WAITING = 8  # trainings and comparisons that wait or run at a time
MAX_VISITORS = 64  # whose pictures are kept; those not seen for longest lose theirs
MAX_STEPS = 10_000
NAME = 80  # characters of a picture's name


def received(data: object) -> bytes:
    """The bytes of a picture that a browser sent as a data URL.

    Raises:
        SddError: there are none, or too many.
    """
    head, comma, body = data.partition(",") if isinstance(data, str) else ("", "", "")
    if len(body) > MAX_BYTES * 4 // 3 + 4:
        raise too_many_bytes()
    try:
        if not comma or not head.startswith("data:") or not head.endswith(";base64"):
            raise ValueError
        found = base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error) as error:
        raise SddError("that was no picture; drop a PNG, JPEG, WebP, TIFF or GIF file") from error
    if not found:
        raise SddError("that file is empty; drop a picture")
    if len(found) > MAX_BYTES:
        raise too_many_bytes()
    return found


def too_many_bytes() -> SddError:
    """What is said of a file that is too large."""
    return SddError(f"that file is too large; a picture may have {MAX_BYTES // 10**6} MB, so make it smaller first")


def display_name(name: object) -> str:
    """A file's own name as a browser told it: a word to show and to download under, never a path to open."""
    last = printable(str(name)[-1000:]).replace("\\", "/").rsplit("/", 1)[-1].strip().lstrip(".-")
    return one_line(last, NAME) or "picture.png"
