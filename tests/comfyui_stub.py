"""As much of ComfyUI as its documentation says a V3 node meets: `comfy_api.latest` and `folder_paths`."""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace


@dataclass
class Input:
    """An input of a node: its id and what else was said of it."""

    id: str
    options: list | None = None
    default: object = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    tooltip: str | None = None


@dataclass
class Output:
    id: str | None = None
    display_name: str | None = None


@dataclass
class Schema:
    node_id: str
    display_name: str
    category: str
    description: str = ""
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)


class NodeOutput:
    def __init__(self, *args):
        self.args = self.result = args


class ComfyNode:
    pass


class ComfyExtension:
    pass


def installed(monkeypatch, models_dir):
    """Put the stub where a node's file imports ComfyUI from."""
    kinds = {name: SimpleNamespace(Input=Input, Output=Output) for name in ("Image", "Combo", "Float", "Boolean")}
    io = SimpleNamespace(ComfyNode=ComfyNode, Schema=Schema, NodeOutput=NodeOutput, **kinds)
    latest = ModuleType("comfy_api.latest")
    latest.ComfyExtension, latest.io = ComfyExtension, io
    package = ModuleType("comfy_api")
    package.latest = latest
    folders = ModuleType("folder_paths")
    folders.models_dir = str(models_dir)
    for module in (package, latest, folders):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def run(extension_file):
    """The nodes of a file, found as ComfyUI finds them."""
    import asyncio
    import importlib.util

    spec = importlib.util.spec_from_file_location("custom_node", extension_file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    async def nodes():
        extension = await module.comfy_entrypoint()
        assert isinstance(extension, ComfyExtension)
        return await extension.get_node_list()

    return asyncio.run(nodes())
