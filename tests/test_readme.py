"""The README says what there is: its links lead somewhere, and its commands and options exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdd.apps.cli.main import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in re.sub(r"\\\n *", "", TEXT).splitlines() if line.startswith("    sdd ")]


def anchor(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_links_lead_somewhere():
    headings = {anchor(heading) for heading in re.findall(r"^## (.*)$", TEXT, re.M)}
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", TEXT) if "://" not in link]
    assert len(links) > 20
    for link in links:
        path, _, part = link.partition("#")
        assert (ROOT / path).exists() if path else part in headings, link


def test_ten_questions_are_answered():
    part = TEXT.partition("## Questions")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\*\*[^*]+\?\*\*", part, re.M)) == 10


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_their_options_exist(line):
    words = shlex.split(line, comments=True)[1:]
    group = 2 if words[0] in ("bench", "domain") else 1
    result = CliRunner().invoke(app, [*words[:group], "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, line
    missing = [word for word in words[group:] if re.match(r"--?[a-z]", word) and word not in result.output]
    assert not missing, f"{line}: there is no {missing}"


def test_the_commands_were_found():
    assert len(COMMANDS) > 20
