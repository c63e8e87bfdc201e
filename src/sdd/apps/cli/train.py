"""Commands: search, train, demo."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app
from sdd.apps.cli.options import (
    CropRule,
    Device,
    DomainName,
    EncoderFile,
    GeneratorFile,
    IdentityFile,
    ImageFolder,
    LatentFile,
    Preset,
    Prompt,
    Seed,
    TeacherName,
    Vae,
    check_file,
    check_folder,
    check_prompt,
    find_domain,
    find_teacher,
    make_config,
    slugged,
    spread,
    warn_words,
    watched,
)
from sdd.apps.cli.say import listed, print_hqs, say
from sdd.domains.embedded import embedded
from sdd.errors import SddError

# The main job


@app.command(epilog='Example: sdd search "white hair" -o white-hair-hqs/')
def search(
    prompt: Prompt,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for the results; ./hqs-<prompt>/.")] = None,
    timesteps: Annotated[
        int | None, typer.Option(help="How many timesteps to score, evenly spread; by default every 50th.", min=2)
    ] = None,
    count: Annotated[int, typer.Option("-n", "--images", help="Source images to average over.", min=1)] = 12,
    scale: Annotated[float | None, typer.Option(help="Guidance scale; that of the default training.")] = None,
    domain: DomainName = None,
    teacher: TeacherName = None,
    vae: Vae = None,
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Score every timestep for a prompt (hybrid quality score): a table, hqs.json and hqs.png."""
    prompt = check_prompt(prompt)
    folder = out or Path(f"hqs-{slugged(prompt)}")
    check_folder(folder)
    from sdd import hqs
    from sdd.device import pick_device
    from sdd.io.files import write_text
    from sdd.training.config import DistillConfig

    where = pick_device(device)
    place = find_domain(domain, where)
    guide = find_teacher(teacher, vae, place, where)
    warn_words(guide, prompt)
    result = hqs.search(
        guide,
        place.images(count, seed, "train").to(where),
        prompt,
        timesteps=None if timesteps is None else spread(timesteps, guide.num_timesteps),
        scale=DistillConfig().scale if scale is None else scale,
        seed=seed,
        progress=watched(),
    )
    write_text(folder / "hqs.json", result.to_json() + "\n")
    result.plot(folder / "hqs.png")
    print_hqs(result)
    strategy = DistillConfig().timesteps
    try:
        say(f"a training takes t = {', '.join(map(str, result.timestep_set(strategy)))} ({strategy})")
    except SddError as error:  # the curve is an answer all the same, but no training could go by it
        terminal.warn(str(error))
    say(f"wrote {folder / 'hqs.json'} and {folder / 'hqs.png'}")


@app.command(epilog='Example: sdd train "white hair" -o white-hair.safetensors --levels medium,fine --set lr=0.002')
def train(
    prompt: Prompt,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The editor file; ./<prompt>.safetensors.")] = None,
    preset: Annotated[Preset, typer.Option(help="Ours, or the published hyperparameters.")] = Preset.default,
    guidance: Annotated[str | None, typer.Option(help="sds (the paper's), csd or dds.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Timesteps: largest, above:0.8, random or list:700,750.")] = None,
    levels: Annotated[str | None, typer.Option(help="Some of coarse,medium,fine; or auto.")] = None,
    steps: Annotated[str | None, typer.Option(help="Training steps; or auto, until converged.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of training options.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One training option, key=value; may be repeated.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run: checkpoints, log, grids; runs/<name>.")] = None,
    domain: DomainName = None,
    teacher: TeacherName = None,
    vae: Vae = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    identity: IdentityFile = None,
    images: ImageFolder = None,
    latents: LatentFile = None,
    crop: CropRule = None,
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Distil a prompt into an editor file. Ctrl-C keeps the last checkpoint; the same command resumes."""
    prompt = check_prompt(prompt)
    path = out or Path(f"{slugged(prompt)}.safetensors")
    check_file(path)
    options = make_config(preset, config, settings, guidance=guidance, timesteps=strategy, levels=levels, steps=steps)
    import sdd
    from sdd.device import pick_device

    where = pick_device(device)
    learned = {"images": images, "latents": latents}
    place = find_domain(domain, where, generator=generator, encoder=encoder, identity=identity, crop=crop, **learned)
    guide = None if teacher is None and vae is None else find_teacher(teacher, vae, place, where, options.precision)
    started = time.perf_counter()
    editor = sdd.distill(
        prompt,
        place,
        teacher=guide,
        config=options,
        seed=seed,
        out=path,
        run=run or "auto",
        device=where,
        progress=watched(),
    )
    info = editor.info
    say(
        f"wrote {path}: {info.figures.get('steps', 0):.0f} steps at t = {listed(info.timesteps)} in "
        f"{time.perf_counter() - started:.0f} s; try it with: sdd edit PICTURES -e {path} -o out/"
    )


@app.command(epilog="Example: sdd demo -o demo/")
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for everything.")] = Path("demo"),
    prompt: Annotated[str, typer.Option(help="What to train.")] = "white hair",
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """See it work: train one editor on the embedded avatars, edit 16 held-out ones, say where the pictures are."""
    prompt = check_prompt(prompt)
    check_folder(out)
    import sdd
    from sdd.apps.pictures import Wish, edit_pictures
    from sdd.device import pick_device
    from sdd.domains import avatars
    from sdd.editor import Editor
    from sdd.io.pictures.folder import Source, output_paths
    from sdd.io.pictures.read import read_image
    from sdd.io.pictures.write import grid, save_png

    where = pick_device(device)
    domain = embedded().to(where)
    say(f"training {prompt!r} on drawn avatars (held-out ones are edited afterwards) ...")
    started = time.perf_counter()
    path = out / f"{slugged(prompt)}.safetensors"
    sdd.distill(prompt, domain, seed=seed, out=path, run=out / "run", device=where, progress=watched())
    trained = time.perf_counter() - started
    # Only people whose hair the picture can show, and not white already: an edit of the others would show nothing.
    people = [p for p in avatars.sample(400, 1000 + seed) if p.visible("hair_color") and not p.round_crop]
    people = [p for p in people if p.attributes["hair_color"] not in ("white", "platinum")][:16]
    sources = []
    for index, person in enumerate(people):
        name = Path(f"avatar-{index:02d}.png")
        sources.append(Source(save_png(person.render(), out / "before" / name), name))
    outputs = output_paths(sources, out / "after")
    started = time.perf_counter()
    outcome = edit_pictures(sources, outputs, Editor.compose([Editor.load(path, domain)]), Wish())
    edited = time.perf_counter() - started
    rows = [read_image(s.path) for s in sources], [read_image(p) for p in outcome.written]
    order = [picture for start in range(0, len(people), 8) for row in rows for picture in row[start : start + 8]]
    sheet = save_png(grid(order, columns=8), out / "before-after.png")
    say(f"trained {path} in {trained:.0f} s and edited {len(people)} held-out avatars in {edited:.1f} s")
    say(f"before: {out / 'before'}/   after: {out / 'after'}/   side by side: {sheet}")
