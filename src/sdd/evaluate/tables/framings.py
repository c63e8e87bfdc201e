"""Pictures that DiceBear frames otherwise, or that somebody turned: how well they invert, registered and not."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.beyond.pose import Pose, lay
from sdd.beyond.register import CLEARLY, DOUBTFUL, FAR, promising, registered_where
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.evaluate.command import OUT, PICTURES, N, Out, Pictures, Quick, Seed, app, finish
from sdd.evaluate.intervals import median
from sdd.evaluate.markdown import measured_by, number, picture_line, table
from sdd.evaluate.sheet import save_rows
from sdd.manipulators.inversion import PEAK, encode, psnr

if TYPE_CHECKING:
    from sdd.domains.avatars.person import Avatar
    from sdd.domains.domain import Domain

NAME, EDITION = "framings", 1
FRAMINGS = {
    "as usual": Pose(),
    "70 % of the size": Pose(scale=0.7),
    "80 %": Pose(scale=0.8),
    "120 %": Pose(scale=1.2),
    "25 % left": Pose(right=-0.25),
    "25 % right": Pose(right=0.25),
    "25 % up": Pose(down=-0.25),
    "25 % down": Pose(down=0.25),
    "turned 25° left": Pose(turn=-25),
    "turned 25°": Pose(turn=25),
    "turned 90°": Pose(turn=90),
    "turned 180°": Pose(turn=180),
    "mirrored": Pose(mirrored=True),
}
BESIDE = {"90 %, 12° left, 8 % right": Pose(0.9, 0.08, 0.0, -12.0)}  # several at once, which no bar asks for


@dataclass(frozen=True)
class Measured:
    """One person in one framing, dB over the same part of the person."""

    upright: float
    plain: float
    registered: float
    looked: bool  # whether it is registered unasked


def framed(person: Avatar, pose: Pose) -> Tensor:
    """A person in a framing, (3, S, S): drawn so by DiceBear, or turned by quarters or mirrored as a picture."""
    quarters = round(pose.turn / 90) if pose.turn % 90 == 0 else 0
    options = {"zoom": pose.scale, "shift_x": 100 * pose.right, "shift_y": 100 * pose.down, "tilt": pose.turn}
    if quarters or pose.mirrored:
        options = {"zoom": 1.0, "shift_x": 0.0, "shift_y": 0.0, "tilt": 0.0}
    drawn = replace(person, attributes=person.attributes | options, round_crop=False).render()
    return torch.rot90(drawn.flip(-1) if pose.mirrored else drawn, -quarters, (1, 2))


def redrawn(images: Tensor, domain: Domain) -> Tensor:
    """What encoder and generator make of pictures, (B, 3, S, S) in [-1, 1]."""
    parts = [domain.generator.synthesis(codes) for codes in encode(images, domain.stylegan).split(4)]
    return torch.cat(parts).clamp(-1, 1)


@torch.no_grad()
def measured(person: Avatar, pose: Pose, domain: Domain) -> tuple[Measured, list[Tensor]]:
    """One person in one framing, and the pictures: framed, redrawn as it is, and registered."""
    upright, picture = framed(person, Pose()), framed(person, pose)
    redraw = partial(redrawn, domain=domain)
    as_it_is = redraw(picture[None])
    before = psnr(as_it_is, picture[None])
    found = registered_where(picture[None], before, redraw, domain.expected_psnr, always=True).get(0)
    laid = as_it_is[0]
    if found is not None:
        laid = lay(redraw(found.image[None]), [found.pose], picture)[0]
    ones = torch.ones_like(picture)
    covered = lay(ones[None], [pose], torch.zeros(()))[0]  # where the picture has the person
    own = lay(redraw(upright[None]), [pose], picture)[0]
    looked = promising(picture, float(before), redraw, domain.expected_psnr)
    best, plain, registered = (_psnr(drawing, picture, covered) for drawing in (own, as_it_is[0], laid))
    return Measured(best, plain, registered, looked), [picture, as_it_is[0], laid]


def framings(domain: Domain, n: int, seed: int) -> tuple[dict[str, Any], list[list[Tensor]]]:
    """`n` held-out people in every framing; and the first of them as pictures, a row for each framing."""
    figures, intervals, rows, pictures = dict[str, float](), dict[str, Any](), [], []
    for name, pose in (FRAMINGS | BESIDE).items():
        people = [measured(person, pose, domain) for person in AVATARS.people(seed, 0, n)]
        pictures.append(people[0][1])
        found = [one for one, _ in people]
        lost = [one.upright - one.registered for one in found]
        unasked = [one.upright - (one.registered if one.looked else one.plain) for one in found]
        looked = statistics.fmean(one.looked for one in found)
        row: dict[str, Any] = {"framing": name, "looked": looked, "bar": name in FRAMINGS}
        for key, values in (
            ("upright", [one.upright for one in found]), ("plain", [one.plain for one in found]),
            ("registered", [one.registered for one in found]), ("lost", lost), ("lost_unasked", unasked),
        ):  # fmt: skip
            middle = median(values)
            row[key] = [middle.value, middle.low, middle.high]
        rows.append(row)
        figures[f"lost, {name}"], intervals[f"lost, {name}"] = row["lost"][0], row["lost"][1:]
    figures["lost"] = max(row["lost"][0] for row in rows if row["bar"])
    figures["lost_unasked"] = max(row["lost_unasked"][0] for row in rows if row["bar"])
    return {"figures": figures, "intervals": intervals, "rows": rows}, pictures


@app.command("framings")
def framings_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, pictures: Pictures = PICTURES
) -> None:
    """Pictures framed otherwise, registered and as they are."""
    n = n or (2 if quick else 16)
    found, seen = framings(embedded(), n, seed)
    if pictures is not None:
        save_rows(pictures / "framings.png", [torch.stack(column) for column in zip(*seen, strict=True)])
    finish(NAME, found, n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    head = ["framing", "upright", "as it is", "registered", "lost", "looked at unasked", "lost unasked"]
    rows = [
        [
            row["framing"], *(number(row[key][0], "dB") for key in ("upright", "plain", "registered")),
            f"{row['lost'][0]:.1f} [{row['lost'][1]:.1f}, {row['lost'][2]:.1f}]", number(row["looked"], "%"),
            f"{row['lost_unasked'][0]:.1f} [{row['lost_unasked'][1]:.1f}, {row['lost_unasked'][2]:.1f}]",
        ]
        for row in part["rows"]
    ]  # fmt: skip
    return [
        "## Framings",
        "",
        measured_by(part),
        "",
        "How well a person inverts whose picture is framed otherwise, against the same person in DiceBear's own "
        "framing (people's own tilt, shift and zoom taken out): that drawing laid where the framing has put the "
        "person, and all compared over the pixels that the picture has of the person. Medians over people, dB; what "
        "is lost is the median of the differences. Registered: `--register`; a pose is kept that inverts "
        f"{CLEARLY:g} dB better. Unasked, a picture that inverts {DOUBTFUL:g} dB below the domain's mean is glanced at "
        f"from a few poses, and searched where one of these wins; one {FAR:g} dB below is searched at once.",
        "",
        *table(head, rows),
        "",
        *picture_line(pictures, "framings.png", "pictures; redrawn as they are; registered, redrawn and laid back"),
    ]


def _psnr(drawing: Tensor, picture: Tensor, where: Tensor) -> float:
    """Of the pixels where a mask (3, H, W) is 1."""
    error = (drawing - picture).square()[where > 0.5].mean().clamp_min(PEAK**2 * 1e-12)
    return float(10 * torch.log10(PEAK**2 / error))
