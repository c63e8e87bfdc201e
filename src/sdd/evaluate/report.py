"""Turn the benchmark's JSON files into docs/avatars.md: bar against measured, met or not.

    python -m sdd.evaluate.report

What has not been measured is said to be missing; nothing is filled in.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sdd.errors import SddError
from sdd.io.files import atomic_path, write_text

PARTS = ("reconstruction", "judge", "teacher", "guidance", "editors", "hqs", "speed")
Found = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Bar:
    """One thing the project promised: a figure of a part, and the value it must reach (or stay below)."""

    what: str
    part: str
    key: str
    value: float
    most: bool = False  # the figure may be at most the value, instead of at least
    unit: str = ""

    def row(self, found: Found) -> list[str]:
        """What, bar, measured, met."""
        sign = "≤" if self.most else "≥"
        promised = _number(self.value, self.unit)
        bar = f"{sign} {promised}"
        if self.part not in found:
            return [self.what, bar, "not measured", "–"]
        measured = found[self.part]["figures"].get(self.key)
        if measured is None or math.isnan(measured):
            return [self.what, bar, "not measured", "–"]
        if self.met(measured):
            return [self.what, bar, _number(measured, self.unit), "yes"]
        shown = _number(measured, self.unit)
        if shown == promised:  # missed by less than a digit
            shown = _number(measured, self.unit, more=2)
        return [self.what, bar, shown, "**no**"]

    def met(self, measured: float) -> bool:
        """Whether a figure reaches the bar."""
        return measured <= self.value if self.most else measured >= self.value


BARS = (
    Bar("reconstruction, mean PSNR (peak 2)", "reconstruction", "psnr", 30, unit="dB"),
    Bar("attributes the judge reads unchanged after reconstruction", "reconstruction", "unchanged", 0.97, unit="%"),
    Bar("judge's accuracy, worst attribute", "judge", "worst", 0.99, unit="%"),
    Bar("teacher: captioned attributes the judge finds", "teacher", "found", 0.95, unit="%"),
    Bar("editors: success, mean", "editors", "success", 0.9, unit="%"),
    Bar("editors: success, worst prompt", "editors", "worst_success", 0.75, unit="%"),
    Bar("editors: side effects, mean", "editors", "side_effects", 0.05, most=True, unit="%"),
    Bar("editors: editability, mean", "editors", "editability", 0.6),
    Bar("editors: fidelity, mean", "editors", "fidelity", 26, unit="dB"),
    Bar("editors: gain, mean", "editors", "gain", 0.3),
    Bar("training one editor, search included", "speed", "train", 60, most=True, unit="s"),
    Bar("editing: cold `sdd edit` of one picture", "speed", "cold_edit", 5, most=True, unit="s"),
    Bar("editing: warm, per picture in a batch of 64", "speed", "warm_edit", 0.015, most=True, unit="ms"),
    Bar("`sdd --help`", "speed", "help", 0.7, most=True, unit="s"),
)


def read(folder: Path) -> Found:
    """The parts of the benchmark that were measured.

    Raises:
        SddError: a file is not one of the benchmark's.
    """
    found = {}
    for part in PARTS:
        path = folder / f"{part}.json"
        if not path.is_file():
            continue
        try:
            found[part] = json.loads(path.read_text(encoding="utf-8"))
            _ = found[part]["figures"], found[part]["machine"]["date"], found[part]["command"]
        except (ValueError, KeyError, TypeError) as error:
            raise SddError(f"{path} is not a result of the benchmark ({error}); measure it again") from error
    return found


def page(found: Found, pictures: Path | None = None) -> str:
    """docs/avatars.md; `pictures` is the folder of PNGs beside it."""
    lines = [
        "# The avatars domain, as measured",
        "",
        "Written by `python -m sdd.evaluate.report` from `docs/figures/*.json`. Every figure is on held-out avatars",
        '(`avatars.sample(n, seed, "test")`), which no model was trained on; the judge teaches nothing. What the',
        "figures mean is defined in `src/sdd/evaluate/metrics.py`.",
        "",
        "## Bars",
        "",
        *_table(["what", "bar", "measured", "met"], [bar.row(found) for bar in BARS]),
        "",
        "| measured by | people | seed | when | on |",
        "|---|---|---|---|---|",
    ]
    for part in found.values():
        m = part["machine"]
        where = f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, torch {m['torch']}"
        lines.append(f"| `{part['command']}` | {part['n']} | {part['seed']} | {m['date']} | {where} |")
    lines.append("")
    sections = {
        "reconstruction": _reconstruction,
        "judge": _judge,
        "teacher": _teacher,
        "guidance": _guidance,
        "editors": _editors,
        "hqs": _hqs,
        "speed": _speed,
    }
    for name, section in sections.items():
        if name in found:
            lines += [*section(found[name], pictures), ""]
    return "\n".join(lines).rstrip() + "\n"


def _reconstruction(part: dict[str, Any], pictures: Path | None) -> list[str]:
    f = part["figures"]
    return [
        "## Encoder and generator",
        "",
        f"PSNR {f['psnr']:.2f} dB on average (median {f['psnr_median']:.2f}, worst picture {f['psnr_worst']:.2f}); the "
        f"judge reads {_number(f['unchanged'], '%')} of the visible attributes as before"
        + (f"; FID in the judge's features {f['fid']:.3g}." if "fid" in f else "."),
        "",
        *_picture(pictures, "reconstruction.png", "sources and their reconstructions"),
        *_attributes("unchanged", part["attributes"]),
    ]


def _judge(part: dict[str, Any], pictures: Path | None) -> list[str]:
    return [
        "## The judge",
        "",
        "Share read right, of the pictures that can show the attribute. A continuous attribute is right within an "
        "eighth of its range (4 degrees, 1.5 percent, 0.033).",
        "",
        *_attributes("right", part["attributes"]),
    ]


def _teacher(part: dict[str, Any], pictures: Path | None) -> list[str]:
    f = part["figures"]
    return [
        "## The teacher",
        "",
        f"50 DDIM steps at guidance 5 on held-out captions: the judge finds {_number(f['found'], '%')} of the "
        f"{f['mentions']:.0f} things said, and everything in {_number(f['all_found'], '%')} of the captions.",
        "",
        *_picture(pictures, "teacher.png", "the teacher's own pictures"),
        *_attributes("found", part["attributes"]),
    ]


def _editors(part: dict[str, Any], pictures: Path | None) -> list[str]:
    f = part["figures"]
    known = ("success", "side_effects", "editability", "fidelity", "gain", "identity", "clip", "directional", "fid")
    columns = [c for c in known if c in part["rows"][0]]
    summed = ["success", "worst_success", "side_effects", "editability", "fidelity", "gain"]
    units = {"success": "%", "worst_success": "%", "side_effects": "%", "fidelity": "dB"}
    rows = []
    for row in part["rows"]:
        steps = row["timesteps"]
        t = ", ".join(map(str, steps)) if len(steps) < 5 else f"{len(steps)} in {min(steps)}…{max(steps)}"
        rows.append([row["prompt"], t, *(_number(row[c], units.get(c, "")) for c in columns)])
    rows.append(["**mean**", "", *(_number(f[c], units.get(c, "")) for c in columns)])
    lines = [
        "## Editors",
        "",
        f"One editor a prompt, all at strength {f['strength']:g}: the one that met the most bars on *other* held-out "
        "people, and came nearest to those it missed. Editability 1 is the exact edit and 0 nothing done; gain "
        "punishes whatever else changed; side effects are the attributes that the judge reads otherwise than in the "
        "unedited reconstruction.",
        "",
        "Those other people, every strength, means over the prompts:",
        "",
        *_table(
            ["strength", *(name.replace("_", " ") for name in summed)],
            [[f"{m['strength']:g}", *(_number(m[c], units.get(c, "")) for c in summed)] for m in part["means"]],
        ),
        "",
        "The held-out people of the figures:",
        "",
        *_table(["prompt", "t", *(c.replace("_", " ") for c in columns)], rows),
        "",
        "Rows of each picture: source, reconstruction, edit, counterfactual.",
        "",
    ]
    for row in part["rows"]:
        lines += _picture(pictures, f"{row['prompt'].replace(' ', '-')}.png", row["prompt"], heading=True)
    return lines


def _guidance(part: dict[str, Any], pictures: Path | None) -> list[str]:
    f = part["figures"]
    names = list(dict.fromkeys(c["guidance"] for c in part["curves"]))
    order = sorted(names, key=lambda n: -f[f"gain_{n}"])
    ranking = " > ".join(f"{name} {f['gain_' + name]:.2f}" for name in order)
    texts = dict.fromkeys(c["prompt"] for c in part["curves"])
    return [
        "## Guidance",
        "",
        f"Mean over {len(texts)} prompts ({', '.join(texts)}) of gain / editability / fidelity (dB) at each strength, "
        f"everything else as by default. By best gain: {ranking}; the "
        f"default is {part['default']}.",
        "",
        *_strength_table("guidance", names, part["curves"]),
    ]


def _hqs(part: dict[str, Any], pictures: Path | None) -> list[str]:
    f = part["figures"]
    rows = [
        [
            r["prompt"],
            f"{r['spearman']:+.2f}",
            str(_best(r["hqs"])),
            str(_best(r["gain"])),
            f"{max(r['gain'].values()):.2f}",
        ]
        for r in part["rows"]
    ]
    lines = [
        "## The hybrid quality score against the truth",
        "",
        f"An editor trained at each single timestep for {part['steps']} steps, its measured gain (best along the "
        f"strength curve) ranked against HQS: Spearman {f['spearman']:+.2f} on average. The paper claims it "
        "strongly positive.",
        "",
        *_table(["prompt", "Spearman", "t of the largest HQS", "t of the largest gain", "that gain"], rows),
        "",
        *_picture(pictures, "hqs.png", "HQS and measured gain of each timestep"),
    ]
    names = sorted({c["strategy"] for c in part["curves"]}, key=("largest", "above", "random").index)
    if not names:
        return lines
    order = sorted(names, key=lambda n: -f[f"gain_{n}"])
    seeds = len({c["seed"] for c in part["curves"]})
    return [
        *lines,
        "",
        f"Strategies at equal steps, {seeds} seeds, the timesteps sinking as by default: mean over prompts of gain / "
        f"editability / fidelity (dB) at each strength. By best gain: {' > '.join(order)}; the paper has largest > "
        "above > random.",
        "",
        *_strength_table("strategy", names, part["curves"]),
    ]


def _strength_table(kind: str, names: Sequence[str], curves: Sequence[dict[str, Any]]) -> list[str]:
    """A row for each of `names`: gain / editability / fidelity at each strength, averaged over its curves."""
    body = []
    for name in names:
        cells = []
        for at in zip(*(c["curve"] for c in curves if c[kind] == name), strict=True):
            gain, edit, keep = (statistics.fmean(p[x] for p in at) for x in ("gain", "editability", "fidelity"))
            cells.append(f"{gain:.2f} / {edit:.2f} / {keep:.1f}")
        body.append([name, *cells])
    return _table([kind, *(f"{point['strength']:g}" for point in curves[0]["curve"])], body)


def _speed(part: dict[str, Any], pictures: Path | None) -> list[str]:
    f = part["figures"]
    even = f["break_even"]
    return [
        "## Speed",
        "",
        f"Training an editor {f['train']:.1f} s, a cold edit {f['cold_edit']:.2f} s, a warm one "
        f"{f['warm_edit'] * 1e3:.1f} ms; 25 diffusion steps by the same teacher {f['diffusion_edit'] * 1e3:.0f} ms. "
        + (
            f"Training pays from {even:.0f} pictures on (Equation 15)."
            if math.isfinite(even)
            else "With so small a teacher, training an editor never pays in time."
        ),
    ]


def _attributes(what: str, each: dict[str, float]) -> list[str]:
    ordered = sorted(((k, v) for k, v in each.items() if not math.isnan(v)), key=lambda kv: kv[1])
    return _table(["attribute", what], [[k.replace("_", " "), _number(v, "%")] for k, v in ordered])


def _picture(pictures: Path | None, name: str, title: str, heading: bool = False) -> list[str]:
    if pictures is None or not (pictures / name).is_file():
        return []
    return [*([f"**{title}**", ""] if heading else []), f"![{title}](images/{name})", ""]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def _number(value: float, unit: str, more: int = 0) -> str:
    """With the digits usual for the unit, or `more`."""
    match unit:
        case "%":
            return f"{100 * value:.{1 + more}f} %"
        case "ms":
            return f"{1000 * value:.{1 + more}f} ms"
        case "dB":
            return f"{value:.{1 + more}f} dB"
    return f"{value:.{2 + more}f} {unit}".rstrip()


def _best(values: dict[str, float]) -> int:
    return int(max(values, key=lambda t: values[t]))


def plot_hqs(part: dict[str, Any], path: Path) -> None:
    """HQS and measured gain of each timestep, a panel for each prompt."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = part["rows"]
    wide = min(3, len(rows))
    figure = Figure(figsize=(3.4 * wide, 2.5 * -(-len(rows) // wide)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, row in zip(figure.subplots(-(-len(rows) // wide), wide, squeeze=False).flat, rows, strict=False):
        t = [int(x) for x in row["hqs"]]
        axes.plot(t, list(row["hqs"].values()), "k-o", markersize=3, label="HQS")
        other = axes.twinx()
        other.plot([int(x) for x in row["gain"]], list(row["gain"].values()), "C1-s", markersize=3, label="gain")
        axes.set_title(f"{row['prompt']} (ρ = {row['spearman']:+.2f})", fontsize=9)
        axes.tick_params(labelsize=7)
        other.tick_params(labelsize=7, colors="C1")
    with atomic_path(path) as aside:
        figure.savefig(aside, format="png", dpi=80)


def main(
    figures: Annotated[Path, typer.Option(help="Folder of the benchmark's JSON files.")] = Path("docs/figures"),
    out: Annotated[Path, typer.Option(help="The page.")] = Path("docs/avatars.md"),
) -> None:
    """Write docs/avatars.md from what was measured."""
    found = read(figures)
    pictures = out.parent / "images"
    if "hqs" in found:
        plot_hqs(found["hqs"], pictures / "hqs.png")
    write_text(out, page(found, pictures))
    typer.echo(f"wrote {out} from {', '.join(found) or 'nothing: run python -m sdd.evaluate.benchmark all'}")


if __name__ == "__main__":
    typer.run(main)
