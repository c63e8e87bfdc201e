"""Where a long job stands, in a visitor's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdd.apps.studio import values
from sdd.apps.studio.comparing import ComparingJob, caption
from sdd.apps.studio.works import FAILED, WAITING, Job
from sdd.io.pictures.write import from_tensor

if TYPE_CHECKING:
    from PIL.Image import Image


def duration(seconds: float) -> str:
    """Seconds in words."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def progress(job: Job, ahead: int) -> str:
    """Where a job stands, as HTML."""
    if job.finished:
        return ""
    if job.state == WAITING:
        many = f"{ahead} others are" if ahead > 1 else "another one is"
        return values.bar(0, f"Waiting: {many} before this one." if ahead else "Waiting …")
    share, left = (job.done / job.total if job.total else 0.0), job.seconds_left
    end = "" if left is None else f", at most {duration(left)} left"
    count = f": {job.done} of {job.total}" if job.total else " …"
    stopping = " – stopping after this step" if job.asked_to_stop else ""
    return values.bar(share, f"{job.doing}{count}{end}{stopping}" if job.phase else "Starting …")


def outcome(job: Job) -> str:
    """What came of a job, as HTML."""
    notes = [values.sentence(text, "warning") for text in getattr(job, "warnings", ())]
    last = values.sentence(job.sentence, "error" if job.state == FAILED else "fine")
    return "".join([*notes, last])


def pictures(job: ComparingJob) -> str:
    """The source, and what each method made of it, as HTML."""
    cells: list[tuple[Image | None, str, str]] = [(from_tensor(job.image[0]), "source", "")]
    for column in job.columns:
        picture = None if column.images is None else from_tensor(column.images[0])
        cells.append((picture, column.name, caption(column)))
    return values.figures(cells)
