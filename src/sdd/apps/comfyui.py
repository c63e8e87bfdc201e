"""A ComfyUI node that edits pictures with the editors in ComfyUI/models/sdd/: copy this one file into custom_nodes/.

    pip install sdd  # into ComfyUI's Python
    cp "$(python -c 'import sdd; print(sdd.__path__[0])')/apps/comfyui.py" ComfyUI/custom_nodes/sdd_edit.py

It is written for ComfyUI's V3 schema (docs.comfy.org/custom-nodes/v3_migration).
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import folder_paths  # ComfyUI's own: where its models lie
from comfy_api.latest import ComfyExtension, io

NONE = "(put editors into models/sdd)"


def editors_folder() -> Path:
    """Where editor files are looked for."""
    return Path(folder_paths.models_dir) / "sdd"


def editor_names() -> list[str]:
    """The editor files there, without folders."""
    return sorted(path.name for path in editors_folder().glob("*.safetensors")) or [NONE]


@lru_cache(maxsize=4)
def load(path: str, changed: int, device: str) -> Any:
    """An editor, read once for as long as its file does not change (`changed`, ns)."""
    import sdd

    return sdd.Editor.load(path).to(device)


class SddEdit(io.ComfyNode):
    """Edits a batch of pictures in one forward pass."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node takes and gives."""
        return io.Schema(
            node_id="SddEdit",
            display_name="Edit (sdd)",
            category="image/sdd",
            description="Edits pictures with an sdd editor in one pass; what was not edited stays as it was.",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("editor", options=editor_names(), tooltip="A file in ComfyUI/models/sdd."),
                io.Float.Input(
                    "strength", default=1.0, min=-3.0, max=3.0, step=0.05,
                    tooltip="0: none; 1: as trained; below 0: reversed.",
                ),
                io.Boolean.Input("blend", default=True, tooltip="Lay the edit into the picture; or draw it anew."),
            ],
            outputs=[io.Image.Output("edited")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, editor: str, **_: Any) -> bool | str:
        """True, or one sentence: a workflow may name an editor that is not here."""
        if editor in editor_names() and editor != NONE:
            return True
        return f"there is no editor {editor[:100]!r} in {editors_folder()}; put the .safetensors file there"

    @classmethod
    def execute(cls, image: Any, editor: str, strength: float, blend: bool) -> io.NodeOutput:
        """Edit pictures (B, H, W, 3) in [0, 1]; what a picture has beside RGB is left out.

        Raises:
            ValueError: there is no such editor, or it cannot be used.
        """
        from sdd.device import pick_device
        from sdd.errors import SddError

        if (said := cls.validate_inputs(editor)) is not True:
            raise ValueError(said)
        path = editors_folder() / editor
        try:
            edit = load(str(path), os.stat(path).st_mtime_ns, str(pick_device()))
            pictures = image[..., :3].permute(0, 3, 1, 2).float()
            edited = edit(2 * pictures - 1, strength=strength, blend=blend)
        except SddError as error:
            raise ValueError(str(error)) from error
        return io.NodeOutput(((edited.to(image.device) + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).contiguous())


class SddExtension(ComfyExtension):
    """What ComfyUI asks for the nodes of this file."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes."""
        return [SddEdit]


async def comfy_entrypoint() -> SddExtension:
    """Where ComfyUI begins."""
    return SddExtension()
