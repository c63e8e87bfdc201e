"""The command line: search, train, edit, show, sample, demo; and import, inspect, models, domain for models you bring.

Nothing heavier than typer is imported here: torch and the rest come with the command that needs them, so that
`sdd --help` is instant.
"""

from __future__ import annotations

import json
import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd.apps import terminal
from sdd.errors import SddError

if TYPE_CHECKING:
    import torch

    from sdd.config import DistillConfig
    from sdd.domains import Domain
    from sdd.editor import Composition, EditorInfo
    from sdd.hqs import HQS
    from sdd.io.images import Source
    from sdd.teacher import Teacher

app = typer.Typer(
    cls=terminal.Guarded,
    help="Turn a sentence into a one-pass image editor (Selective Diffusion Distillation, arXiv 2307.08448).",
    epilog='Start with: sdd train "white hair" -o white-hair.safetensors, then '
    "sdd edit me.png -e white-hair.safetensors -o out/",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
domain_app = typer.Typer(help="Save a domain made of your own models under a name.", no_args_is_help=True)
app.add_typer(domain_app, name="domain", epilog="Example: sdd domain add ffhq --generator ffhq.pt --encoder e4e.pt")


class Crop(StrEnum):
    """Which part of a photo a domain's generator knows."""

    face = "face"
    centre = "centre"
    car = "car"


class Preset(StrEnum):
    """Named sets of training options."""

    default = "default"
    reference = "reference"


class Split(StrEnum):
    """Pictures the shipped models were trained on, or held out."""

    train = "train"
    test = "test"


Prompt = Annotated[str, typer.Argument(help='What edited pictures should show, "white hair" for instance.')]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0, max=2**62 - 1)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; CUDA if there is one, else the CPU.")]
DomainName = Annotated[str | None, typer.Option("--domain", help="Name of a domain; avatars if nothing else is given.")]
TeacherName = Annotated[str | None, typer.Option(help="Diffusion model: folder, file, hub id or name (sdd models).")]
Vae = Annotated[str | None, typer.Option(help="Another autoencoder for the teacher: folder or hub id.")]
GeneratorFile = Annotated[str | None, typer.Option(help="StyleGAN2 file or name, instead of a saved domain.")]
EncoderFile = Annotated[str | None, typer.Option(help="e4e or pSp encoder file or name.")]
IdentityFile = Annotated[str | None, typer.Option(help="IR-SE50 file or name, for the identity loss.")]
ImageFolder = Annotated[str | None, typer.Option(help="Folder of photos of the domain to learn on.")]
LatentFile = Annotated[str | None, typer.Option(help="File of W+ codes to learn on instead of photos.")]
CropRule = Annotated[Crop | None, typer.Option(help="Which part of a photo the generator knows.")]


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
    prompt = _prompt(prompt)
    folder = out or Path(f"hqs-{_slug(prompt)}")
    _check_folder(folder)
    from sdd import hqs
    from sdd.config import DistillConfig
    from sdd.device import pick_device
    from sdd.io.files import write_text

    where = pick_device(device)
    place = _domain(domain, where)
    guide = _teacher(teacher, vae, place, where)
    _warn_words(guide, prompt)
    result = hqs.search(
        guide,
        place.images(count, seed, "train").to(where),
        prompt,
        timesteps=None if timesteps is None else _spread(timesteps, guide.num_timesteps),
        scale=DistillConfig().scale if scale is None else scale,
        seed=seed,
        progress=_watched(),
    )
    write_text(folder / "hqs.json", result.to_json() + "\n")
    result.plot(folder / "hqs.png")
    _print_hqs(result)
    strategy = DistillConfig().timesteps
    try:
        _say(f"a training takes t = {', '.join(map(str, result.timestep_set(strategy)))} ({strategy})")
    except SddError as error:  # the curve is an answer all the same, but no training could go by it
        terminal.warn(str(error))
    _say(f"wrote {folder / 'hqs.json'} and {folder / 'hqs.png'}")


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
    prompt = _prompt(prompt)
    path = out or Path(f"{_slug(prompt)}.safetensors")
    _check_file(path)
    options = _config(preset, config, settings, guidance=guidance, timesteps=strategy, levels=levels, steps=steps)
    import sdd
    from sdd.device import pick_device

    where = pick_device(device)
    learned = {"images": images, "latents": latents}
    place = _domain(domain, where, generator=generator, encoder=encoder, identity=identity, crop=crop, **learned)
    guide = None if teacher is None and vae is None else _teacher(teacher, vae, place, where, options.precision)
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
        progress=_watched(),
    )
    info = editor.info
    _say(
        f"wrote {path}: {info.figures.get('steps', 0):.0f} steps at t = {_list(info.timesteps)} in "
        f"{time.perf_counter() - started:.0f} s; try it with: sdd edit PICTURES -e {path} -o out/"
    )


@app.command(epilog="Example: sdd edit me.png folder/ -e white-hair.safetensors -o out/ --strength 0.8")
def edit(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    editors: Annotated[list[Path], typer.Option("-e", "--editor", help="Editor file; several are applied together.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("edited"),
    strength: Annotated[
        list[float] | None,
        typer.Option(help="1: as trained; 0: none; above 1: more; below 0: reversed. One, or one for each -e."),
    ] = None,
    levels: Annotated[str | None, typer.Option(help="Change only some of coarse,medium,fine.")] = None,
    refine: Annotated[int, typer.Option(help="Optimisation steps per picture for a closer inversion.", min=0)] = 0,
    face: Annotated[str, typer.Option(help="Which face of a photo: 1 is the largest; or all.")] = "1",
    box: Annotated[str | None, typer.Option(help="Edit this part instead: left,top,right,bottom in pixels.")] = None,
    paste_back: Annotated[
        bool, typer.Option("--paste-back", help="Blend the edit into the whole picture at its own resolution.")
    ] = False,
    background: Annotated[str, typer.Option(help="Colour behind transparent parts: a name or #rrggbb.")] = "white",
    domain: DomainName = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    crop: CropRule = None,
    device: Device = None,
) -> None:
    """Edit pictures in one forward pass each; results are PNG, inputs are never overwritten."""
    from sdd.io import images

    images.parse_colour(background)
    sources = images.find(pictures, skip=out)
    _check_folder(out)
    from sdd.apps.pictures import Wish, edit_pictures
    from sdd.device import pick_device

    wish = Wish(
        strengths=tuple(strength or (1.0,)),
        levels=_levels(levels),
        refine=refine,
        background=background,
        face=face,
        box=_box(box),
        paste_back=paste_back,
    )
    together = _editors(editors, domain, pick_device(device), generator=generator, encoder=encoder, crop=crop)
    outputs = images.output_paths(sources, out)
    with terminal.progress() as bar:
        task = bar.add_task("edit", total=len(sources))
        outcome = edit_pictures(sources, outputs, together, wish, lambda n: bar.update(task, advance=n))
    for sentence in outcome.warnings[:10]:
        terminal.warn(sentence)
    if len(outcome.warnings) > 10:
        terminal.warn(f"{len(outcome.warnings) - 10} more pictures are not of the domain either")
    for sentence in outcome.broken:
        terminal.fail(sentence)
    if not outcome.written:
        raise typer.Exit(terminal.BAD_INPUT)
    edited = len(sources) - len(outcome.broken)
    quality = sum(outcome.psnr) / len(outcome.psnr)
    what = str(outcome.written[0]) if len(outcome.written) == 1 else f"{len(outcome.written)} pictures in {out}/"
    _say(f"wrote {what} (inversion {quality:.1f} dB{' on average' if edited > 1 else ''})")
    if outcome.broken:
        _say(f"{edited} of {len(sources)} pictures were edited; {len(outcome.broken)} could not be, see above")
        raise typer.Exit(terminal.PARTLY)


@app.command(epilog="Example: sdd show white-hair.safetensors")
def show(
    editors: Annotated[list[Path], typer.Argument(help="Editor files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything the file says, as JSON.")] = False,
) -> None:
    """Say what an editor file is: prompt, timesteps, HQS curve, figures, versions, licence notes."""
    from sdd.editor import Editor

    infos = [(path, Editor.load(path).info) for path in editors]
    if as_json:
        _say(json.dumps([info.model_dump(mode="json") for _, info in infos], indent=1, ensure_ascii=False))
        return
    for path, info in infos:
        _print_editor(path, info)


@app.command(epilog="Example: sdd sample avatars -n 16 --seed 7 -o samples/")
def sample(
    domain: Annotated[str, typer.Argument(help="Name of a domain.")] = "avatars",
    count: Annotated[int, typer.Option("-n", "--count", help="How many pictures.", min=1)] = 16,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for pictures and samples.json.")] = Path("samples"),
    size: Annotated[int, typer.Option(help="Pixels, for avatars.", min=16, max=4096)] = 128,
    split: Annotated[Split, typer.Option(help="Held-out pictures, or those trained on.")] = Split.test,
) -> None:
    """Write pictures of a domain, with captions and attributes where they are known, and a grid of them all."""
    _check_folder(out)
    from sdd import domains
    from sdd.io import images
    from sdd.io.files import write_text

    facts: list[dict[str, Any]] = []
    if domain == "avatars":
        from sdd.domains import avatars

        people = avatars.sample(count, seed, split.value)
        tensors = [person.render(size) for person in people]
        facts = [{"caption": person.caption(), "attributes": person.attributes} for person in people]
    else:
        tensors = list(domains.get(domain).images(count, seed, split.value))
        facts = [{} for _ in tensors]
    names = [f"{domain}-{index:04d}.png" for index in range(len(tensors))]
    for name, tensor in zip(names, tensors, strict=True):
        images.save_png(tensor, out / name)
    listing = [{"file": name, **fact} for name, fact in zip(names, facts, strict=True)]
    write_text(out / "samples.json", json.dumps(listing, indent=1, ensure_ascii=False) + "\n")
    # Beside the folder, not in it, so that `sdd edit` of the folder edits the pictures alone.
    sheet = out.absolute().with_name(f"{out.absolute().name}-grid.png")
    images.save_png(images.grid(tensors, labels=[str(index) for index in range(len(tensors))]), sheet)
    _say(f"wrote {len(names)} pictures and samples.json in {out}/, and all at a glance in {sheet}")


@app.command(epilog="Example: sdd demo -o demo/")
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for everything.")] = Path("demo"),
    prompt: Annotated[str, typer.Option(help="What to train.")] = "white hair",
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """See it work: train one editor on the embedded avatars, edit 16 held-out ones, say where the pictures are."""
    prompt = _prompt(prompt)
    _check_folder(out)
    import sdd
    from sdd import domains
    from sdd.apps.pictures import Wish, edit_pictures
    from sdd.device import pick_device
    from sdd.domains import avatars
    from sdd.editor import Editor
    from sdd.io import images

    where = pick_device(device)
    domain = domains.get("avatars", where)
    _say(f"training {prompt!r} on drawn avatars (held-out ones are edited afterwards) ...")
    started = time.perf_counter()
    path = out / f"{_slug(prompt)}.safetensors"
    sdd.distill(prompt, domain, seed=seed, out=path, run=out / "run", device=where, progress=_watched())
    trained = time.perf_counter() - started
    # Only people whose hair the picture can show, and not white already: an edit of the others would show nothing.
    people = [p for p in avatars.sample(400, 1000 + seed) if p.visible("hair_color") and not p.round_crop]
    people = [p for p in people if p.attributes["hair_color"] not in ("white", "platinum")][:16]
    sources = []
    for index, person in enumerate(people):
        name = Path(f"avatar-{index:02d}.png")
        sources.append(images.Source(images.save_png(person.render(), out / "before" / name), name))
    outputs = images.output_paths(sources, out / "after")
    started = time.perf_counter()
    outcome = edit_pictures(sources, outputs, Editor.compose([Editor.load(path, domain)]), Wish())
    edited = time.perf_counter() - started
    rows = [images.read_image(s.path) for s in sources], [images.read_image(p) for p in outcome.written]
    order = [picture for start in range(0, len(people), 8) for row in rows for picture in row[start : start + 8]]
    grid = images.save_png(images.grid(order, columns=8), out / "before-after.png")
    _say(f"trained {path} in {trained:.0f} s and edited {len(people)} held-out avatars in {edited:.1f} s")
    _say(f"before: {out / 'before'}/   after: {out / 'after'}/   side by side: {grid}")


# Models you bring


@app.command("import", epilog="Example: sdd import white_hair.pt --generator ffhq.pt -o white-hair.safetensors")
def import_(
    mapper: Annotated[Path, typer.Argument(help="A mapper trained with the published SDD or with StyleCLIP.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The editor file; <name>.safetensors.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The text it was trained for, if the file does not say.")] = None,
    domain: DomainName = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    identity: IdentityFile = None,
    crop: CropRule = None,
) -> None:
    """Turn a published mapper into an editor file."""
    path = out or Path(f"{mapper.stem}.safetensors")
    _check_file(path)
    if path.exists() and mapper.exists() and path.samefile(mapper):
        raise SddError(f"{path} is the file to import, which is not overwritten; name another with -o")
    from sdd.apps.imports import import_mapper, read_mapper

    found = read_mapper(mapper)
    if domain is None and generator is None:
        if "decoder" not in found.parts:
            raise SddError("a mapper belongs to the generator it was trained for; give it with --generator or --domain")
        generator = str(mapper)  # StyleCLIP keeps both in one file
    place = _domain(domain, "cpu", generator=generator, encoder=encoder, identity=identity, crop=crop)
    editor = import_mapper(mapper, found, place, prompt)
    editor.save(path)
    _say(f"wrote {path}: {editor.info.mapper.get('kind')} mapper for {editor.prompt!r}, domain {editor.info.domain}")


@app.command("inspect", epilog="Example: sdd inspect stylegan2-ffhq-config-f.pt")
def inspect_(
    paths: Annotated[list[Path], typer.Argument(help="Checkpoints: .pt, .pkl, .ckpt, .safetensors, folders.")],
    every: Annotated[bool, typer.Option("--all", help="List every tensor, not the first and last few.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what a checkpoint is, its shapes and hyperparameters, without executing anything in it."""
    from dataclasses import asdict

    from sdd.io.checkpoints import inspect, render

    for path in paths:
        found = inspect(path)
        if as_json:
            _say(json.dumps(asdict(found), indent=1, ensure_ascii=False, default=str))
        else:
            _print(render(found, every))


@app.command(epilog="Example: sdd models")
def models(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the models known by name: what they are, licence, where they come from, whether they are here."""
    from sdd.io import zoo

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name, "kind": entry.kind, "layout": entry.layout, "licence": entry.licence,
            "size": entry.size, "sha256": entry.sha256, "source": entry.source,
            "here": None if (here := entry.cached()) is None else str(here),
        }
        for entry in zoo.ENTRIES.values()
    ]  # fmt: skip
    if as_json:
        _say(json.dumps(rows, indent=1))
        return
    from rich.table import Table

    table = Table("name", "kind", "size", "here", "licence", "source", box=None, pad_edge=False)
    for row in rows:
        size = f"{row['size'] / 1e6:.0f} MB" if row["size"] else ""
        table.add_row(row["name"], row["kind"], size, "yes" if row["here"] else "", row["licence"], row["source"])
    _print(table)
    _say(f"models that live on no hub go into {zoo.models_folder()}")


@domain_app.command(
    "add", epilog="Example: sdd domain add ffhq --generator stylegan2-ffhq-config-f.pt --encoder e4e_ffhq_encode.pt"
)
def domain_add(
    name: Annotated[str, typer.Argument(help="Its name; parts not given come from the zoo if it knows the name.")],
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    identity: IdentityFile = None,
    images: ImageFolder = None,
    latents: LatentFile = None,
    crop: CropRule = None,
    teacher: TeacherName = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a domain of this name.")] = False,
) -> None:
    """Save a domain under a name, after loading its parts once to see that they fit together."""
    from sdd.domains import folder

    parts = {
        "generator": generator, "encoder": encoder, "identity": identity, "images": images, "latents": latents,
        "crop": crop.value if crop else None, "teacher": teacher,
    }  # fmt: skip
    domain = folder.add(name, parts, replace)
    quality = "" if domain.expected_psnr is None else f", inverts its own pictures at {domain.expected_psnr:.1f} dB"
    _say(f"saved domain {name}: {domain.image_size} px, generator {domain.generator_hash[:12]}{quality}")


@domain_app.command("list", epilog="Example: sdd domain list")
def domain_list() -> None:
    """List the domains there are."""
    from sdd import domains

    for name in domains.names():
        _say(name)


@domain_app.command("show", epilog="Example: sdd domain show ffhq")
def domain_show(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Say what a domain is made of."""
    from sdd import domains
    from sdd.domains import folder

    if name == "avatars":
        place = domains.get(name)
        parts: dict[str, Any] = {"weights": domains.weights_folder(name), "teacher": place.teacher}
        parts |= {"expected_psnr": place.expected_psnr, "generator_hash": place.generator_hash}
    else:
        parts = folder.read(name).model_dump(exclude_none=True)
    for key, value in parts.items():
        _say(f"{key:15} {value}")


@domain_app.command("remove", epilog="Example: sdd domain remove ffhq")
def domain_remove(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Forget a saved domain; its files stay where they are."""
    from sdd.domains import folder

    folder.remove(name)
    _say(f"forgot domain {name}")


# From options to objects


def _prompt(prompt: str) -> str:
    if not prompt.strip():
        raise SddError('the prompt is empty; say what the edited pictures should show, "white hair" for instance')
    return prompt.strip()


def _slug(text: str) -> str:
    from sdd.run import slug

    return slug(text)


def _spread(count: int, total: int) -> list[int]:
    """`count` timesteps of `total`, evenly spread, neither end included unless all are asked for."""
    return sorted({int((i + 0.5) * total / count) for i in range(count)})


def _domain(name: str | None, device: torch.device | str, **parts: Any) -> Domain:
    """The domain of that name, or of those parts, or a saved one with some parts replaced."""
    from sdd import domains

    given = {key: str(value) for key, value in parts.items() if value is not None}
    if not given:
        return domains.get(name or "avatars", device)
    from sdd.domains import folder

    if "generator" in given:
        if name is not None:
            raise SddError("give either --domain or --generator, not both; `sdd domain add` saves parts under a name")
        return folder.assemble(folder.Parts.model_validate(given)).to(device)
    if name in (None, "avatars"):
        if set(given) != {"images"}:
            parts_given = ", ".join(f"--{key}" for key in given if key != "images")
            raise SddError(f"{parts_given} needs --generator, or --domain with a domain of your own")
        from sdd.io import images

        sources = images.find([given["images"]])
        return _with_images(domains.get("avatars", device), sources)
    if name not in folder.names():
        return domains.get(str(name), device)  # says which there are
    return folder.assemble(folder.read(str(name)).model_copy(update=given), name).to(device)


def _with_images(domain: Domain, sources: list[Source]) -> Domain:
    """The domain with the user's own pictures to learn on."""
    import torch

    from sdd.io import images

    def draw(n: int, seed: int, split: str) -> torch.Tensor:
        order = torch.randperm(len(sources), generator=torch.Generator().manual_seed(seed))[:n].tolist()
        return torch.stack([images.read_fitted(sources[i].path, domain.image_size, "pad") for i in order])

    domain.draw = draw
    return domain


def _teacher(
    name: str | None, vae: str | None, domain: Domain, device: torch.device, precision: str = "float32"
) -> Teacher:
    import torch

    from sdd.io import zoo
    from sdd.teacher import load_teacher

    wanted = domain.teacher if name is None else name
    if wanted in zoo.ENTRIES and not Path(wanted).exists():
        wanted = str(zoo.resolve(wanted))
    return load_teacher(wanted, device, getattr(torch, precision), vae=vae)


def _warn_words(teacher: Teacher, prompt: str) -> None:
    for word, near in teacher.unknown_words(prompt):
        nearest = near if isinstance(near, str) else ", ".join(near)
        hint = f"; the nearest words it knows are {nearest}" if nearest else ""
        terminal.warn(f"the teacher does not know the word {word!r}{hint}")


def _config(preset: Preset, file: Path | None, settings: list[str] | None, **options: Any) -> DistillConfig:
    from sdd.config import DistillConfig

    if file is not None and preset is not Preset.default:
        raise SddError('give either --preset or --config; a TOML file may begin with preset = "reference"')
    overrides = {key: value for key, value in options.items() if value is not None}
    if isinstance(levels := overrides.get("levels"), str) and levels != "auto":
        overrides["levels"] = _levels(levels)
    if str(overrides.get("steps", "")).isdecimal():
        overrides["steps"] = int(overrides["steps"])
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise SddError(f"--set takes key=value, not {setting!r}")
        overrides[key.strip()] = _value(value.strip())
    return DistillConfig.make(preset.value if file is None else file, **overrides)


def _value(text: str) -> Any:
    """A value as TOML reads it (3e-4, true, [1, 2]); anything else is the text itself."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _levels(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = ("coarse", "medium", "fine")
    if unknown := [name for name in names if name not in known]:
        raise SddError(f"unknown level {unknown[0]!r}; levels are some of {', '.join(known)}")
    if not names:
        raise SddError(f"no level was given; levels are some of {', '.join(known)}")
    return names


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        left, top, right, bottom = (float(number) for number in text.split(","))
    except ValueError as error:
        raise SddError(f"--box takes left,top,right,bottom in pixels, not {text!r}") from error
    return left, top, right, bottom


def _editors(paths: list[Path], domain: str | None, device: torch.device, **parts: Any) -> Composition:
    """The editors, in the domain the user names, or the one they were made for, found by name or by generator."""
    from sdd import domains
    from sdd.editor import Editor

    info = Editor.load(paths[0]).info
    if domain is not None or any(part is not None for part in parts.values()):
        place = _domain(domain, device, **parts)
    else:
        place = domains.matching(info.domain, info.generator, device)
    return Editor.compose([Editor.load(path, place) for path in paths])


# What is checked before long work, and what is said


def _check_folder(folder: Path) -> None:
    """Refuse an output folder that cannot be made or written, before any work is done for it."""
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise SddError(f"cannot write to {folder}: {existing} is a file, not a folder; choose another output folder")
    import tempfile

    try:  # permissions say little about read-only disks, containers and the superuser: try it
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise SddError(f"cannot write to {folder} ({error.strerror}); choose another output folder") from error


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise SddError(f"{path} is a folder; name a file for the editor, {path / 'editor.safetensors'} for instance")
    _check_folder(path.parent)


def _watched() -> bool:
    return sys.stderr.isatty()


def _say(text: str) -> None:
    print(text)


def _print(renderable: Any) -> None:
    terminal.console().print(renderable)


def _list(timesteps: list[int]) -> str:
    shown = ", ".join(map(str, timesteps[:5]))
    return shown if len(timesteps) <= 5 else f"{shown}, ... ({len(timesteps)} timesteps)"


def _print_hqs(scores: HQS) -> None:
    from rich.table import Table

    table = Table("t", "N̄ (strength)", "H̄ (entropy)", "HQS", "", box=None, pad_edge=False)
    values = scores.score.tolist()
    best, low = max(values), min(values)
    curves = zip(scores.timesteps, scores.norm_bar.tolist(), scores.entropy_bar.tolist(), values, strict=True)
    for t, norm, entropy, score in curves:
        bar = "█" * round(24 * (score - low) / ((best - low) or 1.0))
        mark = " ← largest" if score == best else ""
        table.add_row(str(t), f"{norm:.4f}", f"{entropy:.4f}", f"{score:.4f}", bar + mark)
    _print(table)


def _print_editor(path: Path, info: EditorInfo) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, title=str(path), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, value: str) -> None:
        if value:
            table.add_row(name, Text(value))  # Text: what a file says is shown as it is, never as markup

    row("prompt", info.prompt)
    row("domain", f"{info.domain} (generator {info.generator[:12]})")
    row("mapper", ", ".join(f"{key} {value}" for key, value in info.mapper.items()))
    row("strength", f"{info.strength:g} times the mapper's change at --strength 1")
    row("teacher", info.teacher)
    row("timesteps", _list(info.timesteps))
    if info.hqs and info.hqs.get("hqs"):
        steps = info.hqs["timesteps"]
        row("HQS", f"{terminal.sparkline(info.hqs['hqs'])}  t = {steps[0]} to {steps[-1]}")
    if info.config:
        shown = [key for key in ("guidance", "scale", "steps", "lr", "batch") if key in info.config]
        row("training", ", ".join(f"{key} {info.config[key]}" for key in shown))
    row("seed", "" if info.seed is None else str(info.seed))
    row("figures", ", ".join(f"{key} {value:g}" for key, value in info.figures.items()))
    row("versions", ", ".join(f"{key} {value}" for key, value in info.versions.items()))
    row("notes", "\n".join(info.notes))
    _print(table)


def main() -> None:
    """Entry point of the command `sdd`."""
    # Idle threads that spin long for work take the cores from another job: an edit beside one took twice as long.
    # Those that never spin wake up late: a training alone took a fifth longer. So they spin for some microseconds.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # their warnings are for their developers; errors still speak
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no sparklines gets question marks
    try:
        app()
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(terminal.fail("stopped", terminal.INTERRUPTED))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
