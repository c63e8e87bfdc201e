"""docs/reference.md: what users import, as its docstrings describe it.

python -m sdd.apps.reference
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import sdd
from sdd import methods
from sdd.domains import avatars, library
from sdd.domains.domain import Domain
from sdd.editor import Composition, Edit, Editor
from sdd.editor_file import EditorInfo
from sdd.io.files import write_text
from sdd.methods.protocol import Fitted, Method
from sdd.paper.hqs import HQS
from sdd.training.config import DistillConfig

PAGE = Path("docs/reference.md")
PARTS: dict[str, dict[str, Any]] = {
    "Editors": {"sdd.distill": sdd.distill, "sdd.Editor": Editor, "sdd.editor.Composition": Composition,
                "sdd.editor.Edit": Edit, "sdd.editor_file.EditorInfo": EditorInfo,
                "sdd.training.config.DistillConfig": DistillConfig},
    "Pictures": {"sdd.open": sdd.open, "sdd.save": sdd.save, "sdd.compare": sdd.compare},
    "The search": {"sdd.search": sdd.search, "sdd.paper.hqs.HQS": HQS},
    "Methods": {"sdd.methods.get": methods.get, "sdd.methods.protocol.Method": Method,
                "sdd.methods.protocol.Fitted": Fitted},
    "Domains": {"sdd.domains.domain.Domain": Domain, "sdd.domains.library.get": library.get,
                "sdd.domains.library.add": library.add, "sdd.domains.avatars.sample": avatars.sample,
                "sdd.domains.avatars.render": avatars.render},
    "Errors": {"sdd.SddError": sdd.SddError},
}  # fmt: skip
WIDE = 100  # characters of a signature on one line
CALLED = ("__call__", "__add__")  # of a class, beside what has no underscore


def page() -> str:
    """The page, Markdown."""
    lines = ["# Reference", "", "Written by `python -m sdd.apps.reference` from the docstrings. How to use it all:"]
    lines += ["[api.md](api.md).", ""]
    for title, things in PARTS.items():
        lines += [f"## {title}", ""]
        for name, thing in things.items():
            lines += described(name, thing, 3)
            if inspect.isclass(thing):
                for member, value in vars(thing).items():
                    if (not member.startswith("_") or member in CALLED) and _is_ours(value):
                        lines += described(f"{name.split('.')[-1]}.{member}", _function(value), 4)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def described(name: str, thing: Any, level: int) -> list[str]:
    """A heading, the signature where there is one, and the docstring, its sections as lists."""
    lines = [f"{'#' * level} `{name}`", ""]
    if inspect.isfunction(thing):
        lines += ["```python", name.split(".")[-1] + _signature(thing), "```", ""]
    in_section = False
    for line in inspect.cleandoc(inspect.getdoc(thing) or "").splitlines():
        depth, text = len(line) - len(line.lstrip()), line.strip()
        if re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields):", text) and depth == 0:
            in_section = True
            lines += ["", f"*{text[:-1]}*", ""]
        elif in_section and depth == 4 and re.match(r"[\w, *]+: ", text):
            head, _, rest = text.partition(": ")
            lines.append(f"* `{head}`: {rest}")
        elif in_section and depth:
            lines.append(f"  {text}" if lines[-1].startswith(("* ", "  ")) else text)
        else:
            in_section = in_section and not text
            lines.append(line)
    return [*lines, ""]


def _signature(thing: Any) -> str:
    """As it is written: annotations without quotes, a long one with a parameter a line."""
    signature = inspect.signature(thing)
    whole = _plain(str(signature))
    if len(whole) < WIDE:
        return whole
    parts = [_plain(str(parameter)) for parameter in signature.parameters.values()]
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    return "(\n" + "".join(f"    {part},\n" for part in parts) + ")" + whole.rpartition(")")[2]


def _plain(text: str) -> str:
    """Without the quotes of annotations and the addresses of functions."""
    text = re.sub(r"<function ([\w.]+) at 0x[0-9a-f]+>", r"\1", text)
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def _is_ours(value: Any) -> bool:
    """Whether a member is a function or a property with a docstring of its own."""
    thing = _function(value)
    return bool(getattr(thing, "__doc__", None)) and (inspect.isfunction(thing) or isinstance(value, property))


def _function(value: Any) -> Any:
    """What stands behind a static or class method."""
    return getattr(value, "__func__", value)


if __name__ == "__main__":
    write_text(PAGE, page())
    print(f"wrote {PAGE}")
