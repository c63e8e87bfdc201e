"""What edits in no time, for tests of all that lies around an edit: red and blue exchanged in pictures of 8 pixels."""

import io
import os
import time

import numpy as np
import torch
from PIL import Image

from sdd.editor import Edit
from sdd.errors import SddError

SIDE = 8


class Cheap:
    """See `sdd.apps.pictures.Edits`; a picture that is black in its first pixel kills the process that edits it."""

    crop = None
    image_size = SIDE
    domain = None

    def __init__(self, seconds=0.0, deadly=False):
        self.seconds, self.deadly = seconds, deadly

    def edit(self, images, strength=1.0, levels=None, batch=None, refine=0, *, identity=True, register=False):
        if levels:
            raise SddError("unknown level")
        time.sleep(self.seconds * len(images))
        if self.deadly and bool((images[:, :, 0, 0] == -1).all(1).any()):
            os.kill(os.getpid(), 9)
        return Edit(images.flip(1), images, torch.full((len(images),), 30.0), None)


def opened(device):
    return Cheap()


def slow(device):
    return Cheap(0.001)


def deadly(device):
    return Cheap(deadly=True)


def missing(device):
    raise SddError("there is no such editor")


# Pictures, and the right answers


def picture(seed: int, side: int = SIDE) -> Image.Image:
    values = np.random.default_rng(seed).integers(1, 255, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(seed: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, format=kind)
    return file.getvalue()


def exchanged(seed: int) -> np.ndarray:
    """The right answer: red and blue exchanged."""
    return np.asarray(picture(seed))[..., ::-1]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def rows(out):
    import pyarrow.parquet

    return pyarrow.parquet.read_table(out / "manifest.parquet").to_pylist()


def tree(folder, count):
    for i in range(count):
        name = folder / f"{'abc'[i % 3]}/{i}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(name)
    return folder


def check_tree(out, count):
    """Every picture once in the manifest, once on disk, right, and nothing else there."""
    found = rows(out)
    assert sorted(row["source"].rsplit("/", 1)[1] for row in found) == sorted(f"{i}.png" for i in range(count))
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and ".sdd" not in str(path)}
    assert files == {f"{'abc'[i % 3]}/{i}.png" for i in range(count)} | {"manifest.parquet"}
    for i in range(count):
        assert np.array_equal(pixels((out / f"{'abc'[i % 3]}/{i}.png").read_bytes()), exchanged(i))
