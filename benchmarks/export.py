"""What editors lose by leaving (`sdd export`), and what they cost where they arrive.

    python benchmarks/export.py white-hair.safetensors --write docs/export.md
    python benchmarks/export.py white-hair.safetensors --site site/            # also in a browser, with playwright

Each exported form is compared with the editor on held-out pictures of its domain, at strengths 1, 0.5, -0.5 and 1.5 in
turn; the ONNX file with float32 weights must be within 1e-3. Times are of one picture on one thread, the median.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import sys
import tempfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import torch

from sdd.editor import Composition, Editor
from sdd.evaluate.machine import machine
from sdd.export import onnx_file, program
from sdd.export.loss import Loss, Run, measure
from sdd.export.precision import Precision, kept_as
from sdd.io.files import write_text

BEGIN, END = "<!-- begin: benchmarks/export.py -->", "<!-- end: benchmarks/export.py -->"
BOUND = 1e-3  # of the ONNX file with float32 weights
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def milliseconds(run: Run, picture: torch.Tensor, times: int = 15) -> float:
    """Of one picture, the median; the first three are not counted."""
    taken, strength = list[float](), torch.ones(1, 1)
    for _ in range(times + 3):
        begun = time.perf_counter()
        run(picture, strength)
        taken.append(1e3 * (time.perf_counter() - begun))
    return median(taken[3:])


def row(name: str, size: float, loss: Loss, ms: float) -> str:
    """A row of the table."""
    return f"| {name} | {size / 1e6:.1f} | {loss.largest:.1e} | {loss.psnr:.1f} | {ms:.0f} |"


def forms(editors: Composition, pictures: torch.Tensor) -> list[str]:
    """The table of exported files."""
    rows = ["| form | MB | largest difference | dB against the editor | ms a picture |", "|---|---|---|---|---|"]
    own = milliseconds(lambda x, s: editors(x, s[:, 0]), pictures[:1])
    rows.append(f"| the editor itself | | 0 | | {own:.0f} |")
    whole = onnx_file.model(editors).SerializeToString()
    for precision in Precision:
        import onnx

        data = kept_as(onnx.load_from_string(whole), precision).SerializeToString()
        run = onnx_file.runner(data, threads=1)
        loss = measure(editors, run, pictures)
        rows.append(row(f"ONNX, {precision} weights", len(data), loss, milliseconds(run, pictures[:1])))
        print(rows[-1], file=sys.stderr)
        if precision is Precision.float32 and loss.largest > BOUND:
            sys.exit(f"the ONNX file differs by {loss.largest:.2g}, more than {BOUND:g}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "editor.pt2"
        program.write(editors, path)
        run = program.runner(path)
        loss = measure(editors, run, pictures[:32])
        rows.append(
            row("torch.export program (32 pictures)", path.stat().st_size, loss, milliseconds(run, pictures[:1]))
        )
    return rows


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def browser(site: Path) -> str:
    """One sentence on how quickly the page edits in a browser here."""
    from playwright.sync_api import sync_playwright

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        page = chromium.new_page()
        begun = time.perf_counter()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector("body[data-edits='1']", timeout=120_000)
        first, body, taken = time.perf_counter() - begun, page.locator("body"), list[float]()
        for i in range(20):
            page.fill("#strength-0", f"{0.1 * (i % 15):.2f}")
            page.wait_for_selector(f"body[data-edits='{i + 2}']", timeout=60_000)
            taken.append(float(body.get_attribute("data-draw") or "nan"))
        opened, version = body.get_attribute("data-open"), chromium.version
        provider = body.get_attribute("data-provider")
        chromium.close()
    server.shutdown()
    return (
        f"In Chromium {version.split('.')[0]} ({provider}, one thread): first edit {first:.1f} s after the page "
        f"was asked for, {opened} ms to open a picture, {median(taken[3:]):.0f} ms whenever a slider "
        f"moves (median of 17)."
    )


def main() -> None:
    """Measure, print, and put into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("editor", type=Path)
    parser.add_argument("--count", type=int, default=256, help="pictures")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--site", type=Path, help="what `sdd export --format web` wrote")
    parser.add_argument("--write", type=Path, help="the page to put the result into")
    given = parser.parse_args()
    torch.set_num_threads(1)
    editors = Composition([Editor.load(given.editor)])
    assert editors.domain is not None, "of a domain with pictures"
    pictures = editors.domain.images(given.count, given.seed, "test")
    lines = forms(editors, pictures)
    if given.site is not None:
        lines += ["", browser(given.site)]
    prompt = editors.editors[0].prompt
    here, load = machine(), os.getloadavg()[0]
    where = f"{here['cpu']}, {here['cores']} cores with a load of {load:.1f}, one thread, torch {here['torch']}"
    lines += ["", f"“{prompt}”, {len(pictures)} held-out pictures, seed {given.seed}; {where}, {here['date']}."]
    text = "\n".join(lines)
    print(text)
    if given.write is not None:
        page = given.write.read_text()
        head, rest = page.split(BEGIN)
        write_text(given.write, f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
