"""What `sdd bulk` costs and survives; each part prints its figures and keeps them in docs/figures/bulk.json.

    python benchmarks/bulk.py kills                       50 kills over 2 000 pictures, about two minutes
    python benchmarks/bulk.py memory                      resident memory by number of pictures, and its plot
    python benchmarks/bulk.py speed EDITOR.safetensors    pictures/s beside the bare model's; the machine alone
    python benchmarks/bulk.py ray EDITOR.safetensors      pictures/s of Ray beside the local engine's; the same
    python benchmarks/bulk.py page                        docs/performance.md from what was kept, as after each of these

`kills` and `memory` are about everything but the networks: their editor exchanges red and blue, for `kills` at no more
than 200 pictures a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from performance_page import put, where
from torch import Tensor

from sdd.apps.bulk import cluster, local, manifest, run
from sdd.apps.bulk.task import Report, Task
from sdd.apps.bulk.work import Order
from sdd.apps.cli.bulk import _open
from sdd.apps.pictures import Edits, Wish
from sdd.editor import Edit
from sdd.evaluate.machine import machine
from sdd.io.files import write_text
from sdd.memory import keep_memory

FIGURES, PLOT = Path("docs/figures/bulk.json"), Path("docs/images/bulk-memory.png")
SIDE = 16  # px of the pictures that cost nothing
DRAWN = Wish(blend=False)
AS_THEY_LIE = Wish(register=False)  # what inverts badly is not looked at, as the networks alone do not
MIB = 2**20


class Exchange:
    """An editor that costs nothing: red and blue exchanged."""

    crop: str | None = None
    image_size = SIDE
    domain = None

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def edit(
        self, images: Tensor, strength: float | Sequence[float] = 1.0, levels: Sequence[str] | None = None,
        batch: int | None = None, refine: int = 0, *, identity: bool = True, register: bool | None = False,
    ) -> Edit:  # fmt: skip
        """See `sdd.apps.pictures.Edits`."""
        time.sleep(self.seconds * len(images))
        return Edit(images.flip(1), images, torch.full((len(images),), 30.0), None)


def exchange(device: str | None) -> Edits:
    """An opener, as workers call one."""
    return Exchange()


def exchange_slowly(device: str | None) -> Edits:
    """The same at 200 pictures/s."""
    return Exchange(0.005)


def write_pictures(folder: Path, count: int, side: int = SIDE) -> None:
    """Pictures of noise, each another."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    values = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(values.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{i:06d}.png")


# Kills


def drive(inputs: Path, out: Path, workers: int) -> None:
    """One run of all that is left, by threads of this process or by processes."""
    crew = local.Crew(("cpu",) * workers, 2, 1)
    run.bulk([str(inputs)], out, exchange_slowly, DRAWN, {}, partial(local.run, crew=crew))


def kills(count: int, most: int, seed: int) -> dict[str, Any]:
    """Kill drivers and workers at random moments until so many were killed, then let one run end; check everything.

    Raises:
        AssertionError: a picture is missing, or twice there, or wrong, or was edited again after it was committed.
    """
    import numpy as np
    from PIL import Image

    chance, of_drivers, of_workers = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        inputs, out = Path(folder) / "in", Path(folder) / "out"
        write_pictures(inputs, count)
        write_pictures(Path(folder) / "few", 4)
        drive(Path(folder) / "few", Path(folder) / "warm", 1)  # what is imported now need not be by every driver
        committed: dict[str, manifest.Row] = {}
        began, longest, over = time.perf_counter(), 0.3, False
        while of_drivers + of_workers < most and not over:
            by_processes = of_drivers % 8 == 7
            child = os.fork()
            if child == 0:
                try:
                    drive(inputs, out, 2 if by_processes else 1)
                finally:
                    os._exit(0)
            if by_processes:
                for _ in range(3):
                    committing(out)
                    time.sleep(chance.uniform(0, 0.5))
                    if found := children(child):
                        os.kill(chance.choice(found), signal.SIGKILL)
                        of_workers += 1
            time.sleep(chance.uniform(0, longest))
            os.kill(child, signal.SIGKILL)
            over = not os.WIFSIGNALED(os.waitpid(child, 0)[1])  # it had come to its end
            of_drivers += not over
            for part in (out / manifest.STATE).glob("run-*/[0-9]*.parquet"):
                for row in manifest.rows_of(part):
                    assert committed.setdefault(row.source, row) == row, f"{row.source} was edited again"
            # So that kills and pictures come to an end together, on however fast a machine.
            ahead = len(committed) * most > (of_drivers + of_workers) * count
            longest = max(0.05, longest * (0.5 if ahead else 1.5))
            print(f"{of_drivers + of_workers} kills, {len(committed)} pictures committed", file=sys.stderr)
        drive(inputs, out, 1)
        seconds = time.perf_counter() - began
        rows = manifest.rows_of(out / manifest.NAME)
        assert sorted(row.source for row in rows) == sorted(map(str, inputs.resolve().iterdir())), "lost or twice there"
        assert all(committed.get(row.source, row) == row and row.status == manifest.EDITED for row in rows)
        files = [path for path in out.rglob("*") if path.is_file() and manifest.STATE not in path.parts]
        assert len(files) == count + 1, "a half file, or one too many"
        for row in rows:
            was, now = (np.asarray(Image.open(path)) for path in (row.source, out / row.output))
            assert np.array_equal(was[..., ::-1], now), f"{row.output} is wrong"
    return {
        "pictures": count, "kills_of_drivers": of_drivers, "kills_of_workers": of_workers, "seed": seed,
        "committed_before_the_last_run": len(committed), "seconds": seconds,
    }  # fmt: skip


def committing(out: Path, most: float = 15) -> None:
    """Wait until the run that has begun commits, but no longer than so many seconds."""
    until = time.monotonic() + most
    while time.monotonic() < until:
        live = [run for run in (out / manifest.STATE).glob("run-*") if not run.name.endswith(".ended")]
        if any(True for run in live for _ in run.glob("[0-9]*.parquet")):
            return
        time.sleep(0.02)


def children(process: int) -> list[int]:
    """Workers that a process has started."""
    try:
        found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:  # it has come to its end
        return []


# Memory


def memory(counts: Sequence[int]) -> dict[str, Any]:
    """Resident memory, MiB, while so many pictures are edited, in a process of its own each: largest, and curve."""
    kept = json.loads(FIGURES.read_text("utf-8")).get("memory", {}) if FIGURES.exists() else {}
    curves: dict[str, list[tuple[int, float]]] = kept.get("curves", {})  # of other counts, measured before
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_pictures(Path(folder) / "in", count)
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(read)
                with os.fdopen(write, "w") as pipe:
                    json.dump(watched(Path(folder)), pipe)
                os._exit(0)
            os.close(write)
            with os.fdopen(read) as pipe:
                curves[str(count)] = json.load(pipe)
            os.waitpid(child, 0)
        print(f"{count} pictures: at most {max(m for _, m in curves[str(count)]):.0f} MiB", file=sys.stderr)
    curves = dict(sorted(curves.items(), key=lambda curve: int(curve[0])))
    return {"curves": curves, "largest": {count: max(m for _, m in curve) for count, curve in curves.items()}}


def watched(folder: Path) -> list[tuple[int, float]]:
    """Edit what is in a folder; pictures done, and resident MiB then."""
    curve = [(0, resident())]

    def progress(done: int, left: int) -> None:
        if done - curve[-1][0] >= max(16, left // 200) or done == left:
            curve.append((done, resident()))

    crew = local.Crew(("cpu",), 2, 1)
    engine = partial(local.run, crew=crew)
    run.bulk([str(folder / "in")], folder / "out", exchange, DRAWN, {}, engine, progress=progress)
    curve.append((curve[-1][0], resident()))
    return curve


def resident() -> float:
    """Resident memory of this process, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def plot(curves: dict[str, list[tuple[int, float]]]) -> None:
    """Resident memory over pictures done."""
    from matplotlib.figure import Figure

    figure = Figure((6, 3), layout="constrained")
    axes = figure.subplots()
    for count, curve in curves.items():
        axes.plot([max(1, done) for done, _ in curve], [mib for _, mib in curve], label=f"{int(count):,} pictures")
    axes.set(xscale="log", xlabel="pictures done", ylabel="resident memory (MiB)", ylim=(0, None))
    axes.legend(loc="lower right")
    PLOT.parent.mkdir(exist_ok=True)
    figure.savefig(PLOT, dpi=150)


# Speed


def speed(editor: Path, count: int, rounds: int, seed: int) -> dict[str, Any]:
    """Networks, the editor and the local engine, in turns, in one process that is warm; networks on one core.

    `networks` is what an edit asks of them: encode, draw unedited, draw edited. `editor` is that and the blend, of
    tensors in memory. `engine` is from file to file, `looking` too, and it registers what inverts badly.

    Returns:
        Pictures a second, and pictures a second of computing by all threads together (which other work on the machine
        does not change much), in each round; and of both the engine's share of the others', as medians of the rounds.
    """
    torch.set_num_threads(1)
    opener, images = partial(_open, [editor.absolute()], None, {}), portraits(count, seed)
    edits = opener("cpu")
    engine = partial(local.run, crew=local.Crew(("cpu",), 2, 1))
    rates: dict[str, list[tuple[float, float]]] = {"networks": [], "editor": [], "engine": [], "looking": []}
    with tempfile.TemporaryDirectory() as folder:
        write_portraits(Path(folder) / "in", images)
        write_portraits(Path(folder) / "few" / "in", images[:8])
        timed(Path(folder) / "few", lambda device: edits, engine, "out")  # warm
        for i in range(rounds):
            for name, work in (
                ("networks", lambda: looped(partial(edits.edit, identity=False), images)),
                ("editor", lambda: looped(edits, images)),
                ("engine", lambda: timed(Path(folder), lambda device: edits, engine, str(i))),  # noqa: B023
                ("looking", lambda: timed(Path(folder), lambda device: edits, engine, f"{i}-looking", Wish())),  # noqa: B023
            ):
                began = time.process_time()
                rates[name].append((work(), count / (time.process_time() - began)))
                print(name, rates[name][-1], file=sys.stderr)
    shares = {
        name: [
            statistics.median(e[i] / r[i] for e, r in zip(rates["engine"], rates[name], strict=True)) for i in (0, 1)
        ]
        for name in ("networks", "editor")
    }
    return {"pictures": count, "rounds": rounds, "seed": seed, "rates": rates, "shares": shares}


def ray(editor: Path, count: int, seed: int) -> dict[str, Any]:
    """Pictures/s of the local engine and of Ray on a cluster of this machine, with two workers of one core each."""
    opener, images = partial(_open, [editor.absolute()], None, {}), portraits(count, seed)
    engines: dict[str, Any] = {
        "local, 2 processes": partial(local.run, crew=local.Crew(("cpu", "cpu"), 2, 1)),
        "ray, 2 workers": partial(cluster.run, workers=2, device="cpu"),
    }
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        write_portraits(Path(folder) / "in", images)
        for name, engine in engines.items():
            rates[name] = timed(Path(folder), opener, engine, name)
            print(name, rates[name], file=sys.stderr)
    first, second = rates.values()
    return {"pictures": count, "seed": seed, "rates": rates, "share": second / first}


def portraits(count: int, seed: int) -> Tensor:
    """Avatars, (count, 3, S, S)."""
    from sdd.domains import avatars
    from sdd.domains.avatars.truth import AVATARS

    return avatars.render(list(AVATARS.people(seed, 0, count)))


def write_portraits(folder: Path, images: Tensor) -> None:
    """One file each."""
    from sdd.io.pictures.write import save_png

    for i, image in enumerate(images):
        save_png(image, folder / f"{i:05d}.png")


def looped(edit: Any, images: Tensor) -> float:
    """Pictures/s of what edits tensors, in a loop."""
    began = time.perf_counter()
    for part in images.split(16):
        edit(part)
    return len(images) / (time.perf_counter() - began)


def timed(folder: Path, opener: Any, engine: Any, name: str, wish: Wish = AS_THEY_LIE) -> float:
    """Pictures/s of a run, from when the first task was begun to the end: the start of workers is not counted."""
    began: list[float] = []

    def marked(order: Order, tasks: Iterator[Task]) -> Iterator[Report]:
        for report in engine(order, tasks):
            if not began:
                rows = [row for part in report.parts for row in manifest.rows_of(order.run / part)]
                began.append(time.perf_counter() - sum(row.seconds for row in rows))
            yield report

    done = run.bulk([str(folder / "in")], folder / name, opener, wish, {}, marked)
    return done.edited / (time.perf_counter() - began[0])


# The page


def keep(name: str, part: dict[str, Any]) -> None:
    """Put a part's figures into the file of all, and print them."""
    figures = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    figures[name] = {**machine(), **part}
    write_text(FIGURES, json.dumps(figures, indent=1) + "\n")
    print(json.dumps({key: value for key, value in part.items() if key != "curves"}, indent=1))


def section(figures: dict[str, Any]) -> list[str]:
    """The part of docs/performance.md that is about bulk edits."""
    lines: list[str] = []
    if found := figures.get("speed"):
        lines += [
            f"`python benchmarks/bulk.py speed EDITOR`, rounds: {found['rounds']}, {found['pictures']} avatars each, "
            f"seed {found['seed']}, networks on one core; {where(found)}. By the clock, and by the computing of all "
            "threads, which other work on the machine disturbs less; medians of the rounds:",
            "",
            "| | pictures/s | pictures/s of computing | the engine has of it |",
            "|---|---|---|---|",
        ]
        said = {
            "networks": "networks alone: encode, draw unedited, draw edited",
            "editor": "the editor called in a loop, tensors in memory",
            "engine": "`sdd bulk --no-register`, from file to file",
            "looking": "`sdd bulk`, which registers what inverts badly",
        }
        for name, rates in found["rates"].items():
            clock, computing = (statistics.median(rate[i] for rate in rates) for i in (0, 1))
            shares = found["shares"].get(name, [])
            share = ", ".join(f"{100 * s:.0f} %" for s in shares)
            lines.append(f"| {said[name]} | {clock:.1f} | {computing:.1f} | {share} |")
        lines.append("")
    if found := figures.get("ray"):
        rates = ", ".join(f"{name} {rate:.1f}" for name, rate in found["rates"].items())
        lines += [
            f"`python benchmarks/bulk.py ray EDITOR --pictures {found['pictures']}`, seed {found['seed']}; "
            f"{where(found)}. Pictures a second once the first worker has begun: {rates}; Ray has "
            f"{100 * found['share']:.0f} % of the local engine's.",
            "",
        ]
    if found := figures.get("kills"):
        lines += [
            f"`python benchmarks/bulk.py kills`, seed {found['seed']}; {where(found)}: "
            f"{found['kills_of_drivers'] + found['kills_of_workers']} kills (SIGKILL, {found['kills_of_drivers']} of "
            f"drivers, {found['kills_of_workers']} of workers) at random moments over {found['pictures']} pictures, in "
            f"{found['seconds']:.0f} s. Every picture is in the manifest once and on disk once and right, none was "
            f"edited again after it was committed, no half file was left.",
            "",
        ]
    if found := figures.get("memory"):
        several = ", ".join(f"{mib:.0f} MiB for {int(count):,}" for count, mib in found["largest"].items())
        lines += [
            f"`python benchmarks/bulk.py memory`; {where(found)}: at most {several} pictures, without networks.",
            "",
            f"![resident memory by pictures done]({PLOT.relative_to('docs')})",
            "",
        ]
    return lines


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("kills", "memory", "speed", "ray", "page"))
    parser.add_argument("editor", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, nargs="*")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    keep_memory()  # as `sdd` does
    if given.part == "kills":
        keep("kills", kills((given.pictures or [2000])[0], given.kills, given.seed))
    elif given.part == "memory":
        keep("memory", memory(given.pictures or [1000, 5000, 20000]))
    elif given.part in ("speed", "ray"):
        if given.editor is None:
            parser.error(f'{given.part} needs an editor file; `sdd train "white hair"` makes one')
        if given.part == "speed":
            keep("speed", speed(given.editor, (given.pictures or [128])[0], given.rounds, given.seed))
        else:
            keep("ray", ray(given.editor, (given.pictures or [320])[0], given.seed))
    figures = json.loads(FIGURES.read_text("utf-8"))
    if "memory" in figures:
        plot(figures["memory"]["curves"])
    put("Bulk edits", section(figures))


if __name__ == "__main__":
    main()
