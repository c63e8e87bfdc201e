"""Measure the embedded domain, its teacher, its judge and its editors, on avatars nothing was trained on.

    python -m sdd.evaluate.benchmark reconstruction     encoder and generator: PSNR, attributes that survive
    python -m sdd.evaluate.benchmark framings           pictures framed otherwise, registered and as they are
    python -m sdd.evaluate.benchmark judge              the judge against the truth
    python -m sdd.evaluate.benchmark teacher            50 DDIM steps at guidance 5: does the judge find what was asked?
    python -m sdd.evaluate.benchmark editors            one editor for each prompt: success, side effects, gain, axioms
    python -m sdd.evaluate.benchmark ceiling            the right answers themselves, as generator and teacher have them
    python -m sdd.evaluate.benchmark ablation           each departure from the paper added and left out
    python -m sdd.evaluate.benchmark manipulators       the kinds of manipulator against each other
    python -m sdd.evaluate.benchmark methods            every method, its knob chosen by validation
    python -m sdd.evaluate.benchmark guidance           sds, csd, dds, pds and asd against each other
    python -m sdd.evaluate.benchmark search             S of every variant of the hybrid quality score
    python -m sdd.evaluate.benchmark sooner             a search that ends sooner against one of all pictures
    python -m sdd.evaluate.benchmark hqs                the hybrid quality score against measured gain; strategies
    python -m sdd.evaluate.benchmark speed              training, editing, start-up
    python -m sdd.evaluate.benchmark all                all but the ablation and the methods, which take hours

Every figure is printed and saved as JSON with seed, machine and date; `python -m sdd.evaluate.page` makes
docs/avatars.md of them. Editors are kept and used again as long as the generator, the teacher, the training options and
the code that trains are the same.
"""

from __future__ import annotations

from sdd.errors import SddError
from sdd.evaluate.command import CONSOLE, OUT, PICTURES, Kept, Out, Pictures, Quick, Seed, app
from sdd.evaluate.tables.ablation import VALIDATION, ablation_command
from sdd.evaluate.tables.ceiling import ceiling_command
from sdd.evaluate.tables.editors import editors_command
from sdd.evaluate.tables.framings import framings_command
from sdd.evaluate.tables.guidances import guidance_command
from sdd.evaluate.tables.judging import judge_command
from sdd.evaluate.tables.manipulators import manipulators_command
from sdd.evaluate.tables.methods import methods_command
from sdd.evaluate.tables.reconstruction import reconstruction_command
from sdd.evaluate.tables.scores import hqs_command
from sdd.evaluate.tables.search import search_command
from sdd.evaluate.tables.sooner import sooner_command
from sdd.evaluate.tables.speed import speed_command
from sdd.evaluate.tables.teaching import teacher_command
from sdd.memory import keep_memory

__all__ = ["ablation_command", "all_command", "main", "methods_command"]


@app.command("all")
def all_command(
    seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None, pictures: Pictures = PICTURES
) -> None:
    """Everything but the ablation and the methods, one after the other."""
    judge_command(None, seed, quick, out)
    reconstruction_command(None, seed, quick, out, pictures)
    framings_command(None, seed, quick, out, pictures)
    teacher_command(None, seed, quick, out, pictures)
    editors_command(None, seed, quick, out, kept, pictures)
    ceiling_command(None, seed, quick, out)
    manipulators_command(None, seed, quick, out, kept, pictures)
    guidance_command(None, VALIDATION, quick, out, kept)
    search_command(None, seed, quick, out)
    sooner_command(None, seed, quick, out)
    hqs_command(None, seed, quick, out, kept)
    speed_command(None, seed, quick, out, kept)


def main() -> None:
    """The command line; bad input is one sentence and exit code 2."""
    keep_memory()  # as `sdd` does, which is what is measured
    try:
        app()
    except SddError as error:
        CONSOLE.print(f"[red]{error}", highlight=False)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
