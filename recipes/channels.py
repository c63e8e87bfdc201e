"""What every channel of the generator's StyleSpace means to the CLIP that steers: statistics for global directions.

    python -m recipes.channels

Looks at each channel on some training pictures (arXiv 2103.17249, Section 6) with the shipped generator and CLIP, and
puts what it finds beside the CLIP. Needs: recipes.clip --which embedded, shipped (recipes.ship).
"""

from __future__ import annotations

import argparse

import torch
from safetensors.torch import save

from recipes.ship import WEIGHTS
from sdd.domains import library
from sdd.io.files import write_bytes
from sdd.io.progress import bars
from sdd.methods.clip import load
from sdd.methods.styleclip_global import PICTURES, key_of, look


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    args = parser.parse_args()
    domain, clip = library.get("avatars"), load(WEIGHTS / "clip")
    with bars(True) as report:
        found = look(domain, clip, 0, report, args.pictures)
    tensors: dict[str, torch.Tensor] = {"relevance": found.relevance.half(), "std": found.std}
    path = WEIGHTS / "clip" / "channels.safetensors"
    write_bytes(path, save(tensors, {"of": key_of(domain, clip)}))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
