"""Put the trained models into the package, in half precision, and say how large they are.

    python -m recipes.ship

Takes the last finished stage of each recipe and leaves what is missing as it is. Model cards: `python -m
recipes.cards`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from recipes.data import home

LIMIT = 95e6  # bytes, all shipped weights together
WEIGHTS = Path(__file__).parents[1] / "src" / "sdd" / "weights" / "avatars"


def newest(*names: str) -> Path | None:
    """The first of these files or folders that exists."""
    return next((home() / name for name in names if (home() / name).exists()), None)


def forget_paths(folder: Path) -> None:
    """Take out of the models' JSON where they lay when they were trained: no library reads it."""
    for file in folder.rglob("*.json"):
        facts = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(facts, dict) and facts.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    for part in ("generator", "encoder"):
        found = newest(*(f"inversion-{stage}/{part}.safetensors" for stage in ("mapping", "detail", "joint")))
        if found:
            shutil.copy(found, WEIGHTS / f"{part}.safetensors")
    pairs = {
        "identity/identity.safetensors": "identity.safetensors",
        "judge/attributes.safetensors": "judge/attributes.safetensors",
        "clip-embedded/clip": "clip",
        "ddpm/net": "ddpm",
        "clip-judge/clip": "judge/clip",
        "instructed/unet.safetensors": "instructed/unet.safetensors",
        "diffae/diffae.safetensors": "diffae.safetensors",
    }
    for source, target in pairs.items():
        path = home() / source
        if path.is_dir():
            shutil.copytree(path, WEIGHTS / target, dirs_exist_ok=True)
        elif path.exists():
            (WEIGHTS / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, WEIGHTS / target)
    pipeline = home() / "teacher" / "pipeline"
    if pipeline.exists():
        from diffusers import StableDiffusionPipeline

        loaded = StableDiffusionPipeline.from_pretrained(str(pipeline), safety_checker=None)
        for net in (loaded.vae, loaded.unet, loaded.text_encoder):
            net.half()
        shutil.rmtree(WEIGHTS / "teacher", ignore_errors=True)
        loaded.save_pretrained(str(WEIGHTS / "teacher"), safe_serialization=True)
    forget_paths(WEIGHTS)
    total = 0
    for file in sorted(WEIGHTS.rglob("*")):
        if file.is_file():
            total += file.stat().st_size
            print(f"{file.stat().st_size / 1e6:8.2f} MB  {file.relative_to(WEIGHTS)}")
    print(f"{total / 1e6:8.2f} MB  in all")
    if total > LIMIT:
        raise SystemExit(f"that is more than {LIMIT / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
