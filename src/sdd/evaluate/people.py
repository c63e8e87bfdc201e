"""The published test people: the pictures of a benchmark that anybody may edit, and what each is to become.

A person is a seed and a number, so that nobody has to store an answer: it is drawn when it is asked for. A set is all
that `Published` says; its folder holds the sources and `people.json`, and no answers.

    DIR/people.json                 the set, and of each prompt its folder
    DIR/white-hair/0000.png …       the sources of the prompt "white hair"
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.domains.avatars.truth import AVATARS
from sdd.errors import SddError
from sdd.evaluate.prompts import PROMPTS, Prompt, prompt, subjects
from sdd.io.files import write_text
from sdd.io.progress import Report, silent
from sdd.training.run import slug

if TYPE_CHECKING:
    from sdd.domains.avatars.person import Avatar

LISTING, EDITION = "people.json", 1
SEED, COUNT = 20, 12  # of the published set, on whose people nothing of ours was chosen or reported
MOST = 1000  # people of a prompt
EVERY = tuple(asked.text for asked in PROMPTS)


@dataclass(frozen=True)
class Published:
    """A set of test people.

    Attributes:
        seed: of the held-out people. count: people of each prompt. prompts: texts of the benchmark's prompts.
    """

    seed: int = SEED
    count: int = COUNT
    prompts: tuple[str, ...] = EVERY

    @classmethod
    def make(cls, seed: int = SEED, count: int = COUNT, prompts: Sequence[str] | None = None) -> Published:
        """A set from what was asked for.

        Raises:
            SddError: an unknown prompt, or a number of people that no set has.
        """
        if not 1 <= count <= MOST:
            raise SddError(f"a set has 1 to {MOST} people of each prompt, not {count}")
        return cls(seed, count, tuple(dict.fromkeys(prompt(text).text for text in prompts or EVERY)))

    def people(self, asked: Prompt) -> list[Avatar]:
        """Those on whom a prompt is tried."""
        return subjects(asked, self.count, self.seed, AVATARS)

    @property
    def name(self) -> str:
        """What tells these people from others, in a few characters."""
        return f"edition {EDITION}, seed {self.seed}, {self.count} a prompt"


def folder_of(text: str) -> str:
    """The folder of a prompt's pictures."""
    return slug(text)


def file_of(number: int) -> str:
    """The file of a prompt's person."""
    return f"{number:04d}.png"


def write_people(asked: Published, out: Path, report: Report = silent) -> Path:
    """Write the sources and `people.json`; pictures that are there already are drawn again, the same.

    Returns:
        The listing.

    Raises:
        SddError: the folder cannot be written, or holds another set.
    """
    from sdd.io.pictures.write import save_png

    text = json.dumps(listing(asked), indent=1, ensure_ascii=False) + "\n"
    path = out / LISTING
    if path.is_file():
        if path.stat().st_size > len(text.encode()) or path.read_bytes() != text.encode():
            raise SddError(f"{path} is of another set of people; write this one to another folder")
    elif taken := next((p for said in asked.prompts if (p := out / folder_of(said)).exists()), None):
        raise SddError(f"{taken} is there and holds something else; write the people to another folder")
    write_text(path, text)  # first: stopped, the same command goes on
    total = asked.count * len(asked.prompts)
    for k, said in enumerate(asked.prompts):
        for i, person in enumerate(asked.people(prompt(said))):
            save_png(person.render(), out / folder_of(said) / file_of(i))
            report("people", k * asked.count + i + 1, total)
    return path


def listing(asked: Published) -> dict[str, Any]:
    """What `people.json` says: the set, and of each prompt what is asked and where its sources lie."""
    return {
        "edition": EDITION, "domain": "avatars", "seed": asked.seed, "people": asked.count,
        "how": "edit every picture of a folder towards its prompt; write the edit under the same name in a folder of "
        "the same name; score all with: sdd bench submit --edited FOLDER --name NAME",
        "prompts": [
            {
                "prompt": said, "source_prompt": prompt(said).before, "folder": folder_of(said),
                "pictures": [file_of(i) for i in range(asked.count)],
            }
            for said in asked.prompts
        ],
    }  # fmt: skip
