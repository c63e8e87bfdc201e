"""The whole path on the shipped models: prompt, editor, pictures; with floors under what the edit achieves."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sdd.domains import avatars, library
from sdd.domains.avatars.person import Avatar, drawing_style
from sdd.domains.foreign import domain_warning
from sdd.editor import Editor
from sdd.io.pictures.read import read_fitted, read_image
from sdd.io.pictures.write import save_png
from sdd.manipulators.inversion import psnr

Command = subprocess.CompletedProcess[str]


def sdd(*arguments: object, cwd: Path, **options: Any) -> Command:
    command = [sys.executable, "-m", "sdd.apps.cli.main", *map(str, arguments)]
    # Two processes with as many threads as cores each wait for one another most of the time.
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=170, env=alone, **options
    )


def people(n: int) -> list[Avatar]:
    """Held-out people whose hair shows and is not white yet."""
    kept = [p for p in avatars.sample(200, 4242) if p.visible("hair_color") and not p.round_crop]
    return [p for p in kept if p.attributes["hair_color"] not in ("white", "platinum")][:n]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("avatars")


# What a newcomer's first command is, with fewer steps.
TRAIN = ("train", "white hair", "-o", "white-hair.safetensors", "--steps", "40", "--run", "run")


@pytest.fixture(scope="module")
def stopped(work: Path) -> tuple[int, str, list[str]]:
    """That command after Ctrl-C at its first checkpoint: its exit code, what it said, and the files it left."""
    command = [*TRAIN, "--set", "checkpoint_every=10"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sdd.apps.cli.main", *command], cwd=work, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell's background job ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    until = time.monotonic() + 150
    while not (work / "run" / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    return process.returncode, said, sorted(str(path.relative_to(work)) for path in work.rglob("*.*"))


@pytest.fixture(scope="module")
def editor(work: Path, stopped: tuple[int, str, list[str]]) -> Path:
    """What the same command makes then."""
    done = sdd(*TRAIN, "--set", "checkpoint_every=10", cwd=work)
    assert done.returncode == 0, done.stderr
    assert "white-hair.safetensors" in done.stdout
    steps = [json.loads(line)["step"] for line in (work / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 41))
    return work / "white-hair.safetensors"


@pytest.fixture(scope="module")
def edited(work: Path, editor: Path) -> tuple[list[Avatar], torch.Tensor]:
    """16 people and their edited pictures, through the command line."""
    sources = people(16)
    for index, person in enumerate(sources):
        save_png(person.render(), work / "in" / f"{index:02d}.png")
    done = sdd("edit", "in", "-e", editor, "-o", "out", cwd=work)
    assert done.returncode == 0 and "16 pictures" in done.stdout, done.stderr
    assert "warning" not in done.stderr
    return sources, torch.stack([read_image(work / "out" / f"{index:02d}.png") for index in range(16)])


def test_edited_pictures_are_whiter(edited: tuple[list[Avatar], torch.Tensor]) -> None:
    sources, after = edited
    before = torch.stack([person.render() for person in sources])
    assert ((after - before).mean((1, 2, 3)) > 0).float().mean() >= 0.75


def test_a_part_of_a_large_photo_is_edited_and_the_rest_is_exact(work: Path, editor: Path) -> None:
    """An avatar of 600 px in a photo of 1024 x 768 with grain: what the editor leaves alone keeps its own values."""
    random = np.random.default_rng(0)
    photo = random.integers(90, 160, (768, 1024, 3)).astype(np.uint8)
    person = people(16)[0].render(600)
    photo[100:700, 300:900] = ((person + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(photo).save(work / "photo.png")
    done = sdd("edit", "photo.png", "-e", editor, "-o", "photo-out.png", "--box", "300,100,900,700", cwd=work)
    assert done.returncode == 0, done.stderr
    edited = np.asarray(Image.open(work / "photo-out.png").convert("RGB"))
    assert edited.shape == photo.shape
    same = (edited == photo).all(-1)
    inside = np.zeros_like(same)
    inside[100:700, 300:900] = True
    assert same[~inside].all() and 0.5 < same[inside].mean() < 0.99


def test_white_hair_is_white_and_the_rest_is_kept(edited: tuple[list[Avatar], torch.Tensor]) -> None:
    sources, after = edited
    before = torch.stack([person.render() for person in sources])
    wanted = torch.stack([person.replace(hair_color="white").render() for person in sources])
    mask = ((before - wanted).abs().amax(1, keepdim=True) > 0.05).float()
    editability = 1 - ((after - wanted).abs() * mask).sum((1, 2, 3)) / ((before - wanted).abs() * mask).sum((1, 2, 3))
    gain = 1 - (after - wanted).abs().sum((1, 2, 3)) / (before - wanted).abs().sum((1, 2, 3))
    outside = 3 * (1 - mask).sum((1, 2, 3))
    changed = ((after - before) * (1 - mask)).square().sum((1, 2, 3))
    fidelity = 10 * torch.log10(4 * outside / changed.clamp_min(1e-6))
    assert editability.mean() >= 0.5, editability
    assert gain.median() >= 0.4, gain  # nearer to the right answer than the untouched source
    assert fidelity.mean() >= 32 and fidelity.min() >= 18, fidelity  # still the picture of each of them
    assert ((after == before).all(1).float().mean((1, 2)) > 0.3).all()  # and most of it bit for bit


def test_strength_goes_both_ways(editor: Path) -> None:
    tool = Editor.load(editor)
    batch = torch.stack([person.render() for person in people(8)])
    shown = {s: tool(batch, strength=s) for s in (-1.0, 0.0, 0.5, 1.0)}
    whiteness = {s: float(picture.mean()) for s, picture in shown.items()}
    assert whiteness[-1.0] < whiteness[0.0] < whiteness[0.5] < whiteness[1.0]
    assert torch.equal(shown[0.0], batch)
    drawn = tool(batch, strength=0.0, blend=False)
    assert torch.equal(drawn, tool.manipulator.draw(tool.manipulator.prepare(batch)).clamp(-1, 1))


def drawn_elsewhere(
    person: Avatar, size: int, transparent: bool = False, radius: int = 0, **options: Any
) -> Image.Image:
    """The picture another program would make of a person with DiceBear."""
    import resvg_py
    from dicebear import Avatar as Drawing

    settings = {**person.options(), **options, "borderRadius": radius}
    if transparent:
        del settings["backgroundColor"]
    svg = str(Drawing(drawing_style(), settings))
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png)))


@pytest.mark.parametrize("size", [64, 200, 1024])
@pytest.mark.parametrize("look", ["plain", "transparent", "round", "near", "far"])
def test_avatars_drawn_elsewhere_are_recognised(tmp_path: Path, size: int, look: str) -> None:
    domain = library.get("avatars")
    if domain.expected_psnr is None:
        raise AssertionError("the shipped generator does not say what its pictures invert with")
    how: dict[str, Any] = {
        "plain": {}, "transparent": {"transparent": True}, "round": {"radius": 50},
        "near": {"scale": 1.12, "translateY": 4.0}, "far": {"scale": 0.9, "translateX": -4.0},
    }[look]  # fmt: skip
    fitted = []
    for index, person in enumerate(people(4)):
        path = tmp_path / f"{index}.png"
        drawn_elsewhere(person, size, **how).save(path)
        fitted.append(read_fitted(path, domain.image_size, "pad"))
    batch = torch.stack(fitted)
    quality = psnr(domain.generator.synthesis(domain.encoder(batch)), batch)
    assert all(domain_warning(float(q), domain) is None for q in quality), quality


def test_real_input_of_every_kind_in_one_folder(work: Path, editor: Path) -> None:
    folder = work / "mixed"
    folder.mkdir()
    one, two, three = people(3)
    drawn_elsewhere(one, 512, transparent=True).save(folder / "a.webp", lossless=True)
    drawn_elsewhere(two, 1024, radius=50).save(folder / "b.png")
    wide = Image.new("RGB", (400, 256), tuple(three.pixels(256)[0, 0].tolist()))
    wide.paste(Image.fromarray(three.pixels(256)), (72, 0))
    wide.save(folder / "c.jpg", quality=95)
    done = sdd("edit", folder, "-e", editor, "-o", "mixed-out", "--background", "#b6e3f4", cwd=work)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (work / "mixed-out").iterdir()) == ["a.png", "b.png", "c.png"]


def test_a_photo_is_edited_with_a_warning(work: Path, editor: Path) -> None:
    photo = Path(__file__).parents[1] / "data" / "astronaut.jpg"
    done = sdd("edit", photo, "-e", editor, "-o", "photo-out", cwd=work)
    assert done.returncode == 0 and (work / "photo-out" / "astronaut.png").exists()
    assert "warning" in done.stderr and "dB" in done.stderr and "sdd domain add" in done.stderr


def test_one_cold_edit_is_quick(work: Path, editor: Path) -> None:
    save_png(people(1)[0].render(), work / "me.png")

    def spent() -> float:  # processor seconds, which a busy machine does not stretch
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    started = spent()
    assert sdd("edit", "me.png", "-e", editor, "-o", "cold", cwd=work).returncode == 0
    assert spent() - started <= 5


def test_show_tells_what_was_trained(work: Path, editor: Path) -> None:
    shown = sdd("show", editor, cwd=work).stdout
    assert "white hair" in shown and "avatars" in shown
    facts = json.loads(sdd("show", editor, "--json", cwd=work).stdout)[0]
    assert facts["hqs"]["timesteps"] and facts["timesteps"] and facts["figures"]


def test_control_c_keeps_the_checkpoint_and_the_same_command_resumes(
    stopped: tuple[int, str, list[str]], editor: Path
) -> None:
    code, said, left = stopped
    assert code == 130, said
    assert "resume" in said and "run" in said and "Traceback" not in said
    assert editor.name not in left and str(Path("run", "checkpoint.pt")) in left
    assert Editor.load(editor).prompt == "white hair"


def test_search_names_the_timesteps_and_words_outside_the_vocabulary(work: Path) -> None:
    done = sdd("search", "white hiar", "-n", "4", "-o", "hqs", cwd=work)
    assert done.returncode == 0 and "largest" in done.stdout, done.stderr
    assert "hiar" in done.stderr and "hair" in done.stderr
    assert (work / "hqs" / "hqs.png").exists() and json.loads((work / "hqs" / "hqs.json").read_text())["hqs"]
